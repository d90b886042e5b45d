"""What knows devices: batches are split over them, and the state is the same on each.

The method averages the gradients. The step's body is `Method.update`, a free function over one device's share
of the batch with a named axis. `jax.pmap` with `in_axes=(None, 0, None)` and `out_axes=None` runs it: state
and random key enter once, the batch is split, what comes out is replicated. (`jax.shard_map` with its default
checks would multiply the method's averaged gradients by the device count, silently.)
"""

import functools
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax.methods import Method, pictures_in_order

AXIS = "devices"
Tree = Any


class Metrics(flax.struct.PyTreeNode):
  """Named (sum, count) pairs in one array, so that a step sends one small transfer and not dozens.

  `values` `[n, 2]` float32, of several steps `[steps, n, 2]`.
  """

  values: Any  # an array, or what `jax.eval_shape` puts in its place
  names: tuple[str, ...] = flax.struct.field(pytree_node=False)

  def start_transfer(self) -> "Metrics":
    """Begins the copy to the host without waiting for the device."""
    self.values.copy_to_host_async()
    return self

  def fetch(self) -> dict[str, np.ndarray]:
    """Waits for the device; `{name: float64 [sum, count]}`."""
    return dict(zip(self.names, np.asarray(self.values, np.float64), strict=True))

  def each(self) -> list[dict[str, np.ndarray]]:
    """The same step by step, of one step or several."""
    values = np.asarray(self.values, np.float64)
    steps = values if values.ndim == 3 else values[None]
    return [dict(zip(self.names, pairs, strict=True)) for pairs in steps]


def pack(metrics: Mapping[str, tuple[jax.Array, jax.Array]]) -> Metrics:
  """`{name: (sum, count)}` -> `Metrics`, in the order of the names."""
  names = tuple(sorted(metrics))
  pairs = [jnp.stack([jnp.asarray(entry, jnp.float32) for entry in metrics[name]]) for name in names]
  return Metrics(jnp.stack(pairs) if pairs else jnp.zeros((0, 2)), names)


def stream(seed: int, name: str, step: int | jax.Array | None = None) -> jax.Array:
  """The random key of a named stream, at a step or (without one) its root.

  Adding a stream or resuming at a step disturbs no other.
  """
  root = jax.random.fold_in(jax.random.key(seed), np.uint32(zlib.crc32(name.encode())))
  return root if step is None else jax.random.fold_in(root, step)


@functools.lru_cache(maxsize=8)  # one program for a method, however often it is asked for
def update_fn(method: Method) -> Callable[[Tree, dict, jax.Array], tuple[Tree, Metrics]]:
  """`(state, placed batch, root key) -> (state, Metrics)`; the state's buffers are donated.

  The key is folded with `state.step`.
  """
  return jax.pmap(
    functools.partial(_step, method),
    axis_name=AXIS,
    in_axes=(None, 0, None),
    out_axes=None,
    donate_argnums=(0,),
  )


@functools.lru_cache(maxsize=8)
def updates_fn(method: Method) -> Callable[[Tree, Sequence[dict], jax.Array], tuple[Tree, Metrics]]:
  """`(state, placed batches, root key) -> (state, Metrics of each step)`.

  It takes a step for each batch, all in one dispatch. It compiles anew for every number of batches.
  """

  def body(state, batches, root):
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *batches)
    return jax.lax.scan(lambda state, batch: _step(method, state, batch, root), state, stacked)

  return jax.pmap(body, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None, donate_argnums=(0,))


def _step(method: Method, state: Tree, batch: dict, root: jax.Array) -> tuple[Tree, Metrics]:
  state, metrics = method.update(state, batch, jax.random.fold_in(root, state.step), AXIS)
  return state, pack(metrics)


@functools.lru_cache(maxsize=8)
def gradient_norms_fn(method: Method) -> Callable[[Tree, dict, jax.Array], Metrics]:
  """`(state, placed batch, root key) -> Metrics`, one norm for each loss term."""

  def body(state, batch, root):
    return pack(method.gradient_norms(state, batch, jax.random.fold_in(root, state.step), AXIS))

  return jax.pmap(body, axis_name=AXIS, in_axes=(None, 0, None), out_axes=None)


@functools.lru_cache(maxsize=8)
def validate_fn(method: Method) -> Callable[[Tree, dict], Metrics]:
  """`(state, placed batch with _mask) -> Metrics`."""
  def body(state, batch):
    return pack(method.validate(state, batch, AXIS))

  return jax.pmap(body, axis_name=AXIS, in_axes=(None, 0), out_axes=None)


@functools.lru_cache(maxsize=8)
def pictures_fn(method: Method) -> Callable[[Tree, np.ndarray], dict[str, jax.Array]]:
  """`(inference variables, inputs) -> {column: pictures}` on one device."""
  return jax.jit(pictures_in_order(method), compiler_options=quick_to_compile())


def mapped(function: Callable[..., Tree], *shared: Tree) -> Callable[[np.ndarray], Tree]:
  """`[B, ...]` -> a tree of host arrays `[B, ...]`: `function(*shared, inputs)`, which keeps examples apart.

  The batch is spread over the local devices, whose multiple it must be; `shared` is whole on each. It
  compiles once for each shape.
  """
  devices = jax.local_device_count()
  run = jax.pmap(function, in_axes=(*(None for _ in shared), 0))
  shared = replicate(shared)

  def call(inputs: np.ndarray) -> Tree:
    outputs = run(*shared, inputs.reshape(devices, -1, *inputs.shape[1:]))
    return jax.tree.map(lambda leaf: np.asarray(leaf).reshape(len(inputs), *leaf.shape[2:]), outputs)

  return call


def descent_fn(body: Callable[[Tree, dict], tuple[Tree, Tree]]) -> Callable[[Tree, dict], tuple[Tree, Tree]]:
  """`(replicated state, placed batch) -> (state, outputs)` for any `body`.

  The body averages over the axis `AXIS` itself. The state's buffers are donated.
  """
  return jax.pmap(body, axis_name=AXIS, in_axes=(None, 0), out_axes=None, donate_argnums=(0,))


def place(batch: Mapping[str, jax.Array | np.ndarray]) -> dict[str, jax.Array]:
  """Splits this process's share of a batch over its devices and sends it.

  `[B, ...]` -> `[n, B/n, ...]`, one slice on each device.
  """
  devices = jax.local_devices()
  mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(AXIS))
  split = {}
  for name, value in batch.items():
    value = np.asarray(value)
    if value.dtype.kind not in "biuf":
      continue  # names and other text stay on the host
    split[name] = value.reshape(len(devices), value.shape[0] // len(devices), *value.shape[1:])
  return jax.device_put(split, sharding)


def replicate(tree: Tree) -> Tree:
  """The same tree on every device, with the placement that the step's own output has."""
  copy = jax.pmap(lambda tree, _: tree, axis_name=AXIS, in_axes=(None, 0), out_axes=None)
  return copy(tree, np.zeros(jax.local_device_count(), np.float32))


def on_one_device(tree: Tree) -> Tree:
  """The first local device's copy of a replicated tree."""
  return jax.tree.map(lambda leaf: leaf.addressable_data(0), tree)


def abstract_state(method: Method, seed: int, batch: Mapping[str, jax.Array | np.ndarray]) -> Tree:
  """Shapes, types and placement of a run's state, without computing it; what a checkpoint is read into."""
  shapes = jax.eval_shape(method.init, stream(seed, "init"), _numeric(batch))
  # One replicated scalar tells the placement; its rank does not matter, because every axis is whole on every
  # device.
  sharding = replicate(jnp.zeros(())).sharding
  return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), shapes)


def initial_state(method: Method, seed: int, batch: Mapping[str, jax.Array | np.ndarray]) -> Tree:
  """A fresh state on every device."""
  init = jax.jit(method.init, compiler_options=quick_to_compile())
  return replicate(init(stream(seed, "init"), _numeric(batch)))


def quick_to_compile() -> dict[str, int] | None:
  """Compiler options of programs that run once or a few times on few pictures.

  XLA:CPU would spend longer on optimising them, most of a minute for random numbers, than it wins.
  """
  return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else None


def first_nonfinite(tree: Tree) -> str | None:
  """The path of the first float array that holds a NaN or an infinity, or None."""
  paths, leaves = zip(*jax.tree_util.tree_leaves_with_path(tree), strict=True)
  finite = np.asarray(_all_finite(leaves))
  bad = np.flatnonzero(~finite)
  return jax.tree_util.keystr(paths[bad[0]], simple=True, separator="/") if bad.size else None


@jax.jit
def _all_finite(leaves):
  return jnp.stack(
    [
      jnp.all(jnp.isfinite(leaf)) if jnp.issubdtype(leaf.dtype, jnp.inexact) else jnp.bool_(True)
      for leaf in leaves
    ]
  )


def _numeric(batch: Mapping[str, jax.Array | np.ndarray]) -> dict[str, jax.Array | np.ndarray]:
  return {name: value for name, value in batch.items() if np.asarray(value).dtype.kind in "biuf"}

