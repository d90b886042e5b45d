"""Clips of embedded worlds: one scene from an azimuth that turns.

It turns within the training range or a known way beyond it.
"""

import functools

import jax
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from support.configs import data_config
from support.tolerances import rounding

from pdr_jax.data import pipeline, registry
from pdr_jax.data.scenes import builder, car_mesh, cars, clips, heads, people, render_scene

SIDE, FRAMES = 32, 4  # as many frames as are rendered together
WORLDS = {
  "heads": (heads, heads.Heads),
  "people": (people, people.People),
  "embedded_cars": (cars, cars.EmbeddedCars),
}


def clips_of(name, split, count, frames=FRAMES):
  """[(scenes of the frames, their labels)] of the first clips of a split."""
  module, world = WORLDS[name]
  draw = clips.drawing(
    functools.partial(module.draw, 3), world.turned, seed=3, frames=frames, limit=world.YAW_LIMIT
  )

  def frames_of(clip):
    return [draw(split, clip * frames + t) for t in range(frames)]

  return [tuple(zip(*frames_of(clip), strict=True)) for clip in range(count)]


def azimuth(name, view):
  """Radians: how far an object is turned about its own vertical axis."""
  if name != "embedded_cars":
    return view[1]
  matrix = Rotation.from_euler("xyz", view[:3].astype(np.float64)).as_matrix()
  return np.arctan2(matrix[0] @ up_and_front()[1], matrix[0, 0])


def up_and_front():
  """The vertical axis of a car and its front, which turns to the side, in the canonical frame."""
  tilt = np.deg2rad(car_mesh.ELEVATION)
  return np.array([0, np.cos(tilt), np.sin(tilt)]), np.array([0, -np.sin(tilt), np.cos(tilt)])


@pytest.mark.slow
@pytest.mark.parametrize("name", WORLDS)
def test_the_azimuth_turns_evenly_and_nothing_else_changes(name):
  limit, sweeps, sides = WORLDS[name][1].YAW_LIMIT, [], set()
  for scenes, labels in clips_of(name, "train", 30):
    for key in ("weights", "ambient", "diffuse", "direction", "background"):
      assert all(np.array_equal(scene[key], scenes[0][key]) for scene in scenes), key
    assert all(label == labels[0] for label in labels)
    angles = np.degrees([azimuth(name, scene["view"]) for scene in scenes])
    steps = np.diff(angles)
    # Angles of float32 views, of at most 60 degrees: a few 1e-6 degrees; cars pass through matrices and back.
    np.testing.assert_allclose(steps, steps[0], atol=2e-4)
    assert np.all(np.abs(angles) <= limit + 1e-4)
    sweeps.append(abs(angles[-1] - angles[0]))
    sides.add(steps[0] > 0)
  assert min(sweeps) >= limit - 1e-3 and max(sweeps) <= 2 * limit + 1e-3 and np.ptp(sweeps) > limit / 2
  assert sides == {True, False}


def test_a_car_turns_about_its_own_axis_seen_from_one_height():
  up, _ = up_and_front()
  for scenes, _ in clips_of("embedded_cars", "train", 5):
    matrices = [
      Rotation.from_euler("xyz", scene["view"][:3].astype(np.float64)).as_matrix() for scene in scenes
    ]
    for matrix in matrices[1:]:
      np.testing.assert_allclose(matrix @ up, matrices[0] @ up, atol=1e-6)  # float32 angles, twice
      turn = Rotation.from_matrix(matrices[0].T @ matrix).as_rotvec()
      np.testing.assert_allclose(np.abs(turn / np.linalg.norm(turn) @ up), 1, atol=1e-6)
    assert all(np.array_equal(scene["view"][3:], scenes[0]["view"][3:]) for scene in scenes)


@pytest.mark.parametrize("name", ["people", "embedded_cars"])
def test_only_test_clips_leave_the_range_and_each_frame_says_how_far(name):
  limit = WORLDS[name][1].YAW_LIMIT
  for scenes, labels in clips_of(name, "test_view", 20):
    angles = np.degrees([abs(azimuth(name, scene["view"])) for scene in scenes])
    outside = [label["view_outside"] for label in labels]
    np.testing.assert_allclose(outside, np.maximum(angles - limit, 0), atol=2e-4)
    assert outside[0] > 0 and outside[0] == max(outside)
  for _, labels in clips_of(name, "test", 5) + clips_of(name, "test_light", 5):
    assert all(label["view_outside"] == 0 for label in labels)


def test_one_frame_is_a_clip_too():
  ((scenes, labels),) = clips_of("people", "test_view", 1, frames=1)
  yaw = np.degrees(abs(scenes[0]["view"][1]))
  np.testing.assert_allclose(labels[0]["view_outside"], yaw - people.YAW_LIMIT, rtol=0, atol=rounding(2, 90))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["heads", "people"])
def test_landmarks_of_each_frames_view_lie_on_the_surface_of_that_frame(name, renderer_of):
  """The views are those of the pictures: with the view of another frame the landmarks are elsewhere."""
  ((scenes, _),) = clips_of(name, "train", 1)
  stacked = builder.stack(list(scenes))
  maps = jax.device_get(renderer_of(*WORLDS[name])(stacked))
  depth = (
    render_scene.NEAR + maps["depth"] * (render_scene.FAR - render_scene.NEAR) / render_scene.DEPTH_STEPS
  )

  def share_seen(view):
    places = registry.find(name).landmarks(stacked["weights"], view, SIDE)
    u, v, z = np.moveaxis(np.asarray(places), -1, 0)
    row, column = (np.clip(np.rint(a).astype(int), 0, SIDE - 1) for a in (v, u))
    return np.mean(
      np.abs(depth[np.arange(FRAMES)[:, None], row, column] - z) < 0.006
    )  # a pixel is 0.0056 wide

  assert share_seen(stacked["view"]) > share_seen(stacked["view"][::-1]) + 0.2


def test_clips_through_the_pipeline(tmp_path, renderer_of):
  config = data_config(
    "people", cache_dir=str(tmp_path), train_examples=3, val_examples=2, frames=FRAMES, batch=2
  )
  spec = pipeline.published(config)
  keys = ("clip", "depth", "view", "light", "label/identity", "label/view_outside")
  shapes = {key: spec[key].shape for key in keys}
  assert shapes == {
    "clip": (4, 32, 32, 3),
    "depth": (4, 32, 32),
    "view": (4, 6),
    "light": (9,),
    "label/identity": (),
    "label/view_outside": (4,),
  }
  info = pipeline.describe(config)
  assert (info.train_size, info.validation_size, dict(info.tests)["test_view"]) == (3, 2, 2)
  draw = clips.drawing(
    functools.partial(people.draw, 0), people.People.turned, seed=0, frames=FRAMES, limit=people.YAW_LIMIT
  )
  render = renderer_of(people, people.People)
  for split in ("validation", "test_view"):
    (batch,) = pipeline.validation_batches(config, split=split)
    assert batch.keys() == spec.keys() | {"_mask"}
    for clip in range(2):
      scenes, labels = zip(*(draw(split, clip * FRAMES + t) for t in range(FRAMES)), strict=True)
      stored = jax.device_get(render(builder.stack(list(scenes))))
      # Two programs, of other batch sizes: a pixel or two that rounding moves across an outline, and steps of
      # 255 that it moves to the next one.
      assert np.count_nonzero(batch["segmentation"][clip] != stored["segmentation"]) <= 2
      change = np.abs((batch["clip"][clip] + 1) * 127.5 - np.moveaxis(stored["image"], 1, -1))
      assert np.count_nonzero(change > rounding(4, 255)) <= 10 and np.quantile(change, 0.999) <= 1.01
      np.testing.assert_array_equal(batch["view"][clip], np.stack([scene["view"] for scene in scenes]))
      assert batch["label/identity"][clip] == labels[0]["identity"]
      np.testing.assert_array_equal(
        batch["label/view_outside"][clip], [label["view_outside"] for label in labels]
      )
  iterator = pipeline.train_iterator(config, {key: spec[key] for key in ("clip", "label/identity")})
  assert next(iterator)["clip"].shape == (2, FRAMES, SIDE, SIDE, 3)
  pipeline._open.cache_clear()
