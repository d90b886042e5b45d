"""Clustering: sentinels, what is drawn of many examples, and errors."""

import numpy as np
import pytest
from sklearn.cluster import AgglomerativeClustering
from support.results import mean, metrics, score, through_json
from support.toy_features import KINDS, clumps, one_block

from pdr_jax.errors import UserError
from pdr_jax.evaluation.tasks import clustering
from pdr_jax.metrics import clustering as clustering_metrics
from pdr_jax.metrics.samples import standardize

WHO = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], 30))


@pytest.mark.parametrize("kind", KINDS)
def test_sentinels(kind, tmp_path):
  result = through_json(clustering.clustering(clumps(kind, WHO), "who", seeds=range(3)), tmp_path)
  assert {entry.block for entry in result.scores} == {"depth", "light", "all"}
  assert result.protocol["clusters"] == 3
  for block in ("depth", "light", "all"):
    assert len(score(result, block, "kmeans/nmi").values) == 3
    assert len(score(result, block, "ward/nmi").values) == 1
    for solver in ("ward", "kmeans"):
      low, high = (0.99, 1.0) if kind == "perfect" else (-0.05, 0.1)
      assert low <= mean(result, block, f"{solver}/adjusted_rand") <= high
      accuracy = mean(result, block, f"{solver}/accuracy")
      assert accuracy >= 0.99 if kind == "perfect" else 0.33 <= accuracy < 0.5
  titles = {entry.metric: entry.headline for entry in result.scores if entry.headline}
  assert titles == {"ward/accuracy": "who, Ward, accuracy", "ward/nmi": "who, Ward, NMI"}


def test_ward_and_what_is_drawn_of_many(monkeypatch):
  """With more examples than Ward can take each seed draws some.

  They are the same for both methods, and others for each seed.
  """
  features = one_block(clumps("perfect", WHO))
  features.blocks["depth"] += 4 * np.random.default_rng(1).normal(size=(90, 6)).astype(np.float32)
  monkeypatch.setattr(clustering, "LARGEST", 40)
  result = clustering.clustering(features, "who", seeds=(3, 4))
  (inputs,) = standardize(features.blocks["depth"])
  for i, seed in enumerate((3, 4)):
    rows = np.sort(np.random.default_rng(seed).permutation(90)[:40])
    expected = clustering_metrics.clustering(WHO[rows], AgglomerativeClustering(3).fit_predict(inputs[rows]))
    names = [metric for metric in metrics(result, "depth") if metric.startswith("ward/")]
    assert {name.removeprefix("ward/"): score(result, "depth", name).values[i] for name in names} == expected
  assert result.protocol["examples"] == 40 and result == clustering.clustering(features, "who", seeds=(3, 4))
  assert len(set(score(result, "depth", "ward/nmi").values)) == 2


def test_errors():
  with pytest.raises(UserError, match="no label 'scene': it has who"):
    clustering.clustering(clumps("perfect", WHO), "scene")
  with pytest.raises(UserError, match="90 examples of 1 class cannot be clustered"):
    clustering.clustering(clumps("perfect", np.zeros(90, np.int32)), "who")
