"""The variational auto-encoder (Kingma and Welling, 2014, equation 10).

The prior is the unit Gaussian, the posterior a diagonal one, the pixels are Gaussian with a fixed deviation.
The loss is reconstruction + KL. `beta_vae` replaces the second term.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import baseline, gradient_step, optimizer

SMALLEST_STD = 1e-4  # keeps the posterior's logarithm finite
UNIT_STD = math.log(math.e - 1)  # softplus of it is 1: a posterior network that says nothing says the prior


# `(mean and deviation of the posteriors [B, D], step, axis_name) -> (loss terms, numbers for the log)`
Divergence = Callable[[Array, Array, Array, str | None], tuple[dict[str, Array], dict[str, Array]]]


def create(config: ConfigDict) -> Method:
  """The method `vae`."""
  return system(config, divergence, {"reconstruction": 1.0, "kl": 1.0})


def divergence(
  mean: Float[ArrayLike, "B D"], std: Float[ArrayLike, "B D"], step: ArrayLike, axis_name: str | None
) -> tuple[dict[str, Array], dict[str, Array]]:
  """The KL itself is the second term."""
  return {"kl": masked_mean(kl_to_prior(mean, std), None, axis_name)}, {}


def system(
  config: ConfigDict,
  divergence: Divergence,
  weights: Mapping[str, float],
  nets: dict[str, nn.Module] | None = None,
) -> Method:
  """A variational auto-encoder.

  Its loss is the weighted sum of `reconstruction` and of the terms of `divergence`. `nets` take the place of
  `networks(config)`.
  """
  nets = gradient_step.recomputed(nets or networks(config), config)
  tx = optimizer.create(config)
  words = dict(nets=nets, divergence=divergence, weights=weights, config=config)
  return Method(
      init=partial(baseline.init, nets=nets, tx=tx, config=config),
      update=partial(update, tx=tx, **words),
      validate=partial(validate, nets=nets, config=config),
      gradient_norms=partial(gradient_norms, **words),
      encode=partial(encode, nets=nets),
      feature_maps=partial(baseline.feature_maps, config=config),
      pictures=partial(pictures, nets=nets),
  )


def networks(config: ConfigDict) -> dict[str, nn.Module]:
  """`encoder`, `posterior` and `decoder`.

  `posterior` takes the encoder's bottleneck to mean and raw deviation (float32 at any compute dtype).
  """
  posterior = nn.Dense(2 * baseline.representation_size(config))
  return {"encoder": baseline.encoder(config), "posterior": posterior, "decoder": baseline.decoder(config)}


def encode(
  params: dict, images: Float[ArrayLike, "B S S C"], *, nets: dict
) -> dict[str, Float[Array, "B D"]]:
  """`mean`, that of the posterior: unbounded, near unit scale where the latent is used."""
  return {"mean": posterior(params, images, nets)[0]}


def posterior(
  params: dict, images: Float[ArrayLike, "B S S C"], nets: dict
) -> tuple[Float[Array, "B D"], Float[Array, "B D"]]:
  """Mean and deviation (> 0) of q(z | image)."""
  outputs = nets["posterior"].apply({"params": params["posterior"]}, baseline.embed(params, images, nets))
  mean, raw = jnp.split(outputs, 2, axis=-1)
  return mean, jax.nn.softplus(raw + UNIT_STD) + SMALLEST_STD


def kl_to_prior(mean: Float[ArrayLike, "B D"], std: Float[ArrayLike, "B D"]) -> Float[Array, " B"]:
  """Nats from the unit Gaussian to N(mean, std^2), >= 0 (Kingma and Welling, appendix B)."""
  return (jnp.square(mean) + jnp.square(std) - 1 - 2 * jnp.log(std)).sum(axis=-1) / 2


# ---------------------------------------------------------------- training


def loss_terms(
  params: dict,
  batch: dict,
  rng: Array,
  step: ArrayLike,
  axis_name: str | None,
  *,
  nets: dict,
  divergence: Divergence,
  config: ConfigDict,
) -> tuple[dict, dict]:
  """Every term's mean over the global batch, unweighted, in nats, and numbers for the log.

  One sample of the posterior an image.
  """
  images = batch["image"]
  mean, std = posterior(params, images, nets)
  noise = draw(rng, gradient_step.global_index(images.shape[0], axis_name), mean.shape[1])
  decoded = baseline.decode(params, mean + std * noise, nets)
  reconstruction = masked_mean(baseline.negative_log_likelihood(images, decoded, config), None, axis_name)
  terms, shown = divergence(mean, std, step, axis_name)
  return {"reconstruction": reconstruction} | terms, shown


def draw(rng: Array, index: Int[ArrayLike, " B"], size: int) -> Float[Array, "B D"]:
  """Unit Gaussian noise; each image has its own stream.

  It therefore does not depend on how the batch is spread over devices.
  """
  return jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(rng, i), (size,)))(index)


def update(
    state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, divergence: Divergence,
    weights: Mapping[str, float], tx: optax.GradientTransformation, config: ConfigDict
) -> tuple[TrainState, dict]:
  """One step (see `gradient_step.update`)."""
  words = dict(batch=batch, rng=rng, step=state.step, axis_name=axis_name)
  terms_of = partial(loss_terms, **words, nets=nets, divergence=divergence, config=config)
  count = batch["image"].shape[0]
  return gradient_step.update(
    state, terms_of, weights, count=count, axis_name=axis_name, tx=tx, config=config
  )


def gradient_norms(
    state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, divergence: Divergence,
    weights: Mapping[str, float], config: ConfigDict
) -> dict:
  """The norm of each weighted term's gradient (see `gradient_step.gradient_norms`)."""
  words = dict(batch=batch, rng=rng, step=state.step, axis_name=axis_name)
  terms_of = partial(loss_terms, **words, nets=nets, divergence=divergence, config=config)
  return gradient_step.gradient_norms(state.params, terms_of, weights, axis_name)


# ---------------------------------------------------------------- evaluation


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """`val/reconstruction` (nats) and `val/l1` of the picture decoded from the posterior's mean, and `val/kl`.

  Nothing is drawn at random.
  """
  params, images = inference_variables(state), batch["image"]
  mean, std = posterior(params, images, nets)
  scores = baseline.reconstruction_scores(images, baseline.decode(params, mean, nets), config) | {
    "val/kl": kl_to_prior(mean, std)
  }
  return gradient_step.masked_totals(scores, batch["_mask"], axis_name)


def pictures(
  params: dict, images: Float[ArrayLike, "B S S C"], *, nets: dict
) -> dict[str, Float[Array, "B S S C"]]:
  """`reconstruction`, from the posterior's mean, and `sample`, of the prior.

  The latents of `sample` are the same at every call.
  """
  mean, _ = posterior(params, images, nets)
  prior = draw(jax.random.key(0), jnp.arange(images.shape[0]), mean.shape[1])
  return {
    "reconstruction": baseline.decode(params, mean, nets),
    "sample": baseline.decode(params, prior, nets),
  }


METHOD = Description(
    defaults=baseline.defaults,
    rules=baseline.RULES,
    variants={"small": baseline.small},
    check=baseline.check,
    reads=baseline.reads,
    create=create,
)
