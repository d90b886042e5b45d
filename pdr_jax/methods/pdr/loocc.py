"""LOOCC, the leave-one-out, cycle contrastive loss (specification, section 6).

For every image one factor is left out: it is perturbed, the scene is rendered again and encoded again, and
the features of all *other* factors of the image and of its re-render are pulled together, against the other
images of the batch.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.losses import contrastive
from pdr_jax.methods.pdr import light as light_model
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr.scene import Scene
from pdr_jax.render import safe_ops

FACTORS = ("depth", "albedo", "light", "view")


def draw(rng: Array, index: Int[ArrayLike, " B"], config: ConfigDict) -> dict[str, Array]:
  """Random perturbations of the images with these indices in the global batch.

  Each image has its own stream, so the draw does not depend on how the batch is spread over devices. Returns
  `factor` `[B]` (index into `FACTORS`) and the offsets that `perturb` reads.
  """
  options = config.loocc
  factors = np.array([FACTORS.index(name) for name in options.factors])
  limits = {"ambient": options.ambient, "diffuse": options.ambient, "angle": np.deg2rad(options.light_angle),
            "pitch": np.deg2rad(options.pitch), "yaw": np.deg2rad(options.yaw),
            "pitch_flipped": np.deg2rad(options.pitch), "yaw_flipped": np.deg2rad(options.yaw)}

  def of_image(i):
    coin, axis, offset, *keys = jax.random.split(jax.random.fold_in(rng, i), 3 + len(limits))
    offsets = {name: limit * jax.random.uniform(key, (), minval=-1, maxval=1)
               for key, (name, limit) in zip(keys, limits.items(), strict=True)}
    return offsets | {
        "factor": jnp.asarray(factors)[jax.random.randint(coin, (), 0, len(factors))],
        "axis": safe_ops.normalize(jax.random.normal(axis, (3,))),
        "offset": limits["angle"] * jax.random.uniform(offset, (3,), minval=-1, maxval=1),
    }

  drawn = jax.vmap(of_image)(index)
  if options.choice == "batch":
    coin = of_image(np.iinfo(np.int32).max)["factor"]
    drawn["factor"] = jnp.broadcast_to(coin, index.shape)
  return drawn


def left_out(drawn: dict[str, ArrayLike], name: str) -> Array:
  """Which images of the batch have this factor perturbed. `[B]` bool."""
  return drawn["factor"] == FACTORS.index(name)


def swap_neighbours(x: Float[ArrayLike, "B ..."]) -> Float[Array, "B ..."]:
  """Each image gets the value of its neighbour in the batch: images 0 and 1 swap, 2 and 3, and so on."""
  return x.reshape(-1, 2, *x.shape[1:])[:, ::-1].reshape(x.shape)


def perturb(scene: Scene, drawn: dict[str, ArrayLike], config: ConfigDict) -> Scene:
  """The scene with each image's left-out factor perturbed.

  Depth and albedo are swapped with the neighbour's.
  """
  def choose(name, other):
    value = getattr(scene, name)
    return jnp.where(left_out(drawn, name).reshape(-1, *(1,) * (value.ndim - 1)), other, value)

  changed = {}
  for name in config.loocc.factors:
    if name == "light":
      changed[name] = choose(name, light_model.perturb(scene.light, drawn, config))
    elif name == "view":
      changed[name] = choose(name, perturb_view(scene.view, drawn["pitch"], drawn["yaw"], config))
    else:
      changed[name] = choose(name, swap_neighbours(getattr(scene, name)))
  return scene._replace(**changed)


def perturb_view(
  view: Float[ArrayLike, "B 6"],
  pitch: Float[ArrayLike, " B"],
  yaw: Float[ArrayLike, " B"],
  config: ConfigDict,
) -> Float[Array, "B 6"]:
  """The view turned by pitch and yaw (radians).

  It is clamped to the range of views unless the perturbation is `raw`.
  """
  zero = jnp.zeros_like(pitch)
  moved = view + jnp.stack([pitch, yaw, zero, zero, zero, zero], axis=-1)
  if config.loocc.perturbation == "raw":
    return moved
  limit = scenes.view_range(config)[None]
  return jnp.clip(moved, -limit, limit)


def re_render(scene: Scene, drawn: dict[str, ArrayLike], config: ConfigDict) -> Float[Array, "B S S 3"]:
  """The perturbed scene's picture, as the encoders see it.

  Background is zero. With `mask="own"` the picture is clipped to [-1, 1]; with `mask="both"` (released code)
  it is not, and the mask is the product of its own and the mirrored scene's.
  """
  perturbed = perturb(scene, drawn, config)
  rendering = scenes.render(perturbed, config)
  if config.loocc.mask == "own":
    return jnp.clip(rendering.image, -1, 1) * rendering.mask[..., None]
  view = perturbed.view
  if config.loocc.perturbation == "raw":  # the released code draws the mirrored half's view anew
    redrawn = perturb_view(scene.view, drawn["pitch_flipped"], drawn["yaw_flipped"], config)
    view = jnp.where(left_out(drawn, "view")[:, None], redrawn, view)
  flipped = jnp.flip(perturbed.depth, axis=2)
  _, mask, _ = scenes.at_view(flipped, flipped[..., None], view, config)
  return rendering.image * (rendering.mask * mask)[..., None]


def features(
  blocks: dict[str, Float[ArrayLike, "B D"]], drawn: dict[str, ArrayLike], config: ConfigDict
) -> Float[Array, "B N"]:
  """One vector an image from its feature blocks, the left-out factor's block zeroed (it gets no gradient).

  `normalized`: every block has unit length, and so has the whole. `raw` (released code): blocks as they are,
  light's and view's through a tanh.
  """
  parts = []
  for name in FACTORS:
    block = blocks[name]
    if config.loocc.features == "normalized":
      block = safe_ops.normalize(block)
    elif name in ("light", "view"):
      block = jnp.tanh(block)
    parts.append(jnp.where(left_out(drawn, name)[:, None], 0.0, block))
  joined = jnp.concatenate(parts, axis=-1)
  return safe_ops.normalize(joined) if config.loocc.features == "normalized" else joined


def loss(
  encode: Callable,
  scene: Scene,
  blocks: dict[str, ArrayLike],
  drawn: dict[str, ArrayLike],
  config: ConfigDict,
  axis_name: str | None,
) -> Float[Array, " N"]:
  """The unreduced loss, one value an anchor (the B images, then their B re-renders).

  Args:
    encode: images `[B,S,S,3]` to feature blocks.
    scene: the images' scenes, unmirrored.
    blocks: the images' feature blocks.
    drawn: what `draw` returned.
    axis_name: the devices' axis over which negatives are gathered, or None.
  """
  picture = re_render(scene, drawn, config)
  if config.loocc.stop_gradient:
    picture = jax.lax.stop_gradient(picture)
  anchors, positives = features(blocks, drawn, config), features(encode(picture), drawn, config)
  if config.loocc.contrast == "supcon":
    return contrastive.supcon(
      anchors, positives, temperature=config.loocc.temperature, base_temperature=0.07, axis_name=axis_name
    )
  return contrastive.nt_xent(anchors, positives, temperature=config.loocc.temperature, axis_name=axis_name)
