"""What the benchmarks share.

The line that names the machine, configurations, alternating repetitions, XLA's own counts.
"""

import datetime
import importlib.util
import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jaxlib
import numpy as np
from ml_collections import ConfigDict


def machine() -> str:
  """Device, cores, load, versions and date: what stands beside every number."""
  count = jax.local_device_count()
  return (
    f"{count} x {jax.devices()[0].device_kind}, {os.cpu_count()} cores of {processor()}, "
    f"load {os.getloadavg()[0]:.1f}, jax {jax.__version__}, jaxlib {jaxlib.__version__}, "
    f"Python {platform.python_version()}, {datetime.date.today()}"
  )


def processor() -> str:
  """The CPU's name, as far as Linux tells; which library is the faster one depends on it."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
      return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


def load_config(name: str, *, width: int = 0, side: int = 0, dtype: str = "") -> ConfigDict:
  """The configuration of `FILE[:variant]`; `width`, `side` and `dtype` replace its own where they are given.

  A width means the map networks'; vectors get half of it, bottlenecks four and two times it, as at parity
  (64, 32, 256, 128).
  """
  path, _, variant = name.partition(":")
  spec = importlib.util.spec_from_file_location("benchmark_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  config = module.get_config(variant)
  if width:
    config.networks.update(
      width_map=width, width_vector=max(width // 8 * 4, 4), zdim=4 * width, zdim_confidence=2 * width
    )
  config.data.side = side or config.data.side
  config.networks.dtype = dtype or config.networks.dtype
  return config


def images(batch: int, side: int) -> np.ndarray:
  """Random images `[batch, side, side, 3]` in [-1, 1].

  They are never constant, because a product of zeros may run faster.
  """
  return np.random.default_rng(0).uniform(-1, 1, (batch, side, side, 3)).astype(np.float32)


def alternating(
  steps: Mapping[str, Callable[[], Any]], repetitions: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
  """Seconds of each step, `{name: [repetitions]}`, after one warm-up each.

  Repetitions alternate between the steps, so that a machine that slows down slows all of them alike and
  ratios within a repetition hold. `clock`: of the wall; `time.process_time` where others run beside it.
  """
  for step in steps.values():
    step()
  seconds = {name: np.empty(repetitions) for name in steps}
  for repetition in range(repetitions):
    for name, step in steps.items():
      start = clock()
      step()
      seconds[name][repetition] = clock() - start
  return seconds


def spread(values: np.ndarray, digits: int = 1) -> str:
  """`median [middle half]`."""
  low, middle, high = np.percentile(values, [25, 50, 75])
  return f"{middle:.{digits}f} [{low:.{digits}f} ... {high:.{digits}f}]"


def counts(stage: jax.stages.Lowered | jax.stages.Compiled) -> dict[str, float]:
  """XLA's `flops` and `bytes accessed` of a program; NaN where it has none.

  Of a lowered program: of the operations as written, nothing fused. Of a compiled one: of what runs on one
  device. Neither sees into custom calls (cuDNN, cuBLAS, oneDNN: counted as nothing), and both count the body
  of a `while` once, however often it runs.
  """
  analysis = stage.cost_analysis()
  analysis = analysis[0] if isinstance(analysis, list) else analysis or {}
  return {name: float(analysis.get(name, np.nan)) for name in ("flops", "bytes accessed")}


def tree_bytes(tree: Any) -> int:
  """Bytes of all arrays (or their shapes) of a tree."""
  return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def table(header: list[str], rows: list[list[str]]) -> str:
  """A Markdown table, the first column to the left and all others to the right."""
  lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
  return "\n".join("| " + " | ".join(line) + " |" for line in lines)
