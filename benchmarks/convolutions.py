"""Forward and backward of the five networks of PDR, next to PyTorch in the same run.

Run it as `python -m benchmarks.convolutions`. Prints milliseconds per image and the ratio ours / PyTorch
(below 1: ours is faster), the median of alternating repetitions. PyTorch runs eagerly on the CPU, so only a
CPU run compares like with like; `--no_torch` times ours alone, on whatever device JAX finds. Needs the extra
`[torch]` otherwise. Close everything else: the ratio travels between machines, milliseconds do not.
"""

import argparse
import functools
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from pdr_jax.networks.autoencoder import MapAutoencoder
from pdr_jax.networks.confidence import ConfidenceNet
from pdr_jax.networks.vector_encoder import VectorEncoder


def networks(width: int, side: int, dtype):
  """Our five networks at map width `width`.

  Vectors are half as wide, bottlenecks four and two times, as at parity.
  """
  half = max(width // 8 * 4, 4)
  return dict(
    depth=MapAutoencoder(1, width, 4 * width, side, dtype=dtype),
    albedo=MapAutoencoder(3, width, 4 * width, side, "tanh", dtype),
    light=VectorEncoder(4, half, side, dtype),
    view=VectorEncoder(6, half, side, dtype),
    confidence=ConfidenceNet(width, 2 * width, side, dtype),
  )


def torch_networks(width: int):
  """The same in PyTorch, side 64."""
  from tests.support.torch_reference import TorchAutoencoder, TorchConfidence, TorchVectorEncoder
  half = max(width // 8 * 4, 4)
  return dict(
    depth=TorchAutoencoder(1, width, 4 * width, False),
    albedo=TorchAutoencoder(3, width, 4 * width, True),
    light=TorchVectorEncoder(4, half),
    view=TorchVectorEncoder(6, half),
    confidence=TorchConfidence(width, 2 * width),
  )


def jax_step(module, images):
  """A function that runs forward and backward once and waits for it."""
  params = module.init(jax.random.key(0), images[:1])

  @jax.jit
  def gradient(params, images):
    # A sum of squares of every output, so that nothing can be left out of the backward pass.
    return jax.grad(lambda p: sum(jnp.square(o).mean() for o in module.apply(p, images)))(params)

  return lambda: jax.block_until_ready(gradient(params, images))


def torch_step(module, images):
  """The same for PyTorch."""
  def step():
    module.zero_grad()
    sum(o.square().mean() for o in module(images)).backward()
  return step


def interleaved(steps: dict, repetitions: int) -> dict[str, float]:
  """Median seconds of each step.

  Repetitions alternate between steps, so that a busy machine slows all of them alike.
  """
  for step in steps.values():
    step()
  seconds = {name: [] for name in steps}
  for _ in range(repetitions):
    for name, step in steps.items():
      start = time.perf_counter()
      step()
      seconds[name].append(time.perf_counter() - start)
  return {name: statistics.median(values) for name, values in seconds.items()}


def main() -> None:
  """Parses the command line, measures and prints a table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--width", type=int, default=64)
  parser.add_argument("--side", type=int, default=64, help="without --no_torch: 64")
  parser.add_argument("--batch", type=int, default=16)
  parser.add_argument("--repetitions", type=int, default=5)
  parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"))
  parser.add_argument("--only", default="", help="comma-separated names of networks")
  parser.add_argument("--no_torch", action="store_true")
  flags = parser.parse_args()
  pixels = (
    np.random.default_rng(0).uniform(-1, 1, (flags.batch, flags.side, flags.side, 3)).astype(np.float32)
  )
  modules = networks(flags.width, flags.side, jnp.dtype(flags.dtype))
  references = {}
  if not flags.no_torch:
    if flags.side != 64:
      parser.error("the PyTorch networks are written for side 64; add --no_torch")
    import torch
    references = torch_networks(flags.width)
    torch_pixels = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
  total = dict(ours=0.0, torch=0.0)
  print(measure.machine())
  print(f"batch {flags.batch}, side {flags.side}, width {flags.width}, {flags.dtype}; ms per image")
  for name in flags.only.split(",") if flags.only else modules:
    make = dict(ours=functools.partial(jax_step, modules[name], jnp.asarray(pixels)))
    if references:
      make["torch"] = functools.partial(torch_step, references[name], torch_pixels)
    times = interleaved({key: build() for key, build in make.items()}, flags.repetitions)
    row = {key: value * 1e3 / flags.batch for key, value in times.items()}
    for key, value in row.items():
      total[key] += value
    print(f"{name:12}" + "".join(f"{key} {value:8.3f}  " for key, value in row.items())
          + (f"ratio {row['ours'] / row['torch']:.2f}" if references else ""), flush=True)
  print(
    f"{'all':12}ours {total['ours']:8.3f}  "
    + (f"torch {total['torch']:8.3f}  ratio {total['ours'] / total['torch']:.2f}" if references else "")
  )


if __name__ == "__main__":
  main()
