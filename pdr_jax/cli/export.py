"""`python -m pdr_jax.export`: exports a trained run."""

import argparse
from typing import Any

from pdr_jax.cli import flags
from pdr_jax.errors import UserError


def declare(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument(
    "--workdir", metavar="RUN", required=True, type=flags.workdir, help="folder of a trained run"
  )
  parser.add_argument(
    "--out",
    metavar="DIR",
    required=True,
    type=flags.out,
    help="folder of the export; python: pdr_jax.load(DIR)",
  )
  parser.add_argument(
    "--checkpoint",
    metavar="WHICH",
    default="best",
    help="which checkpoint: best (default), latest, or a step",
  )
  parser.add_argument("--licence", metavar="TEXT", default="", help="of the parameters, for the model card")
  parser.add_argument(
    "--half",
    action="store_true",
    help="store parameters as float16, in half the space (programs compute in float32)",
  )
  parser.add_argument("--force", action="store_true", help="write into a folder that holds something already")


COMMAND = flags.Command(
  module="pdr_jax.export",
  summary="Exports a trained run: parameters, configuration, model card, programs that run with JAX alone.",
  examples=("python -m pdr_jax.export --workdir runs/quickstart --out exported/quickstart",),
  declare=declare,
)


def main(argv: list[str]) -> int:
  """Flags -> export; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  if values.checkpoint not in ("best", "latest") and not values.checkpoint.isdecimal():
    raise UserError(f"--checkpoint={values.checkpoint}: must be best, latest, or a step such as 1000")

  from pdr_jax.exports import model_card, writer
  from pdr_jax.training import checkpoints, run_dir, stages

  writer.check_target(values.out, values.force)
  config = run_dir.read_config(values.workdir)
  variables, step = checkpoints.load_variables(values.workdir, values.checkpoint)
  facts = model_card.of_run(values.workdir, config, step)
  if values.licence:
    facts["licence"] = values.licence
  method, first = stages.method_of(config, values.workdir), stages.record_of(values.workdir)["first"]
  reads = run_dir.read_reads(values.workdir, config)
  more = {"method": method, "first": first, "reads": reads, "half": values.half}
  writer.write(values.out, config, variables, facts, **more)
  print(f"exported step {step} of {values.workdir} to {values.out}")
  if _is_written(method, variables, reads):
    command = flags.shown("pdr_jax.decompose", "--export", values.out, "--out", "out", "PICTURE_OR_FOLDER")
  else:
    command = flags.shown(
      "pdr_jax.evaluate", "--export", values.out, "--workdir", "runs/evaluation_of_the_export"
    )
  print(f"next: {command}")
  return 0


def _is_written(method: Any, variables: dict, reads: dict[str, Any]) -> bool:
  """Whether `pdr_jax.decompose` writes what this method takes a picture apart into."""
  if method.decompose is None or "image" not in reads:
    return False

  import jax

  from pdr_jax import elements
  from pdr_jax.exports import decomposition, voxel_decomposition

  parts = jax.eval_shape(method.decompose, variables, elements.zeros(reads, 1)["image"])
  return any(parts.keys() >= set(writer.PARTS) for writer in (decomposition, voxel_decomposition))
