"""What SSV's step is made of, in other forms and at other widths: `python -m benchmarks.ssv_forms`.

The gradient by the synthesis network's parameters of the 32 pictures of a step (4 groups of 8, of 16 codes),
without volume rendering:

  apart        a volume for each picture; doubling differentiated by JAX; convolutions in space with three
               planes side by side at the input, whatever the channels
  shared       a volume for all pictures of its code
  doubling     and doubling's gradient written out
  planes       and three planes at the output where its channels are fewer: the library's form
  products     and kernel gradients as matrix products (`convolution.convolve`)
  width N      the library's form at another width

And by the viewpoint network's parameters, of 3 groups of 8 pictures:

  passes       a pass for each group: the library's form
  one pass     for all of them

Milliseconds of processor time, the median of alternating repetitions with the middle half in brackets, the
ratio to the first form, and the share of the time that XLA's count of operations takes at the speed of a
product of two 1024 x 1024 matrices. Pin it to one core (`taskset -c 0`). Every run first checks that all
forms of a width have the same gradient.
"""

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks import measure
from pdr_jax.networks import convolution, equalised, ssv

BATCH, SIDE, CODE = 8, 32, 32
GROUPS = (0, 0, 1, 0)
SAME = 2e-3  # of the largest number: where a rounding decides a rectifier's side, its gradient changes


def doubled(x):
  """`equalised.doubled`, with JAX's own gradient."""
  for axis in range(1, x.ndim - 1):
    edges = [(1, 1) if i == axis else (0, 0) for i in range(x.ndim)]
    padded, size = jnp.pad(x, edges, mode="edge"), x.shape[axis]
    before, after = (lax.slice_in_dim(padded, k, k + size, axis=axis) for k in (0, 2))
    pairs = jnp.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis=axis + 1)
    x = pairs.reshape(*x.shape[:axis], 2 * size, *x.shape[axis + 1 :])
  return x


def input_planes(x, kernel):
  """`equalised.conv_space`, three planes side by side at the input."""
  _, depth, height, width, channels = x.shape
  padded = jnp.pad(x, ((0, 0), (1, 1), (0, 0), (0, 0), (0, 0)))
  planes = jnp.concatenate([padded[:, k : k + depth] for k in range(3)], axis=-1)
  taps = jnp.moveaxis(kernel, 0, 2).reshape(3, 3, 3 * channels, -1)
  planes = planes.reshape(-1, height, width, 3 * channels)
  return equalised.conv_plane(planes, taps).reshape(*x.shape[:-1], -1)


def products(x, kernel):
  return convolution.convolve(x, kernel, 1)


OLD_DOUBLING, OLD_PLANES = (ssv, "doubled", doubled), (equalised, "conv_space", input_planes)
PRODUCTS = (equalised, "conv_plane", products)
FORMS = {
  "apart": (False, [OLD_DOUBLING, OLD_PLANES]),
  "shared": (True, [OLD_DOUBLING, OLD_PLANES]),
  "doubling": (True, [OLD_PLANES]),
  "planes": (True, []),
  "products": (True, [PRODUCTS]),
}


def gradient(net, inputs: tuple, total: Callable, replaced: list) -> tuple:
  """The program of a number's gradient by the network's parameters, functions replaced, and parameters."""
  params = net.init(jax.random.key(0), *(part[:1] for part in inputs))["params"]
  with ExitStack() as stack:
    for module, name, other in replaced:
      stack.enter_context(mock.patch.object(module, name, other))
    program = jax.jit(jax.grad(lambda params: total({"params": params}))).lower(params).compile()
  return program, params


def synthesis(width: int, shared: bool, replaced: list) -> tuple:
  """The program of a form of the synthesis network's gradient, and its parameters."""
  draw = np.random.default_rng(0)
  codes = draw.uniform(-1, 1, (2 * BATCH, CODE)).astype(np.float32)
  angles = draw.uniform(-0.5, 0.5, (len(GROUPS) * BATCH, 3)).astype(np.float32)
  cotangent = draw.normal(size=(len(GROUPS) * BATCH, SIDE, SIDE, 3)).astype(np.float32)
  net = ssv.Synthesis(width, SIDE, 3, volume_side=8)
  each = np.concatenate([codes[number * BATCH : (number + 1) * BATCH] for number in GROUPS])

  def total(variables):
    pictures = net.apply(variables, codes, angles, GROUPS) if shared else net.apply(variables, each, angles)
    return (pictures * cotangent).sum()

  return gradient(net, (codes, angles), total, replaced)


def viewpoint(width: int, together: bool) -> tuple:
  """The same of the viewpoint network's."""
  images, net = measure.images(3 * BATCH, SIDE), ssv.Viewpoint(width, CODE)
  weights = jnp.arange(1.0, 3 * BATCH + 1)

  def of(seen, weights):
    return (weights * (seen.realism + seen.codes.sum(axis=1) + seen.magnitudes[..., 0].sum(axis=1))).sum()

  def total(variables):
    count = 1 if together else 3
    parts = zip(jnp.split(images, count), jnp.split(weights, count), strict=True)
    return sum(of(net.apply(variables, part, deviation=0.5), share) for part, share in parts)

  return gradient(net, (images,), total, [])


def check(programs: dict) -> None:
  """Stops where forms have another gradient than the first."""
  vectors = {
    name: np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(run(params))])
    for name, (run, params) in programs.items()
  }
  first, reference = next(iter(vectors.items()))
  for name, vector in vectors.items():
    difference = np.abs(vector - reference).max() / np.abs(reference).max()
    if not difference < SAME:
      raise SystemExit(f"{name}: gradient differs from that of {first} by {difference:.1e} of its size")


def main() -> None:
  """Parses the command line, measures and prints two tables."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--width", type=int, default=48)
  parser.add_argument("--forms", default=",".join(FORMS), help="which of them; empty: none")
  parser.add_argument("--widths", default="", help="others, such as 32")
  parser.add_argument("--passes", action="store_true", help="the viewpoint network too")
  parser.add_argument("--repetitions", type=int, default=15)
  flags = parser.parse_args()
  print(measure.machine(), flush=True)
  groups = []
  if flags.forms:
    groups.append({name: synthesis(flags.width, *FORMS[name]) for name in flags.forms.split(",")})
    check(groups[0])
    groups[0] |= {f"width {n}": synthesis(int(n), *FORMS["planes"]) for n in flags.widths.split(",") if n}
  if flags.passes:
    groups.append({name: viewpoint(flags.width, name == "one pass") for name in ("passes", "one pass")})
    check(groups[-1])
  matrix = jnp.asarray(np.random.default_rng(0).normal(size=(1024, 1024)), jnp.float32)
  product = jax.jit(jnp.matmul)
  for programs in groups:
    steps = {
      name: lambda run=run, params=params: jax.block_until_ready(run(params))
      for name, (run, params) in programs.items()
    }
    steps["product"] = lambda: product(matrix, matrix).block_until_ready()
    seconds = measure.alternating(steps, flags.repetitions, clock=time.process_time)
    speed, first = 2 * 1024**3 / np.median(seconds.pop("product")), next(iter(programs))
    rows = []
    for name, values in seconds.items():
      flops, ratio = measure.counts(programs[name][0])["flops"], np.median(values / seconds[first])
      share = flops / speed / np.median(values)
      rows.append([name, measure.spread(1e3 * values), f"{ratio:.2f}", f"{flops / 1e9:.2f}", f"{share:.2f}"])
    print(f"a product: {speed / 1e9:.0f} GFLOP/s")
    header = ["form", "processor time, ms", f"time / {first}", "GFLOP", "of the product's speed"]
    print(measure.table(header, rows), flush=True)


if __name__ == "__main__":
  main()
