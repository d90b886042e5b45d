"""Prepared TensorFlow Datasets as a data set, read without TensorFlow.

Both array_record and TFRecord files are read as they are.
"""

import os
from collections.abc import Collection
from typing import Any

import numpy as np
from absl import logging
from jaxtyping import UInt8

from pdr_jax.data import dataset, decode, splits, stores, tfds_files, transforms
from pdr_jax.data.dataset import Dataset, Source, Split
from pdr_jax.errors import UserError

_VALIDATION = ("validation", "val", "valid")
_TEST = "test"  # never for validation, which chooses checkpoints


def _label_features(features, prefix: str = "") -> dict[str, Any]:
  """Path -> feature of every scalar number, truth value or class, nested ones as attributes/Smiling."""
  import tensorflow_datasets as tfds

  labels = {}
  for key, feature in features.items():
    if isinstance(feature, tfds.features.FeaturesDict):
      labels.update(_label_features(feature, f"{prefix}{key}/"))
    elif isinstance(feature, tfds.features.Tensor | tfds.features.ClassLabel) and feature.shape == ():
      if np.dtype(feature.np_dtype).kind in "biuf":
        labels[prefix + key] = feature
  return labels


class _Examples:
  """Some examples of one split: pictures or clips, and labels.

  Args:
    reader: gives the examples of the split.
    feature: the feature of the picture or the video.
    labels: feature of each label, by path.
    rows: the numbers of the chosen examples in the split.
    data: the section of the configuration.
    name: of the set, for messages.
  """

  def __init__(
    self,
    reader: tfds_files.Reader,
    feature: str,
    labels: dict[str, Any],
    rows: np.ndarray,
    data: Any,
    name: str,
  ):
    self.rows, self.name = rows, name
    self._reader, self._feature, self._labels = reader, feature, labels
    self._side, self._channels, self._frames = data.side, data.channels, data.frames
    self._crop, self._seed = decode.check_crop(data.crop), data.scene_seed
    self.key, self.shape = dataset.input_key(data), dataset.picture_shape(data)

  def example(self, index: int) -> dict:
    """The example as it is stored, pictures still encoded."""
    return self._reader[int(self.rows[index])]

  def picture(self, index: int, example: dict) -> UInt8[np.ndarray, "*T S S C"]:
    """The example's picture or clip. Raises `decode.BadImage`."""
    pictures = example[self._feature]
    if pictures is None:  # what TFDS makes of a record that was cut short
      raise decode.BadImage("empty record")
    if not self._frames:
      return transforms.picture(pictures, self._side, self._crop, self._channels)
    if len(pictures) < self._frames:
      raise decode.BadImage(f"{len(pictures)} frames, fewer than data.frames={self._frames}")
    # A window of a longer video, fixed by the seed and the number of the example.
    rank = splits.rank(self._seed, f"window/{self.rows[index]}")
    start = int.from_bytes(rank, "big") % (len(pictures) - self._frames + 1)
    window = pictures[start : start + self._frames]
    return np.stack([transforms.picture(frame, self._side, self._crop, self._channels) for frame in window])

  def empty(self, count: int) -> dataset.Arrays:
    """Arrays for so many examples."""
    labels = {
      f"label/{path}": np.zeros(count, _label_dtype(feature)) for path, feature in self._labels.items()
    }
    return {self.key: np.zeros((count, *self.shape), np.uint8)} | labels

  def label(self, example: dict, key: str) -> Any:
    """The value of the label `label/PATH`."""
    return tfds_files.at(example, key.removeprefix("label/"))


class _LazySplit:
  """`Split.load` that decodes as images are read, for large sets.

  A picture that fails is replaced by the next one, with its labels. That shows only where pictures are read.
  """

  def __init__(self, examples: _Examples, skipped: list):
    self._examples, self._skipped = examples, skipped
    self._bad: set[int] = set()
    self._memory = dataset.Kept(len(examples.rows), examples.shape)

  def __call__(self, indices: np.ndarray, keys: Collection[str]) -> dataset.Arrays:
    examples = self._examples
    arrays = {key: array for key, array in examples.empty(len(indices)).items() if key in keys}
    labels = [key for key in arrays if key != examples.key]
    for i, index in enumerate(map(int, indices)):
      if not labels:
        arrays[examples.key][i] = self._memory.get(index, lambda index: self._read(index)[0])
      elif examples.key in arrays:
        arrays[examples.key][i], example = self._read(index)
      else:
        example = examples.example(index)
      for key in labels:
        arrays[key][i] = examples.label(example, key)
    return arrays

  def _read(self, index: int) -> tuple[np.ndarray, dict]:
    examples, count = self._examples, len(self._examples.rows)
    for step in range(count):
      i = (index + step) % count
      if i in self._bad:
        continue
      example = examples.example(i)
      try:
        return examples.picture(i, example), example
      except decode.BadImage as error:
        self._bad.add(i)
        self._skipped.append((f"example {examples.rows[i]}", str(error)))
        logging.warning(
          "%s: example %d: %s; the next one takes its place", examples.name, examples.rows[i], error
        )
    raise UserError(f"data.name={examples.name}: not one image can be used; see the reasons above")


def _label_dtype(feature) -> type:
  return np.float32 if np.dtype(feature.np_dtype).kind == "f" else np.int32


def _rows(data: Any, readers: dict[str, tfds_files.Reader]) -> dict[str, np.ndarray]:
  """The numbers of the examples for train, for validation, and for test where there is such a split.

  Where there is no split for validation, its examples are taken out of train. Sizes of 0 mean all, and a
  tenth where validation is taken out of train.
  """
  total = len(readers["train"])
  names = [str(i) for i in range(total)]
  test = {_TEST: np.arange(len(readers[_TEST]))} if _TEST in readers else {}
  if "validation" not in readers:
    train, rest = splits.by_seed(names, data.scene_seed, data.train_examples, data.val_examples)
    return {"train": np.array(train), "validation": np.array(rest), **test}
  train, _ = splits.by_seed(names, data.scene_seed, data.train_examples, 1)
  if not data.train_examples or data.train_examples >= total:
    train = range(total)
  count = len(readers["validation"])
  rest = sorted(range(count), key=lambda i: splits.rank(data.scene_seed, str(i)))
  return {"train": np.array(train), "validation": np.array(rest[: data.val_examples or None]), **test}


def _picture_feature(features, data: Any) -> str:
  """The name of the feature of images, or of videos where clips are asked for. Raises UserError."""
  import tensorflow_datasets as tfds

  if not isinstance(features, tfds.features.FeaturesDict):
    raise UserError(
      f"data.name={data.name} has no feature `image` (it has {type(features).__name__}): choose a data "
      "set of images"
    )
  listed = ", ".join(features)
  videos = [key for key, feature in features.items() if tfds_files.is_video(feature)]
  if not data.frames:
    if "image" not in features:
      clips = "ask for clips of videos by data.frames, or " if videos else ""
      raise UserError(
        f"data.name={data.name} has no feature `image` (it has {listed}): {clips}choose a data set of images"
      )
    if not isinstance(features["image"], tfds.features.Image) and features["image"].np_dtype != np.uint8:
      raise UserError(
        f"data.name={data.name}: its `image` holds {features['image'].np_dtype} values, not pictures of 8 "
        "bits"
      )
    return "image"
  if not videos:
    raise UserError(
      f"data.frames={data.frames}: data.name={data.name} has no videos (it has {listed}); use data.frames=0"
    )
  return "video" if "video" in videos else videos[0]


def _open_readers(builder, name: str, paths: list[str]) -> dict[str, tfds_files.Reader]:
  """Readers of `train`, and of `validation` and `test` where there are such splits. Raises UserError."""
  splits_of = builder.info.splits
  if "train" not in splits_of:
    has = ", ".join(splits_of) or "none: prepare it again"
    raise UserError(f"data.name={name} has no split `train` (it has {has})")
  chosen = {"train": "train"}
  for part, names in (("validation", _VALIDATION), (_TEST, (_TEST,))):
    filled = [split for split in names if split in splits_of and splits_of[split].num_examples]
    if filled:
      chosen[part] = filled[0]
  try:
    return {part: tfds_files.Reader(builder, split, paths, encoded=True) for part, split in chosen.items()}
  except NotImplementedError as error:
    kind, prepare = builder.info.file_format.value, tfds_files.PREPARE.format(name=name)
    raise UserError(
      f"data.name={name} is prepared as {kind}, which has no random access; once: {prepare}"
    ) from error


def open_tfds(config) -> Dataset:
  """The prepared data set `data.name` (`celeb_a`, `smallnorb:2.0.0`, `name/config`) in `data.cache_dir`.

  Needs a feature `image`, or a video where `data.frames` asks for clips; scalar features become
  `label/<name>`, nested ones `label/attributes/Smiling`. Validation is the split named validation, val or
  valid, in this order, or else is taken out of train by `data.scene_seed`; the split named test is that of
  evaluations. Of a video longer than a clip, a window is taken that the seed fixes.

  Raises UserError: unknown or unprepared data set, no image feature, no train split, no usable image, a crop
  that fits none.
  """
  import tensorflow_datasets as tfds

  data = config.data
  decode.check_crop(data.crop)
  builder = tfds_files.find_builder(data.name, data.cache_dir)
  info = builder.info
  feature = _picture_feature(info.features, data)
  labels = _label_features(info.features)
  readers = _open_readers(builder, data.name, [feature, *labels])
  rows = _rows(data, readers)
  skipped: list[tuple[str, str]] = []
  in_memory = dataset.decode_first(sum(map(len, rows.values())), dataset.picture_shape(data))

  def make(split: str) -> Split:
    if not len(rows[split]):
      raise UserError(f"data.name={data.name}: no example is left for {split}; it needs at least two in all")
    examples = _Examples(readers.get(split, readers["train"]), feature, labels, rows[split], data, data.name)
    if not in_memory:
      return Split(len(rows[split]), _LazySplit(examples, skipped), in_memory=False)
    return dataset.memory_split(_read_all(examples, f"{data.name} {split}", skipped))

  classes = {
    f"label/{path}": tuple(label.names) if isinstance(label, tfds.features.ClassLabel) and label.names else ()
    for path, label in labels.items()
  }
  train, validation_split = make("train"), make("validation")
  return Dataset(
    name=data.name,
    train=train,
    validation=validation_split,
    elements=dataset.elements_of(
      _Examples(readers["train"], feature, labels, rows["train"], data, data.name).empty(0)
    ),
    classes=classes,
    skipped=skipped,
    note="" if in_memory else dataset.LAZY_NOTE,
    tests={_TEST: make(_TEST)} if _TEST in rows else {},
    fingerprint=stores.fingerprint_of(
      os.fspath(path) for split in info.splits.values() for path in split.filepaths
    ),
  )


def _read_all(examples: _Examples, name: str, skipped: list) -> dataset.Arrays:
  """Decodes the examples into arrays, those that fail left out."""
  rows = examples.rows
  arrays = examples.empty(len(rows))
  reasons: dict[int, decode.BadImage] = {}

  def work(i: int) -> None:
    example = examples.example(i)
    for key in arrays:
      if key != examples.key:
        arrays[key][i] = examples.label(example, key)
    try:
      arrays[examples.key][i] = examples.picture(i, example)
    except decode.BadImage as error:
      reasons[i] = error

  dataset.for_each(len(rows), work, f"reading {name}")
  if len(reasons) == len(rows):
    first = reasons[min(reasons)]
    key = "data.crop" if isinstance(first, decode.CropOutside) else "data.name"
    raise UserError(f"{key}: none of the {len(rows)} examples of {name} can be used; the first: {first}")
  skipped += [(f"{name} example {rows[i]}", str(reasons[i])) for i in sorted(reasons)]
  good = np.array([i for i in range(len(rows)) if i not in reasons])
  return arrays if not reasons else {key: array[good] for key, array in arrays.items()}


SOURCE = Source(
  about="any prepared TensorFlow data set with images or videos", open=open_tfds, crops=True, clips=True
)
