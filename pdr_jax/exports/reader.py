"""Reading an export: a trained model in a folder that needs neither its run directory nor the training code.

    model = pdr_jax.load("exported/q")
    model.encode(images)                             # {block: [B,D]}
    parts = model.decompose(images)                  # {depth, albedo, light, view, ...}
    model.render(parts, light=..., view=...)         # {image, mask, depth_at_view}

The folder (`exports.writer` writes it):

    export.json          format and version, what was exported, the checksum of every file below
    params.safetensors   float32 parameters, named `network/layer/kernel`
    config.json          the resolved configuration of the run (`training.run_dir.read_config(DIR)` reads it as one)
    *.stablehlo          programs of `jax.export`, any batch size, for CPU, CUDA and TPU
    README.md            the model card

This file needs jax, numpy, safetensors and flatbuffers, and no other part of the package. Nothing is unpickled. Programs that want the
parameters and not the programs (evaluation, for one) call `load_params(DIR)`.
"""

import functools
import hashlib
import json
import operator
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax.errors import UserError

FORMAT, VERSION = "pdr_jax export", 1
MANIFEST, PARAMS, CONFIG, CARD = "export.json", "params.safetensors", "config.json", "README.md"
# encode and decompose take (params, images); render_view (parts, view), and render_light (parts, light, view), which shades anew.
PROGRAMS = ("encode", "decompose", "render_view", "render_light")
FIELDS = {"method": str, "side": int, "programs": list, "largest_batch": int, "files": dict}  # of the manifest, that are read here
PARTS = ("depth", "albedo", "canonical", "view")  # what `render` reads of what `decompose` gives
SHIPPED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pretrained")


class Model:
  """An export that was read. Arrays are float32; batches of any size, which are cut into pieces where a program has a largest one.

  Attributes:
    manifest: `export.json`: method, side, step, and where it comes from.
    config: `config.json`, nested dicts.
    params: nested dicts of NumPy arrays.
    side: the side S of the images.
  """

  def __init__(self, folder: str, manifest: dict, config: dict, params: dict):
    self.manifest, self.config, self.params, self.side = manifest, config, params, manifest["side"]
    self._folder, self._programs, self._on_device = folder, {}, None

  def encode(self, images) -> dict[str, jax.Array]:
    """Feature blocks `{name: [B,D]}` of images `[B,S,S,3]` in [-1, 1]."""
    return self._run("encode", self._checked(images))

  def decompose(self, images) -> dict[str, jax.Array]:
    """What the method says about images `[B,S,S,3]` in [-1, 1]. Raises `UserError` where the method takes nothing apart.

    For PDR `depth` `[B,S,S]`, `albedo` `[B,S,S,3]`, `light` `[B,9]` (SH), `view` `[B,6]` and more, see `methods.pdr.decompose`.
    """
    return self._run("decompose", self._checked(images))

  def render(self, parts: dict, light=None, view=None) -> dict[str, jax.Array]:
    """Decomposed parts under another light or from another view: `image` `[B,S,S,3]`, `mask`, `depth_at_view` `[B,S,S]`.

    Args:
      parts: of `decompose`; `depth`, `albedo`, `canonical` and `view` are read. One picture's parts serve any number of lights or views.
      light: SH `[B,9]`; without it the picture `parts["canonical"]` is shown as it is, an albedo put in by hand included.
      view: `[B,6]`, radians and model units; without it `parts["view"]`.
    """
    missing = [name for name in PARTS if name not in parts]
    if missing:
      raise UserError(f"render needs the parts {', '.join(PARTS)} of decompose; {', '.join(missing)} is missing")
    inputs = {name: jnp.asarray(parts[name], jnp.float32) for name in PARTS}
    given = {"light": light, "view": inputs["view"] if view is None else view}
    given = {name: jnp.asarray(value, jnp.float32) for name, value in given.items() if value is not None}
    counts = {value.shape[0] for value in (*inputs.values(), *given.values())}
    count = max(counts)
    if not counts <= {1, count}:
      raise UserError(f"render: parts, light and view have batches of {sorted(counts)}; they must be equal, or 1")
    spread = lambda value: jnp.broadcast_to(value, (count, *value.shape[1:]))
    return self._run("render_view" if light is None else "render_light", jax.tree.map(spread, inputs), *map(spread, given.values()))

  def _checked(self, images) -> jax.Array:
    shape, dtype = np.shape(images), getattr(images, "dtype", np.dtype(float))
    if len(shape) != 4 or shape[1:] != (self.side, self.side, 3):
      raise UserError(f"this model takes images [B, {self.side}, {self.side}, 3] but got {list(shape)}")
    if not jnp.issubdtype(dtype, jnp.floating):
      raise UserError(f"this model takes images in [-1, 1] but got {dtype}: use images / 127.5 - 1")
    return jnp.asarray(images, jnp.float32)

  def _run(self, name: str, *inputs) -> dict[str, jax.Array]:
    if name not in self.manifest["programs"]:
      raise UserError(f"this is a model of {self.manifest['method']}, which has no {name.split('_')[0]}")
    if name not in self._programs:
      self._programs[name] = jax.jit(_read_program(os.path.join(self._folder, f"{name}.stablehlo")).call)
    call = self._programs[name]
    if name in ("encode", "decompose"):  # the renderer has no parameters
      self._on_device = jax.device_put(self.params) if self._on_device is None else self._on_device
      call = functools.partial(call, self._on_device)
    count, most = jax.tree.leaves(inputs)[0].shape[0], self.manifest["largest_batch"]
    if count == 0:
      raise UserError(f"{name.split('_')[0]}: the batch is empty")
    pieces = [call(*jax.tree.map(operator.itemgetter(slice(start, start + most)), inputs)) for start in range(0, count, most)]
    return pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)


def load(folder: str | None = None) -> Model:
  """Reads an export; without a folder, the model that is shipped with the package.

  Raises `UserError`: no export there, another version, a file that is missing, cut short or changed.
  """
  folder = _folder(folder)
  manifest = read_manifest(folder)
  for name in (CONFIG, *(f"{program}.stablehlo" for program in manifest["programs"])):
    _check_file(folder, name, manifest)
  try:
    with open(os.path.join(folder, CONFIG), encoding="utf-8") as file:
      config = dict(json.load(file))
  except (TypeError, ValueError, RecursionError) as error:
    raise UserError(f"{os.path.join(folder, CONFIG)} is no configuration ({type(error).__name__}): export the model again") from error
  return Model(folder, manifest, config, load_params(folder))


def load_params(folder: str | None = None) -> dict:
  """The parameters of an export, nested dicts of float32 NumPy arrays, as the method of its `config.json` takes them.

  `training.run_dir.read_config(folder)` reads that configuration. Raises `UserError` as `load` does.
  """
  from safetensors import SafetensorError
  from safetensors.numpy import load_file

  folder = _folder(folder)
  _check_file(folder, PARAMS, read_manifest(folder))
  try:
    flat = load_file(os.path.join(folder, PARAMS))
  except (SafetensorError, OSError) as error:
    raise UserError(f"{os.path.join(folder, PARAMS)} cannot be read ({error}): export the model again") from error
  clash = [name for name in flat if any(other.startswith(f"{name}/") for other in flat)]
  if clash:
    raise UserError(f"{os.path.join(folder, PARAMS)}: {clash[0]!r} names both an array and a layer: export the model again")
  return unflatten(flat)


def read_manifest(folder: str) -> dict:
  """`export.json`, checked for its format and version. Raises `UserError`."""
  path = os.path.join(folder, MANIFEST)
  try:
    with open(path, encoding="utf-8") as file:
      manifest = json.load(file)
    kind, version = manifest["format"], manifest["version"]
  except (FileNotFoundError, NotADirectoryError):
    raise UserError(f"{folder} is not an export: it has no {MANIFEST}; python -m pdr_jax.export makes one of a run") from None
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise UserError(f"{path} is not the {MANIFEST} of an export ({type(error).__name__}: {error})") from None
  if kind != FORMAT or not isinstance(version, int):
    raise UserError(f"{path} is not the {MANIFEST} of an export (format {kind!r}, version {version!r})")
  if version != VERSION:
    advice = "upgrade pdr_jax" if version > VERSION else "export the model again"
    raise UserError(f"{folder} is an export of version {version}, and this pdr_jax reads version {VERSION}: {advice}")
  wrong = [key for key, kind in FIELDS.items() if not isinstance(manifest.get(key), kind)]
  wrong = wrong or [key for key in ("side", "largest_batch") if manifest[key] < 1]
  wrong = wrong or [f"program {name!r}" for name in manifest["programs"] if name not in PROGRAMS]  # a name is a file's: none outside
  if wrong:
    raise UserError(f"{path} is damaged ({', '.join(wrong)}): export the model again")
  return manifest


def digest(data: bytes) -> str:
  """The checksum that `export.json` keeps of a file."""
  return hashlib.sha256(data).hexdigest()


def unflatten(flat: dict[str, Any]) -> dict:
  """`{"depth/head/kernel": x}` -> `{"depth": {"head": {"kernel": x}}}`."""
  tree = {}
  for name, value in flat.items():
    *sections, last = name.split("/")
    node = tree
    for section in sections:
      node = node.setdefault(section, {})
    node[last] = value
  return tree


def _folder(folder: str | None) -> str:
  if folder is not None:
    return os.path.abspath(os.path.expanduser(folder))
  if not os.path.exists(os.path.join(SHIPPED, MANIFEST)):
    raise UserError("no model is shipped with this installation: name the folder of an export (python -m pdr_jax.export makes one)")
  return SHIPPED


def _check_file(folder: str, name: str, manifest: dict) -> None:
  path = os.path.join(folder, name)
  try:
    with open(path, "rb") as file:
      found = digest(file.read())
  except OSError as error:
    raise UserError(f"{path} is missing from the export ({error.strerror}): export the model again") from error
  if found != manifest["files"].get(name):
    raise UserError(f"{path} is not the file that was exported, it is damaged or was changed: export the model again")


def _read_program(path: str):
  try:
    from jax import export  # reading programs needs flatbuffers
    with open(path, "rb") as file:
      return export.deserialize(bytearray(file.read()))
  except ImportError as error:
    raise UserError(f"reading an export needs flatbuffers: pip install flatbuffers ({error})") from error
  except Exception as error:  # flatbuffers checks nothing: whatever its offsets meet
    raise UserError(f"{path} is no program of jax.export ({type(error).__name__}): export the model again") from error
