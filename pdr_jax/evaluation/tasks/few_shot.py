"""Few labels: classification from n examples of each class.

It is done by logistic regression and by nearest neighbours.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int
from sklearn.neighbors import KNeighborsClassifier

from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.features import Features, class_count, classified, people_in, select, size, subsets
from pdr_jax.evaluation.probes import logistic
from pdr_jax.evaluation.probes.linear_maps import softmax
from pdr_jax.evaluation.records import Result, Score
from pdr_jax.evaluation.records import name as name_of
from pdr_jax.evaluation.task import Context, Job, Task, classes
from pdr_jax.metrics.classification import classification
from pdr_jax.metrics.samples import standardize

SHOTS = (1, 5, 10, 100)
SHOWN = 10  # the largest number of labels that stands in a study's table
L2 = 0.01  # of the mean loss: too few labels to choose it by
NEIGHBOURS = 20  # at most; never more than there are examples of a class


def few_shot(
    train: Features,
    test: Features,
    label: str,
    *,
    shots: Sequence[int] = SHOTS,
    draws: Sequence[int] = range(10),
    identity: str = "",
) -> Result:
  """Curves over the number of labels of each class, and nearest neighbours with all of train ("all").

  A draw's n examples are the first n of a random order of each class, so that larger ones contain the
  smaller. Numbers that the smallest class does not reach are left out and named in the protocol. Features are
  standardised with all of train, which needs no labels. Scores are `logistic/N/METRIC` and `knn/N/METRIC`.
  `identity` names the label of the person, where people repeat.
  """
  train, test = classified(train, test, [label])
  labels, truth = train.labels[label], test.labels[label]
  smallest = int(np.unique(labels, return_counts=True)[1].min())
  usable = sorted(n for n in shots if n <= smallest)
  if not usable:
    raise UserError(
        f"label {label!r}: its smallest class has {smallest} training examples, fewer than each of the shots "
        f"{', '.join(map(str, shots))}: ask for fewer"
    )
  scores, outcomes = [], {}
  for block, subset in subsets(train.blocks).items():
    inputs, test_inputs = standardize(select(train, subset), select(test, subset))
    runs, right = _runs(inputs, labels, test_inputs, truth, usable, draws, class_count(label, train, test))
    votes = nearest_neighbours(inputs, labels, test_inputs, truth, min(smallest, NEIGHBOURS))
    right["knn/all"] = [votes.argmax(axis=1) == truth]
    everything = classification(truth, votes.argmax(axis=1), votes)
    for score in _records(label, block, runs, everything):
      solver = score.metric.rpartition("/")[0]
      each = {}
      if score.headline and name_of(score) == "accuracy":
        values = np.stack(right[solver])[:, None]
        each = {"accuracy": records.outcomes_of(values, truth[None], people=people_in(test, identity))}
      named, used = records.with_outcomes([score], each)
      scores += named
      outcomes |= used
  protocol = _protocol(train, test, label, usable, shots, draws)
  return Result(f"few_shot/{label}", protocol, tuple(scores), outcomes=outcomes)


def _runs(
    inputs: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    test_inputs: Float[np.ndarray, "M D"],
    truth: Int[np.ndarray, " M"],
    shots: Sequence[int],
    draws: Sequence[int],
    count: int,
) -> tuple[dict[str, dict[int, list[dict[str, float]]]], dict[str, list[np.ndarray]]]:
  """`{solver: {shots: [scores of each draw]}}`, and `{SOLVER/SHOTS: [which examples were right]}`."""
  runs = {"logistic": {n: [] for n in shots}, "knn": {n: [] for n in shots}}
  right: dict[str, list[np.ndarray]] = {}
  for seed in draws:
    rows, rank = draw(labels, shots[-1], seed)
    logits = _logits(inputs[rows], labels[rows], rank, shots, test_inputs, count)
    for i, n in enumerate(shots):
      few = rows[rank < n]
      votes = nearest_neighbours(inputs[few], labels[few], test_inputs, truth, min(n, NEIGHBOURS))
      for solver, each in (("logistic", softmax(logits[i])), ("knn", votes)):
        decided = (logits[i] if solver == "logistic" else each).argmax(axis=1)
        runs[solver][n].append(classification(truth, decided, each))
        right.setdefault(f"{solver}/{n}", []).append(decided == truth)
  return runs, right


def _records(label: str, block: str, runs: dict, everything: dict[str, float]) -> list[Score]:
  """The curves of one block; in studies the largest number of labels up to ten, and all of them."""
  shots = list(runs["logistic"])
  shown = max((n for n in shots if n <= SHOWN), default=min(shots))
  scores = []
  for solver, curve in runs.items():
    for n, draws in curve.items():
      titles = {}
      if solver == "logistic" and n == shown:
        titles = {"accuracy": f"{label}, {shown} labels a class, accuracy"}
      scores += records.of_runs(
          "few_shot", label, block, draws, prefix=f"{solver}/{n}/", headlines=titles, place=float(n)
      )
  titles = {"accuracy": f"{label}, nearest neighbours, accuracy"}
  return scores + records.of_runs("few_shot", label, block, [everything], prefix="knn/all/", headlines=titles)


def _protocol(
    train: Features, test: Features, label: str, usable: list[int], shots: Sequence[int], draws: Sequence[int]
) -> dict:
  return {
      "description": "few-shot classification",
      "labels": [label],
      "classes": class_count(label, train, test),
      "train": size(train),
      "test": size(test),
      "shots": usable,
      "shots_left_out": sorted(set(shots) - set(usable)),
      "seeds": list(draws),
      "subsets": {name: list(subset) for name, subset in subsets(train.blocks).items()},
      "standardised": "with the mean and deviation of all of train",
      "selection": "none",
      "solvers": {
          "logistic": f"L-BFGS, mean loss + l2/2 |w|^2 with l2 = {L2}",
          "knn": f"cosine similarity, min(shots, {NEIGHBOURS}) neighbours, votes weighted by "
                 "1 / (1 - similarity)",
      },
  }


def draw(
    labels: Int[np.ndarray, " N"], count: int, seed: int
) -> tuple[Int[np.ndarray, " R"], Int[np.ndarray, " R"]]:
  """Indices of `count` random examples of each class, and the rank of each within its class's order.

  Those of a rank below n are n of each class.
  """
  random = np.random.default_rng(seed)
  rows = [random.permutation(np.flatnonzero(labels == k))[:count] for k in np.unique(labels)]
  return np.concatenate(rows), np.concatenate([np.arange(len(part)) for part in rows])


def nearest_neighbours(
    inputs: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    test_inputs: Float[np.ndarray, "M D"],
    truth: Int[np.ndarray, " M"],
    neighbours: int,
) -> Float[np.ndarray, "M K"]:
  """The votes of the most similar examples by cosine for each class.

  They are weighted by the inverse distance.
  """
  voters = KNeighborsClassifier(neighbours, weights="distance", metric="cosine").fit(inputs, labels)
  votes = np.zeros((len(test_inputs), max(labels.max(), truth.max()) + 1))
  votes[:, voters.classes_] = voters.predict_proba(test_inputs)
  return votes


def _logits(
    inputs: Float[np.ndarray, "R D"],
    labels: Int[np.ndarray, " R"],
    rank: Int[np.ndarray, " R"],
    shots: Sequence[int],
    test_inputs: Float[np.ndarray, "M D"],
    count: int,
) -> Float[np.ndarray, "n M K"]:
  """Test logits for each number of shots: these are rows of example weights, and all are solved at once."""
  weights = (rank[None] < np.asarray(shots)[:, None]).astype(np.float32)
  fit = logistic.fit_multinomial(inputs, labels, weights, np.float32([L2]), classes=count)
  coefficients, intercepts = np.asarray(fit.coefficients)[:, 0], np.asarray(fit.intercepts)[:, 0]
  return np.stack([test_inputs @ w.T + b for w, b in zip(coefficients, intercepts, strict=True)])


def jobs(context: Context) -> Iterator[Job]:
  """One for each label of several classes."""
  for name in classes(context):
    yield f"few_shot/{name}", lambda name=name: few_shot(
        context.train, context.test, name, draws=context.seeds, identity=context.config.identity
    )


TASK = Task(jobs, order=20)
