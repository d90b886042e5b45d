"""Landmarks against rendered depth: the surface seen at a landmark's pixel is as deep as the landmark,
whatever the shape and viewpoint.
"""

import jax
import numpy as np
import pytest

from pdr_jax.data import registry, sources
from pdr_jax.data.scenes import builder, heads, landmarks, people, render_scene

SIDE, COUNT = 32, 8
WORLDS = {"heads": (heads, heads.Heads), "people": (people, people.People)}
NAMES = list(landmarks.PLACES)


@pytest.mark.parametrize("world", WORLDS)
def test_landmarks_lie_on_the_surface_that_is_seen(world, renderer_of):
  module, _ = WORLDS[world]
  draws = [module.draw(3, "train", index)[0] for index in range(COUNT)]
  scenes = builder.stack(draws)
  render = renderer_of(*WORLDS[world])
  starts = range(0, COUNT, builder.BATCH)
  parts = [
    jax.device_get(render(builder.stack(draws[start : start + builder.BATCH]))["depth"]) for start in starts
  ]
  depth = (
    render_scene.NEAR
    + np.concatenate(parts) * (render_scene.FAR - render_scene.NEAR) / render_scene.DEPTH_STEPS
  )

  def seen(view):
    u, v, z = np.moveaxis(np.asarray(registry.find(world).landmarks(scenes["weights"], view, SIDE)), -1, 0)
    row, column = (np.clip(np.rint(a).astype(int), 0, SIDE - 1) for a in (v, u))
    return np.abs(depth[np.arange(COUNT)[:, None], row, column] - z) < 0.006  # a pixel is 0.0056 wide

  assert seen(scenes["view"]).mean() > 0.8  # glasses, hair and noses hide some
  assert seen(-scenes["view"]).mean() < 0.6


@pytest.mark.parametrize("world", WORLDS)
def test_places_of_the_face(world):
  model = WORLDS[world][0].shape_model()
  weights, view = np.zeros((1, len(model.names)), np.float32), np.zeros((1, 6), np.float32)
  u, v, z = np.asarray(landmarks.locate(model, weights, view, SIDE))[0].T
  at = NAMES.index
  assert NAMES[z.argmin()] == "nose_tip" and len(set(zip(u, v, strict=True))) == len(NAMES)
  down = [
    v[at(name)]
    for name in (
      "forehead",
      "brow_left",
      "eye_left",
      "cheek_left",
      "nostril_left",
      "upper_lip",
      "lower_lip",
      "chin",
    )
  ]
  assert (np.diff(down) > 0).all(), down
  for name in NAMES:
    if name.endswith("_left"):
      other = at(name.replace("_left", "_right"))
      np.testing.assert_allclose([u[at(name)] + u[other], v[at(name)] - v[other]], [SIDE - 1, 0], atol=0.05)
      assert u[at(name)] < u[other]


def test_canonical_landmarks_are_those_of_the_zero_view_and_are_kept_in_a_file(tmp_path):
  model, path = heads.shape_model(), str(tmp_path / "landmarks.npz")
  weights = np.random.default_rng(0).uniform(-1, 1, (3, len(model.names))).astype(np.float32)
  expected = landmarks.locate(model, weights, np.zeros((3, 6), np.float32), SIDE)
  expected = np.asarray(expected)[:, [NAMES.index(name) for name in landmarks.CANONICAL]]
  made = landmarks.canonical(landmarks.stored_basis(path, lambda: model), weights, SIDE)
  np.testing.assert_allclose(made, expected, atol=1e-3)  # pixels up to 32 in float32, a focal length of 177
  assert made.dtype == np.float32 and (made[:, 0, 2] < made[:, 3:5, 2].min(axis=1)).all()

  def forbidden():
    raise AssertionError("nothing needs to be sculpted")

  again = landmarks.canonical(landmarks.stored_basis(path, forbidden), weights, SIDE)
  np.testing.assert_array_equal(again, made)
  (tmp_path / "landmarks.npz").write_bytes(b"damaged")
  mended = landmarks.stored_basis(path, lambda: model)
  np.testing.assert_array_equal(mended.modes, landmarks.basis(model).modes)


def test_only_the_sculpted_heads_have_landmarks():
  assert {name for name in sources.names() if registry.find(name).landmarks} == {*WORLDS, "heads_overcast"}
