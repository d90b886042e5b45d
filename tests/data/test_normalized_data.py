"""Training on normalised pictures: computed once, labels in place, nothing of the old pixels left."""

import json
import os
import pathlib

import jax
import numpy as np
import pytest
from support import labelled_folder, toy_scene

from pdr_jax import methods
from pdr_jax.data import dataset, normalized, pipeline
from pdr_jax.data.dataset import elements_of
from pdr_jax.errors import UserError
from pdr_jax.exports import normalized_data, reader, writer

SIDE = 8


@pytest.fixture(scope="module")
def export(tmp_path_factory):
  """The export of a method that takes the mean of a picture and its mirror image."""
  folder = str(tmp_path_factory.mktemp("export"))
  config = toy_scene.config()
  config.data.side = SIDE
  method = methods.create(config)
  example = {"image": np.zeros((1, SIDE, SIDE, 3), np.float32)}
  variables = jax.device_get(methods.inference_variables(method.init(jax.random.key(0), example)))
  writer.write(folder, config, variables, {"step": 1})
  return folder


@pytest.fixture
def config(tmp_path, export):
  labelled_folder.write(tmp_path / "images")
  made = toy_scene.config(name="image_folder", path=str(tmp_path / "images"), val_examples=20)
  made.data.update(side=SIDE, cache_dir=str(tmp_path / "cache"), normalize_with=export)
  return made


def test_pictures_are_normalised_once_and_keep_their_order_and_labels(config):
  with pytest.raises(UserError, match=r"the normalised pictures of data\.normalize_with are not in"):
    pipeline.open_dataset(config)
  lines = []
  normalized_data.prepare(config, lines.append)
  assert [line.split(",")[0] for line in lines] == [
    "normalising train: 40 of 40", "normalising validation: 20 of 20"
  ]
  normalized_data.prepare(config, lines.append)
  assert len(lines) == 2  # nothing was computed again

  plain = normalized_data.as_it_is(config)
  for split in ("train", "validation"):
    ours, theirs = (next(iter(pipeline.validation_batches(c, split=split))) for c in (config, plain))
    assert ours.keys() == theirs.keys()
    np.testing.assert_array_equal(ours["label/colour"], theirs["label/colour"])
    image = theirs["image"]
    # Half a step of 1/255 of the range of two is lost where they are stored.
    np.testing.assert_allclose(ours["image"], (image + np.flip(image, 2)) / 2, atol=1 / 255 + 1e-5)
    assert np.abs(ours["image"] - image).max() > 0.1
  batch = next(pipeline.train_iterator(config, {"image": toy_scene.reads(config)["image"]}))
  np.testing.assert_array_equal(batch["image"], np.flip(batch["image"], 2))


def test_another_export_or_other_data_are_other_pictures(config, export, tmp_path):
  plain = pipeline.open_dataset(normalized_data.as_it_is(config))
  folder = normalized.folder_of(config.data, plain)
  assert folder.startswith(str(tmp_path / "cache"))
  other = config.copy_and_resolve_references()
  other.data.crop = (0, 0, 8, 8)
  assert normalized.folder_of(other.data, plain) != folder
  other = config.copy_and_resolve_references()
  other.data.workers, other.data.flip = 3, True  # how batches are made is not what they are
  assert normalized.folder_of(other.data, plain) == folder
  copy = tmp_path / "copy"
  copy.mkdir()
  manifest = json.load(open(os.path.join(export, reader.MANIFEST)))
  (copy / reader.MANIFEST).write_text(json.dumps(manifest | {"step": 2}))
  other.data.normalize_with = str(copy)
  assert normalized.folder_of(other.data, plain) != folder


def test_maps_of_the_old_pixels_are_left_out():
  image = np.zeros((3, SIDE, SIDE, 3), np.uint8)
  arrays = {"image": image, "depth": np.ones((3, SIDE, SIDE))}
  arrays |= {"label/who": np.arange(3), "view": np.ones((3, 6))}
  data = dataset.Dataset("", None, None, elements_of(arrays), {}, [])
  assert normalized.labels(data) == ["label/who", "view"]


def test_a_broken_file_of_a_set_that_is_read_lazily_takes_its_label_with_it(config, monkeypatch):
  """Which file is broken shows only while pictures are read, and the next one then stands in its place."""
  monkeypatch.setattr(dataset, "decode_first", lambda *_: False)
  folder = pathlib.Path(config.data.path)
  load = pipeline.open_dataset(normalized_data.as_it_is(config)).train.load
  colours = load(np.arange(40), ["label/colour"])["label/colour"]
  broken = int(np.flatnonzero(np.diff(colours))[0])  # one that the next picture's colour differs from
  file = folder / load._names[broken]
  file.write_bytes(file.read_bytes()[:60])
  pipeline._open.cache_clear()
  normalized_data.prepare(config, lambda _: None)
  loaded = pipeline.open_dataset(config).train.load(np.arange(40), ["image", "label/colour"])
  expected = colours.copy()
  expected[broken] = colours[broken + 1]
  np.testing.assert_array_equal(loaded["label/colour"], expected)
  np.testing.assert_array_equal(loaded["image"][broken], loaded["image"][broken + 1])


def test_what_cannot_be_normalised_is_one_line(config, tmp_path):
  config.data.normalize_with = str(tmp_path)
  with pytest.raises(UserError, match=r"must be an export: it has no export\.json"):
    normalized_data.prepare(config)
  config.data.normalize_with = reader.SHIPPED
  with pytest.raises(UserError, match=r"the export must normalise pictures \[8, 8, 3\]; it is of pdr, takes"):
    normalized_data.prepare(config)
