"""Renders scenes with exact truth: a batch of drawn heads -> image, albedo, depth, normal.

It is pure jnp, with one jitted function per size.

The mesh is rasterized at three times the side: each subpixel is painted and lit, and 3 x 3 of them are
  averaged. The middle one lies on the **pixel's centre**: the depth and normal stored are those of the
  surface point there, unaveraged. The normal is the mesh's vertex normal (area-weighted mean of the faces
  around the vertex) interpolated there, in the camera frame.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from pdr_jax.data.scenes.head_mesh import ShapeModel
from pdr_jax.data.scenes.paint import paint
from pdr_jax.render import camera as cameras
from pdr_jax.render import safe_ops
from pdr_jax.render.lighting import directional_to_sh
from pdr_jax.render.rasterize import rasterize

FIELD_OF_VIEW = 10.0
NEAR, FAR = 0.8, 1.2  # range of stored depth; the largest stored value means background
BACKGROUND_DEPTH = 1.1  # model units, what decoding puts there
DEPTH_STEPS = 65534


def vertex_normals(
  vertices: Float[Array, "B V 3"], faces: Int[ArrayLike, "F 3"], incident: Int[ArrayLike, "V K"]
) -> Float[Array, "B V 3"]:
  """Unit vertex normals: area-weighted mean of the faces around; direction (b - a) x (c - a)."""
  corners = vertices[:, faces]
  normal = jnp.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
  normal = jnp.concatenate([normal, jnp.zeros_like(normal[:, :1])], axis=1)  # the padding of `incident`
  return safe_ops.normalize(
    normal[:, incident].sum(axis=2) * 1e4
  )  # faces are some 1e-6 in area: keep clear of the safe threshold


def _interpolate(face, weight, faces, attributes):
  """Per-vertex attributes [B, V, A] at hits -> A planes [B, S, S].

  A hit is a face [B, S, S] and barycentric weights [B, S, S, 3].
  """
  corners = jnp.asarray(faces)[jnp.maximum(face, 0)]  # [B, S, S, 3]
  rows = jax.vmap(lambda table, index: table[index])(attributes, corners)  # [B, S, S, 3, A]
  return [sum(rows[..., k, a] * weight[..., k] for k in range(3)) for a in range(attributes.shape[-1])]


def _unit(x, y, z):
  scale = jax.lax.rsqrt(jnp.maximum(x * x + y * y + z * z, 1e-12))
  return x * scale, y * scale, z * scale


def paint_head(coords: list, material: Array | None, look: dict) -> tuple[tuple, None]:
  """The painter of `heads` and `ict_faces`: one material, no map of parts."""
  del material
  return paint(*coords, look), None


def render(
  model: ShapeModel, scene: dict, side: int, painter: Callable = paint_head
) -> dict[str, tuple | Array]:
  """Renders a batch.

  Args:
    model: the shape (arrays may be NumPy).
    scene: weights [B, M]; view [B, 6]; ambient [B]; diffuse [B, 2]; direction [B, 2, 3] (unit, canonical
      frame, travelling); background [B, 3, 3]; look: {name: [B, ...]}.
    side: S.
    painter: (three planes of `model.coords` [B, H, W], `model.material` there or None, look) -> (three planes
      of reflectance, part uint8 [B, H, W] or None).

  Returns:
    image and albedo: three planes [B, S, S] each, reflectance scale [0, 1]; depth [B, S, S] (0 where nothing
      is hit); hit [B, S, S] bool; normal: three planes, camera frame, into the scene ((0, 0, 1) where nothing
      is hit); segmentation [B, S, S] uint8, if the painter tells parts: the part at the pixel's centre, 0
      where nothing is hit.
  """
  fused = jax.lax.optimization_barrier  # keeps XLA from computing again in each loop that reads a result
  shift = jnp.einsum("bm,mvc->bvc", scene["weights"], jnp.asarray(model.modes), precision="highest")
  vertices = jnp.asarray(model.vertices)[None] + shift
  normals = vertex_normals(vertices, model.faces, model.incident)
  coords = jnp.broadcast_to(jnp.asarray(model.coords)[None], vertices.shape)
  screen = cameras.project(cameras.apply_view(vertices, scene["view"]), cameras.pinhole(side, FIELD_OF_VIEW))

  # Subpixel k of pixel u, at u + (k - 1) / 3, has coordinate 3 u + k in the fine picture.
  fine, attributes = fused((jnp.stack([3 * screen[..., 0] + 1, 3 * screen[..., 1] + 1, screen[..., 2]], -1),
                            jnp.concatenate([coords, normals], axis=-1)))
  fragments = fused(rasterize(fine, jnp.asarray(model.faces), height=3 * side, width=3 * side))
  face, depth = fragments.face[..., 0], fragments.depth[..., 0]
  hit, (x, y, z, *normal) = fused(
    (face >= 0, _interpolate(face, fragments.barycentric[..., 0, :], model.faces, attributes))
  )
  normal = _unit(*normal)
  material = None if model.material is None else jnp.asarray(model.material)[jnp.maximum(face, 0)]
  albedo = fused(painter([x, y, z], material, scene["look"])[0])
  shading = shade_planes(scene, normal)
  ground = _background_planes(scene["background"], 3 * side)
  albedo = [jnp.where(hit, a, g) for a, g in zip(albedo, ground, strict=True)]
  lit = jnp.where(hit, shading, 1.0)
  image, albedo = fused(([jnp.clip(a * lit, 0.0, 1.0) for a in albedo], albedo))

  def average(a):
    return a.reshape(-1, side, 3, side, 3).mean(axis=(2, 4))

  def centre(a):
    return a[:, 1::3, 1::3]  # truth is that of the pixels' centres

  _, part = painter(
    [centre(a) for a in (x, y, z)], None if material is None else centre(material), scene["look"]
  )
  hit, depth, *normal = (centre(a) for a in (hit, depth, *normal))
  rotation = cameras.rotation_matrix(scene["view"][:, :3])[..., None, None]
  turned = [sum(rotation[:, i, j] * normal[j] for j in range(3)) for i in range(3)]
  normal = tuple(jnp.where(hit, n, empty) for n, empty in zip(turned, (0.0, 0.0, 1.0), strict=True))
  image, albedo = tuple(map(average, image)), tuple(map(average, albedo))
  maps = {"image": image, "albedo": albedo, "depth": jnp.where(hit, depth, 0.0), "hit": hit, "normal": normal}
  return maps if part is None else {**maps, "segmentation": jnp.where(hit, part, jnp.uint8(0))}


def _background_planes(background: Float[Array, "B 3 3"], side: int) -> list[Float[Array, "B H W"]]:
  """Reflectances behind the object: a colour, and its change across the width and the height."""
  ramp = jnp.linspace(-1.0, 1.0, side)

  def number(row: int, channel: int) -> Array:
    return background[:, row, channel, None, None]

  planes = [
    number(0, c) + number(1, c) * ramp[None, None, :] + number(2, c) * ramp[None, :, None] for c in range(3)
  ]
  return [jnp.clip(plane, 0.02, 0.97) for plane in planes]


def shade_planes(scene: dict, normal: tuple) -> Float[Array, "B H W"]:
  """Ambient light and two directional sources on unit normals.

  The normals are three planes [B, H, W], in the canonical frame, and point into the scene.
  """
  shading = scene["ambient"][:, None, None]
  for k in range(2):
    cosine = sum(normal[c] * scene["direction"][:, k, c, None, None] for c in range(3))
    shading = shading + scene["diffuse"][:, k, None, None] * jnp.maximum(cosine, 0.0)
  return shading


def quantize(maps: dict) -> dict[str, Array]:
  """`render`'s maps as stored, colours as planes [B, 3, S, S].

  Image and albedo are uint8, normal is uint8 over [-1, 1]. Depth is uint16 [B, S, S] over [NEAR, FAR] in
  DEPTH_STEPS steps; 65535 is background.
  """
  def to_byte(planes, scale, shift):
    return jnp.stack(
      [jnp.round(jnp.clip(plane * scale + shift, 0.0, 255.0)).astype(jnp.uint8) for plane in planes], 1
    )

  steps = jnp.round(jnp.clip((maps["depth"] - NEAR) / (FAR - NEAR), 0.0, 1.0) * DEPTH_STEPS).astype(
    jnp.uint16
  )
  return {
      "image": to_byte(maps["image"], 255.0, 0.0),
      "albedo": to_byte(maps["albedo"], 255.0, 0.0),
      "depth": jnp.where(maps["hit"], steps, jnp.uint16(65535)),
      "normal": to_byte(maps["normal"], 127.0, 127.0),
      **({"segmentation": maps["segmentation"]} if "segmentation" in maps else {}),
  }


def light_coefficients(scene: dict) -> Float[Array, "B 9"]:
  """The scene's light as SH coefficients of radiance, in the canonical frame.

  They hold all that order 2 can hold of it (`directional_to_sh`).
  """
  none = jnp.zeros_like(scene["ambient"])
  first = directional_to_sh(scene["ambient"], scene["diffuse"][:, 0], scene["direction"][:, 0])
  return first + directional_to_sh(none, scene["diffuse"][:, 1], scene["direction"][:, 1])
