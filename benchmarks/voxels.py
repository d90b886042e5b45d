"""Times a training step of `voxels` next to the same in PyTorch: `python -m benchmarks.voxels`.

Published widths at side 28, the circular pose of one component, the KL, Adam: forward, backward and update,
in PyTorch eager with `grid_sample` for the rotation. Milliseconds per picture, the median of alternating
repetitions with the middle half in brackets, and the ratio to PyTorch's. Below it, the decoder's and the
projection's forward and backward passes alone, as shares of the step, and next to their floors: the larger of
operations over the rate of a matrix product and bytes over the bandwidth of a copy, both measured first.
"""

import argparse
import itertools
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import arithmetic, measure, roofline
from pdr_jax import methods
from pdr_jax.config import base
from pdr_jax.methods.voxels import model, projection
from pdr_jax.networks.voxels import coarse_side

SIDE = 28


def torch_step(config, images: np.ndarray):
  """A closure that takes a step of the same networks in PyTorch."""
  import torch
  from torch import nn

  own = config.voxels
  width, wide, code = own.width_encoder, own.width_decoder, own.code
  act = partial(nn.functional.leaky_relu, negative_slope=0.2)

  class Net(nn.Module):
    def __init__(self):
      super().__init__()
      sizes = [1, width, width, width, width]
      self.down = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in itertools.pairwise(sizes))
      self.down_norm = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(4))
      self.heads = nn.Linear(4 * width, 2 * code + 4)
      self.expand, self.norm0 = nn.Linear(code, 343 * wide), nn.BatchNorm3d(wide)
      self.up, self.norm1 = nn.ConvTranspose3d(wide, wide // 2, 3, 2, 1, 1), nn.BatchNorm3d(wide // 2)
      self.density = nn.ConvTranspose3d(wide // 2, 1, 3, 2, 1, 1)

    def forward(self, x):
      for conv, norm in zip(self.down, self.down_norm, strict=True):
        x = act(norm(conv(x)))
      mean, log_variance, pose = self.heads(x.flatten(1)).split([code, code, 4], dim=1)
      z = mean + torch.randn_like(mean) * (log_variance / 2).exp()
      h = act(self.norm0(self.expand(z).view(-1, wide, 7, 7, 7)))
      density = torch.sigmoid(self.density(act(self.norm1(self.up(h)))))
      angle = torch.atan2(pose[:, 2], pose[:, 1] + 1)
      zero, one = torch.zeros_like(angle), torch.ones_like(angle)
      c, s = angle.cos(), angle.sin()
      matrix = ((c, zero, s, zero), (zero, one, zero, zero), (-s, zero, c, zero))
      rows = [torch.stack(row, -1) for row in matrix]
      grid = nn.functional.affine_grid(torch.stack(rows, 1), density.shape, align_corners=True)
      turned = nn.functional.grid_sample(density, grid, align_corners=True)
      projected = 1 - (-turned.sum(dim=2)).exp()
      kl = (mean**2 + log_variance.exp() - 1 - log_variance).sum(1) / 2
      return projected, kl.mean() + (pose**2).mean()

  net = Net()
  optimiser = torch.optim.Adam(net.parameters(), 1e-3)
  x = torch.tensor(images.transpose(0, 3, 1, 2))

  def step():
    optimiser.zero_grad()
    projected, cost = net(x)
    loss = ((projected - (x + 1) / 2) ** 2).sum(dim=(1, 2, 3)).mean() + cost
    loss.backward()
    optimiser.step()

  return step


def our_steps(config, images: np.ndarray) -> dict:
  """The step, and the passes of its two large parts."""
  method = methods.create(config)
  state = jax.jit(method.init)(jax.random.key(0), {"image": images})
  update = jax.jit(partial(method.update, axis_name=None))
  decoder = model.networks(config)["decoder"]
  statistics = state.model_state["statistics"]["decoder"]
  rng = np.random.default_rng(0)
  codes = jnp.asarray(rng.normal(size=(len(images), config.voxels.code)), jnp.float32)
  density = jnp.asarray(rng.uniform(size=(len(images), SIDE, SIDE, SIDE)), jnp.float32)
  angles = jnp.asarray(rng.uniform(-3, 3, len(images)), jnp.float32)

  def decoded(params, z):
    variables = {"params": params, "batch_stats": statistics}
    logits, _ = decoder.apply(variables, z, True, mutable=["batch_stats"])
    return jnp.square(logits).sum()

  def projected(density, angles):
    return jnp.square(projection.project(density, angles)).sum()

  decoder_pass, projection_pass = (jax.jit(jax.grad(f, argnums=(0, 1))) for f in (decoded, projected))
  return {
    "ours": lambda: jax.block_until_ready(update(state, {"image": images}, jax.random.key(1))),
    "decoder": lambda: jax.block_until_ready(decoder_pass(state.params["decoder"], codes)),
    "projection": lambda: jax.block_until_ready(projection_pass(density, angles)),
  }


def works(code: int, width: int, batch: int) -> dict[str, arithmetic.Work]:
  """The fewest operations and bytes of the two parts, forward and backward."""

  def up(side: int, inputs: int, outputs: int) -> arithmetic.Convolution:
    voxels, kernel = batch * side**3, 27 * inputs * outputs
    return arithmetic.Convolution(voxels * kernel, voxels * inputs, 8 * voxels * outputs, kernel, inputs)

  coarse = coarse_side(SIDE)
  first = coarse**3 * width
  expand = arithmetic.Convolution(batch * code * first, batch * code, batch * first, code * first, code)
  decoder = [expand, up(coarse, width, width // 2), up(2 * coarse, width // 2, 1)]
  # Four products and sums for every voxel: forward, by the density and by the angle. Volumes are read in both
  # directions, and their gradient is written.
  voxels = batch * SIDE**3
  turned = arithmetic.Work(3 * 8.0 * voxels, 3 * 4.0 * voxels)
  return {"decoder": arithmetic.training(decoder, 4), "projection": turned}


def main() -> None:
  """Parses the command line, measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--batch", type=int, default=16)
  parser.add_argument("--width", type=int, default=128)
  parser.add_argument("--repetitions", type=int, default=9)
  parser.add_argument("--quick", action="store_true", help="narrow, two repetitions: does it run")
  of_cores = "of all cores together, instead of wall time; on one core it holds beside other work"
  parser.add_argument("--processor_time", action="store_true", help=of_cores)
  flags = parser.parse_args()
  clock = time.process_time if flags.processor_time else time.perf_counter
  config = base("voxels")
  width = 8 if flags.quick else flags.width
  config.voxels.update(width_encoder=width, width_decoder=width, pose="circular", pose_components=1)
  config.voxels.regulariser = "kl"
  config.train.batch_size = flags.batch
  images = np.random.default_rng(0).uniform(-1, 1, (flags.batch, SIDE, SIDE, 1)).astype(np.float32)
  steps = {"PyTorch": torch_step(config, images), **our_steps(config, images)}
  print(measure.machine(), flush=True)
  rates, bandwidth = roofline.ceilings(flags.quick, clock)
  seconds = measure.alternating(steps, 2 if flags.quick else flags.repetitions, clock)
  work, rows = works(config.voxels.code, width, flags.batch), []
  for name, values in seconds.items():
    beside = seconds["PyTorch" if name in ("PyTorch", "ours") else "ours"]
    row = [name, measure.spread(values * 1e3 / flags.batch, 3), f"{np.median(values / beside):.2f}", "", ""]
    if name in work:
      floor = max(work[name].flops / rates["float32"], work[name].bytes / bandwidth)
      row[3:] = [f"{floor * 1e3 / flags.batch:.3f}", f"{np.median(values) / floor:.1f}"]
    rows.append(row)
  header = ["step", "ms per picture [middle half]", "time / PyTorch, or share of ours"]
  header += ["floor, ms", "time / floor"]
  print(measure.table(header, rows))


if __name__ == "__main__":
  main()
