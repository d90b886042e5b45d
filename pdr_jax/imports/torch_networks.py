"""The networks of a PyTorch checkpoint as parameters of the method `pdr`.

The checkpoint is one of Unsup3D, or of the released PDR code. The file is read with weights_only=True:
tensors and plain containers, no code of the file is run. There are two layouts of EDDeconv (Unsup3D's one
`network`; PDR's `network_down` and `network_up`) and two of Encoder (Unsup3D's head `network.10` before a
tanh; PDR's `conv` after one). They are told apart by their keys.
"""

import _codecs
import os
from collections.abc import Collection
from typing import Any

import numpy as np

from pdr_jax.errors import UserError

# Place in the Sequential -> our layer. Between them are activations.
DOWN = {
  0: "down0",
  1: "down0_norm",
  3: "down1",
  4: "down1_norm",
  6: "down2",
  7: "down2_norm",
  9: "down3",
  11: "bottleneck",
}
DOWN_LENGTH = 13
UP = {
  0: "expand",
  2: "expand_conv",
  4: "up0",
  5: "up0_norm",
  7: "up0_conv",
  8: "up0_conv_norm",
  10: "up1",
  11: "up1_norm",
  13: "up1_conv",
  14: "up1_conv_norm",
  16: "up2",
  17: "up2_norm",
  19: "up2_conv",
  20: "up2_conv_norm",
  23: "final0",
  24: "final0_norm",
  26: "final1",
  27: "final1_norm",
  29: "head",
}
CONFIDENCE_UP = {13: "expand", 15: "up0", 16: "up0_norm", 18: "up1", 19: "up1_norm"}
CONFIDENCE_PIXEL = {0: "up2", 1: "up2_norm", 3: "up3", 4: "up3_norm", 6: "pixel_head"}
VECTOR = {0: "down0", 2: "down1", 4: "down2", 6: "down3", 8: "bottleneck"}
TRANSPOSED = ("expand", "up0", "up1", "up2", "up3")  # ConvTranspose2d
NETWORKS = {"netD": "depth", "netA": "albedo", "netL": "light", "netV": "view", "netC": "confidence"}
OPTIONAL = "netC"
WRONG_NETWORKS = "the checkpoint does not have the networks of Unsup3D or PDR"
# Objects that those programs save beside the tensors; they are read as `Ignored`.
BESIDE = ("unsup3d.meters.MetricsTrace", "pdr.meters.MetricsTrace")
PARALLEL = "module."  # what torch.nn.DataParallel puts before every name


class Ignored:
  """What stands for an object of `BESIDE`: it has no behaviour, and nothing looks at it."""


def read(
  path: str, names: Collection[str] = NETWORKS, whose: str = "Unsup3D or PDR"
) -> dict[str, dict[str, np.ndarray]]:
  """The state dicts of a checkpoint's networks, `{"netD": {"network.0.weight": array}}`, float32.

  `names` are those of the networks, of which `OPTIONAL` may be absent; `whose` they are stands in messages.
  Raises `UserError`.
  """
  try:
    import torch
  except ImportError:
    raise UserError(f"reading {path} needs PyTorch: pip install 'pdr_jax[torch]'") from None
  if not os.path.isfile(path):
    raise UserError(f"--checkpoint {path}: no such file")
  try:
    with torch.serialization.safe_globals(_harmless()):
      content = torch.load(path, map_location="cpu", weights_only=True)
  except Exception:  # torch raises whatever its unpickler meets, with the advice to run the file's code
    raise UserError(
      f"{path} is not a PyTorch file of tensors alone: it is damaged, of another kind, or holds objects "
      "of code"
    ) from None
  needed = [name for name in names if name != OPTIONAL]
  if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in needed):
    held = ", ".join(map(str, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
    wanted = f"{', '.join(needed[:-1])} and {needed[-1]}"
    raise UserError(f"{path} is no checkpoint of {whose}: it holds {held}, and not {wanted}")
  states = {}
  for name in names:
    if isinstance(content.get(name), dict):
      tensors = {key: value for key, value in content[name].items() if isinstance(value, torch.Tensor)}
      states[name] = {key.removeprefix(PARALLEL): value.float().numpy() for key, value in tensors.items()}
  return states


def _harmless() -> list[Any]:
  """What torch may build besides tensors: `Ignored`, and NumPy's numbers (the losses that programs save)."""
  scalar = np._core.multiarray.scalar
  numbers = [(scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]
  kinds = [type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64, np.bool_)]
  return [*((Ignored, name) for name in BESIDE), *numbers, np.dtype, *kinds, _codecs.encode]


def convert(states: dict[str, dict[str, np.ndarray]]) -> tuple[dict, dict]:
  """Parameters of the method `pdr` for the state dicts of `read`.

  It also gives the keys of the configuration that follow from them. These are `networks` (a dict) and
  `confidence`. Raises `UserError` that lists every key that is missing or left over.
  """
  layers = {name: _layout(name, state) for name, state in states.items()}
  wrong = []
  for name, state in states.items():
    wanted = {f"{place}.{kind}" for place, path in layers[name].items() for kind in _tensors(path)}
    wrong += [f"{name}.{key} is missing" for key in sorted(wanted - state.keys())]
    wrong += [f"{name}.{key} is unknown" for key in sorted(state.keys() - wanted)]
  if wrong:
    raise UserError(f"{WRONG_NETWORKS}: {'; '.join(wrong)}")
  params = {NETWORKS[name]: _converted(states[name], layers[name]) for name in states}
  networks = {
    "width_map": _width(params["depth"], "down0"),
    "width_vector": _width(params["light"], "down0"),
    "zdim": _width(params["depth"], "bottleneck"),
    "vector_tanh": "features" if "conv.weight" in states["netL"] else "output",
  }
  if OPTIONAL in states:
    networks["zdim_confidence"] = _width(params["confidence"], "bottleneck")
  return params, {"networks": networks, "confidence": OPTIONAL in states}


def _width(network: dict, layer: str) -> int:
  """Output channels of a layer of an encoder."""
  return int(network["encoder"][layer]["kernel"].shape[-1])


def _layout(name: str, state: dict[str, np.ndarray]) -> dict[str, str]:
  """Place of every layer in the network's modules -> its path in our parameters."""
  if name in ("netL", "netV"):
    head = "conv" if "conv.weight" in state else "network.10"
    return _places("network", VECTOR, "encoder/") | {head: "head"}
  if name == "netC":
    return (
      _places("network", DOWN, "encoder/")
      | _places("network", CONFIDENCE_UP)
      | _places("out_net1", CONFIDENCE_PIXEL)
      | {"out_net2.0": "feature_head"}
    )
  if any(key.startswith("network_down.") for key in state):
    return _places("network_down", DOWN, "encoder/") | _places("network_up", UP, "decoder/")
  return _places("network", DOWN, "encoder/") | _places("network", UP, "decoder/", offset=DOWN_LENGTH)


def _places(module: str, layers: dict[int, str], group: str = "", offset: int = 0) -> dict[str, str]:
  """`{"network.13": "decoder/expand"}` for the layers of one Sequential.

  They stand `offset` places further on.
  """
  return {f"{module}.{place + offset}": f"{group}{layer}" for place, layer in layers.items()}


def _tensors(path: str) -> tuple[str, ...]:
  """The tensors of a layer."""
  return ("weight", "bias") if path.endswith("_norm") else ("weight",)


def _converted(state: dict[str, np.ndarray], layers: dict[str, str]) -> dict:
  """Kernels are stored as `networks.layers` says; nothing is flipped."""
  from pdr_jax.exports.reader import unflatten

  flat = {}
  for place, path in layers.items():
    weight = state[f"{place}.weight"]
    if path.endswith("_norm"):
      flat |= {f"{path}/scale": weight, f"{path}/bias": state[f"{place}.bias"]}
    elif weight.ndim != 4:
      raise UserError(f"{WRONG_NETWORKS}: {place}.weight has shape {list(weight.shape)}")
    else:
      axes = (2, 3, 0, 1) if path.split("/")[-1] in TRANSPOSED else (2, 3, 1, 0)
      flat[f"{path}/kernel"] = np.ascontiguousarray(weight.transpose(axes))
  return unflatten(flat)
