"""Angles as two soft decisions: how large sine and cosine are, and which signs they have.

Magnitudes are logits of the squared cosine and sine, quadrants logits of the signs, in the order (+, +),
(+, -), (-, +), (-, -) of (cosine, sine). So are the viewpoints of SSV (arXiv 2004.01793, after
Liao et al. 2019, "Spherical regression"). Angles are in radians, from -pi to pi.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.render.safe_ops import SMALLEST_SQUARE

MIRRORED = np.array([1, 0, 3, 2])  # the quadrant of the negative angle


def decode(magnitudes: Float[ArrayLike, "*B 2"], quadrants: Float[ArrayLike, "*B 4"]) -> Float[Array, "*B"]:
  """The angle of the magnitudes in the likeliest quadrant; the gradient goes to the magnitudes alone."""
  # arctan(exp(x / 2)) is the magnitude, written so that nothing overflows.
  difference = magnitudes[..., 1] - magnitudes[..., 0]
  magnitude = math.pi / 4 + jnp.arctan(jnp.tanh(difference / 4))
  quadrant = jnp.argmax(quadrants, axis=-1)
  angle = jnp.where(quadrant < 2, magnitude, math.pi - magnitude)
  return jnp.where(quadrant % 2 == 0, angle, -angle)


def mean_direction(
  magnitudes: Float[ArrayLike, "*B 2"], quadrants: Float[ArrayLike, "*B 4"]
) -> Float[Array, "*B"]:
  """The angle of the mean of the four quadrants' directions, weighed by their probabilities.

  Where one quadrant is certain it is `decode`. Where signs are not, it lies between, which is the nearer to
  the truth the less is known; its gradient goes to both decisions. 0, without gradient, where the mean has no
  direction.
  """
  cosine, sine = jnp.moveaxis(jnp.exp(jax.nn.log_softmax(magnitudes) / 2), -1, 0)
  share = jnp.moveaxis(jax.nn.softmax(quadrants), -1, 0)
  x = cosine * (share[0] + share[1] - share[2] - share[3])
  y = sine * (share[0] - share[1] + share[2] - share[3])
  usable = jnp.square(x) + jnp.square(y) > SMALLEST_SQUARE
  return jnp.arctan2(jnp.where(usable, y, 0.0), jnp.where(usable, x, 1.0))


def quadrant_of(angle: Float[ArrayLike, "*B"]) -> Int[Array, "*B"]:
  """The number of the quadrant of an angle."""
  return 2 * (jnp.cos(angle) < 0).astype(jnp.int32) + (jnp.sin(angle) < 0).astype(jnp.int32)


def mirrored(angles: Float[ArrayLike, "*B 3"]) -> Float[Array, "*B 3"]:
  """Azimuth, elevation and tilt of what a mirror shows: azimuth and tilt are the negative ones."""
  return jnp.asarray(angles) * jnp.array([-1.0, 1.0, -1.0]).reshape((1,) * (angles.ndim - 1) + (3,))


def cross_entropy(
  magnitudes: Float[ArrayLike, "*B 2"], quadrants: Float[ArrayLike, "*B 4"], angle: Float[ArrayLike, "*B"]
) -> Float[Array, "*B"]:
  """Of both decisions with those of a known angle: `-cos^2 log p1 - sin^2 log p2 - log p(quadrant)`.

  It is lowest where the prediction is the angle, and there the entropy of (cos^2, sin^2), not zero.
  """
  square = jnp.stack([jnp.square(jnp.cos(angle)), jnp.square(jnp.sin(angle))], axis=-1)
  return soft_cross_entropy(magnitudes, quadrants, square, quadrant_of(angle))


def soft_cross_entropy(
  magnitudes: Float[ArrayLike, "*B 2"],
  quadrants: Float[ArrayLike, "*B 4"],
  squares: Float[ArrayLike, "*B 2"],
  quadrant: Int[ArrayLike, "*B"],
) -> Float[Array, "*B"]:
  """Of both decisions with squared cosine and sine, and the number of a quadrant."""
  of_magnitudes = -jnp.sum(squares * jax.nn.log_softmax(magnitudes), axis=-1)
  picked = jnp.take_along_axis(jax.nn.log_softmax(quadrants), quadrant[..., None], axis=-1)[..., 0]
  return of_magnitudes - picked


def mirror_cross_entropy(
  magnitudes: Float[ArrayLike, "*B 3 2"],
  quadrants: Float[ArrayLike, "*B 3 4"],
  of_mirrored: tuple[Float[ArrayLike, "*B 3 2"], Float[ArrayLike, "*B 3 4"]],
) -> Float[Array, "*B 3"]:
  """Of what is said of mirrored pictures with what is said of the pictures, mirrored.

  The latter is a target without gradient.
  """
  squares = jax.lax.stop_gradient(jax.nn.softmax(magnitudes))
  quadrant = jnp.argmax(quadrants, axis=-1)
  turned = jnp.asarray(MIRRORED)[quadrant]
  flips = jnp.array([True, False, True]).reshape((1,) * (quadrant.ndim - 1) + (3,))
  return soft_cross_entropy(*of_mirrored, squares, jnp.where(flips, turned, quadrant))
