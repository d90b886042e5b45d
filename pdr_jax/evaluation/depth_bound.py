"""The bound of what a run's depth network can reach: taught with true depth, as long as it gets better.

It is Unsup3D's supervised baseline (Wu et al. 2020, table 2): the method's own depth network regresses the
true depth at the input view, which it gives directly, without a canonical frame, by the mean absolute
difference inside the true mask. It is trained once for a prepared world and the network's settings, and kept
beside the world.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from jaxtyping import Array
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.elements import zeros
from pdr_jax.evaluation import batches as batch_lib
from pdr_jax.evaluation.probes.descent import minimise, run_once
from pdr_jax.evaluation.representations import Representation
from pdr_jax.files import write_atomically
from pdr_jax.methods.shared import optimizer
from pdr_jax.metrics import geometry

Settings = ConfigDict | Mapping[str, Any]  # `bound_steps`, `bound_every` and `bound_patience`
FORMAT = 1  # of the file; raise it when the network, its loss or its training change
SEED = 0  # of every bound, whatever the run's: the seeds of a study share one
OTHERS = ("view_rate", "schedule")  # keys of the optimiser that the bound does not use


class Bound(NamedTuple):
  """A trained bound.

  Attributes:
    params: of the network.
    step: of these parameters, the best ones.
    side: their SIDE on the validation split.
    trained: steps in all.
    converged: whether training ended because nothing got better, not because the steps were used up.
  """

  params: dict
  step: int
  side: float
  trained: int
  converged: bool


def obtain(
    run: ConfigDict,
    representation: Representation,
    settings: Settings,
    folder: str,
    say: Callable[[str], None] = print,
) -> Bound:
  """The stored bound of these settings, or a new one, which is then stored.

  A stored one that had not converged is trained again where the steps that are allowed now are more.

  Args:
    run: its networks, optimiser and data.
    settings: `bound_steps`, `bound_every` and `bound_patience`.
    folder: of the prepared data; "" where nothing can be kept.
  """
  path = os.path.join(folder, f"bound_{fingerprint(run, representation, settings)}.npz") if folder else ""
  stored = read(path) if path else None
  if stored and (stored.converged or stored.trained >= settings["bound_steps"]):
    result = f"step {stored.step}, SIDE x 100 {100 * stored.side:.3f}"
    say(f"  supervised bound: trained before ({path}, {result})")
    return stored
  say(f"  supervised bound: training until it stops improving, at most {settings['bound_steps']} steps")
  bound = train(run, representation, settings, say)
  if path:
    try:
      write(path, bound)
    except OSError as error:
      say(f"  the bound cannot be kept in {folder} ({error.strerror or error})")
  return bound


def train(
    run: ConfigDict, representation: Representation, settings: Settings, say: Callable[[str], None]
) -> Bound:
  """Learns from the training split's true depth; keeps the parameters of the lowest SIDE on validation.

  It ends after `bound_patience` looks in a row, one every `bound_every` steps, without a lower one.
  """
  run = ConfigDict(run.to_dict() | {"seed": SEED})
  run.optim.schedule = "constant"  # the run's own would end at the run's last step
  network, key = representation.method.depth_network, representation.input
  params = run_once(network.init, jax.random.key(SEED), zeros(representation.reads, 1)[key])

  def objective(params: dict, batch: dict) -> tuple[Array, Array]:
    inside = batch["mask"] > 0  # outside of the mask the true depth may be anything
    error = jnp.abs(network.apply(params, batch[key]) - jnp.where(inside, batch["depth"], 1.0))
    return jnp.where(inside, error, 0.0).sum(), inside.sum().astype(jnp.float32)

  @jax.jit
  def side(params: dict, batch: dict) -> tuple[Array, Array]:
    depth = network.apply(params, batch[key])
    scores = geometry.scores(depth, batch["depth"], jnp.ones_like(batch["mask"]), batch["mask"])
    return geometry.totals(scores, batch["_mask"])["side"]

  validation = batch_lib.of_split(run, representation.reads, "validation", ("depth", "mask"))
  looks: list[Bound] = []  # the best one so far, first; then the looks after it

  def is_over(params: dict, step: int) -> bool:
    value = _mean(side(params, batch) for batch in validation)
    say(f"  supervised bound: step {step}, SIDE x 100 {100 * value:.3f}")
    look = Bound(params, step, value, step, converged=False)
    if not looks or value < looks[0].side:
      looks[:] = [look]
    else:
      looks.append(look._replace(params={}))
    return len(looks) > settings["bound_patience"]

  shuffled = batch_lib.for_training(run, representation.reads, ("depth", "mask"))
  minimise(
    objective, params, shuffled, optimizer.create(run), settings["bound_steps"], say,
    is_over=is_over, look_every=settings["bound_every"],
  )
  converged = len(looks) > settings["bound_patience"]
  return looks[0]._replace(trained=looks[-1].step, converged=converged)


def _mean(pairs: Iterable[tuple[Array, Array]]) -> float:
  total, count = np.sum([np.asarray(pair, np.float64) for pair in pairs], axis=0)
  return float(total / count) if count > 0 else float("inf")


# ---------------------------------------------------------------- the file


def fingerprint(run: ConfigDict, representation: Representation, settings: Settings) -> str:
  """Of all that the bound depends on besides the prepared data and the number of steps."""
  spec = representation.reads[representation.input]
  example = zeros(representation.reads, 1)[representation.input]
  shapes = jax.eval_shape(representation.method.depth_network.init, jax.random.key(SEED), example)
  camera = methods.describe(run.method).camera
  said = {
      "format": FORMAT,
      "input": [*spec.shape, spec.range],
      "network": jax.tree.map(lambda leaf: list(leaf.shape), shapes),
      "camera": camera(run) if camera else None,
      "optim": {key: value for key, value in run.optim.to_dict().items() if key not in OTHERS},
      "batch": run.train.batch_size,
      "looks": [settings["bound_every"], settings["bound_patience"]],
  }
  text = json.dumps(said, sort_keys=True, default=str)
  return f"side{spec.shape[0]}_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def write(path: str, bound: Bound) -> None:
  """Whole or not at all."""
  flat = traverse_util.flatten_dict(bound.params, sep="/")
  numbers = {name: value for name, value in bound._asdict().items() if name != "params"}
  arrays = {f"params/{name}": np.asarray(value) for name, value in flat.items()} | numbers
  write_atomically(path, lambda file: np.savez(file, **arrays))


def read(path: str) -> Bound | None:
  """None where there is no file, or a damaged one, which is then as good as none."""
  try:
    with np.load(path, allow_pickle=False) as file:
      flat = {name.removeprefix("params/"): file[name] for name in file.files if name.startswith("params/")}
      return Bound(
          traverse_util.unflatten_dict(flat, sep="/"), int(file["step"]), float(file["side"]),
          int(file["trained"]), bool(file["converged"]),
      )
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None
