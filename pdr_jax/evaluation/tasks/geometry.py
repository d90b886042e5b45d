"""A model's depth against the true one, beside what needs no model and a bound.

The bound is the method's own depth network, taught with true depth, see `depth_bound`. `metrics.geometry` has
the measures of depth, `factor_measures` those of relief, view, light and the order of depth in a face.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.data import pipeline, registry
from pdr_jax.elements import zeros
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches as batch_lib
from pdr_jax.evaluation import depth_bound, factor_measures, records
from pdr_jax.evaluation.features import people_in
from pdr_jax.evaluation.records import Outcomes, Result, Score
from pdr_jax.evaluation.representations import Representation
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.metrics import geometry, landmarks

MEASURES = {"side": "lower", "mad": "lower", "relief": "higher", "depth_correlation": "higher"}
OF_FLAT = ("side", "mad", "relief")  # a flat depth has no correlation with anything
MODEL, CONSTANT, AVERAGE, BOUND = "model", "constant depth", "average true depth", "supervised bound"
LANDMARKS = "landmark_correlation"
TITLES = {
    "side_x_100": "depth, SIDE x 100",
    "mad": "depth, MAD (degrees)",
    LANDMARKS: "depth, correlation at landmarks",
}
FOV = 10.0  # degrees, where the method names no camera
TITLES |= factor_measures.TITLES
DIRECTIONS = {**MEASURES, "side_x_100": "lower", LANDMARKS: "higher", **factor_measures.DIRECTIONS}
# Of the truth, as far as the data has it.
KEYS = ("depth", "mask", "weights", "view", "light", factor_measures.PLACES)
# A batch to depth at the input view, and its mask.
Predict = Callable[[Mapping[str, Array]], tuple[Array, Array]]


def defaults() -> dict[str, Any]:
  """The section of the evaluation's configuration."""
  return dict(
      bound_steps=20_000,  # of training for the supervised bound at most; 0: none
      bound_every=250,     # steps between looks at its validation
      bound_patience=8,    # looks without a better one after which it is done
  )


def true_depth(
    run: ConfigDict,
    representation: Representation,
    split: str,
    settings: ConfigDict,
    say: Callable[[str], None] = print,
    people: Int[np.ndarray, " N"] | None = None,
) -> Result:
  """SIDE, MAD, relief and depth correlation at the input view, of several predictors.

  These are the model, constant depth, the average true depth and the supervised bound. On sculpted heads also
  the correlation at landmarks, of all but the constant depth, which has none.

  Args:
    run: the encoders' configuration with the evaluation's data; the bound takes its optimiser and seed from
      there.
    split: what is scored.
    settings: for the bound; `bound_steps=0` leaves it out, as does a method without a depth network.
    people: who is on each picture of the split, see `records.outcomes_of`.

  Scores have the predictor as their block. `gap_closed/METRIC` is the share of the gap between average true
  depth and the bound that the model closes: 1 is as good as the bound, negative worse than the average.
  Raises `UserError` without truth, or for a method without depth.
  """
  spec = pipeline.published(run, representation.reads)
  if "depth" not in spec or "mask" not in spec:
    raise UserError("the data has no true depth")
  predict = _of_model(representation)
  batches = batch_lib.of_split(run, representation.reads, split, KEYS)
  camera = methods.describe(run.method).camera
  fov = camera(run).fov if camera else FOV
  average = average_depth(batches)
  predictors = {MODEL: predict, CONSTANT: _flat(np.ones_like(average)), AVERAGE: _flat(average)}
  bounded = bool(settings.bound_steps) and representation.method.depth_network is not None
  if bounded:
    bound = depth_bound.obtain(run, representation, settings, pipeline.open_dataset(run).folder, say)
    predictors[BOUND] = _of_bound(representation, bound.params)
  measured = {name: scores_of(predictor, batches, fov) for name, predictor in predictors.items()}
  results = {name: means for name, (means, _) in measured.items()}
  results[CONSTANT] = {key: value for key, value in results[CONSTANT].items() if key in OF_FLAT}
  results[AVERAGE] = {key: value for key, value in results[AVERAGE].items() if key in OF_FLAT}
  moving = {name: predictor for name, predictor in predictors.items() if name != CONSTANT}
  more, given = factor_measures.measure(
      lambda pictures: representation.method.decompose(representation.variables, pictures),
      batches,
      representation.input,
      people,
  )
  results[MODEL] |= more
  given |= _outcomes(measured[MODEL][1], people)
  locate = registry.find(run.data.name).landmarks
  for name, (value, outcomes) in at_landmarks(locate, batches, moving, representation.input, people).items():
    results[name][LANDMARKS] = value
    given |= {LANDMARKS: outcomes} if name == MODEL else {}
  protocol = {
      "description": "geometry: SIDE, MAD (degrees), relief and depth correlation at the input view",
      "test": _examples(batches),
      "masks": "true and rendered, eroded by 3 x 3; bound: true",
  }
  if bounded:
    end = "it had stopped improving" if bound.converged else "the steps were used up while it improved"
    protocol[BOUND] = (
        "the method's depth network on true depth, L1, by the run's optimiser; its lowest validation SIDE, "
        f"at step {bound.step} of {bound.trained}: {end}"
    )
  scores, outcomes = records.with_outcomes(_records(results), given)
  scores += _gap(results) if bounded else []
  return Result("geometry", protocol, tuple(scores), outcomes=outcomes)


def _outcomes(
    pictures: Mapping[str, Float[np.ndarray, " N"]], people: Int[np.ndarray, " N"] | None
) -> dict[str, Outcomes]:
  """The errors of single pictures; one without a pixel to measure does not count."""
  covered = pictures["covered"] > 0
  errors = {"side_x_100": 100 * pictures["side"], "mad": pictures["mad"]}
  return {
      name: factor_measures.of_some(values[covered], covered, people) for name, values in errors.items()
  }


def _records(results: Mapping[str, Mapping[str, float]]) -> list[Score]:
  scores = []
  for block, measures in results.items():
    values = dict(measures)
    if "side" in measures:
      values["side_x_100"] = 100 * measures["side"]  # as it is published
    for name, value in values.items():
      title = TITLES.get(name, "") if block == MODEL else ""
      scores.append(Score("geometry", "depth", block, name, (value,), DIRECTIONS[name], headline=title))
  return scores


def _gap(results: Mapping[str, Mapping[str, float]]) -> list[Score]:
  scores = []
  for name in ("side", "mad"):
    if all(name in results[row] for row in (AVERAGE, BOUND, MODEL)):
      share = gap_closed(*(results[row][name] for row in (AVERAGE, BOUND, MODEL)))
      if share is not None:
        scores.append(Score("geometry", "depth", MODEL, f"gap_closed/{name}", (share,), "higher"))
  return scores


def gap_closed(average: float, bound: float, model: float) -> float | None:
  """`(average - model) / (average - bound)` of an error.

  None where the bound is no better than the average.
  """
  return (average - model) / (average - bound) if average > bound else None


# ---------------------------------------------------------------- predictors


def _of_model(representation: Representation) -> Predict:
  method, variables = representation.method, representation.variables
  parts = {}
  if method is not None and method.decompose is not None:
    example = zeros(representation.reads, 1)[representation.input]
    parts = jax.eval_shape(method.decompose, variables, example)
  if "depth_at_view" not in parts or "mask" not in parts:
    raise UserError("the method takes no image apart: it has no depth")

  def predict(batch: Mapping[str, Array]) -> tuple[Array, Array]:
    parts = method.decompose(variables, batch[representation.input])
    return parts["depth_at_view"], parts["mask"]

  return predict


def _flat(depth: Float[np.ndarray, "S S"]) -> Predict:
  """The same depth map for every picture, over the whole true mask."""

  def predict(batch: Mapping[str, Array]) -> tuple[Array, Array]:
    return jnp.broadcast_to(depth[None], batch["depth"].shape), jnp.ones_like(batch["mask"])

  return predict


def _of_bound(representation: Representation, params: dict) -> Predict:
  network = representation.method.depth_network

  def predict(batch: Mapping[str, Array]) -> tuple[Array, Array]:
    return network.apply(params, batch[representation.input]), jnp.ones_like(batch["mask"])

  return predict


def average_depth(batches: Iterable[Mapping[str, np.ndarray]]) -> Float[np.ndarray, "S S"]:
  """The mean true depth of each pixel. Sums are taken, so that the whole split need not fit into memory."""
  more = jax.jit(geometry.depth_totals)
  depth, count = 0.0, 0.0
  for batch in batches:
    depths, counts = more(batch["depth"], batch["mask"] * batch["_mask"][:, None, None])
    depth, count = depth + np.asarray(depths), count + np.asarray(counts)
  return np.asarray(geometry.average_depth(jnp.asarray(depth), jnp.asarray(count)))


def scores_of(
    predict: Predict, batches: Iterable[Mapping[str, np.ndarray]], fov: float
) -> tuple[dict[str, float], dict[str, Float[np.ndarray, " N"]]]:
  """Means of the measures over the images of a split; a measure that no image has is left out.

  Then the measures of each image, with `covered`.
  """

  @jax.jit
  def measure(batch: dict) -> tuple[dict, dict]:
    depth, mask = predict(batch)
    scores = geometry.scores(depth, batch["depth"], mask, batch["mask"], fov=fov)
    return geometry.totals(scores, batch["_mask"]), scores

  sums, pictures = {name: np.zeros(2) for name in MEASURES}, []
  for batch in batches:
    pairs, each = jax.device_get(measure(dict(batch)))
    sums = {name: pair + np.asarray(pairs[name], np.float64) for name, pair in sums.items()}
    pictures.append({name: values[np.asarray(batch["_mask"]) > 0] for name, values in each.items()})
  means = {name: float(total / count) for name, (total, count) in sums.items() if count > 0}
  return means, {name: np.concatenate([each[name] for each in pictures]) for name in pictures[0]}


def _examples(batches: Iterable[Mapping[str, np.ndarray]]) -> int:
  return int(sum(batch["_mask"].sum() for batch in batches))


def at_landmarks(
    locate: Callable[[Array, Array, int], Array] | None,
    batches: Iterable[Mapping[str, np.ndarray]],
    predictors: Mapping[str, Predict],
    key: str = "image",
    people: Int[np.ndarray, " N"] | None = None,
) -> dict[str, tuple[float, Outcomes]]:
  """`metrics.landmarks.correlation` of each predictor over the pictures of a split, and what it is made of.

  `locate` is that of the data's source; empty if it has no landmarks.
  """
  if locate is None:
    return {}

  @jax.jit
  def measure(batch: dict) -> tuple[Array, dict[str, Array]]:
    where = jnp.asarray(locate(batch["weights"], batch["view"], batch[key].shape[1]))
    read = {name: landmarks.read(predict(batch)[0], where[..., :2]) for name, predict in predictors.items()}
    return where[..., 2], read

  true, predicted = [], {name: [] for name in predictors}
  for batch in batches:
    rows = np.asarray(batch["_mask"]) > 0
    z, depths = jax.device_get(measure({name: jnp.asarray(value) for name, value in batch.items()}))
    true.append(z[rows])
    for name, values in depths.items():
      predicted[name].append(values[rows])
  truth = np.concatenate(true)
  return {name: _of_landmarks(np.concatenate(each), truth, people) for name, each in predicted.items()}


def _of_landmarks(
    predicted: Float[np.ndarray, "N L"], true: Float[np.ndarray, "N L"], people: Int[np.ndarray, " N"] | None
) -> tuple[float, Outcomes]:
  values, truth = (landmarks.relative(depth).T for depth in (predicted, true))
  given = records.outcomes_of(values[None], truth, people=people, measure="correlation")
  return landmarks.correlation(predicted, true), given


def jobs(context: Context) -> Iterator[Job]:
  """One, for networks that were trained, of a method that can take pictures apart."""
  if context.representation.trained:
    yield "geometry", lambda: true_depth(
        context.run, context.representation, context.test_split, context.settings, context.say,
        people_in(context.test, context.config.identity),
    )


TASK = Task(jobs, defaults, order=70)
