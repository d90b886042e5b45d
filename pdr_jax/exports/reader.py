"""Reading an export: a trained model in a folder that needs neither its run directory nor the training code.

    model = pdr_jax.load("exported/q")
    model.encode(images)                             # {block: [B,D]}
    parts = model.decompose(images)                  # {depth, albedo, light, view, ...}
    model.render(parts, light=..., view=...)         # {image, mask, depth_at_view}
    model.normalize(images)                          # {texture, reflectance, completed, visibility}

The folder (`exports.writer` writes it):

    export.json          format and version, what was exported, what its input is, the checksum of every
                         file below
    params.safetensors   the inference variables, named `network/layer/kernel`, `model_state/...`; where
                         `export.json` says `parameters: float16`, in half the space
    config.json          the resolved configuration of the run (`training.run_dir.read_config(DIR)` reads it
                         as one)
    first_stage.json     of a second stage: the configuration of its first one, whose variables are among
                         the others
    *.stablehlo          the programs of `exports.programs`, any batch size, for CPU, CUDA and TPU
    README.md            the model card

Versions: 1 takes RGB pictures `[S,S,3]` in [-1, 1] and has the programs of `VERSION_1`; 2 says in `elements`
and `input` what it takes, and may have any program; 3 may store parameters as float16. An export says the
oldest version whose readers can read it.

This file needs jax, numpy, safetensors and flatbuffers, and no other part of the package but base modules.
Nothing is unpickled. Programs that want the variables and not the programs (evaluation, for one) call
`load_variables(DIR)`.
"""

import functools
import hashlib
import json
import operator
import os
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pdr_jax import elements
from pdr_jax.elements import Element
from pdr_jax.errors import UserError
from pdr_jax.exports.programs import PROGRAMS

FORMAT, VERSION = "pdr_jax export", 3
VERSION_1 = ("encode", "decompose", "render_view", "render_light")
RENDERED = ("depth", "albedo", "canonical", "view")  # the parts that the first exports rendered
MANIFEST, PARAMS, CONFIG, CARD = "export.json", "params.safetensors", "config.json", "README.md"
# Fields of the manifest that are read here.
FIELDS = {"method": str, "side": int, "programs": list, "largest_batch": int, "files": dict}
SHIPPED = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "pretrained")
FAR = 0.5  # resizing overshoots: inputs may lie outside of their range by this share of it


class Model:
  """An export that was read. Batches may have any size.

  They are cut into pieces where a program has a largest one.

  Attributes:
    manifest: `export.json`: method, input, step, and where it comes from.
    config: `config.json`, nested dicts.
    variables: nested dicts of NumPy arrays.
    element: what one input is: shape, type, meaning and range.
    side: the side S of the pictures.
    camera: of depth maps, `{fov in degrees, near, far}`; None where the method has none.
    rendered: the parts of a decomposition that `render` reads.
  """

  def __init__(self, folder: str, manifest: dict, config: dict, variables: dict):
    self.manifest, self.config, self.variables = manifest, config, variables
    self.element, self.side = element_of(manifest), manifest["side"]
    self.camera, self.rendered = camera_of(manifest, config), tuple(manifest.get("rendered", RENDERED))
    self._folder, self._programs, self._on_device = folder, {}, None

  def encode(self, inputs: Any) -> dict[str, jax.Array]:
    """Feature blocks `{name: [B,D]}` of a batch of inputs, such as images `[B,S,S,3]` in [-1, 1]."""
    return self._run("encode", self._checked(inputs))

  def decompose(self, inputs: Any) -> dict[str, jax.Array]:
    """What the method says about a batch of inputs. Raises `UserError` where the method takes nothing apart.

    For PDR `depth` `[B,S,S]`, `albedo` `[B,S,S,3]`, `light` `[B,9]` (SH), `view` `[B,6]` and more, see
    `methods.pdr.system.decompose`.
    """
    return self._run("decompose", self._checked(inputs))

  def turn(self, inputs: Any, angles: Any) -> Any:
    """The inputs from other viewpoints `[B,3]`, as `decompose` has them under `angles` (radians).

    Raises `UserError` where the method turns nothing, and for another shape.
    """
    inputs, angles = self._checked(inputs), jnp.asarray(angles, jnp.float32)
    if angles.shape != (len(inputs), 3):
      raise UserError(f"turn: angles must be [{len(inputs)}, 3], not {list(angles.shape)}")
    return self._run("turn", inputs, angles)

  def normalize(self, inputs: Any) -> dict[str, jax.Array]:
    """The inputs in a canonical pose and light. Raises `UserError` where the method cannot do that.

    For PDR `texture`, `reflectance`, `completed` `[B,S,S,3]` and `visibility` `[B,S,S]`, see
    `render.unwrap.Normalized`.
    """
    return self._run("normalize", self._checked(inputs))

  def generate(self, count: int, seed: int = 0) -> Any:
    """`count` new pictures; the same for the same seed.

    Raises `UserError` where the method generates nothing.
    """
    keys = jax.random.key_data(jax.random.split(jax.random.key(seed, impl="threefry2x32"), count))
    return self._run("generate", keys)

  def forecast(self, clips: Any) -> Any:
    """What comes after the clips, as many frames as they have.

    Raises `UserError` where the method foretells nothing.
    """
    return self._run("forecast", self._checked(clips))

  def swap(self, contents: Any, poses: Any) -> Any:
    """The content of one clip in the poses of another, clip by clip.

    Raises `UserError` where the method does not take them apart, and for batches of two sizes.
    """
    inputs = self._checked(contents), self._checked(poses)
    if len(inputs[0]) != len(inputs[1]):
      raise UserError(f"swap: there are {len(inputs[0])} contents and {len(inputs[1])} poses")
    return self._run("swap", *inputs)

  def render(self, parts: Mapping[str, Any], light: Any = None, view: Any = None) -> dict[str, jax.Array]:
    """Decomposed parts under another light or from another view.

    They are `image` `[B,S,S,3]`, `mask` and `depth_at_view`.

    Args:
      parts: of `decompose`; those in `rendered` are read. One picture's parts serve any number of lights or
        views.
      light: for PDR SH `[B,9]`; without it the picture `parts["canonical"]` is shown as it is, an albedo put
        in by hand included.
      view: for PDR `[B,6]`, radians and model units; without it `parts["view"]`.
    """
    needed = dict.fromkeys((*self.rendered, "view") if view is None else self.rendered)
    missing = [name for name in needed if name not in parts]
    if missing:
      raise UserError(
        f"render needs the parts {', '.join(needed)} of decompose; {', '.join(missing)} is missing"
      )
    inputs = {name: jnp.asarray(parts[name], jnp.float32) for name in self.rendered}
    given = [] if light is None else [jnp.asarray(light, jnp.float32)]
    given.append(jnp.asarray(parts["view"] if view is None else view, jnp.float32))
    counts = {value.shape[0] for value in (*inputs.values(), *given)}
    count = max(counts)
    if not counts <= {1, count}:
      raise UserError(
        f"render: parts, light and view have batches of {sorted(counts)}; they must be equal, or 1"
      )

    def spread(value: jax.Array) -> jax.Array:
      return jnp.broadcast_to(value, (count, *value.shape[1:]))

    program = "render_view" if light is None else "render_light"
    return self._run(program, jax.tree.map(spread, inputs), *map(spread, given))

  def _checked(self, inputs: Any) -> jax.Array:
    """The inputs as the programs take them. Raises `UserError` for another shape, type or range."""
    wanted = self.element
    try:
      array = inputs if isinstance(inputs, jax.Array) else np.asarray(inputs)
    except Exception as error:  # a PyTorch tensor with a gradient or on a GPU, lists of different lengths ...
      reason = str(error).splitlines()[0]
      takes = "this model takes a NumPy or JAX array"
      raise UserError(f"{takes}, not {type(inputs).__name__} ({reason})") from error
    shape = ", ".join(map(str, wanted.shape))
    takes = f"this model takes {wanted.meaning or 'input'}s [B, {shape}]"
    if array.ndim == 0 or array.shape[1:] != wanted.shape:
      raise UserError(f"{takes} but got {list(array.shape)}")
    if wanted.range is not None:
      low, high = wanted.range
      takes = f"this model takes {wanted.meaning or 'input'}s in [{low:g}, {high:g}]"
      advice = "use images / 127.5 - 1" if (low, high) == (-1, 1) else "use images / 255"
      if not jnp.issubdtype(array.dtype, jnp.floating):
        raise UserError(f"{takes} but got {array.dtype}: {advice}")
      if array.size and not isinstance(array, jax.core.Tracer):
        _check_range(np.asarray(array), low, high, takes, advice)
    return jnp.asarray(array, wanted.dtype)

  def _run(self, name: str, *inputs: Any) -> Any:
    if name not in self.manifest["programs"]:
      raise UserError(
        f"this is a model of {self.manifest['method']}, which has no {PROGRAMS[name].capability}"
      )
    if name not in self._programs:
      self._programs[name] = jax.jit(_read_program(os.path.join(self._folder, f"{name}.stablehlo")).call)
    call = self._programs[name]
    if "variables" in PROGRAMS[name].arguments:
      self._on_device = jax.device_put(self.variables) if self._on_device is None else self._on_device
      call = functools.partial(call, self._on_device)
    count, most = jax.tree.leaves(inputs)[0].shape[0], self.manifest["largest_batch"]
    if count == 0:
      raise UserError(f"{PROGRAMS[name].capability}: the batch is empty")
    starts = range(0, count, most)
    pieces = [
      call(*jax.tree.map(operator.itemgetter(slice(start, start + most)), inputs)) for start in starts
    ]
    return pieces[0] if len(pieces) == 1 else jax.tree.map(lambda *parts: jnp.concatenate(parts), *pieces)


def load(folder: str | None = None) -> Model:
  """Reads an export; without a folder, the model that is shipped with the package.

  Raises `UserError`: no export there, another version, a file that is missing, cut short or changed.
  """
  folder = _folder(folder)
  manifest = read_manifest(folder)
  for name in (CONFIG, *(f"{program}.stablehlo" for program in manifest["programs"])):
    _check_file(folder, name, manifest)
  path = os.path.join(folder, CONFIG)
  try:
    with open(path, encoding="utf-8") as file:
      config = dict(json.load(file))
  except (TypeError, ValueError, RecursionError) as error:
    raise UserError(f"{path} is no configuration ({type(error).__name__}): export the model again") from error
  return Model(folder, manifest, config, load_variables(folder))


def load_variables(folder: str | None = None) -> dict:
  """The inference variables of an export, as the method of its `config.json` takes them.

  They are nested dicts of NumPy arrays; those that the export has as float16 to save space are float32.
  `training.run_dir.read_config(folder)` reads that configuration.
  Raises `UserError` as `load` does.
  """
  from safetensors import SafetensorError
  from safetensors.numpy import load_file

  folder = _folder(folder)
  manifest = read_manifest(folder)
  _check_file(folder, PARAMS, manifest)
  path = os.path.join(folder, PARAMS)
  try:
    flat = load_file(path)
  except (SafetensorError, OSError) as error:
    raise UserError(f"{path} cannot be read ({error}): export the model again") from error
  clash = [name for name in flat if any(other.startswith(f"{name}/") for other in flat)]
  if clash:
    raise UserError(f"{path}: {clash[0]!r} names both an array and a layer: export the model again")
  half = manifest.get("parameters") == "float16"
  return unflatten({
    name: array.astype(np.float32) if half and array.dtype == np.float16 else array
    for name, array in flat.items()
  })


def read_manifest(folder: str) -> dict:
  """`export.json`, checked for its format and version. Raises `UserError`."""
  path = os.path.join(folder, MANIFEST)
  try:
    with open(path, encoding="utf-8") as file:
      manifest = json.load(file)
    kind, version = manifest["format"], manifest["version"]
  except (FileNotFoundError, NotADirectoryError):
    raise UserError(
      f"{folder} is not an export: it has no {MANIFEST}; python -m pdr_jax.export makes one of a run"
    ) from None
  except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
    raise UserError(f"{path} is not the {MANIFEST} of an export ({type(error).__name__}: {error})") from None
  if kind != FORMAT or not isinstance(version, int):
    raise UserError(f"{path} is not the {MANIFEST} of an export (format {kind!r}, version {version!r})")
  if not 1 <= version <= VERSION:
    advice = "upgrade pdr_jax" if version > VERSION else "export the model again"
    raise UserError(
      f"{folder} is an export of version {version}, and this pdr_jax reads versions 1 to {VERSION}: {advice}"
    )
  wrong = [key for key, kind in FIELDS.items() if not isinstance(manifest.get(key), kind)]
  wrong = wrong or [key for key in ("side", "largest_batch") if manifest[key] < 1]
  wrong = wrong or ["parameters"] * (manifest.get("parameters", "float16") != "float16")
  # The name of a program is that of a file: none outside of the table, none outside of the folder.
  wrong = wrong or [f"program {name!r}" for name in manifest["programs"] if name not in PROGRAMS]
  if not wrong:
    try:
      element_of(manifest)
    except (ValueError, KeyError, TypeError):
      wrong = ["elements"]
  if wrong:
    raise UserError(f"{path} is damaged ({', '.join(wrong)}): export the model again")
  return manifest


def element_of(manifest: Mapping[str, Any]) -> Element:
  """What one input of the model is. Raises ValueError or KeyError for a manifest that does not say it."""
  if "elements" not in manifest:  # the first exports
    return Element((manifest["side"], manifest["side"], 3), "float32", "image", (-1.0, 1.0))
  return elements.from_json(manifest["elements"])[manifest["input"]]


def camera_of(manifest: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, float] | None:
  """What depth maps are seen by. The first exports say it in their configuration."""
  if "camera" in manifest or "scene" not in config:
    return manifest.get("camera")
  scene = config["scene"]
  return {"fov": scene["fov"], "near": scene["min_depth"], "far": scene["max_depth"]}


def oldest_version(manifest: Mapping[str, Any]) -> int:
  """The oldest version of the format whose readers can read what the manifest describes."""
  if "parameters" in manifest:
    return 3
  first = Element((manifest["side"], manifest["side"], 3), "float32", "image", (-1.0, 1.0))
  readable = element_of(manifest) == first and set(manifest["programs"]) <= set(VERSION_1)
  return 1 if readable else 2


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
    raise UserError(
      "no model is shipped with this installation: name the folder of an export "
      "(python -m pdr_jax.export makes one)"
    )
  return SHIPPED


def _check_range(array: np.ndarray, low: float, high: float, takes: str, advice: str) -> None:
  """Raises `UserError` for values that are not finite, or far outside of the range.

  Pictures in [0, 1] lie inside of [-1, 1] and are hardly meant: a warning says so.
  """
  smallest, largest = float(array.min()), float(array.max())
  if not (np.isfinite(smallest) and np.isfinite(largest)):
    raise UserError(f"{takes} but got values that are not finite (NaN or infinite)")
  margin = FAR * (high - low)
  if smallest < low - margin or largest > high + margin:
    raise UserError(f"{takes} but got values from {smallest:g} to {largest:g}: {advice}")
  if low < 0 <= smallest < largest <= 1:
    told = f"{takes} but got values from {smallest:g} to {largest:g}: are they meant to be in [0, 1]?"
    warnings.warn(f"{told} Then use 2 * images - 1", stacklevel=4)


def _check_file(folder: str, name: str, manifest: dict) -> None:
  """Raises `UserError` for a file that is missing, or is not the one that was exported."""
  path = os.path.join(folder, name)
  try:
    with open(path, "rb") as file:
      checksum = digest(file.read())
  except OSError as error:
    raise UserError(
      f"{path} is missing from the export ({error.strerror}): export the model again"
    ) from error
  if checksum != manifest["files"].get(name):
    raise UserError(
      f"{path} is not the file that was exported, it is damaged or was changed: export the model again"
    )


def _read_program(path: str) -> Any:
  """The program in a file. Raises `UserError`."""
  try:
    from jax import export  # reading programs needs flatbuffers

    with open(path, "rb") as file:
      return export.deserialize(bytearray(file.read()))
  except ImportError as error:
    raise UserError(f"reading an export needs flatbuffers: pip install flatbuffers ({error})") from error
  except Exception as error:  # flatbuffers checks nothing: whatever its offsets meet
    raise UserError(
      f"{path} is no program of jax.export ({type(error).__name__}): export the model again"
    ) from error
