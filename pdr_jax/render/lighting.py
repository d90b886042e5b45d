"""Light: order-2 spherical harmonics, and Unsup3D's ambient + directional light.

Frame, order and signs: CONVENTIONS.md.

Irradiance by spherical harmonics: Ramamoorthi & Hanrahan 2001 (only the first three bands of the clamped
cosine matter).
"""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render import safe_ops

# Constants of the real orthonormal basis, without Condon-Shortley phase.
Y0 = math.sqrt(1 / (4 * math.pi))
Y1 = math.sqrt(3 / (4 * math.pi))
Y2 = math.sqrt(15 / (4 * math.pi))  # xy, yz, xz
Y20 = math.sqrt(5 / (16 * math.pi))  # 3 z^2 - 1
Y22 = Y2 / 2  # x^2 - y^2
# Irradiance's gain A_l per coefficient: the clamped cosine's bands.
COSINE_GAIN = (math.pi, *[2 * math.pi / 3] * 3, *[math.pi / 4] * 5)


def sh_basis(directions: Float[ArrayLike, "... 3"]) -> Float[Array, "... 9"]:
  """The nine real spherical harmonics at unit vectors (x, y, z).

  Their order is (0,0) (1,-1) (1,0) (1,1) (2,-2) (2,-1) (2,0) (2,1) (2,2).
  """
  return jnp.stack(_basis(directions), axis=-1)


def sh_irradiance(
    coefficients: Float[ArrayLike, "... 9"] | Float[ArrayLike, "... 9 3"],
    normals: Float[ArrayLike, "... H W 3"],
) -> Float[Array, "... H W"] | Float[Array, "... H W 3"]:
  """Irradiance `E(n) = sum_lm A_l L_lm Y_lm(n)` at unit normals, from radiance coefficients; [..., 9, 3]
  (coloured) gives [..., H, W, 3].

  Leading axes of both must be equal in number and broadcast. May be negative: nine coefficients can describe
  impossible light.
  """
  basis = _basis(normals)
  if coefficients.shape[-1] == 9:
    weights = [COSINE_GAIN[k] * coefficients[..., k, None, None] for k in range(9)]
  else:
    weights = [COSINE_GAIN[k] * coefficients[..., k, None, None, :] for k in range(9)]
    basis = [value[..., None] for value in basis]
  return sum(weight * value for weight, value in zip(weights, basis, strict=True))


def sh_shading(
  coefficients: Float[ArrayLike, "... 9"] | Float[ArrayLike, "... 9 3"],
  normals: Float[ArrayLike, "... H W 3"],
) -> Float[Array, "... H W"] | Float[Array, "... H W 3"]:
  """Lambertian shading `max(E / pi, 0)`: the radiance that leaves a white surface.

  Shapes as in `sh_irradiance`.
  """
  return jnp.maximum(sh_irradiance(coefficients, normals) * (1 / math.pi), 0.0)


def directional_shading(
  ambient: Float[ArrayLike, "..."],
  diffuse: Float[ArrayLike, "..."],
  direction: Float[ArrayLike, "... 3"],
  normals: Float[ArrayLike, "... H W 3"],
) -> Float[Array, "... H W"]:
  """Unsup3D's light: `ambient + diffuse * max(0, n . l)`.

  Direction in which the light travels, any length (zero: no diffuse light).
  """
  unit = safe_ops.normalize(direction)[..., None, None, :]
  cosine = unit[..., 0] * normals[..., 0] + unit[..., 1] * normals[..., 1] + unit[..., 2] * normals[..., 2]
  return ambient[..., None, None] + diffuse[..., None, None] * jnp.maximum(cosine, 0.0)


def directional_to_sh(
    ambient: Float[ArrayLike, "..."], diffuse: Float[ArrayLike, "..."], direction: Float[ArrayLike, "... 3"]
) -> Float[Array, "... 9"]:
  """Radiance coefficients of `directional_shading`'s light: ambient radiance everywhere, and a point source
  of irradiance pi * diffuse.

  Their `sh_shading` equals `directional_shading` up to the bands above order 2 of the clamped cosine c, of
  which 1/4 + c/2 + 5/32 (3 c^2 - 1) is left: the difference is at most 3/32 * diffuse (where the surface is
  edge-on to the light).
  """
  light = math.pi * diffuse[..., None] * sh_basis(safe_ops.normalize(direction))
  return jnp.concatenate([light[..., :1] + ambient[..., None] / Y0, light[..., 1:]], axis=-1)


def rotate_sh(
  coefficients: Float[ArrayLike, "... 9"] | Float[ArrayLike, "... 9 3"], rotation: Float[ArrayLike, "... 3 3"]
) -> Float[Array, "... 9"] | Float[Array, "... 9 3"]:
  """Turns a spherical function: `f'(n) = f(R^T n)`, so light that travels along d then travels along R d.

  Closed form. Band 1 is a vector a with f = a . n, which becomes R a; band 2 is a traceless symmetric matrix
  M with f = n^T M n, which becomes R M R^T. Leading axes of both equal in number and broadcasting.
  Differentiable in both; `rotation` must be orthonormal.
  """
  coloured = coefficients.shape[-1] != 9
  if coloured:  # one rotation for the three colours
    coefficients = jnp.swapaxes(coefficients, -1, -2)
    rotation = rotation[..., None, :, :]
  r = [[rotation[..., i, j] for j in range(3)] for i in range(3)]
  c = [coefficients[..., k] for k in range(9)]
  vector = (c[3], c[1], c[2])
  b1 = [sum(r[i][j] * vector[j] for j in range(3)) for i in range(3)]
  diagonal = (Y22 * c[8] - Y20 * c[6], -Y22 * c[8] - Y20 * c[6], 2 * Y20 * c[6])
  xy, yz, xz = Y22 * c[4], Y22 * c[5], Y22 * c[7]  # half of Y2: an off-diagonal entry counts twice
  m = [[diagonal[0], xy, xz], [xy, diagonal[1], yz], [xz, yz, diagonal[2]]]
  rm = [[sum(r[i][k] * m[k][j] for k in range(3)) for j in range(3)] for i in range(3)]
  def turned(i, j):
    return sum(rm[i][k] * r[j][k] for k in range(3))

  b2 = [
    turned(0, 1) / Y22,
    turned(1, 2) / Y22,
    turned(2, 2) / (2 * Y20),
    turned(0, 2) / Y22,
    (turned(0, 0) - turned(1, 1)) / (2 * Y22),
  ]
  band0 = jnp.broadcast_to(c[0], b1[0].shape)
  result = jnp.stack([band0, b1[1], b1[2], b1[0], *b2], axis=-1)
  return jnp.swapaxes(result, -1, -2) if coloured else result


def shade(
  albedo: Float[ArrayLike, "... H W C"], shading: Float[ArrayLike, "... H W"] | Float[ArrayLike, "... H W C"]
) -> Float[Array, "... H W C"]:
  """The image `(albedo/2 + 1/2) * shading * 2 - 1`.

  Albedo is in [-1, 1] and shading >= 0. The image is at least -1; shading above 1 may take it beyond 1.
  """
  if shading.ndim < albedo.ndim:
    shading = shading[..., None]
  return (jnp.asarray(albedo) + 1.0) * shading - 1.0


def _basis(directions: Float[ArrayLike, "... 3"]) -> list[ArrayLike]:
  """The nine basis functions as separate arrays without the axis of three."""
  x, y, z = directions[..., 0], directions[..., 1], directions[..., 2]
  return [
      jnp.full_like(x, Y0),
      Y1 * y,
      Y1 * z,
      Y1 * x,
      Y2 * x * y,
      Y2 * y * z,
      Y20 * (3.0 * z * z - 1.0),
      Y2 * x * z,
      Y22 * (x * x - y * y),
  ]
