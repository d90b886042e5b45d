"""SimCLR's augmentations (Chen et al. 2020, appendix A), for all methods that compare views of an image.

This says what is drawn for each image, and what that does to it. Random resized crop, left-right flip, colour
distortion and greyscale. No blur, as in the paper for small images (appendix B.9).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.methods.shared import gradient_step
from pdr_jax.render.safe_ops import safe_divide
from pdr_jax.rules import Rule, between

ASPECT = (3 / 4, 4 / 3)  # of the crop, width to height
JITTERED, GREY, FLIPPED = 0.8, 0.2, 0.5  # probabilities
LUMA = (0.299, 0.587, 0.114)  # of greyscale, ITU-R BT.601


def defaults() -> dict[str, Any]:
  """The keys that a method's section has for its views."""
  return dict(
      crop=0.08,              # smallest share of the picture's area that a crop keeps
      color=0.5,              # strength of the colour distortion (published: 0.5 for small images, 1 for
                              # ImageNet)
  )


def rules(section: str) -> dict[str, Rule]:
  """Those of `defaults` in this section."""
  return {
      f"{section}.crop": Rule(lambda value: 0 < value <= 1, "above 0 and at most 1"),
      f"{section}.color": between(0, 1),
  }


def views(
  rng: Array, images: Float[ArrayLike, "B S S 3"], axis_name: str | None, settings: ConfigDict
) -> tuple[Array, Array]:
  """Two augmentations of each image, drawn by its place in the global batch. `settings`: see `defaults`."""
  index = gradient_step.global_index(images.shape[0], axis_name)
  first, second = (
    apply(images, draw(jax.random.fold_in(rng, view), index, settings)) for view in range(2)
  )
  return first, second


def pictures(
  params: dict, images: Float[ArrayLike, "B S S 3"], *, settings: ConfigDict
) -> dict[str, Float[Array, "B S S 3"]]:
  """`view 1` and `view 2`: what a loss compares (the parameters have no part in it)."""
  first, second = views(jax.random.key(0), images, None, settings)
  return {"view 1": first, "view 2": second}


def draw(rng: Array, index: Int[ArrayLike, " B"], settings: ConfigDict) -> dict[str, Array]:
  """Random augmentations of the images with these indices in the global batch; each image has its own stream.

  Returns, each `[B]`: `top`, `left`, `height`, `width` of the crop as shares of the side (its area is
  `crop` to 1 of the picture's and its aspect 3/4 to 4/3, but no edge is longer than the picture's; aspects
  that would then leave less than `crop` are not drawn), `flip`, `grey` (bool), the factors `brightness`,
  `contrast` and `saturation` (1 +- 0.8 `color`), and `hue` (turns, +- 0.2 `color`). An image without jitter
  has factors 1 and hue 0.
  """
  strength = settings.color

  def draw_image(i):
    keys = iter(jax.random.split(jax.random.fold_in(rng, i), 11))

    def uniform(low, high):
      return jax.random.uniform(next(keys), (), minval=low, maxval=high)

    def coin(probability):
      return jax.random.bernoulli(next(keys), probability)

    # Of an edge that is cut off at the picture's, the crop keeps the root of its area times or by its aspect:
    # at least `crop` where the aspect lies from `crop` to its reciprocal.
    narrow, wide = max(ASPECT[0], settings.crop), min(ASPECT[1], 1 / settings.crop)
    area, aspect = uniform(settings.crop, 1.0), jnp.exp(uniform(np.log(narrow), np.log(wide)))
    height, width = jnp.minimum(jnp.sqrt(area / aspect), 1.0), jnp.minimum(jnp.sqrt(area * aspect), 1.0)
    crop = {
      "top": uniform(0.0, 1.0) * (1 - height),
      "left": uniform(0.0, 1.0) * (1 - width),
      "height": height,
      "width": width,
    }
    jitter = coin(JITTERED)
    factors = {name: jnp.where(jitter, uniform(1 - 0.8 * strength, 1 + 0.8 * strength), 1.0)
               for name in ("brightness", "contrast", "saturation")}
    hue = jnp.where(jitter, uniform(-0.2 * strength, 0.2 * strength), 0.0)
    return crop | factors | {"hue": hue, "flip": coin(FLIPPED), "grey": coin(GREY)}

  return jax.vmap(draw_image)(index)


def apply(images: Float[ArrayLike, "B S S 3"], drawn: dict[str, ArrayLike]) -> Float[Array, "B S S 3"]:
  """The images augmented as drawn; in [-1, 1] before and after.

  Colours change in the order of the paper's code, clipped each time.
  """

  def augment(image, drawn):
    image = resized_crop(image, drawn)
    image = jnp.where(drawn["flip"], image[:, ::-1], image)
    image = (1 + image) / 2
    image = jnp.clip(drawn["brightness"] * image, 0.0, 1.0)
    image = blend(image, greyscale(image).mean(), drawn["contrast"])
    image = blend(image, greyscale(image), drawn["saturation"])
    image = turn_hue(image, drawn["hue"])
    return 2 * jnp.where(drawn["grey"], greyscale(image), image) - 1

  return jax.vmap(augment)(images, drawn)


def resized_crop(image: Float[ArrayLike, "S S 3"], drawn: dict[str, ArrayLike]) -> Float[Array, "S S 3"]:
  """The crop at the picture's size, bilinear with pixel centres at half-integers.

  There is no antialiasing, as the crop never shrinks.
  """
  side = image.shape[0]
  scale = 1 / jnp.stack([drawn["height"], drawn["width"]])
  shift = -side * scale * jnp.stack([drawn["top"], drawn["left"]])
  return jax.image.scale_and_translate(
    image, image.shape, (0, 1), scale, shift, method="linear", antialias=False
  )


def greyscale(image: Float[ArrayLike, "S S 3"]) -> Float[Array, "S S 1"]:
  """Luma of an RGB picture, one channel."""
  return jnp.sum(image * np.array(LUMA, np.float32)[None, None], axis=-1, keepdims=True)


def blend(
  image: Float[ArrayLike, "S S 3"], other: Float[ArrayLike, "..."], factor: Float[ArrayLike, ""]
) -> Float[Array, "S S 3"]:
  """From `other` (factor 0) through the picture (factor 1) and beyond, clipped to [0, 1]."""
  return jnp.clip(factor * image + (1 - factor) * other, 0.0, 1.0)


def turn_hue(image: Float[ArrayLike, "S S 3"], turns: Float[ArrayLike, ""]) -> Float[Array, "S S 3"]:
  """An RGB picture in [0, 1] with its hue (HSV) turned, saturation and value unchanged.

  A grey pixel has no hue and stays.
  """
  red, green, blue = (image[..., i] for i in range(3))
  value = jnp.maximum(jnp.maximum(red, green), blue)
  chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
  # In sixths of a turn, from red over green to blue. Channels are compared with each other, where the hue is
  # continuous, and not with the largest: a compiler may compute that one again, rounded otherwise, and equal
  # to none.
  sixths = jnp.where(
    (red >= green) & (red >= blue),
    safe_divide(green - blue, chroma),
    jnp.where(green >= blue, 2 + safe_divide(blue - red, chroma), 4 + safe_divide(red - green, chroma)),
  )
  sixths = sixths + 6 * turns

  def channel(offset):
    turned = (sixths + offset) % 6
    return value - chroma * jnp.clip(jnp.minimum(turned, 4 - (sixths + offset) % 6), 0.0, 1.0)

  return jnp.stack([channel(5.0), channel(3.0), channel(1.0)], axis=-1)
