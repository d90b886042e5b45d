"""Ridge regression against scikit-learn's, and the held-out R2 of features of known worth.

They know everything or nothing, or are constant.
"""

import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from pdr_jax.evaluation.probes import ridge
from pdr_jax.metrics import ridge as closed_form

L2 = (1e-6, 1e-2, 1.0, 100.0)


@pytest.mark.parametrize("width", [5, 60])  # also more features than examples
def test_agrees_with_scikit_learn(width):
  random = np.random.default_rng(0)
  features = random.normal(2, 1, (40, width)) * np.linspace(0.1, 3, width)
  targets = features @ random.normal(size=(width, 3)) + random.normal(size=(40, 3))
  fit = closed_form.fit(features, targets, L2)
  assert fit.coefficients.shape == (4, 3, width) and fit.intercepts.shape == (4, 3)
  for i, l2 in enumerate(L2):
    expected = Ridge(alpha=40 * l2, solver="svd").fit(features, targets)
    np.testing.assert_allclose(fit.coefficients[i], expected.coef_, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(fit.intercepts[i], expected.intercept_, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("width", [4, 40])  # also more features than examples
def test_leaving_one_out_against_fitting_again(width):
  random = np.random.default_rng(3)
  features = random.normal(size=(12, width))
  targets = features[:, :2] + random.normal(size=(12, 2))
  errors = closed_form.leave_one_out(features, targets, L2)
  for i, l2 in enumerate(L2):
    left_out = []
    for example in range(12):
      others = np.arange(12) != example
      again = Ridge(alpha=12 * l2, solver="svd").fit(features[others], targets[others])
      left_out.append(again.predict(features[example : example + 1])[0] - targets[example])
    np.testing.assert_allclose(errors[i], np.square(left_out).mean(axis=0), rtol=1e-5)


def held_out_r2(train, train_targets, test, test_targets, l2):
  predicted = ridge.predict(train, train_targets, test, l2=l2).predicted
  return r2_score(test_targets, predicted, multioutput="raw_values")


def split(kind):
  random = np.random.default_rng(1)
  factors = random.normal(size=(300, 2)).astype(np.float32)
  features = (factors @ random.normal(size=(2, 6))).astype(np.float32) + 0.01 * random.normal(
    size=(300, 6)
  ).astype(np.float32)
  if kind == "shuffled":
    features = random.permutation(features)
  if kind == "constant":
    features = np.full_like(features, 0.3)
  return features[:200], factors[:200], features[200:], factors[200:]


@pytest.mark.parametrize(
  "kind, low, high", [("perfect", 0.99, 1.0), ("shuffled", -0.2, 0.1), ("constant", -0.2, 0.0)]
)
def test_held_out_r2_sentinels(kind, low, high):
  result = held_out_r2(*split(kind), l2=L2)
  assert result.shape == (2,) and (result >= low).all() and (result <= high).all()


def test_from_few_the_penalty_is_chosen_by_leaving_one_out_and_features_are_taken_as_they_are():
  """Little penalty for a target that the features explain, much for noise; nothing is standardised."""
  random = np.random.default_rng(4)
  features = random.normal(size=(30, 20)) * 10
  targets = np.stack([features @ random.normal(size=20), random.normal(size=30)], axis=1)
  others = random.normal(size=(9, 20)) * 10
  found = ridge.predict_from_few(features, targets, others, l2=L2)
  assert found.l2[0] == L2[0] and found.l2[1] >= 1.0
  for i, l2 in enumerate(found.l2):
    expected = Ridge(alpha=30 * l2, solver="svd").fit(features, targets[:, i]).predict(others)
    np.testing.assert_allclose(found.predicted[:, i], expected, rtol=1e-5, atol=1e-6)


def test_penalty_is_chosen_on_train_alone_and_for_each_target():
  """Many noisy features: little penalty for a target that they explain, much for one that they do not."""
  random = np.random.default_rng(2)
  features = random.normal(size=(160, 60))
  targets = np.stack([features @ random.normal(size=60), random.normal(size=160)], axis=1)
  train, test = slice(0, 80), slice(80, 160)
  arguments = features[train], targets[train], features[test], targets[test]
  both = held_out_r2(*arguments, l2=(1e-4, 100.0))
  alone = [held_out_r2(*arguments, l2=[l2]) for l2 in (1e-4, 100.0)]
  np.testing.assert_allclose(both, [alone[0][0], alone[1][1]])
  assert alone[0][0] > alone[1][0] + 0.1 and alone[1][1] > alone[0][1] + 0.1
  mean, deviation = features[train].mean(axis=0), features[train].std(axis=0)
  expected = Ridge(alpha=80 * 100.0).fit((features[train] - mean) / deviation, targets[train, 1])
  assert both[1] == pytest.approx(
    expected.score((features[test] - mean) / deviation, targets[test, 1]), abs=1e-5
  )
