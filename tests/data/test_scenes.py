"""The embedded worlds against independent references, and their preparation without TensorFlow.

The references are ray casting, shading and normals in NumPy float64.
"""

import os
import pathlib
import subprocess
import sys
import textwrap

import jax
import numpy as np
import pytest
from scene_oracles import camera_vertices, cast, pixel_rays
from support.tolerances import rounding

from pdr_jax.data.scenes import builder, head_mesh, heads, heads_overcast, paint, render_scene, sample

ROOT = pathlib.Path(__file__).parents[2]
SIDE = 32
COUNT = builder.BATCH


@pytest.fixture(scope="module")
def scene():
  return builder.stack([heads.draw(3, "train", index)[0] for index in range(COUNT)])


@pytest.fixture(scope="module")
def rendered(scene):
  """Float maps, channels last."""
  maps = jax.device_get(jax.jit(lambda s: render_scene.render(heads.shape_model(), s, SIDE))(scene))
  return {name: np.stack(value, -1) if isinstance(value, tuple) else value for name, value in maps.items()}


def test_overcast_heads_differ_in_their_light_alone():
  for index in range(3):
    (lamps, labels), (overcast, same) = (world.draw(3, "train", index) for world in (heads, heads_overcast))
    assert labels == same and lamps.keys() == overcast.keys()
    np.testing.assert_array_equal(lamps["view"], overcast["view"])
    np.testing.assert_array_equal(lamps["weights"], overcast["weights"])
    np.testing.assert_allclose(  # what faces the first lamp is as bright
      overcast["ambient"] + overcast["diffuse"][0], lamps["ambient"] + lamps["diffuse"][0], rtol=1e-6
    )
    to_the_side, before = (
      np.abs(light[1:4]).max() / light[0]
      for light in np.asarray(render_scene.light_coefficients(builder.stack([overcast, lamps])))
    )
    assert to_the_side < 0.1 < 0.25 < before


def test_depth_is_what_a_ray_hits(scene, rendered):
  rays, faces = pixel_rays(SIDE), heads.shape_model().faces
  differing = 0
  for k in range(2):
    vertices, _ = camera_vertices(heads.shape_model(), scene, k)
    for v in range(1, SIDE, 4):
      for u in range(2, SIDE, 4):
        expected = cast(rays[v, u], vertices, faces)
        assert np.isfinite(expected) == rendered["hit"][k, v, u], (v, u)
        if np.isfinite(expected):
          differing += abs(expected - rendered["depth"][k, v, u]) > 2e-5
  assert differing <= 1  # a ray that grazes a fold may fall on either side of it in float32
  assert 0.4 < rendered["hit"].mean() < 0.95


def test_normals_are_unit_and_those_of_the_depth(rendered):
  normal, depth, hit = (
    rendered["normal"].astype(np.float64),
    rendered["depth"].astype(np.float64),
    rendered["hit"],
  )
  np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1.0, atol=1e-5)
  points = pixel_rays(SIDE) * depth[..., None]
  tangent_u = points[:, 1:-1, 2:] - points[:, 1:-1, :-2]
  tangent_v = points[:, 2:, 1:-1] - points[:, :-2, 1:-1]
  flat = np.cross(tangent_u, tangent_v)
  flat /= np.maximum(np.linalg.norm(flat, axis=-1, keepdims=True), 1e-12)
  inside = np.all(
    [hit[:, 1 + i : SIDE - 1 + i, 1 + j : SIDE - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0
  )
  angle = np.degrees(np.arccos(np.clip((flat * normal[:, 1:-1, 1:-1]).sum(-1), -1, 1)))[inside]
  assert np.median(angle) < 6  # differences over two of 32 pixels are coarse, mostly around eyes and nose
  assert np.mean(angle) < 12


def test_image_is_albedo_times_shading(scene, rendered):
  """Away from edges, which means inside, where neighbours agree.

  Shading is computed in NumPy from the stored normal, turned back into the canonical frame.
  """
  errors, sh_errors = [], []
  light = np.asarray(render_scene.light_coefficients(scene), np.float64)
  for k in range(COUNT):
    _, rotation = camera_vertices(heads.shape_model(), scene, k)
    normal = rendered["normal"][k].astype(np.float64) @ rotation  # R^T n
    cosines = normal @ scene["direction"][k].T.astype(np.float64)
    shading = scene["ambient"][k] + (scene["diffuse"][k] * np.maximum(cosines, 0)).sum(-1)
    hit = rendered["hit"][k]
    inner = np.zeros_like(hit)
    inner[1:-1, 1:-1] = np.all(
      [hit[1 + i : SIDE - 1 + i, 1 + j : SIDE - 1 + j] for i in (-1, 0, 1) for j in (-1, 0, 1)], axis=0
    )
    errors.append(
      np.abs(rendered["image"][k] - np.minimum(rendered["albedo"][k] * shading[..., None], 1))[inner]
    )
    x, y, z = np.moveaxis(normal, -1, 0)
    basis = np.stack(
      [
        np.full_like(x, 0.282095),
        0.488603 * y,
        0.488603 * z,
        0.488603 * x,
        1.092548 * x * y,
        1.092548 * y * z,
        0.315392 * (3 * z * z - 1),
        1.092548 * x * z,
        0.546274 * (x * x - y * y),
      ],
      -1,
    )
    gain = np.array([1] + [2 / 3] * 3 + [1 / 4] * 5)
    sh_errors.append(np.abs(basis @ (gain * light[k]) - shading)[hit] / scene["diffuse"][k].sum())
  errors = np.concatenate(errors)
  assert np.median(errors) < 0.004 and np.percentile(errors, 90) < 0.03
  assert (
    np.concatenate(sh_errors).max() < 3 / 32 + 1e-3
  )  # the bands above order 2, worst where light begins to graze


def test_background_is_unlit_and_far(scene, rendered, renderer_of):
  stored = jax.device_get(renderer_of(heads, heads.Heads)(scene))
  k = 0
  outside = stored["depth"][k] == 65535
  # two programs: rounding may move a pixel or two across the outline
  assert outside.any() and np.count_nonzero(outside == rendered["hit"][k]) <= 2
  alone = ~outside_of_any(rendered["hit"][k])
  assert np.abs(rendered["image"][k] - rendered["albedo"][k])[alone].max() < rounding(4)
  decoded = builder.decode(
    {"depth": stored["depth"][..., None], "normal": np.moveaxis(stored["normal"], 1, -1)}
  )
  same = decoded["mask"] == rendered["hit"]
  assert np.count_nonzero(~same) <= 2
  # half a step of the 65,534 between 0.8 and 1.2, and rounding
  expected = np.where(rendered["hit"], rendered["depth"], 1.1)[same]
  np.testing.assert_allclose(decoded["depth"][same], expected, rtol=0, atol=0.2 / 65_534 + rounding(6, 1.1))
  assert (
    np.degrees(np.arccos(np.clip((decoded["normal"] * rendered["normal"]).sum(-1), -1, 1)))[same].max() < 0.45
  )  # eight bits


def outside_of_any(hit):
  """True at pixels that are hit or touch one that is."""
  padded = np.pad(hit, 1)
  return np.any(
    [
      padded[1 + i : 1 + i + hit.shape[0], 1 + j : 1 + j + hit.shape[1]]
      for i in (-1, 0, 1)
      for j in (-1, 0, 1)
    ],
    axis=0,
  )


def test_an_image_depends_on_its_seed_split_and_number_only(renderer_of):
  render = renderer_of(heads, heads.Heads)

  def draws(indices, seed=5, split="train"):
    return builder.stack(
      [heads.draw(seed, split, i)[0] for i in indices]
    )
  first, again = (jax.device_get(render(draws(order))) for order in ((0, 1, 2, 3), (3, 7, 1, 0)))
  for name, array in first.items():
    assert np.array_equal(array[3], again[name][0]) and np.array_equal(array[1], again[name][2]), name
  for other in (draws((0,), seed=6), draws((0,), split="validation"), draws((1,))):
    assert not np.array_equal(other["weights"], draws((0,))["weights"])


def test_heads_are_still_those_of_their_version(scene, rendered):
  """Prepared copies are found by the version.

  Whoever changes what is drawn has to raise it, and these numbers with it.
  """
  assert heads.VERSION == "1.2.0"
  grey = 255 * rendered["image"][1].mean(axis=-1).reshape(4, SIDE // 4, 4, SIDE // 4).mean(axis=(1, 3))
  expected = [[33, 27, 53, 55], [58, 84, 108, 73], [68, 105, 118, 62], [68, 81, 94, 38]]
  np.testing.assert_allclose(grey, expected, atol=0.75)
  light = [2.4893, 0.2504, 1.0628, -0.6232, -0.5373, 0.3492, 0.6045, -0.9996, 0.0309]
  np.testing.assert_allclose(render_scene.light_coefficients(scene)[1], light, atol=2e-4)
  labels = [tuple(heads.draw(3, "train", index)[1][name] for name in sample.LABELS) for index in range(COUNT)]
  assert labels == [
    (0, 1, 1, 0, 0, 0, 0, 0, 1, 1),
    (1, 1, 1, 0, 0, 0, 0, 1, 0, 1),
    (2, 6, 0, 0, 0, 1, 0, 0, 0, 1),
    (3, 1, 1, 1, 1, 0, 0, 0, 1, 1),
  ]


def test_shape_is_symmetric_and_albedo_not_quite():
  model = heads.shape_model()
  grid = model.vertices.reshape(head_mesh.ROWS, head_mesh.COLUMNS, 3)
  assert np.array_equal(grid[:, ::-1] * np.array([-1, 1, 1], np.float32), grid)
  modes = model.modes.reshape(-1, head_mesh.ROWS, head_mesh.COLUMNS, 3)
  np.testing.assert_allclose(modes[:, :, ::-1] * np.array([-1, 1, 1]), modes, atol=1e-9)
  x, y = (
    a.astype(np.float32)[None] for a in np.meshgrid(np.linspace(-0.5, 0.5, 41), np.linspace(-0.9, 0.9, 41))
  )
  for index in range(4):
    look = {name: np.asarray(value)[None] for name, value in heads.draw(0, "train", index)[0]["look"].items()}
    colour = np.stack(paint.paint(x, y, 0.8 + 0 * x, look), -1)
    difference = np.abs(colour - colour[:, :, ::-1])
    assert 1e-3 < difference.mean() < 0.15 and np.median(difference) < 0.06


def test_faces_point_into_the_head_and_the_nose_comes_first():
  model = heads.shape_model()
  a, b, c = np.moveaxis(model.vertices[model.faces].astype(np.float64), 1, 0)
  inward = np.array([0, 0, 1.05]) - (a + b + c) / 3
  normal = np.cross(b - a, c - a)
  assert ((inward * normal).sum(-1) > 0)[np.linalg.norm(normal, axis=-1) > 1e-9].mean() > 0.97
  nose = model.coords[np.argmin(model.vertices[:, 2])]
  assert abs(nose[0]) < 1e-6 and -0.5 < nose[1] < -0.25


def test_draws_stay_within_the_ranges_of_the_model():
  draws = [heads.draw(1, "validation", index) for index in range(150)]
  views = np.stack([scene["view"] for scene, _ in draws])
  assert np.all(np.abs(views) <= sample.VIEW_LIMIT.astype(np.float32) + 1e-6) and np.all(
    np.abs(views[:, :3]) < np.deg2rad(60)
  )
  assert np.all(np.abs(views[:, 3:5]) < 0.1) and np.all(views[:, 5] == 0)
  assert np.deg2rad(15) < views[:, 1].std() < np.deg2rad(25)
  direction = np.stack([scene["direction"] for scene, _ in draws])
  np.testing.assert_allclose(np.linalg.norm(direction, axis=-1), 1, atol=1e-5)
  assert np.all(direction[..., 2] > 0)  # from the front
  brightest = np.array([scene["ambient"] + scene["diffuse"].sum() for scene, _ in draws])
  assert np.all(brightest < 1.5) and brightest.min() > 0.4
  labels = {name: np.array([label[name] for _, label in draws]) for name in sample.LABELS}
  for name in ("smiling", "mouth_open", "beard", "long_hair", "fringe", "male", "dark_hair"):
    assert 0.05 < labels[name].mean() < 0.95, name
  assert np.array_equal(labels["identity"], np.arange(150)) and len(set(labels["expression"])) > 4


@pytest.mark.users_programs
def test_prepares_and_reads_without_tensorflow(tmp_path):
  program = textwrap.dedent(f"""
      import sys
      import numpy as np
      from pdr_jax import config as configs
      from pdr_jax.data.scenes import builder, heads
      config = configs.base()
      config.data.update(cache_dir={str(tmp_path)!r}, side=32, channels=3, frames=0)
      config.data.update(train_examples=6, val_examples=3, scene_seed=9)

      # interrupted: nothing that looks finished stays, and the next attempt clears up and succeeds
      draw = heads.draw
      heads.draw = lambda seed, split, index: 1 / 0 if index == 5 else draw(seed, split, index)
      try:
        builder.prepared(heads.Heads, config.data)
        raise SystemExit('the error was swallowed')
      except ZeroDivisionError:
        pass
      heads.draw = draw
      prepared = builder.prepared(heads.Heads, config.data)
      train, validation = (prepared.as_data_source(split) for split in ('train', 'validation'))
      assert (len(train), len(validation)) == (6, 3)
      stored = dict(train[4])
      stored |= {{'label/' + name: value for name, value in stored.pop('label').items()}}
      example = builder.decode(stored)
      scene, labels = heads.draw(9, 'train', 4)
      assert np.array_equal(example['view'], scene['view']) and example['label/identity'] == 4
      assert all(example['label/' + name] == value for name, value in labels.items())
      shapes = dict(normal=(32, 32, 3), depth=(32, 32), mask=(32, 32), light=(9,), view=(6,))
      for name, shape in shapes.items():
        assert example[name].shape == shape and example[name].dtype == np.float32, name
      assert example['image'].shape == example['albedo'].shape == (32, 32, 3)
      assert example['image'].dtype == np.uint8
      assert np.abs(np.linalg.norm(example['normal'], axis=-1) - 1).max() < 1e-5
      assert np.all(example['depth'][example['mask'] == 0] == np.float32(1.1))
      assert 0.85 < example['depth'].min() and 0.2 < example['mask'].mean() < 1
      scenes = builder.stack([heads.draw(9, 'train', i)[0] for i in (4, 5, 6, 7)])
      pixels = np.asarray(builder.renderer(heads.shape_model(), 32)(scenes)['image'][0])
      assert np.array_equal(pixels.transpose(1, 2, 0), train[4]['image'])
      pairs = {{name: np.stack([train[0][name], train[4][name]]) for name in ('depth', 'normal')}}
      batch = builder.decode(pairs)
      assert np.array_equal(batch['depth'][1], example['depth'])
      assert np.array_equal(batch['normal'][1], example['normal'])

      before = heads.draw
      heads.draw = None  # a second time it is read, not rendered
      builder.prepared(heads.Heads, config.data)
      assert 'tensorflow' not in sys.modules
      """)
  environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT),
                 "JAX_COMPILATION_CACHE_DIR": str(jax.config.jax_compilation_cache_dir or "")}
  result = subprocess.run(
    [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=600
  )
  assert result.returncode == 0, result.stderr
  assert "9 of 9 images" in result.stderr and result.stdout == ""
  folders = [
    path.name
    for path in (tmp_path / "heads" / "side32_train6_val3_seed9").iterdir()
    if not path.name.startswith(".")
  ]
  assert folders == [heads.VERSION]
