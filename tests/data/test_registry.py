"""Sources are found by the name of their module or by a dotted path; what they cannot do is one line."""

import pkgutil
import subprocess
import sys

import numpy as np
import pytest
from ml_collections import ConfigDict
from support import toy_source
from support.configs import data_config
from support.tolerances import rounding

from pdr_jax.data import pipeline, registry, sources, tfds_source
from pdr_jax.data.dataset import Source
from pdr_jax.elements import Element
from pdr_jax.errors import UserError

TOY = "support.toy_source"


@pytest.mark.parametrize("name", sources.names())
def test_every_module_is_a_source(name):
  source = registry.find(name)
  assert (
    isinstance(source, Source) and source.about and "\n" not in source.about + source.path + source.licence
  )


def test_names_are_those_of_the_files():
  assert (
    sources.names() == [module.name for module in pkgutil.iter_modules(sources.__path__)]
    and "heads" in sources.names()
  )
  assert registry.find("celeb_a") is registry.find("smallnorb:2.0.0") is tfds_source.SOURCE
  assert registry.find(TOY) is toy_source.SOURCE


def test_to_find_a_source_imports_nothing_slow():
  program = (
    "import sys; from pdr_jax.data import registry, sources; list(map(registry.find, sources.names())); "
    "print({'jax', 'tensorflow_datasets', 'tensorflow', 'flax', 'scipy.io'} & sys.modules.keys())"
  )
  result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
  assert result.stdout.strip() == "set()"


@pytest.mark.parametrize(
  "name, words",
  [
    ("support.no_such_toy", ("support.no_such_toy", "no module")),
    ("no_such_package.toy", ("no_such_package", "no module")),
    ("support.configs", ("no SOURCE",)),
    ("headz", ("headz", "did you mean", "heads")),
    ("poeple", ("did you mean", "people")),
  ],
)
def test_a_wrong_name_is_one_line_with_what_is_near(tmp_path, name, words):
  fails(data_config(name, cache_dir=str(tmp_path)), words)


@pytest.mark.parametrize(
  "name, data, words",
  [
    ("heads", {"path": "/photos"}, ("data.path=/photos", "reads no path", "image_folder")),
    ("celeb_a", {"path": "/photos"}, ("reads no path", "image_folder")),
    ("people", {"crop": (0, 0, 8, 8)}, ("data.crop=(0, 0, 8, 8)", "no pictures to crop")),
    ("image_folder", {}, ("data.path is empty", "a folder or .zip")),
    ("utkface", {}, ("data.path is empty", "AGE_GENDER_RACE")),
    ("embedded_cars", {"split_by": "body"}, ("data.split_by=body", "needs seed")),
    ("utkface", {"path": "x", "label_kinds": "a:classes"}, ("data.label_kinds=a:classes", "image_folder")),
    ("car_meshes", {"path": "x", "frames": 4}, ("data.frames=4", "single images only")),
    (TOY, {"frames": -1}, ("data.frames=-1",)),
    (TOY, {"channels": 2}, ("data.channels=2", "1 (grey) or 3")),
    (TOY, {"side": 7}, ("data.side=7", "at least 8")),
  ],
)
def test_what_a_source_cannot_do_is_one_line(name, data, words):
  fails(data_config(name, **data), words)


def fails(config, words):
  with pytest.raises(UserError) as caught:
    pipeline.open_dataset(config)
  message = str(caught.value)
  assert all(word in message for word in words) and "\n" not in message, message


@pytest.mark.parametrize("frames, channels, side", [(0, 1, 28), (0, 3, 9), (5, 1, 12), (2, 3, 8)])
def test_a_source_in_one_file_goes_through_the_pipeline(frames, channels, side):
  config = data_config(TOY, side=side, channels=channels, frames=frames, flip=True)
  key = "clip" if frames else "image"
  shape = (frames, side, side, channels) if frames else (side, side, channels)
  reads = {key: Element(shape, "float32", key, (0.0, 1.0)), "label/kind": Element((), "int32", "label")}
  iterator = pipeline.train_iterator(config, reads)
  for _ in range(3):
    batch = next(iterator)
    assert (
      batch.keys() == {key, "label/kind"}
      and batch[key].shape == (4, *shape)
      and batch[key].dtype == np.float32
    )
    assert batch[key].min() >= 0 and 0.7 < batch[key].max() <= 1
  (first, *_) = pipeline.validation_batches(config, reads=reads)
  assert first.keys() == {key, "label/kind", "_mask"} and first[key].min() >= 0
  (only, *_) = pipeline.validation_batches(config, keys=[key])
  assert only.keys() == {key, "_mask"} and only[key].min() < -0.5
  drawn = toy_source.draw(config.data, 16, 1)
  # two float32 roundings of numbers up to 1
  np.testing.assert_allclose(first[key], drawn[key][:4] / 255, rtol=0, atol=rounding(2))
  np.testing.assert_array_equal(first["label/kind"], drawn["label/kind"][:4])
  counted = (
    f"64 training and 16 validation {f'clips of {frames} frames' if frames else 'images'}, labels: kind"
  )
  assert counted in pipeline.describe(config).summary()


def test_a_source_has_options_of_its_own():
  plain, bright = (data_config(TOY, side=28, channels=1, options=text) for text in ("", "light = 195"))
  images = [next(iter(pipeline.validation_batches(config)))["image"] for config in (plain, bright)]
  # 15 of 255 steps more, in a range of 2; float32 rounding of numbers up to 1.
  np.testing.assert_allclose((images[1] - images[0]).max(), 2 * 15 / 255, atol=2e-7)
  for text, words in (
    ("dark=1", r"data.options=dark=1: support.toy_source has no option dark; it has light \(brightness"),
    ("light=x", "data.options: light=x: must be int"),
    ("light=0", "data.options: light=0: must be at least 1"),
  ):
    with pytest.raises(UserError, match=words):
      pipeline.open_dataset(data_config(TOY, side=28, channels=1, options=text))
  with pytest.raises(UserError, match="heads has no option light; it has none"):
    pipeline.open_dataset(data_config("heads", options="light=1"))


def test_a_method_that_reads_what_is_not_there_is_one_line():
  config = data_config(TOY, side=28, channels=1)
  reads = {"image": Element((28, 28, 3), "float32", "image")}
  with pytest.raises(
    UserError,
    match=r"the data set toy has 'image' as float32 \[28, 28, 1\], and float32 \[28, 28, 3\] is needed",
  ):
    pipeline.train_iterator(config, reads)
  with pytest.raises(UserError, match=r"the data set toy has no 'clip': it has image, label/kind"):
    pipeline.train_iterator(config, {"clip": Element((4, 28, 28, 1), "float32", "clip")})
  with pytest.raises(UserError, match="the data set toy has no 'depth'"):
    pipeline.validation_batches(config, keys=["depth"])
  with pytest.raises(UserError, match="toy has no split test: choose one of train, validation"):
    pipeline.validation_batches(config, split="test")


def test_only_the_data_decides_which_set_is_opened():
  config = data_config(TOY)
  data = pipeline.open_dataset(config)
  other = ConfigDict({"data": config.data.to_dict() | {"flip": True, "workers": 2}, "seed": 5})
  assert pipeline.open_dataset(other) is data
  config.data.scene_seed = 1
  assert pipeline.open_dataset(config) is not data
