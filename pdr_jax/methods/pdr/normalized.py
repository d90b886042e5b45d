"""The input pictures of PDR in canonical pose and without their light (see `render.unwrap`)."""

from collections.abc import Callable

from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.render import unwrap


def normalize(
  variables: dict, images: Float[ArrayLike, "B S S 3"], *, decompose: Callable, config: ConfigDict
) -> dict[str, Float[Array, "B S S ..."]]:
  """`texture`, `reflectance`, `completed` and `visibility`, see `unwrap.Normalized`.

  Both halves are averaged where both are seen: the completed picture is symmetric.
  """
  parts, scene = decompose(variables, images), config.scene
  maps = unwrap.normalize_decomposed(
    images, parts, fov=scene.fov, near=scene.min_depth, far=scene.max_depth
  )
  return maps._asdict()
