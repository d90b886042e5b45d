"""The mesh files in Blender itself, imported with its default settings. Skips without Blender.

They are upright, face its front view, and are coloured.
"""

import json
import os
import shutil
import subprocess

import numpy as np
import pytest

from pdr_jax.exports import mesh

SIDE, FOV, RIM = 16, 10.0, 2
IMPORTERS = {  # of Blender 3.4; in parentheses later ones
  ".glb": "bpy.ops.import_scene.gltf(filepath=PATH)",
  ".ply": "(bpy.ops.wm.ply_import if hasattr(bpy.types, 'WM_OT_ply_import') else bpy.ops.import_mesh.ply)"
  "(filepath=PATH)",
  ".obj": "bpy.ops.wm.obj_import(filepath=PATH)",
}
SCRIPT = """
import bpy, json
bpy.ops.wm.read_factory_settings(use_empty=True)
IMPORT
thing, = [one for one in bpy.context.scene.objects if one.type == "MESH"]
turned = thing.matrix_world.to_3x3()
print("FOUND " + json.dumps({
    "vertices": [list(thing.matrix_world @ one.co) for one in thing.data.vertices],
    "normals": [list(turned @ one.normal) for one in thing.data.polygons],
    "colours": len(thing.data.color_attributes),
}))
"""


@pytest.mark.parametrize("suffix", IMPORTERS)
def test_blender_shows_the_relief_upright_from_its_front_view(suffix, tmp_path):
  blender = shutil.which("blender")
  if blender is None:
    pytest.skip("blender is not installed")
  row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
  depth = (1.02 - 0.05 * np.exp(-((row - 4) ** 2 + (column - 5) ** 2) / 12)).astype(
    np.float32
  )  # nearest up on the left
  path, script = str(tmp_path / f"a{suffix}"), tmp_path / "script.py"
  mesh.save(path, depth, np.zeros((SIDE, SIDE, 3), np.float32), FOV)
  script.write_text(SCRIPT.replace("IMPORT", IMPORTERS[suffix].replace("PATH", repr(path))))
  # Debian's Blender takes the system's Python, whose NumPy its glTF importer needs: ours, where the versions
  # agree.
  environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(np.__file__))}
  command = [
    blender,
    "--background",
    "--factory-startup",
    "--python-use-system-env",
    "--python-exit-code",
    "1",
    "--python",
    str(script),
  ]
  done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
  if "No module named 'numpy" in done.stdout + done.stderr:
    pytest.skip("blender's Python has no NumPy")
  assert done.returncode == 0, done.stdout + done.stderr
  actual = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))[6:])
  right, away, up = np.array(actual["vertices"]).T  # of the front view: along +y
  nearest = np.argmin(away)
  assert right[nearest] < 0 < up[nearest]
  # The extent that a pinhole of this field of view gives; depth along y, and nothing scaled.
  half = np.tan(np.radians(FOV) / 2) * depth.max()
  np.testing.assert_allclose(
    [up.min(), up.max(), np.ptp(away)], [-half, half, np.ptp(depth[:, RIM:-RIM])], rtol=2e-2
  )
  assert all(normal[1] < 0 for normal in actual["normals"]) and actual["colours"] == 1
