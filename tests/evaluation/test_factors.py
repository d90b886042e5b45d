"""The factor matrix: a block that holds a factor tells it, and one that does not tells nothing.

A duplicate leaks.
"""

import numpy as np
import pytest
from support.results import mean, score, through_json

from pdr_jax.errors import UserError
from pdr_jax.evaluation import joined
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.tasks import factors


def split(kind, seed, count=400):
  random = np.random.default_rng(seed)
  light, view = random.normal(size=(count, 3)), random.normal(size=(count, 2))
  mixing = np.random.default_rng(7).normal(size=(3, 5)), np.random.default_rng(8).normal(size=(2, 5))
  own = light @ mixing[0], view @ mixing[1]
  blocks = {
    "perfect": {"light": own[0], "view": own[1]},
    "constant": {"light": np.ones((count, 5)), "view": np.ones((count, 5))},
    "duplicated": {"light": np.concatenate(own, 1), "view": np.concatenate(own, 1)},
    "noise": {"light": random.normal(size=(count, 5)), "view": random.normal(size=(count, 5))},
  }[kind]
  labels = {f"light/{i}": light[:, i] for i in range(3)} | {f"view/{i}": view[:, i] for i in range(2)}
  return Features(
    {name: block.astype(np.float32) for name, block in blocks.items()},
    labels | {"view/2": np.zeros(count)},
    {},
  )


@pytest.mark.parametrize(
  ("kind", "own", "other"),
  [
    ("perfect", (0.99, 1), (0, 0.1)),
    ("constant", (0, 0.1), (0, 0.1)),
    ("duplicated", (0.99, 1), (0.99, 1)),
    ("noise", (0, 0.1), (0, 0.1)),
  ],
)
def test_sentinels(kind, own, other, tmp_path):
  result = through_json(factors.factors(split(kind, 0), split(kind, 1)), tmp_path)
  (drawn,) = joined.matrices({"": [{"factors": result}]})
  assert list(drawn.rows) == ["light", "view", "all"] and list(drawn.rows["all"]) == ["light", "view"]
  for factor, stranger in (("light", "view"), ("view", "light")):
    assert own[0] <= drawn.rows[factor][factor] <= own[1]
    assert other[0] <= drawn.rows[stranger][factor] <= other[1]
    assert mean(result, "", "leakage/r2", factor) == pytest.approx(drawn.rows[stranger][factor])
  assert (mean(result, "all", "informativeness") > 0.9) == (kind in ("perfect", "duplicated"))
  assert result.protocol["factors"]["view"] == ["view/0", "view/1"]  # what never varies has no R2
  assert score(result, "view", "r2", "light").headline == "light, R2"


def test_normalised_pictures_are_no_code(tmp_path):
  """They have a row of their own, and neither leak nor count as numbers of the encoder."""
  splits = [split("perfect", seed) for seed in (0, 1)]
  with_pictures = [
    part._replace(blocks=part.blocks | {"normalized": np.concatenate(list(part.blocks.values()), 1)})
    for part in splits
  ]
  plain, more = (factors.factors(*parts) for parts in (splits, with_pictures))
  assert mean(more, "normalized", "r2", "light") > 0.99
  for name, block in (("leakage/r2", ""), ("mig", "all"), ("disentanglement", "all")):
    label = "" if block else "light"
    theirs = score(more, "encoder" if block else "", name, label).values
    assert theirs == score(plain, block, name, label).values


def test_examples_without_a_factor_do_not_count():
  train, test = split("perfect", 0), split("perfect", 1)
  rows = np.arange(400) < 50
  train.labels["light/1"][rows] = np.nan
  result = factors.factors(train._replace(missing={"light/1": rows}), test)
  assert result.protocol["train"] == 350 and mean(result, "light", "r2", "light") > 0.99


def test_data_without_factors_is_an_error():
  plain = Features({"depth": np.ones((4, 2), np.float32)}, {"who": np.arange(4, dtype=np.int32)}, {})
  with pytest.raises(UserError, match="no factor of known value"):
    factors.factors(plain, plain)
