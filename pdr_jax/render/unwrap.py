"""The input picture in canonical pose and without its light: texture, visibility, reflectance, completion.

Frames, signs and pixels are those of CONVENTIONS.md. `S` is the model's side, `P` the picture's and `N` that
of the canonical maps. All three cover the same square, `[-0.5, side - 0.5]` in their own pixels, so a
position `u` at side `a` is `(u + 1/2) b / a - 1/2` at side `b` (`resized_camera`): that is how a photograph's
pixels relate to those of its reduction to the model's side. Everything is pure, batched, in float32, and
works under `jit`, `vmap` and reverse-mode `grad`; only the visibility carries no gradient.
"""

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from pdr_jax.errors import UserError
from pdr_jax.render import camera as cameras
from pdr_jax.render import depth_mesh, reproject, safe_ops
from pdr_jax.render.camera import Camera
from pdr_jax.render.warp import sample_bilinear_components

OUTSIDE = -1e3  # position, in pixels, of a point that no picture shows
DEPTH_TOLERANCE = 0.02  # of the depth range: 0.004 for depths in [0.9, 1.1], an eighth of a nose
SMALLEST_COSINE = 0.2  # surfaces seen at more than 78 degrees from their normal count as unseen
SMALLEST_SHADING = 0.1
LARGEST_REFLECTANCE = 2.0
SEAM_COSINE = 0.5  # below it, the mirror half is blended in where only unseen parts are completed
SMALLEST_WEIGHT = 1e-6  # the sum of visibilities above which a pixel counts as seen
LUMINANCE = (0.2126, 0.7152, 0.0722)  # of linear red, green and blue: ITU-R BT.709


class Correspondence(NamedTuple):
  """Where the surface point of every canonical pixel is seen, each `[B, N, N]`.

  `u`, `v`: pixels of the input picture at the model's side; `OUTSIDE` for a point behind the camera's plane.
  `depth`: z coordinate in the camera frame, model units.
  `cosine`: of the angle between normal and viewing ray, negative on the back side.
  """

  u: Float[Array, "B N N"]
  v: Float[Array, "B N N"]
  depth: Float[Array, "B N N"]
  cosine: Float[Array, "B N N"]


class Normalized(NamedTuple):
  """Canonical maps: `texture` in [-1, 1], `reflectance` and `completed` in [0, 2], `visibility` in [0, 1]."""

  texture: Float[Array, "B N N C"]
  reflectance: Float[Array, "B N N C"]
  completed: Float[Array, "B N N C"]
  visibility: Float[Array, "B N N"]


def resized_camera(camera: Camera, side: int, new_side: int) -> Camera:
  """The camera of the same picture at another number of pixels.

  It is not `pinhole(new_side)`, whose field of view ends at the outermost pixels' centres and not at their
  edges.
  """
  scale = new_side / side
  centres = ((centre + 0.5) * scale - 0.5 for centre in (camera.centre_u, camera.centre_v))
  return Camera(camera.focal * scale, *centres)


def enlarge(maps: Float[Array, "B S S ..."], side: int) -> Float[Array, "B N N ..."]:
  """Maps at a larger side: Keys' bicubic kernel (1981, a = -1/2), renormalised at the rim.

  Reproduces quadratic maps away from the rim, and the maps themselves at their own side. Overshoots at steps.
  """
  return jax.image.resize(maps, (maps.shape[0], side, side, *maps.shape[3:]), "cubic")


def correspondences(
    depth: Float[Array, "B N N"], view: Float[Array, "B 6"], camera: Camera, side: int
) -> Correspondence:
  """Back-projects the canonical pixel grid, applies the view and projects.

  Args:
    depth: canonical depth, model units, positive.
    view: radians and model units.
    camera: of pictures of `side` pixels.
    side: S. The canonical grid may be finer: its camera is `resized_camera(camera, side, N)`.
  """
  canonical_camera = resized_camera(camera, side, depth.shape[-1])
  points = cameras.back_project_components(depth, canonical_camera)
  moved = cameras.apply_view_components(*points, view[:, None, None, :])
  u, v, z = cameras.project_components(*moved, camera)
  in_front = z > cameras.SMALLEST_DEPTH
  eye = cameras.undo_view(jnp.zeros_like(view[:, None, :3]), view)  # [B, 1, 3]: the camera, canonical frame
  ray = jnp.stack(points, axis=-1) - eye[:, None]
  cosine = jnp.sum(depth_mesh.normals(depth, canonical_camera) * safe_ops.normalize(ray), axis=-1)
  return Correspondence(jnp.where(in_front, u, OUTSIDE), jnp.where(in_front, v, OUTSIDE), z, cosine)


def visibility(
    where: Correspondence, seen_depth: Float[Array, "B S S"], depth_range: float, *,
    tolerance: float = DEPTH_TOLERANCE, smallest_cosine: float = SMALLEST_COSINE,
) -> Float[Array, "B N N"]:
  """How well the input picture shows each canonical pixel, 0 to 1; without gradient.

  The cosine to the viewing ray, and zero where the point lies outside the picture, is hidden (its depth
  differs from the depth that is seen there by more than `tolerance * depth_range`) or is seen at a cosine
  below `smallest_cosine`. The depth that is seen is interpolated between four pixels: where these mix a
  silhouette with what lies behind it, the texture would mix them too, and the pixel counts as hidden.

  Args:
    where: of the canonical pixels.
    seen_depth: depth map at the view (`reproject.depth_at_view`), model units; background beyond the surface.
    depth_range: the largest canonical depth less the smallest, model units.
  """
  side = seen_depth.shape[-1]
  seen = _sample(seen_depth[..., None], where.u, where.v)[..., 0]
  inside = (where.u >= -0.5) & (where.u <= side - 0.5) & (where.v >= -0.5) & (where.v <= side - 0.5)
  agrees = jnp.abs(seen - where.depth) <= tolerance * depth_range
  shown = inside & agrees & (where.cosine >= smallest_cosine)
  return jax.lax.stop_gradient(jnp.where(shown, jnp.minimum(where.cosine, 1.0), 0.0))


def texture(image: Float[Array, "B P P C"], where: Correspondence, side: int) -> Float[Array, "B N N C"]:
  """The picture, sampled bilinearly where each canonical pixel is seen; `side`: S, of the positions.

  The outermost half pixel repeats the outermost centre's value; beyond the picture it fades to zero over one
  pixel. A picture with many more pixels than the canonical maps is sampled without a filter: reduce it to
  about their side first. Differentiable in image and positions.

  Raises:
    UserError: a picture smaller than the model's side.
  """
  pixels = image.shape[1]
  if pixels < side:
    raise UserError(f"a picture of side {pixels} is smaller than the model's {side}: enlarge it or crop less")
  if pixels == side:
    return _sample(image, where.u, where.v)
  return _sample(image, _rescaled(where.u, side, pixels), _rescaled(where.v, side, pixels))


def reflectance(
    texture: Float[Array, "B N N C"], shading: Float[Array, "B N N"] | Float[Array, "B N N C"], *,
    smallest_shading: float = SMALLEST_SHADING,
) -> Float[Array, "B N N C"]:
  """The texture without its light, `(texture/2 + 1/2) / max(shading, smallest_shading)`, clipped to [0, 2].

  The model's global scale ambiguity stays in it: see `divide_by_median`.
  """
  shading = shading[..., None] if shading.ndim < texture.ndim else shading
  return jnp.clip((texture / 2 + 0.5) / jnp.maximum(shading, smallest_shading), 0.0, LARGEST_REFLECTANCE)


def divide_by_median(
    reflectance: Float[Array, "B N N C"], visibility: Float[Array, "B N N"]
) -> Float[Array, "B N N C"]:
  """Reflectance in units of the median luminance of what is visible, not clipped.

  Unchanged where nothing is visible or the median is black. Luminance is ITU-R BT.709's of three channels,
  the mean of any other number. The median carries no gradient.
  """
  channels = reflectance.shape[-1]
  weights = jnp.asarray(LUMINANCE if channels == 3 else (1 / channels,) * channels, reflectance.dtype)
  luminance = jnp.sum(jax.lax.stop_gradient(reflectance) * weights[None, None, None], axis=-1)
  batch = reflectance.shape[0]
  ordered = jnp.sort(jnp.where(visibility > 0, luminance, jnp.inf).reshape(batch, -1), axis=-1)
  count = jnp.sum((visibility > 0).reshape(batch, -1), axis=-1, keepdims=True)
  middle = [jnp.take_along_axis(ordered, jnp.maximum(count - back, 0) // 2, axis=-1) for back in (1, 0)]
  median = ((middle[0] + middle[1]) / 2)[:, 0]
  usable = (count[:, 0] > 0) & (median > SMALLEST_WEIGHT)
  return reflectance / jnp.where(usable, median, 1.0)[:, None, None, None]


def complete(
    reflectance: Float[Array, "B N N C"], visibility: Float[Array, "B N N"], albedo: Float[Array, "B N N C"],
    *, average: bool = True,
) -> Float[Array, "B N N C"]:
  """Fills in what is not seen from its mirror image, and what neither half shows from the albedo.

  Args:
    reflectance: of the picture.
    visibility: weights, 0 to 1.
    albedo: the model's, in [-1, 1]; its reflectance `albedo/2 + 1/2` stands where neither half is seen.
    average: both halves everywhere, weighted by their visibility; the result is symmetric. False: the mirror
      half in full where the picture shows nothing, fading out up to a visibility of 1/2; asymmetry stays, the
      seam is soft.
  """
  mirrored = jnp.flip(visibility, axis=2)
  if not average:
    mirrored = mirrored * (1.0 - jnp.clip(visibility / SEAM_COSINE, 0.0, 1.0))
  total = visibility + mirrored
  seen = total > SMALLEST_WEIGHT
  scale = 1.0 / jnp.where(seen, total, 1.0)
  own, other = ((weight * scale)[..., None] for weight in (visibility, mirrored))
  mixed = own * reflectance + other * jnp.flip(reflectance, axis=2)
  return jnp.where(seen[..., None], mixed, albedo / 2 + 0.5)


def normalize(
    image: Float[Array, "B P P C"], depth: Float[Array, "B S S"], view: Float[Array, "B 6"],
    shading: Float[Array, "B S S"] | Float[Array, "B S S C"], albedo: Float[Array, "B S S C"], camera: Camera,
    *, near: float, far: float, side: int = 0, average: bool = True,
) -> Normalized:
  """The picture in canonical pose and without its light, from a model's scene at the model's side S.

  Args:
    image: the picture in [-1, 1], at the model's side or any larger one.
    depth, shading, albedo: canonical maps of the model; enlarged bicubically to N.
    view: radians and model units.
    camera: of pictures of S pixels.
    near, far: the model's range of canonical depth, model units; what the view takes further out of it than
      its own width counts as unseen.
    side: N, of the result; 0: S.
    average: see `complete`.
  """
  own, margin = depth.shape[-1], far - near
  side = side or own
  fine, lens = enlarge(depth, side), resized_camera(camera, own, side)
  seen_depth = reproject.depth_at_view(fine, view, lens, near=near - margin, far=far + margin)
  where = correspondences(fine, view, camera, own)
  at_side = where._replace(u=_rescaled(where.u, own, side), v=_rescaled(where.v, own, side))
  visible = visibility(at_side, seen_depth, far - near)
  sampled = texture(image, where, own)
  unlit = reflectance(sampled, enlarge(shading, side))
  filled = complete(unlit, visible, jnp.clip(enlarge(albedo, side), -1.0, 1.0), average=average)
  return Normalized(sampled, unlit, filled, visible)


def normalize_decomposed(
    image: Float[Array, "B P P C"], parts: Mapping[str, Array], *, fov: float, near: float, far: float,
    side: int = 0, average: bool = True,
) -> Normalized:
  """`normalize` by a decomposition: its `depth`, `view`, `shading` and `albedo`; `fov` in degrees."""
  scene = (parts[name] for name in ("depth", "view", "shading", "albedo"))
  lens = cameras.pinhole(parts["depth"].shape[-1], fov)
  return normalize(image, *scene, lens, near=near, far=far, side=side, average=average)


def _rescaled(position: Float[Array, "B N N"], side: int, new_side: int) -> Float[Array, "B N N"]:
  """Columns or rows of a picture as those of the same picture at another number of pixels."""
  return (position + 0.5) * (new_side / side) - 0.5


def _sample(
    image: Float[Array, "B P P C"], u: Float[Array, "B N N"], v: Float[Array, "B N N"]
) -> Float[Array, "B N N C"]:
  """Bilinear samples; the outermost half pixel repeats the outermost centre, the next pixel fades to zero."""
  last = image.shape[1] - 1.0
  inwards = [x - jnp.clip(x, -0.5, 0.0) - jnp.clip(x - last, 0.0, 0.5) for x in (u, v)]
  return sample_bilinear_components(image, *inwards)
