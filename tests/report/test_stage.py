"""The face to turn and relight, and the pictures of a run: what the page shows is what the renderer gives."""

import base64
import json
import re
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from support.tolerances import rounding

from pdr_jax.config import base, variant
from pdr_jax.exports import mesh
from pdr_jax.methods import Method
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.render import camera, lighting
from pdr_jax.report import page, pictures, stage

SIDE = 16


def random_scene(coloured=False):
  """Two smooth scenes and the configuration that they belong to."""
  rng = np.random.default_rng(0)
  config = variant(base(), "small")
  u, v = np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2)
  depth = 1 + 0.02 * np.stack([u**2 + 0.3 * v**2 - 0.5, np.sin(3 * u) * np.cos(2 * v)])
  albedo = np.tanh(rng.normal(size=(2, SIDE, SIDE, 3)))
  light = rng.normal(size=(2, 9, 3) if coloured else (2, 9)) * 0.3
  light[:, 4:] *= 3  # a wrong function of band 2 must show
  light[:, 0] += 3
  light[:, 2] += 1
  return config, scenes.Scene(
    *(jnp.asarray(value, jnp.float32) for value in (depth, albedo, light, rng.normal(size=(2, 6)) * 0.1))
  )


def packed(scene, config):
  normals, _, canonical = scenes.shade(scene, config)
  parts = {
    "depth": scene.depth,
    "albedo": scene.albedo,
    "normal": normals,
    "light": scene.light,
    "view": scene.view,
  }
  return stage.pack(
    {key: np.asarray(value) for key, value in parts.items()}, config.scene.fov, ["one", "two"]
  ), np.asarray(canonical)


def shader_basis(n):
  """The nine functions as they stand in the fragment shader, on `[..., 3]` float64 normals."""
  expression = re.search(r"float\[9\]\((.*?)\);", page.asset("stage.js"), re.DOTALL).group(1)
  scope = {"n": type("n", (), {"x": n[..., 0], "y": n[..., 1], "z": n[..., 2]})}
  return np.stack([np.broadcast_to(value, n.shape[:-1]) for value in eval(f"({expression})", scope)], axis=-1)


@pytest.mark.parametrize("coloured", [False, True])
def test_packed_face_with_the_shaders_formula_is_the_renderers_picture(coloured):
  config, scene = random_scene(coloured)
  faces, canonical = packed(scene, config)
  for face, want, depth in zip(faces, canonical, np.asarray(scene.depth), strict=True):
    data, pixels = base64.b64decode(face["data"]), SIDE * SIDE
    assert len(data) == 11 * pixels
    z = (
      np.frombuffer(data[: 2 * pixels], "<u2").reshape(SIDE, SIDE) / 65535 * (face["far"] - face["near"])
      + face["near"]
    )
    n = np.frombuffer(data[2 * pixels : 8 * pixels], "<i2").reshape(SIDE, SIDE, 3) / 32767
    reflectance = np.frombuffer(data[8 * pixels :], np.uint8).reshape(SIDE, SIDE, 3) / 255
    light = np.asarray(face["light"]).reshape(9, -1)
    gain = np.array([1] + [2 / 3] * 3 + [1 / 4] * 5)[:, None]
    shading = np.maximum(shader_basis(n / np.linalg.norm(n, axis=-1, keepdims=True)) @ (gain * light), 0)
    np.testing.assert_allclose(z, depth, atol=3e-6)
    shown = np.clip(reflectance * shading, 0, 1)
    assert shown.std() > 0.1
    np.testing.assert_allclose(shown, np.clip(want / 2 + 0.5, 0, 1), atol=2 / 255)


def test_the_scripts_rotations_and_meshes_are_the_renderers(tmp_path):
  node = shutil.which("node")
  if node is None:
    pytest.skip("node is not installed")
  config, scene = random_scene()
  faces, _ = packed(scene, config)
  rng = np.random.default_rng(1)
  angles, light = rng.normal(size=3), rng.normal(size=9)
  a, b = (
    vector / np.linalg.norm(vector) for vector in (np.array([0.5, -0.3, 0.6]), np.array([-0.2, 0.7, 0.4]))
  )
  matrix = np.asarray(camera.rotation_matrix(jnp.asarray(angles, jnp.float32)))
  given = json.dumps([angles.tolist(), light.tolist(), matrix.tolist(), a.tolist(), b.tolist(), faces[1]])
  (tmp_path / "run.js").write_text(
    "globalThis.document = { getElementById: () => null };\n"
    + page.asset("stage.js")
    + f"""
const [angles, light, matrix, a, b, face] = {given};
const unpacked = unpack(face);
const turns = [rotationOf(angles), rotateLight(light, matrix), rotationBetween(a, b)];
console.log(JSON.stringify([...turns, [...unpacked.position], [...unpacked.indices]]));
"""
  )
  done = subprocess.run(
    [node, str(tmp_path / "run.js")], capture_output=True, text=True, timeout=60, check=True
  )
  rotation, rotated, between, position, indices = map(np.array, json.loads(done.stdout))
  np.testing.assert_allclose(rotation, matrix, atol=1e-5)
  np.testing.assert_allclose(
    rotated, lighting.rotate_sh(jnp.asarray(light, jnp.float32), jnp.asarray(matrix)), atol=1e-4
  )
  np.testing.assert_allclose(between @ a, b, atol=1e-9)
  np.testing.assert_allclose(between @ between.T, np.eye(3), atol=1e-9)
  want = camera.back_project(scene.depth[1], camera.pinhole(SIDE, config.scene.fov)).reshape(-1, 3)
  np.testing.assert_allclose(position.reshape(-1, 3), want, atol=1e-5)
  assert len(indices) == 6 * (SIDE - 1) * (SIDE - 1 - 2 * stage_rim()) and indices.max() < SIDE * SIDE


def stage_rim():
  assert f"const RIM = {mesh.RIM};" in page.asset("stage.js")
  return mesh.RIM


def test_as_many_large_faces_as_a_page_can_bear():
  count = 24
  faces = {
    "depth": np.ones((count, 256, 256)),
    "albedo": np.zeros((count, 256, 256, 3)),
    "normal": np.zeros((count, 256, 256, 3)),
    "light": np.zeros((count, 9)),
    "view": np.zeros((count, 6)),
  }
  assert len(stage.pack({**faces, "depth": np.ones((count, 128, 128))}, 10.0, ["x"] * count)) == count
  assert 1 < len(stage.pack(faces, 10.0, ["x"] * count)) * 11 * 256 * 256 / stage.MOST_BYTES + 1 <= 2


def test_swaps_take_the_named_factor_from_the_column():
  def render(parts, light=None, view=None):
    value = 10 * parts["albedo"] + (light if light is not None else 0.1 * view)
    return {
      "image": jnp.broadcast_to(value[:, None, None], (len(value), 2, 2, 3)),
      "mask": jnp.ones((len(value), 2, 2)),
    }

  method = Method(*[None] * 4, render=render)
  numbers = jnp.arange(3.0)[:, None]
  swapped = pictures.swap(
    method, {"albedo": numbers, "light": numbers, "view": numbers}, rendered=("albedo", "view")
  )
  a, b = np.mgrid[:3, :3]
  np.testing.assert_allclose(swapped["light"][:, :, 0, 0, 0], 10 * a + b)
  np.testing.assert_allclose(swapped["view"][:, :, 1, 1, 2], 10 * a + 0.1 * b, rtol=rounding(4))


def test_failures_are_the_images_that_score_worst_alone():
  def validate(state, batch, axis_name):
    score = (batch["image"].mean(axis=(1, 2, 3)) * batch["_mask"]).sum()
    return {"val/reconstruction": (score, batch["_mask"].sum())}

  values = np.array([0.1, 0.7, -0.2, 0.9, 0.3, 0.0, 0.4, 5.0], np.float32)
  batches = [
    {
      "image": np.broadcast_to(values[i : i + 4, None, None, None], (4, 2, 2, 3)),
      "_mask": np.array([1, 1, 1, i < 4], np.float32),
    }
    for i in (0, 4)
  ]  # 5.0 is padding
  actual = pictures.find_worst(Method(None, None, validate, None), {}, batches, "image")
  assert actual.score == "val/reconstruction"
  expected = sorted(values[:7], reverse=True)
  np.testing.assert_allclose(
    actual.values, expected, atol=1e-6
  )  # means of 12 equal float32 numbers of at most 1
  np.testing.assert_array_equal(actual.inputs[:, 0, 0, 0], expected)
