"""Prepared TensorFlow Datasets as a data set, read without TensorFlow: array_record, and TFRecord files as they are."""

import difflib
import os
import struct
from typing import Any

import numpy as np
from absl import logging

from pdr_jax.data import dataset, decode, splits
from pdr_jax.errors import UserError

_VALIDATION = ("validation", "val", "valid", "test")
PREPARE = "python -c \"import tensorflow_datasets as tfds; tfds.builder('{name}', file_format='array_record').download_and_prepare()\""
OWN = ("heads", "ict_faces", "people", "embedded_cars", "car_meshes", "image_folder")  # names that are no TFDS set's


class TfRecords:
  """Random access to the records of uncompressed TFRecord shards. A record: length u64, its checksum u32, bytes, their checksum u32.

  The positions are found by hopping from length to length once. Raises UserError where a shard ends in the middle of a record.
  """

  def __init__(self, file_instructions):
    self._paths, self._records = [], []
    for instruction in file_instructions:
      path = os.fspath(instruction.filename)
      self._paths.append(path)
      records, position, size = [], 0, os.path.getsize(path)
      with open(path, "rb") as file:
        while position < size:
          file.seek(position)
          head = file.read(8)
          length = struct.unpack("<Q", head)[0] if len(head) == 8 else size
          if position + length + 16 > size:
            raise UserError(f"{path} is truncated or no TFRecord file: prepare the data set again")
          records.append((len(self._paths) - 1, position + 12, length))
          position += length + 16
      take = instruction.take if instruction.take > 0 else None
      self._records += records[instruction.skip:][:take]

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> bytes:
    path, position, length = self._records[index]
    with open(self._paths[path], "rb") as file:
      file.seek(position)
      return file.read(length)


def find_builder(name: str, data_dir: str) -> Any:
  """The builder of a prepared data set, whether or not its generation code is installed. Raises UserError with what to do."""
  import tensorflow_datasets as tfds  # slow to import, and only this source needs it
  data_dir = os.path.expanduser(data_dir) if data_dir else None
  where = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  try:
    return tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
  except tfds.core.registered.DatasetNotFoundError:
    pass
  except Exception as error:  # a damaged dataset_info.json, an unparsable name, a version that is not there ...
    raise UserError(f"data.name={name}: the copy in {where} cannot be opened ({_line(error)}); prepare it again") from error
  known = tfds.list_builders(with_community_datasets=False)
  bare = name.split(":")[0].split("/")[0]
  if bare not in known:
    close = difflib.get_close_matches(bare, sorted({*known, *OWN}), 3)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    raise UserError(f"data.name={name} is neither {', '.join(OWN)}, nor a prepared TFDS data set in {where}{hint}")
  raise UserError(f"data.name={name} is not prepared in {where}; prepare it once: {PREPARE.format(name=name)}")


def _line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _label_features(features, prefix: str = "") -> dict[str, Any]:
  """Path -> feature of every scalar number, truth value or class, nested ones as attributes/Smiling."""
  import tensorflow_datasets as tfds
  found = {}
  for key, feature in features.items():
    if isinstance(feature, tfds.features.FeaturesDict):
      found.update(_label_features(feature, f"{prefix}{key}/"))
    elif isinstance(feature, tfds.features.Tensor | tfds.features.ClassLabel) and feature.shape == ():
      if np.dtype(feature.np_dtype).kind in "biuf":
        found[prefix + key] = feature
  return found


def _chosen(features, paths: list[str]):
  """The FeaturesDict of these paths only (`image`, `attributes/Smiling`): what is not in it is not even parsed."""
  import tensorflow_datasets as tfds
  below: dict[str, list[str]] = {}
  for path in paths:
    key, _, rest = path.partition("/")
    below.setdefault(key, []).append(rest)
  return tfds.features.FeaturesDict({key: _chosen(features[key], rest) if rest[0] else features[key] for key, rest in below.items()})


def _at(example: dict, path: str) -> Any:
  for key in path.split("/"):
    example = example[key]
  return example


class Reader:
  """Random access to the chosen features of one split, array_record or TFRecord. Raises NotImplementedError for other formats.

  Images stay encoded bytes where `encoded` says so, to be decoded here and not by OpenCV, which takes half a JPEG for a whole one.
  Reading raises UserError where the files are cut short or gone.
  """

  def __init__(self, builder, split: str, paths: list[str], *, encoded: bool):
    import tensorflow_datasets as tfds
    features = builder.info.features
    self._name = builder.name
    self._features = _chosen(features, paths)
    self._decoders = {"image": tfds.decode.SkipDecoding()} if encoded and isinstance(features["image"], tfds.features.Image) else None
    if builder.info.file_format == tfds.core.FileFormat.TFRECORD:
      self._source = TfRecords(builder.info.splits[split].file_instructions)
    else:
      self._source = builder.as_data_source(split, deserialize_method=tfds.decode.DeserializeMethod.RAW_BYTES)

  def __len__(self) -> int:
    return len(self._source)

  def __getitem__(self, index: int) -> dict:
    try:
      record = self._source[index]
    except Exception as error:  # array_record and file systems raise what they like
      raise UserError(f"data.name={self._name}: its prepared files are damaged or gone ({_line(error)}); prepare it again") from error
    return self._features.deserialize_example_np(record, decoders=self._decoders)


class _LazyReader:
  """`Split.load` that decodes as images are read, for large sets; an image that fails is replaced by the next one."""

  def __init__(self, reader: Reader, labels: dict, rows: np.ndarray, side: int, crop: tuple[int, ...], name: str, skipped: list):
    self._reader, self._labels, self._rows, self._side, self._crop = reader, labels, rows, side, crop
    self._name, self._skipped = name, skipped
    self._bad: set[int] = set()
    self._kept = dataset.Kept(len(rows), side)

  def __call__(self, indices: np.ndarray, image_only: bool) -> dict[str, np.ndarray]:
    if image_only:
      return {"image": np.stack([self._kept.get(int(i), lambda index: self._one(index)[0]) for i in indices])}
    examples = [self._one(int(i)) for i in indices]
    arrays = {"image": np.stack([image for image, _ in examples])}
    for path, feature in self._labels.items():
      arrays[f"label/{path}"] = np.array([_at(example, path) for _, example in examples], _label_dtype(feature))
    return arrays

  def _one(self, index: int) -> tuple[np.ndarray, dict]:
    for step in range(len(self._rows)):
      row = int(self._rows[(index + step) % len(self._rows)])
      if row in self._bad:
        continue
      example = self._reader[row]
      try:
        return decode.decode_image(example["image"], self._side, self._crop), example
      except decode.BadImage as error:
        self._bad.add(row)
        self._skipped.append((f"example {row}", str(error)))
        logging.warning("%s: example %d: %s; the next image takes its place", self._name, row, error)
    raise UserError(f"data.name={self._name}: not one image can be used; see the reasons above")


def _label_dtype(feature) -> type:
  return np.float32 if np.dtype(feature.np_dtype).kind == "f" else np.int32


def _rows(config, readers: dict[str, Reader], validation: str | None) -> tuple[np.ndarray, np.ndarray]:
  """Which examples of the train split and of the validation split (or of train too, where validation is None) are used. Sizes of 0 mean
  all, and a tenth where validation is carved out."""
  data, total = config.data, len(readers["train"])
  if validation is None:
    train, held = splits.by_seed([str(i) for i in range(total)], data.scene_seed, data.train_examples, data.val_examples)
    return np.array(train), np.array(held)
  train, _ = splits.by_seed([str(i) for i in range(total)], data.scene_seed, data.train_examples, 1)
  if not data.train_examples or data.train_examples >= total:
    train = range(total)
  others = len(readers[validation])
  held = sorted(range(others), key=lambda i: splits.rank(data.scene_seed, str(i)))
  return np.array(train), np.array(held[:data.val_examples or None])


def open_tfds(config) -> dataset.Dataset:
  """The prepared data set `config.data.name` (`celeb_a`, `smallnorb:2.0.0`, `name/config`) in `config.data.cache_dir`, without truth.

  Needs a feature `image`; scalar features become `label/<name>`, nested ones `label/attributes/Smiling`. Validation is the split named
  validation, val, valid or test, in this order, or else is carved out of train by `data.scene_seed`.
  Raises UserError: unknown or unprepared data set, no image feature, no train split, no usable image, a crop that fits none.
  """
  import tensorflow_datasets as tfds
  name, side, crop = config.data.name, config.data.side, decode.check_crop(config.data.crop)
  builder = find_builder(name, config.data.cache_dir)
  features = builder.info.features
  if not isinstance(features, tfds.features.FeaturesDict) or "image" not in features:
    listed = ", ".join(features) if isinstance(features, tfds.features.FeaturesDict) else type(features).__name__
    raise UserError(f"data.name={name} has no feature `image` (it has {listed}): choose a data set of images")
  if not isinstance(features["image"], tfds.features.Image) and features["image"].np_dtype != np.uint8:
    raise UserError(f"data.name={name}: its `image` holds {features['image'].np_dtype} values, not pictures of 8 bits")
  if "train" not in builder.info.splits:
    raise UserError(f"data.name={name} has no split `train` (it has {', '.join(builder.info.splits) or 'none: prepare it again'})")
  validation = next((split for split in _VALIDATION if split in builder.info.splits and builder.info.splits[split].num_examples), None)
  try:
    labels = _label_features(features)
    readers = {split: Reader(builder, split, ["image", *labels], encoded=True) for split in ("train", validation) if split}
  except NotImplementedError as error:
    kind = builder.info.file_format.value
    raise UserError(f"data.name={name} is prepared as {kind}, which has no random access; once: {PREPARE.format(name=name)}") from error
  rows = dict(zip(("train", "validation"), _rows(config, readers, validation), strict=True))
  skipped: list[tuple[str, str]] = []
  in_memory = dataset.decode_first(sum(map(len, rows.values())), side)
  classes = {f"label/{path}": tuple(feature.names) if isinstance(feature, tfds.features.ClassLabel) and feature.names else ()
             for path, feature in labels.items()}

  def make(split: str) -> dataset.Split:
    if not len(rows[split]):
      raise UserError(f"data.name={name}: no example is left for {split}; it needs at least two in all")
    reader = readers["train" if split == "train" or validation is None else validation]
    if not in_memory:
      return dataset.Split(len(rows[split]), _LazyReader(reader, labels, rows[split], side, crop, name, skipped), in_memory=False)
    return dataset.memory_split(_read_all(reader, labels, rows[split], side, crop, f"{name} {split}", skipped))

  return dataset.Dataset(name=name, train=make("train"), validation=make("validation"), has_truth=False, classes=classes,
                         skipped=skipped, note="" if in_memory else dataset.LAZY_NOTE)


def _read_all(reader: Reader, labels: dict, rows: np.ndarray, side: int, crop: tuple[int, ...], name: str,
              skipped: list) -> dict[str, np.ndarray]:
  """Decodes the chosen rows into arrays, those that fail left out."""
  arrays = {"image": np.zeros((len(rows), side, side, 3), np.uint8)}
  for path, feature in labels.items():
    arrays[f"label/{path}"] = np.zeros(len(rows), _label_dtype(feature))
  reasons: dict[int, decode.BadImage] = {}

  def work(i: int) -> None:
    example = reader[int(rows[i])]
    for path in labels:
      arrays[f"label/{path}"][i] = _at(example, path)
    try:
      arrays["image"][i] = decode.decode_image(example["image"], side, crop)
    except decode.BadImage as error:
      reasons[i] = error

  dataset.for_each(len(rows), work, f"reading {name}")
  if len(reasons) == len(rows):
    first = reasons[min(reasons)]
    key = "data.crop" if isinstance(first, decode.CropOutside) else "data.name"
    raise UserError(f"{key}: none of the {len(rows)} images of {name} can be used; the first: {first}")
  skipped += [(f"{name} example {rows[i]}", str(reasons[i])) for i in sorted(reasons)]
  good = np.array([i for i in range(len(rows)) if i not in reasons])
  return arrays if not reasons else {key: array[good] for key, array in arrays.items()}
