"""SSV's networks: against PyTorch with gradients, published sizes, second derivatives, batch statistics."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import compiled
from support.references import needs_torch, torch
from support.tolerances import sum_tolerance

from pdr_jax.networks import equalised, ssv
from pdr_jax.render import volume

SIDE, CODE, WIDTH = 16, 6, 16
SYNTHESIS = ssv.Synthesis(WIDTH, SIDE, 3, volume_side=8)
VIEWPOINT = ssv.Viewpoint(8, CODE)


def random(shape, seed):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def parameters(net, *inputs):
  """Draws for every parameter, so that biases and slopes matter too."""
  shapes = jax.eval_shape(lambda key: net.init(key, *inputs), jax.random.key(0))["params"]
  leaves, tree = jax.tree.flatten(shapes)
  return jax.tree.unflatten(tree, [random(leaf.shape, i) for i, leaf in enumerate(leaves)])


def close(ours, theirs, share=2e-5):
  """Within a share of the largest number: some twenty layers of sums, each rounded at its own size."""
  theirs = theirs.detach().numpy()
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=share * np.abs(theirs).max())


@needs_torch
@pytest.mark.parametrize(
  "nearest, rendered",
  [(False, False), (False, True), *(pytest.param(True, x, marks=pytest.mark.slow) for x in (False, True))],
)
def test_synthesis_and_its_gradients_are_pytorchs(nearest, rendered):
  from support import ssv_reference

  codes, cotangent = random((2, CODE), 0), random((2, SIDE, SIDE, 3), 1)
  angles = np.array([[0.5, -0.3, 0.2], [-1.2, 0.4, 0.1]], np.float32)
  layers = 2 if rendered else 8
  net = SYNTHESIS.clone(nearest=nearest, volume_rendering=rendered, mapping_layers=layers)
  params = parameters(net, codes, angles)

  @compiled
  def run(params, codes, angles):
    out, pull = jax.vjp(lambda params, *inputs: net.apply({"params": params}, *inputs), params, codes, angles)
    return out, *pull(cotangent)

  ours, of_params, of_codes, of_angles = run(params, codes, angles)
  t_params = ssv_reference.tensors(params)
  t_codes, t_angles = (torch.tensor(x, requires_grad=True) for x in (codes, angles))
  mode = "nearest" if nearest else "bilinear"
  theirs = ssv_reference.synthesis(t_params, t_codes, t_angles, mode)
  theirs.backward(torch.tensor(np.moveaxis(cotangent, -1, 1)))
  close(ours, theirs.permute(0, 2, 3, 1))
  close(of_codes, t_codes.grad, 1e-4)
  close(of_angles, t_angles.grad, 1e-3)  # a sum over all voxels
  assert len(params["mapping"]) == layers
  for name in ("constant", "projection_slope"):
    close(of_params[name], t_params[name].grad, 1e-4)
  in_space = ("medium0", "medium1") if rendered else ("turned0", "turned3")
  for name in ("start_conv", "volume0_conv1", *in_space, "projection", "flat0_conv0", "pixels"):
    close(of_params[name]["kernel"], t_params[name]["kernel"].grad, 1e-4)
  for name, layer in (("mapping", "layer1"), ("volume0_norm0", "style"), ("flat0_norm1", "style")):
    close(of_params[name][layer]["kernel"], t_params[name][layer]["kernel"].grad, 1e-4)


@needs_torch
def test_viewpoint_network_and_the_gradient_of_a_gradient_are_pytorchs():
  """The squared length of the critic's gradient, and its gradient by the parameters."""
  from support import ssv_reference

  images = random((3, SIDE, SIDE, 3), 0)
  params = parameters(VIEWPOINT, images)

  def length(params):
    def realism(images):
      return VIEWPOINT.apply({"params": params}, images).realism.sum()

    return jnp.square(jax.grad(realism)(images)).sum()

  @compiled
  def run(params):
    return VIEWPOINT.apply({"params": params}, images), *jax.value_and_grad(length)(params)

  seen, value, grads = run(params)
  t_params = ssv_reference.tensors(params)
  t_images = torch.tensor(np.moveaxis(images, -1, 1), requires_grad=True)
  realism, codes, magnitudes, quadrants = ssv_reference.viewpoint(t_params, t_images)
  for mine, theirs in zip(seen[:4], (realism, codes, magnitudes, quadrants), strict=True):
    close(mine, theirs)
  gradient, = torch.autograd.grad(realism.sum(), t_images, create_graph=True)
  t_value = (gradient**2).sum()
  t_value.backward()
  close(value, t_value, 1e-4)
  for name in ("pixels", "down0_conv0", "down0_conv1", "last_conv", "features", "realism"):
    close(grads[name]["kernel"], t_params[name]["kernel"].grad, 1e-3)  # one more pass through all layers


@needs_torch
@pytest.mark.parametrize("outputs", [2, 5])
def test_convolutions_in_space_and_their_gradients_are_pytorchs(outputs):
  """Fewer channels at the output and at the input."""
  x, kernel = random((2, 3, 4, 5, 4), 0), random((3, 3, 3, 4, outputs), 1)
  cotangent = random((2, 3, 4, 5, outputs), 2)

  @compiled
  def run(x, kernel):
    out, pull = jax.vjp(equalised.conv_space, x, kernel)
    return out, *pull(cotangent)

  t_x, t_kernel = (
    torch.tensor(array.transpose(axes).astype(np.float64), requires_grad=True)
    for array, axes in ((x, (0, 4, 1, 2, 3)), (kernel, (4, 3, 0, 1, 2)))
  )
  theirs = torch.nn.functional.conv3d(t_x, t_kernel, padding=1)
  theirs.backward(torch.tensor(np.moveaxis(cotangent, -1, 1).astype(np.float64)))
  of_x, of_kernel = t_x.grad.permute(0, 2, 3, 4, 1), t_kernel.grad.permute(2, 3, 4, 1, 0)
  expected = theirs.permute(0, 2, 3, 4, 1), of_x, of_kernel
  for ours, want, terms in zip(run(x, kernel), expected, (27 * 4, 27 * outputs, 2 * 60), strict=True):
    np.testing.assert_allclose(ours, want.detach().numpy(), rtol=0, atol=sum_tolerance(terms))


@needs_torch
@pytest.mark.parametrize("shape", [(2, 3, 5, 2), (2, 1, 2, 3, 2)])
def test_doubling_and_its_gradient_are_pytorchs(shape):
  x = random(shape, 0)
  cotangent = random((shape[0], *(2 * side for side in shape[1:-1]), shape[-1]), 1)

  @compiled
  def run(x):
    out, pull = jax.vjp(equalised.doubled, x)
    return out, pull(cotangent)[0]

  ours, of_x = run(x)
  t_x = torch.tensor(np.moveaxis(x, -1, 1).astype(np.float64), requires_grad=True)
  mode = {4: "bilinear", 5: "trilinear"}[len(shape)]
  theirs = torch.nn.functional.interpolate(t_x, scale_factor=2, mode=mode, align_corners=False)
  theirs.backward(torch.tensor(np.moveaxis(cotangent, -1, 1).astype(np.float64)))
  # two numbers an axis, and up to four in the gradient
  theirs = np.moveaxis(theirs.detach().numpy(), 1, -1)
  np.testing.assert_allclose(ours, theirs, rtol=0, atol=sum_tolerance(8, 4))
  np.testing.assert_allclose(of_x, np.moveaxis(t_x.grad.numpy(), 1, -1), rtol=0, atol=sum_tolerance(64, 4))


@pytest.mark.parametrize("rendered", [False, True])
def test_pictures_that_share_a_volume_are_those_made_one_by_one(rendered):
  codes, angles = random((4, CODE), 0), 0.3 * random((6, 3), 1)
  net = SYNTHESIS.clone(volume_rendering=rendered)
  params = parameters(net, codes, angles[:4])
  apply = compiled(net.apply, static_argnums=3)
  shared = apply({"params": params}, codes, angles, (0, 1, 0))
  alone = apply({"params": params}, np.concatenate([codes, codes[:2]]), angles, (0,))
  # the same numbers, in programs that may sum them in other orders
  np.testing.assert_allclose(shared, alone, rtol=0, atol=2e-5 * np.abs(alone).max())


@pytest.mark.parametrize("side, most", [(8, 0.25), (16, 0.15)])
def test_a_ball_that_turns_looks_nearly_the_same(side, most):
  """At the start the medium is a soft ball. One that ends at voxels shows the viewpoint on its surface."""
  place = jnp.linspace(-1.0, 1.0, side)
  square = sum(jnp.square(axis) for axis in jnp.meshgrid(place, place, place))[None, ..., None]
  balls = ssv._density(jnp.zeros((1, side, side, side, 1))), jnp.where(square <= 1, 3.0, 0.0)
  angles = jnp.concatenate([jnp.zeros((1, 3)), jnp.asarray(random((8, 3), 0))])
  differences = []
  for ball in balls:
    turned = volume.rotate(jnp.repeat(ball, 9, axis=0), ssv.rotation_of(angles))
    opacity = volume.silhouette(turned[..., 0])
    differences.append(float(jnp.abs(opacity[1:] - opacity[:1]).max()))
    assert opacity[0, side // 2, side // 2] > 0.95 and opacity[0, 0, 0] == 0
  soft, hard = differences
  assert soft < most and hard > 0.6


def test_rays_see_all_of_the_depth():
  """What sticks out towards the viewer is not cut off: a lump at nine tenths of the radius, on the axis."""
  net = ssv.Synthesis(WIDTH, 32, 3, volume_side=16, volume_rendering=True)
  medium = np.zeros((2, 16, 16, 16, 2), np.float32)
  medium[0, 1, 7:9, 7:9] = 1.0  # towards the viewer
  medium[1, 7:9, 7:9, 1] = 1.0  # to the left
  angles = jnp.array([[0.0, 0, 0], [np.pi / 2, 0, 0]])  # a quarter turn brings the left one in front
  received = net.apply({}, jnp.asarray(medium), angles, method="_rendered")
  np.testing.assert_allclose(received[:, 7:9, 7:9, -1].mean(axis=(1, 2)), 1 - np.exp(-1), atol=0.1)


def count(net, *inputs):
  variables = jax.eval_shape(lambda key: net.init(key, *inputs), jax.random.key(0))
  return sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))


def test_parameters_are_those_of_the_released_checkpoint():
  codes, angles, images = jnp.zeros((1, 128)), jnp.zeros((1, 3)), jnp.zeros((1, 128, 128, 3))
  assert count(ssv.Synthesis(512, 128, 3), codes, angles) == 17_165_987
  assert count(ssv.Viewpoint(512, 128), images) == 24_723_859  # without the block that is never used


@pytest.mark.parametrize("side, volume_side", [(16, 8), (32, 8), (32, 16), (64, 16), (256, 16)])
def test_pictures_of_every_side(side, volume_side):
  net = ssv.Synthesis(16, side, 1, volume_side, volume_rendering=side > 16)
  inputs = jnp.zeros((2, CODE)), jnp.zeros((2, 3))
  variables = jax.eval_shape(lambda key: net.init(key, *inputs), jax.random.key(0))
  assert jax.eval_shape(net.apply, variables, *inputs).shape == (2, side, side, 1)
  critic = ssv.Viewpoint(8, CODE)
  images = jnp.zeros((2, side, side, 1))
  variables = jax.eval_shape(lambda key: critic.init(key, images), jax.random.key(0))
  seen = jax.eval_shape(critic.apply, variables, images)
  assert seen.maps[-1].shape == (2, 4, 4, 8) and seen.codes.shape == (2, CODE)


def test_many_narrow_layers_lose_the_code():
  """Dimensions of a style, as the participation ratio of its covariance."""
  codes = jax.random.uniform(jax.random.key(0), (2000, 16), minval=-1.0, maxval=1.0)

  def dimensions(layers):
    mapping = equalised.Mapping(layers)
    styles = np.asarray(mapping.apply(mapping.init(jax.random.key(1), codes), codes), np.float64)
    variances = np.linalg.eigvalsh(np.cov(styles.T))
    return variances.sum() ** 2 / (variances**2).sum()

  assert dimensions(1) > 2 * dimensions(8)


def test_the_critic_sees_how_alike_a_batch_is_over_all_devices():
  x = jnp.asarray(random((8, 4, 4, 3), 0))
  whole = equalised.batch_deviation(x)
  expected = np.sqrt(np.var(np.asarray(x, np.float64), axis=0) + 1e-8).mean()
  np.testing.assert_allclose(whole, expected, rtol=1e-5)  # 48 means of 8 numbers of about one
  spread = jax.pmap(partial(equalised.batch_deviation, axis_name="b"), "b")(x.reshape(4, 2, 4, 4, 3))
  np.testing.assert_allclose(spread, np.full(4, whole), rtol=1e-5)
  assert float(equalised.batch_deviation(jnp.repeat(x[:1], 8, axis=0))) < 2e-4  # the root of the epsilon


def test_a_picture_is_seen_by_itself_with_a_known_deviation():
  images = random((3, SIDE, SIDE, 3), 0)
  params = {"params": parameters(VIEWPOINT, images)}
  apply = compiled(VIEWPOINT.apply)
  together, alone = apply(params, images, 0.5), apply(params, images[:1], 0.5)
  np.testing.assert_allclose(alone.realism, together.realism[:1], rtol=1e-3, atol=1e-3)
