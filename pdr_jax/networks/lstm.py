"""Recurrent layers: PyTorch's LSTM cell, and a stack of them between two linear layers."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

State = list[tuple[Array, Array]]  # (output, memory) of each layer


class Cell(nn.Module):
  """A long short-term memory (Hochreiter and Schmidhuber 1997) of `hidden` numbers.

  Parameters: `input [D, 4 hidden]`, `recurrent [hidden, 4 hidden]`, `bias [4 hidden]`; the four parts are
  input, forget, candidate and output, as PyTorch has them. All are from U(-1/sqrt(hidden), 1/sqrt(hidden)).
  """

  hidden: int

  @nn.compact
  def __call__(
    self, state: tuple[Float[ArrayLike, "B H"], Float[ArrayLike, "B H"]], x: Float[ArrayLike, "B D"]
  ) -> tuple[Float[Array, "B H"], Float[Array, "B H"]]:
    output, memory = state
    bound = self.hidden**-0.5

    def init(key, shape):
      return jax.random.uniform(key, shape, minval=-bound, maxval=bound)

    width = 4 * self.hidden
    given = x @ self.param("input", init, (x.shape[-1], width))
    kept = output @ self.param("recurrent", init, (self.hidden, width))
    gates = given + kept + self.param("bias", init, (width,))[None]
    enter, forget, candidate, leave = jnp.split(gates, 4, axis=-1)
    memory = nn.sigmoid(forget) * memory + nn.sigmoid(enter) * jnp.tanh(candidate)
    return nn.sigmoid(leave) * jnp.tanh(memory), memory


class Stack(nn.Module):
  """One step of a linear layer, `layers` cells, and a linear layer to `size` numbers."""

  hidden: int
  layers: int
  size: int

  @nn.compact
  def __call__(self, state: State, x: Float[ArrayLike, "B D"]) -> tuple[State, Float[Array, "B size"]]:
    x, new = nn.Dense(self.hidden, name="embed")(x), []
    for i, layer in enumerate(state):
      new.append(Cell(self.hidden, name=f"layer{i}")(layer, x))
      x = new[-1][0]
    return new, nn.Dense(self.size, name="output")(x)

  def start(self, count: Any) -> State:
    """Zeros, for so many examples."""
    return [(jnp.zeros((count, self.hidden)), jnp.zeros((count, self.hidden))) for _ in range(self.layers)]
