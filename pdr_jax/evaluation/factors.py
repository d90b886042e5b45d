"""Which block of the features tells which true factor: held-out R2 of a linear readout, as a matrix of blocks by factors."""

import numpy as np

from pdr_jax.errors import UserError
from pdr_jax.evaluation import disentanglement, ridge
from pdr_jax.evaluation.features import Features, check, select, size, subsets

MANY = 16  # numbers of a factor; one with more is left out of DCI, MIG and SAP, which look at each alone
WIDEST = 1024  # numbers of a representation that these look at: pixels are no code, and would take hours


def groups(features: Features) -> dict[str, list[str]]:
  """Factors and the numbered labels they consist of: `{"light": ["light/0", ...], "view": [...]}`."""
  found: dict[str, list[str]] = {}
  for name, values in features.labels.items():
    if "/" in name and np.issubdtype(values.dtype, np.floating):
      found.setdefault(name.split("/")[0], []).append(name)
  return found


def factors(train: Features, test: Features, *, seed: int = 0) -> dict:
  """Ridge from every subset of blocks to every number of every factor; the penalty is chosen on a part of train.

  Returns `{task, protocol, results, leakage, numbers}`. `results[subset][factor]` is the mean R2 on test over the factor's numbers, each at
  least 0 (worse than the mean tells nothing); numbers that do not vary in train are left out. `leakage[factor]` is how much of a factor is
  readable from the blocks that it does not belong to: the mean of their R2, where a block has the factor's name. `numbers` are DCI, MIG and
  SAP of all blocks' single numbers, for factors of at most 16 numbers and representations of at most 1,024.
  Raises `UserError` without a numbered factor.
  """
  check(train, "train")
  check(test, "test")
  known = {name: [part for part in parts if np.std(train.labels[part]) > 1e-6] for name, parts in groups(train).items()}
  place = {name: i for i, name in enumerate(train.blocks)}
  known = {name: known[name] for name in sorted(known, key=lambda name: place.get(name, len(place))) if known[name]}
  if not known:
    raise UserError("the data has no factor of known value (light, view): only embedded worlds and sets with such labels have")
  columns = [part for parts in known.values() for part in parts]
  targets = [np.stack([split.labels[part] for part in columns], axis=1).astype(np.float64) for split in (train, test)]
  results = {}
  for name, subset in subsets(train.blocks).items():
    found = ridge.held_out_r2(select(train, subset), targets[0], select(test, subset), targets[1], l2=ridge.L2, seed=seed)
    scores = dict(zip(columns, np.maximum(found, 0.0), strict=True))
    results[name] = {factor: float(np.mean([scores[part] for part in parts])) for factor, parts in known.items()}
  others = lambda factor: [results[name][factor] for name in train.blocks if name != factor]
  leakage = {factor: float(np.mean(others(factor))) for factor in known if factor in train.blocks and others(factor)}
  every = select(train, tuple(train.blocks)), select(test, tuple(test.blocks))
  few = [i for i, column in enumerate(columns) if len(known[column.split("/")[0]]) <= MANY and every[0].shape[1] <= WIDEST]
  single = [target[:, few] for target in targets]
  return {
      "task": "factors, held-out R2",
      "protocol": {"factors": known, "train": size(train), "test": size(test), "seeds": [seed],
                   "solver": "ridge, closed form", "l2": ridge.L2,
                   "selection": "R2 on the share of train that the seed holds out; refitted to all of train; test scored once"},
      "results": results,
      "leakage": leakage,
      "numbers": disentanglement.dci(every[0], single[0], every[1], single[1], seed=seed)
                 | {"mig": disentanglement.mig(every[1], single[1]), "sap": disentanglement.sap(every[1], single[1])} if few else {},
  }
