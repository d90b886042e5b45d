"""DCI, MIG and SAP: sentinels (perfect, rotated, duplicated, constant) and naive computations."""

import numpy as np
import pytest

from pdr_jax.metrics import disentanglement


def world(kind, seed, count=1500):
  random = np.random.default_rng(seed)
  factors = random.uniform(-1, 1, (count, 4))
  rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(4, 4)))[0]
  return {
    "perfect": 2 * factors,
    "rotated": factors @ rotation,
    "duplicated": np.concatenate([factors, -factors], 1),
    "constant": np.ones((count, 4)),
    "noise": random.normal(size=(count, 4)),
  }[kind].astype(np.float32), factors


def scores(kind):
  (train, train_factors), (test, test_factors) = world(kind, 0), world(kind, 1)
  actual = disentanglement.dci(train, train_factors, test, test_factors)
  return actual | {
    "mig": disentanglement.mig(train, train_factors),
    "sap": disentanglement.sap(train, train_factors),
  }


def test_a_perfect_representation():
  assert min(scores("perfect").values()) > 0.9


@pytest.mark.parametrize("kind", ["constant", "noise"])
def test_one_that_says_nothing(kind):
  actual = scores(kind)
  assert actual["informativeness"] < 0.1 and actual["mig"] < 0.1 and actual["sap"] < 0.1
  if kind == "constant":
    assert actual["disentanglement"] == actual["completeness"] == 0


def test_a_rotated_one_keeps_its_information_only():
  actual = scores("rotated")
  assert actual["informativeness"] > 0.95
  assert (
    actual["disentanglement"] < 0.6
    and actual["completeness"] < 0.6
    and actual["mig"] < 0.2
    and actual["sap"] < 0.7
  )


def test_a_duplicated_one_has_no_gap():
  actual = scores("duplicated")
  assert actual["mig"] < 0.05 and actual["sap"] < 0.05 and actual["informativeness"] > 0.95


def test_sap_against_numpy_and_mig_against_counting():
  numbers, factors = world("rotated", 5, 200)
  squared = np.array(
    [[np.corrcoef(number, factor)[0, 1] ** 2 for factor in factors.T] for number in numbers.T]
  )
  expected = np.mean([np.sort(column)[-1] - np.sort(column)[-2] for column in squared.T])
  assert disentanglement.sap(numbers, factors) == pytest.approx(expected, abs=1e-5)

  def information(a, b):
    joint = np.histogram2d(a, b, bins=20)[0] / len(a)
    product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    return float(np.sum(joint[joint > 0] * np.log(joint[joint > 0] / product[joint > 0])))

  gaps = []
  for factor in factors.T:
    known = sorted(information(number, factor) for number in numbers.T)
    gaps.append((known[-1] - known[-2]) / information(factor, factor))
  assert disentanglement.mig(numbers, factors) == pytest.approx(np.mean(gaps), rel=1e-4)
