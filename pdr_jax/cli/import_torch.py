"""`python -m pdr_jax.imports.torch_checkpoint`: makes an export of a PyTorch checkpoint."""

import argparse
import os

from ml_collections import ConfigDict

from pdr_jax.cli import flags

SIDE = 64  # of the pictures of both programs


def declare(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument(
    "--checkpoint",
    metavar="FILE.pth",
    required=True,
    help="holds netD, netA, netL, netV and perhaps netC, networks for 64 x 64 pixels; or DrNET's netEC, "
    "netEP, netD and perhaps netC",
  )
  parser.add_argument(
    "--out",
    metavar="DIR",
    required=True,
    type=flags.out,
    help="folder of the export; python: pdr_jax.load(DIR)",
  )
  parser.add_argument("--licence", metavar="TEXT", default="", help="of the parameters, for the model card")
  parser.add_argument("--force", action="store_true", help="write into a folder that holds something already")


def default_config() -> ConfigDict:
  """What the file does not say: the scene of the published face models."""
  from pdr_jax.imports import config

  return config.get_config()


COMMAND = flags.Command(
  module="pdr_jax.imports.torch_checkpoint",
  summary="Turns a PyTorch checkpoint of Unsup3D, or of the released codes of PDR and DrNET, into an export.",
  examples=(
    "python -m pdr_jax.imports.torch_checkpoint --checkpoint checkpoint030.pth --out exported/theirs",
    "python -m pdr_jax.imports.torch_checkpoint --checkpoint cars.pth --out exported/cars "
    "--config.scene.border_depth=1.08 --config.scene.diffuse_min=0.5",
    "python -m pdr_jax.imports.torch_checkpoint --checkpoint drnet.pth --out exported/digits "
    "--config drnet_digits:parity_py --config.data.side=64 --config.data.channels=3 --config.drnet.width=64",
  ),
  declare=declare,
  takes_config=True,
  details="""
Widths and heads are read from the file. What it does not say comes from the configuration (default: the scene
of the face models, pdr_jax/imports/config.py); the second example has the scene of the synthetic cars. Of
DrNET the configuration says all: side, channels, backbones, width and the sizes of the vectors. The file is
read with weights_only=True: none of its code is run.
""",
)


def main(argv: list[str]) -> int:
  """Flags -> export; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  config = flags.configuration(values, default_config)

  from pdr_jax.exports import model_card, writer

  writer.check_target(values.out, values.force)
  variables, layout = (_drnet if config.method == "drnet" else _scene)(values.checkpoint, config)
  facts = {
    "origin": f"PyTorch checkpoint {os.path.basename(values.checkpoint)}",
    "licence": values.licence or model_card.UNKNOWN_LICENCE,
  }
  writer.write(values.out, config, variables, facts)
  print(f"imported {values.checkpoint} ({layout}) to {values.out}")
  return 0


def _scene(path: str, config: ConfigDict) -> tuple[dict, str]:
  """Variables of `pdr`, and a word on the file's layout; the configuration takes what the file says."""
  from pdr_jax.imports import torch_networks

  variables, known = torch_networks.convert(torch_networks.read(path))
  config.networks.update(known["networks"])
  config.loss.confidence = known["confidence"]
  config.data.side = SIDE
  on_features = known["networks"]["vector_tanh"] == "features"
  return variables, "tanh on the features" if on_features else "tanh on the output"


def _drnet(path: str, config: ConfigDict) -> tuple[dict, str]:
  """Variables of `drnet`, and a word on what the file has."""
  from pdr_jax.imports import drnet_networks, torch_networks

  states = torch_networks.read(path, drnet_networks.networks_of(config), "DrNET")
  variables = drnet_networks.variables_of(states, config)
  told = ", ".join(states) + ("" if "discriminator" in variables else "; no discriminator, which is zeros")
  return drnet_networks.completed(variables, config), told
