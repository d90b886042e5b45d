"""The rasterizer's gradients against PyTorch's float64 autograd and against differences.

They are checked under transformations too.
"""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import face_oracles as oracle
from support.drawing import draw, random_weights, weighted
from support.programs import compiled
from support.tolerances import difference_tolerance, rounding

from pdr_jax.render.rasterize import rasterize


def torch_vjp(vertices, faces, selected, weights):
  """The gradient with respect to the vertices of given fragments, by PyTorch in float64."""
  torch = pytest.importorskip("torch", reason="the reference is PyTorch's autograd")
  points = torch.tensor(vertices.astype(np.float64), requires_grad=True)
  entries = np.argwhere(selected >= 0)
  pixel = torch.tensor(entries[:, [2, 1]].astype(np.float64))[:, None]
  chosen = torch.tensor(faces[selected[tuple(entries.T)]].astype(np.int64))
  tri = points[torch.tensor(entries[:, :1]), chosen]
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
  share = torch.where(inside[:, None], plane, torch.stack(edge_weights, 1)[rows, nearest])
  depth = 1 / (share / z).sum(-1)
  outputs = depth, share / z * depth[:, None], torch.where(inside, -square, square)
  at = tuple(entries.T)
  terms = ((torch.tensor(w[at].astype(np.float64)) * o).sum() for w, o in zip(weights, outputs, strict=True))
  sum(terms).backward()
  return points.grad.numpy()


@pytest.mark.parametrize("mesh", ["random", "grid"])
@pytest.mark.parametrize("count,blur", [(1, 0.0), (8, 1.5)])
def test_vjp_against_torch(mesh, count, blur):
  if mesh == "random":
    vertices, faces = oracle.random_mesh(5)
  else:
    vertices, faces = oracle.head_views(14, 30.0)
    vertices = vertices[1:]  # in the frontal view every pixel is on a vertex: the gradient has a kink there
  fragments, *_ = draw(vertices, faces, count, blur)
  clear = [~oracle.kinks(mesh, faces, face) for mesh, face in zip(vertices, fragments.face, strict=True)]
  assert np.mean(clear) > 0.99
  fragments, weights, ours = draw(vertices, faces, count, blur, np.array(clear))
  expected = torch_vjp(vertices, faces, fragments.face, weights)
  largest = np.abs(expected).max()
  assert largest > 1
  # a vertex sums some hundred fragments, of derivatives that a face of small area makes some ten times less
  # exact
  np.testing.assert_allclose(ours, expected, rtol=0, atol=rounding(1500, largest))


@pytest.mark.parametrize("count,blur", [(1, 0.0), (8, 1.5)])
def test_gradients_are_finite_on_hostile_meshes(count, blur):
  _, vertices, faces = oracle.hostile_meshes()
  extremes = np.tile(vertices[1:2], (6, 1, 1))
  extremes[0, :, 2] = 1e-20
  extremes[1] = [(x * 1e8, y * 1e8, 1e30) for x, y, _ in vertices[3]]
  extremes[2, :3] = [(1, 1, 1), (1 + 1e-6, 1, 1), (1, 1 + 1e-6, 2)]  # area 1e-12
  extremes[3, :3] = [(0, 0, 1e-6), (7, 1e-7, 1e6), (3.5, 1e-6, 1)]
  extremes[4, 0] = np.nan
  extremes[5, 4] = (np.inf, 1, 1)
  fragments, _, gradient = draw(np.concatenate([vertices, extremes]), faces, count, blur)
  assert np.isfinite(gradient).all() and all(np.isfinite(x).all() for x in fragments)


@pytest.mark.parametrize("count,blur", [(1, 0.0), (8, 1.5)])
def test_gradients_are_finite_for_depths_of_any_size(count, blur):
  """Every choice of three depths far apart, for triangles with pixels on their edges, and for slivers."""
  sizes = (2e-38, 1e-10, 1.0, 1e20)  # smaller ones are no normal numbers: a processor may take them for zero
  depths = np.array(list(itertools.product(sizes, repeat=3)), np.float32)
  outlines = [
    [(0, 0), (6, 0), (0, 5)],
    [(0.3, 0.2), (5.5, 1.1), (2.2, 4.6)],
    [(0, 0), (7, 1e-6), (3.5, 0)],
    [(-1e8, 2), (1e8, 2), (3, 2.00001)],
  ]
  corners = np.repeat(np.array(outlines, np.float32), len(depths), axis=0)
  vertices = np.concatenate([corners, np.tile(depths, (len(outlines), 1))[..., None]], axis=-1)
  fragments, _, gradient = draw(vertices, np.array([[0, 1, 2]]), count, blur)
  bad = ~np.isfinite(gradient).all(axis=(1, 2))
  assert not bad.any(), vertices[bad][:3]
  assert all(np.isfinite(x).all() for x in fragments)
  assert (np.asarray(fragments.face) >= 0).any(axis=(1, 2, 3)).mean() > 0.5  # most are seen


@pytest.mark.parametrize(
  "count,blur,order", [(1, 0.0, 1), (2, 1.25, 1), pytest.param(2, 1.25, 2, marks=pytest.mark.slow)]
)
def test_first_and_second_derivatives_against_differences(count, blur, order):
  """Both modes, and all four ways of nesting them, where no pixel is near an edge or the blur's end."""
  vertices = np.array([(0.3, -0.6, 1.0), (3.4, 0.4, 1.3), (0.7, 3.4, 1.6)], np.float32)
  faces = np.array([[0, 1, 2]])
  weights = random_weights((4, 4, count))
  assert not oracle.nearest_faces(vertices, faces, 4, 4, count, blur)[2].any()

  def loss(vertices):
    return weighted(
      rasterize(vertices, faces, height=4, width=4, faces_per_pixel=count, blur_radius=blur), weights
    )

  by_forward, by_reverse = jax.jacfwd(loss), jax.grad(loss)
  values = compiled(jax.vmap(lambda x: (loss(x), by_reverse(x))))

  @compiled
  def derivatives(x):
    if order == 1:
      return (by_forward(x), by_reverse(x)), []
    seconds = [outer(inner)(x) for inner in (by_forward, by_reverse) for outer in (jax.jacfwd, jax.jacrev)]
    return (by_forward(x), by_reverse(x)), seconds

  step = 2e-3
  moves = step * np.eye(9, dtype=np.float32).reshape(9, 3, 3)
  moved = np.concatenate([vertices + moves, vertices - moves])
  value, gradient = (np.asarray(x, np.float64).reshape(2, 9, -1) for x in values(moved))
  firsts, seconds = derivatives(vertices)
  # Loss and gradient are sums of some ten fragments' values of up to 10; higher derivatives of these
  # distances and quotients grow by a factor of ten at most.
  size = max(10.0, np.abs(gradient).max())
  expected = (value[0] - value[1]).reshape(3, 3) / (2 * step)
  for first in firsts:
    np.testing.assert_allclose(
      first, expected, rtol=0, atol=difference_tolerance(step, 10 * size, 100 * size)
    )
  expected = ((gradient[0] - gradient[1]) / (2 * step)).reshape(3, 3, 3, 3)
  assert np.abs(expected).max() > 1
  for second in seconds:
    np.testing.assert_allclose(
      second, expected, rtol=0, atol=difference_tolerance(step, 10 * size, 1000 * size)
    )


@pytest.mark.slow
def test_transforms_in_any_nesting():
  vertices, faces = oracle.random_mesh(7, vertices=8, faces=6, side=5.0)
  weights = random_weights((5, 6, 2))

  def loss(vertices):
    return jnp.sum(weighted(
      rasterize(vertices, faces, height=5, width=6, faces_per_pixel=2, blur_radius=0.5), weights))

  def batched(vertices):
    return sum(loss(mesh) for mesh in vertices)

  @compiled
  def every_way(vertices):
    return {
      "one by one": jax.grad(batched)(vertices),
      "vmap of grad": jax.vmap(jax.grad(loss))(vertices),
      "grad of vmap": jax.grad(lambda x: jnp.sum(jax.vmap(loss)(x)))(vertices),
      "vmap of vmap of jit of grad": jax.vmap(jax.vmap(jax.jit(jax.grad(loss))))(vertices[None])[0],
      "vmap of jacfwd": jax.vmap(jax.jacfwd(loss))(vertices),
      "grad of checkpoint": jax.grad(lambda x: jnp.sum(jax.vmap(jax.checkpoint(loss))(x)))(vertices),
      "grad of jit of vmap": jax.grad(jax.jit(lambda x: jnp.sum(jax.vmap(loss)(x))))(vertices),
    }

  results = every_way(vertices)
  expected = results.pop("one by one")
  largest = np.abs(expected).max()
  assert largest > 0.1
  for name, gradient in results.items():
    # sums of some ten fragments in another order, of derivatives that a small area makes ten times less exact
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=rounding(100, largest), err_msg=name)
