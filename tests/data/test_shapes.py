"""Shapes as data: views against the renderer, exact voxels, files that lie, mixes."""

import gzip
import struct

import jax.numpy as jnp
import numpy as np
import pytest

from pdr_jax.config import base
from pdr_jax.data import digits, pipeline, shape_files, solid_shapes, voxel_views
from pdr_jax.data.sources import shape_folder
from pdr_jax.errors import UserError
from pdr_jax.methods.voxels import projection

SIDE = 28


def config_of(name, path="", **data):
  config = base("voxels")
  config.data.update(name=name, path=str(path), side=SIDE, train_examples=12, val_examples=6, **data)
  config.train.batch_size = 4
  return config


@pytest.fixture(scope="module")
def solids():
  return pipeline.open_dataset(config_of("solids"))


def test_views_are_those_of_the_renderer(solids):
  """The picture is the projection of the exact voxels, turned by the exact azimuth."""
  rows = solids.train.load(np.arange(12), ["image", "azimuth", "voxels"])
  projected = projection.project(
    20.0 * jnp.asarray(rows["voxels"], jnp.float32), jnp.asarray(rows["azimuth"])
  )
  seen, drawn = np.asarray(projected) > 0.5, rows["image"][..., 0] > 127
  overlap = (seen & drawn).sum(axis=(1, 2)) / (seen | drawn).sum(axis=(1, 2))
  mirrored = drawn[:, :, ::-1]
  other = (seen & mirrored).sum(axis=(1, 2)) / (seen | mirrored).sum(axis=(1, 2))
  assert overlap.min() > 0.75 and overlap.mean() > 0.9 and overlap.mean() > other.mean() + 0.05
  above = projection.project(
    20.0 * jnp.asarray(rows["voxels"], jnp.float32), jnp.asarray(rows["azimuth"]), voxel_views.ELEVATION
  )
  shaded = pipeline.open_dataset(config_of("solids_shaded")).train.load(np.arange(12), ["image"])["image"]
  seen, drawn = np.asarray(above) > 0.5, shaded[..., 0] > 30
  assert ((seen & drawn).sum() / (seen | drawn).sum()) > 0.85


def test_shapes_stay_in_the_cylinder_and_have_their_kinds(solids):
  count = 2 * SIDE
  place = (np.arange(count) + 0.5) / count * 2 - 1
  outside = np.hypot(place[:, None], place[None]) > 1
  for kind in range(len(solid_shapes.KINDS)):
    for seed in range(3):
      shape = solid_shapes.draw(np.random.default_rng(seed), kind, count)
      assert 0.01 < shape.mean() < 0.3, solid_shapes.KINDS[kind]
      assert not shape.any(axis=1)[outside].any(), solid_shapes.KINDS[kind]
  rows = solids.validation.load(np.arange(6), ["label/kind", "voxels"])
  assert rows["label/kind"].max() < 6 and rows["voxels"].max() == 1 and "test" in solids.tests
  again = pipeline.open_dataset(config_of("solids", scene_seed=1)).validation
  assert (again.load(np.arange(6), ["voxels"])["voxels"] != rows["voxels"]).any()


def test_bits_come_back():
  voxels = np.random.default_rng(0).integers(0, 2, (3, 5, 5, 5)).astype(np.uint8)
  rows = np.stack([voxel_views.packed(v) for v in voxels])
  np.testing.assert_array_equal(voxel_views.unpacked(rows, 5), voxels)


def off_of_box():
  corners = [(x, y, z) for x in (0, 2) for y in (0, 1) for z in (0, 1)]
  faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
  lines = ["OFF", f"{len(corners)} {len(faces)} 0"]
  lines += [" ".join(map(str, c)) for c in corners] + [f"4 {' '.join(map(str, f))}" for f in faces]
  return lines


def test_off_meshes_become_solids_and_lies_are_named():
  lines = off_of_box()
  solid = shape_files.solid_of_mesh(*shape_files.read_off("\n".join(lines).encode()))
  depth, height, width = solid.shape  # y, z (up) and x of the mesh
  assert width > 1.8 * height and abs(depth - height) <= 1 and solid.mean() > 0.95
  joined = ["OFF8 6 0", *lines[2:]]
  assert len(shape_files.read_off("\n".join(joined).encode())[0]) == 8

  def refused(changed, words):
    with pytest.raises(shape_files.BadShape, match=words):
      shape_files.solid_of_mesh(*shape_files.read_off("\n".join(changed).encode()))

  refused(["OFF", "8 7 0", *lines[2:]], "says 8 vertices and 7 faces, and has 14")
  refused(["PLY", *lines[1:]], "does not begin with OFF")
  refused(lines[:-1] + ["4 1 5 7 9"], "vertex 9 of 8")
  refused(lines[:-1] + ["4 1 5 7"], "says 4 corners")
  refused(lines[:2] + ["0 0 nan", *lines[3:]], "three finite")
  refused(lines[:2] + ["0 0", *lines[3:]], "three finite")
  refused(["OFF", "8 1 0", *lines[2:11]], "open mesh")


def binvox(solid, version="1", head="", cut=0):
  """`solid` has the axes x, z, y."""
  flat = solid.reshape(-1).astype(np.uint8)
  runs = b"".join(bytes((value, 1)) for value in flat)
  dims = " ".join(map(str, solid.shape))
  text = head or f"#binvox {version}\ndim {dims}\ntranslate 0 0 0\nscale 1\n"
  return text.encode() + b"data\n" + runs[: len(runs) - cut]


def test_binvox_is_read_and_lies_are_named():
  solid = np.zeros((4, 4, 4), bool)
  solid[1, 2, 3] = True  # x 1, z 2, y 3: high up
  read = shape_files.read_binvox(binvox(solid))
  assert read.shape == (4, 4, 4) and read[2, 0, 1] and read.sum() == 1
  for data, words in (
    (binvox(solid, "2"), "version 2: version 1"),
    (binvox(solid, cut=2), "holds 63 voxels, and its head says 64"),
    (binvox(solid, cut=1), "ends within a run"),
    (binvox(2 * solid.astype(np.uint8)), "holds the value 2"),
    (b"hello", "does not begin"),
    (binvox(solid, head="#binvox 1\nscale 1\n"), "no line `dim"),
    (binvox(np.zeros((4, 4, 4), bool)), "no occupied"),
  ):
    with pytest.raises(shape_files.BadShape, match=words):
      shape_files.read_binvox(data)


@pytest.mark.parametrize("place", ["{kind}/{part}/{name}.off", "{part}/{kind}/{name}.off",
                                   "{kind}/{part}/{name}/model.off", "{kind}/{name}/{part}/model.off"])
def test_a_part_is_found_wherever_it_stands_above_a_shape(tmp_path, place):
  for kind in ("box", "rod"):
    for part, name in (("train", "a"), ("train", "b"), ("test", "c")):
      file = tmp_path / place.format(kind=kind, part=part, name=name)
      file.parent.mkdir(parents=True, exist_ok=True)
      file.write_text("\n".join(off_of_box()))
  found, _ = shape_folder.find(str(tmp_path))
  assert sorted(entry[:2] for entry in found) == [
    ("box", "test"), ("box", "train"), ("box", "train"), ("rod", "test"), ("rod", "train"), ("rod", "train"),
  ]


def test_a_folder_of_shapes_skips_what_it_cannot_use(tmp_path):
  for kind, part, name in (("box", "train", "a"), ("box", "train", "b"), ("rod", "test", "c")):
    folder = tmp_path / kind / part
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.off").write_text("\n".join(off_of_box()))
  (tmp_path / "rod" / "train").mkdir()
  (tmp_path / "rod" / "train" / "d.binvox").write_bytes(binvox(np.ones((2, 2, 2), bool), "3"))
  data = pipeline.open_dataset(config_of("shape_folder", tmp_path))
  assert data.train.size == 12 and data.validation.size == 12 and data.tests["test"].size == 12
  assert data.classes["label/kind"] == ("box", "rod")
  assert data.skipped == [("rod/train/d.binvox", "is of binvox version 3: version 1 is read")]
  images = data.train.load(np.arange(12), ["image"])["image"]
  assert (images > 127).any(axis=(1, 2, 3)).all() and (images[0] != images[2]).any()
  assert data.report == (f"3 shapes of 2 kinds in {tmp_path}",)
  (tmp_path / "rod/test").rename(tmp_path / "rod/Validation")  # other words for the parts, and other files
  (tmp_path / "rod/e.stl").write_text("solid")
  pipeline._open.cache_clear()
  changed = pipeline.open_dataset(config_of("shape_folder", tmp_path))
  assert changed.train.size == 24 and changed.validation.size == 12 and not changed.tests
  assert changed.report[0].endswith("; left out: 1 other files (.stl 1)")
  assert changed.fingerprint != data.fingerprint
  (tmp_path / "empty").mkdir()
  with pytest.raises(UserError, match="holds no shape; shape_folder: name a folder KIND/train"):
    pipeline.open_dataset(config_of("shape_folder", tmp_path / "empty"))


def test_modelnet10_is_laid_upright(tmp_path):
  grids = np.zeros((4, 30, 30, 30), np.int32)
  grids[:, 10:20, 12:18, 3:27] = 1  # tall along z, which is up
  kinds = np.array([2, 8, 2, 8])
  np.savez(tmp_path / "modelnet10.npz", X_train=grids, y_train=kinds, X_test=grids[:1], y_test=kinds[:1])
  data = pipeline.open_dataset(config_of("modelnet10_voxels", tmp_path))
  rows = data.tests["test"].load(np.arange(12), ["image", "voxels", "azimuth", "label/kind"])
  occupied = np.argwhere(rows["voxels"][0])
  size = np.ptp(occupied, axis=0)
  assert size[1] > 2 * size[2] > 2 * size[0] and set(rows["label/kind"]) == {2}
  splits = (data.train, data.validation, data.tests["test"])
  who = [split.load(np.arange(split.size), ["label/identity"])["label/identity"] for split in splits]
  np.testing.assert_array_equal(np.concatenate(who), np.repeat(np.arange(5), 12))  # twelve views of each
  np.testing.assert_allclose(np.diff(rows["azimuth"]), np.pi / 6, atol=1e-6)
  with pytest.raises(UserError, match="modelnet10"):
    pipeline.open_dataset(config_of("modelnet10_voxels", tmp_path / "elsewhere.npz"))


def test_empty_volumes_of_modelnet10_are_skipped(tmp_path):
  """The published file has seven of them in train and one in test."""
  grids = np.ones((6, 30, 30, 30), np.int32)
  grids[[1, 4]] = 0
  kinds = np.arange(6)
  np.savez(tmp_path / "modelnet10.npz", X_train=grids, y_train=kinds, X_test=grids[:3], y_test=kinds[:3])
  data = pipeline.open_dataset(config_of("modelnet10_voxels", tmp_path))
  assert [name for name, _ in data.skipped] == ["X_train[1]", "X_train[4]", "X_test[1]"]
  kinds = [
    split.load(np.arange(split.size), ["label/kind"])["label/kind"]
    for split in (data.train, data.validation, data.tests["test"])
  ]
  assert set(np.concatenate(kinds[:2])) == {0, 2, 3, 5} and set(kinds[2]) == {0, 2}


def write_idx(folder, value, count):
  folder.mkdir(parents=True)
  for (images, labels), n in zip(digits.PARTS.values(), (count, 4), strict=True):
    pictures = np.full((n, SIDE, SIDE), value, np.uint8)
    head = bytes((0, 0, 8, 3)) + struct.pack(">3I", *pictures.shape)
    (folder / images).write_bytes(head + pictures.tobytes())
    data = bytes((0, 0, 8, 1)) + struct.pack(">I", n) + bytes(i % 3 for i in range(n))
    (folder / f"{labels}.gz").write_bytes(gzip.compress(data))


def test_the_mix_has_its_shares_in_every_batch(tmp_path):
  from PIL import Image

  write_idx(tmp_path / "mnist", 10, 12)
  write_idx(tmp_path / "fashion_mnist", 20, 30)
  (tmp_path / "pictures").mkdir()
  for i in range(9):
    Image.new("L", (40, 40), 200 + i).save(tmp_path / "pictures" / f"{i}.png")
  config = config_of("grey_mix", tmp_path)
  config.data.update(train_examples=0, val_examples=2)
  config.train.batch_size = 8
  wanted = {key: pipeline.published(config)[key] for key in ("image", "label/set")}
  batches = pipeline.train_iterator(config, wanted)
  seen = []
  for _ in range(12):
    batch = next(batches)
    assert np.bincount(batch["label/set"], minlength=3).tolist() == [2, 2, 4]
    seen.append(np.rint((batch["image"][:, 0, 0, 0] + 1) * 127.5).astype(int))
  pictures = np.concatenate(seen)
  assert set(pictures[pictures < 100]) == {10, 20}
  assert len(set(pictures[pictures >= 200])) == 7  # two of nine are for validation
  again = pipeline.train_iterator(config, wanted)
  again.set_state({"batch": 11})
  np.testing.assert_array_equal(next(again)["image"], batch["image"])
  batches.close()
  again.close()
  config.train.batch_size = 6
  with pytest.raises(UserError, match="shares of 4"):
    pipeline.train_iterator(config, wanted)


def test_digits_come_with_their_classes(tmp_path):
  data = pipeline.open_dataset(config_of("digits"))
  assert data.train.size == 12 and data.elements["image"].shape == (SIDE, SIDE, 1)
  assert data.classes["label/digit"] == tuple("0123456789") and data.tests["test"].size == 300
  write_idx(tmp_path / "set", 7, 8)
  data = pipeline.open_dataset(config_of("idx_pictures", tmp_path / "set"))
  assert (data.train.load(np.arange(2), ["image"])["image"] == 7).all()
  with pytest.raises(UserError, match="grey"):
    pipeline.open_dataset(config_of("solids", channels=3))
