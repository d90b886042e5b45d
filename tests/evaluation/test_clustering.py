"""Clustering: sentinels, averages over tracks against a loop, and errors."""

import json

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from toy_features import KINDS, clumps, one_block

from pdr_jax.errors import UserError
from pdr_jax.evaluation import clustering, metrics
from pdr_jax.evaluation.features import standardize

WHO = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 30))


@pytest.mark.parametrize("kind", KINDS)
def test_sentinels(kind):
  found = json.loads(json.dumps(clustering.clustering(clumps(kind, WHO), "who", seeds=range(3))))
  assert set(found["results"]) == {"depth", "light", "all"} and found["protocol"]["clusters"] == 3
  for subset in found["results"].values():
    assert len(subset["kmeans"]["nmi"]["per_seed"]) == 3 and len(subset["ward"]["nmi"]["per_seed"]) == 1
    for scores in subset.values():
      low, high = (0.99, 1.0) if kind == "perfect" else (-0.05, 0.1)
      assert low <= scores["adjusted_rand"]["mean"] <= high
      assert scores["accuracy"]["mean"] >= 0.99 if kind == "perfect" else 0.33 <= scores["accuracy"]["mean"] < 0.5


def test_ward_and_what_is_drawn_of_many(monkeypatch):
  """With more examples than Ward can take each seed draws some: the same for both methods, others for each seed."""
  features = one_block(clumps("perfect", WHO))
  features.blocks["depth"] += 4 * np.random.default_rng(1).normal(size=(90, 6)).astype(np.float32)
  monkeypatch.setattr(clustering, "LARGEST", 40)
  run = lambda: clustering.clustering(features, "who", seeds=(3, 4))
  found = run()
  inputs, = standardize(features.blocks["depth"])
  for i, seed in enumerate((3, 4)):
    rows = np.sort(np.random.default_rng(seed).permutation(90)[:40])
    expected = metrics.clustering(WHO[rows], AgglomerativeClustering(3).fit_predict(inputs[rows]))
    assert {name: score["per_seed"][i] for name, score in found["results"]["depth"]["ward"].items()} == expected
  assert found["protocol"]["examples"] == 40 and found == run()
  assert len(set(found["results"]["depth"]["ward"]["nmi"]["per_seed"])) == 2


def test_tracks_are_averaged():
  random = np.random.default_rng(2)
  track = random.integers(0, 20, 300)
  who = np.random.default_rng(3).integers(0, 3, 20)[track]
  features = clumps("perfect", who, track=track.astype(np.int32))
  averaged = clustering.average_tracks(features, "who", "track")
  for i, number in enumerate(np.unique(track)):
    mine = track == number
    assert averaged.labels["who"][i] == who[mine][0] and averaged.labels["track"][i] == number
    for name, block in features.blocks.items():
      np.testing.assert_allclose(averaged.blocks[name][i], block[mine].astype(np.float64).mean(axis=0), atol=1e-5)


def test_averaging_over_tracks_finds_what_single_pictures_hide():
  random = np.random.default_rng(4)
  track = np.repeat(np.arange(30), 40)
  who = (np.arange(30) % 3)[track]
  features = one_block(clumps("perfect", who, track=track.astype(np.int32)))
  features.blocks["depth"] += 12 * random.normal(size=(1200, 6)).astype(np.float32)
  accuracy = lambda found: found["results"]["depth"]["ward"]["accuracy"]["mean"]
  alone, together = clustering.clustering(features, "who", seeds=[0]), clustering.clustering(features, "who", track="track", seeds=[0])
  assert accuracy(together) > 0.85 > 0.7 > accuracy(alone)
  assert together["protocol"]["examples"] == 30 and together["protocol"]["images"] == 1200


def test_errors():
  track = np.zeros(90, np.int32)
  with pytest.raises(UserError, match="track 0 of label 'track' has examples of more than one class of 'who'"):
    clustering.clustering(clumps("perfect", WHO, track=track), "who", track="track")
  with pytest.raises(UserError, match="no label 'scene': it has who"):
    clustering.clustering(clumps("perfect", WHO), "who", track="scene")
  with pytest.raises(UserError, match="90 examples of 1 class cannot be clustered"):
    clustering.clustering(clumps("perfect", np.zeros(90, np.int32)), "who")
