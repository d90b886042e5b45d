"""Identification and verification: sentinels, and all pairs that there are.

Some people must not be compared.
"""

import numpy as np
import pytest
from support.results import mean, metrics, through_json
from support.toy_features import KINDS, clumps, one_block

from pdr_jax.errors import UserError
from pdr_jax.evaluation.tasks import identification


def people(first, last, pictures, seed):
  return np.random.default_rng(seed).permutation(np.repeat(np.arange(first, last), pictures))


@pytest.mark.parametrize("kind", KINDS)
def test_closed_set_sentinels(kind, tmp_path):
  train, test = (one_block(clumps(kind, people(0, 5, 20, seed), seed)) for seed in (0, 1))
  result = through_json(identification.closed_set(train, test, "who", seeds=(0, 1)), tmp_path)
  assert len(result.outcomes) == 2 and all(len(set(o.clusters)) == 5 for o in result.outcomes.values())
  assert {metric.partition("/")[0] for metric in metrics(result, "depth")} == {"logistic", "nearest_mean"}
  low, high = {"perfect": (0.97, 1.0), "shuffled": (0.05, 0.35), "constant": (0.2, 0.2)}[kind]
  for solver in ("logistic", "nearest_mean"):
    assert low <= mean(result, "depth", f"{solver}/accuracy") <= high
  titles = {entry.headline for entry in result.scores if entry.headline}
  assert titles == {"identification, linear, accuracy", "identification, nearest mean, accuracy"}


def test_strangers_are_left_out_of_the_closed_set():
  train, test = (
    one_block(clumps("perfect", people(*who), who[-1])) for who in ((0, 5, 20, 0), (1, 9, 20, 1))
  )
  result = identification.closed_set(train, test, "who", seeds=(0, 1))
  assert result.protocol["test"] == 80 and result.protocol["unknown_left_out"] == 80


def test_people_that_train_does_not_have_are_their_own_gallery():
  train = one_block(clumps("perfect", people(0, 3, 10, 0)))
  test = one_block(clumps("perfect", people(3, 6, 10, 1), 1))
  result = identification.closed_set(train, test, "who", seeds=[0])
  assert result.protocol["train"] == result.protocol["test"] == 15
  assert result.protocol["gallery"].startswith("every other")
  assert result.protocol["classes"] == 3  # and not 6, of which three are empty
  gallery, probes = identification.halves(test, "who")
  for part in (gallery, probes):
    assert np.bincount(part.labels["who"])[3:].tolist() == [5, 5, 5]
  rows = {row.tobytes() for row in gallery.blocks["depth"]}
  assert not rows & {row.tobytes() for row in probes.blocks["depth"]}
  with pytest.raises(UserError, match="none has four examples"):
    identification.closed_set(train, one_block(clumps("perfect", people(3, 6, 3, 1), 1)), "who")


def test_nearest_mean_against_a_loop():
  random = np.random.default_rng(0)
  inputs, labels, queries = (
    random.normal(size=(30, 4)),
    random.choice([0, 2, 3], 30),
    random.normal(size=(10, 4)),
  )
  result = identification.nearest_mean(inputs, labels, queries, 4)
  for i, example in enumerate(queries):
    for k in (0, 2, 3):
      mine = [x / np.linalg.norm(x) for x, label in zip(inputs, labels, strict=True) if label == k]
      middle = np.mean(mine, axis=0)
      expected = middle @ example / np.linalg.norm(middle) / np.linalg.norm(example)
      assert result[i, k] == pytest.approx(expected, abs=1e-12)  # a cosine in float64
  assert (result[:, 1] < -1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_verification_sentinels(kind, tmp_path):
  """Eight known and eight unknown people; train has one of the unknown ones too, who must not be compared."""
  train = clumps(kind, people(0, 9, 10, 0), 0)
  test = clumps(kind, people(8, 16, 15, 1), 1)
  result = through_json(identification.verification(train, test, "who"), tmp_path)
  protocol = result.protocol
  assert (protocol["people"], protocol["seen_left_out"], protocol["test"]) == (7, 15, 105)
  same, everything = 7 * 15 * 14 // 2, 105 * 104 // 2
  assert protocol["pairs"] == {"same": same, "different": everything - same}
  for block in ("depth", "all"):
    if kind == "perfect":
      assert mean(result, block, "roc_auc") > 0.97 and mean(result, block, "tar_at_far_1e-2") > 0.7
    else:
      assert 0.45 <= mean(result, block, "roc_auc") <= 0.55 and mean(result, block, "tar_at_far_1e-3") < 0.05


def test_pairs_against_all_that_there_are():
  labels = np.random.default_rng(1).choice([0, 3, 4, 9], 30, p=[0.5, 0.3, 0.17, 0.03])
  everything = {(i, j): labels[i] == labels[j] for i in range(30) for j in range(i)}
  first, second, same = identification.pairs(labels, 10_000, 0)
  result = {(max(i, j), min(i, j)): s for i, j, s in zip(first.tolist(), second.tolist(), same, strict=True)}
  assert result == everything and len(first) == len(everything)
  first, second, same = identification.pairs(labels, 20, 5)
  assert same.sum() == (~same).sum() == 20
  assert len({frozenset(pair) for pair in zip(first, second, strict=True)}) == 40
  np.testing.assert_array_equal(labels[first] == labels[second], same)
  np.testing.assert_array_equal(first, identification.pairs(labels, 20, 5)[0])
  assert (first != identification.pairs(labels, 20, 6)[0]).any()


@pytest.mark.parametrize("first, last, pictures", [(0, 3, 10), (3, 4, 10), (3, 8, 1)])
def test_nobody_to_verify(first, last, pictures):
  train = clumps("perfect", people(0, 3, 10, 0), 0)
  test = clumps("perfect", people(first, last, pictures, 1), 1)
  with pytest.raises(UserError, match="verification needs two people that the train split does not have"):
    identification.verification(train, test, "who")
