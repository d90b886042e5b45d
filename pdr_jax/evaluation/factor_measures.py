"""Measures of a model's relief, view and light against the truth, and of the order of depth in a face.

They see what SIDE and MAD hardly do: relief too deep for views too small, light from the wrong side, noses
that are hollows. `metrics.geometry`, `views`, `light` and `landmarks` say what each is.
"""

from collections.abc import Callable, Iterable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from pdr_jax.evaluation import records
from pdr_jax.evaluation.records import Outcomes
from pdr_jax.metrics import geometry, landmarks, light, views

ANGLES = {"pitch": 0, "yaw": 1, "roll": 2}  # their places in a view
PLACES = "canonical_landmarks"
# Which side is better; "" where 1 is right.
DIRECTIONS = {
    "side_x_100_scaled": "lower",
    "relief_scale": "",
    "light_error": "lower",
    "light_vertical": "higher",
    "light_horizontal": "higher",
    "landmark_order": "higher",
    "nose_nearest": "higher",
    **{f"{name}_slope": "" for name in ANGLES},
    **{f"{name}_correlation": "higher" for name in ANGLES},
    **{f"{name}_error": "lower" for name in ANGLES},
}
TITLES = {
    "side_x_100_scaled": "depth, SIDE x 100 after one scale",
    "relief_scale": "depth, relief scale (1 is right)",
    "nose_nearest": "depth, nose tip nearest",
    "landmark_order": "depth, order at landmarks",
    "yaw_slope": "view, yaw slope (1 is right)",
    "yaw_error": "view, yaw error after a line (degrees)",
    "pitch_slope": "view, pitch slope (1 is right)",
    "pitch_error": "view, pitch error after a line (degrees)",
    "light_error": "light, error (degrees)",
    "light_vertical": "light, right vertical side",
    "light_horizontal": "light, right horizontal side",
}


def relief(
    moments: Mapping[str, Float[np.ndarray, " N"]],
) -> tuple[dict[str, float], Float[np.ndarray, " M"]]:
  """`relief_scale`, and SIDE x 100 once the relief of all pictures is multiplied by it.

  `moments`: those of `geometry.log_moments`, of the pictures of a split. Then the SIDE x 100 of each of those
  that have a pixel to measure.
  """
  covered = np.asarray(moments["pixels"]) > 0
  pixels, product, predicted, true = (
      np.asarray(moments[name], np.float64)[covered]
      for name in ("pixels", "product", "predicted_squared", "true_squared")
  )
  total = np.sum(pixels * predicted)
  if not total > 0:
    return {}, np.zeros(0)
  scale = np.sum(pixels * product) / total
  side = 100 * np.sqrt(np.maximum(0.0, scale**2 * predicted - 2 * scale * product + true))
  return {"relief_scale": float(scale), "side_x_100_scaled": float(side.mean())}, side


def measure(
    decompose: Callable[[Array], Mapping[str, Array]],
    batches: Iterable[Mapping[str, np.ndarray]],
    key: str,
    people: Int[np.ndarray, " N"] | None = None,
) -> tuple[dict[str, float], dict[str, Outcomes]]:
  """All measures that the parts of `decompose` and the truth of the batches allow.

  `key`: of the pictures; `people`: who is on each, see `records.outcomes_of`. Then what single pictures gave,
  with the scale of the relief and the lines of the angles as they are.
  """

  @jax.jit
  def of_batch(batch: dict) -> tuple[dict, dict]:
    parts = decompose(batch[key])
    depth, mask, ratios = parts["depth_at_view"], parts["mask"], {}
    rows = {"moments": geometry.log_moments(depth, batch["depth"], mask, batch["mask"])}
    if "view" in parts and "view" in batch:
      rows |= {"view": parts["view"], "true_view": batch["view"]}
    if "light" in parts and "light" in batch:
      values = light.scores(parts["light"], batch["light"])
      ratios |= {name: (value * weight, weight) for name, (value, weight) in values.items()}
    if "depth" in parts and PLACES in batch:
      where = batch[PLACES]
      ratios |= landmarks.nose_order(landmarks.read(parts["depth"], where[..., :2]), where[..., 2])
    return rows, ratios

  rows, ratios = [], []
  for batch in batches:
    real = np.asarray(batch["_mask"]) > 0
    values = jax.device_get(of_batch({name: jnp.asarray(value) for name, value in batch.items()}))
    for collected, tree in zip((rows, ratios), values, strict=True):
      collected.append(jax.tree.map(lambda leaf, real=real: leaf[real], tree))
  rows, ratios = (jax.tree.map(lambda *leaves: np.concatenate(leaves), *trees) for trees in (rows, ratios))
  covered = np.asarray(rows["moments"]["pixels"]) > 0
  numbers = np.arange(len(covered))
  result, sides = relief(rows["moments"])
  outcomes = {"side_x_100_scaled": of_some(sides, covered, people)} if result else {}
  if "view" in rows:
    for name, place in ANGLES.items():
      predicted, true = (np.degrees(rows[which][:, place]) for which in ("view", "true_view"))
      result |= {f"{name}_{metric}": value for metric, value in views.scores(predicted, true).items()}
      if f"{name}_error" in result:
        outcomes[f"{name}_error"] = of_some(views.after_line(predicted, true), numbers % 2 == 1, people)
  for name, (total, count) in ratios.items():
    if count.sum() > 0:
      result[name] = float(total.sum() / count.sum())
      pair = np.stack([total, count])[None]
      outcomes[name] = records.outcomes_of(pair, numbers[None], people=people, measure="ratio")
  return result, outcomes


def of_some(
    values: Float[np.ndarray, " M"], counted: Bool[np.ndarray, " N"], people: Int[np.ndarray, " N"] | None
) -> Outcomes:
  """Outcomes whose mean over the pictures that count is the score."""
  each, numbers = np.zeros((1, 1, len(counted))), np.arange(len(counted))
  each[0, 0, counted] = values
  return records.outcomes_of(each, numbers[None], strata=np.where(counted, 0, -1)[None], people=people)
