"""The rasterizer against a naive loop over all faces in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import face_oracles as oracle
from support.drawing import HEIGHT, WIDTH, draw
from support.programs import compiled
from support.tolerances import assert_within, rounding

from pdr_jax.render import select_faces
from pdr_jax.render.rasterize import rasterize
from pdr_jax.render.rasterize_dense import select_dense

CASES = [(1, 0.0), (8, 0.0), (1, 0.7), (8, 1.5)]  # faces per pixel, blur radius
REACH = max(HEIGHT, WIDTH) ** 2  # squared pixels: what signed squared distances are differences of


def compare(vertices, faces, count, blur, least_certain=0.9):
  """Draws and compares; returns the fragments and the share of pixels whose order of faces is certain."""
  fragments, *_ = draw(vertices, faces, count, blur)
  certain, ordered = [], []
  for b, mesh in enumerate(vertices):
    selected, depths, doubt, tied = oracle.nearest_faces(mesh, faces, HEIGHT, WIDTH, count, blur)
    certain.append(1 - doubt.mean())
    ordered.append(1 - tied.mean())
    np.testing.assert_array_equal(fragments.face[b][~tied], selected[~tied])
    depth, barycentric, signed, depth_off, weights_off = oracle.values_of(mesh, faces, fragments.face[b])
    assert_within(fragments.depth[b], depth, depth_off)
    assert_within(fragments.barycentric[b], barycentric, weights_off)
    # squares of differences of coordinates, and the products that find the nearest point
    np.testing.assert_allclose(fragments.signed_distance_sq[b], signed, rtol=0, atol=rounding(8, REACH))
    # in order, whichever of equally near faces it is: of those, another one's depth may be the less exact
    off = np.broadcast_to(depth_off.max(axis=-1, keepdims=True), depths.shape)
    assert_within(fragments.depth[b][~doubt], depths[~doubt], (2 * off + rounding(8) * depths)[~doubt])
  assert np.mean(certain) > least_certain
  return fragments, np.mean(ordered)


@pytest.mark.parametrize("count,blur", [(1, 0.0), (8, 1.5)])
def test_random_meshes(count, blur):
  fragments, ordered = compare(*oracle.random_mesh(0), count, blur)
  assert (fragments.face[..., 0] >= 0).mean() > 0.3 and ordered > 0.5


@pytest.mark.parametrize("count,blur", [(1, 0.0), (8, 1.5)])
def test_depth_grid_mesh(count, blur):
  # without blur, the frontal view has every pixel on a vertex; with it, neighbours share their nearest
  # points, hence their depths
  fragments, ordered = compare(*oracle.head_views(14, 30.0), count, blur, least_certain=0.6)
  assert (fragments.face[..., 0] >= 0).mean() > 0.6 and ordered > 0.1


@pytest.mark.parametrize("count,blur", CASES)
def test_hostile_meshes(count, blur):
  names, vertices, faces = oracle.hostile_meshes()
  fragments, *_ = draw(vertices, faces, count, blur)
  for name, mesh, selected in zip(names, vertices, fragments.face, strict=True):
    expected, *_ = oracle.nearest_faces(mesh, faces, HEIGHT, WIDTH, count, blur)
    if blur > 0 and name not in ("points", "behind", "nothing"):
      # where nearest points coincide their depths are equal up to rounding: compare as sets
      expected, selected = np.sort(expected, -1), np.sort(selected, -1)
    if count > 1 or blur == 0:
      np.testing.assert_array_equal(selected, expected, err_msg=name)
  covered = dict(zip(names, (fragments.face[..., 0] >= 0).sum((1, 2)), strict=True))
  if blur == 0:
    assert covered["edge_on"] == covered["points"] == covered["nothing"] == 0
    assert covered["screen_filling"] == HEIGHT * WIDTH
    assert covered["behind"] == 10 and covered["sub_pixel"] == 2
  else:
    assert covered["edge_on"] > 0 and covered["points"] > 0 and covered["nothing"] == 0
  assert all(np.isfinite(x).all() for x in fragments)


def test_lowest_index_wins_ties():
  triangle = [(0, 0, 1), (5, 0, 1), (0, 5, 1)]
  faces = np.array([[3, 4, 5], [2, 1, 0], [0, 1, 2], [1, 2, 0]], np.int32)
  vertices = np.array([triangle + [(90, 90, 1)] * 3], np.float32)
  face = draw(vertices, faces, 8, 0.0)[0].face[0, :3, :2]
  assert np.array_equal(face, np.broadcast_to([1, 2, 3] + [-1] * 5, face.shape))


def test_no_faces_and_no_vertices():
  faces = jnp.zeros((0, 3), jnp.int32)
  for vertices in (jnp.ones((2, 4, 3)), jnp.ones((2, 0, 3))):
    empty = compiled(lambda vertices: rasterize(vertices, faces, height=3, width=4, faces_per_pixel=2))
    fragments = empty(vertices)
    assert fragments.face.shape == (2, 3, 4, 2) and np.all(np.asarray(fragments.face) == -1)
    assert all(np.all(np.asarray(x) == 0) for x in fragments[1:])


def test_leading_axes_and_faces_of_every_mesh():
  """Leading axes of any number, and a mapped axis of the faces alone."""
  vertices, faces = oracle.random_mesh(7, vertices=8, faces=6, side=5.0)
  together, _, _ = draw(vertices, faces, 1, 0.0)
  turned, _, _ = draw(vertices, faces[::-1], 1, 0.0)

  @compiled
  def shapes(vertices, faces):
    nested = rasterize(vertices[None], faces[0], height=5, width=6)
    return nested, jax.vmap(lambda faces: rasterize(vertices[0], faces, height=5, width=6).face)(faces)

  nested, by_faces = shapes(vertices, np.stack([faces, faces[::-1]]))
  assert [x.shape for x in nested] == [(1, 3, 5, 6, 1)] * 2 + [(1, 3, 5, 6, 1, 3), (1, 3, 5, 6, 1)]
  np.testing.assert_array_equal(nested.face[0], together.face[:, :5, :6])
  np.testing.assert_array_equal(by_faces, np.stack([x.face[0, :5, :6] for x in (together, turned)]))


def test_bad_arguments():
  with pytest.raises(ValueError, match="faces_per_pixel"):
    rasterize(jnp.ones((3, 3)), jnp.zeros((1, 3), jnp.int32), height=2, width=2, faces_per_pixel=0)
  with pytest.raises(ValueError, match="blur_radius"):
    rasterize(jnp.ones((3, 3)), jnp.zeros((1, 3), jnp.int32), height=2, width=2, blur_radius=-1.0)


def test_no_gap_between_neighbours():
  """The diagonal of a quadrilateral passes through pixel (4, 4) up to rounding.

  One of its two faces must take it.
  """
  rng = np.random.RandomState(1)
  direction = rng.randn(400, 2)
  along, across = rng.uniform(1, 3, (2, 400, 1)), rng.uniform(1, 3, (2, 400, 1))
  normal = np.stack([-direction[:, 1], direction[:, 0]], -1)
  corners = [along[0] * direction, across[0] * normal, -along[1] * direction, -across[1] * normal]
  vertices = np.concatenate([4 + np.stack(corners, 1), rng.uniform(1, 2, (400, 4, 1))], -1)
  faces = np.array([[0, 1, 2], [0, 3, 2]])
  draw_all = jax.jit(lambda vertices: rasterize(vertices, faces, height=9, width=9).face)
  assert np.all(np.asarray(draw_all(vertices.astype(np.float32)))[:, 4, 4, 0] >= 0)


@pytest.mark.parametrize("count,blur", [(1, 0.0), (6, 0.5)])
def test_many_chunks_equal_dense(monkeypatch, count, blur):
  """Large faces: the lists are many times longer than a chunk, and index limits split the batch into groups.

  The same faces, because both call the one definition of coverage, `coverage.cover`; but where a compiler
  fuses it differently into the two, faces that are equally near up to rounding may change places.
  """
  monkeypatch.setattr(select_faces, "INT32_ENTRIES", 2 * 60 * 24)
  rng = np.random.RandomState(2)
  corners = np.concatenate([rng.uniform(-20, 40, (5, 60, 3, 2)), rng.uniform(0.2, 2, (5, 60, 3, 1))], -1)
  corners = jnp.asarray(corners, jnp.float32)
  fast = np.asarray(jax.jit(lambda c: select_faces.select_faces(c, 24, 24, count, blur))(corners))
  dense = np.asarray(jax.jit(lambda c: select_dense(c, 24, 24, count, blur))(corners))
  assert (fast >= 0).mean() > 0.9
  np.testing.assert_array_equal(fast, dense)


def test_too_many_faces_is_an_error(monkeypatch):
  monkeypatch.setattr(select_faces, "INT32_ENTRIES", 10)
  with pytest.raises(ValueError, match="faces x rows"):
    rasterize(jnp.ones((3, 3)), jnp.zeros((4, 3), jnp.int32), height=3, width=3)
