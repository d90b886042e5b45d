"""Writing an export (the folder is described in `reader`)."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from ml_collections import ConfigDict
from safetensors.numpy import save

from pdr_jax import config as config_lib
from pdr_jax import methods
from pdr_jax.config_checks import flatten
from pdr_jax.errors import UserError
from pdr_jax.exports import model_card, reader
from pdr_jax.files import write_atomically, write_json
from pdr_jax.render.select_faces import INT32_ENTRIES
from pdr_jax.training.checkpoints import check_variables

PLATFORMS = ("cpu", "cuda", "tpu")
LARGEST_BATCH = 1024


def check_target(folder: str, force: bool) -> None:
  """Raises `UserError` for a folder that holds something already (unless `force`), or that cannot be one."""
  if os.path.exists(folder) and not os.path.isdir(folder):
    raise UserError(f"--out {folder} is a file: name a folder")
  if not force and os.path.isdir(folder) and os.listdir(folder):
    raise UserError(f"--out {folder} is not empty: choose another folder, or pass --force to write over what has the same name")


def write(folder: str, config: ConfigDict, params: dict, facts: dict) -> None:
  """Writes an export of the parameters of `config`'s method.

  Args:
    folder: made if need be. `export.json` comes last: a folder without it is no export, also after an interruption.
    params: nested dicts of arrays. Raises `UserError` where they are not those of the method.
    facts: for the model card and the manifest, see `model_card`.
  """
  known, defaults = flatten(config), flatten(config_lib.base(config.method))
  if missing := [key for key in defaults if key not in known]:
    raise UserError(f"the configuration lacks {', '.join(missing)}: an older pdr_jax wrote it, so export it with that one")
  programs_config = ConfigDict(config.to_dict())
  method = methods.create(programs_config)
  side = config.data.side
  example = {"image": jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)}
  check_variables(params, methods.inference_variables(jax.eval_shape(method.init, jax.random.key(0), example)))

  contents = {reader.PARAMS: save(_flatten(params)), reader.CONFIG: (json.dumps(config.to_dict(), indent=1) + "\n").encode()}
  with _without_source_locations():
    found = programs(method, params, side)
  contents |= {f"{name}.stablehlo": bytes(program.serialize()) for name, program in found.items()}
  manifest = {
      "format": reader.FORMAT, "version": reader.VERSION, "method": config.method, "side": side, "programs": list(found),
      "largest_batch": largest_batch(side), "platforms": list(PLATFORMS), **facts,
      "files": {name: reader.digest(data) for name, data in contents.items()},
  }
  path = lambda name: os.path.join(os.path.abspath(os.path.expanduser(folder)), name)
  try:
    if os.path.exists(path(reader.MANIFEST)):
      os.remove(path(reader.MANIFEST))
    contents[reader.CARD] = model_card.markdown(manifest, config, params).encode()
    for name, data in contents.items():
      write_atomically(path(name), lambda file, data=data: file.write(data))
    write_json(path(reader.MANIFEST), manifest)
  except OSError as error:
    raise UserError(f"--out {folder} cannot be written to: {error.strerror or error}") from error


def largest_batch(side: int) -> int:
  """Images that one call of a program takes: as many as the rasterizer counts in int32, at most `LARGEST_BATCH`."""
  faces = 2 * (side - 1) ** 2
  return min(LARGEST_BATCH, INT32_ENTRIES // (faces * side))


def programs(method: methods.Method, params: dict, side: int) -> dict[str, export.Exported]:
  """The programs of `reader.PROGRAMS` that the method has, for every batch size up to `largest_batch(side)`."""
  batch, = export.symbolic_shape("b", constraints=["b >= 1", f"b <= {largest_batch(side)}"])
  lower = lambda function, *specs: export.export(jax.jit(function), platforms=PLATFORMS)(*specs)
  weights = jax.tree.map(_spec, params)
  images = jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)
  found = {"encode": lower(method.encode, weights, images)}
  if method.decompose is not None:
    found["decompose"] = lower(method.decompose, weights, images)
  if method.render is not None:
    shapes = jax.eval_shape(method.decompose, weights, images)
    parts = {name: _spec(shapes[name]) for name in reader.PARTS}
    light, view = _spec(shapes["light"]), _spec(shapes["view"])
    found["render_view"] = lower(lambda parts, view: method.render(parts, view=view), parts, view)
    found["render_light"] = lower(lambda parts, light, view: method.render(parts, light=light, view=view), parts, light, view)
  return found


@contextlib.contextmanager
def _without_source_locations() -> Iterator[None]:
  """JAX writes the traceback of every operation into a program: paths of the exporting machine, which are nobody's business."""
  limit = jax.config.jax_traceback_in_locations_limit
  jax.config.update("jax_traceback_in_locations_limit", 0)
  try:
    yield
  finally:
    jax.config.update("jax_traceback_in_locations_limit", limit)


def _spec(array: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _flatten(params: dict) -> dict[str, np.ndarray]:
  leaves = jax.tree_util.tree_leaves_with_path(params)
  return {jax.tree_util.keystr(path, simple=True, separator="/"): np.ascontiguousarray(leaf) for path, leaf in leaves}
