"""Rotation and projection of volumes against SciPy, PyTorch, float64 loops and finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import convolve1d, map_coordinates
from scipy.spatial.transform import Rotation
from support.references import needs_torch, torch

from pdr_jax.errors import UserError
from pdr_jax.render import camera, volume

SHAPE = (2, 5, 6, 7, 3)
# Positions up to 8 voxels, rounded a few times: 2e-6 voxels; times slopes of up to 5 along three axes.
VALUE = 3e-5

rotate = jax.jit(volume.rotate, static_argnames="nearest")
about = jax.jit(volume.rotate_about_axis, static_argnames="axis")


def random(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape)


def matrices(count, seed=0):
  return Rotation.random(count, random_state=seed).as_matrix()


def f32(*arrays):
  return [jnp.asarray(a, jnp.float32) for a in arrays]


def rotated(value, rotation):
  """The result at p is one volume [D, H, W, C] at R^T p, zero outside; float64."""
  size = value.shape[:3]
  centre = (np.array(size) - 1) / 2
  p = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1) - centre
  source = (p[..., ::-1] @ rotation)[..., ::-1] + centre  # row vectors: p^T R = (R^T p)^T
  at = np.moveaxis(source, -1, 0)
  planes = [map_coordinates(value[..., c], at, order=1, mode="grid-constant") for c in range(value.shape[3])]
  return np.stack(planes, -1)


@pytest.mark.parametrize("rows", [(1.0, 1.0, 1.0), (0.7, 0.8, 1.2)])
def test_rotation_against_scipy(rows):
  value, rotation = random(SHAPE), np.array(rows)[:, None] * matrices(2)
  expected = np.stack([rotated(v, r) for v, r in zip(value, rotation, strict=True)])
  np.testing.assert_allclose(rotate(*f32(value, rotation)), expected, atol=VALUE)


def torch_rotate(value, matrix, mode):
  """SSV's operator: normalised output coordinates (x, y, z) times R' give the sampling position."""
  size = value.shape[:1] + value.shape[4:] + value.shape[1:4]
  affine = torch.cat([matrix, torch.zeros(len(matrix), 3, 1)], -1)
  grid = torch.nn.functional.affine_grid(affine, size, align_corners=True)
  sampled = torch.nn.functional.grid_sample(
      value.permute(0, 4, 1, 2, 3), grid, mode=mode, padding_mode="zeros", align_corners=True)
  return sampled.permute(0, 2, 3, 4, 1)


@needs_torch
@pytest.mark.parametrize("nearest", [False, True])
def test_values_and_gradients_against_pytorch_with_the_transposed_matrix(nearest):
  value, cotangent, rotation = *(random((2, 6, 6, 6, 2), s) for s in (0, 1)), matrices(2, 3)
  value, cotangent, rotation = f32(value, cotangent, rotation)
  ours, pullback = jax.vjp(lambda v, r: rotate(v, r, nearest=nearest), value, rotation)
  by_volume, by_rotation = pullback(cotangent)
  t_value = torch.tensor(np.array(value), requires_grad=True)
  t_matrix = torch.tensor(np.array(jnp.swapaxes(rotation, 1, 2)), requires_grad=True)
  theirs = torch_rotate(t_value, t_matrix, "nearest" if nearest else "bilinear")
  theirs.backward(torch.tensor(np.array(cotangent)))
  np.testing.assert_allclose(ours, theirs.detach(), atol=VALUE)
  np.testing.assert_allclose(by_volume, t_value.grad, atol=VALUE)
  if nearest:
    np.testing.assert_array_equal(by_rotation, 0.0)
  else:  # sums of 216 samples x 2 channels, each up to 2.5 x 10 and rounded at 1e-6 of its size
    np.testing.assert_allclose(by_rotation, jnp.swapaxes(t_matrix.grad.numpy(), 1, 2), atol=1e-3)


def test_directions():
  """A voxel in front, above, at the right, turned by positive yaw, pitch, roll (CONVENTIONS.md)."""
  value = np.zeros((3, 5, 5, 5, 1))
  value[0, 0, 2, 2] = value[1, 2, 0, 2] = value[2, 2, 2, 4] = 1.0
  quarter = np.pi / 2 * np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]])  # (rx, ry, rz) of a view
  turned = np.asarray(rotate(*f32(value), camera.rotation_matrix(*f32(quarter))))[..., 0]
  assert turned[0, 2, 2, 0] == pytest.approx(1, abs=1e-5)  # ry: the near side moves to the left
  assert turned[1, 0, 2, 2] == pytest.approx(1, abs=1e-5)  # rx: the upper side moves to the front
  assert turned[2, 2, 4, 2] == pytest.approx(1, abs=1e-5)  # rz: the right side moves down


@pytest.mark.parametrize("side", [5, 6])
@pytest.mark.parametrize("axis, plane", [("x", (1, 0)), ("y", (0, 2)), ("z", (2, 1))])
def test_quarter_turns_move_voxels_onto_voxels(side, axis, plane):
  value = random((side, side, side, 2))
  turns = np.array([0, 1, 2, 3, -1])
  stacked = np.repeat(value[None], len(turns), 0)
  expected = np.stack([np.rot90(value, k, plane) for k in turns])
  angles = np.float32(np.pi / 2 * turns)
  found = about(*f32(stacked, angles), axis)
  matrix = camera.rotation_matrix(angles[:, None] * np.eye(3, dtype=np.float32)["xyz".index(axis)][None])
  for result in (found, rotate(*f32(stacked), matrix)):
    np.testing.assert_allclose(result, expected, atol=VALUE)
    np.testing.assert_array_equal(result[0], np.float32(value))  # not turned: the volume itself
  np.testing.assert_array_equal(rotate(*f32(stacked), matrix, nearest=True), np.float32(expected))


ANGLES = np.array([0.3, -1.2, np.pi / 4, 2.5])


@pytest.mark.parametrize("axis", "xyz")
def test_about_an_axis_as_by_its_matrix(axis):
  """Values, and the gradients by volume and angle, of a volume with three different sides."""
  value, cotangent = f32(*(random((len(ANGLES), *SHAPE[1:]), s) for s in (0, 1)))
  unit = np.eye(3, dtype=np.float32)["xyz".index(axis)]

  def by_matrix(value, angle):
    return volume.rotate(value, camera.rotation_matrix(angle[:, None] * unit[None]))

  results = []
  for function in (lambda v, a: volume.rotate_about_axis(v, a, axis), by_matrix):
    def everything(value, angle, cotangent, function=function):
      result, pullback = jax.vjp(function, value, angle)
      return result, *pullback(cotangent)
    results.append(jax.jit(everything)(value, *f32(ANGLES), cotangent))
  for ours, theirs, atol in zip(*results, (VALUE, VALUE, 1e-3), strict=True):
    np.testing.assert_allclose(ours, theirs, atol=atol)
  turns = [Rotation.from_rotvec(a * unit).as_matrix() for a in ANGLES]
  expected = np.stack([rotated(v, r) for v, r in zip(np.float64(value), turns, strict=True)])
  np.testing.assert_allclose(results[0][0], expected, atol=VALUE)


@pytest.mark.parametrize("angle", [0.0, 0.2, np.pi / 4, 1.0, np.pi / 2, 3 * np.pi / 4, 2.3, np.pi, -0.7])
def test_the_gradient_by_the_volume_is_the_transposed_map(angle):
  """The whole matrix of the map and of its gradient, with all 9 candidates at the worst angle, 45 degrees."""
  basis = jnp.eye(30).reshape(30, 5, 1, 6, 1)
  angles = jnp.full(30, angle, jnp.float32)
  forward, pullback = jax.vjp(lambda v: about(v, angles), basis)
  np.testing.assert_allclose(pullback(basis)[0].reshape(30, 30), forward.reshape(30, 30).T, atol=2e-6)


def smooth_volume(shape):
  at = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape[:3]], indexing="ij")
  return np.stack([np.exp(-3 * sum((a - k / 5) ** 2 for a, k in zip(at, (c, 1, -2), strict=True)))
                   for c in range(shape[3])], -1)


def test_gradient_by_angle_and_rotation_against_differences():
  """Differences in float64 of SciPy's samples, at angles where no sample crosses a voxel's centre."""
  value, cotangent, angle, step = smooth_volume((6, 5, 6, 2)), random((6, 5, 6, 2)), 0.37, 1e-6

  def total(matrix):
    return np.sum(rotated(value, matrix) * cotangent)

  def weighted(result):
    return jnp.sum(result[0] * jnp.asarray(cotangent, jnp.float32))

  ahead, behind = (Rotation.from_euler("y", a).as_matrix() for a in (angle + step, angle - step))
  slope = (total(ahead) - total(behind)) / (2 * step)
  (stacked,) = f32(value[None])
  ours = jax.grad(lambda a: weighted(about(stacked, a)))(jnp.float32([angle]))
  np.testing.assert_allclose(ours[0], slope, rtol=1e-4, atol=1e-4)
  matrix = matrices(1, 5)
  by_matrix = jax.grad(lambda r: weighted(rotate(stacked, r)))(*f32(matrix))[0]
  for i, j in np.ndindex(3, 3):
    moved = step * np.eye(3)[i][:, None] * np.eye(3)[j][None]
    slope = (total(matrix[0] + moved) - total(matrix[0] - moved)) / (2 * step)
    np.testing.assert_allclose(by_matrix[i, j], slope, rtol=1e-4, atol=2e-4)


def test_second_derivatives_go_through_the_written_gradient():
  """The slope of a squared gradient by the volume, against differences of the first derivative."""
  value, angle, step = jnp.asarray(smooth_volume((5, 2, 5, 1))[None], jnp.float32), jnp.float32([0.4]), 1e-2

  def energy(angle):
    return jnp.sum(jax.grad(lambda v: jnp.sum(about(v, angle) ** 3))(value) ** 2)

  slope = (energy(angle + step) - energy(angle - step)) / (2 * step)
  np.testing.assert_allclose(jax.grad(energy)(angle)[0], slope, rtol=1e-2)


def test_nothing_of_the_cylinder_is_lost():
  mask = volume.cylinder_mask(8, 3, 8)
  expected = [[float(np.hypot(z - 3.5, x - 3.5) <= 3.5) for x in range(8)] for z in range(8)]
  np.testing.assert_array_equal(mask, np.repeat(np.array(expected)[:, None], 3, axis=1))
  assert mask.dtype == np.float32 and 0 < mask.mean() < 1
  outside = jnp.asarray((1 - mask)[None, ..., None])
  for angle in ANGLES:  # what is in the cylinder came from within the outermost centres, where all is one
    everything = about(jnp.ones((1, 8, 3, 8, 1)), jnp.float32([angle]))
    np.testing.assert_allclose(np.asarray(everything)[0, ..., 0] * mask, mask, atol=2e-6)
  assert float(jnp.max(jnp.abs(about(outside, jnp.float32([np.pi / 2])) - outside))) < 2e-6
  rectangle = volume.cylinder_mask(4, 1, 9)[:, 0]
  np.testing.assert_array_equal(rectangle.sum(axis=1), [1, 3, 3, 1])  # within 1.5 of column 4, depth 1.5


def test_smoothing_and_its_gradient_are_those_of_scipy():
  value, cotangent = random(SHAPE), random(SHAPE, 1)

  def expected(value):
    for axis in (1, 2, 3):
      value = convolve1d(value, [0.25, 0.5, 0.25], axis=axis, mode="nearest")
    return value

  smooth, pull = jax.vjp(jax.jit(volume.smoothed), *f32(value))
  np.testing.assert_allclose(smooth, expected(value), atol=1e-5)
  # <cotangent, smooth(value)> as it changes with the value: the transposed map of another volume
  other = random(SHAPE, 2)
  of_value, = pull(*f32(cotangent))
  found = np.sum(other * np.asarray(of_value))
  np.testing.assert_allclose(found, np.sum(cotangent * expected(other)), rtol=1e-4)


@needs_torch
def test_depth_to_channels_has_the_order_of_a_merged_torch_axis():
  value = random(SHAPE).astype(np.float32)
  merged = torch.tensor(value).permute(0, 4, 1, 2, 3).reshape(2, 3 * 5, 6, 7).permute(0, 2, 3, 1)
  np.testing.assert_array_equal(volume.depth_to_channels(jnp.asarray(value)), merged)


def marched(density, emission):
  """Front to back, one voxel after the other."""
  _, depth, height, width = density.shape
  opacity = np.zeros((len(density), height, width))
  image = np.zeros((*opacity.shape, emission.shape[-1]))
  for b, v, u in np.ndindex(opacity.shape):
    left = 1.0
    for d in range(depth):
      stopped = left * (1 - np.exp(-max(density[b, d, v, u], 0.0)))
      image[b, v, u] += stopped * emission[b, d, v, u]
      left -= stopped
    opacity[b, v, u] = 1 - left
  return image, opacity


def test_projections_against_a_march_along_the_rays():
  density, emission = np.random.default_rng(0).gamma(0.5, size=SHAPE[:4]), random(SHAPE, 1)
  expected, opacity = marched(density, emission)
  image, ours = volume.emission_absorption(*f32(density, emission))
  np.testing.assert_allclose(image, expected, atol=3e-6)  # five terms below 4
  np.testing.assert_allclose(ours, opacity, atol=1e-6)
  np.testing.assert_allclose(volume.silhouette(*f32(density)), opacity, atol=1e-6)
  np.testing.assert_allclose(opacity, 1 - np.exp(-density.sum(axis=1)), atol=1e-12)


def test_a_dense_voxel_hides_what_is_behind_it_and_nothing_before_it():
  density = jnp.array([0.5, 1e9, 0.5]).reshape(1, 3, 1, 1)
  emission = jnp.array([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1, 1)
  image, opacity = volume.emission_absorption(density, emission)
  front = 1 - np.exp(-0.5)
  assert float(image[0, 0, 0, 0]) == pytest.approx(front + 10 * (1 - front), rel=1e-6)
  assert float(opacity[0, 0, 0]) == 1.0


@pytest.mark.parametrize("level", [-1e4, -1.0, 0.0, 1e-12, 1.0, 1e4, 1e30])
def test_projections_and_their_gradients_are_finite(level):
  density, emission = jnp.full((1, 4, 2, 2), level), jnp.ones((1, 4, 2, 2, 1))

  def both(density, emission):
    pictures = *volume.emission_absorption(density, emission), volume.silhouette(density)
    return sum(jnp.sum(picture) for picture in pictures)

  value, gradients = jax.value_and_grad(both, argnums=(0, 1))(density, emission)
  assert np.isfinite(value) and all(np.isfinite(g).all() for g in gradients)
  assert (level > 0) == bool(value > 0)


def test_gradient_of_the_projections_against_differences():
  density, emission = np.random.default_rng(2).gamma(1.0, size=(1, 4, 2, 2)), random((1, 4, 2, 2, 2))
  step = 1e-6
  weights = random((1, 2, 2, 2), 3), random((1, 2, 2), 4)

  def total(density, emission):
    return sum(np.sum(x * w) for x, w in zip(marched(density, emission), weights, strict=True))

  def ours(density, emission):
    pictures = volume.emission_absorption(density, emission)
    return sum(jnp.sum(x * w) for x, w in zip(pictures, f32(*weights), strict=True))

  by_density, by_emission = jax.jit(jax.grad(ours, argnums=(0, 1)))(*f32(density, emission))
  for index in np.ndindex(density.shape):
    moved = np.zeros_like(density)
    moved[index] = step
    slope = (total(density + moved, emission) - total(density - moved, emission)) / (2 * step)
    np.testing.assert_allclose(by_density[index], slope, atol=2e-5)
    moved = moved[..., None]
    slope = (total(density, emission + moved) - total(density, emission - moved)) / (2 * step)
    np.testing.assert_allclose(by_emission[index].sum(), slope, atol=2e-5)


def test_type_jit_and_vmap():
  value, angle = random(SHAPE), np.array([0.4, -2.0])
  half = jnp.asarray(value, jnp.bfloat16)
  result, pullback = jax.vjp(lambda v: about(v, *f32(angle)), half)
  assert result.dtype == jnp.bfloat16 and pullback(result)[0].dtype == jnp.bfloat16
  full = about(half.astype(jnp.float32), *f32(angle))
  np.testing.assert_allclose(result.astype(jnp.float32), full, atol=2**-8 * 4)  # values below 4, in 8 bits

  def gradient(value, angle):
    return jax.grad(lambda v, a: jnp.sum(volume.rotate_about_axis(v, a) ** 2), argnums=(0, 1))(value, angle)

  def both(value, angle):
    matrix = camera.rotation_matrix(jnp.outer(angle, jnp.ones(3)))
    return *gradient(value, angle), volume.rotate(value, matrix)

  arguments = f32(value, angle)
  nested = jax.jit(jax.vmap(both))(*[a[:, None] for a in arguments])
  for ours, plain in zip(nested, jax.jit(both)(*arguments), strict=True):
    np.testing.assert_allclose(ours[:, 0], plain, rtol=1e-5, atol=1e-3)


def test_bad_input():
  with pytest.raises(UserError, match="axis must be"):
    volume.rotate_about_axis(jnp.zeros((1, 2, 2, 2, 1)), jnp.zeros(1), "vertical")
  value = jnp.ones((2, 3, 3, 3, 1))
  angle = jnp.array([jnp.nan, 0.0])
  matrix = camera.rotation_matrix(angle[:, None] * jnp.ones((1, 3)))
  for result in (about(value, angle), rotate(value, matrix)):
    np.testing.assert_array_equal(np.isnan(np.asarray(result)).all(axis=(1, 2, 3, 4)), [True, False])
