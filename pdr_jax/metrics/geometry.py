"""How right a predicted shape is: SIDE, MAD and the sign of the relief.

See the specification, section 9; Unsup3D is Wu et al. 2020. Every measure is per image. Images without a
pixel inside both masks have nothing to measure: `covered` is 0 for them, their values are 0, and `totals`
leaves them out of the counts. Depths are z coordinates in model units at the input view, masks 1 inside;
NumPy arrays will do.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render import safe_ops
from pdr_jax.render.camera import pinhole, pixel_grid
from pdr_jax.render.depth_mesh import normals

DEGREES = 57.29577951308232
# A pixel is inside a mask, and so are its neighbours, when none is below this (as Unsup3D's average pooling)
INSIDE = 0.99
ROUNDING = 1e-5  # float32 sums over an image; a face's relief is above 1e-2 of its depth
FACE_RADIUS = 0.75  # of half the side: the disc in which a canonical picture shows mostly face


def scores(
    predicted: Float[ArrayLike, "B S S"],
    true: Float[ArrayLike, "B S S"],
    rendered_mask: Float[ArrayLike, "B S S"],
    true_mask: Float[ArrayLike, "B S S"],
    *,
    fov: float = 10.0,
) -> dict[str, Float[Array, " B"]]:
  """All measures of a predicted against a true depth map, inside both masks, each eroded by 3x3.

  Returns per image `side` (scale-invariant depth error, not multiplied by 100), `mad` (degrees), `relief` and
  `depth_correlation` (-1 to 1), and `covered` (1 where there was a pixel to measure). `fov`: of the pinhole
  camera, degrees.
  """
  mask = erode(rendered_mask) * erode(true_mask)
  # Outside the masks anything may stand, infinity included. The erosion keeps these ones away from the
  # neighbours that normals look at.
  inside = (rendered_mask > INSIDE) & (true_mask > INSIDE)
  predicted, true = jnp.where(inside, predicted, 1.0), jnp.where(inside, true, 1.0)
  return {
      "side": side(predicted, true, mask),
      "mad": mad(predicted, true, mask, fov=fov),
      "relief": relief(predicted, true, mask),
      "depth_correlation": correlation(predicted, true, mask),
      "covered": (_total(mask) > 0).astype(mask.dtype),
  }


def totals(
  values: dict[str, Float[ArrayLike, " B"]], valid: Float[ArrayLike, " B"] | None = None
) -> dict[str, tuple[Array, Array]]:
  """`scores` as (sum, count) pairs over the valid images (`_mask` of a padded batch).

  Images that are not covered count for `covered` only.
  """
  valid = jnp.ones_like(values["covered"]) if valid is None else valid
  counted = valid * values["covered"]
  weight = {name: valid if name == "covered" else counted for name in values}
  return {name: (jnp.sum(value * weight[name]), jnp.sum(weight[name])) for name, value in values.items()}


def erode(mask: Float[ArrayLike, "... H W"]) -> Float[Array, "... H W"]:
  """1 where a pixel and its eight neighbours are all inside; outside the image nothing is."""
  height, width = mask.shape[-2:]
  padded = jnp.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(1, 1), (1, 1)])
  shifted = [padded[..., i : i + height, j : j + width] > INSIDE for i in range(3) for j in range(3)]
  return jnp.stack(shifted).all(axis=0).astype(mask.dtype)


def side(
  predicted: Float[ArrayLike, "B S S"], true: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]
) -> Float[Array, " B"]:
  """Scale-invariant depth error `sqrt(mean (e - mean e)^2)`, `e = log predicted - log true`, means over the
  mask (used as it is).

  The same when either depth is multiplied by a constant. Published figures are multiplied by 100. Depths must
  be positive inside the mask.
  """
  inside = mask > 0
  error = jnp.log(jnp.where(inside, predicted, 1.0)) - jnp.log(jnp.where(inside, true, 1.0))
  return safe_ops.safe_sqrt(_mean(jnp.square(_centred(error, mask)), mask))


def log_moments(
  predicted: Float[ArrayLike, "B S S"],
  true: Float[ArrayLike, "B S S"],
  rendered_mask: Float[ArrayLike, "B S S"],
  true_mask: Float[ArrayLike, "B S S"],
) -> dict[str, Float[Array, " B"]]:
  """Second moments of log depth, each image centred, inside both masks, each eroded by 3x3.

  Per image the means over pixels `product`, `predicted_squared` and `true_squared`, and the number of
  `pixels`. The scale of the relief is the sum of products over that of predicted squares: the factor of the
  predicted log depth that fits the truth best, 1 where the relief is as deep as it should be, below 1 where
  it is too deep. With the factor g, SIDE is `sqrt(g^2 predicted_squared - 2 g product + true_squared)`.
  """
  mask = erode(rendered_mask) * erode(true_mask)
  inside = mask > 0
  x, y = (_centred(jnp.log(jnp.where(inside, depth, 1.0)), mask) for depth in (predicted, true))
  return {
      "product": _mean(x * y, mask),
      "predicted_squared": _mean(x * x, mask),
      "true_squared": _mean(y * y, mask),
      "pixels": _total(mask),
  }


def mad(
  predicted: Float[ArrayLike, "B S S"],
  true: Float[ArrayLike, "B S S"],
  mask: Float[ArrayLike, "B S S"],
  *,
  fov: float = 10.0,
) -> Float[Array, " B"]:
  """Mean angle in degrees between the normals of two depth maps over the mask.

  The mask is used as it is; it should be eroded. Both normals come from the depths by `depth_mesh.normals`
  (central differences), also where a data set has better ones: a predicted depth that equals the true one
  then scores zero.
  """
  camera = pinhole(predicted.shape[-1], fov)
  return _mean(angle(normals(predicted, camera), normals(true, camera)), mask)


def angle(a: Float[ArrayLike, "... 3"], b: Float[ArrayLike, "... 3"]) -> Float[Array, "..."]:
  """Angle between vectors in degrees, by the arc tangent, which is exact near zero too.

  The arc cosine loses half of its digits there.
  """
  return DEGREES * jnp.arctan2(safe_ops.safe_norm(jnp.cross(a, b)), jnp.sum(a * b, axis=-1))


def relief(
  predicted: Float[ArrayLike, "B S S"], true: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]
) -> Float[Array, " B"]:
  """Correlation of predicted and true depth over the mask once each has lost its best-fitting plane.

  It is -1 to 1; negative is hollow. A turned head's depth is mostly a slope: with a hollow face turned the
  right way, plain correlation would still be positive.
  """
  return _correlation(_without_plane(predicted, mask), _without_plane(true, mask), mask)


def correlation(
  a: Float[ArrayLike, "B S S"], b: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]
) -> Float[Array, " B"]:
  """Pearson correlation over the mask; zero where either is constant up to rounding."""
  return _correlation(_without_constant(a, mask), _without_constant(b, mask), mask)


def convexity(canonical_depth: Float[ArrayLike, "B S S"]) -> Float[Array, " B"]:
  """The convexity of a canonical depth, without truth.

  It is the correlation with the squared distance to the image's centre, in a disc about it.

  -1 to 1; positive where the middle is nearer than the rim. The disc has 0.75 of half the side as its radius:
  most of a face, and none of the columns that the model clamps to `border_depth`.
  """
  u, v = pixel_grid(canonical_depth)
  half = (canonical_depth.shape[-1] - 1) / 2
  radius_sq = jnp.square(u / half - 1) + jnp.square(v / half - 1)
  return correlation(canonical_depth, radius_sq, (radius_sq < FACE_RADIUS**2).astype(canonical_depth.dtype))


def is_convex(canonical_depth: Float[ArrayLike, "B S S"]) -> Float[Array, " B"]:
  """1 where the middle of a canonical depth is nearer than its rim (`convexity` > 0), else 0.

  0 means that the face is hollow, or flat.
  """
  return (convexity(canonical_depth) > 0).astype(canonical_depth.dtype)


def depth_totals(
  true: Float[ArrayLike, "B S S"], true_mask: Float[ArrayLike, "B S S"]
) -> tuple[Float[Array, "S S"], Float[Array, "S S"]]:
  """Per pixel the sum of true depths and the number of images, inside the true masks.

  Add these up over batches for `average_depth`.
  """
  inside = true_mask > INSIDE
  return jnp.where(inside, true, 0.0).sum(axis=0), jnp.sum(inside, axis=0).astype(true.dtype)


def average_depth(depth_sum: Float[ArrayLike, "S S"], count: Float[ArrayLike, "S S"]) -> Float[Array, "S S"]:
  """The baseline that knows the average true depth at the input view, from summed `depth_totals`.

  Unsup3D calls it "average g.t. depth". Pixels that no mask has covered take the mean of all others.
  """
  overall = safe_ops.safe_divide(depth_sum.sum(), count.sum(), 1.0)
  return jnp.where(count > 0, depth_sum / jnp.maximum(count, 1.0), overall)


def baseline_scores(
  depth: Float[ArrayLike, "S S"],
  true: Float[ArrayLike, "B S S"],
  true_mask: Float[ArrayLike, "B S S"],
  *,
  fov: float = 10.0,
) -> dict[str, Float[Array, " B"]]:
  """`scores` of one depth map for all images, over the whole true mask.

  `jnp.ones([S, S])` is the constant-depth baseline.
  """
  predicted = jnp.broadcast_to(depth[None], true.shape)
  return scores(predicted, true, jnp.ones_like(true_mask), true_mask, fov=fov)


def _total(values: Float[ArrayLike, "B S S"]) -> Float[Array, " B"]:
  return jnp.sum(values, axis=(-2, -1))


def _mean(values: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]) -> Float[Array, " B"]:
  return _total(values * mask) / jnp.maximum(_total(mask), 1.0)


def _centred(values: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]) -> Float[Array, "B S S"]:
  """Values minus their mean over the mask, zero outside."""
  return jnp.where(mask > 0, values - _mean(values, mask)[..., None, None], 0.0)


def _without_constant(
  values: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]
) -> Float[Array, "B S S"]:
  """`_centred`, exactly zero where all that is left is rounding."""
  return _unless_rounding(_centred(values, mask), values, mask)


def _without_plane(
  values: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]
) -> Float[Array, "B S S"]:
  """Values minus their least-squares plane over the mask (Gram-Schmidt on 1, u, v).

  They are zero outside of the mask, or if only rounding is left.
  """
  u, v = (_centred(coordinate, mask) for coordinate in pixel_grid(values))
  v = _without(v, u, mask)
  left = _without(_without(_centred(values, mask), u, mask), v, mask)
  return _unless_rounding(left, values, mask)


def _without(
  values: Float[ArrayLike, "B S S"], direction: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]
) -> Float[Array, "B S S"]:
  """Removes the component along `direction`."""
  share = safe_ops.safe_divide(_mean(values * direction, mask), _mean(direction * direction, mask))
  return values - share[..., None, None] * direction


def _unless_rounding(
  residual: Float[ArrayLike, "B S S"], values: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]
) -> Float[Array, "B S S"]:
  """The residual of values, or zeros when its root mean square is below 1e-5 of theirs."""
  matters = _mean(residual * residual, mask) > ROUNDING**2 * _mean(values * values, mask)
  return jnp.where(matters[..., None, None], residual, 0.0)


def _correlation(
  a: Float[ArrayLike, "B S S"], b: Float[ArrayLike, "B S S"], mask: Float[ArrayLike, "B S S"]
) -> Float[Array, " B"]:
  """Correlation of centred values; zero where either is zero everywhere."""
  spread = safe_ops.safe_sqrt(_mean(a * a, mask)) * safe_ops.safe_sqrt(_mean(b * b, mask))
  return jnp.clip(safe_ops.safe_divide(_mean(a * b, mask), spread), -1.0, 1.0)
