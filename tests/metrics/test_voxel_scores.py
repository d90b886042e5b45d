"""Scores of volumes: alignment finds what was turned and mirrored, hulls, spheres, and circular spread."""

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax.metrics import similarity, voxels
from pdr_jax.render import volume

S = 16


def shape():
  """An asymmetric solid."""
  solid = np.zeros((S, S, S), np.float32)
  solid[5:11, 3:13, 6:9] = 1
  solid[3:6, 8:12, 6:12] = 1
  return solid


def test_alignment_undoes_turns_and_mirrors():
  solid = jnp.asarray(shape())[None]
  quarter = volume.rotate_about_axis(solid[..., None], jnp.full((1,), np.pi / 2))[..., 0]
  mirrored = quarter[..., ::-1]
  predicted, truth = jnp.concatenate([solid, quarter, mirrored]), jnp.repeat(solid, 3, axis=0)
  scores = jax.jit(voxels.aligned_iou, static_argnames="angles")(
    predicted, truth, jnp.array([0.5, 0.9]), angles=4
  )
  assert scores.shape == (3, 8, 2)
  best = np.asarray(scores[..., 0].argmax(axis=1))
  np.testing.assert_allclose(scores[..., 0].max(axis=1), 1.0, atol=1e-6)
  assert best[0] == 0 and best[1] == 3 and best[2] >= 4
  aligned = voxels.align(predicted, jnp.asarray(best), angles=4)
  np.testing.assert_allclose(aligned, truth, atol=1e-4)  # a quarter's cosine and sine, times 8 voxels


def test_aligned_iou_at_many_thresholds_is_that_of_a_loop():
  rng = np.random.default_rng(0)
  density, truth = rng.random((2, S, S, S), np.float32), rng.random((2, S, S, S)) > 0.7
  levels = (0.2, 0.5, 0.8, 1.5)  # nothing lies above the last
  scores = np.asarray(voxels.aligned_iou(density, truth, jnp.array(levels), angles=2))
  for n in range(2):
    for column, shape in ((0, density[n]), (2, density[n, ..., ::-1])):
      for t, level in enumerate(levels):
        occupied = shape > level
        expected = (occupied & truth[n]).sum() / (occupied | truth[n]).sum()
        np.testing.assert_allclose(scores[n, column, t], expected, rtol=1e-6)


def test_iou_by_hand():
  a, b = np.zeros((2, 2, 2, 2)), np.zeros((2, 2, 2, 2))
  a[0, 0], b[0, :, 0] = 1, 1  # 4 voxels each, 2 shared
  np.testing.assert_allclose(voxels.iou(jnp.asarray(a > 0), jnp.asarray(b > 0)), [2 / 6, 1.0], atol=1e-7)


def test_silhouettes_and_hull():
  """The hull holds the shape, and is the shape where it is a box that is seen along its sides."""
  box = np.zeros((1, S, S, S), np.float32)
  box[0, 4:10, 3:9, 5:12] = 1
  around = jnp.array([[0.0, np.pi / 2, np.pi, -np.pi / 2]])
  seen = -jnp.expm1(-volume.ray_sums(20.0 * jnp.asarray(box), around))
  np.testing.assert_array_equal(voxels.visual_hull(seen, around), box)
  some = shape()[None]
  around = jnp.arange(6, dtype=jnp.float32)[None] * (np.pi / 3)
  seen = -jnp.expm1(-volume.ray_sums(20.0 * jnp.asarray(some), around))
  hull = np.asarray(voxels.visual_hull(seen, around))
  assert hull[some > 0].mean() > 0.97 and hull.sum() < 3 * some.sum()
  ious = voxels.silhouette_iou(20.0 * jnp.asarray(some), 20.0 * jnp.asarray(some), around)
  np.testing.assert_array_equal(ious, np.ones((1, 6)))


def test_own_views_are_alike_where_a_shape_is_round():
  """A plate 10 wide and 2 thick: from its side a fifth of the picture is left; a column hides its turns."""
  plate, column = np.zeros((2, S, S, S), np.float32)
  plate[S // 2 - 1 : S // 2 + 1, 4:10, S // 2 - 5 : S // 2 + 5] = 1
  column[:, 4:10] = volume.cylinder_mask(S, 6, S)
  around = jnp.broadcast_to(jnp.array([[0.0, np.pi / 2, np.pi]]), (2, 3))
  alike = voxels.views_alike(20.0 * jnp.stack([plate, column]), around)
  np.testing.assert_allclose(alike, [(0.2 + 1.0 + 0.2) / 3, 1.0], rtol=1e-6)


def test_ray_sums_are_those_of_turned_volumes():
  rng = np.random.default_rng(0)
  value = jnp.asarray(rng.uniform(size=(2, 6, 4, 5)), jnp.float32)
  angle = jnp.asarray(rng.uniform(-4, 4, (2, 3)), jnp.float32)
  weight = jnp.asarray(rng.normal(size=(2, 3, 4, 5)), jnp.float32)

  def turned(v, a):
    each = [volume.rotate_about_axis(v[..., None], a[:, k])[..., 0].sum(axis=1) for k in range(3)]
    return jnp.stack(each, axis=1)

  for form in (turned, volume.ray_sums):
    gradients = jax.jit(jax.grad(lambda v, a, form=form: (form(v, a) * weight).sum(), argnums=(0, 1)))
    seen = [jax.jit(form)(value, angle), *gradients(value, angle)]
    if form is turned:
      expected = seen
  for ours, theirs, size in zip(seen, expected, (6, 6, 40), strict=True):
    # sums of 6 voxels (of 120 for the angle) whose weights are rounded at 3 voxels' eps
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-6 * size)
  quarter = volume.ray_sums(value[:, :5], jnp.full((2, 1), np.pi / 2))[:, 0]
  np.testing.assert_allclose(quarter, value[:, :5].sum(axis=3).swapaxes(1, 2), atol=1e-5)


def test_spread_of_angles():
  even = np.arange(1000) / 1000 * 2 * np.pi
  assert voxels.distance_to_uniform(even) < 0.002
  assert voxels.distance_to_uniform(even + 1.234) < 0.003
  assert voxels.distance_to_uniform(np.full(100, 2.0)) > 0.49
  half = np.linspace(0, np.pi, 1000)
  np.testing.assert_allclose(voxels.distance_to_uniform(half), 0.25, atol=0.01)
  true = np.random.default_rng(0).uniform(0, 6, 500)
  np.testing.assert_allclose(voxels.agreement(1.0 - true, true), 1.0, atol=1e-12)
  assert voxels.agreement(true[::-1], true) < 0.15


def test_ssim_against_windows_by_hand():
  rng = np.random.default_rng(0)
  a, b = rng.uniform(size=(2, 1, 13, 12, 1)).astype(np.float32)
  place = np.arange(11) - 5
  w = np.exp(-(place**2) / 4.5)
  w = np.outer(w, w) / w.sum() ** 2
  values = []
  for i in range(3):
    for j in range(2):
      x, y = (p[0, i : i + 11, j : j + 11, 0].astype(float) for p in (a, b))
      mx, my = (w * x).sum(), (w * y).sum()
      vx, vy, c = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
      values.append((2 * mx * my + 1e-4) * (2 * c + 9e-4) / ((mx**2 + my**2 + 1e-4) * (vx + vy + 9e-4)))
  # variances are differences of numbers of about 0.3, over denominators of 0.1
  np.testing.assert_allclose(similarity.ssim(jnp.asarray(a), jnp.asarray(b)), [np.mean(values)], atol=3e-5)
  np.testing.assert_allclose(similarity.ssim(jnp.asarray(a), jnp.asarray(a)), [1.0], atol=1e-6)
