"""A judge of clips: a network that learns classes and places from real clips, and judges others.

Each frame goes through convolutions of stride 2 down to 64 numbers. Those of all frames, side by side, go
through a hidden layer to the logits of each label. Numbers of each frame (positions) are read from it alone.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from pdr_jax.evaluation.probes.descent import minimise, run_once
from pdr_jax.networks.layers import Conv, GroupNorm

WIDTH, FRAME, HIDDEN = 16, 64, 128
LEARNING_RATE = 1e-3


class Judge(nn.Module):
  """Clips `[B,T,S,S,C]` to `{label: logits [B,K]}` and `{number: values [B,T,N]}`.

  `classes` and `numbers` give K and N.
  """

  classes: Mapping[str, int]
  numbers: Mapping[str, int]

  @nn.compact
  def __call__(self, clips: Float[Array, "B T S S C"]) -> dict[str, Array]:
    x, i = clips.reshape(-1, *clips.shape[2:]), 0
    while x.shape[1] > 4 and x.shape[1] % 2 == 0:
      x = Conv(WIDTH * min(2**i, 4), "down", name=f"down{i}")(x)
      x = nn.leaky_relu(GroupNorm(name=f"norm{i}")(x), 0.2)
      i += 1
    frames = nn.relu(nn.Dense(FRAME, name="frame")(x.reshape(x.shape[0], -1)))
    outputs = {}
    for name, count in self.numbers.items():
      outputs[name] = nn.Dense(count, name=f"number_{_plain(name)}")(frames).reshape(
        *clips.shape[:2], count
      )
    whole = nn.relu(nn.Dense(HIDDEN, name="clip")(frames.reshape(clips.shape[0], -1)))
    for name, count in self.classes.items():
      outputs[name] = nn.Dense(count, name=f"class_{_plain(name)}")(whole)
    return outputs


def _plain(name: str) -> str:
  return name.replace("/", "_")


def train(
  judge: Judge, batches: Iterator[Mapping[str, np.ndarray]], key: str, scale: Mapping[str, float],
  count: int, seed: int, say: Any,
) -> dict:
  """The judge's parameters after `count` steps on real clips.

  `key` is that of the clips in a batch, `scale` what numbers are divided by.
  """
  first = next(batches)
  params = run_once(lambda rng: judge.init(rng, jnp.asarray(first[key][:1])), jax.random.key(seed))

  def objective(params: dict, batch: dict) -> tuple[Array, Array]:
    outputs, total = judge.apply(params, batch[key]), 0.0
    for name in judge.classes:
      losses = optax.softmax_cross_entropy_with_integer_labels(outputs[name], batch[name])
      total += losses.sum()
    for name in judge.numbers:
      target = batch[name].reshape(outputs[name].shape) / scale[name]
      total += jnp.square(outputs[name] - target).mean(axis=(1, 2)).sum()
    return total, jnp.float32(len(batch[key]))

  return minimise(objective, params, batches, optax.adam(LEARNING_RATE), count, say)


def entropies(probabilities: Float[np.ndarray, "N K"]) -> dict[str, float]:
  """`H(y|x)` and `H(y)` in nats, and the Inception score, the exponential of their difference."""
  safe = np.clip(probabilities.astype(np.float64), 1e-12, 1.0)
  given = float(-(safe * np.log(safe)).sum(axis=1).mean())
  mean = safe.mean(axis=0)
  marginal = float(-(mean * np.log(mean)).sum())
  return {"entropy_given": given, "entropy": marginal, "inception_score": float(np.exp(marginal - given))}
