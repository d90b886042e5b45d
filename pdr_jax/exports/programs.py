"""Which programs an export can have: the one table that its writer and its reader share.

A method gets the programs of the capabilities that it has, and no others.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax


class Program(NamedTuple):
  """One program.

  Attributes:
    capability: the function of `methods.Method` that it runs; a method without it has no such program.
    arguments: what it is called with, in order. `variables` are the method's inference variables, `inputs`
      what the method takes, `parts` those that it renders, `light`, `view` and `angles` as a decomposition
      has them, `others` more inputs, `keys` `[B, 2]` uint32, the data of random keys.
    function: `(method) -> function of these arguments`. All but `variables` have a batch axis, and so has the
      result.
  """

  capability: str
  arguments: tuple[str, ...]
  function: Callable[[Any], Callable]


def _generate(method: Any) -> Callable:
  """Pictures of one random key each, so that a program makes any number of them."""

  def generate(variables, keys):
    def of_one(key):
      return method.generate(variables, jax.random.wrap_key_data(key), 1)[0]

    return jax.vmap(of_one)(keys)

  return generate


def _forecast(method: Any) -> Callable:
  """As many frames as the clips have."""
  return lambda variables, inputs: method.forecast(variables, inputs, inputs.shape[1])


PROGRAMS = {
  "encode": Program("encode", ("variables", "inputs"), lambda method: method.encode),
  "decompose": Program("decompose", ("variables", "inputs"), lambda method: method.decompose),
  "normalize": Program("normalize", ("variables", "inputs"), lambda method: method.normalize),
  "turn": Program("turn", ("variables", "inputs", "angles"), lambda method: method.turn),
  "generate": Program("generate", ("variables", "keys"), _generate),
  "forecast": Program("forecast", ("variables", "inputs"), _forecast),
  "swap": Program("swap", ("variables", "inputs", "others"), lambda method: method.swap),
  "render_view": Program(
    "render", ("parts", "view"), lambda method: lambda parts, view: method.render(parts, view=view)
  ),
  "render_light": Program(  # shades anew
    "render",
    ("parts", "light", "view"),
    lambda method: lambda parts, light, view: method.render(parts, light=light, view=view),
  ),
}
