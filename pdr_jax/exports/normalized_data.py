"""Computes what `data.normalized` reads: the pictures of a data set, normalised by an export."""

import os
import time
from collections.abc import Callable, Sequence

import numpy as np
from ml_collections import ConfigDict

from pdr_jax.data import normalized, pipeline, transforms
from pdr_jax.data.dataset import Split
from pdr_jax.errors import UserError
from pdr_jax.exports import reader
from pdr_jax.files import write_atomically

BATCH = 64
EVERY = 10.0  # seconds between two lines of progress


def prepare(config: ConfigDict, say: Callable[[str], None] = print) -> None:
  """Computes the normalised pictures that `data.normalize_with` asks for, where they are not kept already.

  Raises `UserError`: no export there, one that normalises nothing, or one for other pictures.
  """
  data = config.data
  if not data.normalize_with:
    return
  plain = pipeline.open_dataset(as_it_is(config))
  folder, wanted = normalized.folder_of(data, plain), normalized.splits(plain)
  missing = [name for name in wanted if not os.path.exists(normalized.path_of(folder, name))]
  if not missing:
    return
  model = reader.load(data.normalize_with)
  shape = (data.side, data.side, data.channels)
  if "normalize" not in model.manifest["programs"] or model.element.shape != shape or data.frames:
    raise UserError(
      f"data.normalize_with={data.normalize_with}: the export must normalise pictures {list(shape)}; it is "
      f"of {model.manifest['method']}, takes {list(model.element.shape)} and has "
      f"{', '.join(model.manifest['programs'])} (export its run again, if that is pdr)"
    )
  for name in missing:
    pictures, labels = _normalized(model, wanted[name], normalized.labels(plain), name, say)
    write_atomically(
      normalized.labels_path_of(folder, name), lambda file, labels=labels: np.savez(file, **labels)
    )
    # last: where it is, the split is complete
    write_atomically(
      normalized.path_of(folder, name), lambda file, pictures=pictures: np.save(file, pictures)
    )


def as_it_is(config: ConfigDict) -> ConfigDict:
  """The configuration of the same data with its pictures as they are."""
  plain = config.copy_and_resolve_references()
  plain.data.normalize_with = ""
  return plain


def _normalized(
  model: reader.Model, split: Split, keys: Sequence[str], name: str, say: Callable[[str], None]
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
  """All pictures of a split, and what these keys hold of them; reflectance 1 is 255, and so is what is
  brighter.
  """
  pictures = np.empty((split.size, *model.element.shape), np.uint8)
  labels: dict[str, list[np.ndarray]] = {key: [] for key in keys}
  start = told = time.monotonic()
  for first in range(0, split.size, BATCH):
    rows = np.minimum(np.arange(first, first + BATCH), split.size - 1)  # all batches of one size
    loaded = split.load(rows, ("image", *keys))
    images = transforms.to_range(loaded["image"], model.element.range)
    completed = np.asarray(model.normalize(images)["completed"])
    count = min(BATCH, split.size - first)
    pictures[first : first + count] = np.rint(np.clip(completed[:count], 0, 1) * 255)
    for key, parts in labels.items():
      parts.append(loaded[key][:count])
    now, done = time.monotonic(), first + count
    if now - told > EVERY or done == split.size:
      say(f"normalising {name}: {done:,} of {split.size:,}, {done / (now - start):.0f} images/s")
      told = now
  return pictures, {key: np.concatenate(parts) for key, parts in labels.items()}
