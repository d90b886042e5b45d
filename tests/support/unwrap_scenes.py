"""Scenes that the tests of normalised pictures share, and the functions under test as compiled programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax.render import depth_mesh, lighting, reproject, unwrap
from pdr_jax.render.camera import pinhole
from support import render_oracles as oracle
from support.programs import with_users_emitters

NEAR, FAR, SIDE = 0.9, 1.1, 15
VIEW = np.array([0.1, -0.3, 0.05, 0.004, -0.003, 0.01])
PIXEL = 2e-4  # positions on 30 pixels: rounded at 1e-6 of the focal length of some 170 pixels


def f32(*arrays):
  return [jnp.asarray(a, jnp.float32) for a in arrays]


@functools.partial(with_users_emitters, static_argnames=("average", "side"))
def normalize(image, depth, view, shading, albedo, average=True, side=0):
  lens = pinhole(depth.shape[-1])
  scene = (image, depth, view, shading, albedo)
  return unwrap.normalize(*scene, lens, near=NEAR, far=FAR, average=average, side=side)


@jax.jit
def located(depth, view):
  side = depth.shape[-1]
  where = unwrap.correspondences(depth, view, pinhole(side), side)
  seen = reproject.depth_at_view(depth, view, pinhole(side), near=NEAR - 0.2, far=FAR + 0.2)
  return where, unwrap.visibility(where, seen, FAR - NEAR)


def relief(side, lean=0.0):
  """A dome with a nose, the same left and right unless it leans."""
  v, u = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
  nose = 0.03 * np.exp(-(u**2 / 0.03 + (v - 0.1) ** 2 / 0.1))
  return 1.03 - 0.07 * np.exp(-(u**2 + v**2) / 0.6) - nose + lean * u


def project(points, side):
  """Columns and rows, in pixels."""
  scale = oracle.focal_length(side) / points[..., 2]
  return scale * points[..., 0] + (side - 1) / 2, scale * points[..., 1] + (side - 1) / 2


def pictures(side, seed=4):
  """Smooth and asymmetric, [1, side, side, 3] in [-0.9, 0.9]; the same function at every side."""
  at = (np.arange(side) + 0.5) / side
  v, u = np.meshgrid(at, at, indexing="ij")
  rng = np.random.default_rng(seed)
  planes = [0.9 * np.sin(rng.uniform(1, 6) * u + rng.uniform(1, 6) * v + rng.uniform(0, 6)) for _ in range(3)]
  return np.stack(planes, -1)[None]


def psnr(actual, truth, mask):
  return -10 * np.log10(np.mean((actual - truth)[mask] ** 2))


def ball(side, pixels, view):
  """A ball of radius 0.3 behind the pivot, with exact maps.

  It is painted by its canonical x and y and lit from the left.

  Returns the picture [pixels, pixels, 3] at the view, and depth, shading, albedo of the canonical frame at
  `side`; one pinhole for all.
  """
  centre, radius, light = np.array([0, 0, 1.25]), 0.3, np.array([0.6, 0.0, 0.8])

  def maps(size, view):
    at = ((np.arange(size) + 0.5) * SIDE / size - 0.5 - (SIDE - 1) / 2) / oracle.focal_length(SIDE)
    y, x = np.meshgrid(at, at, indexing="ij")
    rays = np.stack([x, y, np.ones_like(x)], -1)
    middle = oracle.to_camera(centre, view)
    along, square = rays @ middle, (rays**2).sum(-1)
    depth = (along - np.sqrt(along**2 - square * (middle @ middle - radius**2))) / square
    points = oracle.to_canonical(rays * depth[..., None], view)
    x, y = points[..., 0], points[..., 1]
    albedo = 0.5 * np.stack([np.sin(60 * x), np.cos(45 * y), np.sin(40 * (x + y))], -1)
    shading = 0.3 + 0.6 * np.maximum((centre - points) @ light / radius, 0)
    return depth, shading, albedo

  _, lit, paint = maps(pixels, view)
  return (paint / 2 + 0.5) * lit[..., None] * 2 - 1, *maps(side, np.zeros(6))


def scene(side, view, lean=0.0):
  """A relief with a painted, lit canonical picture, seen at a view by the package's own renderer."""
  lens, (depth, albedo, view) = pinhole(side), f32(relief(side, lean)[None], pictures(side), view[None])
  normals = depth_mesh.normals(depth, lens)
  ambient, diffuse, direction = jnp.array([0.4]), jnp.array([0.5]), jnp.array([[0.5, 0.2, 1.0]])
  shading = lighting.directional_shading(ambient, diffuse, direction, normals)
  seen = reproject.depth_at_view(depth, view, lens, near=0.7, far=1.3)
  image = reproject.warp_to_view(lighting.shade(albedo, shading), seen, view, lens)
  return image, depth, view, shading, albedo
