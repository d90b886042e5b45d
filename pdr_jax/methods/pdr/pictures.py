"""What PDR shows of pictures in figures: their parts, and the scene lit and seen from other sides."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.render.lighting import directional_to_sh

TURN = math.radians(20.0)  # yaw of the turned views
AMBIENT, DIFFUSE = 0.35, 0.75  # of the relighting: enough ambient light to see the dark side
PARTS = ("reconstruction", "canonical", "albedo", "shading", "normal", "depth", "confidence")
# Light travels along its direction: to the right when it comes from the left.
LIGHTS = {"lit_left": 1.0, "lit_right": -1.0}
YAWS = {"turned_left": TURN, "frontal": 0.0, "turned_right": -TURN}


def pictures(
    variables: dict, images: Float[ArrayLike, "B S S 3"], *, decompose: Callable, render: Callable
) -> dict[str, Float[Array, "B S S ..."]]:
  """The parts of `decompose`, and the scene lit and turned.

  It is lit from the left and from the right, and seen turned to both sides and from the front.
  """
  parts = decompose(variables, images)
  columns = {name: parts[name] for name in PARTS if name in parts}
  count = images.shape[0]
  for name, side in LIGHTS.items():
    light = directional_to_sh(jnp.float32(AMBIENT), jnp.float32(DIFFUSE), jnp.array([side, 0.0, 1.0]))
    columns[name] = render(parts, light=jnp.broadcast_to(light[None], (count, 9)))["image"]
  for name, yaw in YAWS.items():
    view = jnp.array([0.0, yaw, 0.0, 0.0, 0.0, 0.0])
    columns[name] = render(parts, view=jnp.broadcast_to(view[None], (count, 6)))["image"]
  return columns
