"""The worlds `embedded_cars` and `car_meshes`: parts and depth against rays, types, views from above, meshes
of a folder, wrong folders.
"""

import jax
import numpy as np
import pytest
from scene_oracles import camera_vertices, cast, hits, pixel_rays
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from support.configs import data_config

from pdr_jax.data.scenes import builder, car_mesh, car_meshes, cars, cars_around
from pdr_jax.data.scenes.car_paint import PARTS
from pdr_jax.errors import UserError

SIDE = 32


@pytest.fixture(scope="module")
def render(renderer_of):
  return renderer_of(cars, cars.EmbeddedCars)


@pytest.fixture(scope="module")
def stacked():
  return builder.stack([cars.draw(0, "train", index)[0] for index in (0, 4, 5, 6)])


@pytest.fixture(scope="module")
def maps(stacked, render):
  return jax.device_get(render(stacked))


def decoded(maps):
  channels_last = {
    name: np.moveaxis(value, 1, -1) if value.ndim == 4 else value for name, value in maps.items()
  }
  return builder.decode(
    {**channels_last, "depth": maps["depth"][..., None], "segmentation": maps["segmentation"][..., None]}
  )


def test_depth_and_wheels_are_what_a_ray_hits(stacked, maps):
  model, rays, actual = cars.shape_model(), pixel_rays(SIDE), decoded(maps)
  wrong, seen = 0, set()
  for k in (0, 3):
    vertices, _ = camera_vertices(model, stacked, k)
    for v in range(0, SIDE, 3):
      for u in range(1, SIDE, 3):
        z = hits(rays[v, u], vertices, model.faces)
        part = actual["segmentation"][k, v, u]
        seen.add(PARTS[part])
        if np.isfinite(z.min()):
          wrong += abs(actual["depth"][k, v, u] - z.min()) > 2e-5
          wrong += (PARTS[part] == "wheel") != (model.material[z.argmin()] != car_mesh.BODY)
        wrong += (part > 0) != np.isfinite(z.min())
  assert wrong <= 1  # a ray that grazes an edge may fall on either side of it in float32
  assert {"background", "body", "window", "wheel"} <= seen


def test_normals_point_into_the_scene(maps):
  actual = decoded(maps)
  cosine = (actual["normal"] * pixel_rays(SIDE)).sum(-1)[actual["mask"] > 0]
  assert (cosine > 0).mean() > 0.97 and cosine.mean() > 0.5


def test_parts_lie_where_a_car_has_them(render):
  """From the front, bottom to top: grille between two lights, hood, windscreen, roof."""
  scenes = builder.stack([cars.draw(0, "train", index)[0] for index in range(0, 4)])
  scenes["view"] = 0 * scenes["view"]
  scenes["weights"] = np.eye(len(car_mesh.TYPES) + len(car_mesh.FORMS), dtype=np.float32)[:4]
  segmentation = jax.device_get(render(scenes))["segmentation"]
  rows, columns = np.mgrid[:SIDE, :SIDE]
  for one in segmentation:
    grille, window, light = (one == PARTS.index(name) for name in ("grille", "window", "light"))
    assert rows[grille].mean() > rows[window].mean() + 5
    assert abs(columns[grille].mean() - 15.5) < 1 and abs(columns[window].mean() - 15.5) < 1
    assert columns[light & (columns < 16)].mean() < 13 and columns[light & (columns >= 16)].mean() > 18
    column = one[:, 15]
    runs = [PARTS[part] for part in column[np.flatnonzero(np.diff(column, prepend=255))]]
    assert "body window body" in " ".join(runs)  # roof, windscreen, hood


def test_a_view_from_above_turns_the_car_about_its_own_axis():
  rng = np.random.default_rng(0)
  for _ in range(20):
    yaw, elevation = rng.uniform(-1.2, 1.2), rng.uniform(0.3, 0.9)
    angles = cars.view_of(yaw, elevation, np.zeros(2))[:3].astype(np.float64)

    def about(axis, angle):
      return Rotation.from_euler(axis, angle).as_matrix()

    expected = about("x", elevation) @ about("y", yaw) @ about("x", -np.deg2rad(car_mesh.ELEVATION))
    np.testing.assert_allclose(Rotation.from_euler("xyz", angles).as_matrix(), expected, atol=1e-6)
  up = car_mesh.to_canonical(np.array([[0, 1.0, 0], [0, 0, 0], [0, 0, 2.0]]))
  assert (
    up[0, 1] < up[1, 1] and up[0, 2] < up[1, 2]
  )  # the roof is higher in the picture, and nearer, than the ground
  assert up[2, 1] > up[1, 1] and up[2, 2] < up[1, 2]  # the front is lower, and nearer, than the middle


def test_cars_around_fill_the_circle_and_say_their_azimuth():
  drawn = [cars_around.draw(0, split, index) for split in ("train", "test") for index in range(100)]
  azimuth = np.array([labels["azimuth"] for _, labels in drawn])
  assert np.diff(np.sort(azimuth)).max() < 15 and azimuth.min() < -165 and azimuth.max() > 165
  for scene, labels in drawn[:10]:
    again = cars.turned(scene["view"], float(np.deg2rad(labels["azimuth"])))
    np.testing.assert_allclose(again, scene["view"], atol=1e-5)  # float32 angles, there and back
    low, high = cars.ELEVATIONS
    assert low - 1e-3 <= labels["elevation"] <= high + 1e-3  # float32 angles
    assert set(labels) == {*cars_around.CarsAround.LABELS, *cars_around.CarsAround.FACTORS}


def test_types_differ_as_they_should_and_are_symmetric():
  model = cars.shape_model()
  size = {}
  c, s = np.cos(np.deg2rad(car_mesh.ELEVATION)), np.sin(np.deg2rad(car_mesh.ELEVATION))
  for k, name in enumerate(car_mesh.TYPES):
    points = model.vertices + model.modes[k]
    assert cKDTree(points).query(points * [-1, 1, 1])[0].max() < 1e-6, name
    x, y, z = (points - [0, 0, 1]).T.astype(np.float64)
    upright = (
      np.stack([x, c * y + s * z, c * z - s * y]) / car_mesh.UNIT
    )  # back into the car's frame, y down, z backwards
    size[name] = np.ptp(upright, axis=1) / (car_mesh.LENGTH / car_mesh.DESIGNS[name].length) ** 0.5
  for name, design in car_mesh.DESIGNS.items():
    width, height, length = size[name]
    assert (
      abs(length - design.length) < 0.15
      and abs(height - design.roof[1]) < 0.15
      and design.width <= width < design.width + 0.5
    ), name
  assert size["coupe"][1] < size["sedan"][1] < size["suv"][1] < size["van"][1] and len(size) >= 6


def test_no_car_is_in_two_splits_and_every_split_has_every_type():
  actual = {
    split: [cars.draw(0, split, index)[1] for index in range(250)]
    for split in ("train", "validation", "test", "test_light")
  }
  who = {split: {labels["identity"] for labels in drawn} for split, drawn in actual.items()}
  assert who["test"] == who["test_light"]
  assert len(who["train"] | who["validation"] | who["test"]) == sum(
    len(who[split]) for split in ("train", "validation", "test")
  )
  for drawn in actual.values():
    assert {labels["body"] for labels in drawn} == set(range(len(car_mesh.TYPES)))
    assert {labels["colour"] for labels in drawn} == set(range(len(cars.COLOURS)))


def test_only_the_test_splits_leave_the_training_range_and_by_what_they_say():
  zenith = car_mesh.to_canonical(np.array([0.0, 0, 0])) - car_mesh.to_canonical(np.array([0.0, 1, 0]))
  zenith /= np.linalg.norm(zenith)  # the direction in which light from above travels
  for split in cars.EmbeddedCars.SPLITS:
    drawn = [cars.draw(1, split, index) for index in range(40)]
    light, view = (
      np.array([labels[name] for _, labels in drawn], np.float64)
      for name in ("light_outside", "view_outside")
    )
    assert np.all(light > 0) == light.any() == (split == "test_light") and np.all(view > 0) == view.any() == (
      split == "test_view"
    )
    angle = np.degrees(np.arccos([scene["direction"][0].astype(np.float64) @ zenith for scene, _ in drawn]))
    # How far the car's own side axis is turned out of the picture's plane: yaw, whatever the elevation.
    turned = [
      Rotation.from_euler("xyz", scene["view"][:3].astype(np.float64)).as_matrix()[0, 0] for scene, _ in drawn
    ]
    yaw = np.degrees(np.arccos(turned))
    for values, limit, outside in ((angle, cars.ZENITH_LIMIT, light), (yaw, cars.YAW_LIMIT, view)):
      assert np.all(values[outside == 0] <= limit + 1e-3)
      np.testing.assert_allclose(values[outside > 0], limit + outside[outside > 0], atol=2e-3)


# ------------------------------------------------------------------------------------------ meshes
def wedge(height=1.0):
  """A box on the ground whose front (+z) is low and red and whose rear is high and blue.

  It gives points, faces and colours.
  """
  x, z = np.meshgrid([-1.0, 1.0], [-2.0, 2.0])
  low = np.stack([x, 0 * x, z], -1).reshape(-1, 3)
  high = low + np.array([0, 1, 0]) * np.where(low[:, 2:] > 0, 0.3, height)
  faces = np.array(
    [
      [4, 6, 5],
      [5, 6, 7],
      [2, 3, 6],
      [3, 7, 6],
      [0, 4, 1],
      [1, 4, 5],
      [0, 2, 4],
      [2, 6, 4],
      [1, 5, 3],
      [3, 5, 7],
    ]
  )
  colours = np.where(np.concatenate([low, high])[:, 2:] > 0, [[200, 20, 20]], [[20, 20, 200]]).astype(
    np.uint8
  )
  return np.concatenate([low, high]) * 0.01, faces, colours


@pytest.fixture
def folder(tmp_path):
  import trimesh
  path = tmp_path / "meshes"
  path.mkdir()
  points, faces, colours = wedge()
  np.savez(path / "a.npz", V=points.astype(np.float32), F=faces.astype(np.int32), C=colours)
  np.savez(path / "b.npz", V=wedge(1.5)[0], F=faces[:, ::-1])  # no colours, wound the other way round
  trimesh.Trimesh(points, faces, vertex_colors=colours, process=False).export(path / "c.glb")
  extra = np.concatenate([points, points + [0.001, 0, 0]])
  np.savez(
    path / "d.npz",
    V=extra,
    F=np.concatenate([faces, faces + len(points)]),
    C=np.concatenate([colours, colours]),
  )
  (path / "readme.txt").write_text("not a mesh")
  return path


def test_meshes_of_a_folder_render_as_rays_say(folder):
  models = car_meshes.read_folder(str(folder))
  assert list(models) == ["a.npz", "b.npz", "c.glb", "d.npz"]
  np.testing.assert_allclose(models["c.glb"].vertices[:8], models["a.npz"].vertices[:8], atol=1e-6)
  np.testing.assert_allclose(models["c.glb"].coords[:8], models["a.npz"].coords[:8], atol=1 / 255)
  render, names, rays = car_meshes.renderer(list(models.values()), SIDE), list(models), pixel_rays(SIDE)
  shown = set()
  for split in ("train", "test", "validation"):
    for first in range(0, 2 * builder.BATCH, builder.BATCH):
      scenes = [car_meshes.draw(names, 0, split, index)[0] for index in range(first, first + builder.BATCH)]
      (mesh,) = {scene["mesh"] for scene in scenes}  # rendered together: the same
      shown.add(mesh)
      stacked = builder.stack(scenes)
      actual = decoded(jax.device_get(render(stacked)))
      vertices, _ = camera_vertices(models[names[mesh]], stacked, 1)
      for v, u in np.ndindex(8, 8):
        v, u = 2 + 4 * v, 1 + 4 * u
        z = cast(rays[v, u], vertices, models[names[mesh]].faces)
        assert np.isfinite(z) == (actual["segmentation"][1, v, u] == 1)
        assert not np.isfinite(z) or abs(z - actual["depth"][1, v, u]) < 2e-5
      assert ((actual["normal"] * rays).sum(-1)[actual["mask"] > 0] > 0).mean() > 0.95
      if names[mesh] == "a.npz":  # the red front is nearer and lower in the picture than the blue rear
        rows = np.mgrid[:SIDE, :SIDE][0]
        red, blue = (actual["albedo"][1][..., c] > actual["albedo"][1][..., 2 - c] + 0.4 for c in (0, 2))
        inside = actual["mask"][1] > 0
        assert rows[red & inside].mean() > rows[blue & inside].mean() + 3
        assert actual["depth"][1][red & inside].mean() < actual["depth"][1][blue & inside].mean() - 0.02
  assert shown == {0, 1, 2, 3}


def test_no_mesh_is_in_two_splits(folder):
  for count in (3, 4, 10, 37):
    names = [f"{k}.npz" for k in range(count)]
    parts = [car_meshes.members(names, split) for split in ("train", "validation", "test")]
    assert sorted(parts[0] + parts[1] + parts[2]) == list(range(count)) and all(parts)
    assert car_meshes.members(names, "test_view") == parts[2]


def prepared(tmp_path, path):
  sizes = dict(side=SIDE, train_examples=4, val_examples=2)
  config = data_config("car_meshes", path=path, cache_dir=str(tmp_path / "cache"), **sizes)
  return builder.prepared(car_meshes.CarMeshes, config.data)


def test_a_folder_of_meshes_is_prepared_once_for_its_content(folder, tmp_path):
  world = prepared(tmp_path, str(folder))
  assert [len(world.as_data_source(split)) for split in car_meshes.CarMeshes.SPLITS] == [4, 2, 2, 2, 2]
  example = world.as_data_source("test_view")[1]
  assert example["label"]["identity"] in (0, 1, 2, 3) and example["label"]["view_outside"] > 0
  assert example["segmentation"].max() == 1 and world.CLASSES["identity"] == (
    "a.npz",
    "b.npz",
    "c.glb",
    "d.npz",
  )


@pytest.mark.parametrize(
  ("broken", "said"),
  [
    ("empty", "at least 3 are needed"),
    ("text", "is no mesh"),
    ("keys", "is no mesh"),
    ("index", "make no mesh"),
    ("nan", "make no mesh"),
    ("colours", "colours"),
    ("glb", "is no mesh"),
    ("pickle", "is no mesh"),
    ("file", "is no folder"),
    ("nothing", "is empty"),
  ],
)
def test_a_wrong_folder_of_meshes_is_one_line_that_names_it(folder, tmp_path, broken, said):
  points, faces, _ = wedge()
  write = {
    "empty": lambda: [file.unlink() for file in folder.glob("*.npz")],
    "text": lambda: (folder / "x.npz").write_text("V"),
    "keys": lambda: np.savez(folder / "x.npz", vertices=points),
    "index": lambda: np.savez(folder / "x.npz", V=points[:5], F=faces),
    "nan": lambda: np.savez(folder / "x.npz", V=points * np.nan, F=faces),
    "glb": lambda: (folder / "x.glb").write_bytes(b"glTF" + bytes(9)),
    "colours": lambda: np.savez(folder / "x.npz", V=points, F=faces, C=np.zeros((2, 3), np.uint8)),
    "pickle": lambda: np.savez(folder / "x.npz", V=np.array([{}], object), F=faces),
    "file": lambda: None,
    "nothing": lambda: None,
  }
  write[broken]()
  path = {"file": str(folder / "a.npz"), "nothing": ""}.get(broken, str(folder))
  with pytest.raises(UserError, match=r"data\.path") as caught:
    prepared(tmp_path, path)
  assert said in str(caught.value) and "\n" not in str(caught.value)
