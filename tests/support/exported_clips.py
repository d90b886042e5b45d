"""A toy method for exports, on grey clips of side 12, with nearly every capability.

Its model state holds batch statistics.
"""

import jax
import jax.numpy as jnp

from pdr_jax.elements import Element
from pdr_jax.methods.contract import Description, Method, TrainState

FRAMES, SIDE, BLOCK = 3, 12, 5


def create(config):
  def init(rng, batch):
    kernel = jax.random.normal(rng, (FRAMES * SIDE * SIDE, BLOCK))
    return TrainState(
      jnp.int32(0), {"encoder": {"kernel": kernel}}, model_state={"mean": jnp.full((BLOCK,), 0.25)}
    )

  def encode(variables, clips):
    features = clips.reshape(clips.shape[0], -1) @ variables["encoder"]["kernel"]
    return {"content": features - variables["model_state"]["mean"][None]}

  def generate(variables, rng, count):
    noise = jax.random.uniform(rng, (count, BLOCK)) @ variables["encoder"]["kernel"].T
    return jnp.tanh(noise).reshape(count, FRAMES, SIDE, SIDE, 1)[:, 0]

  def forecast(variables, clips, frames):
    shift = jnp.arange(1.0, frames + 1)[None, :, None, None, None] * variables["model_state"]["mean"][0]
    return clips[:, -1:] + shift

  def normalize(variables, clips):
    return {"completed": clips - clips.mean(axis=(1, 2, 3, 4), keepdims=True)}

  return Method(
    init=init,
    update=None,
    validate=None,
    encode=encode,
    generate=generate,
    forecast=forecast,
    normalize=normalize,
  )


METHOD = Description(
  defaults=lambda: {"data": {"side": SIDE, "channels": 1, "frames": FRAMES}},
  rules={},
  variants={},
  check=lambda config, devices: None,
  reads=lambda config: {"clip": Element((FRAMES, SIDE, SIDE, 1), "float32", "clip", (0.0, 1.0))},
  create=create,
  input="clip",
)
