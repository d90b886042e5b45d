"""Who is it (closed set), and is it the same person (verification, people unseen in training)?"""

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.features import (
    Features,
    check,
    class_count,
    classified,
    labelled,
    people_in,
    select,
    size,
    subsets,
    take,
    values,
)
from pdr_jax.evaluation.records import Result
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.evaluation.tasks.linear import multi_class
from pdr_jax.metrics import verification as verification_metrics
from pdr_jax.metrics.classification import classification
from pdr_jax.metrics.samples import standardize

PAIRS = 20_000  # of each kind, at most
CLOSED_SET, VERIFICATION = "identification/closed_set", "identification/verification"
TITLES = {
    "roc_auc": "verification, ROC AUC",
    "tar_at_far_1e-2": "verification, true accepts at 1 % false ones",
}


def closed_set(
    train: Features, test: Features, label: str = "identity", *, seeds: Sequence[int] = range(5)
) -> Result:
  """Names the person in a test picture among those of train.

  It does so by the nearest class mean and by logistic regression. The nearest mean is that of the largest
  cosine. Test pictures of people that train does not have are left out. Where train has none of them (people
  are kept apart), half of each person's test pictures takes the place of train, and the other half is tested.
  Scores are as in `linear.multi_class`; the nearest mean has no seed and one value.
  """
  check(train, "train", [label])
  check(test, "test", [label])
  gallery = "train"
  if not np.isin(values(test, label), values(train, label)).any():
    gallery = "every other picture of each person in test"
    train, test = halves(labelled(test, [label]), label)
  train, test = classified(train, test, [label])
  known = np.isin(test.labels[label], train.labels[label])
  train, test = _numbered(train, take(test, known), label)
  linear = multi_class(
      train, test, label, seeds=seeds, solvers=["logistic"], task=CLOSED_SET,
      headlines={"accuracy": "identification, linear, accuracy"}, identity=label,
  )
  labels, truth, count = train.labels[label], test.labels[label], class_count(label, train, test)
  scores, outcomes = list(linear.scores), dict(linear.outcomes)
  for block, subset in subsets(train.blocks).items():
    inputs, test_inputs = standardize(select(train, subset), select(test, subset))
    cosines = nearest_mean(inputs, labels, test_inputs, count)
    run = classification(truth, cosines.argmax(axis=1), cosines)
    titles = {"accuracy": "identification, nearest mean, accuracy"}
    of_block = records.of_runs(CLOSED_SET, label, block, [run], prefix="nearest_mean/", headlines=titles)
    right = (cosines.argmax(axis=1) == truth)[None, None]
    each = {"accuracy": records.outcomes_of(right, truth[None], people=people_in(test, label))}
    named, used = records.with_outcomes(of_block, each)
    scores += named
    outcomes |= used
  protocol = linear.protocol | {
      "description": "closed-set identification",
      "unknown_left_out": int(np.sum(~known)),
      "gallery": gallery,
      "solvers": linear.protocol["solvers"] | {
          "nearest_mean": "largest cosine with the mean of a class's features, each scaled to length 1"
      },
  }
  return linear._replace(task=CLOSED_SET, protocol=protocol, scores=tuple(scores), outcomes=outcomes)


def _numbered(train: Features, test: Features, label: str) -> tuple[Features, Features]:
  """The same with the people of train numbered from 0.

  Ten thousand numbers in use for eight people would be ten thousand classes.
  """
  present = np.unique(train.labels[label])
  names = train.classes.get(label)
  classes = train.classes | ({label: tuple(names[k] for k in present)} if names else {})

  def number(part: Features) -> Features:
    people = np.searchsorted(present, part.labels[label]).astype(np.int32)
    return part._replace(labels=part.labels | {label: people}, classes=classes)

  return number(train), number(test)


def halves(features: Features, label: str) -> tuple[Features, Features]:
  """Every other example of each class, and the others; classes of fewer than four examples are left out.

  Raises `UserError` without any.
  """
  people = features.labels[label]
  turn = np.zeros(len(people), np.int64)  # which example of its class each one is
  for k in np.unique(people):
    rows = np.flatnonzero(people == k)
    turn[rows] = np.arange(len(rows))
  many = np.bincount(people)[people] >= 4
  if not many.any():
    raise UserError(
        f"label {label!r}: no class of the test split is in the train split, and none has four examples to "
        "be split in halves"
    )
  return take(features, many & (turn % 2 == 0)), take(features, many & (turn % 2 == 1))


def nearest_mean(
    inputs: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, " N"],
    test_inputs: Float[np.ndarray, "M D"],
    classes: int,
) -> Float[np.ndarray, "M {classes}"]:
  """Cosine similarity of each example with the mean of each class's unit features.

  It is -2 for a class without examples.
  """
  unit, cosines = normalize(inputs), np.full((len(test_inputs), classes), -2.0)
  present = np.unique(labels)
  means = np.stack([unit[labels == k].mean(axis=0) for k in present])
  cosines[:, present] = normalize(test_inputs) @ normalize(means).T
  return cosines


def normalize(inputs: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
  """Rows scaled to length 1; a row of zeros stays."""
  length = np.linalg.norm(inputs, axis=1, keepdims=True)
  return inputs / np.where(length > 0, length, 1.0)


def verification(train: Features, test: Features, label: str = "identity", *, seed: int = 0) -> Result:
  """Cosine similarity of pairs of test pictures, of people that train does not have.

  Train only standardises the features. The seed draws up to 20,000 pairs of the same and as many of different
  people; there is no other chance in it. Scores are those of `metrics.verification`. Raises `UserError` where
  no such pair exists.
  """
  check(train, "train", [label])
  check(test, "test", [label])
  seen = values(train, label)
  test = labelled(test, [label])
  unseen = take(test, ~np.isin(test.labels[label], seen))
  people, pictures = np.unique(unseen.labels[label], return_counts=True)
  if len(people) < 2 or pictures.max() < 2:
    raise UserError(
        f"label {label!r}: verification needs two people that the train split does not have, one of them in "
        f"two test pictures; there {'is' if len(people) == 1 else 'are'} {len(people)}: split by person"
    )
  first, second, same = pairs(unseen.labels[label], PAIRS, seed)
  both = np.stack([unseen.labels[label][side] for side in (first, second)])
  scores, outcomes = [], {}
  for block, subset in subsets(test.blocks).items():
    _, test_inputs = standardize(select(train, subset), select(unseen, subset))
    unit = normalize(test_inputs)
    similarity = np.einsum("pd,pd->p", unit[first], unit[second])
    run = verification_metrics.verification(same, similarity)
    of_block = records.of_runs(VERIFICATION, label, block, [run], headlines=TITLES)
    named, used = records.with_outcomes(of_block, {
        name: records.outcomes_of(similarity[None, None], same[None], people=both, measure=name)
        for name in TITLES
    })
    scores += named
    outcomes |= used
  protocol = {
      "description": "verification",
      "labels": [label],
      "train": size(train),
      "test": size(unseen),
      "people": len(people),
      "seen_left_out": size(test) - size(unseen),
      "pairs": {"same": int(same.sum()), "different": int((~same).sum())},
      "seeds": [seed],
      "subsets": {name: list(subset) for name, subset in subsets(test.blocks).items()},
      "standardised": "with the mean and deviation of train",
      "selection": "none",
      "solvers": "cosine similarity",
  }
  return Result(VERIFICATION, protocol, tuple(scores), outcomes=outcomes)


def pairs(
    people: Int[np.ndarray, " N"], count: int, seed: int
) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"], Bool[np.ndarray, " P"]]:
  """Random pairs of different pictures, none twice: indices of both, and whether it is the same person.

  Up to `count` pairs of the same person and up to `count` of two.
  """
  random, drawn = np.random.default_rng(seed), []
  order = np.argsort(people, kind="stable")
  starts, sizes = np.unique(people[order], return_index=True, return_counts=True)[1:]
  for same in (True, False):
    # The i-th picture, in the order of people, pairs with those after it: inside its person's run, or beyond
    # it.
    ends = np.repeat(starts + sizes, sizes)
    after = ends - np.arange(len(people)) - 1 if same else len(people) - ends
    total = int(after.sum())
    which = random.choice(total, min(count, total), replace=False, shuffle=False)
    bounds = np.cumsum(after)
    first = np.searchsorted(bounds, which, side="right")
    offset = which - (bounds[first] - after[first])
    start = first + 1 if same else ends[first]
    drawn.append((order[first], order[start + offset], np.full(len(which), same)))
  return tuple(np.concatenate(parts) for parts in zip(*drawn, strict=True))


def jobs(context: Context) -> Iterator[Job]:
  """Two, where the data says who is in its pictures."""
  train, test, who, seeds = context.train, context.test, context.config.identity, context.seeds
  if who in train.labels:
    yield CLOSED_SET, lambda: closed_set(train, test, who, seeds=seeds)
    yield VERIFICATION, lambda: verification(train, test, who)


TASK = Task(jobs, order=40)
