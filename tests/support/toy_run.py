"""The toy run in processes of its own, to be stopped, killed and starved:

  PYTHONPATH=tests python -m support.toy_run WORKDIR [--train='{"steps": 40}'] [--delay=SECONDS_PER_BATCH]
      [--hang_at=BATCH] [--stop_at=BATCH]

Several processes: `PDR_JAX_DISTRIBUTED`, as for the real program. `{process}` in WORKDIR becomes the number
of the process. At its BATCH the run hangs in C, or the last process sends itself a SIGTERM.
"""

import argparse
import hashlib
import json
import os
import signal
import sys
import time

if __name__ == "__main__":
  os.environ.setdefault("JAX_PLATFORMS", "cpu")
  sys.modules["torch"] = None  # TensorBoard's writer would import it, which takes seconds

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pdr_jax.cli import flags
from pdr_jax.losses import contrastive
from pdr_jax.methods import Method
from pdr_jax.training import distributed, loop
from support import toy


def method() -> Method:
  """The toy method beside what LOOCC does across devices, with an optimiser of its own.

  `v` is trained so that NT-Xent of each image's colours under `w` and under `v` falls; reported are its value
  and its gradient's norm.
  """
  plain, tx = toy.method(), optax.sgd(0.1, momentum=0.9)

  def contrast(params, images, axis_name):
    colours = images.mean(axis=(1, 2))
    pair = [contrastive.l2_normalize(colours @ params[name]) for name in ("w", "v")]
    return contrastive.nt_xent(*pair, temperature=0.5, axis_name=axis_name).mean()

  def init(rng, batch):
    state = plain.init(rng, batch)
    v = jnp.square(state.params["w"])
    return state.replace(params=state.params | {"v": v}, opt_state=state.opt_state | {"contrast": tx.init(v)})

  def update(state, batch, rng, axis_name):
    value, gradient = jax.value_and_grad(contrast)(state.params, batch["image"], axis_name)
    if axis_name is not None:
      value, gradient = jax.lax.pmean((value, gradient), axis_name)
    norm = jnp.sqrt(jnp.square(gradient["w"]).sum() + jnp.square(gradient["v"]).sum())
    rest = {name: value for name, value in state.params.items() if name != "v"}
    new, metrics = plain.update(
      state.replace(params=rest, opt_state={"main": state.opt_state["main"]}), batch, rng, axis_name
    )
    change, moments = tx.update(gradient["v"], state.opt_state["contrast"])
    params, opt_state = new.params | {"v": state.params["v"] + change}, new.opt_state | {"contrast": moments}
    metrics = metrics | {"contrast": (value, jnp.ones(())), "contrast_gradient": (norm, jnp.ones(()))}
    return new.replace(params=params, opt_state=opt_state), metrics

  return plain._replace(init=init, update=update)


class Share(toy.Stream):
  """This process's part of each batch, at its own pace."""

  delay, hang_at, stop_at = 0.0, None, None

  def __next__(self) -> dict:
    if self._next == self.hang_at:
      # For hours in C: as in XLA, the main thread runs no signal handler.
      hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
    if self._next == self.stop_at and jax.process_index() == jax.process_count() - 1:
      os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(self.delay)
    del self.drawn[:]  # a soak draws for an hour and looks at its memory
    return part(super().__next__())


def part(batch: dict) -> dict:
  count = len(batch["image"]) // jax.process_count()
  return {name: value[jax.process_index() * count :][:count] for name, value in batch.items()}


def main(argv: list[str]) -> int:
  parser = argparse.ArgumentParser(usage=__doc__)
  parser.add_argument("workdir")
  parser.add_argument("--train", type=json.loads, default={})
  parser.add_argument("--delay", type=float, default=0.0)
  parser.add_argument("--hang_at", type=int)
  parser.add_argument("--stop_at", type=int)
  a = parser.parse_args(argv[1:])
  distributed.start()
  cache = os.environ.get("JAX_COMPILATION_CACHE_DIR", os.path.expanduser("~/.cache/pdr_jax/test_xla"))
  jax.config.update("jax_compilation_cache_dir", cache)
  # Or a busy machine compiles at each start.
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
  with distributed.failing_at_once():
    config = toy.config(**a.train)
    stream = Share(config.train.batch_size)
    stream.delay, stream.hang_at, stream.stop_at = a.delay, a.hang_at, a.stop_at
    whole = toy.data(config.train.batch_size)
    data = loop.Data(
      stream,
      [part(batch) for batch in whole.validation],
      f"toy data, {len(part(whole.validation[0])['image'])} each",
    )
    if jax.process_count() > 1:  # float64, which JAX itself would not keep
      me = jax.process_index()
      mine = {"index": np.array([me + 1e-12, 0.25]), "count": np.int64(me + 1)}
      total = distributed.sums(mine)
      print(f"sum {total['index'].tolist()}, count {int(total['count'])}")
    workdir = os.path.abspath(a.workdir.format(process=jax.process_index()))
    return loop.train(config, workdir, method=method(), data=data).exit_code


if __name__ == "__main__":
  flags.start(main)
