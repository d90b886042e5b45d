"""Linear classification: perfect features, features of other examples, constant ones; the selection of the penalty; what is reported."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge
from toy_features import KINDS, clumps, one_block

from pdr_jax.errors import UserError
from pdr_jax.evaluation import linear, ridge
from pdr_jax.evaluation.features import split_off, standardize

SEEDS = (0, 1, 2)


def attributes(kind: str, seed: int, count: int = 150):
  """Two attributes: which half and which parity of four classes."""
  who = np.random.default_rng(seed).integers(0, 4, count)
  return clumps(kind, who, seed, high=(who > 1).astype(np.int32), odd=(who % 2).astype(np.int32))


@pytest.mark.parametrize("kind", KINDS)
def test_multi_class_sentinels(kind):
  train, test = one_block(attributes(kind, 0)), one_block(attributes(kind, 1))
  found = json.loads(json.dumps(linear.multi_class(train, test, "who", seeds=SEEDS, solvers=["logistic", "ridge"])))
  assert found["majority"] == pytest.approx(np.mean(test.labels["who"] == np.bincount(train.labels["who"]).argmax()))
  for subset in found["results"].values():
    for solver in ("logistic", "ridge"):
      accuracy = subset[solver]["scores"]["balanced_accuracy"]
      assert len(accuracy["per_seed"]) == 3 and len(subset[solver]["fit"]["l2"]) == 3
      low, high = {"perfect": (0.99, 1.0), "shuffled": (0.1, 0.4), "constant": (0.25, 0.25)}[kind]
      assert low <= accuracy["mean"] <= high, (kind, solver, accuracy)
    assert subset["logistic"]["fit"]["not_converged"] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_multi_label_sentinels(kind):
  train, test = attributes(kind, 0), attributes(kind, 1)
  found = json.loads(json.dumps(linear.multi_label(one_block(train), one_block(test), ["high", "odd"], seeds=SEEDS)))
  for solver, entry in found["results"]["depth"].items():
    low, high = {"perfect": (0.97, 1.0), "shuffled": (0.3, 0.65), "constant": (0.4, 0.6)}[kind]
    if solver != "adam" or kind == "constant":  # 100 steps of Adam at 2e-4 have not learned much
      assert low <= entry["scores"]["accuracy"]["mean"] <= high, (kind, solver, entry["scores"]["accuracy"])
    labels = entry["labels"]
    assert set(labels) == {"high", "odd"}
    for key, score in entry["scores"].items():
      each = np.mean([labels[name][key]["per_seed"] for name in labels], axis=0)
      np.testing.assert_allclose(score["per_seed"], each)


def test_each_subset_is_read_alone():
  """The label is in the light block only."""
  train, test = attributes("perfect", 0), attributes("perfect", 1)
  for part in (train, test):
    part.blocks["depth"][:] = np.random.default_rng(len(part.blocks)).normal(size=(150, 6))
  results = linear.multi_class(train, test, "who", seeds=[0], solvers=["ridge"])["results"]
  accuracy = {name: entry["ridge"]["scores"]["accuracy"]["mean"] for name, entry in results.items()}
  assert accuracy["light"] > 0.9 and accuracy["all"] > 0.9 and accuracy["depth"] < 0.5 and len(accuracy) == 3


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
  """Held-out choice, refit on all of train, one look at test: the whole procedure again with scikit-learn's solvers."""
  train, test = noisy(0), noisy(1)
  found = linear.multi_label(train, test, ["who"], seeds=SEEDS, solvers=[solver])["results"]["depth"][solver]
  inputs, held = standardize(train.blocks["depth"], test.blocks["depth"])
  labels, grid = train.labels["who"], linear.LOGISTIC_L2 if solver == "logistic" else ridge.L2

  def decide(l2, rows, at):
    if solver == "logistic":
      return LogisticRegression(C=1 / (l2 * len(rows)), tol=1e-8, solver="newton-cholesky").fit(inputs[rows], labels[rows]).predict(at)
    return Ridge(alpha=l2 * len(rows)).fit(inputs[rows], labels[rows]).predict(at) > 0.5

  for i, seed in enumerate(SEEDS):
    fitted, chosen = split_off(120, linear.HELD_OUT, seed)
    accuracy = [np.mean(decide(l2, fitted, inputs[chosen]) == labels[chosen]) for l2 in grid]
    equals = [l2 for l2, value in zip(grid, accuracy, strict=True) if value == max(accuracy)]
    best = equals[len(equals) // 2]
    assert found["fit"]["l2"][i] == [pytest.approx(best)]
    expected = np.mean(decide(best, np.arange(120), held) == test.labels["who"])
    assert found["scores"]["accuracy"]["per_seed"][i] == pytest.approx(expected)
  assert len({l2[0] for l2 in found["fit"]["l2"]}) > 1  # seeds do choose differently here


def test_same_seeds_same_numbers_and_the_protocol_is_inside():
  train, test = one_block(attributes("shuffled", 0)), one_block(attributes("shuffled", 1))
  run = lambda: linear.multi_class(train, test, "who", seeds=SEEDS)
  found = run()
  assert found == run()
  assert found["protocol"]["train"] == found["protocol"]["test"] == 150 and found["protocol"]["seeds"] == [0, 1, 2]
  assert found["protocol"]["subsets"] == {"depth": ["depth"]} and set(found["protocol"]["solvers"]) == {"logistic", "ridge", "adam"}
  assert set(found["results"]["depth"]["logistic"]["fit"]["l2"]) <= set(found["protocol"]["solvers"]["logistic"]["l2"])
  accuracy = found["results"]["depth"]["adam"]["scores"]["accuracy"]
  assert accuracy["mean"] == pytest.approx(np.mean(accuracy["per_seed"])) and len(set(accuracy["per_seed"])) > 1


def test_examples_without_the_label_do_not_count():
  train, test = one_block(attributes("perfect", 0)), one_block(attributes("perfect", 1))
  train.labels["who"][:20] = test.labels["who"][:30] = -1
  test.blocks["depth"][:30] = 1000.0
  found = linear.multi_class(train, test, "who", seeds=[0], solvers=["logistic"])
  assert (found["protocol"]["train"], found["protocol"]["test"]) == (130, 120)
  assert found["results"]["depth"]["logistic"]["scores"]["accuracy"]["mean"] >= 0.99


def test_an_attribute_of_four_classes_is_not_one():
  with pytest.raises(UserError, match="label 'who' has more than two classes"):
    linear.multi_label(attributes("perfect", 0), attributes("perfect", 1), ["high", "who"])
