"""Aggregation of fragments into one colour per pixel (SoftRas).

It is differentiable also where a face does not quite reach a pixel.
"""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render.coverage import MAX_DEPTH, MIN_DEPTH
from pdr_jax.render.rasterize import Fragments

BACKGROUND_DEPTH = 1e-3  # SoftRas' epsilon: the normalised inverse depth at which the background stands


def soft_blend(fragments: Fragments, colors: Float[ArrayLike, "... H W K C"], *, sigma: float, gamma: float,
               background: Float[ArrayLike, "*B C"], near: float = 0.1,
               far: float = 100.0) -> tuple[Float[Array, "... H W C"], Float[Array, "... H W"]]:
  """Blends the K fragments of every pixel with the SoftRas formula.

  See Liu et al. 2019, arXiv 1904.01786, equations 3 to 6. For the fragments j of a pixel, with squared
  distance `d_j^2` to the face's outline in squared pixels and depth `z_j`:

      D_j    = sigmoid(s_j d_j^2 / sigma)                    s_j = +1 inside the face, -1 outside
      zeta_j = (1 / z_j - 1 / far) / (1 / near - 1 / far)    1 at `near`, 0 at `far`, clipped
      w_j    = D_j exp(zeta_j / gamma) / (sum_k D_k exp(zeta_k / gamma) + exp(eps / gamma)),   eps = 1e-3
      w_b    = exp(eps / gamma) / (the same sum)             the background
      rgb    = sum_j w_j color_j + w_b background
      alpha  = 1 - prod_j (1 - D_j)                          the silhouette

  Computed as a softmax of log D_j + zeta_j / gamma, which cannot overflow however small gamma and sigma are,
  and never divides by zero. As sigma -> 0 and then gamma -> 0 this is the hard z-buffer: the nearest face's
  colour where a face covers the pixel, the background elsewhere. A face with zeta_j < eps (beyond a depth of
  50 with the default near and far) loses against the background: choose `near` and `far` around the scene
  when gamma is small.

  Args:
    fragments: from `rasterize`, with a blur radius of a few sqrt(sigma) pixels for useful gradients outside
      the faces.
    colors: the colour of every fragment; what it holds where `face == -1` does not matter, as long as it is
      finite.
    sigma: squared pixels, positive: sharpness of the silhouettes.
    gamma: positive, in units of normalised inverse depth: how strongly nearer faces hide those behind.
    background: colour, of any leading shape that broadcasts with the pixels'.
    near, far: depths, 0 < near < far.

  Returns:
    `rgb [..., H, W, C]` and `alpha [..., H, W]` in [0, 1].
  """
  valid = fragments.face >= 0
  inside_logit = jnp.where(valid, -fragments.signed_distance_sq, 0.0) / sigma
  depth = jnp.where(valid, jnp.clip(fragments.depth, MIN_DEPTH, MAX_DEPTH), 1.0)
  zeta = jnp.clip((1 / depth - 1 / far) / (1 / near - 1 / far), 0.0, 1.0)
  # log weights; no fragment: a weight of exactly zero, reached without -inf - -inf
  logits = jnp.where(valid, jax.nn.log_sigmoid(inside_logit) + zeta / gamma, 0.0)
  background_logit = BACKGROUND_DEPTH / gamma
  highest = lax.stop_gradient(
    jnp.maximum(jnp.max(jnp.where(valid, logits, -jnp.inf), axis=-1, keepdims=True), background_logit)
  )
  weights = jnp.where(valid, jnp.exp(jnp.where(valid, logits - highest, 0.0)), 0.0)
  background_weight = jnp.exp(background_logit - highest)
  # at least one: the highest term is exp(0)
  total = jnp.sum(weights, axis=-1, keepdims=True) + background_weight
  rgb = jnp.sum((weights / total)[..., None] * jnp.where(valid[..., None], colors, 0.0), axis=-2)
  shape = rgb.shape[:-1]
  background = jnp.asarray(background, rgb.dtype)
  background = jnp.reshape(background, (1,) * (rgb.ndim - background.ndim) + background.shape)
  rgb = rgb + (background_weight / total).reshape(*shape, 1) * background
  # log prod (1 - D_j)
  transparent = jnp.sum(jnp.where(valid, jax.nn.log_sigmoid(-inside_logit), 0.0), axis=-1)
  return rgb, -jnp.expm1(transparent)
