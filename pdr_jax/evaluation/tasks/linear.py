"""Linear classification on frozen features.

The probes are converged logistic regression, ridge, and the published Adam probe.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.features import (
    Features,
    class_count,
    class_name,
    classified,
    people_in,
    select,
    size,
    subsets,
)
from pdr_jax.evaluation.probes.linear_maps import HELD_OUT, SOLVERS, softmax
from pdr_jax.evaluation.records import Outcomes, Result, Score
from pdr_jax.evaluation.task import ATTRIBUTES, Context, Job, Task, attributes, classes
from pdr_jax.metrics.classification import classification
from pdr_jax.metrics.samples import standardize

MAJORITY = "most frequent class"  # the block of what needs no features
# Of logits: {group: {metric: value}}; "" is the group of what the task is about, others are single
# attributes.
Scorer = Callable[[Float[np.ndarray, "M T"]], dict[str, dict[str, float]]]
# Of logits: which examples were right, `[P, M]`, one part a label.
Judge = Callable[[Float[np.ndarray, "M T"]], Bool[np.ndarray, "P M"]]


class Problem(NamedTuple):
  """What linear maps are fitted to.

  Attributes:
    train, test: features of the splits.
    targets: of train, 0 and 1.
    exclusive: whether the targets exclude one another.
    score: of the logits of test.
    right: of the logits of test.
    truth: of test, the class of each label.
    people: who is on the examples of test, see `records.outcomes_of`.
  """

  train: Features
  test: Features
  targets: Float[np.ndarray, "N T"]
  exclusive: bool
  score: Scorer
  right: Judge
  truth: Int[np.ndarray, "P M"]
  people: Int[np.ndarray, " M"] | None


def multi_class(
    train: Features,
    test: Features,
    label: str,
    *,
    seeds: Sequence[int] = range(5),
    solvers: Sequence[str] = tuple(SOLVERS),
    task: str = "linear",
    headlines: Mapping[str, str] | None = None,
    identity: str = "",
) -> Result:
  """Classes that exclude one another (emotion, identity, make of a car), by softmax.

  The penalty is the one with the best held-out accuracy. Scores are `SOLVER/METRIC` of
  `metrics.classification`. `task` is what the records are called, `headlines` names the metrics of the
  logistic regression that studies show. `identity` names the label of the person, where people repeat.
  """
  shown = _headlines(label) if headlines is None else headlines
  train, test = classified(train, test, [label])
  targets = np.eye(class_count(label, train, test), dtype=np.float32)[train.labels[label]]
  truth = test.labels[label]

  def score(logits: np.ndarray) -> dict[str, dict[str, float]]:
    # Average precision ranks examples by one class: their probabilities can be compared, logits only within
    # one.
    return {"": classification(truth, logits.argmax(axis=1), softmax(logits))}

  majority = float(np.mean(truth == targets.sum(axis=0).argmax()))

  def right(logits: np.ndarray) -> np.ndarray:
    return (logits.argmax(axis=1) == truth)[None]

  people = people_in(test, identity)
  problem = Problem(train, test, targets, True, score, right, truth[None], people)
  scores, fits, _, outcomes = _scores(problem, seeds, solvers, task=task, label=label, headlines=shown)
  protocol = _protocol(train, test, [label], targets.shape[1], seeds, solvers)
  protocol["description"] = "linear classification, multi-class"
  unseen = np.setdiff1d(truth, train.labels[label]).tolist()
  protocol["only_in_test"] = [class_name(test, label, i) for i in unseen]
  scores += records.of_runs(task, label, MAJORITY, [{"accuracy": majority}], direction="")
  return Result(f"{task}/{label}", protocol, tuple(scores), {"fit": fits}, outcomes=outcomes)


def multi_label(
    train: Features,
    test: Features,
    labels: Sequence[str],
    *,
    seeds: Sequence[int] = range(5),
    solvers: Sequence[str] = tuple(SOLVERS),
    identity: str = "",
) -> Result:
  """Attributes that are there or not (0 or 1), each by a sigmoid.

  Each has the penalty with its own best held-out accuracy. Scores are means over the attributes; each
  attribute's own are in `details["labels"]`.
  """
  train, test = classified(train, test, labels)
  for name in labels:
    if class_count(name, train, test) > 2:
      raise UserError(f"label {name!r} has more than two classes: name it alone, as a multi-class label")
  targets = np.stack([train.labels[name] for name in labels], axis=1).astype(np.float32)
  truth = np.stack([test.labels[name] for name in labels], axis=1)

  def score(logits: np.ndarray) -> dict[str, dict[str, float]]:
    each = {
        name: classification(truth[:, i], (logits[:, i] > 0).astype(np.int32), logits[:, i : i + 1])
        for i, name in enumerate(labels)
    }
    metrics = each[labels[0]]
    return {"": {key: float(np.mean([scores[key] for scores in each.values()])) for key in metrics}, **each}

  majority = float(np.mean(truth == (targets.mean(axis=0) > 0.5)[None]))

  def right(logits: np.ndarray) -> np.ndarray:
    return ((logits > 0) == truth).T

  people = people_in(test, identity)
  problem = Problem(train, test, targets, False, score, right, truth.T, people)
  words = {"task": "linear", "label": ATTRIBUTES, "headlines": _headlines(ATTRIBUTES)}
  scores, fits, parts, outcomes = _scores(problem, seeds, solvers, **words)
  protocol = _protocol(train, test, list(labels), 2, seeds, solvers)
  protocol["description"] = "linear classification, multi-label"
  scores += records.of_runs("linear", ATTRIBUTES, MAJORITY, [{"accuracy": majority}], direction="")
  details = {"fit": fits, "labels": parts}
  return Result(f"linear/{ATTRIBUTES}", protocol, tuple(scores), details, outcomes=outcomes)


def _scores(
    problem: Problem,
    seeds: Sequence[int],
    solvers: Sequence[str],
    *,
    task: str,
    label: str,
    headlines: Mapping[str, str],
) -> tuple[list[Score], dict, dict, dict[str, Outcomes]]:
  """The records of every subset and solver.

  How each was fitted, and the scores of single attributes, are given by subset and solver. Last are the
  outcomes of examples of the scores that studies show.
  """
  scores, fits, parts, outcomes = [], {}, {}, {}
  blocks = problem.train.blocks
  for block, subset in subsets(blocks).items():
    raw = select(problem.train, subset), select(problem.test, subset)
    standard = standardize(*raw)
    fits[block], parts[block] = {}, {}
    for name in solvers:
      solver = SOLVERS[name]
      if len(subset) == 1 < len(blocks) and not solver.single_blocks:
        continue
      inputs, test_inputs = standard if solver.standard else raw
      models = solver.fit(inputs, problem.targets, problem.exclusive, list(seeds))
      maps = zip(models.coefficients, models.intercepts, strict=True)
      logits = [test_inputs @ w.T + b for w, b in maps]
      runs = [problem.score(each) for each in logits]
      whole = [run[""] for run in runs]
      shown = headlines if name == "logistic" else {}
      of_block = records.of_runs(task, label, block, whole, prefix=f"{name}/", headlines=shown)
      right = np.stack([problem.right(each) for each in logits]) if shown else None
      named, used = records.with_outcomes(of_block, {} if right is None else of_classes(right, problem))
      scores += named
      outcomes |= used
      fits[block][name] = models.report
      parts[block][name] = {group: _lists([run[group] for run in runs]) for group in runs[0] if group}
  return scores, fits, parts, outcomes


def of_classes(right: Bool[np.ndarray, "S P M"], problem: Problem) -> dict[str, Outcomes]:
  """The outcomes of accuracy, and of balanced accuracy, whose strata are the true classes."""
  truth, people = problem.truth, problem.people
  return {
      "accuracy": records.outcomes_of(right, truth, people=people),
      "balanced_accuracy": records.outcomes_of(right, truth, strata=truth, people=people),
  }


def _headlines(label: str) -> dict[str, str]:
  return {
      "accuracy": f"{label}, linear, accuracy",
      "balanced_accuracy": f"{label}, linear, balanced accuracy",
  }


def _lists(runs: Sequence[dict[str, float]]) -> dict[str, list[float]]:
  """`{metric: values}` of one dict of metrics a seed."""
  return {name: [run[name] for run in runs] for name in runs[0]}


def _protocol(
    train: Features,
    test: Features,
    labels: list[str],
    count: int,
    seeds: Sequence[int],
    solvers: Sequence[str],
) -> dict:
  return {
      "labels": labels,
      "classes": count,
      "train": size(train),
      "test": size(test),
      "seeds": list(seeds),
      "subsets": {name: list(subset) for name, subset in subsets(train.blocks).items()},
      "held_out": HELD_OUT,
      "solvers": {name: dict(SOLVERS[name].protocol) for name in solvers},
  }


def jobs(context: Context) -> Iterator[Job]:
  """One for each label of several classes, and one for all attributes."""
  train, test, words = context.train, context.test, context.probes
  for name in classes(context):
    yield f"linear/{name}", lambda name=name: multi_class(train, test, name, **words)
  if attributes(context):
    yield f"linear/{ATTRIBUTES}", lambda: multi_label(train, test, attributes(context), **words)


TASK = Task(jobs, order=10)
