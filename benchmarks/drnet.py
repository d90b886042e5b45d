"""DrNET's training step next to the same networks in PyTorch eager, and its data next to the step.

  python -m benchmarks.drnet [--config FILE[:VARIANT]] [--sizes 32x32x64,64x64x32] [--steps 10] [--no_torch]

Both make the same step (discriminator, then encoders and decoder, four Adams, batch statistics) from the same
weights on the same clips; PyTorch's draws of frames are made beforehand. They alternate, so that a busy
machine hits both. The first losses of both are printed: the networks and the step are the same. The last
column is how much faster clips are drawn than used.
"""

import argparse
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import measure
from pdr_jax import methods
from pdr_jax.data import pipeline
from pdr_jax.imports import drnet_networks
from pdr_jax.methods.drnet import sampling
from pdr_jax.training import step as training


def ours(config: ConfigDict, state: object, batch: dict) -> Callable[[], float]:
  """One step of the method, the loss before it."""
  method, root = methods.create(config), training.stream(0, "update")
  update, placed = training.update_fn(method), training.place(batch)

  def run():
    nonlocal state
    state, metrics = update(state, placed, root)
    total, count = metrics.fetch()["loss"]
    return total / count

  return run


def in_torch(config: ConfigDict, nets: dict, batch: dict) -> Callable[[], float]:
  """The same in PyTorch, eager, on the frames that our first step draws."""
  import torch

  from tests.support import drnet_reference

  optimisers = drnet_reference.optimisers(nets, config.optim.learning_rate, config.optim.b1)
  clips = torch.from_numpy(np.moveaxis(batch["clip"], -1, 2).copy())
  frames, partners = draws(config, len(clips))
  frames = {name: torch.from_numpy(np.array(value)) for name, value in frames.items()}
  return lambda: drnet_reference.step(
    nets, optimisers, clips, frames, torch.from_numpy(np.array(partners)), config
  )["loss"]


def draws(config: ConfigDict, count: int) -> tuple[dict, np.ndarray]:
  """The frames, and the places of other clips, that our first step draws."""
  rng = jax.random.fold_in(training.stream(0, "update"), 0)
  frames = sampling.draw(jax.random.fold_in(rng, 0), jnp.arange(count), config)
  shift = jax.random.randint(jax.random.fold_in(rng, 1), (), 1, count)
  named = {name: value for name, value in frames._asdict().items() if name != "pair"}
  return named, (np.arange(count) + int(shift)) % count


def clips_per_second(config: ConfigDict, seconds: float = 2.0) -> float:
  """How fast clips are drawn by the input pipeline."""
  batches = pipeline.train_iterator(config, methods.describe(config.method).reads(config))
  next(batches)
  start, count = time.perf_counter(), 0
  while time.perf_counter() - start < seconds:
    next(batches)
    count += config.train.batch_size
  batches.close()
  return count / (time.perf_counter() - start)


def compare(config: ConfigDict, steps: int, with_torch: bool) -> None:
  """Measures one configuration and prints a line; the networks and losses are the published ones."""
  config.drnet.update(normalise_pose=True, reconstruction="squared")
  spec = methods.describe(config.method).reads(config)
  batch = next(pipeline.train_iterator(config, spec))
  state = training.initial_state(methods.create(config), 0, batch)
  runs = {}
  if with_torch:
    from tests.support import drnet_reference

    nets = drnet_reference.networks(config)
    dicts = {name: {k: v.numpy().copy() for k, v in net.state_dict().items()} for name, net in nets.items()}
    variables = drnet_networks.variables_of(dicts, config)
    params = {name: jax.tree.map(jnp.array, variables[name]) for name in state.params}
    model_state = jax.tree.map(jnp.array, variables["model_state"])
    state = training.replicate(jax.device_get(state).replace(params=params, model_state=model_state))
    runs["torch"] = in_torch(config, nets, batch)
  runs["jax"] = ours(config, state, batch)
  first = {name: run() for name, run in runs.items()}
  times: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(steps):
    for name, run in runs.items():
      start = time.perf_counter()
      run()
      times[name].append(time.perf_counter() - start)
  best = {name: np.median(values) for name, values in times.items()}
  rate = clips_per_second(config) * best["jax"] / config.train.batch_size
  what = f"side {config.data.side}, width {config.drnet.width}, batch {config.train.batch_size}"
  told = ", ".join(f"{name} {1e3 * best[name]:.0f} ms (first loss {first[name]:.5f})" for name in runs)
  print(f"{what}: {told}; clips are drawn {rate:.1f} times as fast as used", flush=True)


def main() -> None:
  """Parses the command line, measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/drnet_digits.py")
  parser.add_argument("--sizes", default="", help="SIDExWIDTHxBATCH,...: instead of the configuration's")
  parser.add_argument("--steps", type=int, default=10)
  parser.add_argument("--no_torch", action="store_true")
  args = parser.parse_args()
  print(measure.machine())
  import importlib.util

  path, _, variants = args.config.partition(":")
  spec = importlib.util.spec_from_file_location("benchmark_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  for size in args.sizes.split(",") if args.sizes else [""]:
    config = module.get_config(variants)
    if size:
      config.data.side, config.drnet.width, config.train.batch_size = map(int, size.split("x"))
    compare(config, args.steps, not args.no_torch)


if __name__ == "__main__":
  main()
