"""Published data sets as their authors lay them out in a folder: nothing is downloaded, the folder is `data.path`.

Each layout reads names, labels, the published split and, where there are some, maps of classes; images then go through `image_folder`. A
folder without the layout's files is one line that says what to place where.
"""

import csv
import io
import os
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from pdr_jax.data import dataset, decode, image_folder, labels, splits
from pdr_jax.errors import UserError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # the numbers of FER2013
RAF_EMOTIONS = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # from 1 in its list
FER_USAGE = {"Training": "train", "PublicTest": "validation", "PrivateTest": "test"}
MASK_PARTS = ("background", "skin", "nose", "eye_g", "l_eye", "r_eye", "l_brow", "r_brow", "l_ear", "r_ear", "mouth", "u_lip", "l_lip",
              "hair", "hat", "ear_r", "neck_l", "neck", "cloth")  # of CelebAMask-HQ, in the order in which its authors paint them
FACE_PARTS = ("background", "skin", "nose", "right_eye", "left_eye", "right_brow", "left_brow", "right_ear", "left_ear",
              "mouth_interior", "top_lip", "bottom_lip", "neck", "hair", "beard", "clothing", "glasses", "headwear",
              "facewear")  # of FaceSynthetics; 255: nobody's
CELEBA_VALIDATION, CELEBA_TEST = 162_770, 182_637  # first images, numbered from zero, of CelebA's own splits


class Layout(NamedTuple):
  """What a folder holds. `words` name each image's published split (train, validation, test), None: none is published.

  `read_map(name)` gives the classes of an image `[h, w]` uint8, at any resolution of the same picture.
  """
  store: object
  found: labels.Labels
  words: list[str] | None = None
  read_map: Callable[[str], np.ndarray] | None = None
  parts: tuple[str, ...] = ()


class _Some:
  """Some of the images of another store."""

  def __init__(self, store, keep: Callable[[str], bool]):
    self.where, self.open, self.names = store.where, store.open, [name for name in store.names if keep(name)]


class _Pixels:
  """Grey images that lie as numbers in the cells of a table, `{name: [48, 48] uint8}`."""

  def __init__(self, where: str, pixels: dict[str, np.ndarray]):
    self.where, self.names, self._pixels = where, list(pixels), pixels

  def open(self, name: str) -> io.BytesIO:
    grey = self._pixels[name]
    return io.BytesIO(b"P5 %d %d 255\n" % grey.shape[::-1] + grey.tobytes())


def open_folder_set(config) -> dataset.Dataset:
  """The set `config.data.name` in the folder `config.data.path`. Raises UserError: what to place where; and as `image_folder` does."""
  data = config.data
  read, advice = LAYOUTS[data.name]
  path = os.path.expanduser(data.path)
  try:
    layout = read(path)
  except UserError as error:
    raise UserError(f"{error}; {data.name}: {advice}") from error
  except (OSError, KeyError, ValueError, IndexError) as error:
    raise UserError(f"data.path={path} is not {data.name} as published ({type(error).__name__}: {error}): {advice}") from error
  names = layout.store.names
  if not names:
    raise UserError(f"data.path={path} holds no image of {data.name}: {advice}")
  if layout.words:
    chosen = splits.by_words(names, layout.words, data.scene_seed, data.train_examples, data.val_examples)
  else:
    chosen = image_folder.choose(config, names, layout.found)
  maps = {}
  if layout.read_map:
    kept: dict[str, np.ndarray] = {}

    def read_map(name: str) -> np.ndarray:
      if name not in kept:
        with layout.store.open(name) as file, Image.open(file, formats=decode.FORMATS) as image:
          kept[name] = resize_map(layout.read_map(name), image.size, tuple(data.crop), data.side)
      return kept[name]

    maps = {"segmentation": read_map}
  return image_folder.assemble(config, layout.store, layout.found, chosen, maps, layout.parts)


def resize_map(classes: np.ndarray, size: tuple[int, int], crop: tuple[int, ...], side: int) -> np.ndarray:
  """The class at the centre of each pixel of a picture of `size` (width, height) after `crop`, both in its own pixels. `[side, side]`."""
  left, top, right, bottom = decode.crop_box(*size, crop)
  place = lambda low, high, extent, pixels: np.minimum(
      ((low + (np.arange(side) + 0.5) * (high - low) / side) * pixels / extent).astype(int), pixels - 1)
  rows, columns = place(top, bottom, size[1], classes.shape[0]), place(left, right, size[0], classes.shape[1])
  return classes[rows[:, None], columns[None]]


def _columns(columns: dict[str, Sequence[int]], classes: dict[str, Sequence[str]] | None = None) -> labels.Labels:
  return labels.Labels({name: np.asarray(values, np.int32) for name, values in columns.items()},
                       {name: tuple(names) for name, names in (classes or {}).items()})


def _rows(path: str) -> list[list[str]]:
  with open(path, encoding="utf-8") as file:
    return [line.split() for line in file if line.strip()]


# ---------------------------------------------------------------- layouts


def _celeb_a_mask_hq(path: str) -> Layout:
  """Images 0 to 29999, 40 attributes, one PNG for each part that is seen, and CelebA's own split through the mapping."""
  store = image_folder.open_store(os.path.join(path, "CelebA-HQ-img"))
  _, header, *rows = _rows(os.path.join(path, "CelebAMask-HQ-attribute-anno.txt"))
  attributes = {row[0]: [int(value) > 0 for value in row[1:]] for row in rows}
  original = {f"{row[0]}.jpg": int(row[1]) for row in _rows(os.path.join(path, "CelebA-HQ-to-CelebA-mapping.txt"))[1:]}
  word = lambda index: "train" if index < CELEBA_VALIDATION else "validation" if index < CELEBA_TEST else "test"
  folder = os.path.join(path, "CelebAMask-HQ-mask-anno")
  if not os.path.isdir(folder):
    raise FileNotFoundError("no folder CelebAMask-HQ-mask-anno")

  def read_map(name: str) -> np.ndarray:
    number = int(name.split(".")[0])
    classes = np.zeros((512, 512), np.uint8)
    for k, part in enumerate(MASK_PARTS[1:], 1):
      file = os.path.join(folder, str(number // 2000), f"{number:05d}_{part}.png")
      if os.path.isfile(file):
        classes[np.asarray(Image.open(file, formats=["PNG"]).convert("L")) > 127] = k
    return classes

  table = np.array([attributes[name] for name in store.names])
  return Layout(store, _columns({name: table[:, i] for i, name in enumerate(header)}), [word(original[name]) for name in store.names],
                read_map, MASK_PARTS)


def _utkface(path: str) -> Layout:
  """`AGE_GENDER_RACE_DATE.jpg`; a handful of names lacks a number, and is left out."""
  pattern = re.compile(r"(\d+)_([01])_([0-4])_")
  store = _Some(image_folder.open_store(path), lambda name: bool(pattern.match(os.path.basename(name))))
  numbers = [[int(part) for part in pattern.match(os.path.basename(name)).groups()] for name in store.names]
  ages, genders, races = np.array(numbers).reshape(-1, 3).T
  found = _columns({"gender": genders, "race": races},
                   {"gender": ("male", "female"), "race": ("White", "Black", "Asian", "Indian", "Others")})
  return Layout(store, found._replace(columns=found.columns | {"age": ages.astype(np.float32)}))


def _fer2013(path: str) -> Layout:
  """`fer2013.csv` (emotion, pixels, Usage), or folders `train/EMOTION`, `validation/EMOTION` and `test/EMOTION`."""
  table = path if path.endswith(".csv") else os.path.join(path, "fer2013.csv")
  if not os.path.isfile(table):
    store = image_folder.open_store(path)
    parts = [name.split("/")[-3:] for name in store.names]
    found = _columns({"emotion": [EMOTIONS.index(part[1]) for part in parts]}, {"emotion": EMOTIONS})
    return Layout(store, found, [part[0] for part in parts])
  pixels, emotions, words = {}, [], []
  with open(table, newline="", encoding="utf-8") as file:
    for number, row in enumerate(csv.DictReader(file)):
      pixels[f"{number:05d}.pgm"] = np.array(row["pixels"].split(), np.uint8).reshape(48, 48)
      emotions.append(int(row["emotion"]))
      words.append(FER_USAGE[row["Usage"]])
  return Layout(_Pixels(table, pixels), _columns({"emotion": emotions}, {"emotion": EMOTIONS}), words)


def _raf_db(path: str) -> Layout:
  """`Image/aligned/train_00001_aligned.jpg`, and `EmoLabel/list_patition_label.txt` with `train_00001.jpg 5`."""
  path = os.path.join(path, "basic") if os.path.isdir(os.path.join(path, "basic")) else path
  store = image_folder.open_store(os.path.join(path, "Image", "aligned"))
  emotion = {name: int(number) - 1 for name, number in _rows(os.path.join(path, "EmoLabel", "list_patition_label.txt"))}
  numbers = [emotion[name.replace("_aligned", "")] for name in store.names]
  return Layout(store, _columns({"emotion": numbers}, {"emotion": RAF_EMOTIONS}), [name.split("_")[0] for name in store.names])


def _yale_b(path: str) -> Layout:
  """`yaleB01/yaleB01_P00A+000E+00.pgm`: the light's azimuth and elevation in degrees; `_Ambient` and `.bad` files are left out."""
  pattern = re.compile(r"yaleB(\d+)_P00A([+-]\d+)E([+-]\d+)\.(?:pgm|png)$")
  store = _Some(image_folder.open_store(path), lambda name: bool(pattern.search(name)))
  numbers = np.array([[int(part) for part in pattern.search(name).groups()] for name in store.names]).reshape(-1, 3)
  subject, azimuth, elevation = numbers.T
  found = _columns({"subject": subject})
  angles = {"azimuth_deg": azimuth.astype(np.float32), "elevation_deg": elevation.astype(np.float32)}
  return Layout(store, found._replace(columns=found.columns | angles))


def _stanford_cars(path: str) -> Layout:
  """Folders `cars_train` and `cars_test`, with `cars_train_annos.mat`, `cars_test_annos_withlabels.mat` and `cars_meta.mat` in `devkit`."""
  from scipy.io import loadmat

  store = _Some(image_folder.open_store(path), lambda name: name.split("/")[-2:-1] in (["cars_train"], ["cars_test"]))
  read = lambda name, key: np.atleast_1d(loadmat(os.path.join(path, "devkit", name), squeeze_me=True)[key])
  files = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
  number = {f"cars_{split}/{row['fname']}": int(row["class"]) - 1 for split, file in files.items() for row in read(file, "annotations")}
  titles = tuple(map(str, read("cars_meta.mat", "class_names")))
  bodies = [body_of(title) for title in titles]
  kinds = tuple(sorted(set(bodies)))
  cars = [number["/".join(name.split("/")[-2:])] for name in store.names]
  return Layout(store, _columns({"car": cars, "body": [kinds.index(bodies[car]) for car in cars]}, {"car": titles, "body": kinds}),
                [name.split("/")[-2].removeprefix("cars_") for name in store.names])


def body_of(title: str) -> str:
  """The body in a class's name: the last word before the year, such as SUV of "Toyota Sequoia SUV 2012"; Other where that is none."""
  word = title.split()[-2] if len(title.split()) > 1 else ""
  return {"Cab": "Pickup", "Minivan": "Van"}.get(word, word if word in BODIES else "Other")


BODIES = ("Sedan", "SUV", "Coupe", "Convertible", "Hatchback", "Wagon", "Van", "Pickup")


def _face_synthetics(path: str) -> Layout:
  """`000000.png` with its map of classes `000000_seg.png` beside it; or both in a zip."""
  whole = image_folder.open_store(path)
  maps = {name for name in whole.names if name.endswith("_seg.png")}
  store = _Some(whole, lambda name: name not in maps and f"{name.removesuffix('.png')}_seg.png" in maps)

  def read_map(name: str) -> np.ndarray:
    with whole.open(f"{name.removesuffix('.png')}_seg.png") as file:
      return np.asarray(Image.open(file, formats=["PNG"]).convert("L"))

  return Layout(store, labels.Labels({}, {}), None, read_map, FACE_PARTS)


LAYOUTS = {
    "celeb_a_mask_hq": (_celeb_a_mask_hq, "name the folder CelebAMask-HQ, with CelebA-HQ-img/, CelebAMask-HQ-mask-anno/, "
                                          "CelebAMask-HQ-attribute-anno.txt and CelebA-HQ-to-CelebA-mapping.txt in it"),
    "utkface": (_utkface, "name a folder or zip of its files AGE_GENDER_RACE_DATE.jpg"),
    "fer2013": (_fer2013, "name fer2013.csv or its folder, or a folder with train/, validation/, test/ and in them one for each emotion"),
    "raf_db": (_raf_db, "name the folder with basic/Image/aligned/ and basic/EmoLabel/list_patition_label.txt"),
    "yale_b": (_yale_b, "name the folder CroppedYale with yaleB01/ to yaleB39/, or a zip of its files yaleB01_P00A+000E+00.pgm"),
    "stanford_cars": (_stanford_cars, "name a folder with cars_train/, cars_test/, and devkit/ with cars_train_annos.mat, cars_meta.mat "
                                      "and cars_test_annos_withlabels.mat"),
    "face_synthetics": (_face_synthetics, "name a folder or zip of its files 000000.png and 000000_seg.png"),
}
