"""What a checkpoint holds of a state: its items, their shapes and fingerprints, and JSON for the rest."""

import base64
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Fields of the state that are items of their own: what inference needs.
NAMES = ("params", "ema", "model_state")
Tree = Any


def split(state: Tree) -> dict[str, Tree]:
  """A state dataclass -> the items of a checkpoint; an empty one is left out."""
  fields = {name: getattr(state, name) for name in state.__dataclass_fields__}
  items = {name: fields.pop(name) for name in NAMES}
  return {name: tree for name, tree in items.items() if tree} | {"rest": fields}


def join(like: Tree, items: Mapping[str, Tree]) -> Tree:
  """The inverse of `split`."""
  return like.replace(**{name: tree for name, tree in items.items() if name != "rest"}, **items["rest"])


def shapes(items: Mapping[str, Tree]) -> dict[str, str]:
  """`{"params/depth/kernel": "float32[4,4,3,64]"}`: tells a checkpoint of another model from a broken one."""
  paths = jax.tree_util.tree_leaves_with_path(items)
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): f"{leaf.dtype}{list(leaf.shape)}"
    for path, leaf in paths
  }


@jax.jit
def _bit_sums(leaves):
  """Each array's bits, summed modulo 2^32 with odd weights by position.

  The sum is equal on any device, and a changed or moved value shows.
  """
  def bit_sum(leaf):
    unsigned = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}[leaf.dtype.itemsize]
    bits = leaf if leaf.dtype == jnp.bool_ else jax.lax.bitcast_convert_type(leaf, unsigned)
    flat = bits.astype(jnp.uint32).reshape(-1)
    weights = 2 * jax.lax.iota(jnp.uint32, flat.size) + jnp.uint32(1)
    return jnp.sum(flat * weights, dtype=jnp.uint32)

  return jnp.stack([bit_sum(leaf) for leaf in leaves])


def fingerprints(tree: Tree) -> list[int]:
  """A number for each array, in the order of the leaves."""
  leaves = jax.tree.leaves(tree)
  return np.asarray(_bit_sums(leaves)).tolist() if leaves else []


def encode(value: Any) -> Any:
  """JSON for the `run` item: an iterator's position may hold bytes or NumPy numbers."""
  if isinstance(value, bytes):
    return {"__bytes__": base64.b64encode(value).decode()}
  if isinstance(value, Mapping):
    return {str(key): encode(entry) for key, entry in value.items()}
  if isinstance(value, (list, tuple)):
    return [encode(entry) for entry in value]
  return value.item() if isinstance(value, (np.generic, np.ndarray)) else value


def decode(value: Any) -> Any:
  """The inverse of `encode`."""
  if isinstance(value, Mapping) and "__bytes__" in value:
    return base64.b64decode(value["__bytes__"])
  if isinstance(value, Mapping):
    return {key: decode(entry) for key, entry in value.items()}
  return [decode(entry) for entry in value] if isinstance(value, list) else value
