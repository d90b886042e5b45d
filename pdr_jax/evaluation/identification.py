"""Who is it (closed set), and is it the same person (verification, people unseen in training)?"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from pdr_jax.errors import UserError
from pdr_jax.evaluation import linear, metrics
from pdr_jax.evaluation.features import Features, check, class_count, classified, labelled, select, size, standardize, subsets, take

PAIRS = 20_000  # of each kind, at most


def closed_set(train: Features, test: Features, label: str = "identity", *, seeds: Sequence[int] = range(5)) -> dict:
  """Names the person in a test picture among those of train: by the class mean with the largest cosine, and by logistic regression.

  Test pictures of people that train does not have are left out. Where train has none of them (people are kept apart), half of each person's
  test pictures takes the place of train, and the other half is tested. Returns `{task, protocol, majority, results}`;
  `results[subset][nearest_mean or logistic]` as in `linear.multi_class`. The nearest mean has no seed and one value.
  """
  check(train, "train", [label])
  check(test, "test", [label])
  gallery = "train"
  if not np.isin(labelled(test, [label]).labels[label], labelled(train, [label]).labels[label]).any():
    gallery = "every other picture of each person in test"
    train, test = halves(labelled(test, [label]), label)
  train, test = classified(train, test, [label])
  known = np.isin(test.labels[label], train.labels[label])
  train, test = _numbered(train, take(test, known), label)
  found = linear.multi_class(train, test, label, seeds=seeds, solvers=["logistic"])
  labels, truth, count = train.labels[label], test.labels[label], class_count(label, train, test)
  for name, subset in subsets(train.blocks).items():
    inputs, held = standardize(select(train, subset), select(test, subset))
    scores = nearest_mean(inputs, labels, held, count)
    found["results"][name]["nearest_mean"] = {
        "scores": metrics.over_seeds([metrics.classification(truth, scores.argmax(axis=1), scores)])}
  found["task"] = "closed-set identification"
  found["protocol"].update(unknown_left_out=int(np.sum(~known)), gallery=gallery)
  found["protocol"]["solvers"] = {"logistic": found["protocol"]["solvers"]["logistic"],
                                  "nearest_mean": "largest cosine with the mean of a class's features, each scaled to length 1"}
  return found


def _numbered(train: Features, test: Features, label: str) -> tuple[Features, Features]:
  """The same with the people of train numbered from 0: ten thousand numbers in use for eight people would be ten thousand classes."""
  present = np.unique(train.labels[label])
  names = train.classes.get(label)
  classes = train.classes | ({label: tuple(names[k] for k in present)} if names else {})
  number = lambda part: part._replace(
      labels=part.labels | {label: np.searchsorted(present, part.labels[label]).astype(np.int32)}, classes=classes)
  return number(train), number(test)


def halves(features: Features, label: str) -> tuple[Features, Features]:
  """Every other example of each class, and the others; classes of fewer than four examples are left out. Raises `UserError` without any."""
  values = features.labels[label]
  turn = np.zeros(len(values), np.int64)  # which example of its class each one is
  for k in np.unique(values):
    rows = np.flatnonzero(values == k)
    turn[rows] = np.arange(len(rows))
  many = np.bincount(values)[values] >= 4
  if not many.any():
    raise UserError(f"label {label!r}: no class of the test split is in the train split, and none has four examples to be split in halves")
  return take(features, many & (turn % 2 == 0)), take(features, many & (turn % 2 == 1))


def nearest_mean(
    inputs: Float[np.ndarray, "N D"], labels: Int[np.ndarray, " N"], held: Float[np.ndarray, "M D"], classes: int
) -> Float[np.ndarray, "M K"]:
  """Cosine similarity of each example with the mean of each class's unit features; -2 for a class without examples."""
  unit, scores = normalize(inputs), np.full((len(held), classes), -2.0)
  present = np.unique(labels)
  means = np.stack([unit[labels == k].mean(axis=0) for k in present])
  scores[:, present] = normalize(held) @ normalize(means).T
  return scores


def normalize(inputs: Float[np.ndarray, "N D"]) -> Float[np.ndarray, "N D"]:
  """Rows scaled to length 1; a row of zeros stays."""
  length = np.linalg.norm(inputs, axis=1, keepdims=True)
  return inputs / np.where(length > 0, length, 1.0)


def verification(train: Features, test: Features, label: str = "identity", *, seeds: Sequence[int] = range(5)) -> dict:
  """Cosine similarity of pairs of test pictures, of people that train does not have; train only standardises the features.

  Each seed draws up to 20,000 pairs of the same and as many of different people. Returns `{task, protocol, results}`; `results[subset]` is
  `metrics.verification` over the seeds. Raises `UserError` where no such pair exists.
  """
  check(train, "train", [label])
  check(test, "test", [label])
  seen = labelled(train, [label]).labels[label]
  test = labelled(test, [label])
  unseen = take(test, ~np.isin(test.labels[label], seen))
  people, pictures = np.unique(unseen.labels[label], return_counts=True)
  if len(people) < 2 or pictures.max() < 2:
    raise UserError(f"label {label!r}: verification needs two people that the train split does not have, one of them in two test pictures; "
                    f"there {'is' if len(people) == 1 else 'are'} {len(people)}: split by person")
  chosen, results, drawn = subsets(test.blocks), {}, [pairs(unseen.labels[label], PAIRS, seed) for seed in seeds]
  for name, subset in chosen.items():
    _, held = standardize(select(train, subset), select(unseen, subset))
    unit = normalize(held)
    results[name] = metrics.over_seeds(
        [metrics.verification(same, np.einsum("pd,pd->p", unit[first], unit[second])) for first, second, same in drawn])
  return {
      "task": "verification",
      "protocol": {
          "labels": [label], "train": size(train), "test": size(unseen), "people": len(people), "seen_left_out": size(test) - size(unseen),
          "pairs": [{"same": int(same.sum()), "different": int((~same).sum())} for _, _, same in drawn], "seeds": list(seeds),
          "subsets": {name: list(subset) for name, subset in chosen.items()},
          "standardised": "with the mean and deviation of train", "selection": "none", "solvers": "cosine similarity",
      },
      "results": results,
  }


def pairs(
    people: Int[np.ndarray, " N"], count: int, seed: int
) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"], Bool[np.ndarray, " P"]]:
  """Random pairs of different pictures, none twice: up to `count` of the same person and up to `count` of two. Indices, and if the same."""
  random, drawn = np.random.default_rng(seed), []
  order = np.argsort(people, kind="stable")
  starts, sizes = np.unique(people[order], return_index=True, return_counts=True)[1:]
  for same in (True, False):
    # The i-th picture, in the order of people, pairs with those after it: inside its person's run, or beyond it.
    ends = np.repeat(starts + sizes, sizes)
    after = ends - np.arange(len(people)) - 1 if same else len(people) - ends
    total = int(after.sum())
    which = random.choice(total, min(count, total), replace=False, shuffle=False)
    bounds = np.cumsum(after)
    first = np.searchsorted(bounds, which, side="right")
    offset = which - (bounds[first] - after[first])
    drawn.append((order[first], order[(first + 1 if same else ends[first]) + offset], np.full(len(which), same)))
  return tuple(np.concatenate(parts) for parts in zip(*drawn, strict=True))
