"""The supervised bound ends when it stops improving, is kept once, and is not taken for another one."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from support import toy_encoder

from pdr_jax.config import base, variant
from pdr_jax.evaluation import depth_bound
from pdr_jax.evaluation.depth_bound import Bound
from pdr_jax.evaluation.probes import descent
from pdr_jax.methods.pdr import depth_network

SETTINGS = {"bound_steps": 100, "bound_every": 10, "bound_patience": 2}


def reading(run):
  representation = toy_encoder.representation(None, {}, 32)
  method = representation.method._replace(depth_network=depth_network.create(run))
  return representation._replace(method=method)


def bound(**changes):
  params = {"encoder": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}, "bias": np.float32([1, 2])}
  return Bound(params, 40, 0.0123, 60, True)._replace(**changes)


def test_a_file_gives_back_what_was_written_and_damage_is_no_bound(tmp_path):
  path = str(tmp_path / "bound.npz")
  assert depth_bound.read(path) is None
  depth_bound.write(path, bound())
  again = depth_bound.read(path)
  assert again[1:] == bound()[1:] and again.params.keys() == bound().params.keys()
  np.testing.assert_array_equal(again.params["encoder"]["kernel"], bound().params["encoder"]["kernel"])
  assert [file.name for file in tmp_path.iterdir()] == ["bound.npz"]
  with open(path, "r+b") as file:
    file.truncate(100)
  assert depth_bound.read(path) is None


def test_it_is_trained_once_unless_it_could_still_improve(tmp_path, monkeypatch):
  run, trained, said = variant(base(), "small"), [], []
  results = iter([bound(converged=False, trained=100), bound(), bound(step=1)])

  def train(*arguments):
    trained.append(arguments)
    return next(results)

  monkeypatch.setattr(depth_bound, "train", train)

  def obtain(run=run, **changes):
    return depth_bound.obtain(run, reading(run), SETTINGS | changes, str(tmp_path), said.append)

  assert not obtain().converged and not obtain().converged and len(trained) == 1  # all its steps were used
  assert obtain(bound_steps=200).converged and len(trained) == 2
  assert obtain(bound_steps=500).step == 40 and len(trained) == 2
  other_seed = ConfigDict(run.to_dict() | {"seed": 7})
  other_seed.optim.view_rate = 9.0
  assert obtain(run=other_seed).step == 40 and len(trained) == 2
  wider = ConfigDict(run.to_dict())
  wider.networks.width_map += 8
  assert obtain(run=wider).step == 1 and len(trained) == 3
  assert any("trained before" in line for line in said)


def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch):
  monkeypatch.setattr(depth_bound, "train", lambda *arguments: bound())
  (tmp_path / "file").write_text("")
  said = []
  run = variant(base(), "small")
  result = depth_bound.obtain(run, reading(run), SETTINGS, str(tmp_path / "file"), said.append)
  assert result.step == 40 and "cannot be kept" in said[-1]


@pytest.mark.parametrize(("scores", "step", "trained", "converged"), [
  ([5, 4, 4.5, 3, 3, 3.5], 40, 60, True),  # equal is not better
  ([9, 8, 7, 6, 5, 4, 3, 2, 1, 0.5], 100, 100, False),
])
def test_it_ends_after_the_looks_that_bring_nothing(monkeypatch, scores, step, trained, converged):
  """`train` on the looks alone: descent and scores are stood in for."""
  looks = iter(scores)
  monkeypatch.setattr(depth_bound, "run_once", lambda *arguments: {"step": 0})
  monkeypatch.setattr(depth_bound, "_mean", lambda pairs: next(looks))
  monkeypatch.setattr(depth_bound.batch_lib, "of_split", lambda *arguments: [])
  monkeypatch.setattr(depth_bound.batch_lib, "for_training", lambda *arguments: None)

  def minimise(objective, params, batches, tx, count, say, *, is_over, look_every):
    for number in range(look_every, count + 1, look_every):
      if is_over({"step": number}, number):
        break

  monkeypatch.setattr(depth_bound, "minimise", minimise)
  run = variant(base(), "small")
  result = depth_bound.train(run, reading(run), SETTINGS, lambda line: None)
  assert (result.step, result.params) == (step, {"step": step})
  assert (result.trained, result.converged) == (trained, converged)


def test_descent_asks_at_every_look_and_at_the_end():
  import jax.numpy as jnp
  import optax

  def batches():
    while True:
      yield {"x": np.ones((4, 1), np.float32)}

  asked = []

  def run(over_at, count):
    def is_over(params, step):
      asked.append((step, round(float(params["a"]), 3)))
      return step == over_at

    def objective(params, batch):
      return (params["a"] * batch["x"]).sum(), jnp.float32(batch["x"].shape[0])

    return descent.minimise(
      objective, {"a": jnp.zeros(())}, batches(), optax.sgd(1.0), count, is_over=is_over, look_every=2
    )

  assert float(run(4, 9)["a"]) == -4.0 and asked == [(2, -2.0), (4, -4.0)]
  asked.clear()
  run(0, 3)
  assert asked == [(2, -2.0), (3, -3.0)]
