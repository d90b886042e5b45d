"""The five networks: sizes, agreement with PyTorch's, sides, dtypes, errors."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import compiled
from support.references import needs_torch, torch
from support.tolerances import rounding

from pdr_jax.errors import UserError
from pdr_jax.networks.autoencoder import MapAutoencoder
from pdr_jax.networks.confidence import ConfidenceNet
from pdr_jax.networks.vector_encoder import VectorEncoder


def draw_images(side, batch=2, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, (batch, side, side, 3)).astype(np.float32)


def shapes(module, side):
  return jax.eval_shape(module.init, jax.random.key(0), jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32))


@pytest.mark.parametrize(
  "module, expected",
  [
    (MapAutoencoder(1, 64, 256, 64), 12_979_648),
    (MapAutoencoder(3, 64, 256, 64, "tanh"), 12_982_848),
    (VectorEncoder(4, 32, 64), 1_739_264),
    (VectorEncoder(6, 32, 64), 1_739_776),
    (ConfidenceNet(64, 128, 64), 7_678_208),
  ],
)
def test_parameter_counts_at_parity_widths(module, expected):
  assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(module, 64))) == expected


PAIRS = {
    "depth": (MapAutoencoder(1, 8, 24, 64), lambda t: t.TorchAutoencoder(1, 8, 24, False)),
    "albedo": (MapAutoencoder(3, 8, 24, 64, "tanh"), lambda t: t.TorchAutoencoder(3, 8, 24, True)),
    "view": (VectorEncoder(6, 8, 64), lambda t: t.TorchVectorEncoder(6, 8)),
    "confidence": (ConfidenceNet(8, 12, 64), lambda t: t.TorchConfidence(8, 12)),
}


@needs_torch
@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_equal_pytorchs(name):
  from support import torch_reference

  module, make = PAIRS[name]
  torch.manual_seed(3)
  reference = make(torch_reference)
  with torch.no_grad():
    # larger weights than at the start, and affine terms other than (1, 0)
    for parameter in reference.parameters():
      parameter.mul_(1.7).add_(0.02 * torch.randn_like(parameter))
  images = draw_images(64)
  expected = reference(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
  weights = [
    np.random.default_rng(i).standard_normal(o.shape).astype(np.float32) for i, o in enumerate(expected)
  ]
  sum((o * torch.from_numpy(w)).sum() for o, w in zip(expected, weights, strict=True)).backward()

  def channels_last(array):
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array

  def weighted(params):
    outputs = module.apply(params, images)
    return sum((o * channels_last(w)).sum() for o, w in zip(outputs, weights, strict=True)), outputs

  (_, got), gradients = compiled(jax.value_and_grad(weighted, has_aux=True))(
    torch_reference.convert(reference)
  )
  for ours, theirs in zip(got, expected, strict=True):
    theirs = channels_last(theirs.detach().numpy())
    assert theirs.std() > 0.01  # a dead network would agree with anything
    # twenty layers of sums of a thousand products: a few times sqrt(20 * 1000) roundings of the output
    off = rounding(900, max(1.0, np.abs(theirs).max()))
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=off)
  expected_gradients = torch_reference.convert(reference, lambda parameter: parameter.grad)

  def close(path, ours, theirs):
    # sums over thousands of pixels of what went through all layers, forwards and back
    off = rounding(9000, np.abs(theirs).max()) + rounding(100)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=off, err_msg=jax.tree_util.keystr(path))

  jax.tree.map_with_path(close, gradients, expected_gradients)


def test_initial_outputs_are_small():
  """A flat depth and a frontal view at the start are what keeps training stable.

  See the specification, section 11.
  """
  images = draw_images(64)
  view = VectorEncoder(6, 16, 64)
  vector, _ = compiled(lambda: view.init_with_output(jax.random.key(0), images)[0])()
  assert float(jnp.abs(vector).max()) < 0.1
  depth = MapAutoencoder(1, 16, 32, 64)
  maps, _ = compiled(lambda: depth.init_with_output(jax.random.key(0), images)[0])()
  assert float(maps.std()) < 0.5


@pytest.mark.parametrize("side", [32, 128, 256])
def test_other_sides(side):
  images = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
  for module, expected in ((MapAutoencoder(3, 8, 16, side, "tanh"), [(1, side, side, 3), (1, 16)]),
                           (VectorEncoder(6, 4, side), [(1, 6), (1, 32)]),
                           (ConfidenceNet(8, 12, side), [(1, side, side, 2), (1, side // 4, side // 4, 2)])):
    params = shapes(module, side)
    assert [o.shape for o in jax.eval_shape(module.apply, params, images)] == expected
    encoder = params["params"]["encoder"]
    stages = [
      encoder[f"down{i}"]["kernel"].shape[-1] // module.width for i in range(int(math.log2(side)) - 2)
    ]
    assert stages == [1, 2, 4, 8, 8, 8][:len(stages)] and f"down{len(stages)}" not in encoder
    assert encoder["bottleneck"]["kernel"].shape[:2] == (4, 4)


SMALL = {
  "autoencoder": (MapAutoencoder, (3, 8, 16, 32, "tanh")),
  "vector": (VectorEncoder, (6, 8, 32)),
  "confidence": (ConfidenceNet, (8, 12, 32)),
}


@functools.cache
def everything(name):
  """All that the tests below look at, of one network at side 32, from one program."""
  kind, arguments = SMALL[name]
  full, half = kind(*arguments), kind(*arguments, dtype=jnp.bfloat16)

  @compiled
  def run(key, images):
    params = half.init(key, images)
    encoded = full.apply(params, images, method="encode") if hasattr(full, "encode") else None
    gradients = jax.grad(lambda p: sum(jnp.square(o).sum() for o in full.apply(p, images)))(params)
    return params, full.apply(params, images), half.apply(params, images), encoded, gradients

  return run(jax.random.key(0), draw_images(32))


@pytest.mark.parametrize(
  "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "autoencoder")) for name in SMALL]
)
def test_every_parameter_matters_at_another_side(name):
  """Side 32, run for real: finite and non-zero gradients for all parameters of all networks."""
  *_, gradients = everything(name)
  for path, gradient in jax.tree_util.tree_leaves_with_path(gradients):
    assert np.isfinite(gradient).all() and np.abs(gradient).max() > 0, path


@pytest.mark.parametrize("name", SMALL)
def test_bfloat16_compute_keeps_float32_parameters_and_outputs(name):
  params, full, half, _, _ = everything(name)
  assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype(np.float32)}
  for ours, expected in zip(half, full, strict=True):
    assert ours.dtype == jnp.float32
    # a dozen layers, each rounded once: sqrt(12) eps and, at times, twice as much
    off = rounding(8, np.abs(expected).max(), jnp.bfloat16)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=off)
    assert not np.array_equal(ours, expected)  # it did compute in bfloat16
  maps = np.asarray(half[0])
  # the head does not round to bfloat16
  assert not np.array_equal(maps, maps.astype(jnp.bfloat16).astype(np.float32))


@pytest.mark.parametrize("name", ["autoencoder", "vector"])
def test_encode_is_the_bottleneck(name):
  _, (_, bottleneck), _, encoded, _ = everything(name)
  # four layers of sums of up to 512 products, in whatever order each program takes
  off = rounding(100, np.abs(bottleneck).max())
  np.testing.assert_allclose(encoded, bottleneck, rtol=0, atol=off)
  assert encoded.min() >= 0 and encoded.dtype == jnp.float32


def test_what_the_networks_cannot_do_is_said():
  for module, images, words in (
    (MapAutoencoder(1, 8, 16, 48), draw_images(48), "side 48 .* 32, 64, 128, 256"),
    (VectorEncoder(6, 6, 32), draw_images(32), "width 6 .* multiple of 4"),
    (ConfidenceNet(8, 12, 64), draw_images(32), r"64, 64, C\] but got \[2, 32, 32, 3\]"),
    (MapAutoencoder(1, 8, 16, 32, "relu"), draw_images(32), "'relu' .* none or tanh"),
  ):
    with pytest.raises(UserError, match=words):
      module.init(jax.random.key(0), images)
