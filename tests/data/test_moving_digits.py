"""Moving digits: what is drawn is where the truth says, the same every time, by MNIST's files too."""

import gzip
import struct

import numpy as np
import pytest
from support.configs import data_config

from pdr_jax.data import digits, moving_digits, pipeline
from pdr_jax.errors import UserError

SIDE, FRAMES = 32, 6


def opened(objects=2, **data):
  options = f"objects={objects}"
  words = dict(side=SIDE, frames=FRAMES, options=options, train_examples=40, val_examples=10) | data
  config = data_config(words.pop("name", "moving_digits"), **words)
  return config, pipeline.open_dataset(config)


def write_mnist(folder, count=6, zipped=True, side=28):
  rng = np.random.default_rng(0)
  for images, labels in digits.PARTS.values():
    pictures = rng.integers(0, 256, (count, side, side), dtype=np.uint8)
    classes = rng.integers(0, 10, count, dtype=np.uint8)
    for name, array in ((images, pictures), (labels, classes)):
      head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
      opener, suffix = (gzip.open, ".gz") if zipped else (open, "")
      with opener(folder / f"{name}{suffix}", "wb") as file:
        file.write(head + array.tobytes())
  return folder


def test_digits_are_where_the_truth_says_in_their_own_colours():
  _, data = opened()
  loaded = data.train.load(np.arange(40), data.elements)
  assert set(loaded) == {"clip", "position", "label/digit_0", "label/digit_1"}
  assert loaded["clip"].shape == (40, FRAMES, SIDE, SIDE, 3) and not loaded["clip"][..., 2].any()
  size = SIDE // 2
  half = (size - 1) / 2
  for clip, places in zip(loaded["clip"], loaded["position"], strict=True):
    for k in range(2):
      for t in range(FRAMES):
        column, row = (places[t, k] - half).round().astype(int)
        outside = clip[t, :, :, k].copy()
        outside[row : row + size, column : column + size] = 0
        assert not outside.any()
    # The shape is the same in every frame, but where the one in front covers it: the largest sum is whole.
    assert clip[..., 0].any(axis=(1, 2)).all()
  steps = np.abs(np.diff(loaded["position"], axis=1))
  assert 0 < steps.max() <= 2 + 1e-6 and steps.min() >= 0  # 4 pixels at side 64, rounded
  assert len(np.unique(loaded["label/digit_0"])) > 4


def test_the_one_in_front_covers_and_grey_digits_share_the_channel():
  glyphs = np.full((1, 2, 4, 4), 200, np.uint8)
  corners = np.array([[[[0, 0], [2, 0]], [[0, 0], [4, 4]]]])
  clip = moving_digits.draw(glyphs, corners, np.array([1]), 8, 3)[0]
  apart, covered = clip[1], clip[0]
  assert (apart[:4, :4, 0] == 200).all() and (apart[4:, 4:, 1] == 200).all()
  # Beneath a value of 200 of 255, 55 / 255 is left: 43.
  assert (covered[:4, 2:4, 0] == 43).all() and (covered[:4, :2, 0] == 200).all()
  assert (covered[:4, 2:6, 1] == 200).all() and not covered[4:].any()
  grey = moving_digits.draw(glyphs, corners, np.array([1]), 8, 1)[0]
  assert grey.max() == 200 and (grey[0, :4, :6] == 200).all()


def test_clips_are_the_same_every_time_and_longer_ones_go_on():
  _, data = opened()
  _, again = opened(frames=2 * FRAMES)
  first, longer = (part.train.load(np.array([3, 7]), ["clip", "position"]) for part in (data, again))
  np.testing.assert_array_equal(first["clip"], longer["clip"][:, :FRAMES])
  np.testing.assert_array_equal(data.train.load(np.array([7]), ["clip"])["clip"][0], first["clip"][1])
  other = data.validation.load(np.array([3]), ["clip"])["clip"][0]
  assert not np.array_equal(other, first["clip"][0])


def test_paths_stay_inside_and_turn_round_at_the_edges():
  rng = np.random.default_rng(0)
  corners = moving_digits.paths(rng, 3, 200, 16, 32)
  assert corners.min() == 0 and corners.max() == 16
  moved = np.diff(corners, axis=0)
  assert (np.abs(moved) <= 2).all() and ((moved > 0).any(axis=0) & (moved < 0).any(axis=0)).all()


def test_one_digit_and_single_pictures_and_grey():
  _, data = opened(objects=1, frames=0, channels=1)
  loaded = data.validation.load(np.arange(10), data.elements)
  assert loaded["image"].shape == (10, SIDE, SIDE, 1) and loaded["position"].shape == (10, 1, 2)
  assert data.classes == {"label/digit": tuple("0123456789")}
  batch = next(iter(pipeline.validation_batches(opened(objects=1, frames=0, channels=1)[0])))
  assert batch["image"].dtype == np.float32 and batch["image"].min() == -1


@pytest.mark.parametrize("zipped", [True, False])
def test_mnists_files(tmp_path, zipped):
  folder = write_mnist(tmp_path, zipped=zipped)
  _, data = opened(name="moving_mnist", path=str(folder), objects=3)
  parts = digits.of_folder(str(folder), 16)
  assert [len(parts[name].labels) for name in moving_digits.SPLITS] == [3, 3, 6]
  loaded = data.tests["test"].load(np.arange(4), data.elements)
  assert loaded["clip"].any(axis=(0, 1, 2, 3)).all() and "3 in each, of 3 pictures" in data.note
  pictures = digits.read_idx(str(folder / (digits.PARTS["test"][0] + (".gz" if zipped else ""))), 3)
  np.testing.assert_array_equal(digits.resized(pictures, 28), pictures)


def test_bad_files_are_one_line(tmp_path):
  with pytest.raises(UserError, match=r"has no train-images-idx3-ubyte or train-images-idx3-ubyte\.gz"):
    opened(name="moving_mnist", path=str(tmp_path))
  folder = write_mnist(tmp_path, zipped=False)
  images = folder / digits.PARTS["train"][0]
  whole = images.read_bytes()
  for data, words in ((whole[:-1], "is damaged"), (b"\x00\x00\x0d\x03" + whole[4:], "is no idx file")):
    images.write_bytes(data)
    pipeline._open.cache_clear()
    with pytest.raises(UserError, match=words):
      opened(name="moving_mnist", path=str(folder))
