"""Volumes as meshes: closed, wound outwards, the right way up, at the right size."""

import numpy as np
import pytest
import trimesh

from pdr_jax.errors import UserError
from pdr_jax.exports import mesh

S = 12


def volume():
  """A slab that is low (y is large), near (z is small) and long to the right."""
  density = np.zeros((S, S, S), np.float32)
  density[1:4, 8:11, 3:12] = 0.9
  return density


@pytest.mark.parametrize("suffix", mesh.FRAMES)
def test_the_surface_of_a_slab(tmp_path, suffix):
  path = str(tmp_path / f"slab{suffix}")
  mesh.save_volume(path, volume())
  read = trimesh.load(path, force="mesh", process=True)
  assert read.is_watertight and read.volume > 0
  voxel = 2 / S
  # between 0.9 and 0 a half lies 4/9 of a voxel beyond the outermost centres; edges and corners are cut
  whole = (2 + 8 / 9) ** 2 * (8 + 8 / 9) * voxel**3
  assert 0.88 * whole < read.volume < whole
  x, up, front = {".ply": (0, 2, 1)}.get(suffix, (0, 1, 2))
  centre = read.bounds.mean(axis=0)
  right, below, near = (7 - 5.5) * voxel, -(9 - 5.5) * voxel, (5.5 - 2) * voxel
  np.testing.assert_allclose(centre[[x, up]], [right, below], atol=1e-3)
  np.testing.assert_allclose(centre[front], near if suffix != ".ply" else -near, atol=1e-3)


def test_nothing_to_see_is_one_line(tmp_path):
  with pytest.raises(UserError, match=r"no voxel is denser than 0\.95"):
    mesh.save_volume(str(tmp_path / "slab.glb"), volume(), level=0.95)
  with pytest.raises(UserError, match=r"\.glb, \.obj, \.ply"):
    mesh.save_volume(str(tmp_path / "slab.stl"), volume())
