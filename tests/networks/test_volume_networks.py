"""Networks of voxels: convolutions against PyTorch, published sizes, batch statistics."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.references import needs_torch, torch
from support.tolerances import sum_tolerance

from pdr_jax.networks import voxels


def random(shape, seed):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@needs_torch
def test_transposed_convolution_in_space_and_its_gradients_against_pytorch():
  """TensorFlow's SAME keeps the first 2 n of PyTorch's 2 n + 1 outputs."""
  x, kernel, cotangent = random((2, 3, 4, 2, 5), 0), random((3, 3, 3, 5, 4), 1), random((2, 6, 8, 4, 4), 2)
  ours, pullback = jax.vjp(jax.jit(voxels.conv_up_3d), jnp.asarray(x), jnp.asarray(kernel))
  by_x, by_kernel = pullback(jnp.asarray(cotangent))
  t_x = torch.tensor(x.transpose(0, 4, 1, 2, 3), requires_grad=True)
  t_kernel = torch.tensor(kernel.transpose(3, 4, 0, 1, 2), requires_grad=True)
  full = torch.nn.functional.conv_transpose3d(t_x, t_kernel, stride=2)
  theirs = full[:, :, :6, :8, :4].permute(0, 2, 3, 4, 1)
  theirs.backward(torch.tensor(cotangent))
  np.testing.assert_allclose(ours, theirs.detach(), rtol=0, atol=sum_tolerance(8 * 5))
  np.testing.assert_allclose(
    by_x, t_x.grad.numpy().transpose(0, 2, 3, 4, 1), rtol=0, atol=sum_tolerance(27 * 4)
  )
  np.testing.assert_allclose(
    by_kernel, t_kernel.grad.numpy().transpose(2, 3, 4, 0, 1), rtol=0, atol=sum_tolerance(2 * 24)
  )


@needs_torch
@pytest.mark.parametrize("side", [7, 14])
def test_strided_convolution_against_pytorch(side):
  x, kernel = random((2, side, side, 3), 0), random((3, 3, 3, 4), 1)
  pad = (1, 1, 1, 1) if side % 2 else (0, 1, 0, 1)  # TensorFlow's SAME
  padded = torch.nn.functional.pad(torch.tensor(x.transpose(0, 3, 1, 2)), pad)
  theirs = torch.nn.functional.conv2d(padded, torch.tensor(kernel.transpose(3, 2, 0, 1)), stride=2)
  ours = voxels.conv_down_same(jnp.asarray(x), jnp.asarray(kernel))
  np.testing.assert_allclose(ours, theirs.permute(0, 2, 3, 1), rtol=0, atol=sum_tolerance(27))


def count(net, *inputs):
  variables = jax.eval_shape(lambda key: net.init(key, *inputs), jax.random.key(0))
  return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_parameters_are_those_of_the_released_code():
  images, codes = jnp.zeros((1, 28, 28, 1)), jnp.zeros((1, 19))
  assert count(voxels.PictureEncoder(128, 19), images, False) == 464_550
  assert count(voxels.VolumeDecoder(128, 28), codes, False) == 1_101_441
  assert count(voxels.Texture(1000), images[..., 0]) == 1_569_784
  assert count(voxels.PoseNoise(), jnp.zeros((1, 12))) == 12 * 10 + 10 + 10 + 1
  assert count(voxels.CodeJudge(512), codes, jnp.zeros((1, 2))) == 21 * 512 + 512 + 512 * 512 + 512 + 513


@pytest.mark.parametrize("side", voxels.SIDES)
def test_volumes_have_the_side_of_the_pictures(side):
  decoder = voxels.VolumeDecoder(8, side)
  variables = jax.eval_shape(lambda key: decoder.init(key, jnp.zeros((1, 3)), False), jax.random.key(0))
  out = jax.eval_shape(lambda v, z: decoder.apply(v, z, False), variables, jnp.zeros((2, 3)))
  assert out.shape == (2, side, side, side)
