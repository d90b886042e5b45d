"""Where a PDR training step's time goes, and how far each part is from the floor of the machine.

  python -m benchmarks.roofline [--config configs/heads.py[:variant]] [--batch 16] [--dtype bfloat16] [--quick]

First the machine's ceilings, measured: a large matrix product (float32 as JAX multiplies by default, and bfloat16 on accelerators) and a
copy (bytes read plus bytes written). Then every part of the step, jitted alone, forward and backward, and the whole step on one device,
as a Markdown table: floating-point operations by hand (`arithmetic.py`) and by XLA (as written, and in the compiled program), bytes by
hand and in the compiled program, the median of alternating repetitions [middle half], the share of the whole step, and the ratio to the
floor, max(operations / rate, bytes / bandwidth), by hand where it is counted and by the compiled program where not. Parts are whole
programs: what a step shares between them (a fused reduction, an activation still in the cache) is paid twice, so the shares may add up to
more than 100 %.

The renderer's parts draw relief turned up to `--degrees` about each axis, as trained networks do; the whole step draws what untrained
networks say, frontal views, which are cheaper. The renderer's share is therefore an upper bound.
"""

import argparse
import re
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
from pdr_jax.cli.compilation_cache import cache_compilations
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
from pdr_jax.methods.shared import gradient_step, optimizer
from pdr_jax.training import step as training

RENDERER = ("renderer", "LOOCC render")


class Part(NamedTuple):
  """A part of the step: `function(*args)` runs it forward and backward; `work` is counted by hand, NaN where it is not.

  With `carried`, the function returns what its first argument is the next time, in place.
  """

  function: Callable
  args: tuple
  work: arithmetic.Work
  carried: bool = False


def parts(config: ConfigDict, batch: int, degrees: float) -> dict[str, Part]:
  """The parts of a step of `method=pdr` and the `whole step`, on random pictures."""
  method, nets, phi = create(config), pdr.networks(config), pdr.perceptual_features(config)
  images = jnp.asarray(measure.images(batch, config.data.side))
  state = jax.tree.map(jnp.asarray, jax.device_get(training.initial_state(method, 0, {"image": images})))  # on one device
  params, encoders = state.params, {name: {"encoder": state.params[name]["encoder"]} for name in loocc.FACTORS}
  encode, decode = partial(pdr.encode, nets=nets), partial(decoded, nets=nets)
  blocks = jax.jit(encode)(encoders, images)
  scene = turned_scene(config, batch, degrees)
  rendering = jax.jit(partial(scenes.render, config=config))(scenes.mirrored(scene))
  itemsize = jnp.dtype(config.networks.dtype).itemsize
  by_hand = lambda function, *args, **options: arithmetic.training(arithmetic.convolutions(function, *args), itemsize, **options)
  moved = lambda *trees: arithmetic.Work(np.nan, 2.0 * sum(map(measure.tree_bytes, trees)))  # every array and its gradient, once

  decoders = {name: {"decoder": params[name]["decoder"]} for name in ("depth", "albedo")}
  bottlenecks = {name: blocks[name] for name in decoders}
  found = {"encoders": Part(gradient(encode), (encoders, images), by_hand(encode, encoders, images)),
           "decoders": Part(gradient(decode, (0, 1)), (decoders, bottlenecks), by_hand(decode, decoders, bottlenecks))}
  pixel = feature = None
  if config.loss.confidence:
    confidence = lambda params, images: nets["confidence"].apply({"params": params}, images)
    pixel, feature = jax.jit(confidence)(params["confidence"], images)
    found["confidence"] = Part(gradient(confidence), (params["confidence"], images), by_hand(confidence, params["confidence"], images))
  picture = lambda scene: scenes.render(scenes.mirrored(scene), config).image
  found["renderer"] = Part(gradient(picture), (scene,), moved(scene, rendering.image))
  inputs = rendering.image, pixel, scene.depth
  found["pixel losses"] = Part(jax.grad(partial(pixel_loss, config=config), (0, 1, 2)), (*inputs, images, rendering.mask), moved(*inputs))
  if phi is not None:
    found["perceptual"] = Part(jax.grad(partial(perceptual_loss, phi=phi, config=config), (0, 1)),
                               (rendering.image, feature, images, rendering.mask), perceptual_work(config, batch))
  if config.loocc.weight:
    drawn = jax.jit(partial(loocc.draw, config=config))(jax.random.key(1), jnp.arange(batch))
    found["LOOCC render"] = Part(gradient(partial(loocc.re_render, config=config)), (scene, drawn), moved(scene, images))
    contrast = partial(contrast_loss, encode=encode, config=config)
    found["LOOCC encode, contrast"] = Part(jax.grad(contrast, (0, 1, 2)), (encoders, images, blocks, drawn),
                                           by_hand(encode, encoders, images, picture_gradient=True))
  tx = optimizer.create(config, multiples={"view": config.optim.view_rate})
  descend = lambda state, grads: (gradient_step.descend(state, grads, tx=tx, config=config), optax.tree.norm(grads))
  grads = jax.tree.map(lambda leaf: 1e-3 * jnp.ones_like(leaf), params)
  # Read gradient, parameter and both moments, write all but the gradient.
  traffic = arithmetic.Work(np.nan, 2.0 * measure.tree_bytes(state) + measure.tree_bytes(grads))
  copied = partial(jax.tree.map, jnp.copy)  # what is carried is updated in place
  found["optimiser"] = Part(descend, (copied(state), grads), traffic, carried=True)
  step = lambda state, images, key: method.update(state, {"image": images}, key, None)
  total = arithmetic.Work(*np.nansum([part.work for part in found.values()], axis=0))
  found["whole step"] = Part(step, (copied(state), images, jax.random.key(2)), total, carried=True)
  return found


def turned_scene(config: ConfigDict, batch: int, degrees: float) -> scenes.Scene:
  """Relief with random albedo and light, turned by up to `degrees` about each axis."""
  rng, side = np.random.RandomState(0), config.data.side
  depth = scenes.clamp_border(jnp.asarray(relief(side, batch, rng), jnp.float32), config)
  outputs = rng.uniform(-0.5, 0.5, (batch, light_model.OUTPUTS[config.scene.light]))
  light = light_model.from_outputs(jnp.asarray(outputs, jnp.float32), config)
  view = np.concatenate([np.radians(rng.uniform(-degrees, degrees, (batch, 3))), np.zeros((batch, 3))], axis=1)
  return scenes.Scene(depth, jnp.asarray(rng.uniform(-1, 1, (batch, side, side, 3)), jnp.float32), light, jnp.asarray(view, jnp.float32))


def gradient(function: Callable, argnums: Any = 0) -> Callable:
  """The gradient of a mean square of everything the function returns, so that nothing can be left out of the backward pass."""
  return jax.grad(lambda *args: sum(jnp.square(leaf).mean() for leaf in jax.tree.leaves(function(*args))), argnums)


def decoded(params: dict, blocks: dict, *, nets: dict) -> list:
  """Raw depth and albedo maps from their bottlenecks."""
  return [nets[name].apply({"params": tree}, blocks[name], method=lambda net, z: net.decoder(z)) for name, tree in params.items()]


def pixel_loss(rendered, confidence, depth, images, mask, *, config):
  """Photometric terms of both halves and smoothness, as `pdr.reconstruction_terms` weighs them."""
  weights, count, total = pdr.term_weights(config), images.shape[0], 0.0
  for half, name in enumerate(("photometric", "photometric_flip")):
    rows = slice(half * count, (half + 1) * count)
    scale = None if confidence is None else confidence[..., half]
    total += weights.get(name, 0.0) * masked_mean(photometric(rendered[rows], images, scale), mask[rows])
  if "smoothness" in weights:
    total += weights["smoothness"] * masked_mean(smoothness(depth, config.scene.max_depth - config.scene.min_depth), None)
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
  found = arithmetic.perceptual(config, batch)
  halves = [arithmetic.fixed(found, 4, backward=True)] * (1 + bool(config.loss.flip))
  return arithmetic.Work(*np.sum([arithmetic.fixed(found, 4, backward=False), *halves], axis=0))


def contrast_loss(params, picture, blocks, drawn, *, encode, config):
  """The re-render's encoding and the contrast with the image's own features (`loocc.loss` after the render)."""
  anchors, positives = (loocc.features(found, drawn, config) for found in (blocks, encode(params, picture)))
  return contrastive.nt_xent(anchors, positives, temperature=config.loocc.temperature).mean()


# ---------------------------------------------------------------- ceilings and times


def matrix_rate(dtype: str, side: int) -> float:
  """Operations a second of `[side, side] @ [side, side]`, the best of five runs of a few products each."""
  a, b = (jax.random.normal(key, (side, side), dtype) for key in jax.random.split(jax.random.key(0)))
  product, count = jax.jit(jnp.matmul), 4

  def run():
    jax.block_until_ready([product(a, b) for _ in range(count)])

  return 2.0 * side**3 * count / measure.alternating({"": run}, 5)[""].min()


def copy_bandwidth(mebibytes: int) -> float:
  """Bytes read plus bytes written a second, by adding one to an array in place; the best of five runs."""
  array = jnp.zeros(mebibytes * 2**18, jnp.float32)
  add, count = jax.jit(lambda x: x + 1, donate_argnums=0), 4

  def run():
    nonlocal array
    for _ in range(count):
      array = add(array)
    jax.block_until_ready(array)

  return 2.0 * array.nbytes * count / measure.alternating({"": run}, 5)[""].min()


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


def main() -> None:
  """Parses the command line, measures and prints."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/heads.py", help="FILE[:variant]")
  parser.add_argument("--batch", type=int, default=16)
  parser.add_argument("--dtype", default="", choices=("", "float32", "bfloat16"), help="instead of the configuration's")
  parser.add_argument("--width", type=int, default=0, help="instead of the configuration's networks.width_map; the others follow")
  parser.add_argument("--side", type=int, default=0, help="instead of the configuration's data.side")
  parser.add_argument("--degrees", type=float, default=30.0)
  parser.add_argument("--repetitions", type=int, default=11)
  parser.add_argument("--quick", action="store_true", help="small ceilings and two repetitions: does it run?")
  flags = parser.parse_args()
  cache_compilations()
  config = measure.load_config(flags.config, width=flags.width, side=flags.side, dtype=flags.dtype)
  accelerator = jax.default_backend() != "cpu"
  side, mebibytes = (512, 16) if flags.quick else (8192, 2048) if accelerator else (3072, 256)
  rates = {dtype: matrix_rate(dtype, side) for dtype in (["float32", "bfloat16"] if accelerator else ["float32"])}
  bandwidth = copy_bandwidth(mebibytes)
  rate = rates.get(config.networks.dtype, rates["float32"])
  print(measure.machine())
  print(f"{flags.config}, side {config.data.side}, width {config.networks.width_map}, {config.networks.dtype}, batch {flags.batch}")
  print(f"ceilings: matrix product [{side}, {side}] " + ", ".join(f"{name} {value / 1e12:.3f} TFLOP/s" for name, value in rates.items())
        + f"; copy of {mebibytes} MiB {bandwidth / 1e9:.1f} GB/s, read plus written\n", flush=True)

  found = parts(config, flags.batch, flags.degrees)
  runs, programs = {}, {}
  for name, part in found.items():
    runs[name], *programs[name] = ready(part)
  seconds = measure.alternating(runs, 2 if flags.quick else flags.repetitions)
  whole = np.median(seconds["whole step"])
  rows, floors = [], {}
  for name, part in found.items():
    lowered, compiled = (measure.counts(program) for program in programs[name])
    work = part.work
    flops = compiled["flops"] if np.isnan(work.flops) else work.flops
    floors[name] = sum(floors.values()) if name == "whole step" else max(flops / rate, work.bytes / bandwidth)
    middle = np.median(seconds[name])
    counted = [work.flops / 1e9, lowered["flops"] / 1e9, compiled["flops"] / 1e9, work.bytes / 1e6, compiled["bytes accessed"] / 1e6]
    rows.append([name, *("" if np.isnan(value) else f"{value:.3g}" for value in counted), measure.spread(seconds[name] * 1e3),
                 f"{100 * middle / whole:.1f} %", f"{floors[name] * 1e3:.2f}", f"{middle / floors[name]:.1f} x"])
  print(measure.table(["part", "GFLOP by hand", "GFLOP as written (XLA)", "GFLOP compiled (XLA)", "MB by hand", "MB compiled (XLA)",
                       "ms [middle half]", "of the step", "floor, ms", "time / floor"], rows))
  drawing = sum(np.median(seconds[name]) for name in RENDERER if name in seconds)
  alone = sum(np.median(values) for name, values in seconds.items() if name != "whole step")
  print(f"\nrenderer in all ({' and '.join(name for name in RENDERER if name in seconds)}): {100 * drawing / whole:.1f} % of the step, "
        f"{100 * drawing / alone:.1f} % of the parts' sum ({alone * 1e3:.1f} ms); {flags.batch / whole:.1f} images per second")
  calls = Counter(re.findall(r'custom_call_target="([^"]+)"', programs["whole step"][1].as_text()))
  print("custom calls of the step, which XLA counts as nothing: " + (", ".join(f"{n} x {name}" for name, n in calls.items()) or "none"))


if __name__ == "__main__":
  main()
