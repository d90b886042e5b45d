"""A model's depth against the true one, beside what needs no model and a bound: the same network taught with true depth.

`geometry` has the measures. The bound is Unsup3D's supervised baseline (Wu et al. 2020, table 2): the depth network regresses the true
depth at the input view, which it gives directly, without a canonical frame, by the mean absolute difference inside the true mask.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import at_landmarks
from pdr_jax.evaluation.descent import minimise, run_once
from pdr_jax.evaluation.sources import Source
from pdr_jax.methods import TrainState
from pdr_jax.methods.pdr.baselines import average_depth
from pdr_jax.methods.shared import optimizer
from pdr_jax.metrics import geometry
from pdr_jax.networks.autoencoder import MapAutoencoder
from pdr_jax.training import distributed
from pdr_jax.training import step as steps
from pdr_jax.training.metric_log import Meter
from pdr_jax.training.validation import Validator

COLUMNS = ("side", "mad", "relief", "depth_correlation")
AVERAGE, BOUND = "average true depth", "supervised bound"


def true_depth(run: ConfigDict, source: Source, split: str, settings: ConfigDict, say: Callable[[str], None] = print) -> dict:
  """SIDE, MAD, relief and depth correlation of the model, constant depth, the average true depth and the supervised bound.

  On sculpted heads also `landmark_correlation` (`at_landmarks`), of all but the constant depth, which has none.

  Args:
    run: the encoders' configuration with the evaluation's data; the bound takes its network, optimiser and seed from there.
    split: what is scored.
    settings: `bound_steps` of training for the bound; 0 leaves it out.

  Returns `{task, protocol, results, gap_closed}`; `gap_closed[measure]` is the share of the gap between average true depth and the bound
  that the model closes: 1 is as good as the bound, negative worse than the average. Raises `UserError` without truth, or for a method
  without depth.
  """
  if not pipeline.describe(run).has_truth:
    raise UserError("the data has no true depth")
  if source.system is None or source.system.decompose is None:
    raise UserError("the method takes no image apart: it has no depth")
  batches = pipeline.validation_batches(run, split=split)
  validator = Validator(source.system, batches)
  scores = validator.scores(steps.replicate(TrainState(step=0, params=source.params)), 0)
  average = average_depth(batches, distributed.sums)
  rows = {"model": scores, **validator.baselines()}
  predictors = {"model": lambda batch: source.system.decompose(source.params, batch["image"])["depth_at_view"],
                AVERAGE: lambda batch: jnp.broadcast_to(average, batch["image"].shape[:3])}
  if settings.bound_steps:
    say(f"  supervised bound, {settings.bound_steps} steps")
    params = train(run, settings.bound_steps, say)
    rows[BOUND] = score(run, params, batches)
    predictors[BOUND] = lambda batch: predict(network(run), params, batch["image"], run)
  results = {name: {key: row[f"val/{key}"] for key in COLUMNS if f"val/{key}" in row} for name, row in rows.items()}
  found = {"task": "geometry: SIDE, MAD (degrees), relief and depth correlation at the input view",
           "protocol": {"test": validator.examples, "masks": "true and rendered, eroded by 3 x 3; bound: true",
                        BOUND: f"the run's depth network on true depth, L1, {settings.bound_steps} steps of its optimiser"},
           "results": results}
  for name, value in at_landmarks.correlations(run.data.name, batches, predictors).items():
    results[name]["landmark_correlation"] = value
  if BOUND in results:
    found["gap_closed"] = {key: gap_closed(*(results[name][key] for name in (AVERAGE, BOUND, "model"))) for key in ("side", "mad")}
  return found


def gap_closed(average: float, bound: float, model: float) -> float | None:
  """`(average - model) / (average - bound)` of an error; None where the bound is no better than the average."""
  return (average - model) / (average - bound) if average > bound else None


def network(run: ConfigDict) -> MapAutoencoder:
  """PDR's depth network at the run's widths."""
  return MapAutoencoder(1, run.networks.width_map, run.networks.zdim, run.data.side, dtype=jnp.dtype(run.networks.dtype))


def predict(net: MapAutoencoder, params: dict, images: Float[Array, "B S S 3"], run: ConfigDict) -> Float[Array, "B S S"]:
  """Depth at the input view, in the range that a turned scene can reach: half of the canonical range beyond each end."""
  raw = net.apply({"params": params}, images)[0][..., 0]
  near, far = run.scene.min_depth, run.scene.max_depth
  return (near + far) / 2 + (far - near) * jnp.tanh(raw)


def train(run: ConfigDict, count: int, say: Callable[[str], None] = print) -> dict:
  """The network's parameters after `count` steps on the training split's true depth."""
  net = network(run)
  params = run_once(net.init, jax.random.key(run.seed), jnp.zeros((1, run.data.side, run.data.side, 3)))["params"]

  def objective(params, batch):
    inside = batch["mask"] > 0  # outside of the mask the true depth may be anything
    error = jnp.abs(predict(net, params, batch["image"], run) - jnp.where(inside, batch["depth"], 1.0))
    return jnp.where(inside, error, 0.0).sum(), inside.sum().astype(jnp.float32)

  return minimise(objective, params, pipeline.train_iterator(run, image_only=False), optimizer.create(run), count, say)


def score(run: ConfigDict, params: dict, batches: pipeline.Batches) -> dict[str, float]:
  """Means of the measures over images, inside the true mask, as `{"val/side": ...}`."""
  net, meter = network(run), Meter()

  @jax.jit
  def totals(params, batch):
    depth = predict(net, params, batch["image"], run)
    found = geometry.scores(depth, batch["depth"], jnp.ones_like(batch["mask"]), batch["mask"], fov=run.scene.fov)
    return geometry.totals(found, batch["_mask"])

  for batch in batches:
    batch = {name: batch[name] for name in ("image", "depth", "mask", "_mask")}
    meter.add(0, {f"val/{name}": np.asarray(pair, np.float64) for name, pair in totals(params, batch).items()})
  return meter.means()
