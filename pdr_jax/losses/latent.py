"""What holds codes near their prior: mu-VAE's terms, a maximum mean discrepancy, the KL, and latent clipping.

All terms are means over the global batch: the `pmean` of what a device computes, and of its gradient, is the
batch's, although the absolute value and the kernel are not linear in it.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

SCALES = (0.2, 0.5, 1.0, 2.0, 5.0)  # of the kernel, in units of 2 D


def clip_rows(values: Float[ArrayLike, "B D"], radius: float) -> Float[Array, "B D"]:
  """Rows longer than `radius` at that length, others as they are (mu-VAE's latent clipping)."""
  square = jnp.sum(jnp.square(values), axis=-1, keepdims=True)
  outside = square > radius**2
  return values * jnp.where(outside, radius * jax.lax.rsqrt(jnp.where(outside, square, 1.0)), 1.0)


def absolute_mean(values: Float[ArrayLike, "B ..."], axis_name: str | None) -> Float[Array, "..."]:
  """`|mean over the global batch|`, of each column alone. The sign is taken over all devices."""
  local = values.mean(axis=0)
  everywhere = local if axis_name is None else jax.lax.pmean(local, axis_name)
  return jax.lax.stop_gradient(jnp.sign(everywhere)) * local


def mu_vae(
  mean: Float[ArrayLike, "B D"], log_variance: Float[ArrayLike, "B D"], axis_name: str | None
) -> Float[Array, ""]:
  """mu-VAE's term as released: `|mean_b sum_d mean| + |mean_b sum_d log_variance|`.

  These are two numbers of a batch, and dimensions may cancel: it bounds the code hardly.
  """
  return sum(absolute_mean(values.sum(axis=-1), axis_name) for values in (mean, log_variance))


def mu_vae_per_dimension(
  mean: Float[ArrayLike, "B D"], log_variance: Float[ArrayLike, "B D"], axis_name: str | None
) -> Float[Array, ""]:
  """`sum_d |mean_b mean_d| + sum_d |mean_b log_variance_d|`: nothing cancels."""
  return sum(absolute_mean(values, axis_name).sum() for values in (mean, log_variance))


def kl_to_normal(
  mean: Float[ArrayLike, "B D"], log_variance: Float[ArrayLike, "B D"]
) -> Float[Array, " B"]:
  """Nats from the unit Gaussian to N(mean, exp(log_variance)), >= 0."""
  return (jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance).sum(axis=-1) / 2


def mmd(
  codes: Float[ArrayLike, "B D"], prior: Float[ArrayLike, "B D"], axis_name: str | None
) -> Float[Array, ""]:
  """The squared maximum mean discrepancy of codes and draws of the prior (Gretton et al. 2012, equation 3).

  Unbiased, hence at times negative; the kernel is a sum of inverse multiquadratics `c / (c + |x - y|^2)`, c =
  2 D times `SCALES` (Tolstikhin et al. 2018, "Wasserstein auto-encoders"). Each device scores its rows
  against those of all.
  """
  count = codes.shape[0]
  if axis_name is None:
    all_codes, all_prior, offset, total = codes, prior, 0, count
  else:
    all_codes, all_prior = (jax.lax.all_gather(x, axis_name, tiled=True) for x in (codes, prior))
    offset, total = jax.lax.axis_index(axis_name) * count, all_codes.shape[0]
  other = (jnp.arange(count) + offset)[:, None] != jnp.arange(total)[None]
  within = sum(
    jnp.where(other, kernel(rows, everyone), 0.0).sum() / (count * (total - 1))
    for rows, everyone in ((codes, all_codes), (prior, all_prior))
  )
  between = kernel(codes, all_prior).mean() + kernel(prior, all_codes).mean()
  return within - between


def kernel(rows: Float[ArrayLike, "N D"], others: Float[ArrayLike, "M D"]) -> Float[Array, "N M"]:
  """The sum of inverse multiquadratics of all pairs, in (0, `len(SCALES)`]."""
  product = jnp.matmul(rows, others.T, precision=jax.lax.Precision.HIGHEST)
  lengths = [jnp.square(x).sum(axis=-1) for x in (rows, others)]
  square = jnp.maximum(lengths[0][:, None] + lengths[1][None] - 2 * product, 0.0)
  return sum(c / (c + square) for c in (2 * rows.shape[1] * scale for scale in SCALES))
