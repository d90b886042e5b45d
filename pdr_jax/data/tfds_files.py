"""Prepared TensorFlow Datasets read without TensorFlow: array_record, and TFRecord files as they are."""

import contextlib
import difflib
import importlib.util
import os
import struct
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from pdr_jax.data import sources
from pdr_jax.errors import UserError

PREPARE = (
  'python -c "import tensorflow_datasets as tfds; '
  "tfds.builder('{name}', file_format='array_record').download_and_prepare()\""
)


class TfRecords:
  """Random access to the records of uncompressed TFRecord shards.

  A record: length u64, its checksum u32, bytes, their checksum u32. The positions are found by hopping from
  length to length once. Raises UserError where a shard ends in the middle of a record.
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
      self._records += records[instruction.skip :][:take]

  def __len__(self) -> int:
    return len(self._records)

  def __getitem__(self, index: int) -> bytes:
    path, position, length = self._records[index]
    with open(self._paths[path], "rb") as file:
      file.seek(position)
      return file.read(length)


@contextlib.contextmanager
def videos_without_tensorflow() -> Iterator[None]:
  """Lets TFDS make its feature of videos, which asks TensorFlow for nothing but the name of a type."""
  from tensorflow_datasets.core.features import video_feature

  real = video_feature.tf
  if importlib.util.find_spec("tensorflow") is None:
    video_feature.tf = types.SimpleNamespace(dtypes=types.SimpleNamespace(as_dtype=np.dtype))
  try:
    yield
  finally:
    video_feature.tf = real


def find_builder(name: str, data_dir: str) -> Any:
  """The builder of a prepared data set, whether or not its generation code is installed.

  Raises UserError with what to do.
  """
  import tensorflow_datasets as tfds  # slow to import, and only this source needs it

  data_dir = os.path.expanduser(data_dir) if data_dir else None
  where = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
  try:
    with videos_without_tensorflow():
      return tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
  except tfds.core.registered.DatasetNotFoundError:
    pass
  except (
    Exception
  ) as error:  # a damaged dataset_info.json, an unparsable name, a version that is not there ...
    raise UserError(
      f"data.name={name}: the copy in {where} cannot be opened ({first_line(error)}); prepare it again"
    ) from error
  known = tfds.list_builders(with_community_datasets=False)
  bare = name.split(":")[0].split("/")[0]
  if bare not in known:
    near = difflib.get_close_matches(bare, sorted({*known, *sources.names()}), 3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see pdr_jax/data/sources for the names"
    raise UserError(f"data.name={name} is no data source and no prepared TFDS data set in {where}; {hint}")
  raise UserError(
    f"data.name={name} is not prepared in {where}; prepare it once: {PREPARE.format(name=name)}"
  )


def first_line(error: Exception) -> str:
  return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _chosen(features, paths: list[str]):
  """The FeaturesDict of these paths only (`image`, `attributes/Smiling`).

  What is not in it is not even parsed.
  """
  import tensorflow_datasets as tfds

  below: dict[str, list[str]] = {}
  for path in paths:
    key, _, rest = path.partition("/")
    below.setdefault(key, []).append(rest)
  return tfds.features.FeaturesDict(
    {key: _chosen(features[key], rest) if rest[0] else features[key] for key, rest in below.items()}
  )


def at(example: dict, path: str) -> Any:
  """The value at a path such as `attributes/Smiling`."""
  for key in path.split("/"):
    example = example[key]
  return example


def is_video(feature: Any) -> bool:
  """A sequence of images, which TFDS's feature of videos is too."""
  import tensorflow_datasets as tfds

  return isinstance(feature, tfds.features.Sequence) and isinstance(feature.feature, tfds.features.Image)


def _is_encoded(feature: Any) -> bool:
  import tensorflow_datasets as tfds

  return isinstance(feature, tfds.features.Image) or is_video(feature)


class Reader:
  """Random access to the chosen features of one split, array_record or TFRecord.

  Images and videos stay encoded bytes where `encoded` says so, to be decoded here and not by OpenCV, which
  takes half a JPEG for a whole one. Raises NotImplementedError for other formats; reading raises UserError
  where the files are cut short or gone.
  """

  def __init__(self, builder, split: str, paths: list[str], *, encoded: bool):
    import tensorflow_datasets as tfds

    features = builder.info.features
    self._name = builder.name
    self._features = _chosen(features, paths)
    pictures = [path for path in paths if encoded and "/" not in path and _is_encoded(features[path])]
    skip = tfds.decode.SkipDecoding()
    skip.decode_batch_example_np = skip.decode_example_np  # of a video; TFDS forgot it
    self._decoders = dict.fromkeys(pictures, skip) or None
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
      raise UserError(
        f"data.name={self._name}: its prepared files are damaged or gone ({first_line(error)}); prepare it "
        "again"
      ) from error
    return self._features.deserialize_example_np(record, decoders=self._decoders)
