"""Scores of predicted volumes: intersection over union after alignment, silhouettes, and the spread of poses.

What nothing but silhouettes has taught has a canonical frame of its own, and parallel rays tell no shape from
its mirror image. Volumes are therefore turned about the vertical, and mirrored, before they are compared. No
other freedom is granted: neither shift nor size.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Shaped
from scipy import stats

from pdr_jax.render import volume

THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)  # of densities
ANGLES = 36  # of the alignment, evenly
SEEN = 0.5  # what of a ray must be absorbed for its pixel to belong to a silhouette


def aligned_iou(
  density: Float[ArrayLike, "B S S S"],
  truth: Shaped[ArrayLike, "B S S S"],
  thresholds: Float[ArrayLike, " T"],
  angles: int = ANGLES,
) -> Float[Array, "B N T"]:
  """IoU of every volume with its truth, for N = 2 `angles` alignments and T thresholds.

  Alignment n turns by `n % angles` steps, and mirrors first (x to -x) for n >= `angles`.

  Args:
    density: predicted, in [0, 1].
    truth: occupied voxels, 0 or 1.
    thresholds: a voxel of a larger density counts as occupied.
    angles: steps to a full turn.
  """
  both = jnp.concatenate([density, density[..., ::-1]])
  count, voxels = len(density), math.prod(density.shape[1:])
  target = jnp.asarray(truth, jnp.float32).reshape(count, voxels)
  # Counts as products of matrices: of occupied voxels those of the truth, and all. They are several times as
  # fast as sums of comparisons.
  counted = jnp.stack([target, jnp.ones_like(target)], axis=-1)
  area = target.sum(axis=1)[None, :, None]
  levels = jnp.asarray(thresholds)[None, None, :, None]

  def of_angle(step: Array) -> Array:
    angle = jnp.full((both.shape[0],), 2 * math.pi / angles) * step
    turned = volume.rotate_about_axis(both[..., None], angle)
    occupied = (turned.reshape(2, count, 1, voxels) > levels).astype(jnp.float32)
    shared, occupied = jnp.moveaxis(jnp.einsum("mbtv,bvc->mbtc", occupied, counted), -1, 0)
    return _over_union(shared, occupied + area - shared)

  scores = jax.lax.map(of_angle, jnp.arange(angles, dtype=jnp.float32))  # [angles, 2, B, T]
  return jnp.moveaxis(scores, 2, 0).swapaxes(1, 2).reshape(count, 2 * angles, -1)


def iou(
  first: Shaped[ArrayLike, "*B S S S"], second: Shaped[ArrayLike, "*C S S S"]
) -> Float[Array, "..."]:
  """Intersection over union of occupied voxels; 1 where both are empty."""
  first, second = jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32)
  axes = (-3, -2, -1)
  return _over_union((first * second).sum(axis=axes), jnp.maximum(first, second).sum(axis=axes))


def _over_union(shared: Array, union: Array) -> Array:
  return jnp.where(union > 0, shared / jnp.where(union > 0, union, 1.0), 1.0)


def align(
  density: Float[ArrayLike, "B S S S"], choice: Shaped[ArrayLike, " B"], angles: int = ANGLES
) -> Float[Array, "B S S S"]:
  """The volumes after the alignments of these numbers, see `aligned_iou`."""
  mirrored = jnp.where((choice >= angles)[:, None, None, None], density[..., ::-1], density)
  angle = (choice % angles).astype(jnp.float32) * (2 * math.pi / angles)
  return volume.rotate_about_axis(mirrored[..., None], angle)[..., 0]


def silhouette_iou(
  first: Float[ArrayLike, "B S S S"], second: Float[ArrayLike, "B S S S"], azimuths: Float[ArrayLike, "B K"]
) -> Float[Array, "B K"]:
  """IoU of the silhouettes of two volumes of absorption, from K azimuths each."""
  seen = [-jnp.expm1(-volume.ray_sums(density, azimuths)) > SEEN for density in (first, second)]
  shared = (seen[0] & seen[1]).astype(jnp.float32).sum(axis=(2, 3))
  return _over_union(shared, (seen[0] | seen[1]).astype(jnp.float32).sum(axis=(2, 3)))


def views_alike(
  density: Float[ArrayLike, "B S S S"], azimuths: Float[ArrayLike, "B K"]
) -> Float[Array, " B"]:
  """Mean IoU of the silhouettes of a volume of absorption from K azimuths, every one with every other.

  1: the volume looks the same from all of them.
  """
  batch, count = azimuths.shape
  seen = (-jnp.expm1(-volume.ray_sums(density, azimuths)) > SEEN).astype(jnp.float32)
  seen = seen.reshape(batch, count, -1)
  shared = jnp.einsum("bip,bjp->bij", seen, seen)
  area = seen.sum(axis=-1)
  every = _over_union(shared, area[:, :, None] + area[:, None] - shared)
  others = 1 - jnp.eye(count)
  return (every * others[None]).sum(axis=(1, 2)) / (count * (count - 1))


def visual_hull(
  silhouettes: Float[ArrayLike, "B K S S"], azimuths: Float[ArrayLike, "B K"]
) -> Float[Array, "B S S S"]:
  """1 for the voxels whose pixel is seen in every silhouette, else 0: the most that silhouettes can tell."""
  side = silhouettes.shape[-1]
  centre = (side - 1) / 2
  place = jnp.arange(side, dtype=jnp.float32) - centre
  cosine, sine = (f(azimuths)[..., None, None] for f in (jnp.cos, jnp.sin))
  column = cosine * place[None, None, None] + sine * place[None, None, :, None] + centre  # R p: x of (z, x)
  index = jnp.clip(jnp.round(column), 0, side - 1).astype(jnp.int32)  # [B, K, z, x]
  rows = jnp.swapaxes(silhouettes, 2, 3)  # [B, K, column, row]
  read = jax.vmap(jax.vmap(lambda picture, index: picture[index]))(rows, index)  # [B, K, z, x, y]
  inside = (column > -0.5) & (column < side - 0.5)
  hull = ((read > SEEN) & inside[..., None]).all(axis=1)
  return jnp.swapaxes(hull, 2, 3).astype(jnp.float32)


def sphere(side: int, radius: float) -> Float[np.ndarray, "S S S"]:
  """1 within `radius`, in half sides."""
  place = (np.arange(side) + 0.5) / side * 2 - 1
  z, y, x = np.meshgrid(place, place, place, indexing="ij")
  return (z**2 + y**2 + x**2 <= radius**2).astype(np.float32)


def distance_to_uniform(angles: Float[np.ndarray, " N"]) -> float:
  """Kolmogorov and Smirnov's distance of angles, radians, from even ones on the circle, in [0, 1].

  The circle is cut where the distance is smallest to turn about: the mean of the two one-sided distances is
  half of Kuiper's statistic, which does not depend on the cut.
  """
  shares = np.sort(np.mod(np.asarray(angles, np.float64), 2 * np.pi) / (2 * np.pi))
  above = stats.kstest(shares, "uniform", alternative="greater").statistic
  below = stats.kstest(shares, "uniform", alternative="less").statistic
  return float((above + below) / 2)


def agreement(predicted: Float[np.ndarray, " N"], true: Float[np.ndarray, " N"]) -> float:
  """How far azimuths go with the true ones, in [0, 1]: the mean direction's length of their difference.

  Frames may differ by a turn, and by the sense of turning.
  """
  return max(float(np.abs(np.exp(1j * (predicted - sign * true)).mean())) for sign in (1, -1))
