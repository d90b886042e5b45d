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
    help="holds netD, netA, netL, netV and perhaps netC, networks for 64 x 64 pixels",
  )
  parser.add_argument(
    "--out", metavar="DIR", required=True, help="folder of the export; python: pdr_jax.load(DIR)"
  )
  parser.add_argument("--licence", metavar="TEXT", default="", help="of the parameters, for the model card")
  parser.add_argument("--force", action="store_true", help="write into a folder that holds something already")


def default_config() -> ConfigDict:
  """What the file does not say: the scene of the published face models."""
  from pdr_jax.imports import config

  return config.get_config()


COMMAND = flags.Command(
  module="pdr_jax.imports.torch_checkpoint",
  summary="Turns a PyTorch checkpoint of Unsup3D, or of the released PDR code, into an export.",
  examples=(
    "python -m pdr_jax.imports.torch_checkpoint --checkpoint checkpoint030.pth --out exported/theirs",
    "python -m pdr_jax.imports.torch_checkpoint --checkpoint cars.pth --out exported/cars "
    "--config.scene.border_depth=1.08 --config.scene.diffuse_min=0.5",
  ),
  declare=declare,
  takes_config=True,
  details="""
Widths and heads are read from the file. What it does not say comes from the configuration (default: the scene
of the face models, pdr_jax/imports/config.py); the second example has the scene of the synthetic cars. The
file is read with weights_only=True: none of its code is run.
""",
)


def main(argv: list[str]) -> int:
  """Flags -> export; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  config = flags.configuration(values, default_config)

  from pdr_jax.exports import model_card, writer
  from pdr_jax.imports import torch_networks

  writer.check_target(values.out, values.force)
  variables, known = torch_networks.convert(torch_networks.read(values.checkpoint))
  config.networks.update(known["networks"])
  config.loss.confidence = known["confidence"]
  config.data.side = SIDE
  facts = {
    "origin": f"PyTorch checkpoint {os.path.basename(values.checkpoint)}",
    "licence": values.licence or model_card.UNKNOWN_LICENCE,
  }
  writer.write(values.out, config, variables, facts)
  on_features = known["networks"]["vector_tanh"] == "features"
  layout = "tanh on the features" if on_features else "tanh on the output"
  print(f"imported {values.checkpoint} ({layout}) to {values.out}")
  return 0
