"""A method of two optimisers, stopped and cut off and continued, equals one left alone, bit for bit."""

import os
import signal

import jax
import numpy as np
import pytest
from support import runs, toy, toy_run

from pdr_jax.training import loop, preemption
from pdr_jax.training import step as steps


class Gone(Exception):
  """In the place of a kill."""


class Eventful(toy.Stream):
  """A signal while batch 7 is drawn, an error while batch 11 is; each once."""

  left = None

  def __next__(self):
    if self._next in self.left:
      self.left.pop(self._next)()
    return super().__next__()


def train(workdir, data=None):
  return loop.train(toy.config(log_every=1), str(workdir), method=METHOD, data=data or toy.data())


def gone():
  raise Gone


METHOD = toy_run.method()


@pytest.mark.slow
def test_two_optimisers_resume_bit_for_bit(tmp_path):
  assert train(tmp_path / "whole").exit_code == 0
  data, cut = toy.data(), {7: lambda: os.kill(os.getpid(), signal.SIGTERM), 11: gone}
  data.train.__class__ = type("_", (Eventful,), {"left": cut})
  assert train(tmp_path / "cut", data).exit_code == preemption.AGAIN and runs.newest(tmp_path / "cut") == 7
  with pytest.raises(Gone):
    train(tmp_path / "cut", data)
  assert not cut and runs.newest(tmp_path / "cut") == 8
  assert train(tmp_path / "cut").exit_code == 0
  a, b = runs.arrays(tmp_path / "cut", 12), runs.arrays(tmp_path / "whole", 12)
  assert a.keys() == b.keys() and {"params/v", "params/w", "rest/opt_state/contrast/0/trace"} <= a.keys(), (
    sorted(a)
  )
  for name in b:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)
  assert runs.records(tmp_path / "cut") == runs.records(tmp_path / "whole")

  # By hand on one device.
  state, update = (
    jax.jit(METHOD.init)(steps.stream(0, "init"), toy.data().validation[0]),
    jax.jit(lambda *a: METHOD.update(*a, None)),
  )
  begun = state
  for k in range(12):
    state, _ = update(state, {"image": toy.images(8, seed=k + 1)}, steps.stream(0, "update", k))
  for name in ("v", "w"):
    near = dict(rtol=0, atol=runs.toy_tolerance(12))
    np.testing.assert_allclose(a[f"params/{name}"], state.params[name], **near)
    assert not np.allclose(a[f"params/{name}"], begun.params[name], atol=1e-2)
