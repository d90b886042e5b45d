"""Small NORB: the binary format, what a clip is, and which objects are kept apart."""

import gzip
import itertools
import struct

import numpy as np
import pytest
from support.configs import data_config

from pdr_jax.data import pipeline, small_norb
from pdr_jax.errors import UserError


def matrix(array):
  magic = {np.dtype(np.uint8): 0x1E3D4C55, np.dtype(np.int32): 0x1E3D4C54}[array.dtype]
  shape = (*array.shape, 1, 1)[: max(3, array.ndim)]
  return struct.pack(f"<II{len(shape)}i", magic, array.ndim, *shape) + array.tobytes()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Two instances of a category, two elevations and lightings; each picture's pixels say what it is."""
  root = tmp_path_factory.mktemp("norb")
  for stem, instances in ((small_norb.STEMS["train"], (4, 6)), (small_norb.STEMS["test"], (0,))):
    rows = list(itertools.product((0, 3), instances, (0, 1), range(0, 36, 2), (0, 5)))
    np.random.default_rng(0).shuffle(rows)
    category, *info = np.array(rows, np.int32).T
    info = np.stack(info, axis=1)
    shade = (info[:, 2] * 5 + info[:, 3] + category * 20).astype(np.uint8)
    pictures = np.broadcast_to(shade[:, None, None, None], (len(rows), 2, 12, 12)).copy()
    pictures[:, 1] = 255  # the right camera
    for kind, array in (("dat", pictures), ("cat", category.copy()), ("info", info)):
      path = root / f"{stem}-{kind}.mat"
      if kind == "dat":
        path.with_name(path.name + ".gz").write_bytes(gzip.compress(matrix(array)))
      else:
        path.write_bytes(matrix(array))
  return root


def opened(folder, **data):
  words = dict(path=str(folder), side=8, frames=9, channels=1) | data
  return pipeline.open_dataset(data_config("small_norb", **words))


def test_a_clip_turns_at_one_elevation_and_lighting(folder):
  data = opened(folder)
  loaded = data.tests["test"].load(np.arange(data.tests["test"].size), data.elements)
  assert data.tests["test"].size == 2 * 2 * 2 * 2 and data.train.size + data.validation.size == 32
  degrees = loaded["label/azimuth_deg"]
  np.testing.assert_allclose(np.diff(degrees, axis=1), 20.0)
  assert set(degrees[:, 0]) == {0.0, 180.0}
  shade = degrees / 2 + loaded["label/lighting"][:, None] + 20 * loaded["label/category"][:, None]
  np.testing.assert_array_equal(loaded["clip"][:, :, 3, 3, 0], shade)
  assert set(loaded["label/instance"]) == {0, 30} and loaded["clip"].shape[1:] == (9, 8, 8, 1)
  train = data.train.load(np.arange(data.train.size), ["label/instance"])
  assert set(train["label/instance"]) == {4, 6, 34, 36}


def test_what_is_missing_or_damaged_is_one_line(folder, tmp_path):
  with pytest.raises(UserError, match=r"there is no .*training-dat\.mat \(or \.gz\): data\.path must be"):
    opened(tmp_path)
  with pytest.raises(UserError, match=r"data\.frames=19: small_norb has clips of 1 to 18 frames"):
    opened(folder, frames=19)
  path = tmp_path / f"{small_norb.STEMS['train']}-dat.mat"
  path.write_bytes(matrix(np.zeros((2, 2, 4, 4), np.uint8))[:-1])
  pipeline._open.cache_clear()
  with pytest.raises(UserError, match="is damaged"):
    opened(tmp_path)
  path.write_bytes(b"something else")
  pipeline._open.cache_clear()
  with pytest.raises(UserError, match="is no matrix of small NORB"):
    opened(tmp_path)
