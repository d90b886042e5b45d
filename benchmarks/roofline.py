"""Where a PDR training step's time goes, and how far each part is from the floor of the machine.

  python -m benchmarks.roofline [--config configs/heads.py[:variant]] [--batch 16] [--dtype bfloat16]
      [--quick]

First the machine's ceilings, measured: a large matrix product (float32 as JAX multiplies by default, and
bfloat16 on accelerators) and a copy (bytes read plus bytes written). Then every part of the step, jitted
alone, forward and backward, and the whole step on one device, as a Markdown table: floating-point operations
by hand (`arithmetic.py`) and by XLA (as written, and in the compiled program), bytes by hand and in the
compiled program, the median of alternating repetitions [middle half], the share of the whole step, and the
ratio to the floor, max(operations / rate, bytes / bandwidth), by hand where it is counted and by the compiled
program where not. Parts are whole programs: what a step shares between them (a fused reduction, an activation
still in the cache) is paid twice, so the shares may add up to more than 100 %.

The renderer's parts draw relief turned up to `--degrees` about each axis, as trained networks do; the whole
step draws what untrained networks say, frontal views, which are cheaper. The renderer's share is therefore an
upper bound.
"""

import argparse
import re
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from benchmarks import arithmetic, measure
from benchmarks.rasterizer import relief
from pdr_jax.cli import runtime
from pdr_jax.losses import contrastive
from pdr_jax.losses.perceptual import perceptual, pool_mask
from pdr_jax.losses.photometric import photometric
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.losses.smoothness import smoothness
from pdr_jax.methods import create
from pdr_jax.methods.pdr import light as light_model
from pdr_jax.methods.pdr import loocc
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr import system as pdr
from pdr_jax.methods.shared import gradient_step
from pdr_jax.training import step as training

RENDERER = ("renderer", "LOOCC render")


class Part(NamedTuple):
  """A part of the step: `function(*args)` runs it forward and backward.

  `work` is counted by hand, NaN where it is not. With `carried`, the function returns what its first argument
  is the next time, in place.
  """

  function: Callable
  args: tuple
  work: arithmetic.Work
  carried: bool = False


def parts(config: ConfigDict, batch: int, degrees: float) -> dict[str, Part]:
  """The parts of a step of `method=pdr` and the `whole step`, on random pictures."""
  method = create(config)
  images = jnp.asarray(measure.images(batch, config.data.side))
  initial = training.initial_state(method, 0, {"image": images})
  state = jax.tree.map(jnp.asarray, jax.device_get(initial))  # on one device
  pieces, blocks, (pixel, feature) = network_parts(config, state.params, images)
  scene = turned_scene(config, batch, degrees)
  pieces |= picture_parts(config, scene, images, pixel, feature)
  if config.loocc.weight:
    pieces |= loocc_parts(config, state.params, scene, images, blocks)
  tx = pdr.descent(config)

  def descend(state, grads):
    return gradient_step.descend(state, grads, tx=tx, config=config), optax.tree.norm(grads)

  def step(state, images, key):
    return method.update(state, {"image": images}, key, None)

  grads = jax.tree.map(lambda leaf: 1e-3 * jnp.ones_like(leaf), state.params)
  # Read gradient, parameter and both moments, write all but the gradient.
  traffic = arithmetic.Work(np.nan, 2.0 * measure.tree_bytes(state) + measure.tree_bytes(grads))
  copied = partial(jax.tree.map, jnp.copy)  # what is carried is updated in place
  pieces["optimiser"] = Part(descend, (copied(state), grads), traffic, carried=True)
  total = arithmetic.Work(*np.nansum([part.work for part in pieces.values()], axis=0))
  pieces["whole step"] = Part(step, (copied(state), images, jax.random.key(2)), total, carried=True)
  return pieces


def network_parts(config: ConfigDict, params: dict, images: jax.Array):
  """Encoders, decoders and confidence; the features by block; the confidence (pixel, feature), or Nones."""
  nets = pdr.networks(config)
  encode, decode = partial(pdr.encode, nets=nets), partial(decoded, nets=nets)
  encoders = {name: {"encoder": params[name]["encoder"]} for name in loocc.FACTORS}
  decoders = {name: {"decoder": params[name]["decoder"]} for name in ("depth", "albedo")}
  blocks = jax.jit(encode)(encoders, images)
  bottlenecks = {name: blocks[name] for name in decoders}

  def by_hand(function, *args):
    return arithmetic.training(arithmetic.convolutions(function, *args), itemsize(config))

  def confidence(params, images):
    return nets["confidence"].apply({"params": params}, images)

  pieces = {
    "encoders": Part(gradient(encode), (encoders, images), by_hand(encode, encoders, images)),
    "decoders": Part(
      gradient(decode, (0, 1)), (decoders, bottlenecks), by_hand(decode, decoders, bottlenecks)
    ),
  }
  if not config.loss.confidence:
    return pieces, blocks, (None, None)
  args = params["confidence"], images
  pieces["confidence"] = Part(gradient(confidence), args, by_hand(confidence, *args))
  return pieces, blocks, jax.jit(confidence)(*args)


def picture_parts(config: ConfigDict, scene: scenes.Scene, images, pixel, feature) -> dict[str, Part]:
  """The renderer, and the losses on what it draws."""
  rendering = jax.jit(partial(scenes.render, config=config))(scenes.mirrored(scene))

  def picture(scene):
    return scenes.render(scenes.mirrored(scene), config).image

  inputs = rendering.image, pixel, scene.depth
  by_pixels = jax.grad(partial(pixel_loss, config=config), (0, 1, 2))
  pieces = {
    "renderer": Part(gradient(picture), (scene,), moved(scene, rendering.image)),
    "pixel losses": Part(by_pixels, (*inputs, images, rendering.mask), moved(*inputs)),
  }
  phi = pdr.perceptual_features(config)
  if phi is not None:
    by_features = jax.grad(partial(perceptual_loss, phi=phi, config=config), (0, 1))
    args = (rendering.image, feature, images, rendering.mask)
    pieces["perceptual"] = Part(by_features, args, perceptual_work(config, len(images)))
  return pieces


def loocc_parts(config: ConfigDict, params: dict, scene: scenes.Scene, images, blocks) -> dict[str, Part]:
  """LOOCC's render, and the encoding of what it draws with the contrast."""
  encode = partial(pdr.encode, nets=pdr.networks(config))
  encoders = {name: {"encoder": params[name]["encoder"]} for name in loocc.FACTORS}
  drawn = jax.jit(partial(loocc.draw, config=config))(jax.random.key(1), jnp.arange(len(images)))
  contrast = jax.grad(partial(contrast_loss, encode=encode, config=config), (0, 1, 2))
  products = arithmetic.convolutions(encode, encoders, images)
  work = arithmetic.training(products, itemsize(config), picture_gradient=True)
  re_render = gradient(partial(loocc.re_render, config=config))
  return {
    "LOOCC render": Part(re_render, (scene, drawn), moved(scene, images)),
    "LOOCC encode, contrast": Part(contrast, (encoders, images, blocks, drawn), work),
  }


def itemsize(config: ConfigDict) -> int:
  """Bytes of one activation."""
  return jnp.dtype(config.networks.dtype).itemsize


def moved(*trees: Any) -> arithmetic.Work:
  """The bytes of every array and its gradient, once; operations are not counted."""
  return arithmetic.Work(np.nan, 2.0 * sum(map(measure.tree_bytes, trees)))


def turned_scene(config: ConfigDict, batch: int, degrees: float) -> scenes.Scene:
  """Relief with random albedo and light, turned by up to `degrees` about each axis."""
  rng, side = np.random.RandomState(0), config.data.side
  depth = scenes.clamp_border(jnp.asarray(relief(side, batch, rng), jnp.float32), config)
  outputs = rng.uniform(-0.5, 0.5, (batch, light_model.OUTPUTS[config.scene.light]))
  light = light_model.from_outputs(jnp.asarray(outputs, jnp.float32), config)
  view = np.concatenate(
    [np.radians(rng.uniform(-degrees, degrees, (batch, 3))), np.zeros((batch, 3))], axis=1
  )
  return scenes.Scene(
    depth,
    jnp.asarray(rng.uniform(-1, 1, (batch, side, side, 3)), jnp.float32),
    light,
    jnp.asarray(view, jnp.float32),
  )


def gradient(function: Callable, argnums: Any = 0) -> Callable:
  """The gradient of a mean square of everything the function returns.

  So nothing can be left out of the backward pass.
  """
  return jax.grad(
    lambda *args: sum(jnp.square(leaf).mean() for leaf in jax.tree.leaves(function(*args))), argnums
  )


def decoded(params: dict, blocks: dict, *, nets: dict) -> list:
  """Raw depth and albedo maps from their bottlenecks."""
  return [
    nets[name].apply({"params": tree}, blocks[name], method=lambda net, z: net.decoder(z))
    for name, tree in params.items()
  ]


def pixel_loss(rendered, confidence, depth, images, mask, *, config):
  """Photometric terms of both halves and smoothness, as `pdr.reconstruction_terms` weighs them."""
  weights, count, total = pdr.term_weights(config), images.shape[0], 0.0
  for half, name in enumerate(("photometric", "photometric_flip")):
    rows = slice(half * count, (half + 1) * count)
    scale = None if confidence is None else confidence[..., half]
    total += weights.get(name, 0.0) * masked_mean(photometric(rendered[rows], images, scale), mask[rows])
  if "smoothness" in weights:
    total += weights["smoothness"] * masked_mean(
      smoothness(depth, config.scene.max_depth - config.scene.min_depth), None
    )
  return total


def perceptual_loss(rendered, confidence, images, mask, *, phi, config):
  """Perceptual terms of both halves, as `pdr.reconstruction_terms` weighs them."""
  weights, count, total = pdr.term_weights(config), images.shape[0], 0.0
  target = jax.lax.stop_gradient(phi(images))
  for half, name in enumerate(("perceptual", "perceptual_flip")):
    if name in weights:
      rows = slice(half * count, (half + 1) * count)
      seen = jnp.where(mask[rows][..., None] > 0, rendered[rows], images)
      values = perceptual(phi(seen), target, None if confidence is None else confidence[..., half])
      total += weights[name] * masked_mean(values, pool_mask(mask[rows], values.shape[1]))
  return total


def perceptual_work(config: ConfigDict, batch: int) -> arithmetic.Work:
  """The target forward, each half that the loss uses forward and backward."""
  convolutions = arithmetic.perceptual(config, batch)
  halves = [arithmetic.fixed(convolutions, 4, backward=True)] * (1 + bool(config.loss.flip))
  return arithmetic.Work(*np.sum([arithmetic.fixed(convolutions, 4, backward=False), *halves], axis=0))


def contrast_loss(params, picture, blocks, drawn, *, encode, config):
  """The re-render's encoding and its contrast with the image's features: `loocc.loss` after the render."""
  anchors = loocc.features(blocks, drawn, config)
  positives = loocc.features(encode(params, picture), drawn, config)
  return contrastive.nt_xent(anchors, positives, temperature=config.loocc.temperature).mean()


# ---------------------------------------------------------------- ceilings and times


def matrix_rate(dtype: str, side: int, clock: Callable[[], float] = time.perf_counter) -> float:
  """Operations a second of `[side, side] @ [side, side]`, the best of five runs of a few products each."""
  a, b = (jax.random.normal(key, (side, side), dtype) for key in jax.random.split(jax.random.key(0)))
  product, count = jax.jit(jnp.matmul), 4

  def run():
    jax.block_until_ready([product(a, b) for _ in range(count)])

  return 2.0 * side**3 * count / measure.alternating({"": run}, 5, clock)[""].min()


def copy_bandwidth(mebibytes: int, clock: Callable[[], float] = time.perf_counter) -> float:
  """Bytes read plus bytes written a second, by adding one to an array in place; the best of five runs."""
  array = jnp.zeros(mebibytes * 2**18, jnp.float32)
  add, count = jax.jit(lambda x: x + 1, donate_argnums=0), 4

  def run():
    nonlocal array
    for _ in range(count):
      array = add(array)
    jax.block_until_ready(array)

  return 2.0 * array.nbytes * count / measure.alternating({"": run}, 5, clock)[""].min()


def ready(part: Part) -> tuple[Callable[[], None], jax.stages.Lowered, jax.stages.Compiled]:
  """A function that runs the part once and waits for it, and its program before and after compilation."""
  lowered = jax.jit(part.function, donate_argnums=(0,) if part.carried else ()).lower(*part.args)
  compiled = lowered.compile()
  args = list(part.args)

  def run():
    result = compiled(*args)
    if part.carried:
      args[0] = result[0]
    jax.block_until_ready(result)

  return run, lowered, compiled


def arguments() -> argparse.Namespace:
  """The command line."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  instead = "instead of the configuration's"
  parser.add_argument("--config", default="configs/heads.py", help="FILE[:variant]")
  parser.add_argument("--batch", type=int, default=16)
  parser.add_argument("--dtype", default="", choices=("", "float32", "bfloat16"), help=instead)
  width = f"{instead} networks.width_map; the others follow"
  parser.add_argument("--width", type=int, default=0, help=width)
  parser.add_argument("--side", type=int, default=0, help=f"{instead} data.side")
  parser.add_argument("--degrees", type=float, default=30.0)
  parser.add_argument("--repetitions", type=int, default=11)
  parser.add_argument("--quick", action="store_true", help="small ceilings and two repetitions: does it run?")
  return parser.parse_args()


def ceilings(
  quick: bool, clock: Callable[[], float] = time.perf_counter
) -> tuple[dict[str, float], float]:
  """Operations a second of a matrix product by type, and bytes a second of a copy; prints them."""
  accelerator = jax.default_backend() != "cpu"
  side, mebibytes = (512, 16) if quick else (8192, 2048) if accelerator else (3072, 256)
  dtypes = ["float32", "bfloat16"] if accelerator else ["float32"]
  rates = {dtype: matrix_rate(dtype, side, clock) for dtype in dtypes}
  bandwidth = copy_bandwidth(mebibytes, clock)
  print(
    f"ceilings: matrix product [{side}, {side}] "
    + ", ".join(f"{name} {value / 1e12:.3f} TFLOP/s" for name, value in rates.items())
    + f"; copy of {mebibytes} MiB {bandwidth / 1e9:.1f} GB/s, read plus written\n",
    flush=True,
  )
  return rates, bandwidth


HEADER = ["part", "GFLOP by hand", "GFLOP as written (XLA)", "GFLOP compiled (XLA)", "MB by hand"]
HEADER += ["MB compiled (XLA)", "ms [middle half]", "of the step", "floor, ms", "time / floor"]


def rows(pieces: dict[str, Part], programs: dict, seconds: dict, rate: float, bandwidth: float) -> list:
  """A row of the table for each part; the floor of the whole step is the sum of the parts' floors."""
  whole, floors, lines = np.median(seconds["whole step"]), {}, []
  for name, part in pieces.items():
    lowered, compiled = (measure.counts(program) for program in programs[name])
    work = part.work
    flops = compiled["flops"] if np.isnan(work.flops) else work.flops
    floors[name] = sum(floors.values()) if name == "whole step" else max(flops / rate, work.bytes / bandwidth)
    middle = np.median(seconds[name])
    operations = (work.flops / 1e9, lowered["flops"] / 1e9, compiled["flops"] / 1e9)
    counted = [*operations, work.bytes / 1e6, compiled["bytes accessed"] / 1e6]
    measured = [measure.spread(seconds[name] * 1e3), f"{100 * middle / whole:.1f} %"]
    relative = [f"{floors[name] * 1e3:.2f}", f"{middle / floors[name]:.1f} x"]
    shown = ("" if np.isnan(value) else f"{value:.3g}" for value in counted)
    lines.append([name, *shown, *measured, *relative])
  return lines


def main() -> None:
  """Measures and prints."""
  flags = arguments()
  runtime.cache_compilations()
  config = measure.load_config(flags.config, width=flags.width, side=flags.side, dtype=flags.dtype)
  print(measure.machine())
  print(
    f"{flags.config}, side {config.data.side}, width {config.networks.width_map}, {config.networks.dtype}, "
    f"batch {flags.batch}"
  )
  rates, bandwidth = ceilings(flags.quick)
  pieces = parts(config, flags.batch, flags.degrees)
  runs, programs = {}, {}
  for name, part in pieces.items():
    runs[name], *programs[name] = ready(part)
  seconds = measure.alternating(runs, 2 if flags.quick else flags.repetitions)
  rate = rates.get(config.networks.dtype, rates["float32"])
  print(measure.table(HEADER, rows(pieces, programs, seconds, rate, bandwidth)))
  whole = np.median(seconds["whole step"])
  drawn = [name for name in RENDERER if name in seconds]
  drawing = sum(np.median(seconds[name]) for name in drawn)
  alone = sum(np.median(values) for name, values in seconds.items() if name != "whole step")
  print(
    f"\nrenderer in all ({' and '.join(drawn)}): {100 * drawing / whole:.1f} % of the step, "
    f"{100 * drawing / alone:.1f} % of the parts' sum ({alone * 1e3:.1f} ms); "
    f"{flags.batch / whole:.1f} images per second"
  )
  calls = Counter(re.findall(r'custom_call_target="([^"]+)"', programs["whole step"][1].as_text()))
  print(
    "custom calls of the step, which XLA counts as nothing: "
    + (", ".join(f"{n} x {name}" for name, n in calls.items()) or "none")
  )


if __name__ == "__main__":
  main()
