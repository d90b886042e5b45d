"""A toy second stage for exports: it scales what its first stage encodes."""

import jax.numpy as jnp

from pdr_jax.methods.contract import Method, TrainState
from support import exported_clips


def create(config, first):
  def init(rng, batch):
    return TrainState(jnp.int32(0), {"head": {"scale": jnp.float32(3.0)}})

  def encode(variables, clips):
    content = first.method.encode(variables["model_state"]["first"], clips)["content"]
    return {"scaled": content * variables["head"]["scale"]}

  return Method(init=init, update=None, validate=None, encode=encode)


METHOD = exported_clips.METHOD._replace(create=create, stage=True)
