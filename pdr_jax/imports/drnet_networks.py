"""DrNET's networks from PyTorch: the key layout of the released code's modules.

    variables = variables_of({"netEC": state_dict, "netEP": ..., "netD": ..., "netC": ...}, config)

The released code pickles whole modules, which only that code can open (`torch.load(file)["netEC"]
.state_dict()` there gives what is read here). Its discriminator is not in its checkpoints: without `netC` the
variables have none, and `completed` gives them one that says nothing.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.networks import vgg
from pdr_jax.networks.blocks import stages

NAMES = {"content": "netEC", "pose": "netEP", "decoder": "netD", "discriminator": "netC"}


class Layer(NamedTuple):
  """A layer of ours and of PyTorch.

  Attributes:
    path: of our layer, with `conv` and `norm` below it where it has both.
    conv: the key of PyTorch's convolution.
    norm: that of its batch normalisation, None where there is none.
    transposed: PyTorch has a transposed convolution there.
    flipped: and ours is a plain one, whose kernel is turned by half a circle.
  """

  path: tuple[str, ...]
  conv: str
  norm: str | None = None
  transposed: bool = False
  flipped: bool = False


def variables_of(state_dicts: Mapping[str, Mapping[str, Any]], config: ConfigDict) -> dict:
  """The inference variables of a configuration's method. Raises `UserError` for another layout."""
  if not config.drnet.normalise_pose:
    raise UserError("config.drnet.normalise_pose = False: the released networks normalise pose vectors")
  variables: dict[str, Any] = {}
  statistics: dict[str, Any] = {}
  for name, theirs in NAMES.items():
    if theirs not in state_dicts or (name == "content" and not config.drnet.content_size):
      continue
    arrays = {key: np.asarray(value, np.float32) for key, value in state_dicts[theirs].items()}
    if name == "discriminator":
      variables[name] = _discriminator(arrays)
    else:
      variables[name], statistics[name] = _network(arrays, list(layers(name, config)), theirs)
  return variables | {"model_state": {"statistics": statistics}}


def networks_of(config: ConfigDict) -> tuple[str, ...]:
  """Their names in a checkpoint of this configuration."""
  return tuple(theirs for name, theirs in NAMES.items() if name != "content" or config.drnet.content_size)


def completed(variables: dict, config: ConfigDict) -> dict:
  """With a discriminator of zeros, which is never sure, where there is none."""
  if "discriminator" in variables:
    return variables
  width, pairs = config.drnet.discriminator_width, 2 * config.drnet.pose_size
  sizes = {"hidden0": (pairs, width), "hidden1": (width, width), "logit": (width, 1)}
  zeros = {
    name: {"kernel": np.zeros(size, np.float32), "bias": np.zeros(size[1], np.float32)}
    for name, size in sizes.items()
  }
  return variables | {"discriminator": zeros}


def layers(name: str, config: ConfigDict) -> Iterator[Layer]:
  """The layers of the network `name` of a configuration, by the released code's names."""
  drnet, side = config.drnet, config.data.side
  if name == "decoder":
    yield from _vgg_decoder(side, drnet.width) if drnet.decoder == "vgg" else _decoder(side, drnet.skips)
    return
  kind = drnet[name]
  if kind == "resnet":
    yield from _resnet(side)
  elif kind == "vgg":
    yield from _vgg_encoder(side, drnet.width)
  else:
    yield from _encoder(side, drnet.skips and name == "content")


def _encoder(side: int, skips: bool) -> Iterator[Layer]:
  count = stages(side)
  for i in range(count):
    prefix = f"c{i + 1}.main" if skips else f"main.{i}.main"
    yield Layer((f"down{i}",), f"{prefix}.0", f"{prefix}.1")
  last = (f"c{count + 1}.0", f"c{count + 1}.1") if skips else (f"main.{count}", f"main.{count + 1}")
  yield Layer(("vector", "layer"), *last)


def _decoder(side: int, skips: bool) -> Iterator[Layer]:
  count = stages(side)
  yield Layer(("start",), *(("upc1.0", "upc1.1") if skips else ("main.0", "main.1")), transposed=True)
  for turn, i in enumerate(reversed(range(1, count))):
    prefix = f"upc{turn + 2}.main" if skips else f"main.{turn + 3}.main"
    yield Layer((f"up{i}",), f"{prefix}.0", f"{prefix}.1", transposed=True)
  yield Layer(("up0",), f"upc{count + 1}.0" if skips else f"main.{count + 2}", transposed=True)


def _vgg_encoder(side: int, width: int) -> Iterator[Layer]:
  blocks = vgg.encoder_widths(width, side)
  for i, block in enumerate(blocks):
    for j in range(len(block)):
      yield Layer((f"block{i}_{j}",), f"c{i + 1}.{j}.main.0", f"c{i + 1}.{j}.main.1")
  yield Layer(("vector", "layer"), f"c{len(blocks) + 1}.0", f"c{len(blocks) + 1}.1")


def _vgg_decoder(side: int, width: int) -> Iterator[Layer]:
  blocks = vgg.decoder_widths(width, side)
  yield Layer(("start",), "upc1.0", "upc1.1", transposed=True)
  for turn, i in enumerate(reversed(range(len(blocks)))):
    for j in range(len(blocks[i])):
      prefix = f"upc{turn + 2}.{j}.main"
      yield Layer((f"block{i}_{j}",), f"{prefix}.0", f"{prefix}.1")
  last = f"upc{len(blocks) + 1}.{len(blocks[0])}"
  yield Layer(("pixels",), last, transposed=True, flipped=True)


def _resnet(side: int) -> Iterator[Layer]:
  yield Layer(("first",), "main.conv1", "main.bn1")
  for i in range(stages(side)):
    for j in range(2):
      prefix, block = f"main.layer{i + 1}.{j}", f"stage{i}_{j}"
      yield Layer((block, "first"), f"{prefix}.conv1", f"{prefix}.bn1")
      yield Layer((block, "second"), f"{prefix}.conv2", f"{prefix}.bn2")
      if i > 0 and j == 0:
        yield Layer((block, "shortcut"), f"{prefix}.downsample.0", f"{prefix}.downsample.1")
  yield Layer(("vector", "layer"), "main.conv_out", "main.bn_out")


def _network(arrays: dict[str, np.ndarray], wanted: list[Layer], name: str) -> tuple[dict, dict]:
  """Parameters and running statistics of one network."""
  params: dict[str, Any] = {}
  statistics: dict[str, Any] = {}
  for layer in wanted:
    keys = [f"{layer.conv}.weight", *([f"{layer.norm}.weight"] if layer.norm else [])]
    if absent := [key for key in keys if key not in arrays]:
      raise UserError(f"{name} has no {absent[0]}: it is no network of this backbone, side and skips")
    weight = arrays[f"{layer.conv}.weight"]
    kernel = weight.transpose(2, 3, 0, 1) if layer.transposed else weight.transpose(2, 3, 1, 0)
    if layer.flipped:
      kernel = kernel[::-1, ::-1]
    conv = {"kernel": np.ascontiguousarray(kernel), "bias": arrays[f"{layer.conv}.bias"]}
    if layer.norm is None:
      _at(params, layer.path).update(conv)
      continue
    norm = {"scale": arrays[f"{layer.norm}.weight"], "bias": arrays[f"{layer.norm}.bias"]}
    _at(params, layer.path).update(conv=conv, norm=norm)
    running = {key: arrays[f"{layer.norm}.running_{key}"] for key in ("mean", "var")}
    _at(statistics, layer.path).update(norm=running)
  return params, statistics


def _discriminator(arrays: dict[str, np.ndarray]) -> dict:
  names = {"hidden0": "main.0", "hidden1": "main.2", "logit": "main.4"}
  return {
    ours: {"kernel": arrays[f"{theirs}.weight"].T.copy(), "bias": arrays[f"{theirs}.bias"]}
    for ours, theirs in names.items()
  }


def _at(tree: dict, path: tuple[str, ...]) -> dict:
  for name in path:
    tree = tree.setdefault(name, {})
  return tree
