"""Clustering without labels: Ward's agglomerative method and k-means, as many clusters as classes."""

from collections.abc import Sequence

import numpy as np
from sklearn.cluster import AgglomerativeClustering, KMeans

from pdr_jax.errors import UserError
from pdr_jax.evaluation import metrics
from pdr_jax.evaluation.features import Features, check, labelled, select, size, standardize, subsets, take

LARGEST = 6000  # examples; Ward's memory and time grow with the square
STARTS = 10  # of k-means, of which the best fit counts


def clustering(features: Features, label: str, *, track: str | None = None, seeds: Sequence[int] = range(5)) -> dict:
  """Clusters one split and compares with the classes of a label. Nothing is learned from the label but the number of classes.

  With `track`, a label that numbers the tracks of a video, features are averaged over each track first. Of more than 6,000 examples the
  seed draws as many. Ward's method has no randomness otherwise: where nothing is drawn it has one value, without a deviation.
  Returns `{task, protocol, results}`; `results[subset][ward or kmeans]` is `metrics.clustering` over the seeds.
  """
  check(features, "given", [label] if track is None else [label, track])
  features = labelled(features, [label] if track is None else [label, track])
  check(features, "given", [label])
  images, features = size(features), features if track is None else average_tracks(features, label, track)
  truth, count = features.labels[label], size(features)
  classes = len(np.unique(truth))
  if not 1 < classes < count:
    raise UserError(f"label {label!r}: {count} examples of {classes} class{'es' if classes > 1 else ''} cannot be clustered: "
                    "two classes or more and more examples than classes are needed")
  chosen, results = subsets(features.blocks), {}
  for name, subset in chosen.items():
    inputs, = standardize(select(features, subset))
    runs = {"ward": [], "kmeans": []}
    for seed in seeds:
      rows = np.sort(np.random.default_rng(seed).permutation(count)[:LARGEST])
      kmeans = KMeans(classes, n_init=STARTS, random_state=seed).fit_predict(inputs[rows])
      runs["kmeans"].append(metrics.clustering(truth[rows], kmeans))
      if count > LARGEST or not runs["ward"]:
        runs["ward"].append(metrics.clustering(truth[rows], AgglomerativeClustering(classes, linkage="ward").fit_predict(inputs[rows])))
    results[name] = {kind: metrics.over_seeds(found) for kind, found in runs.items()}
  return {
      "task": "clustering",
      "protocol": {
          "labels": [label], "clusters": classes, "images": images, "examples": min(count, LARGEST), "track": track, "seeds": list(seeds),
          "subsets": {name: list(subset) for name, subset in chosen.items()},
          "standardised": "with the mean and deviation of the examples", "selection": "none",
          "solvers": {"ward": "scikit-learn AgglomerativeClustering", "kmeans": f"scikit-learn KMeans, the best of {STARTS} starts"},
      },
      "results": results,
  }


def average_tracks(features: Features, label: str, track: str) -> Features:
  """One example a track: the mean of its features. Raises `UserError` for a track whose examples have different classes."""
  tracks, first, of = np.unique(features.labels[track], return_index=True, return_inverse=True)
  classes = features.labels[label]
  mixed = np.flatnonzero(classes != classes[first][of])
  if len(mixed):
    raise UserError(f"track {tracks[of[mixed[0]]]} of label {track!r} has examples of more than one class of {label!r}: correct its labels")
  counts = np.bincount(of)[:, None]
  blocks = {}
  for name, block in features.blocks.items():
    sums = np.zeros((len(tracks), block.shape[1]))
    np.add.at(sums, of, block)
    blocks[name] = (sums / counts).astype(np.float32)
  return take(features, first)._replace(blocks=blocks)
