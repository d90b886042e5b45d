"""Turns a PyTorch checkpoint of Unsup3D, or of the released PDR code, into an export.

python -m pdr_jax.imports.torch_checkpoint --checkpoint FILE.pth --out DIR [--config.key=value ...] [--licence TEXT] [--force]

  --checkpoint        holds netD, netA, netL, netV and perhaps netC, networks for 64 x 64 pixels
  --out               folder of the export
  --config.key=value  what the file does not say (default: the face models' scene, pdr_jax/imports/config.py); the synthetic cars have
                      --config.scene.border_depth=1.08 --config.scene.diffuse_min=0.5
  --licence           of the parameters, for the model card
  --force             write into a folder that holds something already

The file is read with weights_only=True: tensors and plain containers, no code of the file is run. Layouts, both of EDDeconv
(Unsup3D's one `network`; PDR's `network_down` and `network_up`) and of Encoder (Unsup3D's head `network.10` before a tanh; PDR's `conv`
after one), are told apart by their keys.
"""

import os

import numpy as np

from pdr_jax import command_line
from pdr_jax.errors import UserError

SIDE = 64
# Place in the Sequential -> our layer. Between them are activations.
DOWN = {0: "down0", 1: "down0_norm", 3: "down1", 4: "down1_norm", 6: "down2", 7: "down2_norm", 9: "down3", 11: "bottleneck"}
DOWN_LENGTH = 13
UP = {
    0: "expand", 2: "expand_conv", 4: "up0", 5: "up0_norm", 7: "up0_conv", 8: "up0_conv_norm", 10: "up1", 11: "up1_norm", 13: "up1_conv",
    14: "up1_conv_norm", 16: "up2", 17: "up2_norm", 19: "up2_conv", 20: "up2_conv_norm", 23: "final0", 24: "final0_norm", 26: "final1",
    27: "final1_norm", 29: "head",
}
CONFIDENCE_UP = {13: "expand", 15: "up0", 16: "up0_norm", 18: "up1", 19: "up1_norm"}
CONFIDENCE_PIXEL = {0: "up2", 1: "up2_norm", 3: "up3", 4: "up3_norm", 6: "pixel_head"}
VECTOR = {0: "down0", 2: "down1", 4: "down2", 6: "down3", 8: "bottleneck"}
TRANSPOSED = ("expand", "up0", "up1", "up2", "up3")  # ConvTranspose2d
NETWORKS = {"netD": "depth", "netA": "albedo", "netL": "light", "netV": "view", "netC": "confidence"}
# Objects that those programs save beside the tensors; they are read as `Ignored`.
BESIDE = ("unsup3d.meters.MetricsTrace", "pdr.meters.MetricsTrace")


class Ignored:
  """What stands for an object of `BESIDE`: it has no behaviour, and nothing looks at it."""


def main(argv: list[str]) -> int:
  """Flags -> export; returns the exit code."""
  parser = command_line.Parser()
  parser.add_argument("--checkpoint", required=True)
  parser.add_argument("--out", required=True)
  parser.add_argument("--licence", default="")
  parser.add_argument("--force", action="store_true")
  flags, rest = parser.parse_known_args(argv[1:])
  default = os.path.join(os.path.dirname(os.path.abspath(__file__)), "config.py")
  config = command_line.parse([argv[0], f"--workdir={flags.out}", *rest], default_config=default).config

  from pdr_jax.exports import model_card, writer

  writer.check_target(flags.out, flags.force)
  params, found = convert(read(flags.checkpoint))
  config.networks.update(found["networks"])
  config.loss.confidence = found["confidence"]
  config.data.side = SIDE
  facts = {"origin": f"PyTorch checkpoint {os.path.basename(flags.checkpoint)}", "licence": flags.licence or model_card.UNKNOWN_LICENCE}
  writer.write(flags.out, config, params, facts)
  layout = "tanh on the features" if found["networks"]["vector_tanh"] == "features" else "tanh on the output"
  print(f"imported {flags.checkpoint} ({layout}) to {flags.out}")
  return 0


def read(path: str) -> dict[str, dict[str, np.ndarray]]:
  """The state dicts of a checkpoint's networks, `{"netD": {"network.0.weight": array}}`, float32. Raises `UserError`."""
  try:
    import torch
  except ImportError:
    raise UserError(f"reading {path} needs PyTorch: pip install 'pdr_jax[torch]'") from None
  if not os.path.isfile(path):
    raise UserError(f"--checkpoint {path}: no such file")
  try:
    with torch.serialization.safe_globals([(Ignored, name) for name in BESIDE]):
      content = torch.load(path, map_location="cpu", weights_only=True)
  except Exception:  # torch raises whatever its unpickler meets, with the advice to run the file's code
    raise UserError(f"{path} is not a PyTorch file of tensors alone: it is damaged, of another kind, or holds objects of code") from None
  if not isinstance(content, dict) or not all(isinstance(content.get(name), dict) for name in NETWORKS if name != "netC"):
    names = ", ".join(map(str, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
    raise UserError(f"{path} is no checkpoint of Unsup3D or PDR: it holds {names}, and not netD, netA, netL and netV")
  tensors = lambda state: {key: value.float().numpy() for key, value in state.items() if isinstance(value, torch.Tensor)}
  return {name: tensors(content[name]) for name in NETWORKS if isinstance(content.get(name), dict)}


def convert(states: dict[str, dict[str, np.ndarray]]) -> tuple[dict, dict]:
  """Parameters of the method `pdr` for the state dicts of `read`, and keys of the configuration that follow from them.

  These are `networks` (a dict) and `confidence`. Raises `UserError` that lists every key that is missing or left over.
  """
  layers = {name: _layout(name, state) for name, state in states.items()}
  wrong = []
  for name, state in states.items():
    wanted = {f"{place}.{kind}" for place, path in layers[name].items() for kind in _tensors(path)}
    wrong += [f"{name}.{key} is missing" for key in sorted(wanted - state.keys())]
    wrong += [f"{name}.{key} is unknown" for key in sorted(state.keys() - wanted)]
  if wrong:
    raise UserError(f"the checkpoint does not have the networks of Unsup3D or PDR: {'; '.join(wrong)}")
  params = {NETWORKS[name]: _converted(states[name], layers[name]) for name in states}
  width = lambda network, layer: int(params[network]["encoder"][layer]["kernel"].shape[-1])
  networks = {
      "width_map": width("depth", "down0"), "width_vector": width("light", "down0"), "zdim": width("depth", "bottleneck"),
      "vector_tanh": "features" if "conv.weight" in states["netL"] else "output",
  }
  if "netC" in states:
    networks["zdim_confidence"] = width("confidence", "bottleneck")
  return params, {"networks": networks, "confidence": "netC" in states}


def _layout(name: str, state: dict[str, np.ndarray]) -> dict[str, str]:
  """Place of every layer in the network's modules -> its path in our parameters."""
  at = lambda module, places, group="", offset=0: {f"{module}.{i + offset}": f"{group}{layer}" for i, layer in places.items()}
  if name in ("netL", "netV"):
    return at("network", VECTOR, "encoder/") | {"conv" if "conv.weight" in state else "network.10": "head"}
  if name == "netC":
    return (at("network", DOWN, "encoder/") | at("network", CONFIDENCE_UP) | at("out_net1", CONFIDENCE_PIXEL)
            | {"out_net2.0": "feature_head"})
  if any(key.startswith("network_down.") for key in state):
    return at("network_down", DOWN, "encoder/") | at("network_up", UP, "decoder/")
  return at("network", DOWN, "encoder/") | at("network", UP, "decoder/", offset=DOWN_LENGTH)


def _tensors(path: str) -> tuple[str, ...]:
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
      raise UserError(f"the checkpoint does not have the networks of Unsup3D or PDR: {place}.weight has shape {list(weight.shape)}")
    else:
      axes = (2, 3, 0, 1) if path.split("/")[-1] in TRANSPOSED else (2, 3, 1, 0)
      flat[f"{path}/kernel"] = np.ascontiguousarray(weight.transpose(axes))
  return unflatten(flat)


if __name__ == "__main__":
  command_line.run(main, __doc__)
