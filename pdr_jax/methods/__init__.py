"""Methods: each file is one system, a set of pure functions over an explicit state (see `Method`)."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
from ml_collections import ConfigDict

from pdr_jax.errors import UserError

METHODS = {"pdr": "pdr", "vae": "vae", "beta_vae": "vae", "vq_vae": "vq_vae", "simclr": "simclr"}  # name -> file


@flax.struct.dataclass
class TrainState:
  """What a run carries from step to step. `ema` is None unless `optim.ema` is set."""

  step: Any
  params: Any
  opt_state: Any
  ema: Any = None


class Method(NamedTuple):
  """The training loop's and the evaluation's view of a system. Metrics are `{name: (sum, count)}`, already summed over `axis_name`.

  Attributes:
    init: `(rng, batch) -> state`.
    update: `(state, batch, rng, axis_name) -> (state, metrics)`; `rng` is the step's key, the same on every device.
    validate: `(state, batch, axis_name) -> metrics`, deterministic; `batch["_mask"]` marks the examples that count.
    gradient_norms: `(state, batch, rng, axis_name) -> metrics`, the gradient's norm of each weighted loss term.
    encode: `(params, images [B,S,S,3]) -> {block: [B,D]}`.
    decompose: `(params, images) -> {depth, albedo, light, view, ...}`.
    render: `(parts, light=None, view=None) -> {image, mask, depth_at_view}`, decomposed parts under another light or view.
    pictures: `(params, images) -> {name: [B,S,S,3]}`, what a method that decomposes nothing shows in figures, such as reconstructions.
  `decompose`, `render` and `pictures` are None where they have no meaning.
  """

  init: Callable
  update: Callable
  validate: Callable
  gradient_norms: Callable
  encode: Callable
  decompose: Callable | None
  render: Callable | None
  pictures: Callable | None = None


def create(config: ConfigDict) -> Method:
  """Builds the method that `config.method` names. Raises UserError for an unknown name."""
  if config.method not in METHODS:
    raise UserError(f"method={config.method!r} is unknown; it is one of {', '.join(METHODS)}")
  return importlib.import_module(f"pdr_jax.methods.{METHODS[config.method]}").create(config)
