"""Data that goes bad: files lost during a run, images overwritten during it, an array_record cut short."""

import glob
import io
import logging
import os

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pdr_jax.config import base
from pdr_jax.data import dataset, pipeline
from pdr_jax.elements import Element
from pdr_jax.errors import UserError

READS = {"image": Element((32, 32, 3), "float32", "image", (-1.0, 1.0))}


def png(seed: int) -> io.BytesIO:
  buffer = io.BytesIO()
  Image.fromarray(np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(
    buffer, "PNG"
  )
  buffer.seek(0)
  return buffer


def config(**data):
  wanted = base()
  wanted.data.update(dict(side=32, train_examples=0, val_examples=2) | data)
  wanted.train.batch_size = 5
  return wanted


@pytest.fixture
def as_read(monkeypatch):
  """Images are decoded whenever they are read, as of sets too large for memory."""
  monkeypatch.setattr(dataset, "EAGER_LIMIT", 0)
  monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)


def test_files_lost_and_spoilt_during_a_run_are_named_once_and_it_goes_on(tmp_path, as_read, caplog):
  for i in range(22):
    (tmp_path / f"{i:02}.png").write_bytes(png(i).getvalue())
  wanted = config(name="image_folder", path=str(tmp_path))
  batches = pipeline.train_iterator(wanted, READS)
  next(batches)
  odd = {name for name in os.listdir(tmp_path)} - {f"{i:02}.png" for i in range(0, 22, 2)}
  with caplog.at_level(logging.WARNING, "absl"):
    for name in sorted(odd)[:4]:  # some of them are being read ahead
      (tmp_path / name).unlink()
    (tmp_path / "00.png").write_bytes(png(0).getvalue()[:700])
    later = [next(batches) for _ in range(12)]  # three epochs
  batches.close()
  assert all(batch["image"].shape == (5, 32, 32, 3) and np.isfinite(batch["image"]).all() for batch in later)
  named = [name for name, _ in pipeline.describe(wanted).skipped]
  bad = {*sorted(odd)[:4], "00.png"}
  # Two images are the validation split.
  assert named and set(named) <= bad and len(named) == len(set(named)) and len(named) >= 3
  assert all(sum(name in record.getMessage() for record in caplog.records) == 1 for name in named)


def test_a_folder_that_is_gone_stops_the_run_with_one_line(tmp_path, as_read):
  for i in range(8):
    (tmp_path / f"{i}.png").write_bytes(png(i).getvalue())
  batches = pipeline.train_iterator(config(name="image_folder", path=str(tmp_path)), READS)
  next(batches)
  for name in os.listdir(tmp_path):
    (tmp_path / name).unlink()
  with pytest.raises(UserError, match=r"not one image of .* can be used"):
    for _ in range(20):  # what was read ahead is still there
      next(batches)
  batches.close()


class CutShort(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  VERSION = tfds.core.Version("1.0.0")

  def _info(self):
    return tfds.core.DatasetInfo(
      builder=self, features=tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(None, None, 3))})
    )

  def _split_generators(self, dl_manager):
    return {"train": self._generate_examples()}

  def _generate_examples(self):
    for i in range(12):
      yield i, {"image": png(i)}


@pytest.mark.parametrize("rest", [0, 0.5, 0.9])
def test_an_array_record_cut_short_is_one_line(tmp_path, rest):
  tfds.disable_progress_bar()
  CutShort(data_dir=tmp_path, file_format="array_record").download_and_prepare()
  path, = glob.glob(str(tmp_path / "cut_short/1.0.0/*.array_record*"))
  wanted = config(name="cut_short", cache_dir=str(tmp_path))
  assert pipeline.describe(wanted).train_size == 10
  os.truncate(path, int(os.path.getsize(path) * rest))
  pipeline._open.cache_clear()
  with pytest.raises(UserError) as error:
    pipeline.describe(wanted)
  assert "cut_short" in str(error.value) and "\n" not in str(error.value)
