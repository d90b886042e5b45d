"""The whole training step: against PyTorch, and next to feature extraction.

It is measured in images per second and bytes per image.

  python -m benchmarks.step [torch] [throughput] [extraction] [--config configs/heads.py[:variant]] [--quick]

`torch`: forward, backward and Adam of the five networks (no renderer, LOOCC or perceptual loss) next to the
same networks in PyTorch, eager, with `torch.optim.Adam`, from the same weights on the same images; that both
have the same loss after the same steps shows that they do the same. PyTorch runs on the CPU, so only a CPU
run compares like with like. The Unsup3D step without the perceptual loss, which also renders, clips and
counts its metrics, is timed beside them.

`throughput`: the step of the configuration as training runs it, over all local devices, for each of
`--dtypes` and `--batches`: images per second, the program's temporary bytes per image (`memory_analysis`),
the device's peak where it tells. `--until_full`, on accelerators, goes on doubling the batch until memory
runs out, then tries halfway (JAX takes 75 % of a GPU's memory unless XLA_PYTHON_CLIENT_MEM_FRACTION says
otherwise).

`extraction`: `evaluation.extract` at the same batch, images read from memory, next to the training step.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import convolutions, measure
from pdr_jax.cli import runtime
from pdr_jax.evaluation.extract import extract
from pdr_jax.methods import TrainState, create
from pdr_jax.methods.shared import gradient_step, optimizer
from pdr_jax.training import step as training

# ---------------------------------------------------------------- against PyTorch


def networks_step(
  references: dict, width: int, images: np.ndarray, config: ConfigDict
) -> Callable[[], float]:
  """One step of our five networks, from the weights of the PyTorch `references` as they are now.

  Returns the loss before the step.
  """
  from tests.support.torch_reference import convert

  modules = convolutions.networks(width, 64, jnp.float32)
  params = {name: convert(reference)["params"] for name, reference in references.items()}
  tx, images = optimizer.create(config), jnp.asarray(images)
  state = jax.tree.map(
    jnp.array, TrainState(step=np.zeros((), np.int32), params=params, opt_state={"main": tx.init(params)})
  )

  def objective(params, images):
    outputs = [module.apply({"params": params[name]}, images) for name, module in modules.items()]
    return sum(jnp.square(leaf).mean() for leaf in jax.tree.leaves(outputs))

  def update(state, images):
    loss, grads = jax.value_and_grad(objective)(state.params, images)
    return gradient_step.descend(state, grads, tx=tx, config=config), loss

  update = jax.jit(update, donate_argnums=0)

  def run():
    nonlocal state
    state, loss = update(state, images)
    return jax.block_until_ready((state, float(loss)))[1]

  return run


def torch_step(references: dict, images: np.ndarray, config: ConfigDict) -> Callable[[], float]:
  """The same in PyTorch, eager."""
  import torch

  optim = config.optim
  adam = torch.optim.Adam(
    [p for reference in references.values() for p in reference.parameters()],
    lr=optim.learning_rate,
    betas=(optim.b1, optim.b2),
    weight_decay=optim.weight_decay,
  )
  pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

  def run():
    adam.zero_grad()
    loss = sum(output.square().mean() for reference in references.values() for output in reference(pixels))
    loss.backward()
    adam.step()
    return float(loss.detach())

  return run


def against_torch(config: ConfigDict, batch: int, repetitions: int) -> None:
  """Prints milliseconds per image and ratios."""
  width, clip_norm = config.networks.width_map, config.optim.clip_norm
  config.optim.clip_norm, config.loocc.weight, config.loss.perceptual = 0.0, 0.0, 0.0
  references, images = convolutions.torch_networks(width), measure.images(batch, 64)
  ours, losses = networks_step(references, width, images, config), {}  # before PyTorch moves its weights
  theirs = torch_step(references, images, config)
  config.optim.clip_norm = clip_norm
  def keep(name, step):
    return lambda: losses.update({name: step()})

  steps = {
    "networks": keep("networks", ours),
    "PyTorch": keep("PyTorch", theirs),
    "Unsup3D step": train_steps(config, batch, 1)[0],
  }
  seconds = measure.alternating(steps, repetitions)
  print(f"\nbatch {batch}, width {width}, side 64, float32; forward, backward and Adam\n")
  rows = [
    [name, measure.spread(values * 1e3 / batch), measure.spread(values / seconds["PyTorch"], 2)]
    for name, values in seconds.items()
  ]
  print(measure.table(["", "ms per image [middle half]", "/ PyTorch"], rows))
  print(
    f"\nloss at step {repetitions + 1}: ours {losses['networks']:.6f}, PyTorch {losses['PyTorch']:.6f}",
    flush=True,
  )


# ---------------------------------------------------------------- throughput and memory


def train_steps(config: ConfigDict, batch: int, count: int) -> tuple[Callable[[], None], jax.stages.Compiled]:
  """A function that runs `count` steps of training and waits for the last, and the compiled step."""
  method = create(config)
  images = {"image": measure.images(batch, config.data.side)}
  state = training.initial_state(method, 0, images)
  placed = training.place(images)
  root = training.stream(0, "train")
  update = training.update_fn(method)
  compiled = update.lower(state, placed, root).compile()

  def run():
    nonlocal state
    for _ in range(count):
      state, _ = update(state, placed, root)
    jax.block_until_ready(state)

  return run, compiled


def images_per_second(config: ConfigDict, batch: int, count: int, repetitions: int) -> list[str]:
  """A row of the table: images per second, temporary bytes per image, the device's peak so far."""
  run, compiled = train_steps(config, batch, count)
  rate = batch * count / measure.alternating({"": run}, repetitions)[""]
  share = batch // jax.local_device_count()
  memory, device = compiled.memory_analysis(), jax.local_devices()[0].memory_stats() or {}
  peak = device.get("peak_bytes_in_use")
  return [
    config.networks.dtype,
    str(batch),
    measure.spread(rate),
    f"{memory.temp_size_in_bytes / share / 2**20:.2f}",
    f"{memory.temp_size_in_bytes / 2**30:.2f}",
    "" if peak is None else f"{peak / 2**30:.2f}",
  ]


def throughput(
  config: ConfigDict, dtypes: list[str], batches: list[int], until_full: bool, count: int, repetitions: int
) -> None:
  """Prints a row for each type and batch, and with `until_full` the largest batch that fits."""
  print(
    f"\nside {config.data.side}, width {config.networks.width_map}, LOOCC {config.loocc.weight:g}, "
    f"{jax.local_device_count()} devices, {count} steps a repetition\n"
  )
  header = [
    "type",
    "batch",
    "images per second [middle half]",
    "temporary MiB per image",
    "temporary GiB",
    "peak GiB so far",
  ]
  print(measure.table(header, []))
  for dtype in dtypes:
    config.networks.dtype = dtype
    fits, full, waiting = 0, None, list(batches)
    while waiting or (until_full and (full is None or full - fits > fits // 2)):
      batch = waiting.pop(0) if waiting else 2 * fits if full is None else (fits + full) // 2
      row = _or_out_of_memory(partial(images_per_second, config, batch, count, repetitions))
      fits, full = (batch, full) if row else (fits, batch)
      waiting = waiting if row else []
      print("| " + " | ".join(row or [dtype, str(batch), "out of memory", "", "", ""]) + " |", flush=True)


def _or_out_of_memory(run: Callable[[], list[str]]) -> list[str] | None:
  """What `run` returns, or None where the device's memory is too small."""
  try:
    return run()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" not in str(error) and "out of memory" not in str(error).lower():
      raise
    return None


# ---------------------------------------------------------------- feature extraction


def extraction_seconds(config: ConfigDict, batch: int, count: int) -> np.ndarray:
  """Seconds of each of `count` batches of `evaluation.extract`, without the first, which compiles."""
  method = create(config)
  images = measure.images(batch, config.data.side)
  # as they come from a checkpoint
  params = jax.device_get(training.initial_state(method, 0, {"image": images}).params)
  asked = []

  def batches() -> Iterator[dict]:  # the next batch is asked for when the last one's features have arrived
    for _ in range(count + 1):
      asked.append(time.perf_counter())
      yield {"image": images, "_mask": np.ones(batch, np.float32)}
    asked.append(time.perf_counter())

  extract(partial(method.encode, params), batches(), {})
  return np.diff(asked)[1:]


def extraction(config: ConfigDict, batch: int, count: int, repetitions: int) -> None:
  """Prints images per second of extraction and of training at the same batch."""
  seconds = extraction_seconds(config, batch, repetitions)
  training_seconds = measure.alternating({"": train_steps(config, batch, count)[0]}, repetitions)[""] / count
  print(
    f"\nbatch {batch}, side {config.data.side}, width {config.networks.width_map}, {config.networks.dtype}\n"
  )
  print(
    measure.table(
      ["", "images per second [middle half]"],
      [
        ["extraction", measure.spread(batch / seconds)],
        ["training step", measure.spread(batch / training_seconds)],
      ],
    )
  )
  print(f"\nextraction / training: {np.median(training_seconds) / np.median(seconds):.1f} x", flush=True)


def main() -> None:
  """Parses the command line, measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("what", nargs="*", default=[], help="torch, throughput, extraction; all without")
  parser.add_argument("--config", default="configs/heads.py", help="FILE[:variant]")
  parser.add_argument(
    "--width",
    type=int,
    default=0,
    help="instead of the configuration's networks.width_map; the others follow",
  )
  parser.add_argument(
    "--side", type=int, default=0, help="instead of the configuration's data.side; torch is always 64"
  )
  parser.add_argument("--batch", type=int, default=16, help="of torch and extraction")
  parser.add_argument("--batches", default="16,64", help="of throughput, rising")
  parser.add_argument(
    "--dtypes", default="float32,bfloat16", help="of throughput; extraction takes the first"
  )
  parser.add_argument(
    "--steps", type=int, default=0, help="steps between two looks at the clock; 1 on CPU, 10 elsewhere"
  )
  parser.add_argument(
    "--until_full", action="store_true", help="accelerators: find the largest batch that fits"
  )
  parser.add_argument("--repetitions", type=int, default=11)
  parser.add_argument("--quick", action="store_true", help="two repetitions: does it run?")
  flags = parser.parse_args()
  what = flags.what or ["torch", "throughput", "extraction"]
  if unknown := set(what) - {"torch", "throughput", "extraction"}:
    parser.error(f"{', '.join(unknown)}: choose from torch, throughput, extraction")
  if flags.until_full and jax.default_backend() == "cpu":
    parser.error(
      "--until_full needs a device that reports when its memory is full; a CPU run would be killed"
    )
  runtime.cache_compilations()  # a program is compiled once to be timed and once to be asked for its memory
  config = measure.load_config(flags.config, width=flags.width, side=flags.side)
  count = flags.steps or (1 if jax.default_backend() == "cpu" else 10)
  repetitions = 2 if flags.quick else flags.repetitions
  dtypes, batches = flags.dtypes.split(","), [int(batch) for batch in flags.batches.split(",")]
  print(measure.machine(), flush=True)
  if "torch" in what:
    against_torch(
      measure.load_config(flags.config, width=flags.width, side=64, dtype="float32"), flags.batch, repetitions
    )
  if "throughput" in what:
    throughput(
      measure.load_config(flags.config, width=flags.width, side=flags.side),
      dtypes,
      batches,
      flags.until_full,
      count,
      repetitions,
    )
  if "extraction" in what:
    config.networks.dtype = dtypes[0]
    extraction(config, flags.batch, count, repetitions)


if __name__ == "__main__":
  main()
