"""Few labels: classification from n examples of each class, by logistic regression and by nearest neighbours."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, Int
from sklearn.neighbors import KNeighborsClassifier

from pdr_jax.errors import UserError
from pdr_jax.evaluation import logistic, metrics
from pdr_jax.evaluation.features import Features, class_count, classified, select, size, standardize, subsets

L2 = 0.01  # of the mean loss: too few labels to choose it by
NEIGHBOURS = 20  # at most; never more than there are examples of a class


def few_shot(
    train: Features, test: Features, label: str, *, shots: Sequence[int] = (1, 5, 10, 100), draws: Sequence[int] = range(10)
) -> dict:
  """Curves over the number of labels of each class, and nearest neighbours with all of train ("all").

  A draw's n examples are the first n of a random order of each class, so that larger ones contain the smaller. Numbers that the smallest
  class does not reach are left out and named in the protocol. Features are standardised with all of train, which needs no labels.
  Returns `{task, protocol, results}`; `results[subset][logistic or knn][shots]` is `metrics.classification` over the draws.
  """
  train, test = classified(train, test, [label])
  labels, truth, classes = train.labels[label], test.labels[label], class_count(label, train, test)
  smallest = int(np.unique(labels, return_counts=True)[1].min())
  usable = sorted(n for n in shots if n <= smallest)
  if not usable:
    raise UserError(f"label {label!r}: its smallest class has {smallest} training examples, fewer than each of the shots "
                    f"{', '.join(map(str, shots))}: ask for fewer")
  chosen, results = subsets(train.blocks), {}
  for name, subset in chosen.items():
    inputs, held = standardize(select(train, subset), select(test, subset))
    runs = {"logistic": {n: [] for n in usable}, "knn": {n: [] for n in usable}}
    for seed in draws:
      rows, rank = draw(labels, usable[-1], seed)
      logits = _logits(inputs[rows], labels[rows], rank, usable, held, classes)
      for i, n in enumerate(usable):
        scores = np.asarray(jax.nn.softmax(logits[i], axis=1))
        runs["logistic"][n].append(metrics.classification(truth, logits[i].argmax(axis=1), scores))
        few = rows[rank < n]
        runs["knn"][n].append(nearest_neighbours(inputs[few], labels[few], held, truth, min(n, NEIGHBOURS)))
    results[name] = {kind: {str(n): metrics.over_seeds(found) for n, found in curve.items()} for kind, curve in runs.items()}
    everything = nearest_neighbours(inputs, labels, held, truth, min(smallest, NEIGHBOURS))
    results[name]["knn"]["all"] = metrics.over_seeds([everything])
  return {
      "task": "few-shot classification",
      "protocol": {
          "labels": [label], "classes": classes, "train": size(train), "test": size(test), "shots": usable,
          "shots_left_out": sorted(set(shots) - set(usable)), "seeds": list(draws),
          "subsets": {name: list(subset) for name, subset in chosen.items()},
          "standardised": "with the mean and deviation of all of train", "selection": "none",
          "solvers": {"logistic": f"L-BFGS, mean loss + l2/2 |w|^2 with l2 = {L2}",
                      "knn": f"cosine similarity, min(shots, {NEIGHBOURS}) neighbours, votes weighted by 1 / (1 - similarity)"},
      },
      "results": results,
  }


def draw(labels: Int[np.ndarray, " N"], count: int, seed: int) -> tuple[Int[np.ndarray, " R"], Int[np.ndarray, " R"]]:
  """Indices of `count` random examples of each class, and the rank of each within its class's order: those below n are n of each."""
  random = np.random.default_rng(seed)
  rows = [random.permutation(np.flatnonzero(labels == k))[:count] for k in np.unique(labels)]
  return np.concatenate(rows), np.concatenate([np.arange(len(part)) for part in rows])


def nearest_neighbours(
    inputs: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], held: Float[np.ndarray, "M D"], truth: Int[np.ndarray, " M"],
    neighbours: int,
) -> dict[str, float]:
  """`metrics.classification` of votes of the most similar examples by cosine, weighted by the inverse of their distance."""
  voters = KNeighborsClassifier(neighbours, weights="distance", metric="cosine").fit(inputs, labels)
  votes = np.zeros((len(held), max(labels.max(), truth.max()) + 1))
  votes[:, voters.classes_] = voters.predict_proba(held)
  return metrics.classification(truth, votes.argmax(axis=1), votes)


def _logits(
    inputs: Float[np.ndarray, "R D"], labels: Int[np.ndarray, " R"], rank: Int[np.ndarray, " R"], shots: Sequence[int],
    held: Float[np.ndarray, "M D"], classes: int,
) -> Float[np.ndarray, "n M K"]:
  """Test logits for each number of shots: these are rows of example weights, and all are solved at once."""
  weights = (rank[None] < np.asarray(shots)[:, None]).astype(np.float32)
  fit = logistic.fit_multinomial(inputs, labels, weights, np.float32([L2]), classes=classes)
  coefficients, intercepts = np.asarray(fit.coefficients)[:, 0], np.asarray(fit.intercepts)[:, 0]
  return np.stack([held @ w.T + b for w, b in zip(coefficients, intercepts, strict=True)])
