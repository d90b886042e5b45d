"""Linear classification: perfect, shuffled and constant features.

The choice of the penalty and what is reported are checked too.
"""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from support.results import mean, metrics, score, through_json
from support.toy_features import KINDS, clumps, one_block

from pdr_jax.errors import UserError
from pdr_jax.evaluation import features
from pdr_jax.evaluation.probes import linear_maps, ridge
from pdr_jax.evaluation.tasks import linear
from pdr_jax.metrics.samples import split_off, standardize

SEEDS = (0, 1, 2)


def attributes(kind: str, seed: int, count: int = 150):
  """Two attributes: which half and which parity of four classes."""
  who = np.random.default_rng(seed).integers(0, 4, count)
  return clumps(kind, who, seed, high=(who > 1).astype(np.int32), odd=(who % 2).astype(np.int32))


@pytest.mark.parametrize("kind", KINDS)
def test_multi_class_sentinels(kind, tmp_path):
  train, test = one_block(attributes(kind, 0)), one_block(attributes(kind, 1))
  result = linear.multi_class(train, test, "who", seeds=SEEDS, solvers=["logistic", "ridge"])
  result = through_json(result, tmp_path)
  assert len(result.outcomes) == 2  # accuracy and balanced accuracy of the logistic regression
  majority = np.mean(test.labels["who"] == np.bincount(train.labels["who"]).argmax())
  assert mean(result, linear.MAJORITY, "accuracy") == pytest.approx(majority)
  for solver in ("logistic", "ridge"):
    accuracy = score(result, "depth", f"{solver}/balanced_accuracy")
    assert len(accuracy.values) == 3 and len(result.details["fit"]["depth"][solver]["l2"]) == 3
    low, high = {"perfect": (0.99, 1.0), "shuffled": (0.1, 0.4), "constant": (0.25, 0.25)}[kind]
    assert low <= np.mean(accuracy.values) <= high, (kind, solver, accuracy)
  assert result.details["fit"]["depth"]["logistic"]["not_converged"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_multi_label_sentinels(kind, tmp_path):
  train, test = one_block(attributes(kind, 0)), one_block(attributes(kind, 1))
  result = linear.multi_label(train, test, ["high", "odd"], seeds=SEEDS, identity="who")
  result = through_json(result, tmp_path)
  given = result.outcomes["linear/attributes/depth/logistic/balanced_accuracy"]
  assert given.values.shape == (3, 2, 150) and (given.strata[0] == test.labels["high"]).all()
  assert (given.clusters == test.labels["who"]).all()
  for solver, labels in result.details["labels"]["depth"].items():
    low, high = {"perfect": (0.97, 1.0), "shuffled": (0.3, 0.65), "constant": (0.4, 0.6)}[kind]
    accuracy = mean(result, "depth", f"{solver}/accuracy")
    if solver != "adam" or kind == "constant":  # 100 steps of Adam at 2e-4 have not learned much
      assert low <= accuracy <= high, (kind, solver, accuracy)
    assert set(labels) == {"high", "odd"}
    for metric in labels["high"]:
      each = np.mean([labels[name][metric] for name in labels], axis=0)
      # Means of two numbers of at most 1 in float64.
      np.testing.assert_allclose(score(result, "depth", f"{solver}/{metric}").values, each, rtol=1e-12)


def test_a_class_that_only_the_test_split_has_is_named():
  train, test = one_block(attributes("perfect", 0)), one_block(attributes("perfect", 1))
  seen = np.flatnonzero(train.labels["who"] != 2)
  train = features.take(train, seen)._replace(classes={"who": ("a", "b", "c", "d")})
  test = test._replace(classes=train.classes)
  result = linear.multi_class(train, test, "who", seeds=(0,), solvers=["ridge"])
  assert result.protocol["only_in_test"] == ["c"]
  share = np.mean(test.labels["who"] != 2)
  assert mean(result, "depth", "ridge/accuracy") == pytest.approx(share, abs=0.02)


def test_each_subset_is_read_alone():
  """The label is in the light block only."""
  train, test = attributes("perfect", 0), attributes("perfect", 1)
  for part in (train, test):
    part.blocks["depth"][:] = np.random.default_rng(len(part.blocks)).normal(size=(150, 6))
  result = linear.multi_class(train, test, "who", seeds=[0], solvers=["ridge"])
  accuracy = {block: mean(result, block, "ridge/accuracy") for block in ("depth", "light", "all")}
  assert accuracy["light"] > 0.9 and accuracy["all"] > 0.9 and accuracy["depth"] < 0.5


def noisy(seed: int):
  """Many features with little to say: the penalty matters."""
  random = np.random.default_rng(7)
  direction = random.normal(size=40)
  random = np.random.default_rng(seed)
  inputs = random.normal(size=(120, 40)).astype(np.float32)
  labels = (inputs @ direction + 8 * random.normal(size=120) > 0).astype(np.int32)
  return clumps("constant", labels)._replace(blocks={"depth": inputs})


@pytest.mark.parametrize("solver", ["logistic", "ridge"])
def test_the_protocol_against_scikit_learn(solver):
  """The whole procedure again, with scikit-learn's solvers.

  It is a held-out choice, a refit on all of train, and one look at test.
  """
  train, test = noisy(0), noisy(1)
  result = linear.multi_label(train, test, ["who"], seeds=SEEDS, solvers=[solver])
  penalties = result.details["fit"]["depth"][solver]["l2"]
  inputs, test_inputs = standardize(train.blocks["depth"], test.blocks["depth"])
  labels, grid = train.labels["who"], linear_maps.LOGISTIC_L2 if solver == "logistic" else ridge.L2

  def decide(l2, rows, at):
    if solver == "logistic":
      model = LogisticRegression(C=1 / (l2 * len(rows)), tol=1e-8, solver="newton-cholesky")
      return model.fit(inputs[rows], labels[rows]).predict(at)
    return Ridge(alpha=l2 * len(rows)).fit(inputs[rows], labels[rows]).predict(at) > 0.5

  for i, seed in enumerate(SEEDS):
    fitted, chosen = split_off(120, linear_maps.HELD_OUT, seed)
    accuracy = [np.mean(decide(l2, fitted, inputs[chosen]) == labels[chosen]) for l2 in grid]
    equals = [l2 for l2, value in zip(grid, accuracy, strict=True) if value == max(accuracy)]
    best = equals[len(equals) // 2]
    assert penalties[i] == [pytest.approx(best)]
    expected = np.mean(decide(best, np.arange(120), test_inputs) == test.labels["who"])
    # The gradient of 1e-5 at which the solver stops may move one decision near the boundary.
    near = dict(abs=1.01 / 120 if solver == "logistic" else 1e-12)
    assert score(result, "depth", f"{solver}/accuracy").values[i] == pytest.approx(expected, **near)
  assert len({l2[0] for l2 in penalties}) > 1  # seeds do choose differently here


def test_same_seeds_same_numbers_and_the_protocol_is_inside():
  train, test = one_block(attributes("shuffled", 0)), one_block(attributes("shuffled", 1))
  result = linear.multi_class(train, test, "who", seeds=SEEDS)
  assert result == linear.multi_class(train, test, "who", seeds=SEEDS)
  protocol = result.protocol
  assert protocol["train"] == protocol["test"] == 150 and protocol["seeds"] == [0, 1, 2]
  assert protocol["subsets"] == {"depth": ["depth"]}
  assert set(protocol["solvers"]) == {"logistic", "ridge", "adam"}
  assert set(result.details["fit"]["depth"]["logistic"]["l2"]) <= set(protocol["solvers"]["logistic"]["l2"])
  assert len(set(score(result, "depth", "adam/accuracy").values)) > 1
  assert score(result, "depth", "logistic/accuracy").headline == "who, linear, accuracy"
  assert not score(result, "depth", "ridge/accuracy").headline


def test_the_published_probe_reads_blocks_together_only():
  train, test = attributes("shuffled", 0), attributes("shuffled", 1)
  result = linear.multi_class(train, test, "who", seeds=[0], solvers=["adam", "ridge"])
  assert "adam/accuracy" in metrics(result, "all") and "adam/accuracy" not in metrics(result, "depth")


def test_examples_without_the_label_do_not_count():
  """Whatever value stands where a label is missing."""
  train, test = one_block(attributes("perfect", 0)), one_block(attributes("perfect", 1))
  rows = np.arange(150)
  train, test = train._replace(missing={"who": rows < 20}), test._replace(missing={"who": rows < 30})
  train.labels["who"][:20], test.labels["who"][:30] = 77, -1
  test.blocks["depth"][:30] = 1000.0
  result = linear.multi_class(train, test, "who", seeds=[0], solvers=["logistic"])
  assert (result.protocol["train"], result.protocol["test"], result.protocol["classes"]) == (130, 120, 4)
  assert mean(result, "depth", "logistic/accuracy") >= 0.99


def test_an_attribute_of_four_classes_is_not_one():
  with pytest.raises(UserError, match="label 'who' has more than two classes"):
    linear.multi_label(attributes("perfect", 0), attributes("perfect", 1), ["high", "who"])
