"""Writing an export (the folder is described in `reader`)."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from ml_collections import ConfigDict
from safetensors.numpy import save

from pdr_jax import config as config_lib
from pdr_jax import elements, methods
from pdr_jax.config import flatten
from pdr_jax.elements import Element
from pdr_jax.errors import UserError
from pdr_jax.exports import model_card, reader
from pdr_jax.exports.programs import PROGRAMS, Program
from pdr_jax.files import write_atomically, write_json
from pdr_jax.methods import Method
from pdr_jax.render.select_faces import INT32_ENTRIES
from pdr_jax.training import stages
from pdr_jax.training.checkpoints import check_variables

PLATFORMS = ("cpu", "cuda", "tpu")
LARGEST_BATCH = 1024


def check_target(folder: str, force: bool) -> None:
  """Raises `UserError` for a folder that holds something already (unless `force`), or that cannot be one."""
  if os.path.exists(folder) and not os.path.isdir(folder):
    raise UserError(f"--out {folder} is a file: name a folder")
  if not force and os.path.isdir(folder) and os.listdir(folder):
    raise UserError(
      f"--out {folder} is not empty: choose another folder, or pass --force to write over what has the "
      "same name"
    )


def write(
  folder: str,
  config: ConfigDict,
  variables: dict,
  facts: dict,
  *,
  method: Method | None = None,
  first: dict | None = None,
  reads: elements.ElementSpec | None = None,
  half: bool = False,
) -> None:
  """Writes an export of the inference variables of `config`'s method.

  Args:
    folder: made if need be. `export.json` comes last: a folder without it is no export, also after an
      interruption.
    variables: nested dicts of arrays. Raises `UserError` where they are not those of the method.
    facts: for the model card and the manifest, see `model_card`.
    method: needed for a second stage, else made of `config`.
    first: the record of a second stage's first stage, see `training.stages`.
    reads: the batch keys that the method reads, as its run recorded them; else as it asks.
    half: parameters are stored as float16, in half the space. Raises `UserError` where one is too large.
  """
  _check_complete(config)
  method = method or methods.create(config)
  description = methods.describe(config.method)
  reads = reads or description.reads(config)
  element = reads[description.input]
  check_variables(variables, _shapes(method, reads))

  contents = {
    reader.PARAMS: save(_halved(_flatten(variables)) if half else _flatten(variables)),
    reader.CONFIG: _json(config.to_dict()),
  }
  if first is not None:
    contents[stages.RECORD] = _json(first)
  with _without_source_locations():
    lowered = programs(method, variables, element, description.rendered)
  contents |= {f"{name}.stablehlo": bytes(program.serialize()) for name, program in lowered.items()}
  manifest = {
    "format": reader.FORMAT,
    "method": config.method,
    "input": description.input,
    "elements": elements.to_json({description.input: element}),
    "side": element.shape[-2],
    "camera": description.camera(config)._asdict() if description.camera else None,
    "rendered": list(description.rendered),
    "programs": list(lowered),
    "largest_batch": largest_batch(method, element),
    "platforms": list(PLATFORMS),
    **({"parameters": "float16"} if half else {}),
    **facts,
    "files": {name: reader.digest(data) for name, data in contents.items()},
  }
  manifest = {"version": reader.oldest_version(manifest), **manifest}
  contents[reader.CARD] = model_card.markdown(manifest, config, variables).encode(errors="backslashreplace")
  try:
    _write_files(os.path.abspath(os.path.expanduser(folder)), contents, manifest)
  except OSError as error:
    raise UserError(f"--out {folder} cannot be written to: {error.strerror or error}") from error


def _check_complete(config: ConfigDict) -> None:
  """Raises `UserError` for a configuration that lacks keys of its method."""
  known = flatten(config)
  if missing := [key for key in flatten(config_lib.base(config.method)) if key not in known]:
    raise UserError(
      f"the configuration lacks {', '.join(missing)}: an older pdr_jax wrote it, so export it with that one"
    )


def _write_files(folder: str, contents: Mapping[str, bytes], manifest: dict) -> None:
  path = os.path.join(folder, reader.MANIFEST)
  if os.path.exists(path):
    os.remove(path)
  for name, data in contents.items():
    write_atomically(os.path.join(folder, name), lambda file, data=data: file.write(data))
  write_json(path, manifest)


def largest_batch(method: Method, element: Element) -> int:
  """Inputs that one call of a program takes, at most `LARGEST_BATCH`.

  Where the method renders, they are as many as the rasterizer counts in int32.
  """
  if method.decompose is None:
    return LARGEST_BATCH
  side = element.shape[-2]
  faces = 2 * (side - 1) ** 2
  return min(LARGEST_BATCH, INT32_ENTRIES // (faces * side))


def programs(
  method: Method, variables: dict, element: Element, rendered: Sequence[str]
) -> dict[str, export.Exported]:
  """The programs of `exports.programs` that the method can have, for every batch up to `largest_batch`.

  `rendered` are the parts that the method renders.
  """
  largest = largest_batch(method, element)
  (batch,) = export.symbolic_shape("b", constraints=["b >= 1", f"b <= {largest}"])
  arguments = {
    "variables": jax.tree.map(_spec, variables),
    "inputs": jax.ShapeDtypeStruct((batch, *element.shape), element.dtype),
    "others": jax.ShapeDtypeStruct((batch, *element.shape), element.dtype),
    "keys": jax.ShapeDtypeStruct((batch, 2), jnp.uint32),
  }
  if method.decompose is not None:
    parts = jax.eval_shape(method.decompose, arguments["variables"], arguments["inputs"])
    arguments |= {name: _spec(parts[name]) for name in ("light", "view", "angles") if name in parts}
    if rendered:
      arguments["parts"] = {name: _spec(parts[name]) for name in rendered}
  return {
    name: _lower(program, method, arguments)
    for name, program in PROGRAMS.items()
    if getattr(method, program.capability) is not None and set(program.arguments) <= arguments.keys()
  }


def _lower(program: Program, method: Method, arguments: dict[str, Any]) -> export.Exported:
  function = jax.jit(program.function(method))
  return export.export(function, platforms=PLATFORMS)(*(arguments[name] for name in program.arguments))


def _shapes(method: Method, reads: elements.ElementSpec) -> dict:
  """The inference variables that the method would have at its start, without computing them."""
  example = {key: jax.ShapeDtypeStruct((1, *element.shape), element.dtype) for key, element in reads.items()}
  return methods.inference_variables(jax.eval_shape(method.init, jax.random.key(0), example))


@contextlib.contextmanager
def _without_source_locations() -> Iterator[None]:
  """Keeps JAX from writing the traceback of every operation into a program.

  The traceback would hold paths of the exporting machine.
  """
  limit = jax.config.jax_traceback_in_locations_limit
  jax.config.update("jax_traceback_in_locations_limit", 0)
  try:
    yield
  finally:
    jax.config.update("jax_traceback_in_locations_limit", limit)


def _spec(array: Any) -> jax.ShapeDtypeStruct:
  return jax.ShapeDtypeStruct(array.shape, array.dtype)


def _json(value: dict) -> bytes:
  return (json.dumps(value, indent=1) + "\n").encode()


def _halved(flat: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Those of float32 as float16; raises `UserError` where one is beyond its range."""
  largest = float(np.finfo(np.float16).max)
  for name, array in flat.items():
    if array.dtype == np.float32 and array.size and not np.abs(array).max() <= largest:
      told = f"--half: {name} has values that are not finite or beyond {largest:g}, the largest of float16"
      raise UserError(f"{told}; export without")
  return {
    name: array.astype(np.float16) if array.dtype == np.float32 else array for name, array in flat.items()
  }


def _flatten(variables: dict) -> dict[str, np.ndarray]:
  """`{"depth/head/kernel": array}`.

  Raises ValueError for containers other than dicts, which reading would lose.
  """
  leaves = jax.tree_util.tree_leaves_with_path(variables)
  for path, _ in leaves:
    if not all(isinstance(key, jax.tree_util.DictKey) for key in path):
      raise ValueError(f"variables are nested dicts, and {jax.tree_util.keystr(path)} is not")
  return {
    jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf, order="C")
    for path, leaf in leaves
  }
