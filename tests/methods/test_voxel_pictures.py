"""What `voxels` shows: which codes a traversal decodes, and that each column is what it says."""

import jax.numpy as jnp
import numpy as np

from pdr_jax.methods.voxels import pictures

SIDE = 8
CODES = np.float32([[0, 5, 1], [1, -3, 1], [2, 1, 1]])  # the middle number differs most


def test_a_traversal_replaces_the_number_that_differs_most():
  for step in (-2, 1):
    expected = CODES.copy()
    expected[:, 1] = CODES[:, 1].mean() + step * CODES[:, 1].std()
    np.testing.assert_allclose(pictures.traversed(CODES, step), expected, rtol=1e-6)


def test_one_picture_has_nothing_to_traverse():
  np.testing.assert_array_equal(pictures.traversed(CODES[:1], 2), CODES[:1])


def test_columns_show_volumes_of_traversed_codes():
  def volumes(variables, codes):  # taller with the middle number
    rows = jnp.arange(SIDE)[None] < 4 + codes[:, 1:2] / 2
    return jnp.broadcast_to(jnp.where(rows, 9.0, -9.0)[:, None, :, None], (3, *[SIDE] * 3))

  def decompose(variables, images):
    voxels = np.zeros((3, *[SIDE] * 3), np.float32)
    voxels[:, :, :4] = 1
    return {"voxels": jnp.asarray(voxels), "azimuth": jnp.zeros(3), "shape": CODES, "reconstruction": images}

  columns = pictures.pictures({}, jnp.zeros((3, SIDE, SIDE, 1)), decompose=decompose, volumes=volumes)
  assert list(columns) == [
    "reconstruction", *(f"turned_{angle:03d}" for angle in range(0, 360, 45)),
    *(f"traversal_{i}" for i in (1, 2, 3, 4)),
  ]
  dark = [float((columns[f"traversal_{i}"] < 0.5).mean()) for i in (1, 2, 3, 4)]
  assert dark == sorted(dark) and dark[0] < dark[-1] / 2
