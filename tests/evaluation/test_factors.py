"""The factor matrix: a block that holds a factor tells it, one that does not tells nothing, and a duplicate leaks."""

import numpy as np
import pytest

from pdr_jax.errors import UserError
from pdr_jax.evaluation import factors
from pdr_jax.evaluation.features import Features


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
  labels = {f"light/{i}": light[:, i] for i in range(3)} | {f"view/{i}": view[:, i] for i in range(2)} | {"view/2": np.zeros(count)}
  return Features({k: v.astype(np.float32) for k, v in blocks.items()}, {k: v.astype(np.float32) for k, v in labels.items()}, {})


@pytest.mark.parametrize(("kind", "own", "other"), [
    ("perfect", (0.99, 1), (0, 0.1)), ("constant", (0, 0.1), (0, 0.1)), ("duplicated", (0.99, 1), (0.99, 1)),
    ("noise", (0, 0.1), (0, 0.1))])
def test_sentinels(kind, own, other):
  found = factors.factors(split(kind, 0), split(kind, 1))
  matrix = found["results"]
  for factor, stranger in (("light", "view"), ("view", "light")):
    assert own[0] <= matrix[factor][factor] <= own[1]
    assert other[0] <= matrix[stranger][factor] <= other[1]
    assert found["leakage"][factor] == pytest.approx(matrix[stranger][factor])
  assert (found["numbers"]["informativeness"] > 0.9) == (kind in ("perfect", "duplicated"))
  assert found["protocol"]["factors"]["view"] == ["view/0", "view/1"]  # what never varies has no R2


def test_data_without_factors_is_an_error():
  plain = Features({"depth": np.ones((4, 2), np.float32)}, {"who": np.arange(4, dtype=np.int32)}, {})
  with pytest.raises(UserError, match="no factor of known value"):
    factors.factors(plain, plain)
