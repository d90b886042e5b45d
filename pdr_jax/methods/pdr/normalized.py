"""The input pictures of PDR in canonical pose and without their light (see `render.unwrap`)."""

from collections.abc import Callable

from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.render import camera, unwrap

SCENE = ("depth", "view", "shading", "albedo")  # parts of a decomposition that unwrap a picture


def normalize(
  variables: dict, images: Float[ArrayLike, "B S S 3"], *, decompose: Callable, config: ConfigDict
) -> dict[str, Float[Array, "B S S ..."]]:
  """`texture`, `reflectance`, `completed` and `visibility`, see `unwrap.Normalized`.

  Both halves are averaged where both are seen: the completed picture is symmetric.
  """
  parts, scene = decompose(variables, images), config.scene
  lens = camera.pinhole(images.shape[1], scene.fov)
  near, far = scene.min_depth, scene.max_depth
  maps = unwrap.normalize(images, *(parts[name] for name in SCENE), lens, near=near, far=far)
  return maps._asdict()
