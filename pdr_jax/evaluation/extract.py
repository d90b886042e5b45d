"""The features of a data set, computed once on all devices and kept on disk."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from jaxtyping import Shaped

from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.representations import Encode
from pdr_jax.files import write_atomically
from pdr_jax.training import step as steps

# Exact factors of embedded worlds by batch key: numbered labels light/0, light/1, ...
TRUTH = {"light": "light", "view": "view", "weights": "depth"}


def fingerprint(tree: Any) -> str:
  """16 hex digits that change with any bit, shape or name of a tree of arrays or plain values."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(leaf)
    digest.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()[:16]


def extract(
    encode: Encode, batches: Iterable[Mapping], classes: Mapping[str, tuple[str, ...]], key: str = "image"
) -> Features:
  """Features and labels of a split, in its order, without its padding.

  Args:
    encode: a pure function; it runs on every local device, with the batch spread over them.
    batches: with what `encode` takes under `key`, `_mask` `[B]`, labels `label/NAME` `[B]` and, where some
      are missing, `missing/NAME` `[B]`; exact `light`, `view`, shape `weights` and the mean `albedo` colour
      become numbered labels.
    classes: names of the classes by `label/NAME`.
  """
  run = steps.mapped(encode)
  blocks, labels, missing = {}, {}, {}
  for batch in batches:
    keep = np.asarray(batch["_mask"]) > 0
    inputs = np.asarray(batch[key])
    for name, block in run(inputs).items():
      block = np.asarray(block, np.float32)
      blocks.setdefault(name, []).append(block.reshape(len(inputs), -1)[keep])
    for name, values in _labels(batch).items():
      labels.setdefault(name, []).append(values[keep])
      nothing = np.zeros(len(values), bool)
      absent = np.asarray(batch.get(f"missing/{name}", nothing), bool)
      missing.setdefault(name, []).append(absent[keep])
  return Features(
      _joined(blocks),
      _joined(labels),
      {name.removeprefix("label/"): tuple(named) for name, named in classes.items() if named},
      {name: rows for name, rows in _joined(missing).items() if rows.any()},
  )


def _joined(parts: Mapping[str, list[np.ndarray]]) -> dict[str, np.ndarray]:
  return {name: np.concatenate(part) for name, part in parts.items()}


def _labels(batch: Mapping) -> dict[str, Shaped[np.ndarray, " B"]]:
  """Classes as int32, numbers as float64; of a factor one label for each of its numbers."""
  named = {name.removeprefix("label/"): name for name in batch if name.startswith("label/")}
  labels = {name: _typed(np.asarray(batch[key])) for name, key in named.items()}
  labels = {name: values for name, values in labels.items() if values.ndim == 1}  # not those of single frames
  truth = {factor: batch[name] for name, factor in TRUTH.items() if name in batch}
  if "albedo" in batch and "mask" in batch and np.ndim(batch["albedo"]) == 4:  # its mean colour on the object
    weight = np.asarray(batch["mask"], np.float32)[..., None]
    colour = (np.asarray(batch["albedo"]) * weight).sum(axis=(1, 2))
    truth["albedo"] = colour / np.maximum(weight.sum(axis=(1, 2)), 1.0)
  for factor, values in truth.items():
    columns = np.asarray(values, np.float32)
    columns = columns.reshape(len(columns), -1).T
    labels |= {f"{factor}/{i}": column.astype(np.float64) for i, column in enumerate(columns)}
  return labels


def _typed(values: Shaped[np.ndarray, " B"]) -> Shaped[np.ndarray, " B"]:
  return values.astype(np.float64 if np.issubdtype(values.dtype, np.floating) else np.int32)


def cached(folder: str, key: str, compute: Callable[[], Features]) -> Features:
  """`compute()`, or what it gave the last time for this key; a file that cannot be read is computed anew."""
  path = os.path.join(folder, f"{key}.npz")
  try:
    return read(path)
  except (OSError, ValueError, KeyError, zipfile.BadZipFile):
    features = compute()
  write_atomically(path, lambda file: np.savez(file, **_pack(features)))
  return features


def read(path: str) -> Features:
  """The features in a file. Raises what NumPy raises for one that cannot be read."""
  with epath.Path(path).open("rb") as stored, np.load(stored, allow_pickle=False) as file:
    return _unpack({name: file[name] for name in file.files})


def _pack(features: Features) -> dict[str, np.ndarray]:
  return {
      **{f"blocks/{name}": block for name, block in features.blocks.items()},
      **{f"labels/{name}": values for name, values in features.labels.items()},
      **{f"missing/{name}": rows for name, rows in features.missing.items()},
      "classes": np.frombuffer(json.dumps(features.classes).encode(), np.uint8),
  }


def _unpack(arrays: Mapping[str, np.ndarray]) -> Features:
  def part(kind: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(kind): array for name, array in arrays.items() if name.startswith(kind)}

  classes = json.loads(arrays["classes"].tobytes())
  classes = {name: tuple(named) for name, named in classes.items()}
  return Features(part("blocks/"), part("labels/"), classes, part("missing/"))
