"""Exports a trained run: its parameters, its configuration, a model card, and programs that run with JAX alone.

python -m pdr_jax.export --workdir RUN --out DIR [--checkpoint best|latest|STEP] [--licence TEXT] [--force]

  --workdir     folder of a trained run
  --out         folder of the export; python: pdr_jax.load(DIR)
  --checkpoint  which checkpoint: best (default), latest, or a step
  --licence     of the parameters, for the model card
  --force       write into a folder that holds something already
"""

from pdr_jax import command_line
from pdr_jax.errors import UserError


def main(argv: list[str]) -> int:
  """Flags -> export; returns the exit code."""
  parser = command_line.Parser()
  parser.add_argument("--workdir", required=True)
  parser.add_argument("--out", required=True)
  parser.add_argument("--checkpoint", default="best")
  parser.add_argument("--licence", default="")
  parser.add_argument("--force", action="store_true")
  flags = parser.parse_args(argv[1:])
  if flags.checkpoint not in ("best", "latest") and not flags.checkpoint.isdecimal():
    raise UserError(f"--checkpoint={flags.checkpoint}: must be best, latest, or a step such as 1000")

  from pdr_jax.exports import model_card, writer
  from pdr_jax.training import checkpoints, run_dir

  writer.check_target(flags.out, flags.force)
  config = run_dir.read_config(flags.workdir)
  params, step = checkpoints.load_variables(flags.workdir, flags.checkpoint)
  facts = model_card.of_run(flags.workdir, config, step) | ({"licence": flags.licence} if flags.licence else {})
  writer.write(flags.out, config, params, facts)
  print(f"exported step {step} of {flags.workdir} to {flags.out}")
  return 0


if __name__ == "__main__":
  command_line.run(main, __doc__)
