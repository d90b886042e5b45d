"""Times forms of a volume's rotation and smoothing, forward and backward: `python -m benchmarks.volume`.

Two sizes by default: the voxel method's (28 voxels a side, one density) and SSV's (16 a side, 128 features).
Of each, milliseconds per volume of the result (`forward`) and of the gradients by all inputs together
(`gradient`), the median of alternating repetitions with the middle half in brackets, and the ratio to the
library's form. Every run first checks that all forms of a group give the same numbers. About the vertical
axis:

  library      `rotate_about_axis`: rows of a plane's pixels gathered, their transpose gathered too
               (9 candidates)
  scattered    the same rows, their transpose scattered
  product      a matrix product with the M x M bilinear weights of a plane of M pixels
  by_matrix    `rotate` with the rotation's matrix

Sums along the rays of volumes turned about it, one channel, one angle:

  library      `ray_sums`: products with the weights of rays, the turned volume is never made
  turned       `rotate_about_axis`, and a sum over the depth

By any rotation:

  library      `rotate`: 8 gathers of rows, 8 scatters
  autodiff     the same sum, differentiated by JAX
  candidates   8 gathers, and the transpose as a gather of the 64 candidates within sqrt(3) of each voxel,
               in a loop

Smoothing along the three axes:

  library      `smoothed`: products with a matrix of weights
  padded       half of the volume and a quarter of either copy that is shifted by a voxel

Three shears are left out: they interpolate three times and give other numbers.
"""

import argparse
import itertools
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from pdr_jax.render import camera, volume

SIZES = {"voxels": (28, 1, 16), "ssv": (16, 128, 4), "ssv_narrow": (16, 8, 16), "prgan": (64, 1, 4)}


def upright(angle):
  """The matrices of rotations about the vertical axis."""
  return camera.rotation_matrix(angle[:, None] * jnp.array([[0.0, 1.0, 0.0]]))


def by_matrix(value, angle):
  return volume.rotate(value, upright(angle))


def plane_rows(value, angle):
  """What `rotate_about_axis` gathers: rows [B, M, F], and index and weight of four neighbours."""
  batch, depth, height, width, channels = value.shape
  rows = jnp.swapaxes(value, 2, 3).reshape(batch, depth * width, height * channels)
  cosine, sine = (f(angle)[:, None, None] for f in (jnp.cos, jnp.sin))
  position = volume._turn_plane(cosine, -sine, (depth, width))
  return rows, *volume._corners([p.reshape(batch, -1) for p in position], (depth, width))


def from_rows(rows, shape):
  batch, depth, height, width, channels = shape
  return jnp.swapaxes(rows.reshape(batch, depth, width, height, channels), 2, 3)


def scattered(value, angle):
  return from_rows(volume._sample(*plane_rows(value, angle), None), value.shape)


def product(value, angle):
  """Hat weights of every pixel for every other, and one matrix product for each volume."""
  batch, depth, height, width, channels = value.shape
  rows = jnp.swapaxes(value, 2, 3).reshape(batch, depth * width, height * channels)
  cosine, sine = (f(angle)[:, None, None] for f in (jnp.cos, jnp.sin))
  position = volume._turn_plane(cosine, -sine, (depth, width))
  hat = [jnp.maximum(1 - jnp.abs(p.reshape(batch, -1, 1) - jnp.arange(n)[None, None]), 0)
         for p, n in zip(position, (depth, width), strict=True)]
  weights = (hat[0][..., None] * hat[1][:, :, None]).reshape(batch, depth * width, depth * width)
  return from_rows(jnp.einsum("bpq,bqf->bpf", weights, rows, precision="highest"), value.shape)


def summed(density, angle):
  return volume.ray_sums(density, angle[:, None])[:, 0]


def turned(density, angle):
  return volume.rotate_about_axis(density[..., None], angle)[..., 0].sum(axis=1)


def voxel_rows(value, rotation):
  """What `rotate` gathers: rows [B, N, C], and index and weight of eight neighbours."""
  batch, *size, channels = value.shape
  grid = jnp.meshgrid(*[jnp.arange(n) - (n - 1) / 2 for n in size], indexing="ij")
  at = jnp.stack(grid[::-1], -1).reshape(-1, 3)  # x, y, z
  source = jnp.einsum("nj,bji->bni", at, rotation, precision="highest")
  position = [source[..., 2 - k] + (n - 1) / 2 for k, n in enumerate(size)]
  return value.reshape(batch, -1, channels), *volume._corners(position, size)


def autodiff(value, rotation):
  rows, index, weight = voxel_rows(value, rotation)
  terms = (w[..., None] * volume._take(rows, i) for i, w in zip(index, weight, strict=True))
  return sum(terms).reshape(value.shape)


@jax.custom_vjp
def _gathered(rows, index, weight, rotation, size):
  return volume._sample(rows, index, weight, None)


def _gathered_backward(residuals, cotangent):
  rows, index, _, rotation, size = residuals
  side = size.shape[0]
  centre = (side - 1) / 2
  target = jnp.asarray(list(itertools.product(range(side), repeat=3)), jnp.float32) - centre  # z, y, x
  forward = rotation[:, ::-1, ::-1]  # in the order z, y, x
  turned = jnp.einsum("bij,nj->bni", forward, target, precision="highest")
  start = jnp.floor(turned + centre - jnp.sum(jnp.abs(forward), axis=-1)[:, None]) + 1

  def add(total, step):
    pixel = start + step[None, None]
    back = jnp.einsum("bji,bnj->bni", forward, pixel - centre, precision="highest")
    hat = jnp.prod(jnp.maximum(1 - jnp.abs(back - target[None]), 0), axis=-1)
    flat, inside = volume._flat_index([pixel[..., k].astype(jnp.int32) for k in range(3)], (side,) * 3)
    return total + (hat * inside)[..., None] * volume._take(cotangent, flat), None

  steps = jnp.asarray(list(itertools.product(range(4), repeat=3)), jnp.float32)
  by_rows, _ = jax.lax.scan(add, jnp.zeros_like(rows), steps)
  by_weight = jnp.stack([jnp.sum(cotangent * volume._take(rows, i), axis=-1) for i in index])
  return by_rows, None, by_weight, None, None


_gathered.defvjp(lambda *arguments: (_gathered(*arguments), arguments), _gathered_backward)


def candidates(value, rotation):
  rows, index, weight = voxel_rows(value, rotation)
  return _gathered(rows, index, weight, rotation, jnp.zeros(value.shape[1])).reshape(value.shape)


def padded(value):
  for axis in (1, 2, 3):
    edges = [(1, 1) if i == axis else (0, 0) for i in range(5)]
    wide, size = jnp.pad(value, edges, mode="edge"), value.shape[axis]
    before, after = (jax.lax.slice_in_dim(wide, k, k + size, axis=axis) for k in (0, 2))
    value = 0.5 * value + 0.25 * (before + after)
  return value


def run(title: str, forms: dict, inputs: tuple, repetitions: int, clock) -> None:
  """Checks that all forms agree, times them and prints a table; inputs are a volume, and what turns it."""
  shape = jax.eval_shape(forms["library"], *inputs).shape
  cotangent = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)

  def programs(form):
    def total(cotangent, *inputs):  # not a constant: XLA would compute a linear form's gradient beforehand
      return jnp.sum(form(*inputs) * cotangent)

    gradient = jax.jit(jax.grad(total, argnums=tuple(range(1, len(inputs) + 1))))
    return jax.jit(form), partial(gradient, cotangent)

  compiled = {name: programs(form) for name, form in forms.items()}
  results = {name: [pair[0](*inputs), *pair[1](*inputs)] for name, pair in compiled.items()}
  for name, result in results.items():
    names = ("values", "gradient by volume", "by angle")[: len(result)]
    parts = zip(names, result, results["library"], strict=True)
    for part, ours, theirs in parts:
      difference = float(jnp.max(jnp.abs(ours - theirs)) / jnp.max(jnp.abs(theirs)))
      if not difference < 1e-3:
        raise SystemExit(f"{title}: {name} differs from the library's {part} by {difference:.1e} of its size")
  rows = []
  for kind, column in (("forward", 0), ("gradient", 1)):
    steps = {
        name: lambda program=pair[column]: jax.block_until_ready(program(*inputs))
        for name, pair in compiled.items()
    }
    seconds = measure.alternating(steps, repetitions, clock)
    for name, values in seconds.items():
      ratio = np.median(values / seconds["library"])
      shown = measure.spread(values * 1e3 / len(inputs[0]), 3)
      rows.append([f"{title}, {kind}: {name}", shown, f"{ratio:.2f}"])
  print(measure.table(["form", "ms per volume [middle half]", "time / library"], rows), flush=True)


def main() -> None:
  """Parses the command line, measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--sizes", default="voxels,ssv", help=", ".join(f"{k}: {v}" for k, v in SIZES.items()))
  parser.add_argument("--repetitions", type=int, default=15)
  parser.add_argument("--quick", action="store_true", help="side 6, two repetitions: does it run")
  of_cores = "of all cores together, instead of wall time; on one core it holds beside other work"
  parser.add_argument("--processor_time", action="store_true", help=of_cores)
  flags = parser.parse_args()
  clock = time.process_time if flags.processor_time else time.perf_counter
  print(measure.machine(), flush=True)
  for name in flags.sizes.split(","):
    side, channels, batch = (6, 2, 2) if flags.quick else SIZES[name]
    rng = np.random.default_rng(0)
    value = jnp.asarray(rng.normal(size=(batch, side, side, side, channels)), jnp.float32)
    angle = jnp.asarray(rng.uniform(-np.pi, np.pi, batch), jnp.float32)
    rotation = camera.rotation_matrix(jnp.asarray(rng.uniform(-1, 1, (batch, 3)), jnp.float32))
    print(f"{name}: {batch} volumes of {side}^3 voxels, {channels} channels")
    about = {"library": volume.rotate_about_axis, "scattered": scattered, "by_matrix": by_matrix}
    if side <= 32:  # the product's weights are side^4 numbers for each volume
      about["product"] = product
    repetitions = 2 if flags.quick else flags.repetitions
    run("about y", about, (value, angle), repetitions, clock)
    if channels == 1:
      run("ray sums", {"library": summed, "turned": turned}, (value[..., 0], angle), repetitions, clock)
    any_rotation = {"library": volume.rotate, "autodiff": autodiff, "candidates": candidates}
    run("any", any_rotation, (value, rotation), repetitions, clock)
    run("smoothing", {"library": volume.smoothed, "padded": padded}, (value,), repetitions, clock)


if __name__ == "__main__":
  main()
