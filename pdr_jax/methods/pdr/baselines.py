"""Depths that need no model, scored against the truth.

They are a constant one, and the average true depth of the split.
"""

import functools
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np
from jaxtyping import ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.metrics import geometry

Sums = Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
CONSTANT, AVERAGE = "constant depth", "average true depth"
SCORES = ("side", "mad", "relief")


def baselines(batches: Iterable[dict], sums: Sums, *, config: ConfigDict) -> dict[str, dict[str, float]]:
  """SIDE, MAD and relief of both, by the names of the method's own scores.

  It is empty for data without true depth.
  """
  first = next(iter(batches))
  if "depth" not in first or "mask" not in first:
    return {}
  depths = {CONSTANT: np.ones(first["depth"].shape[1:], np.float32), AVERAGE: average_depth(batches, sums)}
  return {title: scores_of(depth, batches, sums, fov=config.scene.fov) for title, depth in depths.items()}


def average_depth(batches: Iterable[dict], sums: Sums) -> Float[np.ndarray, "S S"]:
  """The mean true depth of each pixel. Sums are kept, so that the whole split need not fit into memory."""
  totals = jax.jit(geometry.depth_totals)
  shape = next(iter(batches))["depth"].shape[1:]
  depth, count = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
  for batch in batches:
    more_depth, more_count = totals(batch["depth"], batch["mask"] * batch["_mask"][:, None, None])
    depth, count = depth + np.asarray(more_depth), count + np.asarray(more_count)
  everywhere = sums({"depth": depth, "count": count})  # each process has its part of the split
  return np.asarray(geometry.average_depth(everywhere["depth"], everywhere["count"]))


def scores_of(
    depth: Float[np.ndarray, "S S"], batches: Iterable[dict], sums: Sums, *, fov: float
) -> dict[str, float]:
  """`val/side`, `val/mad` and `val/relief` of one depth map for all images, inside the true masks."""
  pairs = {name: np.zeros(2) for name in SCORES}
  for batch in batches:
    more = _totals(depth, {name: batch[name] for name in ("depth", "mask", "_mask")}, fov)
    pairs = {name: pair + np.asarray(more[name], np.float64) for name, pair in pairs.items()}
  pairs = sums(pairs)
  return {f"val/{name}": float(pair[0] / pair[1]) for name, pair in pairs.items() if pair[1] > 0}


@functools.partial(jax.jit, static_argnums=2)
def _totals(depth: ArrayLike, batch: dict, fov: float) -> dict:
  scores = geometry.baseline_scores(depth, batch["depth"], batch["mask"], fov=fov)
  chosen = {name: scores[name] for name in (*SCORES, "covered")}
  return geometry.totals(chosen, batch["_mask"])
