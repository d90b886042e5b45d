"""The vector-quantised auto-encoder (van den Oord et al. 2017).

Its codebook is a moving average (their appendix A.1). The representation of D numbers is cut into D /
`vq_vae.code_dim` tokens, and each is replaced by the nearest vector of one codebook. (The paper's tokens are
a grid of places. Here, as for the second, global code of its section 4.2, each token sees the whole picture,
so that encoder, decoder and size of representation are those of the other methods.) The codebook is model
state, which no optimiser sees: a code is the mean of the tokens that chose it lately.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import MODEL_STATE, Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import baseline, gradient_step, optimizer
from pdr_jax.rules import at_least, fraction

DEAD = 0.1  # a code chosen less often than this share of the average is dead
NO_SAY = 1e-6  # the count of an initial code: the first batch decides


def create(config: ConfigDict) -> Method:
  """The method `vq_vae`."""
  nets = gradient_step.recomputed(networks(config), config)
  tx = optimizer.create(config)
  return Method(
      init=partial(init, nets=nets, tx=tx, config=config),
      update=partial(update, nets=nets, tx=tx, config=config),
      validate=partial(validate, nets=nets, config=config),
      gradient_norms=partial(gradient_norms, nets=nets, config=config),
      encode=partial(encode, nets=nets, config=config),
      feature_maps=partial(baseline.feature_maps, config=config),
      pictures=partial(pictures, nets=nets, config=config),
  )


def networks(config: ConfigDict) -> dict[str, nn.Module]:
  """`encoder`, `tokens` and `decoder`.

  `tokens` is a linear map that frees the encoder's bottleneck of the sign (float32 at any compute dtype).
  """
  return {
      "encoder": baseline.encoder(config),
      "tokens": nn.Dense(baseline.representation_size(config)),
      "decoder": baseline.decoder(config),
  }


def init(
  rng: Array, batch: dict, *, nets: dict, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  """Fresh networks and a random codebook, which the first step redraws from the first batch's tokens."""
  codes = jax.random.normal(jax.random.fold_in(rng, len(nets)), (config.vq_vae.codes, config.vq_vae.code_dim))
  codebook = {"count": jnp.full(config.vq_vae.codes, NO_SAY), "total": NO_SAY * codes}
  return gradient_step.init(baseline.init_networks(rng, nets, config), tx, config, {"codebook": codebook})


def encode(
    variables: dict, images: Float[ArrayLike, "B S S C"], *, nets: dict, config: ConfigDict
) -> dict[str, Float[Array, "B D"]]:
  """`codes`: the chosen code vectors, one after the other.

  They, and not the tokens before quantisation, are all that the decoder sees.
  """
  codes = vectors(variables[MODEL_STATE]["codebook"])
  index = nearest(tokens(variables, images, nets, config), codes)
  return {"codes": codes[index].reshape(images.shape[0], -1)}


def tokens(
  params: dict, images: Float[ArrayLike, "B S S C"], nets: dict, config: ConfigDict
) -> Float[Array, "B T d"]:
  """The representation before quantisation, cut into tokens."""
  flat = nets["tokens"].apply({"params": params["tokens"]}, baseline.embed(params, images, nets))
  return flat.reshape(images.shape[0], -1, config.vq_vae.code_dim)


# ---------------------------------------------------------------- the codebook


def vectors(codebook: dict[str, ArrayLike]) -> Float[ArrayLike, "K d"]:
  """The code vectors (equation 8): the mean of the tokens that chose them.

  Counts are never zero, see `update_codebook`.
  """
  return jax.lax.stop_gradient(codebook["total"] / codebook["count"][:, None])


def nearest(tokens: Float[ArrayLike, "... d"], codes: Float[ArrayLike, "K d"]) -> Int[Array, "..."]:
  """The index of the nearest code (equation 1)."""
  products = jnp.matmul(tokens, codes.T, precision=jax.lax.Precision.HIGHEST)
  lengths = jnp.square(codes).sum(axis=-1).reshape((1,) * (tokens.ndim - 1) + (-1,))
  return jnp.argmin(lengths - 2 * products, axis=-1)


def straight_through(
  tokens: Float[ArrayLike, "B T d"], chosen: Float[ArrayLike, "B T d"]
) -> Float[Array, "B T d"]:
  """The chosen codes, whose gradient goes to the tokens unchanged (section 3.2)."""
  return tokens + jax.lax.stop_gradient(chosen - tokens)


def update_codebook(
  codebook: dict[str, ArrayLike],
  tokens: Float[ArrayLike, "N d"],
  index: Int[ArrayLike, " N"],
  rng: Array,
  axis_name: str | None,
  config: ConfigDict,
) -> tuple[dict[str, Array], Float[Array, ""]]:
  """The codebook after a batch, and the perplexity of the batch's choices.

  The codebook is the same on every device. The perplexity is 1 to K codes in use. Counts and totals of the
  tokens that chose a code, over all devices, enter moving averages (equations 6 and 7). A dead code restarts
  at a token of the batch, with the average count (Dhariwal et al. 2020, "Jukebox", section 3: random
  restarts); `rng` is the same on every device, and so is the choice.
  """
  decay, size = config.vq_vae.decay, config.vq_vae.codes
  one_hot = jax.nn.one_hot(index, size)
  count, total = one_hot.sum(axis=0), jnp.matmul(one_hot.T, tokens, precision=jax.lax.Precision.HIGHEST)
  if axis_name is not None:
    count, total = jax.lax.psum((count, total), axis_name)
    tokens = jax.lax.all_gather(tokens, axis_name, tiled=True)
  average = tokens.shape[0] / size
  perplexity = jnp.exp(jax.scipy.special.entr(count / tokens.shape[0]).sum())
  count = decay * codebook["count"] + (1 - decay) * count
  total = decay * codebook["total"] + (1 - decay) * total
  dead = count < DEAD * average
  restart = tokens[jax.random.randint(rng, (size,), 0, tokens.shape[0])]
  alive = {
    "count": jnp.where(dead, average, count),
    "total": jnp.where(dead[:, None], average * restart, total),
  }
  return alive, perplexity


# ---------------------------------------------------------------- training


def term_weights(config: ConfigDict) -> dict[str, float]:
  """The weight of every loss term; the codebook's own term of equation 3 is its moving average."""
  return {"reconstruction": 1.0, "commitment": config.vq_vae.commitment}


def loss_terms(
    params: dict, codebook: dict, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> tuple[dict, tuple[Array, Array]]:
  """Every term's mean over the global batch, unweighted (equation 3), and the tokens with their choices.

  Tokens are `[B,T,d]`, choices `[B,T]`.
  """
  images, codes = batch["image"], vectors(codebook)
  z = tokens(params, images, nets, config)
  index = nearest(z, codes)
  chosen = codes[index]
  decoded = baseline.decode(params, straight_through(z, chosen).reshape(images.shape[0], -1), nets)
  terms = {
      "reconstruction": baseline.negative_log_likelihood(images, decoded, config),
      "commitment": jnp.square(z - chosen).sum(axis=(1, 2)),
  }
  return {name: masked_mean(values, None, axis_name) for name, values in terms.items()}, (z, index)


def update(
    state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict,
    tx: optax.GradientTransformation, config: ConfigDict
) -> tuple[TrainState, dict]:
  """One step of the networks (see `gradient_step`), then of the codebook that they were trained with."""
  codebook = state.model_state["codebook"]
  terms_of = partial(
    loss_terms, codebook=codebook, batch=batch, axis_name=axis_name, nets=nets, config=config
  )
  grads, terms, (z, index) = gradient_step.gradients(state.params, terms_of, term_weights(config), axis_name)
  seen = z.reshape(-1, z.shape[-1]), index.reshape(-1)
  codebook, perplexity = update_codebook(codebook, *seen, rng, axis_name, config)
  count = batch["image"].shape[0]
  metrics = gradient_step.as_metrics(terms | {"perplexity": perplexity}, grads, count, axis_name)
  state = gradient_step.descend(state, grads, tx=tx, config=config)
  return state.replace(model_state={"codebook": codebook}), metrics


def gradient_norms(
    state: TrainState, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """The norm of each weighted term's gradient (see `gradient_step.gradient_norms`)."""
  words = dict(codebook=state.model_state["codebook"], batch=batch, axis_name=axis_name)
  terms_of = partial(loss_terms, **words, nets=nets, config=config)
  return gradient_step.gradient_norms(state.params, terms_of, term_weights(config), axis_name)


# ---------------------------------------------------------------- evaluation


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """`val/reconstruction` (nats) and `val/l1` of the picture decoded from the codes."""
  variables, images = inference_variables(state), batch["image"]
  decoded = baseline.decode(variables, encode(variables, images, nets=nets, config=config)["codes"], nets)
  return gradient_step.masked_totals(
    baseline.reconstruction_scores(images, decoded, config), batch["_mask"], axis_name
  )


def pictures(
  variables: dict, images: Float[ArrayLike, "B S S C"], *, nets: dict, config: ConfigDict
) -> dict[str, Float[Array, "B S S C"]]:
  """`reconstruction`, and `sample`: every place's code taken from a random one of the pictures.

  The random ones are the same at every call. That is a sample of the prior with independent places, whose
  marginals are those of the pictures; no autoregressive prior is trained.
  """
  codes = encode(variables, images, nets=nets, config=config)["codes"]
  split = codes.reshape(images.shape[0], -1, config.vq_vae.code_dim)
  donor = jax.random.randint(jax.random.key(0), split.shape[:2], 0, images.shape[0])
  mixed = jnp.take_along_axis(split, donor[..., None], axis=0).reshape(codes.shape)
  return {
    "reconstruction": baseline.decode(variables, codes, nets),
    "sample": baseline.decode(variables, mixed, nets),
  }


# ---------------------------------------------------------------- configuration


def defaults() -> dict[str, dict[str, Any]]:
  return baseline.defaults() | dict(
      vq_vae=dict(
          codes=512,              # vectors in the codebook
          code_dim=16,            # numbers in each; divides the size of the representation
          decay=0.99,             # of the codebook's moving averages
          commitment=0.25,        # weight of the tokens' squared distance from their codes
      ),
  )


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` where the representation cannot be cut into codes."""
  baseline.check(config, devices)
  size, code = baseline.representation_size(config), config.vq_vae.code_dim
  if size % code:
    raise UserError(f"config.vq_vae.code_dim = {code}: must divide the representation's {size} numbers")


METHOD = Description(
    defaults=defaults,
    rules=baseline.RULES | {
        "vq_vae.codes": at_least(2),
        "vq_vae.code_dim": at_least(1),
        "vq_vae.decay": fraction(),
        "vq_vae.commitment": at_least(0),
    },
    variants={"small": baseline.small},
    check=check,
    reads=baseline.reads,
    create=create,
)
