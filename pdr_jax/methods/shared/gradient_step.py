"""One step of gradient descent on a weighted sum of named loss terms.

Every method with a single optimiser shares it. A method hands over `terms_of`, `params -> (terms, aux)`, and
a weight for every term. The terms are scalars whose `pmean` over the devices, like that of their gradients,
is the value of the global batch (see `losses.reduce.masked_mean`); `aux` carries no gradient.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.methods.contract import TrainState

MAIN = "main"  # the name of the one optimiser
Terms = Callable[[Any], tuple[dict[str, Array], Any]]
Metrics = dict[str, tuple[ArrayLike, ArrayLike]]


def init(
    params: Any, tx: optax.GradientTransformation, config: ConfigDict, model_state: dict | None = None
) -> TrainState:
  """The state of step 0; the moving average, where `optim.ema` asks for one, starts at the parameters."""
  ema = jax.tree.map(jnp.array, params) if config.optim.ema else None
  step = jnp.zeros((), jnp.int32)
  return TrainState(step, params, opt_state={MAIN: tx.init(params)}, model_state=model_state or {}, ema=ema)


class Recomputed(NamedTuple):
  """A network of which the backward pass is handed the inputs alone: it computes the activations again (Chen
  et al. 2016, arXiv 1604.06174, one segment a network)."""

  net: nn.Module

  def init(self, *inputs: Any) -> Any:
    return self.net.init(*inputs)

  def apply(self, variables: Any, *inputs: ArrayLike, method: str | None = None) -> Any:
    return jax.checkpoint(lambda variables, *inputs: self.net.apply(variables, *inputs, method=method))(
      variables, *inputs
    )


def recomputed(nets: dict[str, nn.Module], config: ConfigDict) -> dict[str, nn.Module | Recomputed]:
  """The networks as they are to be trained: with `train.remat` those whose activations are not kept."""
  return {name: Recomputed(net) for name, net in nets.items()} if config.train.remat else nets


def update(
    state: TrainState, terms_of: Terms, weights: Mapping[str, float], *, count: int, axis_name: str | None,
    tx: optax.GradientTransformation, config: ConfigDict
) -> tuple[TrainState, Metrics]:
  """One step of a method whose `aux` is a dict of numbers for the log. `count`: images on this device.

  The new state is the same on every device. Metrics: `loss`, the unweighted terms, the numbers, and the norm
  of the gradient before clipping.
  """
  grads, terms, shown = gradients(state.params, terms_of, weights, axis_name)
  return descend(state, grads, tx=tx, config=config), as_metrics(terms | shown, grads, count, axis_name)


def of_terms(
    loss_terms: Callable[[Any, dict, Array, str | None], tuple[dict[str, Array], dict]],
    weights: Mapping[str, float],
    *,
    tx: optax.GradientTransformation,
    config: ConfigDict,
) -> dict[str, Callable]:
  """A method's `update` and `gradient_norms`, by these names, from its `loss_terms` and their weights.

  `loss_terms(params, batch, rng, axis_name)` gives `(terms, numbers for the log)`, as `terms_of` does.
  """

  def step(state: TrainState, batch: dict, rng: Array, axis_name: str | None) -> tuple[TrainState, Metrics]:
    terms_of = partial(loss_terms, batch=batch, rng=rng, axis_name=axis_name)
    count = batch["image"].shape[0]
    return update(state, terms_of, weights, count=count, axis_name=axis_name, tx=tx, config=config)

  def norms(state: TrainState, batch: dict, rng: Array, axis_name: str | None) -> Metrics:
    terms_of = partial(loss_terms, batch=batch, rng=rng, axis_name=axis_name)
    return gradient_norms(state.params, terms_of, weights, axis_name)

  return {"update": step, "gradient_norms": norms}


def gradients(
    params: Any, terms_of: Terms, weights: Mapping[str, float], axis_name: str | None
) -> tuple[Any, dict[str, Array], Any]:
  """The gradient of the weighted sum over the global batch, this device's terms, and `aux`.

  The terms hold the weighted sum as `loss`.
  """

  def objective(params):
    terms, aux = terms_of(params)
    return sum(weight * terms[name] for name, weight in weights.items()), (terms, aux)

  (total, (terms, aux)), grads = jax.value_and_grad(objective, has_aux=True)(params)
  return mean_over(grads, axis_name), {"loss": total, **terms}, aux


def descend(
  state: TrainState, grads: Any, *, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  """The state after the optimiser's step, the parameters' moving average included."""
  updates, opt_state = tx.update(grads, state.opt_state[MAIN], state.params)
  params = optax.apply_updates(state.params, updates)
  ema = state.ema
  if config.optim.ema:
    ema = optax.incremental_update(params, state.ema, 1 - config.optim.ema)
  return state.replace(step=state.step + 1, params=params, opt_state={MAIN: opt_state}, ema=ema)


def as_metrics(values: dict[str, ArrayLike], grads: Any, count: int, axis_name: str | None) -> Metrics:
  """Means over this device's `count` images to (sum, count) pairs over all devices.

  The averaged gradient's norm is added.
  """
  devices = 1 if axis_name is None else jax.lax.psum(1, axis_name)
  total = jnp.asarray(count * devices, jnp.float32)
  metrics = {name: (value * total, total) for name, value in mean_over(values, axis_name).items()}
  return metrics | {"gradient_norm": (optax.tree.norm(grads), jnp.ones(()))}


def gradient_norms(
    params: Any, terms_of: Terms, weights: Mapping[str, float], axis_name: str | None
) -> Metrics:
  """The global norm of each weighted term's gradient.

  One forward pass, and one backward pass for each term.
  """
  _, pull, _ = jax.vjp(terms_of, params, has_aux=True)

  def norm(one_hot):
    grads, = pull({name: weight * one_hot[i] for i, (name, weight) in enumerate(weights.items())})
    return optax.tree.norm(mean_over(grads, axis_name))

  norms = jax.lax.map(norm, jnp.eye(len(weights)))
  return {f"gradient_norm/{name}": (norms[i], jnp.ones(())) for i, name in enumerate(weights)}


def mean_over(tree: Any, axis_name: str | None) -> Any:
  """The mean over the devices' axis, or the tree itself without one."""
  return tree if axis_name is None else jax.lax.pmean(tree, axis_name)


def global_index(count: int, axis_name: str | None) -> Int[Array, " B"]:
  """The places of this device's `count` images in the global batch.

  Random streams are folded with them, so that a draw does not depend on the number of devices.
  """
  first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * count
  return first + jnp.arange(count)


def masked_totals(
    scores: Mapping[str, Float[ArrayLike, " B"]], valid: Float[ArrayLike, " B"], axis_name: str | None
) -> Metrics:
  """Scores of single images to (sum, count) pairs over all devices, padding left out."""
  metrics = {name: ((value * valid).sum(), valid.sum()) for name, value in scores.items()}
  return metrics if axis_name is None else jax.lax.psum(metrics, axis_name)
