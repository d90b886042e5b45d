"""`python -m pdr_jax.forecast`: what comes after the clips of a run's data."""

import argparse
import os

from pdr_jax.cli import flags, runtime
from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically

FOLDER = "forecast"  # of a run directory, where --out does not name another


def declare(parser: argparse.ArgumentParser) -> None:
  """The command's flags."""
  parser.add_argument(
    "--workdir", metavar="RUN", required=True, type=flags.workdir, help="folder of a run of drnet_forecast"
  )
  parser.add_argument("--frames", metavar="N", type=int, default=200, help="how many to foretell (200)")
  parser.add_argument("--past", metavar="N", type=int, default=10, help="how many are given (10)")
  parser.add_argument("--clips", metavar="N", type=int, default=16, help="how many clips are foretold (16)")
  parser.add_argument("--split", metavar="NAME", default="", help="default: test, else validation")
  parser.add_argument(
    "--checkpoint", metavar="WHICH", default="best", help="which one: best (default), latest, or a step"
  )
  parser.add_argument("--out", metavar="DIR", type=flags.out, help="folder of the figures (RUN/forecast)")


COMMAND = flags.Command(
  module="pdr_jax.forecast",
  summary="Foretells frames after clips that a run has not seen: a film strip and a GIF, with the truth.",
  examples=("python -m pdr_jax.forecast --workdir runs/digits_forecast --frames 200",),
  declare=declare,
)


def main(argv: list[str]) -> int:
  """Flags -> figures; returns the exit code."""
  values = flags.parse(COMMAND, argv)
  for name in ("frames", "past", "clips"):
    if getattr(values, name) < 1:
      raise UserError(f"--{name} {getattr(values, name)}: must be at least 1")

  from pdr_jax.data import pipeline  # JAX and everything else that takes seconds to import
  from pdr_jax.evaluation import forecasts, representations
  from pdr_jax.metrics import video
  from pdr_jax.training import run_dir

  runtime.cache_compilations()
  run = run_dir.read_config(values.workdir)
  representation = representations.create(run, values.workdir, "trained", values.checkpoint)
  split = values.split or ("test" if dict(pipeline.describe(run).tests).get("test") else "validation")
  run.train.batch_size = min(run.train.batch_size, values.clips)
  made = forecasts.of_split(
    run, representation, split, past=values.past, frames=values.frames, count=values.clips
  )
  out = os.path.abspath(values.out) if values.out else os.path.join(values.workdir, FOLDER)
  for media in forecasts.media(made):
    write_atomically(os.path.join(out, media.name), lambda file, data=media.data: file.write(data))
    print(f"{os.path.join(out, media.name)}: {media.title}")
  known, given = made.truth.shape[1], video.sharpness(made.given).mean()
  last = made.foretold[:, -min(10, values.frames) :]
  sharp = video.sharpness(last).mean() / given
  print(
    f"{len(made.given)} clips of {split}, {values.past} frames given, {values.frames} foretold, of which"
    f" {known} have a truth; the last ones are {sharp:.2f} times as sharp as the given ones"
  )
  if known:
    guessed = {"forecast": made.foretold} | forecasts.guesses(made.given, known)
    means = {name: video.psnr(frames[:, :known], made.truth).mean() for name, frames in guessed.items()}
    print("mean PSNR: " + ", ".join(f"{name} {value:.1f} dB" for name, value in means.items()))
  return 0
