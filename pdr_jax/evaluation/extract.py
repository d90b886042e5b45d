"""The features of a data set, computed once on all devices and kept on disk: the only place where evaluation sees images or a method."""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable

import jax
import numpy as np
from etils import epath
from jaxtyping import Array, Float

from pdr_jax.evaluation.features import Features
from pdr_jax.files import write_atomically

TRUTH = {"light": "light", "view": "view", "weights": "depth"}  # exact factors of embedded worlds, numbered labels: light/0, light/1, ...
Encode = Callable[[Float[Array, "B S S 3"]], dict[str, Float[Array, "B _"]]]


def fingerprint(tree) -> str:
  """16 hex digits that change with any bit, shape or name of a tree of arrays or plain values."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    array = np.asarray(leaf)
    digest.update(f"{jax.tree_util.keystr(path)}{array.dtype}{array.shape}".encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()[:16]


def extract(encode: Encode, batches: Iterable[dict], classes: dict[str, tuple[str, ...]]) -> Features:
  """Features and labels of a split, in its order, without its padding.

  Args:
    encode: a pure function; it runs on every local device, with the batch spread over them.
    batches: with `image` `[B,S,S,3]`, `_mask` `[B]`, and `label/NAME` `[B]`; exact `light`, `view`, shape `weights` and the mean
      `albedo` colour become numbered labels.
    classes: names of the classes by `label/NAME`.
  """
  devices = jax.local_device_count()
  run = jax.pmap(encode)
  blocks, labels = {}, {}
  for batch in batches:
    keep = np.asarray(batch["_mask"]) > 0
    images = np.asarray(batch["image"])
    found = run(images.reshape(devices, -1, *images.shape[1:]))
    for name, block in found.items():
      block = np.asarray(block, np.float32)
      blocks.setdefault(name, []).append(block.reshape(len(images), -1)[keep])
    for name, values in _labels(batch).items():
      labels.setdefault(name, []).append(values[keep])
  join = lambda parts: {name: np.concatenate(part) for name, part in parts.items()}
  return Features(join(blocks), join(labels), {name.removeprefix("label/"): names for name, names in classes.items() if names})


def _labels(batch: dict) -> dict[str, np.ndarray]:
  labels = {name.removeprefix("label/"): np.asarray(values) for name, values in batch.items() if name.startswith("label/")}
  truth = {factor: batch[name] for name, factor in TRUTH.items() if name in batch}
  if "albedo" in batch and "mask" in batch:  # its mean colour on the object
    weight = np.asarray(batch["mask"], np.float32)[..., None]
    truth["albedo"] = (np.asarray(batch["albedo"]) * weight).sum(axis=(1, 2)) / np.maximum(weight.sum(axis=(1, 2)), 1.0)
  for factor, values in truth.items():
    columns = np.asarray(values, np.float32)
    labels |= {f"{factor}/{i}": column for i, column in enumerate(columns.reshape(len(columns), -1).T)}
  return labels


def cached(folder: str, key: str, compute: Callable[[], Features]) -> Features:
  """`compute()`, or what it gave the last time for this key; a file that cannot be read is computed anew."""
  path = os.path.join(folder, f"{key}.npz")
  try:
    with epath.Path(path).open("rb") as stored, np.load(stored, allow_pickle=False) as file:
      return _unpack({name: file[name] for name in file.files})
  except (OSError, ValueError, KeyError, zipfile.BadZipFile):
    features = compute()
  write_atomically(path, lambda file: np.savez(file, **_pack(features)))
  return features


def _pack(features: Features) -> dict[str, np.ndarray]:
  return {
      **{f"blocks/{name}": block for name, block in features.blocks.items()},
      **{f"labels/{name}": values for name, values in features.labels.items()},
      "classes": np.frombuffer(json.dumps(features.classes).encode(), np.uint8),
  }


def _unpack(arrays: dict[str, np.ndarray]) -> Features:
  part = lambda kind: {name.removeprefix(kind): array for name, array in arrays.items() if name.startswith(kind)}
  classes = json.loads(arrays["classes"].tobytes())
  return Features(part("blocks/"), part("labels/"), {name: tuple(names) for name, names in classes.items()})


# ---------------------------------------------------------------- representations that nothing was trained for


def pixels(images: Float[Array, "B S S 3"]) -> dict[str, Float[Array, "B _"]]:
  """The pixels themselves as one block."""
  return {"pixels": images.reshape(images.shape[0], -1)}


def principal_components(batches: Iterable[dict], count: int) -> Encode:
  """The `count` principal components of the training images (fewer where there are fewer images or pixels), as one block."""
  from sklearn.decomposition import PCA

  rows = np.concatenate([np.asarray(batch["image"])[np.asarray(batch["_mask"]) > 0] for batch in batches])
  rows = rows.reshape(len(rows), -1)
  fitted = PCA(min(count, *rows.shape), svd_solver="randomized", random_state=0).fit(rows)
  mean, axes = fitted.mean_.astype(np.float32), fitted.components_.T.astype(np.float32)
  return lambda images: {"pca": (images.reshape(images.shape[0], -1) - mean[None]) @ axes}
