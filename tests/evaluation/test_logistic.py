"""Logistic regression against scikit-learn's, and the Adam probe against the published loop.

The loop is written out in NumPy.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression

from pdr_jax.evaluation.probes import logistic

L2 = np.float32([1e-4, 1e-2, 1.0])


@pytest.fixture(scope="module")
def problem():
  """Correlated features, noisy labels (the third is rare), and example weights.

  One row of the weights leaves a third out.
  """
  random = np.random.default_rng(0)
  features = random.normal(size=(240, 20)) @ (
    random.normal(size=(20, 20)) * np.linspace(1, 0.05, 20)[:, None]
  )
  features = ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float32)
  logits = features @ random.normal(size=(20, 3)) * 0.7 + np.array([0.0, 1.0, -3.0])
  targets = (random.uniform(size=logits.shape) < expit(logits)).astype(np.float32)
  weights = np.stack([np.ones(240), random.uniform(size=240) < 0.67, random.uniform(0.5, 2, 240)]).astype(
    np.float32
  )
  classes = (logits + random.gumbel(size=logits.shape)).argmax(axis=1).astype(np.int32)
  return features, targets, weights, classes


def reference(features, labels, weights, l2):
  used = weights > 0
  solver = LogisticRegression(C=1 / (l2 * weights.sum(dtype=np.float64)), tol=1e-8, solver="newton-cholesky")
  return solver.fit(
    features[used].astype(np.float64), labels[used], sample_weight=weights[used].astype(np.float64)
  )


def test_binary_agrees_with_scikit_learn(problem):
  features, targets, weights, _ = problem
  fit = logistic.fit_binary(features, targets, weights, L2)
  assert fit.coefficients.shape == (3, 3, 3, 20) and fit.iterations.shape == fit.gradient_norm.shape == (
    3,
    3,
    3,
  )
  assert fit.gradient_norm.max() <= 1e-5 and 1 <= fit.iterations.min() and fit.iterations.max() <= 30
  for s in range(3):
    for i, l2 in enumerate(L2):
      for t in range(3):
        expected = reference(features, targets[:, t], weights[s], l2)
        result = features @ np.asarray(fit.coefficients[s, i, t]) + np.asarray(fit.intercepts[s, i, t])
        truth = expected.decision_function(features)
        np.testing.assert_allclose(expit(result), expit(truth), atol=5e-3, err_msg=f"{s}, {l2}, {t}")
        assert np.mean((result > 0) == (truth > 0)) >= 0.995


def test_tighter_tolerance_reaches_scikit_learns_coefficients(problem):
  """Also the penalty's scale and the intercept that it leaves alone."""
  features, targets, weights, classes = problem
  binary = logistic.fit_binary(features, targets[:, 2:], weights[2:], L2[1:2], tolerance=2e-6)
  expected = reference(features, targets[:, 2], weights[2], L2[1])
  np.testing.assert_allclose(binary.coefficients[0, 0, 0], expected.coef_[0], atol=2e-4)
  np.testing.assert_allclose(binary.intercepts[0, 0], expected.intercept_, atol=2e-4)
  multinomial = logistic.fit_multinomial(features, classes, weights[2:], L2[1:2], classes=3, tolerance=2e-6)
  expected = reference(features, classes, weights[2], L2[1])
  np.testing.assert_allclose(multinomial.coefficients[0, 0], expected.coef_, atol=2e-4)
  shift = multinomial.intercepts[0, 0] - expected.intercept_  # a softmax fixes intercepts up to a constant
  np.testing.assert_allclose(shift - shift.mean(), 0, atol=2e-4)


def test_multinomial_agrees_with_scikit_learn(problem):
  features, _, weights, classes = problem
  fit = logistic.fit_multinomial(features, classes, weights, L2, classes=4)  # the last does not occur
  assert (
    fit.coefficients.shape == (3, 3, 4, 20)
    and fit.gradient_norm.shape == (3, 3)
    and fit.gradient_norm.max() <= 1e-5
  )
  for s in range(3):
    for i, l2 in enumerate(L2):
      logits = features @ np.asarray(fit.coefficients[s, i]).T + np.asarray(fit.intercepts[s, i])
      expected = reference(features, classes, weights[s], l2)
      assert np.mean(logits.argmax(axis=1) == expected.predict(features)) >= 0.99
      assert (logits.argmax(axis=1) < 3).all()
      # A gradient of 1e-5 leaves coefficients under a penalty of 1e-4 up to 0.1 from the end.
      np.testing.assert_allclose(softmax(logits[:, :3], axis=1), expected.predict_proba(features), atol=1e-2)


def test_more_features_than_examples(problem):
  """The coefficients then lie in the span of the examples; the solver works inside it."""
  random = np.random.default_rng(1)
  features = random.normal(size=(15, 40)).astype(np.float32)
  targets = (random.uniform(size=(15, 1)) < 0.5).astype(np.float32)
  fit = logistic.fit_binary(
    features, targets, np.ones((1, 15), np.float32), np.float32([0.05]), tolerance=2e-6
  )
  expected = reference(features, targets[:, 0], np.ones(15), 0.05)
  np.testing.assert_allclose(fit.coefficients[0, 0, 0], expected.coef_[0], atol=2e-4)


def test_problems_solved_side_by_side_or_in_turn_agree(problem, monkeypatch):
  features, targets, weights, _ = problem
  together = logistic.fit_binary(features, targets, weights, L2)
  monkeypatch.setattr(
    logistic, "TOGETHER", 5 * len(features)
  )  # 27 problems, 3 at a time: the largest divisor
  in_turn = jax.jit(lambda *a: logistic.fit_binary.__wrapped__(*a))(
    features, targets, weights, L2
  )  # traced anew
  np.testing.assert_allclose(in_turn.coefficients, together.coefficients, atol=1e-3)
  np.testing.assert_array_equal(in_turn.iterations.shape, together.iterations.shape)


def test_a_solver_that_is_stopped_says_so(problem):
  features, targets, weights, _ = problem
  fit = logistic.fit_binary(features, targets, weights, L2, max_iterations=1)
  assert (fit.iterations == 1).all() and fit.gradient_norm.max() > 1e-5
  coefficients, intercepts = (
    np.asarray(part[0, 0, 0], np.float64) for part in (fit.coefficients, fit.intercepts)
  )
  residual = expit(features @ coefficients + intercepts) - targets[:, 0]
  gradient = np.append(features.T @ residual / 240 + L2[0] * coefficients, residual.mean())
  assert float(fit.gradient_norm[0, 0, 0]) == pytest.approx(np.linalg.norm(gradient), rel=1e-2)


def test_separable_classes_converge():
  features = np.linspace(-1, 1, 20, dtype=np.float32)[:, None]
  targets = (features > 0).astype(np.float32)
  fit = logistic.fit_binary(features, targets, np.ones((1, 20), np.float32), np.float32([1e-6]))
  assert fit.gradient_norm.max() <= 1e-5 and np.isfinite(fit.coefficients).all()
  assert (
    (features @ np.asarray(fit.coefficients[0, 0]).T + np.asarray(fit.intercepts[0, 0]) > 0) == targets
  ).all()


@pytest.mark.parametrize("exclusive", [False, True])
def test_adam_probe_against_the_loop_written_out(problem, exclusive):
  """From the probe's own start and order of examples: Adam's formulas and the gradients in float64."""
  features, targets, _, classes = problem
  features, targets = features[:50], np.eye(3, dtype=np.float32)[classes[:50]] if exclusive else targets[:50]
  result = logistic.adam_probe(
    features, targets, jnp.array([0, 7]), exclusive=exclusive, learning_rate=0.01, epochs=4, batch_size=16
  )
  assert result.coefficients.shape == (2, 3, 20)
  for i, seed in enumerate((0, 7)):
    start, shuffle = jax.random.split(jax.random.key(seed))
    w = np.asarray(jax.random.uniform(start, (3, 21), minval=-1, maxval=1), np.float64) / 20**0.5
    first, second, t = np.zeros_like(w), np.zeros_like(w), 0
    for key in jax.random.split(shuffle, 4):
      order = np.asarray(jax.random.permutation(key, 50))
      for batch in (order[:16], order[16:32], order[32:48]):
        x, t = np.concatenate([features[batch], np.ones((16, 1))], axis=1), t + 1
        logits = x @ w.T
        mean = softmax(logits, axis=1) if exclusive else expit(logits)
        gradient = (mean - targets[batch]).T @ x / (16 if exclusive else 16 * 3)
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        w = w - 0.01 * (first / (1 - 0.9**t)) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(result.coefficients[i], w[:, :-1], atol=1e-4)
    np.testing.assert_allclose(result.intercepts[i], w[:, -1], atol=1e-4)
