"""Renders scenes with exact truth: a batch of drawn heads -> image, albedo, depth, normal. Pure jnp, one jitted function per size.

Colours are supersampled: the mesh is rasterized at twice the side, each subpixel is painted and lit, and 2 x 2 of them are averaged.
Depth and normal are those of the surface point at the **pixel's centre**, from a second rasterization at the side itself; the normal is
the mesh's vertex normal (area-weighted mean of the faces around the vertex) interpolated there, in the camera frame.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pdr_jax.data.scenes.head_mesh import ShapeModel
from pdr_jax.data.scenes.paint import paint
from pdr_jax.render import camera as cameras
from pdr_jax.render import safe_ops
from pdr_jax.render.lighting import directional_to_sh
from pdr_jax.render.fragments import make_fragments
from pdr_jax.render.select_faces import select_faces

FIELD_OF_VIEW = 10.0
NEAR, FAR = 0.8, 1.2  # range of stored depth; the largest stored value means background
BACKGROUND_DEPTH = 1.1  # model units, what decoding puts there
DEPTH_STEPS = 65534


def vertex_normals(vertices: Float[Array, "B V 3"], faces: np.ndarray, incident: np.ndarray) -> Float[Array, "B V 3"]:
  """Unit vertex normals: area-weighted mean of the faces around; direction (b - a) x (c - a)."""
  corners = vertices[:, faces]
  normal = jnp.cross(corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0])
  normal = jnp.concatenate([normal, jnp.zeros_like(normal[:, :1])], axis=1)  # the padding of `incident`
  return safe_ops.normalize(normal[:, incident].sum(axis=2) * 1e4)  # faces are some 1e-6 in area: keep clear of the safe threshold


def _hits(screen, faces, side, attributes):
  """Rasterizes screen-space vertices [B, V, 3]: hit mask [B, S, S], depth, and per-vertex attributes [B, V, A] there, as A planes."""
  corners = screen[:, faces]
  fragments = make_fragments(corners, select_faces(corners, side, side, 1, 0.0), 0.0)
  face, weight = fragments.face[..., 0], fragments.barycentric[..., 0, :]
  corners = jnp.asarray(faces)[jnp.maximum(face, 0)]  # [B, S, S, 3]
  rows = jax.vmap(lambda table, index: table[index])(attributes, corners)  # [B, S, S, 3, A]
  planes = [sum(rows[..., k, a] * weight[..., k] for k in range(3)) for a in range(attributes.shape[-1])]
  return face >= 0, fragments.depth[..., 0], planes


def _unit(x, y, z):
  scale = jax.lax.rsqrt(jnp.maximum(x * x + y * y + z * z, 1e-12))
  return x * scale, y * scale, z * scale


def render(model: ShapeModel, scene: dict, side: int) -> dict[str, tuple | Array]:
  """Renders a batch.

  Args:
    model: the shape (arrays may be NumPy).
    scene: weights [B, M]; view [B, 6]; ambient [B]; diffuse [B, 2]; direction [B, 2, 3] (unit, canonical frame, travelling);
      background [B, 3, 3]; look: {name: [B, ...]}.
    side: S.

  Returns:
    image and albedo: three planes [B, S, S] each, reflectance scale [0, 1]; depth [B, S, S] (0 where nothing is hit); hit [B, S, S] bool;
    normal: three planes, camera frame, into the scene ((0, 0, 1) where nothing is hit).
  """
  vertices = jnp.asarray(model.vertices)[None] + jnp.einsum("bm,mvc->bvc", scene["weights"], jnp.asarray(model.modes), precision="highest")
  normals = vertex_normals(vertices, model.faces, model.incident)
  coords = jnp.broadcast_to(jnp.asarray(model.coords)[None], vertices.shape)
  screen = cameras.project(cameras.apply_view(vertices, scene["view"]), cameras.pinhole(side, FIELD_OF_VIEW))

  # Colours at twice the side: subpixel k of pixel u is at u - 1/4 + k/2, that is 2u + 1/2 in its own grid.
  fine = jnp.stack([2 * screen[..., 0] + 0.5, 2 * screen[..., 1] + 0.5, screen[..., 2]], -1)
  hit, _, (x, y, z, *normal) = _hits(fine, model.faces, 2 * side, jnp.concatenate([coords, normals], axis=-1))
  albedo = paint(x, y, z, scene["look"])
  shading = shade_planes(scene, _unit(*normal))
  ramp = jnp.linspace(-1.0, 1.0, 2 * side)
  number = lambda row, channel: scene["background"][:, row, channel, None, None]
  ground = [jnp.clip(number(0, c) + number(1, c) * ramp[None, None, :] + number(2, c) * ramp[None, :, None], 0.02, 0.97) for c in range(3)]
  albedo = [jnp.where(hit, a, g) for a, g in zip(albedo, ground, strict=True)]
  lit = jnp.where(hit, shading, 1.0)
  average = lambda a: a.reshape(a.shape[0], side, 2, side, 2).mean(axis=(2, 4))
  image = tuple(average(jnp.clip(a * lit, 0.0, 1.0)) for a in albedo)
  albedo = tuple(average(a) for a in albedo)

  # Truth at the pixels' centres.
  hit, depth, normal = _hits(screen, model.faces, side, normals)
  rotation = cameras.rotation_matrix(scene["view"][:, :3])[..., None, None]
  normal = _unit(*normal)
  turned = [sum(rotation[:, i, j] * normal[j] for j in range(3)) for i in range(3)]
  normal = tuple(jnp.where(hit, n, empty) for n, empty in zip(turned, (0.0, 0.0, 1.0), strict=True))
  return {"image": image, "albedo": albedo, "depth": jnp.where(hit, depth, 0.0), "hit": hit, "normal": normal}


def shade_planes(scene: dict, normal: tuple) -> Float[Array, "B H W"]:
  """Ambient and two directional sources on unit normals (three planes [B, H, W], canonical frame, into the scene)."""
  shading = scene["ambient"][:, None, None]
  for k in range(2):
    cosine = sum(normal[c] * scene["direction"][:, k, c, None, None] for c in range(3))
    shading = shading + scene["diffuse"][:, k, None, None] * jnp.maximum(cosine, 0.0)
  return shading


def quantize(maps: dict[str, Array]) -> dict[str, Array]:
  """Rendered maps as stored, channels last: image, albedo uint8; depth uint16 over [NEAR, FAR], 65535: background; normal uint8 over [-1, 1]."""
  to_byte = lambda planes, scale, shift: jnp.stack([jnp.round(jnp.clip(p * scale + shift, 0.0, 255.0)).astype(jnp.uint8) for p in planes], -1)
  steps = jnp.round(jnp.clip((maps["depth"] - NEAR) / (FAR - NEAR), 0.0, 1.0) * DEPTH_STEPS).astype(jnp.uint16)
  return {
      "image": to_byte(maps["image"], 255.0, 0.0),
      "albedo": to_byte(maps["albedo"], 255.0, 0.0),
      "depth": jnp.where(maps["hit"], steps, jnp.uint16(65535)),
      "normal": to_byte(maps["normal"], 127.0, 127.0),
  }


def light_coefficients(scene: dict) -> Float[Array, "B 9"]:
  """The scene's light as SH coefficients of radiance, canonical frame: exact for what order 2 can hold (see `lighting.directional_to_sh`)."""
  none = jnp.zeros_like(scene["ambient"])
  first = directional_to_sh(scene["ambient"], scene["diffuse"][:, 0], scene["direction"][:, 0])
  return first + directional_to_sh(none, scene["diffuse"][:, 1], scene["direction"][:, 1])
