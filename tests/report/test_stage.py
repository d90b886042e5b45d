"""The face to turn and relight, and the pictures of a run: what the page shows is what the renderer gives."""

import base64
import io
import json
import pathlib
import re
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support.tolerances import rounding

from pdr_jax.config import base, variant
from pdr_jax.data import dataset, splits, stores
from pdr_jax.evaluation import batches
from pdr_jax.exports import mesh
from pdr_jax.methods import Method
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.shared import inputs
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


def shown_albedo(face):
  """The picture that the script puts on the face, [0, 1]."""
  kind, _, data = face["albedo"].partition(";base64,")
  image = Image.open(io.BytesIO(base64.b64decode(data)))
  assert kind == f"data:image/{image.format.lower()}"
  return np.asarray(image, float) / 255


@pytest.mark.parametrize("coloured", [False, True])
def test_packed_face_with_the_shaders_formula_is_the_renderers_picture(coloured):
  config, scene = random_scene(coloured)
  faces, canonical = packed(scene, config)
  for face, want, depth in zip(faces, canonical, np.asarray(scene.depth), strict=True):
    data, pixels = base64.b64decode(face["data"]), SIDE * SIDE
    assert len(data) == 8 * pixels
    z = (
      np.frombuffer(data[: 2 * pixels], "<u2").reshape(SIDE, SIDE) / 65535 * (face["far"] - face["near"])
      + face["near"]
    )
    n = np.frombuffer(data[2 * pixels : 8 * pixels], "<i2").reshape(SIDE, SIDE, 3) / 32767
    reflectance = shown_albedo(face)
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
console.log(JSON.stringify([...turns, [...unpacked.position], [...unpacked.place], [...unpacked.indices]]));
"""
  )
  done = subprocess.run(
    [node, str(tmp_path / "run.js")], capture_output=True, text=True, timeout=60, check=True
  )
  rotation, rotated, between, position, place, indices = map(np.array, json.loads(done.stdout))
  np.testing.assert_allclose(rotation, matrix, atol=1e-5)
  np.testing.assert_allclose(
    rotated, lighting.rotate_sh(jnp.asarray(light, jnp.float32), jnp.asarray(matrix)), atol=1e-4
  )
  np.testing.assert_allclose(between @ a, b, atol=1e-9)
  np.testing.assert_allclose(between @ between.T, np.eye(3), atol=1e-9)
  want = camera.back_project(scene.depth[1], camera.pinhole(SIDE, config.scene.fov)).reshape(-1, 3)
  np.testing.assert_allclose(position.reshape(-1, 3), want, atol=1e-5)
  # A picture of N pixels covers [-1/2, SIDE - 1/2] of the mesh's pixels, see `render.unwrap`.
  row, column = np.divmod(np.arange(SIDE * SIDE), SIDE)
  want = (np.stack([column, row], axis=-1) + 0.5) / SIDE
  np.testing.assert_allclose(place.reshape(-1, 2), want, atol=1e-7)
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
  planes = 256 * 256 * (2 + 6)  # bytes; black PNGs weigh hardly anything
  assert len(stage.pack(faces, 10.0, ["x"] * count)) == stage.MOST_BYTES // planes
  small = {**faces, **{name: faces[name][:, :128, :128] for name in ("depth", "normal")}}
  assert len(stage.pack(small, 10.0, ["x"] * count)) == count


def test_an_albedo_of_a_photograph_is_a_small_file_and_hardly_another_picture():
  u, v = np.meshgrid(*[np.linspace(-1, 1, 256)] * 2)
  albedo = np.stack([np.sin(9 * u), np.cos(7 * v), u * v], axis=-1)
  kind, data = stage.picture(albedo)
  shown = np.asarray(Image.open(io.BytesIO(data)), float) / 255
  assert kind == "jpeg" and len(data) < albedo.size // 8
  np.testing.assert_allclose(shown, albedo / 2 + 0.5, atol=8 / 255)  # quality 90 quantises to a few levels


def photographs(folder, count=12):
  """A folder of pictures of 48 x 48, and a configuration that reads them as 16 x 16."""
  rng = np.random.default_rng(0)
  for i in range(count):
    blocks = rng.integers(0, 256, (4, 4, 3), np.uint8).repeat(12, axis=0).repeat(12, axis=1)
    Image.fromarray(blocks).save(folder / f"{i}.png")
  config = variant(base(), "small")
  config.data.update(name="image_folder", path=str(folder), side=16, val_examples=5)
  return config


def break_first(config, part):
  """Cuts the first file of the split `part` (0: train, 1: validation) short."""
  names = stores.open_store(config.data.path).names
  chosen = splits.by_seed(names, config.data.scene_seed, 1, config.data.val_examples)[part]
  file = pathlib.Path(config.data.path, names[chosen[0]])
  file.write_bytes(file.read_bytes()[:60])


def test_photographs_that_cannot_be_told_to_be_the_same_are_not_shown(tmp_path, monkeypatch):
  config = photographs(tmp_path)
  config.data.crop = (0, 0, 48, 48)
  break_first(config, 1)
  # As of 30,000 pictures: they are decoded as they are read, and the next one stands in for one that is
  # broken; of the few that a report reads, it is left out.
  monkeypatch.setattr(dataset, "EAGER_LIMIT", 10)
  assert pictures.at_own_resolution(config, "image", 3) is None


@pytest.mark.parametrize("normalised", [False, True])
def test_a_broken_picture_to_train_with_or_normalised_ones_cost_the_resolution_alone(tmp_path, normalised):
  config = photographs(tmp_path)
  config.data.crop = (0, 0, 48, 48)
  if normalised:
    config.data.normalize_with = "an export"
  else:
    break_first(config, 0)
  assert pictures.at_own_resolution(config, "image", 3) is None


def test_photographs_come_at_their_own_resolution_and_in_the_order_of_validation(tmp_path):
  config = photographs(tmp_path)
  small = next(iter(batches.of_split(config, {"image": inputs.image(config)}, "validation", ())))["image"]
  assert pictures.at_own_resolution(config, "image", 3)[0].shape == (512, 512, 3)
  config.data.crop = (0, 0, 48, 48)
  large = pictures.at_own_resolution(config, "image", 3)
  assert len(large) == 3
  for photograph, picture in zip(large, small, strict=False):
    # Inside of blocks of one colour, any reduction gives that colour.
    np.testing.assert_allclose(photograph[6::12, 6::12], picture[2::4, 2::4], atol=1e-2)
  config.data.side = 48
  assert pictures.at_own_resolution(config, "image", 3) is None
  assert pictures.at_own_resolution(base(), "image", 3) is None  # embedded heads have no files


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
