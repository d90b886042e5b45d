"""Bilinear sampling against a naive loop and against PyTorch's grid_sample, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support import render_oracles as oracle
from support.tolerances import difference_tolerance, rounding

from pdr_jax.render import warp


def positions(rng, shape, height, width):
  return rng.uniform([-2.5, -2.5], [width + 1.5, height + 1.5], (*shape, 2))


def test_against_naive_loop():
  rng = np.random.default_rng(0)
  image, uv = rng.normal(size=(2, 5, 7, 3)), positions(rng, (2, 6, 4), 5, 7)
  expected = np.array(
    [[[oracle.bilinear(image[b], *uv[b, i, j]) for j in range(4)] for i in range(6)] for b in range(2)]
  )
  actual = warp.sample_bilinear(image.astype(np.float32), uv.astype(np.float32))
  # the positions' rounding to float32, times the difference of two pixels of up to 6
  off = dict(rtol=0, atol=6 * rounding(2, 8))
  np.testing.assert_allclose(actual, expected, **off)
  np.testing.assert_allclose(
    warp.sample_bilinear(image[0].astype(np.float32), uv[0].astype(np.float32)), expected[0], **off
  )
  nested = warp.sample_bilinear(image.astype(np.float32)[None], uv.astype(np.float32)[None])
  np.testing.assert_allclose(nested[0], expected, **off)


def test_values_and_gradients_against_pytorch():
  torch = pytest.importorskip("torch", reason="the reference is PyTorch's grid_sample")
  rng = np.random.default_rng(1)
  image = rng.normal(size=(3, 8, 6, 4)).astype(np.float32)
  uv = positions(rng, (3, 9, 5), 8, 6).astype(np.float32)
  cotangent = rng.normal(size=(3, 9, 5, 4)).astype(np.float32)
  actual, pullback = jax.vjp(warp.sample_bilinear, image, uv)
  by_image, by_uv = pullback(cotangent)
  t_image, t_uv = torch.tensor(image, requires_grad=True), torch.tensor(uv, requires_grad=True)
  grid = t_uv / torch.tensor([(6 - 1) / 2, (8 - 1) / 2]) - 1
  reference = torch.nn.functional.grid_sample(
    t_image.permute(0, 3, 1, 2), grid, align_corners=True, padding_mode="zeros"
  )
  reference = reference.permute(0, 2, 3, 1)
  reference.backward(torch.tensor(cotangent))
  # PyTorch scales positions to [-1, 1] and back: some roundings of up to 8, times differences of pixels
  off = 6 * rounding(4, 8)
  np.testing.assert_allclose(actual, reference.detach(), rtol=0, atol=off)
  np.testing.assert_allclose(by_image, t_image.grad, rtol=0, atol=off)
  np.testing.assert_allclose(by_uv, t_uv.grad, rtol=0, atol=4 * off)  # sums over four channels


def test_pixel_centres_give_back_the_image():
  image = np.random.default_rng(2).normal(size=(1, 5, 7, 2)).astype(np.float32)
  uv = np.stack(np.meshgrid(np.arange(7), np.arange(5)), -1)[None].astype(np.float32)
  np.testing.assert_array_equal(warp.sample_bilinear(image, uv), image)  # weights of one and zero are exact


@pytest.mark.parametrize(
  "u, expected",
  [
    (-1.0, 0.0),
    (-0.5, 1.0),
    (0.0, 2.0),
    (0.25, 2.5),
    (1.0, 4.0),
    (1.75, 1.0),
    (2.0, 0.0),
    (1e30, 0.0),
    (-1e30, 0.0),
  ],
)
def test_fades_to_zero_over_one_pixel_outside(u, expected):
  actual = warp.sample_bilinear(jnp.array([[[2.0], [4.0]]]), jnp.array([[[u, 0.0]]]))
  assert float(actual[0, 0, 0]) == pytest.approx(expected, abs=rounding(4, 4))


def test_gradient_check():
  rng = np.random.default_rng(3)
  image = rng.normal(size=(4, 5, 2)).astype(np.float32)
  # away from the kinks
  uv = (np.floor(rng.uniform(-1, 4, (3, 3, 2))) + rng.uniform(0.2, 0.8, (3, 3, 2))).astype(np.float32)
  step, off = 1e-2, difference_tolerance(1e-2, 40, 200)  # a sum over 18 samples, bilinear within each cell
  check_grads(warp.sample_bilinear, (image, uv), order=1, modes=["rev"], eps=step, atol=off, rtol=off)


def test_gradients_far_outside_are_zero_and_finite():
  image = jnp.ones((4, 4, 1))
  uv = jnp.array([[[1e30, 0.0], [0.0, -1e30], [-7.0, 2.0], [4.5, 4.5]]])
  by_image, by_uv = jax.grad(lambda i, p: warp.sample_bilinear(i, p).sum(), argnums=(0, 1))(image, uv)
  np.testing.assert_array_equal(by_image, 0.0)
  np.testing.assert_array_equal(by_uv, 0.0)


def test_nan_positions_give_nan_samples_and_read_nothing_out_of_bounds():
  uv = jnp.array([[[jnp.nan, 0.0], [0.0, jnp.nan], [1.0, 1.0]]])
  np.testing.assert_array_equal(
    np.isnan(warp.sample_bilinear(jnp.ones((4, 4, 1)), uv))[0, :, 0], [True, True, False]
  )
  column, _ = warp._cell(uv, 4)
  assert column.min() >= -1 and column.max() <= 3
  by_image = jax.grad(lambda i: warp.sample_bilinear(i, uv).sum())(jnp.ones((4, 4, 1)))
  assert by_image.shape == (4, 4, 1)


def test_under_jit_and_vmap():
  rng = np.random.default_rng(4)
  image = rng.normal(size=(3, 4, 4, 2)).astype(np.float32)
  uv = positions(rng, (3, 4, 4), 4, 4).astype(np.float32)
  def gradient(i, p):
    return jax.grad(lambda i, p: (warp.sample_bilinear(i, p) ** 2).sum(), argnums=(0, 1))(i, p)
  for one, many in zip(jax.jit(jax.vmap(gradient))(image, uv), gradient(image, uv), strict=True):
    # twice a sample times a sum of differences
    np.testing.assert_allclose(one, many, rtol=0, atol=rounding(16, 40))


def test_unequal_leading_axes_are_refused():
  with pytest.raises(ValueError, match="leading axes"):
    warp.sample_bilinear(jnp.zeros((2, 4, 4, 1)), jnp.zeros((3, 4, 4, 2)))


def test_positions_next_to_a_pixel_are_at_it():
  """Two roundings of one position fall into one cell: else a pixel takes its neighbour's place."""
  one = np.float32(1)
  near = np.array([np.nextafter(one, 0), one, np.nextafter(one, 2), 1 + 1e-5, 510.99997, -1e-6], np.float32)
  before, along = jax.jit(warp._cell, static_argnums=1)(near, 512)
  np.testing.assert_array_equal(before, [1, 1, 1, 1, 511, 0])
  np.testing.assert_array_equal(along, np.zeros(6))
  np.testing.assert_array_equal(jax.grad(lambda x: warp._cell(x, 512)[1].sum())(near), np.ones(6))


def test_cells_at_the_rim_and_beyond():
  before, along = warp._cell(np.array([-9, -1, -0.25, 3.75, 4, 9, np.nan], np.float32), 4)
  np.testing.assert_array_equal(before, [-1, -1, -1, 3, 3, 3, -1])
  np.testing.assert_array_equal(along, [0, 0, 0.75, 0.75, 1, 1, np.nan])
