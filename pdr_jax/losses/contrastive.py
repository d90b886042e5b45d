"""Contrastive losses of LOOCC (specification, section 6).

NT-Xent, and SupCon as the released code calls it.
"""


import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float


def l2_normalize(features: Float[ArrayLike, "B D"], epsilon: float = 1e-6) -> Float[Array, "B D"]:
  """Rows at unit length; a row shorter than `epsilon` has no direction and gives zeros with zero gradient."""
  square = jnp.sum(jnp.square(features), axis=-1, keepdims=True)
  valid = square > epsilon**2
  return jnp.where(valid, features * lax.rsqrt(jnp.where(valid, square, 1.0)), 0.0)


def nt_xent(anchors: Float[ArrayLike, "B D"], positives: Float[ArrayLike, "B D"], *, temperature: float,
            axis_name: str | None = None) -> Float[Array, " 2*B"]:
  """NT-Xent per anchor: each of the 2B features against its counterpart, all others being negatives.

  -log(exp(a.p/T) / sum_{k != a} exp(a.k/T)), similarity = dot product of the features as they come (normalise
  before: `l2_normalize`). With `axis_name`, negatives come from every device; each device scores its own
  anchors, and gradients reach the other devices' features, so that the `pmean` of the gradients of the mean
  is the gradient of the whole batch. Entries: B anchors, then B positives.
  """
  if anchors.shape != positives.shape:
    raise ValueError(f"anchors {anchors.shape} and positives {positives.shape} differ in shape")
  batch = anchors.shape[0]
  local = jnp.concatenate([anchors, positives]).astype(jnp.float32)
  if axis_name is None:
    everyone, offset = local, 0
  else:
    everyone = lax.all_gather(local, axis_name, tiled=True)  # [devices * 2B, D]
    offset = lax.axis_index(axis_name) * 2 * batch
  similarity = jnp.matmul(local, everyone.T, precision=lax.Precision.HIGHEST) / temperature
  own = (jnp.arange(2 * batch) + offset)[:, None] == jnp.arange(everyone.shape[0])[None]
  normaliser = jax.nn.logsumexp(jnp.where(own, -jnp.inf, similarity), axis=1)
  positive = jnp.sum(local * jnp.concatenate([local[batch:], local[:batch]]), axis=1) / temperature
  return normaliser - positive


def supcon(
  anchors: Float[ArrayLike, "B D"],
  positives: Float[ArrayLike, "B D"],
  *,
  temperature: float,
  base_temperature: float = 0.07,
  axis_name: str | None = None,
) -> Float[Array, " 2*B"]:
  """SupCon (Khosla et al. 2020, their code) with two views and no labels.

  It is NT-Xent times temperature / base_temperature. The released PDR code leaves the base at 0.07 with a
  temperature of 0.5: a factor 7.14 that its weight 0.01 hides. Entries as `nt_xent`.
  """
  return (temperature / base_temperature) * nt_xent(
    anchors, positives, temperature=temperature, axis_name=axis_name
  )
