"""NT-Xent and SupCon against plain NumPy loops in float64, and the same on four devices as on one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from support.annotations import unchecked
from support.tolerances import difference_tolerance, rounding, sum_tolerance

from pdr_jax.losses.contrastive import l2_normalize, nt_xent, supcon


def features(batch=8, size=6, seed=0, unit=True):
  pair = np.random.default_rng(seed).standard_normal((2, batch, size))
  if unit:
    pair /= np.linalg.norm(pair, axis=-1, keepdims=True)
  return pair.astype(np.float32)


def naive_nt_xent(a, b, temperature):
  """One anchor at a time, as the formula reads (Chen et al. 2020, equation 1)."""
  both = np.concatenate([a, b]).astype(np.float64)
  losses = []
  for i in range(len(both)):
    positive = (i + len(a)) % len(both)
    others = [np.exp(both[i] @ both[k] / temperature) for k in range(len(both)) if k != i]
    losses.append(-np.log(np.exp(both[i] @ both[positive] / temperature) / sum(others)))
  return np.array(losses)


def naive_supcon(a, b, temperature, base_temperature):
  """Khosla et al.'s SupConLoss, mode `all`, without labels, in the order of its operations."""
  both = np.concatenate([a, b]).astype(np.float64)
  count = len(both)
  logits = both @ both.T / temperature
  logits -= logits.max(axis=1, keepdims=True)
  positives = np.tile(np.eye(len(a)), (2, 2))
  others = 1 - np.eye(count)
  positives = positives * others
  log_probability = logits - np.log((np.exp(logits) * others).sum(axis=1, keepdims=True))
  return -(temperature / base_temperature) * (positives * log_probability).sum(axis=1) / positives.sum(axis=1)


@pytest.mark.parametrize("temperature", [0.07, 0.5, 2.0])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_values(batch, temperature):
  a, b = features(batch)
  # similarities over the temperature, and the logarithm of a sum of fourteen exponentials, up to 3
  off = rounding(16, 1 / temperature + 3)
  np.testing.assert_allclose(
    nt_xent(a, b, temperature=temperature), naive_nt_xent(a, b, temperature), rtol=0, atol=off
  )
  np.testing.assert_allclose(
    supcon(a, b, temperature=temperature),
    naive_supcon(a, b, temperature, 0.07),
    rtol=0,
    atol=off * max(1, temperature / 0.07),
  )
  np.testing.assert_allclose(
    supcon(a, b, temperature=temperature, base_temperature=0.3),
    naive_supcon(a, b, temperature, 0.3),
    rtol=0,
    atol=off * max(1, temperature / 0.3),
  )


def test_large_raw_features_do_not_overflow():
  """The parity preset takes bottlenecks as they are: similarities of thousands."""
  a, b = 40 * features(6, 32, unit=False)
  got = nt_xent(a, b, temperature=0.5)
  both = np.concatenate([a, b]).astype(np.float64)
  similarity = both @ both.T / 0.5
  others = [np.logaddexp.reduce(np.delete(row, i)) for i, row in enumerate(similarity)]
  expected = np.array(others) - np.array([similarity[i, (i + 6) % 12] for i in range(12)])
  # Each row's largest entry is the anchor with itself; subtracting that one, as the released code does,
  # underflows to log(0) here. The tolerance: differences of sums of 32 products of up to 40^2, over the
  # temperature.
  np.testing.assert_allclose(got, expected, rtol=0, atol=sum_tolerance(32, 40**2 / 0.5))
  assert float(got.max()) > 1000
  gradient = jax.grad(lambda a: nt_xent(a, b, temperature=0.5).mean())(a)
  assert np.isfinite(gradient).all()


def test_the_effective_weight():
  """The released 0.01 x SupCon at temperature 0.5 is our 0.0714 x NT-Xent.

  Their base temperature hides 0.5 / 0.07.
  """
  a, b = features()
  ours, released = 0.0714 * nt_xent(a, b, temperature=0.5), 0.01 * naive_supcon(a, b, 0.5, 0.07)
  np.testing.assert_allclose(ours, released, rtol=1e-3)  # 0.0714 has three digits
  np.testing.assert_allclose(0.01 / 0.07 * 0.5, 0.0714, rtol=1e-3)


@pytest.mark.parametrize("loss", [nt_xent, supcon])
def test_four_devices_are_one(loss):
  """Values and the gradient of a weight that all features share.

  Every device's negatives contribute to it.
  """
  a, b = features(8, 6)
  weight = np.random.default_rng(9).standard_normal((6, 5)).astype(np.float32)

  def mean(weight, a, b, axis_name=None):
    values = loss(l2_normalize(a @ weight), l2_normalize(b @ weight), temperature=0.5, axis_name=axis_name)
    return values.mean(), values

  (_, expected), expected_gradient = jax.value_and_grad(mean, has_aux=True)(weight, a, b)

  @functools.partial(jax.pmap, axis_name="devices", in_axes=(None, 0, 0))
  def step(weight, a, b):
    (_, values), gradient = jax.value_and_grad(mean, has_aux=True)(weight, a, b, "devices")
    return values, jax.lax.pmean(gradient, "devices")

  values, gradient = step(weight, a.reshape(4, 2, 6), b.reshape(4, 2, 6))
  halves = values.reshape(4, 2, 2)  # device, (anchors, positives), sample
  off = rounding(32, np.abs(expected).max())  # products, and a sum over 15 others, of the size of the loss
  joined = np.concatenate([halves[:, 0].ravel(), halves[:, 1].ravel()])
  np.testing.assert_allclose(joined, expected, rtol=0, atol=off)
  for device in gradient:
    off = rounding(64, np.abs(expected_gradient).max())  # besides, sums over features and samples
    np.testing.assert_allclose(device, expected_gradient, rtol=0, atol=off)


def test_gradients_against_differences():
  a, b = features(3, 4)
  step = 5e-3  # sums of up to 20; third derivatives of some hundred, by the temperature and the norms
  off = difference_tolerance(step, 20, 2000)
  options = dict(order=1, modes=["rev"], eps=step, atol=off, rtol=off)
  check_grads(functools.partial(nt_xent, temperature=0.5), (a, b), **options)
  check_grads(l2_normalize, (a,), **options)


def test_l2_normalize():
  a = features(4, 5, unit=False)[0]
  expected = a / np.linalg.norm(a, axis=-1, keepdims=True)
  np.testing.assert_allclose(l2_normalize(a), expected, rtol=0, atol=rounding(16))


def test_zero_features_have_finite_gradients():
  """A ReLU bottleneck can be all zero."""
  a, b = features(3, 4)
  a[1] = 0
  gradients = jax.grad(
    lambda a, b: nt_xent(l2_normalize(a), l2_normalize(b), temperature=0.5).mean(), (0, 1)
  )(a, b)
  assert all(np.isfinite(g).all() for g in gradients)
  assert float(jnp.abs(gradients[0][1]).max()) == 0
  for size in (1e-20, 1e-6, 1e-3, 1e15):
    assert np.isfinite(jax.jacrev(l2_normalize)(np.full((1, 3), size, np.float32))).all()


def test_shapes_must_agree():
  with unchecked(), pytest.raises(ValueError, match="differ in shape"):
    nt_xent(jnp.zeros((3, 4)), jnp.zeros((2, 4)), temperature=0.5)
