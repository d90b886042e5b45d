"""Sprites: the recipe against Pillow's own composition, labels, and the published split."""

import numpy as np
import pytest
from PIL import Image
from support.configs import data_config

from pdr_jax.data import pipeline, sprites
from pdr_jax.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Sheets of 25 files with random rectangles of alpha 0 or 255 in each cell, as the real ones have."""
  root, rng = tmp_path_factory.mktemp("sheets"), np.random.default_rng(0)
  for layer, numbers in sprites.LAYERS.items():
    (root / layer).mkdir()
    for number in numbers:
      sheet = np.zeros((sprites.ROWS, sprites.COLUMNS, 64, 64, 4), np.uint8)
      left = rng.integers(0, 40, (2,))
      sheet[:, :, left[0] : left[0] + 20, left[1] : left[1] + 20, :3] = rng.integers(
        0, 256, (sprites.ROWS, sprites.COLUMNS, 1, 1, 3)
      )
      sheet[:, :, left[0] : left[0] + 20, left[1] : left[1] + 20, 3] = 255
      picture = sheet.swapaxes(1, 2).reshape(sprites.ROWS * 64, sprites.COLUMNS * 64, 4)
      Image.fromarray(picture, "RGBA").save(root / layer / f"{number}.png", compress_level=1)
  return root


def opened(folder, **data):
  config = data_config("sprites", **(dict(path=str(folder), side=64, frames=8) | data))
  return config, pipeline.open_dataset(config)


def by_pillow(folder, parts, row, columns):
  """Black canvas, then the layers, then the cells of a row."""
  canvas = Image.new("RGBA", (832, 1344), (0, 0, 0, 255))
  for layer in ("body", "bottomwear", "topwear", "hair", "shoes"):
    with Image.open(folder / layer / f"{parts.get(layer, 1)}.png") as image:
      canvas = Image.alpha_composite(canvas, image)
  cells = [canvas.crop((64 * c, 64 * row, 64 * c + 64, 64 * row + 64)).convert("RGB") for c in columns]
  return np.stack([np.asarray(cell) for cell in cells])


def test_clips_are_the_recipes(folder):
  _, data = opened(folder)
  loaded = data.tests["test"].load(np.arange(5), data.elements)
  rows = {
    "walk front": 10, "walk left": 9, "walk right": 11, "spellcard front": 2, "spellcard left": 1,
    "spellcard right": 3, "slash front": 14, "slash left": 13, "slash right": 15,
  }
  columns = {
    "walk": (8, 1, 2, 3, 4, 5, 6, 7), "spellcard": (0, 1, 2, 3, 4, 5, 4, 6),
    "slash": (0, 1, 2, 3, 4, 5, 4, 0),
  }
  assert sprites.MOTIONS == tuple(rows)
  for i in range(5):
    motion = sprites.MOTIONS[loaded["label/motion"][i]]
    parts = {"body": loaded["label/body"][i], "bottomwear": loaded["label/bottom"][i],
             "topwear": loaded["label/top"][i], "hair": loaded["label/hair"][i]}
    wanted = by_pillow(folder, parts, rows[motion], columns[motion.split()[0]])
    np.testing.assert_array_equal(loaded["clip"][i], wanted)


def test_the_published_split(folder):
  """1,000 characters to train on, the last hundred of them for validation, and 296 for the test."""
  order = np.random.RandomState(423).permutation(1296)
  parts = sprites.characters()
  np.testing.assert_array_equal(np.concatenate([parts["train"], parts["validation"]]), order[:1000])
  np.testing.assert_array_equal(parts["test"], order[1000:])
  _, data = opened(folder, side=16, frames=2, channels=1)
  assert (data.train.size, data.validation.size, data.tests["test"].size) == (8100, 900, 2664)
  loaded = data.validation.load(np.arange(900), ["label/motion", "label/hair"])
  assert np.bincount(loaded["label/motion"]).tolist() == [100] * 9
  assert set(loaded["label/hair"]) == set(range(6))
  parts = sprites.parts_of(216 * 4 + 36 * 3 + 6 * 2 + 1)
  assert parts == {"body": 4, "bottomwear": 3, "topwear": 2, "hair": 1}
  assert data.train.load(np.array([8099]), ["clip"])["clip"].shape == (1, 2, 16, 16, 1)


def test_what_is_missing_or_wrong_is_one_line(folder, tmp_path):
  with pytest.raises(UserError, match=r"there is no .*body/0\.png: data\.path must be the folder with body/"):
    opened(tmp_path)
  with pytest.raises(UserError, match=r"data\.frames=9: sprites has clips of 1 to 8 frames"):
    opened(folder, frames=9)
  (tmp_path / "body").mkdir()
  Image.new("RGBA", (64, 64)).save(tmp_path / "body" / "0.png")
  with pytest.raises(UserError, match=r"0\.png is 64 x 64: a sheet is 832 x 1344"):
    opened(tmp_path)
  (tmp_path / "body" / "0.png").write_bytes(b"no picture")
  pipeline._open.cache_clear()
  with pytest.raises(UserError, match=r"0\.png is no picture"):
    opened(tmp_path)
