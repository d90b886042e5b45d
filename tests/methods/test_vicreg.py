"""VICReg: the loss of the expanded views in float64, and what every baseline must satisfy.

Its terms by themselves: `tests/losses/test_vicreg_terms.py`; the augmentations: `test_simclr.py`.
"""

import jax
import numpy as np
import pytest
from support.baseline_checks import (
  B,
  compiled,
  four_devices_equal_one,
  fresh,
  images,
  losses_of_overfit,
  tiny,
  trains_and_resumes,
  validation_ignores_padding,
)
from support.tolerances import rounding

from pdr_jax import methods
from pdr_jax.config_checks import validate
from pdr_jax.errors import UserError
from pdr_jax.methods.shared import augment


@pytest.fixture(scope="module")
def method():
  return methods.create(tiny("vicreg"))


views = compiled(lambda rng, pictures: augment.views(rng, pictures, None, tiny("vicreg").vicreg))
encode = compiled(methods.create(tiny("vicreg")).encode)


def expanded(params, pictures):
  """The expander by hand from the backbone, in float64."""
  layers = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params["expander"])
  x = np.asarray(encode(params, pictures)["backbone"], np.float64)
  for dense, norm in (("layers_0", "layers_1"), ("layers_3", "layers_4")):
    x = x @ layers[dense]["kernel"] + layers[dense]["bias"]
    x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-6)
    x = np.maximum(x * layers[norm]["scale"] + layers[norm]["bias"], 0)
  return x @ layers["layers_6"]["kernel"]


def naive_terms(first, second):
  """Equations 1 to 5 by NumPy's own covariance; the invariance over the number of dimensions."""
  size = first.shape[1]
  variance = covariance = 0.0
  for z in (first, second):
    matrix = np.cov(z, rowvar=False)
    variance += np.maximum(0, 1 - np.sqrt(np.diag(matrix) + 1e-4)).mean()
    covariance += (np.square(matrix).sum() - np.square(np.diag(matrix)).sum()) / size
  return {"invariance": np.square(first - second).mean(), "variance": variance, "covariance": covariance}


def weighted(terms):
  return 25 * terms["invariance"] + 25 * terms["variance"] + terms["covariance"]


# Codes of about one after seven layers of sums of up to 512 products; two of them are divided by deviations
# of at least a tenth. Squares of them.
OFF = 10 * rounding(200)


def test_loss_is_equation_6_of_the_views(method):
  state, update = fresh(method)
  _, metrics = update(state, {"image": images()}, jax.random.key(6))
  pair = views(jax.random.key(6), images())
  expected = naive_terms(*(expanded(state.params, view) for view in pair))
  for name, value in expected.items():
    np.testing.assert_allclose(metrics[name][0] / metrics[name][1], value, rtol=0, atol=OFF, err_msg=name)
  loss = metrics["loss"][0] / metrics["loss"][1]
  np.testing.assert_allclose(loss, weighted(expected), rtol=0, atol=51 * OFF)


def test_validation_ignores_padding_and_is_that_of_the_valid(method):
  state, scores = validation_ignores_padding(method)
  pair = views(jax.random.key(0), images())
  expected = naive_terms(*(expanded(state.ema, view)[:3] for view in pair))
  for name, value in expected.items():
    np.testing.assert_allclose(scores[f"val/{name}"], [3 * value, 3], rtol=0, atol=3 * OFF, err_msg=name)
  np.testing.assert_allclose(scores["val/vicreg"][0], 3 * weighted(expected), rtol=0, atol=153 * OFF)


@pytest.mark.slow
def test_four_devices_equal_one(method):
  four_devices_equal_one(method)


def test_loss_falls_and_codes_spread(method):
  seen = losses_of_overfit(method, 60, ("loss", "variance"))
  assert np.isfinite(seen["loss"]).all() and np.mean(seen["loss"][-10:]) < 0.8 * np.mean(seen["loss"][:5])
  assert np.mean(seen["variance"][-10:]) < np.mean(seen["variance"][:5]) - 0.1


def test_one_image_has_no_spread():
  config = tiny("vicreg")
  config.train.batch_size = 1
  with pytest.raises(UserError, match="VICReg"):
    validate(config, 1)


def test_representation_is_that_of_the_other_baselines(method):
  batch = {"image": images()}
  ours, theirs = (
    jax.eval_shape(other.init, jax.random.key(0), batch).params["encoder"]
    for other in (method, methods.create(tiny("simclr")))
  )
  assert ours == theirs
  assert jax.eval_shape(method.encode, {"encoder": ours}, images())["backbone"].shape == (B, 32)


@pytest.mark.slow
def test_trains_and_resumes(method, tmp_path):
  trains_and_resumes(tiny("vicreg"), method, tmp_path)
