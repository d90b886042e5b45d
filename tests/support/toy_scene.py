"""A method of a hundred numbers for pictures of any side.

It says what PDR says: depth, albedo, light, view. Its name in a configuration is `support.toy_scene`. Nothing
of it is right; all of it is cheap.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from pdr_jax.config import base
from pdr_jax.elements import Element
from pdr_jax.methods import Camera, Description, Method, TrainState, inference_variables
from pdr_jax.rules import at_least
from pdr_jax.training import run_dir
from pdr_jax.training.checkpoints import Checkpoints

NAME = "support.toy_scene"
BLOCKS = ("depth", "light")


def defaults() -> dict:
  return dict(
    toy_scene=dict(
      width=3,  # numbers of a block
    )
  )


def reads(config: ConfigDict) -> dict[str, Element]:
  side, channels = config.data.side, config.data.channels
  return {"image": Element((side, side, channels), "float32", "image", (-1.0, 1.0))}


def create(config: ConfigDict) -> Method:
  decompose = partial(_decompose, config=config)
  return Method(
    init=partial(_init, config=config),
    update=_update,
    validate=_validate,
    encode=partial(_encode, config=config),
    decompose=decompose,
    render=_render,
    normalize=_normalize,
    pictures=lambda variables, images: {
      name: value
      for name, value in decompose(variables, images).items()
      if name in ("albedo", "depth", "normal", "shading", "reconstruction")
    },
  )


def _init(rng: jax.Array, batch: dict, *, config: ConfigDict) -> TrainState:
  numbers = int(np.prod(batch["image"].shape[1:]))
  kernel = jax.random.normal(rng, (numbers, len(BLOCKS) * config.toy_scene.width)) / numbers**0.5
  return TrainState(step=jnp.int32(0), params={"net": {"kernel": kernel}})


def _update(state: TrainState, batch: dict, rng: jax.Array, axis_name: str | None) -> tuple[TrainState, dict]:
  return state.replace(step=state.step + 1), {"train/loss": (jnp.float32(1), jnp.float32(1))}


def _encode(variables: dict, images: jax.Array, *, config: ConfigDict) -> dict[str, jax.Array]:
  numbers = images.reshape(images.shape[0], -1) @ variables["net"]["kernel"]
  width = config.toy_scene.width
  return {name: numbers[:, i * width : (i + 1) * width] for i, name in enumerate(BLOCKS)}


def _validate(state: TrainState, batch: dict, axis_name: str | None) -> dict:
  error = jnp.abs(batch["image"]).mean(axis=(1, 2, 3))
  total, count = (error * batch["_mask"]).sum(), batch["_mask"].sum()
  pair = (total, count) if axis_name is None else jax.lax.psum((total, count), axis_name)
  return {"val/reconstruction": pair}


def _decompose(variables: dict, images: jax.Array, *, config: ConfigDict) -> dict[str, jax.Array]:
  """A dome lit from where the features say, painted as the picture."""
  count, side = images.shape[:2]
  features = _encode(variables, images, config=config)
  v, u = jnp.meshgrid(*[jnp.linspace(-1, 1, side)] * 2, indexing="ij")
  depth = jnp.broadcast_to((1 + 0.05 * (u**2 + v**2))[None], (count, side, side))
  slope = jnp.stack([-0.5 * u, -0.5 * v, jnp.ones_like(u)], axis=-1)
  normal = jnp.broadcast_to(
    (slope / jnp.linalg.norm(slope, axis=-1, keepdims=True))[None], (count, side, side, 3)
  )
  light = jnp.zeros((count, 9)).at[:, 0].set(3.0).at[:, 1].set(features["light"][:, 0])
  shading = jnp.broadcast_to(normal[..., 2], (count, side, side))
  albedo = jnp.broadcast_to(images, (count, side, side, 3))
  return {
    "depth": depth,
    "depth_at_view": depth,
    "albedo": albedo,
    "light": light,
    "view": jnp.zeros((count, 6)),
    "normal": normal,
    "shading": shading,
    "canonical": albedo,
    "reconstruction": albedo,
    "mask": jnp.ones((count, side, side)),
  }


def _render(
  parts: dict, light: jax.Array | None = None, view: jax.Array | None = None
) -> dict[str, jax.Array]:
  image = parts["canonical"] * (1.0 if light is None else 0.5)
  return {"image": image, "mask": jnp.ones(image.shape[:3]), "depth_at_view": parts["depth"]}


def _normalize(variables: dict, images: jax.Array) -> dict[str, jax.Array]:
  """The mean of a picture and its mirror image, as reflectance."""
  texture = (images + jnp.flip(images, 2)) / 2
  reflectance = texture / 2 + 0.5
  visibility = jnp.ones(images.shape[:3])
  return {
    "texture": texture, "reflectance": reflectance, "completed": reflectance, "visibility": visibility
  }


METHOD = Description(
  defaults=defaults,
  rules={"toy_scene.width": at_least(1)},
  variants={"narrow": lambda config: None},
  check=lambda config, devices: None,
  reads=reads,
  create=create,
  camera=lambda config: Camera(10.0, 0.9, 1.1),
  rendered=("depth", "canonical"),
)


def config(**data) -> ConfigDict:
  """Of a run of this method, on pictures of side 8."""
  made = base(NAME)
  made.data.update(side=8, train_examples=0)
  made.data.update(data)
  made.train.batch_size = 4
  return made


def write_run(workdir: str, made: ConfigDict, step: int = 7) -> dict:
  """A run directory with a checkpoint of fresh networks; returns their variables."""
  run_dir.record_start(workdir, made, reads(made))
  example = {"image": np.zeros((1, *reads(made)["image"].shape), np.float32)}
  state = create(made).init(jax.random.key(0), example).replace(step=jnp.int32(step))
  saved = Checkpoints(workdir, keep=1, best_metric=made.train.best_metric)
  saved.save(step, state, {}, {made.train.best_metric: 0.5})
  saved.close()
  return jax.device_get(inference_variables(state))
