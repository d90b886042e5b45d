"""The world `people`: parts against rays and landmarks, what is worn, and who is in which split.

How far the tests leave the training range is checked too.
"""

import jax
import numpy as np
import pytest
from scene_oracles import camera_vertices, hits, pixel_rays
from scipy.spatial import cKDTree
from support.configs import data_config

from pdr_jax.data import pipeline
from pdr_jax.data.scenes import builder, head_mesh, people, people_mesh
from pdr_jax.data.scenes.people_paint import PARTS

SIDE = 32
INDICES = (0, 4, 1, 7)  # glasses and a hat; a beard; a hat; a hat with a brim and an open mouth


@pytest.fixture(scope="module")
def render(renderer_of):
  return renderer_of(people, people.People)


@pytest.fixture(scope="module")
def scenes():
  return [people.draw(0, "train", index) for index in INDICES]


@pytest.fixture(scope="module")
def maps(scenes, render):
  return jax.device_get(render(builder.stack([scene for scene, _ in scenes])))


def draws(split, count):
  return [people.draw(3, split, index) for index in range(count)]


def test_things_worn_are_where_a_ray_hits_them(scenes, maps):
  """The nearest face's material decides glasses and hat; a ray beside the head meets nothing."""
  model, rays, stacked = people.shape_model(), pixel_rays(SIDE), builder.stack([scene for scene, _ in scenes])
  worn = {
    people_mesh.FRAME: PARTS.index("glasses"),
    people_mesh.LENS: PARTS.index("glasses"),
    people_mesh.HAT: PARTS.index("hat"),
  }
  seen, wrong = set(), 0
  for k in (0, 3):
    vertices, _ = camera_vertices(model, stacked, k)
    for v in range(0, SIDE, 3):
      for u in range(1, SIDE, 3):
        z = hits(rays[v, u], vertices, model.faces)
        part = maps["segmentation"][k, v, u]
        expected = worn.get(model.material[z.argmin()]) if np.isfinite(z.min()) else PARTS.index("background")
        wrong += part != expected if expected is not None else part in (0, *worn.values())
        seen.add(part)
  assert wrong <= 1  # a ray that grazes an edge may fall on either side of it in float32
  assert {0, PARTS.index("hat"), PARTS.index("glasses"), PARTS.index("skin")} <= seen


LANDMARKS = {  # sculpting coordinates of places that belong to one part beyond doubt
  "eyes": [(0.285, 0.01, 0.7), (-0.285, 0.01, 0.7)],
  "nose": [(0, -0.36, 1.0), (0, -0.15, 0.9)],
  "skin": [(0.3, -0.3, 0.7), (-0.3, -0.45, 0.7), (0, -0.9, 0.8), (0, 0.4, 0.87)],
  "ears": [(0.73, -0.13, -0.02), (-0.73, -0.13, -0.02)],
  "hair": [(0, 0.85, 0.6), (0.45, 0.75, 0.4)],
  "lower_lip": [(0, -0.65, 0.85)],
  "neck": [(0.27, -0.98, 0.1), (-0.27, -0.98, 0.1)],
}


def test_parts_of_the_face_are_where_their_landmarks_are(render):
  """Bare heads from the front.

  The pixel onto which a place of the sculpture projects has that place's part.
  """
  model = people.shape_model()
  bare = [
    scene
    for scene, labels in draws("test", 80)
    if not any(labels[name] for name in ("glasses", "hat", "long_hair", "fringe", "bald", "mouth_open"))
  ][: builder.BATCH]
  stacked = builder.stack(bare)
  stacked["view"] = 0 * stacked["view"]
  stacked["look"] |= {"lid": 0 * stacked["look"]["lid"] + 1.3, "recede": 0 * stacked["look"]["recede"]}
  maps = jax.device_get(render(stacked))
  segmentation, depth = maps["segmentation"], maps["depth"] * (0.4 / 65534) + 0.8
  focal = (SIDE - 1) / 2 / np.tan(np.deg2rad(5))
  right = {name: [] for name in LANDMARKS}
  for k in range(builder.BATCH):
    vertices, _ = camera_vertices(model, stacked, k)
    for name, places in LANDMARKS.items():
      for place in places:
        x, y, z = vertices[np.argmin(((model.coords - place) ** 2).sum(-1))]
        u, v = (round(focal * a / z + (SIDE - 1) / 2) for a in (x, y))
        if abs(depth[k, v, u] - z) < 0.004:  # nothing is before it
          right[name].append(segmentation[k, v, u] == PARTS.index(name))
  share = {name: np.mean(actual) for name, actual in right.items()}
  assert (
    min(map(len, right.values())) >= 4
    and min(share[name] for name in ("skin", "nose", "eyes", "hair")) == 1.0
  ), share
  assert min(share.values()) >= 0.6, share  # lips are hardly a pixel thick and may sit higher or lower
  downwards = ("hair", "brows", "eyes", "nose", "upper_lip", "lower_lip")
  rows = [np.argwhere(segmentation == PARTS.index(name))[:, 1].mean() for name in downwards]
  assert (
    np.all(np.diff(rows) > 0.5)
    and abs(np.argwhere(segmentation == PARTS.index("brows"))[:, 2].mean() - 15.5) < 1
  )


def test_segmentation_shows_what_the_labels_say(scenes, maps):
  shown = np.stack(
    [np.any(maps["segmentation"] == PARTS.index(name), axis=(1, 2)) for name in ("glasses", "hat")]
  )
  labels = np.array([[label[name] for _, label in scenes] for name in ("glasses", "hat")])
  assert np.array_equal(shown, labels == 1) and 0 < labels.mean() < 1
  assert np.array_equal(maps["segmentation"] > 0, maps["depth"] < 65535)


def test_what_is_not_worn_is_inside_the_head():
  """Its vertices, as the modes leave them, lie well within the sculpture, whoever's head it is."""
  model = people.shape_model()
  things = np.isin(np.arange(len(model.vertices)), model.faces[model.material != people_mesh.HEAD])
  bare = [
    scene["weights"] for scene, labels in draws("train", 120) if not labels["glasses"] and not labels["hat"]
  ]
  assert len(bare) > 20
  for weights in bare:
    points = model.vertices[things] + np.tensordot(weights, model.modes[:, things], 1)
    sculpting = (points - [0, 0, 1]) / np.array([1, -1, -1]) / people_mesh.UNIT + people_mesh.PIVOT
    assert head_mesh.head_distance(sculpting).max() < -0.15


def test_shape_is_symmetric_and_faces_point_inwards():
  model = people.shape_model()
  for weights in (0 * model.modes[:, 0, 0], np.array([name in ("glasses", "hat") for name in model.names])):
    points = model.vertices + np.tensordot(weights.astype(np.float64), model.modes, 1)
    assert cKDTree(points).query(points * [-1, 1, 1])[0].max() < 1e-6
  crown = model.faces[
    (model.material == people_mesh.HAT) & (model.coords[model.faces][..., 1].min(axis=1) > 0.65)
  ]
  a, b, c = np.moveaxis(points[crown], 1, 0)
  assert len(crown) > 100 and np.all(
    (np.cross(b - a, c - a) * ((a + b + c) / 3 - [0, 0, 1.0])).sum(-1) < 1e-12
  )


def test_nobody_is_in_two_of_the_splits_and_everybody_is_seen_often():
  who = {
    split: {people.draw(0, split, index)[1]["identity"] for index in range(130)}
    for split in ("train", "validation", "test")
  }
  assert [len(group) for group in who.values()] == [120, 30, 60] and len(set.union(*who.values())) == 210
  for split in ("test_light", "test_view"):
    assert {people.draw(0, split, index)[1]["identity"] for index in range(60)} == who["test"]


def test_a_person_stays_the_same_and_the_rest_changes():
  (one, first), (again, second), (other, _) = (people.draw(0, "train", index) for index in (5, 125, 6))
  identity = [people.shape_model().names.index(name) for name in head_mesh.IDENTITY]
  assert first["identity"] == second["identity"] == 5
  assert np.array_equal(one["weights"][identity], again["weights"][identity])
  assert not np.array_equal(one["weights"][identity], other["weights"][identity])
  for name in ("skin", "hair", "iris", "moles", "beard"):
    assert np.array_equal(one["look"][name], again["look"][name]), name
  for name in ("view", "direction", "background"):
    assert not np.array_equal(one[name], again[name]), name


def test_only_the_test_splits_leave_the_training_range_and_by_what_they_say():
  for split in people.People.SPLITS:
    actual = draws(split, 60)
    light, view = (
      np.array([labels[name] for _, labels in actual]) for name in ("light_outside", "view_outside")
    )
    assert np.all(light > 0) == (split == "test_light") and np.all(view > 0) == (split == "test_view")
    if split != "test_light":
      assert not light.any()
    if split != "test_view":
      assert not view.any()
    key = np.stack([scene["direction"][0] for scene, _ in actual]).astype(np.float64)
    np.testing.assert_allclose(np.linalg.norm(key, axis=-1), 1, atol=1e-6)
    angle = np.degrees(np.arccos(key @ people.LIGHT_AXIS))
    yaw = np.degrees(np.abs([scene["view"][1] for scene, _ in actual]))
    for values, limit, outside in ((angle, people.LIGHT_LIMIT, light), (yaw, people.YAW_LIMIT, view)):
      assert np.all(values[outside == 0] <= limit + 1e-3)
      np.testing.assert_allclose(values[outside > 0], limit + outside[outside > 0], atol=1e-3)
    for outside, most in ((light, 45), (view, 30)):
      assert not outside.any() or (
        outside.max() <= most and outside.max() > 0.8 * most and outside.min() < 0.2 * most
      )


def test_every_emotion_and_attribute_occurs():
  labels = [label for _, label in draws("train", 240)]
  assert set(np.unique([label["expression"] for label in labels])) == set(range(7))
  for name in people.ATTRIBUTES:
    assert 0.03 < np.mean([label[name] for label in labels]) < 0.9, name
  assert len(people.ATTRIBUTES) >= 10
  happy = [label["smiling"] for label in labels if people.EXPRESSIONS[label["expression"]] == "happy"]
  assert np.mean(happy) == 1 and not any(label["glasses"] < label["sunglasses"] for label in labels)


def test_evaluation_reads_parts_and_degrees_of_every_split(tmp_path, render):
  config = data_config("people", cache_dir=str(tmp_path), side=SIDE, train_examples=4, val_examples=4)
  info = pipeline.describe(config)
  assert (
    info.tests == (("test", 4), ("test_light", 4), ("test_view", 4)) and info.classes["segmentation"] == PARTS
  )
  assert info.classes["label/expression"][6] == "neutral"
  for split in people.People.SPLITS:
    (batch,) = pipeline.validation_batches(config, split=split)
    drawn = [people.draw(0, split, index) for index in range(4)]
    stored = jax.device_get(render(builder.stack([scene for scene, _ in drawn])))
    assert batch["segmentation"].dtype == np.uint8 and np.array_equal(
      batch["segmentation"], stored["segmentation"]
    )
    assert np.array_equal(batch["mask"] > 0, batch["segmentation"] > 0)
    for name in ("light_outside", "view_outside"):
      assert batch[f"label/{name}"].dtype == np.float32
      assert np.array_equal(batch[f"label/{name}"], [labels[name] for _, labels in drawn])
    assert np.array_equal(batch["label/expression"], [labels["expression"] for _, labels in drawn])
  pipeline._open.cache_clear()
