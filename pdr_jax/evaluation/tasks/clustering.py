"""Clustering without labels: Ward's agglomerative method and k-means, as many clusters as classes."""

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.cluster import AgglomerativeClustering, KMeans

from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.features import Features, check, labelled, people_in, select, size, subsets
from pdr_jax.evaluation.records import Result
from pdr_jax.evaluation.task import Context, Job, Task, classes
from pdr_jax.metrics.clustering import clustering as scores_of
from pdr_jax.metrics.samples import standardize

LARGEST = 6000  # examples; Ward's memory and time grow with the square
STARTS = 10  # of k-means, of which the best fit counts


def clustering(
    features: Features, label: str, *, seeds: Sequence[int] = range(5), identity: str = ""
) -> Result:
  """Clusters one split and compares with the classes of a label.

  Nothing is learned from the label but the number of classes. Of more than 6,000 examples the seed draws as
  many. Ward's method has no randomness otherwise: where nothing is drawn it has one value, without a
  deviation. Scores are `ward/METRIC` and `kmeans/METRIC` of `metrics.clustering`.
  `identity` names the label of the person, where people repeat.
  """
  check(features, "given", [label])
  features = labelled(features, [label])
  truth, count = features.labels[label], size(features)
  number = len(np.unique(truth))
  if not 1 < number < count:
    raise UserError(
        f"label {label!r}: {count} examples of {number} class{'es' if number > 1 else ''} cannot be "
        "clustered: two classes or more and more examples than classes are needed"
    )
  scores, outcomes, people = [], {}, people_in(features, identity)
  for block, subset in subsets(features.blocks).items():
    inputs, = standardize(select(features, subset))
    runs, found = {"ward": [], "kmeans": []}, []
    for seed in seeds:
      rows = np.sort(np.random.default_rng(seed).permutation(count)[:LARGEST])
      clusters = KMeans(number, n_init=STARTS, random_state=seed).fit_predict(inputs[rows])
      runs["kmeans"].append(scores_of(truth[rows], clusters))
      if count > LARGEST or not runs["ward"]:
        clusters = AgglomerativeClustering(number, linkage="ward").fit_predict(inputs[rows])
        runs["ward"].append(scores_of(truth[rows], clusters))
        found.append(np.full(count, -1, np.int32))
        found[-1][rows] = clusters
    titles = {"accuracy": f"{label}, Ward, accuracy", "nmi": f"{label}, Ward, NMI"}
    ward = records.of_runs("clustering", label, block, runs["ward"], prefix="ward/", headlines=titles)
    named, used = records.with_outcomes(ward, {
        metric: records.outcomes_of(np.stack(found)[:, None], truth[None], people=people, measure=measure)
        for metric, measure in (("accuracy", "clustering_accuracy"), ("nmi", "nmi"))
    })
    scores += named
    outcomes |= used
    scores += records.of_runs("clustering", label, block, runs["kmeans"], prefix="kmeans/")
  protocol = _protocol(features, label, number, seeds)
  return Result(f"clustering/{label}", protocol, tuple(scores), outcomes=outcomes)


def _protocol(features: Features, label: str, number: int, seeds: Sequence[int]) -> dict:
  return {
      "description": "clustering",
      "labels": [label],
      "clusters": number,
      "examples": min(size(features), LARGEST),
      "seeds": list(seeds),
      "subsets": {name: list(subset) for name, subset in subsets(features.blocks).items()},
      "standardised": "with the mean and deviation of the examples",
      "selection": "none",
      "solvers": {
          "ward": "scikit-learn AgglomerativeClustering",
          "kmeans": f"scikit-learn KMeans, the best of {STARTS} starts",
      },
  }


def jobs(context: Context) -> Iterator[Job]:
  """One for each label of several classes, on the test split."""
  for name in classes(context):
    yield f"clustering/{name}", lambda name=name: clustering(context.test, name, **context.probes)


TASK = Task(jobs, order=30)
