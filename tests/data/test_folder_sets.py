"""Published layouts in miniature: labels, splits and maps of classes as their authors mean them.

Another folder is one line.
"""

import csv
import os
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from support.configs import data_config

from pdr_jax.data import decode, pipeline, registry, splits
from pdr_jax.data.sources import celeb_a_mask_hq
from pdr_jax.errors import UserError


def config(name, path, **data):
  return data_config(name, path=str(path), **data)


def opened(name, path, **data):
  return registry.find(name).open(config(name, path, **data))


def picture(path, seed=0, size=(40, 40)):
  os.makedirs(os.path.dirname(path), exist_ok=True)
  Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3)).astype(np.uint8)).save(path)


def everything(data, split):
  return split.load(np.arange(split.size), data.elements)


def test_utkface_reads_its_names(tmp_path):
  for i, name in enumerate(
    ["5_0_1_a", "30_1_4_b", "61_0_0_c", "9_1_20170109_d"] + [f"{20 + i}_0_2_{i}" for i in range(8)]
  ):
    picture(str(tmp_path / f"{name}.jpg"), i)
  data = opened("utkface", tmp_path)
  rows = [
    dict(zip(("age", "gender", "race"), values, strict=True))
    for split in (data.train, data.validation)
    for values in zip(
      *(everything(data, split)[f"label/{key}"].tolist() for key in ("age", "gender", "race")), strict=True
    )
  ]
  assert (
    len(rows) == 11
    and {"age": 30.0, "gender": 1, "race": 4} in rows
    and {"age": 5.0, "gender": 0, "race": 1} in rows
  )
  assert data.classes["label/race"][4] == "Others" and data.classes["label/age"] == ()


def test_copies_of_utkface_in_one_archive_are_not_in_two_splits(tmp_path):
  for folder in ("UTKFace", "crop_part1", "again/UTKFace"):
    for i in range(10):
      picture(str(tmp_path / folder / f"{20 + i}_0_2_{i}.jpg"), i)
  data = opened("utkface", tmp_path)
  ages = [everything(data, split)["label/age"] for split in (data.train, data.validation)]
  assert sorted(np.concatenate(ages)) == list(range(20, 30))
  assert any("copies of the same file name 20" in line for line in data.report)


def test_fer2013_from_its_table_and_from_folders(tmp_path):
  random = np.random.default_rng(0)
  rows = [
    {"emotion": i % 7, "pixels": " ".join(map(str, random.integers(0, 255, 48 * 48))), "Usage": usage}
    for i, usage in enumerate(["Training"] * 7 + ["PublicTest"] * 3 + ["PrivateTest"] * 2)
  ]
  with open(tmp_path / "fer2013.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  data = opened("fer2013", tmp_path)
  assert (data.train.size, data.validation.size, data.tests["test"].size) == (7, 3, 2)
  batch = everything(data, data.tests["test"])
  for image, emotion in zip(batch["image"], batch["label/emotion"], strict=True):
    source = next(row for row in rows[10:] if row["emotion"] == emotion)
    grey = np.array(source["pixels"].split(), np.uint8).reshape(48, 48)
    np.testing.assert_array_equal(image, decode.decode_image(grey, 32))
  for i, name in enumerate(
    ["train/happy/1.jpg", "train/sad/2.jpg", "validation/fear/3.jpg", "test/happy/4.jpg"]
  ):
    picture(str(tmp_path / "folders" / name), i)
  data = opened("fer2013", tmp_path / "folders")
  assert (
    everything(data, data.tests["test"])["label/emotion"].tolist() == [3]
    and data.classes["label/emotion"][3] == "happy"
  )
  assert data.train.size == 2 and everything(data, data.validation)["label/emotion"].tolist() == [2]


def test_fer2013_as_other_copies_have_it(tmp_path):
  random = np.random.default_rng(1)
  pixels = [" ".join(map(str, random.integers(0, 255, 48 * 48))) for _ in range(6)]
  lines = ["emotion, Usage, pixels"] + [
    f"{i},{'Training' if i < 4 else 'PrivateTest'},{p}" for i, p in enumerate(pixels)
  ]
  (tmp_path / "icml_face_data.csv").write_text("\n".join(lines))
  data = opened("fer2013", tmp_path)
  assert sorted(everything(data, data.tests["test"])["label/emotion"].tolist()) == [4, 5]
  assert data.train.size + data.validation.size == 4
  names = [
    "Training/Angry/1.jpg",
    "Training/3/2.jpg",
    "PublicTest/surprised/3.jpg",
    "PrivateTest/Happy/4.jpg",
  ]
  for i, name in enumerate(names):
    picture(str(tmp_path / "folders" / name), i)
  data = opened("fer2013", tmp_path / "folders")
  assert sorted(everything(data, data.train)["label/emotion"].tolist()) == [0, 3]
  assert everything(data, data.validation)["label/emotion"].tolist() == [5]
  assert everything(data, data.tests["test"])["label/emotion"].tolist() == [3]
  lines[3] = lines[3].replace(" ", " 300 ", 1)
  (tmp_path / "icml_face_data.csv").write_text("\n".join(lines))
  with pytest.raises(UserError, match="example 3: no 48 x 48 pixels from 0 to 255"):
    opened("fer2013", tmp_path)


def test_raf_db_and_its_own_test_split(tmp_path):
  lines = [f"train_{i:05d}.jpg {1 + i % 7}" for i in range(20)] + ["test_0001.jpg 4", "test_0002.jpg 6"]
  os.makedirs(tmp_path / "basic/EmoLabel")
  (tmp_path / "basic/EmoLabel/list_patition_label.txt").write_text("\n".join(lines))
  for i, line in enumerate(lines):
    picture(str(tmp_path / "basic/Image/aligned" / line.split()[0].replace(".jpg", "_aligned.jpg")), i)
  data = opened("raf_db", tmp_path, val_examples=5)
  assert (data.train.size, data.validation.size) == (15, 5)
  titles = [data.classes["label/emotion"][k] for k in everything(data, data.tests["test"])["label/emotion"]]
  assert sorted(titles) == ["angry", "happy"]


def test_yale_b_has_its_light_in_the_names(tmp_path):
  names = [
    f"yaleB{s:02d}/yaleB{s:02d}_P00A{a:+04d}E{e:+03d}.pgm"
    for s in (1, 39)
    for a, e in ((0, 0), (-35, 20), (110, -20), (5, 10))
  ]
  for i, name in enumerate([*names, "yaleB01/yaleB01_P00_Ambient.pgm"]):
    picture(str(tmp_path / name), i)
  data = opened("yale_b", tmp_path)
  actual = [everything(data, split) for split in (data.train, data.validation)]
  for batch in actual:
    batch["label/subject"] = [int(data.classes["label/subject"][i]) for i in batch["label/subject"]]
  triples = [
    tuple(float(batch[f"label/{key}"][i]) for key in ("subject", "light_azimuth_deg", "light_elevation_deg"))
    for batch in actual
    for i in range(len(batch["image"]))
  ]
  assert len(triples) == 8 and (39.0, -35.0, 20.0) in triples and (1.0, 110.0, -20.0) in triples
  assert actual[0]["label/light_azimuth_deg"].dtype == np.float64


def test_stanford_cars_and_their_bodies(tmp_path):
  titles = [
    "Toyota Sequoia SUV 2012",
    "Audi S4 Sedan 2007",
    "Ford F-150 Regular Cab 2012",
    "Acura Integra Type R 2001",
  ]
  kind = [("fname", object), ("class", int)]
  os.makedirs(tmp_path / "devkit")
  for split, file, count in (
    ("train", "cars_train_annos.mat", 8),
    ("test", "cars_test_annos_withlabels.mat", 4),
  ):
    rows = np.array([(f"{i:05d}.jpg", 1 + (i + (split == "test")) % 4) for i in range(count)], dtype=kind)
    savemat(tmp_path / "devkit" / file, {"annotations": rows})
    for i in range(count):
      picture(str(tmp_path / f"cars_{split}/{i:05d}.jpg"), i)
  savemat(tmp_path / "devkit/cars_meta.mat", {"class_names": np.array(titles, dtype=object)})
  data = opened("stanford_cars", tmp_path)
  batch = everything(data, data.tests["test"])
  pairs = {
    (data.classes["label/car"][car], data.classes["label/body"][body])
    for car, body in zip(batch["label/car"], batch["label/body"], strict=True)
  }
  assert pairs == set(zip(titles, ["SUV", "Sedan", "Pickup", "Other"], strict=True)) and batch[
    "label/car"
  ].shape == (4,)


def test_stanford_cars_as_pictures_and_a_table(tmp_path):
  titles = ["Toyota Sequoia SUV 2012", "Audi S4 Sedan 2007"]
  lines = ["file,class,class_name"]
  for i in range(12):
    picture(str(tmp_path / f"{i:05d}.jpg"), i)
    lines.append(f"{i:05d}.jpg,{i % 2 + 1},{titles[i % 2]}")
  (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
  data = opened("stanford_cars", tmp_path, val_examples=4)
  batch = everything(data, data.validation)
  found = [
    (data.classes["label/car"][car], data.classes["label/body"][body])
    for car, body in zip(batch["label/car"], batch["label/body"], strict=True)
  ]
  assert len(found) == 4 and set(found) <= set(zip(titles, ["SUV", "Sedan"], strict=True))


def test_stanford_cars_as_a_zip_beside_its_table(tmp_path):
  with zipfile.ZipFile(tmp_path / "cars.zip", "w") as archive:
    for i in range(12):
      picture(str(tmp_path / "one.jpg"), i)
      archive.write(tmp_path / "one.jpg", f"{i}.jpg")
  os.remove(tmp_path / "one.jpg")
  rows = [f"{i}.jpg,Audi S{i % 2} Sedan 2007" for i in range(12)]
  (tmp_path / "labels.csv").write_text("\n".join(["file,class_name", *rows]))
  data = opened("stanford_cars", tmp_path / "cars.zip", val_examples=4)
  assert data.train.size == 8 and data.classes["label/body"] == ("Sedan",)


def test_celeb_a_mask_hq_paints_its_parts_in_order(tmp_path):
  numbers, original = [0, 1, 2, 2000], [5, 162_770, 200_000, 7]
  for number in numbers:
    picture(str(tmp_path / f"CelebA-HQ-img/{number}.jpg"), number, (64, 64))
    folder = tmp_path / f"CelebAMask-HQ-mask-anno/{number // 2000}"
    os.makedirs(folder, exist_ok=True)
    skin, nose = np.zeros((2, 512, 512), np.uint8)
    skin[128:384, :256], nose[200:300, 100:400] = 255, 255
    for part, mask in (("nose", nose), ("skin", skin)):
      Image.fromarray(np.repeat(mask[..., None], 3, -1)).save(folder / f"{number:05d}_{part}.png")
  attributes = ["4", "Smiling Male"] + [f"{number}.jpg {1 if number else -1} -1" for number in numbers]
  (tmp_path / "CelebAMask-HQ-attribute-anno.txt").write_text("\n".join(attributes))
  mapping = ["idx orig_idx orig_file"] + [
    f"{n} {o} {o + 1:06d}.jpg" for n, o in zip(numbers, original, strict=True)
  ]
  (tmp_path / "CelebA-HQ-to-CelebA-mapping.txt").write_text("\n".join(mapping))
  data = opened("celeb_a_mask_hq", tmp_path)
  assert (data.train.size, data.validation.size, data.tests["test"].size) == (2, 1, 1)
  batch = everything(data, data.train)
  assert sorted(batch["label/Smiling"].tolist()) == [0, 1] and batch["label/Male"].tolist() == [0, 0]
  classes = batch["segmentation"][0]
  assert classes.shape == (32, 32) and classes.dtype == np.uint8
  assert (
    classes[0, 0] == 0
    and classes[10, 2] == 1
    and classes[15, 10] == 2
    and classes[15, 20] == 2
    and classes[10, 20] == 0
  )
  assert data.train.load(np.arange(2), {"image"}).keys() == {"image"} and "segmentation" in data.elements
  assert data.classes["segmentation"] == celeb_a_mask_hq.MASK_PARTS and len(celeb_a_mask_hq.MASK_PARTS) == 19
  assert opened("celeb_a_mask_hq", tmp_path).fingerprint == data.fingerprint
  (tmp_path / "CelebAMask-HQ-mask-anno/0/00001_nose.png").unlink()
  assert opened("celeb_a_mask_hq", tmp_path).fingerprint != data.fingerprint


def test_face_synthetics_maps_follow_the_crop(tmp_path):
  classes = np.add.outer(np.arange(64) // 16 * 4, np.arange(64) // 16).astype(np.uint8)
  for i in range(6):
    picture(str(tmp_path / f"{i:06d}.png"), i, (64, 64))
    Image.fromarray(classes).save(tmp_path / f"{i:06d}_seg.png")
  data = opened("face_synthetics", tmp_path, crop=(16, 0, 64, 32))
  actual = everything(data, data.validation)["segmentation"][0]
  expected = classes[
    (np.arange(32)).astype(int)[:, None], (16 + (np.arange(32) + 0.5) * 1.5).astype(int)[None]
  ]
  np.testing.assert_array_equal(actual, expected)
  assert data.train.size + data.validation.size == 6
  Image.fromarray(classes[::-1]).save(tmp_path / "000003_seg.png", compress_level=0)
  assert opened("face_synthetics", tmp_path).fingerprint != data.fingerprint


@pytest.mark.parametrize(
  ("name", "words"),
  [
    ("celeb_a_mask_hq", "CelebAMask-HQ-mask-anno"),
    ("raf_db", "list_patition_label"),
    ("stanford_cars", "cars_test_annos_withlabels"),
    ("fer2013", "fer2013.csv"),
    ("yale_b", "yaleB01_P00A"),
    ("utkface", "AGE_GENDER_RACE"),
    ("face_synthetics", "000000_seg.png"),
  ],
)
def test_another_folder_is_one_line_that_says_what_to_place_where(tmp_path, name, words):
  picture(str(tmp_path / "cat" / "cat.png"))
  with pytest.raises(UserError, match=words) as error:
    opened(name, tmp_path)
  assert "\n" not in str(error.value)


def test_published_splits():
  names, words = list("abcdefgh"), ["train"] * 5 + ["test"] * 3
  chosen = splits.by_parts(names, words, 0, 0, 2)
  assert sorted(chosen.train + chosen.validation) == [0, 1, 2, 3, 4] and len(chosen.validation) == 2
  assert sorted(chosen.test) == [5, 6, 7] and chosen.note == "validation is taken from train"


def test_the_pipeline_opens_them_by_name(tmp_path):
  for i in range(20):
    picture(str(tmp_path / f"{i}_{i % 2}_{i % 5}_x.jpg"), i)
  settings = config("utkface", tmp_path)
  settings.train.batch_size = 4
  assert pipeline.describe(settings).train_size == 18
  assert next(iter(pipeline.validation_batches(settings)))["label/gender"].shape == (4,)
