"""Depth at facial landmarks: for each of them the correlation, over pictures, of predicted with true depth.

The score of Moniz et al. 2018 ("Unsupervised depth estimation, 3D face rotation and replacement"), which
Unsup3D reports on 3DFAW as the sum over 66 landmarks; here it is the mean over them, so that 1 is perfect
whatever their number.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float


def read(
    depth: Float[Array | np.ndarray, "B S S"], pixels: Float[Array | np.ndarray, "B L 2"]
) -> Float[Array, "B L"]:
  """Depth at (u, v) between pixel centres, bilinear; beyond the rim that of the rim."""

  def at(depth: Array, uv: Array) -> Array:
    return jax.scipy.ndimage.map_coordinates(depth, [uv[:, 1], uv[:, 0]], order=1, mode="nearest")

  return jax.vmap(at)(depth, pixels)


def correlation(predicted: Float[np.ndarray, "N L"], true: Float[np.ndarray, "N L"]) -> float:
  """Mean over landmarks of Pearson's correlation over pictures.

  Each depth is relative to the mean over its picture's landmarks. -1 to 1, the same for a depth that is
  shifted or scaled; a landmark at which either does not vary counts 0.
  """
  a, b = (relative(depth) for depth in (predicted, true))
  a, b = (depth - depth.mean(axis=0) for depth in (a, b))
  spread = np.sqrt(np.square(a).sum(axis=0) * np.square(b).sum(axis=0))
  varies = spread > 1e-12 * len(a)
  each = np.where(varies, (a * b).sum(axis=0) / np.where(varies, spread, 1.0), 0.0)
  return float(each.mean())


def relative(depth: Float[np.ndarray, "N L"]) -> Float[np.ndarray, "N L"]:
  """Depths minus the mean over their picture's landmarks."""
  depth = np.asarray(depth, np.float64)
  return depth - depth.mean(axis=1, keepdims=True)


def nose_order(
  predicted: Float[Array | np.ndarray, "B L"], true: Float[Array | np.ndarray, "B L"]
) -> dict[str, tuple[Float[Array, " B"], Float[Array, " B"]]]:
  """Ordinal accuracy of depths, landmark 0 (the nose tip) against each other one.

  Per image the number of right answers and of questions. `landmark_order`: each pair in which the nose tip is
  truly nearer is a question. `nose_nearest`: one question, for a face whose nose tip is truly the nearest of
  all; right where it is the nearest in the prediction too. Equal depths are wrong.
  """
  nearer, truly = (depth[:, :1] < depth[:, 1:] for depth in (jnp.asarray(predicted), jnp.asarray(true)))
  nearest = truly.all(axis=1)
  return {
    "landmark_order": (_count(nearer & truly), _count(truly)),
    "nose_nearest": (jnp.float32(nearer.all(axis=1) & nearest), jnp.float32(nearest)),
  }


def _count(answers: Bool[Array, "B L"]) -> Float[Array, " B"]:
  return answers.sum(axis=1).astype(jnp.float32)
