"""Weak scaling without the machines: the step's program for 1, 2, 4, 8 devices.

Its work per image and its collectives are counted.

  python -m benchmarks.scaling [--config configs/heads.py[:variant]] [--batch 2] [--width 64] [--quick]

Each device count is compiled in a process of its own, which simulates the devices
(`--xla_force_host_platform_device_count`), with the same batch per device; nothing is timed. No work is lost
if operations per image stay the same, but for the contrast's, which grow with the negatives by
`contrast_flops`, and if the bytes of the gradients' all-reduce are those of the parameters. Collectives are
read off the compiled program (`collectives`); one inside a loop would count once, and this step has none.

Then the expected efficiency of published machines by `communication_seconds`, for the step times of
`--step_ms`: benchmarks/README.md has the derivation. The gradients' and scalars' bytes do not depend on the
batch, the negatives' grow with it: `--scale_batch` is the batch per device that the derivation assumes.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from typing import NamedTuple

import jax
import numpy as np

from benchmarks import measure
from pdr_jax.methods import create
from pdr_jax.training import step as training

KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"


class Collective(NamedTuple):
  """One collective of a program.

  Bytes are those of the whole array: what is reduced, gathered, or scattered after a reduction.
  """

  kind: str
  arrays: int
  scalars: int


class Machine(NamedTuple):
  """Devices that train as one.

  Bandwidth: bytes a second that a device can send, all its links together; hops: of a reduction one way.
  """

  name: str
  devices: int
  hops: int
  bandwidth: float
  latency: float


# Bandwidths are half of the published totals, which count both directions; latencies are assumptions
# (benchmarks/README.md).
MACHINES = (
  Machine("v5e-256 (16 x 16 torus)", 256, 30, 200e9, 1e-6),
  Machine("8 x H200 (NVLink)", 8, 7, 450e9, 5e-6),
)


# ---------------------------------------------------------------- counting


def collectives(hlo: str, devices: int) -> list[Collective]:
  """The collectives of an HLO module's text, in its order; an asynchronous one counts at its start."""
  collectives = []
  for kind, start, shapes in _instructions(hlo):
    sizes = [(bool(dimensions), _itemsize(dtype) * int(np.prod([int(n) for n in dimensions.split(",") if n])))
             for dtype, dimensions in re.findall(r"\b(pred|[a-z]+\d+\w*)\[([\d,]*)\]", shapes)]
    # its type lists the operands, then the results
    if start and kind in ("all-gather", "collective-permute"):
      sizes = sizes[len(sizes) // 2 :]
    whole = devices if kind == "reduce-scatter" else 1  # its type is one device's share
    collectives.append(
      Collective(
        kind, *(whole * sum(size for has_axes, size in sizes if has_axes is array) for array in (True, False))
      )
    )
  return collectives


def _instructions(hlo: str):
  for line in hlo.splitlines():
    if match := re.match(rf"\s*(?:ROOT )?%?[\w.-]+ = (.*?) ({KINDS})(-start)?\(", line):
      yield match[2], bool(match[3]), match[1]


def _itemsize(dtype: str) -> int:
  return 1 if dtype == "pred" else int(re.search(r"\d+", dtype)[0]) // 8


def contrast_flops(batch: int, devices: int, features: int) -> int:
  """Operations per image of NT-Xent's similarities and their two gradients.

  `2 batch` anchors meet all devices' `2 batch` features.
  """
  return 3 * 2 * 2 * (2 * batch * devices) * features


def program(config, batch: int) -> dict:
  """Counts of the step's program on this process's devices; nothing is run."""
  devices, method = jax.device_count(), create(config)
  images = {"image": measure.images(devices * batch, config.data.side)}
  state = training.abstract_state(method, 0, images)
  lowered = training.update_fn(method).lower(state, training.place(images), training.stream(0, "train"))
  # machine code is not looked at
  compiled = lowered.compile(compiler_options={"xla_backend_optimization_level": 0})
  blocks = jax.eval_shape(method.encode, state.params, images["image"])
  return {
    "devices": devices,
    "parameters": measure.tree_bytes(state.params),
    "features": sum(block.shape[1] for block in blocks.values()),
    "as written": measure.counts(lowered)["flops"] / batch,
    "compiled": measure.counts(compiled)["flops"] / batch,
    "collectives": collectives(compiled.as_text(), devices),
  }


def totals(collectives: list[Collective]) -> dict[str, tuple[int, int]]:
  """`{what: (number, bytes)}` of a PDR step.

  Its only gathers are those of the negatives, its only reduced arrays the gradients. An all-reduce of arrays
  and scalars together counts with the gradients; its scalars' bytes do not.
  """
  reduced = [c for c in collectives if c.kind == "all-reduce"]
  gathered = [c for c in collectives if c.kind != "all-reduce"]
  return {"gradients": (sum(c.arrays > 0 for c in reduced), sum(c.arrays for c in reduced)),
          "metrics and counts": (sum(c.arrays == 0 for c in reduced), sum(c.scalars for c in reduced)),
          "negatives": (len(gathered), sum(c.arrays + c.scalars for c in gathered))}


# ---------------------------------------------------------------- expected efficiency


def communication_seconds(
  machine: Machine, gradients: float, negatives: float, reductions: int
) -> dict[str, float]:
  """Seconds of the step's collectives, as rings, if nothing overlaps.

  They are bytes over bandwidth, and latency for each hop. An all-reduce of G bytes sends 2 (n - 1) / n G from
  each device over 2 x hops, a gather of N bytes and the reduce-scatter of its gradient (n - 1) / n N each.
  `negatives` is the gathered array's bytes (once), `reductions` the number of all-reduces.
  """
  share = (machine.devices - 1) / machine.devices
  return {"gradients": 2 * share * gradients / machine.bandwidth,
          "negatives": 2 * (share * negatives / machine.bandwidth + machine.hops * machine.latency),
          "latency": reductions * 2 * machine.hops * machine.latency}


def efficiency(seconds: dict[str, float], step: float, hidden: float = 0.0) -> float:
  """Share of linear scaling, of `step` seconds on one device.

  The gradients' bytes, and nothing else, hide behind `hidden` of the step.
  """
  exposed = max(0.0, seconds["gradients"] - hidden * step) + seconds["negatives"] + seconds["latency"]
  return step / (step + exposed)


# ---------------------------------------------------------------- command line


def simulate(devices: int, words: list[str]) -> dict:
  """`program` in a process that simulates this many devices."""
  environment = os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}",
  }
  command = [sys.executable, "-m", "benchmarks.scaling", *words, "--count"]
  output = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
  counted = json.loads(output.splitlines()[-1])
  return counted | {"collectives": [Collective(*entry) for entry in counted["collectives"]]}


def main() -> None:
  """Parses the command line, counts and prints."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/heads.py", help="FILE[:variant]")
  parser.add_argument(
    "--batch", type=int, default=2, help="images on each device of the programs that are counted"
  )
  parser.add_argument(
    "--width",
    type=int,
    default=0,
    help="instead of the configuration's networks.width_map; the others follow",
  )
  parser.add_argument("--side", type=int, default=0, help="instead of the configuration's data.side")
  parser.add_argument(
    "--scale_batch", type=int, default=64, help="images on each device of the expected machines"
  )
  parser.add_argument(
    "--step_ms", default="10,20,40,80", help="step times of one device for which efficiency is given"
  )
  parser.add_argument("--quick", action="store_true", help="1 and 2 devices: does it run?")
  # a simulated machine's own process
  parser.add_argument("--count", action="store_true", help=argparse.SUPPRESS)
  flags = parser.parse_args()
  if flags.count:
    print(
      json.dumps(program(measure.load_config(flags.config, width=flags.width, side=flags.side), flags.batch))
    )
    return
  words = [f"--{name}={getattr(flags, name)}" for name in ("config", "batch", "width", "side")]
  print_counts(flags, [simulate(devices, words) for devices in ((1, 2) if flags.quick else (1, 2, 4, 8))])


def print_counts(flags: argparse.Namespace, programs: list[dict]) -> None:
  """A row for each number of devices, and the expected efficiency of the published machines."""
  rows = []
  for counted in programs:
    bytes_of = totals(counted["collectives"])
    contrast = contrast_flops(flags.batch, counted["devices"], counted["features"])
    operations = (counted["as written"], counted["compiled"], contrast)
    sent = (f"{number}: {size:,}" for number, size in bytes_of.values())
    rows.append([str(counted["devices"]), *(f"{value / 1e9:.5f}" for value in operations), *sent])
  print(measure.machine())
  print(
    f"{flags.config}, batch {flags.batch} a device, parameters {counted['parameters']:,} bytes, "
    f"{counted['features']} features\n"
  )
  header = ["devices", "GFLOP per image as written (XLA)", "compiled (XLA)", "of which contrast, by hand"]
  print(measure.table([*header, *(f"{name}: number, bytes" for name in bytes_of)], rows))
  print(f"\nexpected at {flags.scale_batch} images a device (bandwidth as published, latency assumed)\n")
  header = ["machine", "gradients, ms", "negatives, ms", "reductions' latency, ms", "step on one device, ms"]
  header += ["efficiency, nothing overlaps", "gradients behind half the step"]
  print(measure.table(header, expected(flags, counted)))


def expected(flags: argparse.Namespace, counted: dict) -> list[list[str]]:
  """A row for each published machine and step time: the collectives' milliseconds, and the efficiency."""
  reductions = sum(c.kind == "all-reduce" for c in counted["collectives"])
  rows = []
  for machine in MACHINES:
    negatives = 2 * flags.scale_batch * machine.devices * counted["features"] * 4
    seconds = communication_seconds(machine, counted["parameters"], negatives, reductions)
    for step in flags.step_ms.split(","):
      shares = (f"{100 * efficiency(seconds, float(step) / 1e3, hidden):.1f} %" for hidden in (0.0, 0.5))
      rows.append([machine.name, *(f"{1e3 * value:.3f}" for value in seconds.values()), step, *shares])
  return rows


if __name__ == "__main__":
  main()
