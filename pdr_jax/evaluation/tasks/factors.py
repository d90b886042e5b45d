"""Which block of the features tells which true factor: held-out R2 of a linear readout, blocks by factors."""

from collections.abc import Iterator, Sequence

import numpy as np
from sklearn.metrics import r2_score

from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.features import (
    ENCODER,
    Features,
    absent,
    check,
    is_class,
    of_encoder,
    people_in,
    select,
    size,
    subsets,
    take,
    values,
)
from pdr_jax.evaluation.probes import ridge
from pdr_jax.evaluation.records import Figure, Result, Score, widest
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.metrics import disentanglement

MANY = 16  # numbers of a factor; one with more is left out of DCI, MIG and SAP, which look at each alone
WIDEST = 1024  # numbers of a representation that these look at: pixels are no code, and would take hours
FIGURE = Figure(
    "matrix", "r2", "features (rows) that tell a factor (columns)", upwards="held-out R2 of a ridge"
)


def groups(features: Features) -> dict[str, list[str]]:
  """Factors and the numbered labels they consist of: `{"light": ["light/0", ...], "view": [...]}`."""
  parts: dict[str, list[str]] = {}
  for name in features.labels:
    if "/" in name and not is_class(features, name):
      parts.setdefault(name.split("/")[0], []).append(name)
  return parts


def factors(train: Features, test: Features, *, seed: int = 0, identity: str = "") -> Result:
  """Ridge from every subset of blocks to every number of every factor.

  The penalty is chosen on a part of train. `identity` names the label of the person, where people repeat.

  Scores:
    r2: of a block and a factor, the mean R2 on test over the factor's numbers, each at least 0 (worse than
      the mean tells nothing). Numbers that do not vary in train are left out.
    leakage/r2: how much of a factor is readable from the blocks that it does not belong to: the mean of their
      R2, where a block has the factor's name.
    disentanglement, completeness, informativeness, mig, sap: of the single numbers of all blocks of the
      encoder, for factors of at most 16 numbers and representations of at most 1,024.

  Raises `UserError` without a numbered factor.
  """
  check(train, "train")
  check(test, "test")
  known = _known(train)
  columns = [part for parts in known.values() for part in parts]
  train, test = (_with_all(split, columns) for split in (train, test))
  targets = [
      np.stack([split.labels[part] for part in columns], axis=1).astype(np.float64) for split in (train, test)
  ]
  matrix, scores, outcomes = {}, [], {}
  places = {factor: [columns.index(part) for part in parts] for factor, parts in known.items()}
  people = people_in(test, identity)
  for block, subset in subsets(train.blocks).items():
    inputs = select(train, subset), targets[0], select(test, subset)
    predicted = ridge.predict(*inputs, l2=ridge.L2, seed=seed).predicted
    each = np.maximum(r2_score(targets[1], predicted, multioutput="raw_values"), 0.0)
    matrix[block] = {factor: float(np.mean(each[place])) for factor, place in places.items()}
    for factor, value in matrix[block].items():
      score = Score("factors", factor, block, "r2", (value,), "higher", headline=f"{factor}, R2")
      said, true = (numbers[:, places[factor]].T for numbers in (predicted, targets[1]))
      given = {"r2": records.outcomes_of(said[None], true, people=people, measure="r2_from_zero")}
      named, used = records.with_outcomes([score], given)
      scores += named
      outcomes |= used
  scores += _leakage(matrix, of_encoder(train.blocks)) + _of_numbers(train, test, targets, known, seed)
  protocol = {
      "description": "factors, held-out R2",
      "factors": known,
      "train": size(train),
      "test": size(test),
      "seeds": [seed],
      "subsets": {name: list(subset) for name, subset in subsets(train.blocks).items()},
      "solver": "ridge, closed form",
      "l2": list(ridge.L2),
      "selection": ridge.SELECTION,
  }
  return Result("factors", protocol, tuple(scores), figure=FIGURE, outcomes=outcomes)


def _known(train: Features) -> dict[str, list[str]]:
  """Factors and their numbers that vary in train, in the order of the blocks of the same names."""
  varying = {
      name: [part for part in parts if np.std(values(train, part)) > 1e-6]
      for name, parts in groups(train).items()
  }
  place = {name: i for i, name in enumerate(train.blocks)}
  order = sorted(varying, key=lambda name: place.get(name, len(place)))
  known = {name: varying[name] for name in order if varying[name]}
  if not known:
    raise UserError(
        "the data has no factor of known value (light, view): only embedded worlds and sets with such labels "
        "have"
    )
  return known


def _with_all(features: Features, labels: list[str]) -> Features:
  """The examples that have a value of each of these labels."""
  for name in labels:
    if absent(features, name).any():
      features = take(features, ~absent(features, name))
  return features


def _leakage(matrix: dict[str, dict[str, float]], blocks: Sequence[str]) -> list[Score]:
  scores = []
  for factor in next(iter(matrix.values())):
    others = [matrix[block][factor] for block in blocks if block != factor]
    if factor in blocks and others:
      scores.append(Score("factors", factor, "", "leakage/r2", (float(np.mean(others)),), "lower"))
  return scores


def _of_numbers(
    train: Features, test: Features, targets: list[np.ndarray], known: dict[str, list[str]], seed: int
) -> list[Score]:
  """DCI, MIG and SAP of all blocks of the encoder together."""
  encoder = of_encoder(train.blocks)
  whole = select(train, encoder), select(test, encoder)
  columns = [name for name, parts in known.items() for _ in parts]
  few = [i for i, name in enumerate(columns) if len(known[name]) <= MANY and whole[0].shape[1] <= WIDEST]
  if not few:
    return []
  single = [target[:, few] for target in targets]
  measures = disentanglement.dci(whole[0], single[0], whole[1], single[1], seed=seed)
  measures["mig"] = disentanglement.mig(whole[1], single[1])
  measures["sap"] = disentanglement.sap(whole[1], single[1])
  chosen = subsets(train.blocks)
  block = ENCODER if ENCODER in chosen else widest(list(chosen))
  return [Score("factors", "", block, name, (value,), "higher") for name, value in measures.items()]


def jobs(context: Context) -> Iterator[Job]:
  """One, where the data has a factor of known value."""
  if groups(context.train):
    yield "factors", lambda: factors(context.train, context.test, identity=context.config.identity)


TASK = Task(jobs, order=50)
