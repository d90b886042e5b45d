"""Data whose pictures are replaced by normalised ones: in canonical pose and without their light.

`data.normalize_with` names an export. `exports.normalized_data` computes the pictures once and keeps them as
uint8 in a folder that is named by the data and the export, and beside them their labels, because a picture
that cannot be read is replaced by another one, with its labels; here both are read. Maps that belong to the
pixels of the original pictures are left out.
"""

import hashlib
import json
import os
from collections.abc import Collection
from typing import Any

import numpy as np
from jaxtyping import Int

from pdr_jax.data.dataset import Arrays, Dataset, Split
from pdr_jax.errors import UserError

FORMAT = 2  # of the files; raise it when what is in them changes
MANIFEST = "export.json"  # of an export; it has the checksums of all its files
# Keys of `data` that do not say what the pictures are.
OTHERS = ("flip", "workers", "cache_dir", "normalize_with")


def splits(data: Dataset) -> dict[str, Split]:
  """All splits by name."""
  return {"train": data.train, "validation": data.validation, **data.tests}


def folder_of(config: Any, data: Dataset) -> str:
  """Where the normalised pictures of a data set lie, or will lie. Raises UserError without such an export."""
  export = os.path.abspath(os.path.expanduser(config.normalize_with))
  try:
    with open(os.path.join(export, MANIFEST), "rb") as file:
      manifest = file.read()
  except OSError as error:
    reason = f"it has no {MANIFEST} ({error.strerror})"
    raise UserError(f"data.normalize_with={config.normalize_with}: must be an export: {reason}") from error
  asked = {key: value for key, value in config.items() if key not in OTHERS}
  sizes = {name: split.size for name, split in splits(data).items()}
  # Not `data.skipped`: it grows while the pictures are read.
  said = json.dumps([FORMAT, asked, sizes, data.fingerprint], sort_keys=True, default=str)
  key = hashlib.sha256(said.encode() + manifest).hexdigest()[:16]
  home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
  root = os.path.expanduser(config.cache_dir or os.path.join(home, "pdr_jax"))
  return os.path.join(root, "normalized", key)


def path_of(folder: str, split: str) -> str:
  """The file with the pictures of a split."""
  return os.path.join(folder, f"{split}.npy")


def labels_path_of(folder: str, split: str) -> str:
  """The file with what else is kept of a split."""
  return os.path.join(folder, f"{split}.npz")


def replaced(config: Any, data: Dataset) -> Dataset:
  """The data set with its pictures replaced. Raises UserError where they have not been computed."""
  folder = folder_of(config, data)
  parts = {name: _replaced(split, folder, name) for name, split in splits(data).items()}
  kept = {key: data.elements[key] for key in ("image", *labels(data))}
  return data._replace(
    train=parts["train"],
    validation=parts["validation"],
    tests={name: parts[name] for name in data.tests},
    elements=kept,
    name=f"{data.name}, normalised",
    report=(*data.report, f"pictures are normalised by {config.normalize_with} ({folder})"),
  )


def labels(data: Dataset) -> list[str]:
  """The keys that belong to whole pictures, labels and factors, but no map."""
  return [key for key, element in data.elements.items() if key != "image" and len(element.shape) < 2]


def _replaced(split: Split, folder: str, name: str) -> Split:
  path = path_of(folder, name)
  try:
    pictures = np.load(path, mmap_mode="r")
    with np.load(labels_path_of(folder, name)) as file:
      others = dict(file)
  except (OSError, ValueError) as error:
    raise UserError(
      f"the normalised pictures of data.normalize_with are not in {path} ({error}): start the training or "
      "the evaluation by its command, which computes them"
    ) from error

  def load(indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    arrays = {key: values[indices] for key, values in others.items() if key in keys}
    return arrays | ({"image": np.ascontiguousarray(pictures[indices])} if "image" in keys else {})

  return split._replace(load=load)
