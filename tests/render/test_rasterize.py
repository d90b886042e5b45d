"""The rasterizer against a naive loop over all faces in NumPy float64, and its gradients against PyTorch's
float64 autograd.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from pdr_jax.render import camera, depth_mesh, select_faces
from pdr_jax.render.rasterize import rasterize
from pdr_jax.render.rasterize_dense import select_dense

CASES = [(1, 0.0), (8, 0.0), (1, 0.7), (8, 1.5)]  # faces per pixel, blur radius


# ---- oracle: float64, one face at a time -------------------------------------------------------------------

def cross(a, b):
  return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def face_at(tri, pixels):
  """One face at all pixels: (inside, squared distance to the outline, depth, barycentrics); outside: of
  the nearest point.
  """
  p, z = tri[:, :2], tri[:, 2]
  area = cross(p[1] - p[0], p[2] - p[0])
  best = np.full(len(pixels), np.inf)
  weights = np.zeros((len(pixels), 3))
  for i in range(3):
    j = (i + 1) % 3
    edge = p[j] - p[i]
    length = edge @ edge
    t = np.clip((pixels - p[i]) @ edge / length, 0, 1) if length > 0 else np.zeros(len(pixels))
    distance = np.sum((p[i] + t[:, None] * edge - pixels) ** 2, axis=-1)
    closer = distance < best
    best[closer] = distance[closer]
    weights[closer] = 0
    weights[closer, i], weights[closer, j] = 1 - t[closer], t[closer]
  inside = np.zeros(len(pixels), bool)
  if area != 0:
    plane = np.stack(
      [
        cross(p[1] - pixels, p[2] - pixels),
        cross(p[2] - pixels, p[0] - pixels),
        cross(p[0] - pixels, p[1] - pixels),
      ],
      -1,
    )
    plane = plane / area
    inside = np.all(plane >= 0, axis=-1)
    weights[inside] = plane[inside]
  depth = 1 / (weights @ (1 / z))
  return inside, best, depth, weights / z * depth[:, None]


def oracle(vertices, faces, height, width, count, blur):
  """Per pixel the nearest faces that reach it and their depths; whether float32 may doubt that they do, or
  only doubt their order.
  """
  v, u = np.mgrid[:height, :width]
  pixels = np.stack([u, v], -1).reshape(-1, 2).astype(np.float64)
  reached = [[] for _ in pixels]
  doubt = np.zeros(len(pixels), bool)
  for index, face in enumerate(faces):
    tri = vertices[face].astype(np.float64)
    if not np.all(tri[:, 2] > 0):
      continue
    inside, distance, depth, _ = face_at(tri, pixels)
    signed = np.where(inside, -1, 1) * np.sqrt(distance)
    hits = (inside | (distance <= blur**2)) if blur > 0 else inside
    doubt |= np.abs(signed - blur) < 2e-4
    for pixel in np.flatnonzero(hits):
      reached[pixel].append((depth[pixel], index))
  selected, depths, tied = np.full((len(pixels), count), -1), np.zeros((len(pixels), count)), doubt.copy()
  for pixel, found in enumerate(reached):
    found.sort()
    depth = np.array([d for d, _ in found])
    tied[pixel] |= bool(np.any(np.diff(depth[:count + 1]) < 1e-5 * depth[1:count + 1]))
    selected[pixel, :min(count, len(found))] = [index for _, index in found[:count]]
    depths[pixel, :min(count, len(found))] = depth[:count]
  return [x.reshape(height, width, *x.shape[1:]) for x in (selected, depths, doubt, tied)]


def values_of(vertices, faces, selected):
  """What the fragments of the given faces must hold: depth, barycentrics, signed squared distance."""
  height, width, _ = selected.shape
  v, u = np.mgrid[:height, :width]
  pixels = np.stack([u, v], -1).astype(np.float64)
  depth = np.zeros(selected.shape)
  barycentric = np.zeros((*selected.shape, 3))
  signed = np.zeros(selected.shape)
  for index in np.unique(selected[selected >= 0]):
    where = selected == index
    at = np.broadcast_to(pixels[:, :, None], (*selected.shape, 2))[where]
    inside, distance, depth[where], barycentric[where] = face_at(
      vertices[faces[index]].astype(np.float64), at
    )
    signed[where] = np.where(inside, -distance, distance)
  return depth, barycentric, signed


def jitted(faces, height, width, count, blur):
  return jax.jit(
    lambda vertices: rasterize(
      vertices, jnp.asarray(faces), height=height, width=width, faces_per_pixel=count, blur_radius=blur
    )
  )


def random_mesh(seed, vertices=20, faces=24, side=10.0):
  rng = np.random.RandomState(seed)
  points = np.concatenate(
    [rng.uniform(-2, side + 1, (3, vertices, 2)), rng.uniform(0.5, 2, (3, vertices, 1))], -1
  )
  points[2, :, 2] -= 0.7  # the last mesh is partly behind the camera
  return points.astype(np.float32), np.array([rng.permutation(vertices)[:3] for _ in range(faces)], np.int32)


def head_views(side, degrees, seed=0):
  """Depth-grid meshes in screen space, turned: a bump in front of a border, so that faces stretch at its
  rim.
  """
  y, x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
  depth = 1.04 - 0.12 * np.sqrt(np.clip(1 - (x**2 + y**2) / 0.7, 0, 1))
  angles = np.radians([[0, 0, 0], [degrees, -degrees, degrees], [-degrees / 3, degrees, 0]])
  cam = camera.pinhole(side)
  points = camera.back_project(jnp.asarray(np.tile(depth, (3, 1, 1)), jnp.float32), cam).reshape(3, -1, 3)
  view = jnp.asarray(
    np.concatenate([angles, 0.01 * np.random.RandomState(seed).randn(3, 3)], -1), jnp.float32
  )
  return np.asarray(camera.project(camera.apply_view(points, view), cam)), np.asarray(
    depth_mesh.grid_faces(side, side)
  )


def hostile_meshes():
  """Meshes of three faces with exactly representable coordinates, on an 8 x 6 image: the oracle has no
  rounding to disagree about.
  """
  meshes = {
    "edge_on": [
      (1, 1, 1),
      (3, 2, 1),
      (5, 3, 1),
      (1, 4, 1),
      (3, 4, 1),
      (6, 4, 1),
      (2, 0, 1),
      (2, 3, 1),
      (2, 5, 1),
    ],
    "points": [(1, 1, 1)] * 3 + [(2.5, 2.5, 1)] * 3 + [(3, 3, 1), (3, 3, 1), (5, 3, 1)],
    "sub_pixel": [
      (2.25, 2.25, 1),
      (2.5, 2.25, 1),
      (2.25, 2.5, 1),
      (3.875, 3.875, 1),
      (4.25, 4, 1),
      (4, 4.25, 1),
      (6, 1, 1),
      (6.125, 1, 1),
      (6, 1.125, 1),
    ],
    "screen_filling": [
      (-64, -64, 2),
      (256, -64, 2),
      (-64, 256, 2),
      (-64, -64, 1),
      (-64, 256, 1),
      (256, -64, 1),
      (-1, -1, 4),
      (20, -1, 4),
      (-1, 20, 4),
    ],
    "interpenetrating": [
      (0, 0, 1),
      (8, 0, 2),
      (0, 8, 2),
      (0, 0, 2),
      (8, 0, 1),
      (0, 8, 2),
      (0, 0, 2),
      (8, 0, 2),
      (0, 8, 1),
    ],
    "behind": [
      (0, 0, 1),
      (7, 0, 1),
      (0, 7, -1),
      (0, 0, 1),
      (7, 0, 0),
      (0, 7, 1),
      (1, 1, 2),
      (4, 1, 2),
      (1, 4, 2),
    ],
    "on_edge_and_vertex": [
      (1, 1, 1),
      (5, 1, 1),
      (1, 5, 1),
      (5, 1, 1),
      (5, 5, 1),
      (1, 5, 1),
      (5, 5, 1),
      (7, 5, 1),
      (5, 1, 1),
    ],
    "nothing": [
      (-9, -9, 1),
      (-8, -9, 1),
      (-9, -8, 1),
      (20, 20, 1),
      (21, 20, 1),
      (20, 21, 1),
      (1, 1, -1),
      (5, 1, -1),
      (1, 5, -1),
    ],
  }
  return list(meshes), np.array(list(meshes.values()), np.float32), np.arange(9, dtype=np.int32).reshape(3, 3)


# ---- which faces, and their values -------------------------------------------------------------------------

def compare(vertices, faces, height, width, count, blur, least_certain=0.9):
  fragments = jax.tree.map(np.asarray, jitted(faces, height, width, count, blur)(jnp.asarray(vertices)))
  assert not fragments.overflow.any()
  certain, ordered = [], []
  for b, mesh in enumerate(vertices):
    selected, depths, doubt, tied = oracle(mesh, faces, height, width, count, blur)
    certain.append(1 - doubt.mean())
    ordered.append(1 - tied.mean())
    np.testing.assert_array_equal(fragments.face[b][~tied], selected[~tied])
    # in order, whichever of equally near faces it is
    np.testing.assert_allclose(fragments.depth[b][~doubt], depths[~doubt], rtol=1e-4)
    depth, barycentric, signed = values_of(mesh, faces, fragments.face[b])
    np.testing.assert_allclose(fragments.depth[b], depth, rtol=1e-4)
    np.testing.assert_allclose(fragments.barycentric[b], barycentric, atol=1e-3)
    np.testing.assert_allclose(fragments.signed_distance_sq[b], signed, rtol=2e-4, atol=2e-4)
  assert np.mean(certain) > least_certain
  return fragments, np.mean(ordered)


@pytest.mark.parametrize("count,blur", [(1, 0.0), (8, 1.5)])
def test_random_meshes(count, blur):
  fragments, ordered = compare(*random_mesh(0), 9, 11, count, blur)
  assert (fragments.face[..., 0] >= 0).mean() > 0.3 and ordered > 0.5


@pytest.mark.parametrize("count,blur", [(1, 0.0), (8, 1.5)])
def test_depth_grid_mesh(count, blur):
  # without blur, the frontal view has every pixel on a vertex; with it, neighbours share their nearest
  # points, hence their depths
  fragments, ordered = compare(*head_views(14, 30.0), 14, 14, count, blur, least_certain=0.6)
  assert (fragments.face[..., 0] >= 0).mean() > 0.6 and ordered > 0.1


@pytest.mark.parametrize("count,blur", CASES)
def test_hostile_meshes(count, blur):
  names, vertices, faces = hostile_meshes()
  fragments = jax.tree.map(np.asarray, jitted(faces, 6, 8, count, blur)(jnp.asarray(vertices)))
  for name, mesh, selected in zip(names, vertices, fragments.face, strict=True):
    expected, *_ = oracle(mesh, faces, 6, 8, count, blur)
    if blur > 0 and name not in ("points", "behind", "nothing"):
      # where nearest points coincide their depths are equal up to rounding: compare as sets
      expected, selected = np.sort(expected, -1), np.sort(selected, -1)
    if count > 1 or blur == 0:
      np.testing.assert_array_equal(selected, expected, err_msg=name)
  covered = dict(zip(names, (fragments.face[..., 0] >= 0).sum((1, 2)), strict=True))
  if blur == 0:
    assert covered["edge_on"] == covered["points"] == covered["nothing"] == 0
    assert covered["screen_filling"] == 48 and covered["behind"] == 10 and covered["sub_pixel"] == 2
  else:
    assert covered["edge_on"] > 0 and covered["points"] > 0 and covered["nothing"] == 0
  assert all(np.isfinite(x).all() for x in fragments)


def test_lowest_index_wins_ties():
  triangle = [(0, 0, 1), (5, 0, 1), (0, 5, 1)]
  faces = np.array([[3, 4, 5], [2, 1, 0], [0, 1, 2], [1, 2, 0]], np.int32)
  vertices = jnp.asarray(triangle + [(9, 9, 1)] * 3, jnp.float32)
  face = jitted(faces, 3, 2, 4, 0.0)(vertices).face
  assert np.array_equal(face, np.broadcast_to([1, 2, 3, -1], face.shape))


def test_no_faces_and_no_vertices():
  for vertices, faces in (
    (jnp.ones((2, 4, 3)), jnp.zeros((0, 3), jnp.int32)),
    (jnp.ones((2, 0, 3)), jnp.zeros((0, 3), jnp.int32)),
  ):
    fragments = jitted(faces, 3, 4, 2, 0.0)(vertices)
    assert fragments.face.shape == (2, 3, 4, 2) and np.all(np.asarray(fragments.face) == -1)
    assert all(np.all(np.asarray(x) == 0) for x in fragments[1:])


def test_bad_arguments():
  with pytest.raises(ValueError, match="faces_per_pixel"):
    rasterize(jnp.ones((3, 3)), jnp.zeros((1, 3), jnp.int32), height=2, width=2, faces_per_pixel=0)
  with pytest.raises(ValueError, match="blur_radius"):
    rasterize(jnp.ones((3, 3)), jnp.zeros((1, 3), jnp.int32), height=2, width=2, blur_radius=-1.0)


def test_no_gap_between_neighbours():
  """The diagonal of a quadrilateral passes through pixel (4, 4) up to rounding: one of its two faces must
  take it.
  """
  rng = np.random.RandomState(1)
  direction = rng.randn(400, 2)
  along, across = rng.uniform(1, 3, (2, 400, 1)), rng.uniform(1, 3, (2, 400, 1))
  normal = np.stack([-direction[:, 1], direction[:, 0]], -1)
  corners = np.stack(
    [4 + along[0] * direction, 4 + across[0] * normal, 4 - along[1] * direction, 4 - across[1] * normal], 1
  )
  vertices = np.concatenate([corners, rng.uniform(1, 2, (400, 4, 1))], -1).astype(np.float32)
  face = jitted(np.array([[0, 1, 2], [0, 3, 2]]), 9, 9, 1, 0.0)(jnp.asarray(vertices)).face
  assert np.all(np.asarray(face)[:, 4, 4, 0] >= 0)


@pytest.mark.parametrize("count,blur", [(1, 0.0), (6, 0.5)])
def test_many_chunks_equal_dense(monkeypatch, count, blur):
  """Large faces: the lists are many times longer than a chunk, and index limits split the batch into
  groups.
  """
  monkeypatch.setattr(select_faces, "INT32_ENTRIES", 2 * 60 * 24)
  rng = np.random.RandomState(2)
  corners = np.concatenate([rng.uniform(-20, 40, (5, 60, 3, 2)), rng.uniform(0.2, 2, (5, 60, 3, 1))], -1)
  corners = jnp.asarray(corners, jnp.float32)
  fast = np.asarray(jax.jit(lambda c: select_faces.select_faces(c, 24, 24, count, blur))(corners))
  dense = np.asarray(jax.jit(lambda c: select_dense(c, 24, 24, count, blur))(corners))
  np.testing.assert_array_equal(fast, dense)
  assert (fast >= 0).mean() > 0.9


def test_too_many_faces_is_an_error(monkeypatch):
  monkeypatch.setattr(select_faces, "INT32_ENTRIES", 10)
  with pytest.raises(ValueError, match="faces x rows"):
    rasterize(jnp.ones((3, 3)), jnp.zeros((4, 3), jnp.int32), height=3, width=3)


# ---- gradients ---------------------------------------------------------------------------------------------

def torch_vjp(vertices, faces, selected, cotangents):
  """The gradient with respect to the vertices of given fragments, by PyTorch in float64."""
  torch = pytest.importorskip("torch")
  points = torch.tensor(vertices.astype(np.float64), requires_grad=True)
  found = np.argwhere(selected >= 0)
  pixel = torch.tensor(found[:, [2, 1]].astype(np.float64))[:, None]
  chosen = torch.tensor(faces[selected[tuple(found.T)]].astype(np.int64))
  tri = points[torch.tensor(found[:, :1]), chosen]
  p, z = tri[..., :2] - pixel, tri[..., 2]

  def det(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]

  plane = torch.stack([det(p[:, 1], p[:, 2]), det(p[:, 2], p[:, 0]), det(p[:, 0], p[:, 1])], -1)
  plane = plane / plane.sum(-1, keepdim=True)
  inside = (plane >= -1e-9).all(-1)
  squares, edge_weights = [], []
  for i in range(3):
    j = (i + 1) % 3
    edge = p[:, j] - p[:, i]
    t = (-(p[:, i] * edge).sum(-1) / (edge * edge).sum(-1)).clamp(0, 1)
    squares.append(((p[:, i] + t[:, None] * edge) ** 2).sum(-1))
    weight = [torch.zeros_like(t)] * 3
    weight[i], weight[j] = 1 - t, t
    edge_weights.append(torch.stack(weight, -1))
  nearest = torch.stack(squares, -1).argmin(-1)
  rows = torch.arange(len(nearest))
  square = torch.stack(squares, -1)[rows, nearest]
  weights = torch.where(inside[:, None], plane, torch.stack(edge_weights, 1)[rows, nearest])
  depth = 1 / (weights / z).sum(-1)
  outputs = depth, weights / z * depth[:, None], torch.where(inside, -square, square)
  total = sum(
    (torch.tensor(c[tuple(found.T)].astype(np.float64)) * o).sum()
    for c, o in zip(cotangents, outputs, strict=True)
  )
  total.backward()
  return points.grad.numpy()


def loss_of(cotangents, faces, height, width, count, blur):
  def loss(vertices):
    fragments = rasterize(
      vertices, jnp.asarray(faces), height=height, width=width, faces_per_pixel=count, blur_radius=blur
    )
    return sum(jnp.sum(c * x) for c, x in zip(cotangents, fragments[1:4], strict=True))
  return loss


def random_cotangents(shape, seed=3):
  rng = np.random.RandomState(seed)
  return [
    rng.randn(*shape).astype(np.float32),
    rng.randn(*shape, 3).astype(np.float32),
    rng.randn(*shape).astype(np.float32),
  ]


@pytest.mark.parametrize("mesh", ["random", "grid"])
@pytest.mark.parametrize("count,blur", [(1, 0.0), (4, 1.5)])
def test_vjp_against_torch(mesh, count, blur):
  if mesh == "random":
    vertices, faces = random_mesh(5)
  else:
    vertices, faces = head_views(14, 30.0)
    vertices = vertices[1:]  # in the frontal view every pixel is on a vertex: the gradient has a kink there
  height, width = (9, 11) if mesh == "random" else (14, 14)
  selected = np.asarray(jitted(faces, height, width, count, blur)(jnp.asarray(vertices)).face)
  cotangents = random_cotangents(selected.shape)
  ours = np.asarray(
    jax.jit(jax.grad(loss_of(cotangents, faces, height, width, count, blur)))(jnp.asarray(vertices))
  )
  expected = torch_vjp(vertices, faces, selected, cotangents)
  assert np.abs(expected).max() > 1
  np.testing.assert_allclose(ours, expected, rtol=2e-3, atol=2e-4 * np.abs(expected).max())


@pytest.mark.parametrize("count,blur", [(1, 0.0), (8, 1.5)])
def test_gradients_are_finite_on_hostile_meshes(count, blur):
  _, vertices, faces = hostile_meshes()
  extremes = np.tile(vertices[1:2], (6, 1, 1))
  extremes[0, :, 2] = 1e-20
  extremes[1] = [(x * 1e8, y * 1e8, 1e30) for x, y, _ in vertices[3]]
  extremes[2, :3] = [(1, 1, 1), (1 + 1e-6, 1, 1), (1, 1 + 1e-6, 2)]  # area 1e-12
  extremes[3, :3] = [(0, 0, 1e-6), (7, 1e-7, 1e6), (3.5, 1e-6, 1)]
  extremes[4, 0] = np.nan
  extremes[5, 4] = (np.inf, 1, 1)
  vertices = np.concatenate([vertices, extremes])
  cotangents = random_cotangents((len(vertices), 6, 8, count))
  value, gradient = jax.jit(jax.value_and_grad(loss_of(cotangents, faces, 6, 8, count, blur)))(
    jnp.asarray(vertices)
  )
  assert np.isfinite(value) and np.isfinite(gradient).all()
  fragments = jitted(faces, 6, 8, count, blur)(jnp.asarray(vertices))
  assert all(np.isfinite(x).all() for x in fragments)


@pytest.mark.parametrize("count,blur", [(1, 0.0), (2, 1.5)])
def test_gradients_are_finite_for_depths_of_any_size(count, blur):
  """Every choice of three depths far apart, for triangles with pixels on their corners and edges, and for a sliver."""
  sizes = (1e-38, 1e-20, 1e-10, 1.0, 1e10, 1e20, 3e38)
  depths = np.array(list(itertools.product(sizes, repeat=3)), np.float32)
  outlines = np.array([[(0, 0), (6, 0), (0, 5)], [(0.3, 0.2), (5.5, 1.1), (2.2, 4.6)],
                       [(0, 0), (7, 1e-6), (3.5, 0)], [(-1e8, 2), (1e8, 2), (3, 2.00001)]], np.float32)
  vertices = np.concatenate([
    np.concatenate([np.broadcast_to(outline, (len(depths), 3, 2)), depths[..., None]], -1) for outline in outlines
  ])
  faces = np.array([[0, 1, 2]])
  cotangents = random_cotangents((len(vertices), 6, 8, count))
  loss = loss_of(cotangents, faces, 6, 8, count, blur)
  value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(vertices))
  assert np.isfinite(value)
  assert np.isfinite(gradient).all(), vertices[~np.isfinite(gradient).all(axis=(1, 2))][:3]
  fragments = jitted(faces, 6, 8, count, blur)(jnp.asarray(vertices))
  assert (np.asarray(fragments.face) >= 0).sum() > 5 * len(depths)  # most of them are seen


@pytest.mark.parametrize("count,blur,order", [(1, 0.0, 1), (2, 1.25, 2)])
def test_check_grads(count, blur, order):
  """Against numerical differences, forward and reverse, where no pixel is near an edge or the blur's end."""
  vertices = jnp.asarray([(0.3, -0.6, 1.0), (3.4, 0.4, 1.3), (0.7, 3.4, 1.6)], jnp.float32)
  cotangents = random_cotangents((4, 4, count))
  _, _, doubt, _ = oracle(np.asarray(vertices), np.array([[0, 1, 2]]), 4, 4, count, blur)
  assert not doubt.any()
  loss = loss_of(cotangents, np.array([[0, 1, 2]]), 4, 4, count, blur)
  check_grads(jax.jit(loss), (vertices,), order=order, modes=("fwd", "rev"), atol=2e-2, rtol=2e-2, eps=2e-3)


def test_transforms_in_any_nesting():
  vertices, faces = random_mesh(7, vertices=8, faces=6, side=5.0)
  cotangents = random_cotangents((5, 6, 2))
  loss = loss_of(cotangents, faces, 5, 6, 2, 0.5)
  batched = loss_of([np.tile(c, (3,) + (1,) * c.ndim) for c in cotangents], faces, 5, 6, 2, 0.5)
  vertices = jnp.asarray(vertices)
  expected = jax.grad(batched)(vertices)
  assert np.abs(expected).max() > 0.1
  def close(x):
    return np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
  close(jax.jit(jax.vmap(jax.grad(loss)))(vertices))
  close(jax.grad(jax.jit(lambda x: jnp.sum(jax.vmap(loss)(x))))(vertices))
  close(jax.vmap(jax.vmap(jax.jit(jax.grad(loss))))(vertices[None])[0])
  close(jax.jit(jax.vmap(jax.jacfwd(loss)))(vertices))
  close(jax.grad(jax.checkpoint(batched))(vertices))
  fragments = rasterize(vertices[None], jnp.asarray(faces), height=5, width=6, faces_per_pixel=2)
  assert [x.shape for x in fragments] == [(1, 3, 5, 6, 2)] * 2 + [(1, 3, 5, 6, 2, 3), (1, 3, 5, 6, 2), (1, 3)]
  by_faces = jax.vmap(lambda f: rasterize(vertices[0], f, height=5, width=6).face)(
    jnp.stack([faces, faces[::-1]])
  )
  np.testing.assert_array_equal(
    by_faces[0], rasterize(vertices[0], jnp.asarray(faces), height=5, width=6).face
  )
