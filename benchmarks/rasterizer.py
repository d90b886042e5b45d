"""Times the rasterizer on a turned depth-grid mesh, next to testing all faces at all pixels in the same run.

  python benchmarks/rasterizer.py [--side 64] [--batch 32] [--degrees 30] [--repeats 15] [--no-naive]

The mesh is the one that training renders: a face-like relief between depths 0.9 and 1.1 with border columns
at 1.04 (10 degrees field of view), turned by random angles up to `--degrees` about each axis. Times are
milliseconds per image: the median of the repeats, and the range of the middle half; wall clock, and CPU time
of all threads (which other work on the machine disturbs less). "forward + backward" is the gradient with
respect to the vertices of a weighted sum of depth, or of depth, barycentrics and distance. Every run also
checks that the selected faces equal the naive ones.
"""

import argparse
import os
import time

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax.render import camera, depth_mesh
from pdr_jax.render.fragments import make_fragments
from pdr_jax.render.rasterize import rasterize
from pdr_jax.render.rasterize_dense import select_dense


def relief(side: int, batch: int, rng) -> np.ndarray:
  """Depth maps `[batch, side, side]` with a skull, a nose, brows and eye sockets, slightly different each."""
  y, x = np.mgrid[-1:1:side * 1j, -1:1:side * 1j]
  depth = np.empty((batch, side, side))
  for b in range(batch):
    width, height, nose = rng.uniform(0.7, 0.85), rng.uniform(0.85, 1.0), rng.uniform(0.025, 0.045)
    depth[b] = 1.06 - 0.11 * np.sqrt(np.clip(1 - (x / width) ** 2 - (y / height) ** 2, 0, 1))
    depth[b] -= nose * np.exp(-(x / 0.1) ** 2 - ((y - 0.1) / 0.22) ** 2)
    depth[b] += 0.012 * np.exp(-((np.abs(x) - 0.3) / 0.12) ** 2 - ((y + 0.15) / 0.08) ** 2)
    depth[b] -= 0.008 * np.exp(-((np.abs(x) - 0.3) / 0.2) ** 2 - ((y + 0.3) / 0.06) ** 2)
  depth[:, :, :2] = depth[:, :, -2:] = 1.04
  return np.clip(depth, 0.9, 1.1)


def screen_mesh(side: int, batch: int, degrees: float, seed: int = 0):
  """Screen-space vertices `[batch, side^2, 3]` of the turned reliefs, and the faces."""
  rng = np.random.RandomState(seed)
  cam = camera.pinhole(side)
  depth = jnp.asarray(relief(side, batch, rng), jnp.float32)
  view = np.concatenate([np.radians(rng.uniform(-degrees, degrees, (batch, 3))), np.zeros((batch, 3))], -1)
  points = camera.back_project(depth, cam).reshape(batch, -1, 3)
  return camera.project(camera.apply_view(points, jnp.asarray(view, jnp.float32)), cam), jnp.asarray(
    depth_mesh.grid_faces(side, side)
  )


def measure(function, vertices, repeats: int):
  """Wall and CPU milliseconds per image, each repeat."""
  function = jax.jit(function)
  jax.block_until_ready(function(vertices))
  times = []
  for _ in range(repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    jax.block_until_ready(function(vertices))
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
  return np.array(times).T * 1e3 / len(vertices)


def report(name: str, times, naive: float | None = None) -> float:
  wall, cpu = times
  low, middle, high = np.percentile(wall, [25, 50, 75])
  ratio = "" if naive is None else f"   naive / this {naive / middle:7.1f} x"
  print(
    f"  {name:34s} {middle:9.3f} ms  [{low:.3f} ... {high:.3f}]   CPU {np.median(cpu):9.3f} ms{ratio}",
    flush=True,
  )
  return middle


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--side", type=int, default=64)
  parser.add_argument("--batch", type=int, default=32)
  parser.add_argument("--degrees", type=float, default=30.0)
  parser.add_argument("--repeats", type=int, default=15)
  parser.add_argument("--no-naive", action="store_true")
  args = parser.parse_args()
  side, repeats = args.side, args.repeats
  vertices, faces = screen_mesh(side, args.batch, args.degrees)
  print(
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
    f"jax {jax.__version__}; {side} x {side}, {len(faces)} faces, batch {args.batch}, "
    f"up to {args.degrees:g} degrees",
    flush=True,
  )
  rng = np.random.RandomState(1)
  for count in (1, 8):
    shape = (args.batch, side, side, count)
    by_depth, by_distance, by_weight = (
      jnp.asarray(rng.randn(*s), jnp.float32) for s in (shape, shape, (*shape, 3))
    )

    def fast(vertices, count=count):
      return rasterize(vertices, faces, height=side, width=side, faces_per_pixel=count)

    def naive(vertices, count=count):
      face = select_dense(jax.lax.stop_gradient(vertices)[:, faces], side, side, count, 0.0)
      return make_fragments(vertices, faces, face, 0.0)

    def depth_loss(rasterizer, vertices, weights):
      return jnp.sum(weights[0][:len(vertices)] * rasterizer(vertices).depth)

    def full_loss(rasterizer, vertices, weights):
      fragments, n = rasterizer(vertices), len(vertices)
      return (
        jnp.sum(weights[0][:n] * fragments.depth)
        + jnp.sum(weights[1][:n] * fragments.signed_distance_sq)
        + jnp.sum(weights[2][:n] * fragments.barycentric)
      )

    weights = (by_depth, by_distance, by_weight)
    tasks = [("forward", lambda r, w=weights: lambda v: r(v)[:4]),
             ("forward + backward, depth", lambda r, w=weights: jax.grad(lambda v: depth_loss(r, v, w))),
             ("forward + backward, all", lambda r, w=weights: jax.grad(lambda v: full_loss(r, v, w)))]
    print(f"K = {count}")
    # the naive version takes the same time per image for any batch: it goes image by image
    few = vertices[:2]
    for name, make in tasks:
      slow = None if args.no_naive else report(f"naive: {name}", measure(make(naive), few, 3))
      report(name, measure(make(fast), vertices, repeats), slow)
    if not args.no_naive:
      same = np.mean(np.asarray(fast(few).face) == np.asarray(naive(few).face))
      filled = float(jnp.mean(fast(vertices).face >= 0))
      print(
        f"  same faces as naive: {100 * same:.4f} % of entries; {100 * filled:.1f} % of entries filled",
        flush=True,
      )


if __name__ == "__main__":
  main()
