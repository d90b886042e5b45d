r"""What comes next: PSNR and SSIM of each foretold frame, beside guesses that need no model and other runs.

    python -m pdr_jax.evaluate --workdir runs/digits_forecast --config.tasks=forecast \
        --config.forecast.beside=runs/autoencoder_forecast

The other runs foretell the same clips from the same frames, so that one table has them all.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from pdr_jax.evaluation import forecasts, records
from pdr_jax.evaluation.features import people_in
from pdr_jax.evaluation.records import Figure, Outcomes, Result, Score
from pdr_jax.evaluation.task import Context, Job, Task
from pdr_jax.metrics import video
from pdr_jax.training import checkpoints

METRICS = {"psnr": video.psnr, "ssim": video.ssim}
SHARPNESS = "sharpness"  # of a foretold frame, as a share of that of the given ones


def defaults() -> dict[str, Any]:
  return dict(
      past=10,                  # frames that are given
      future=0,                 # frames to foretell; 0: as many as the run's clips have after them
      clips=200,                # of the test split, at most
      beside="",                # folders of other runs that foretell, with commas between
  )


def forecast(context: Context) -> Result:
  """Scores by step, and their means over all steps with a known truth."""
  settings, reads = context.settings, context.representation.reads
  length = reads[context.representation.input].shape[0]
  past = min(settings.past, length - 1)
  made = forecasts.of_split(
    context.run, context.representation, context.test_split,
    past=past, frames=settings.future or length - past, count=settings.clips,
  )
  known, future = made.truth.shape[1], made.foretold.shape[1]
  people = people_in(context.test, context.config.identity)
  people = None if people is None else people[: len(made.given)]  # the first clips are foretold
  others = forecasts.of_others(settings.beside, made, context.run)
  learned = {forecasts.FORECAST: made.foretold} | others
  guessed = learned | forecasts.guesses(made.given, future)
  scores: list[Score] = []
  outcomes: dict[str, Outcomes] = {}
  for block, frames in guessed.items():
    for name, metric in METRICS.items():
      each = metric(frames[:, :known], made.truth)
      values = each.mean(axis=0)
      headline = f"forecast, {name.upper()}" if block == forecasts.FORECAST else ""
      score = Score("forecast", "", block, name, (float(values.mean()),), "higher", headline)
      of_clips = records.outcomes_of(each.mean(axis=1)[None, None], np.arange(len(each))[None], people=people)
      named, used = records.with_outcomes([score], {name: of_clips})
      outcomes |= used
      scores += named
      scores += [
        Score("forecast", name, block, "by_step", (float(value),), "higher", place=float(t + 1))
        for t, value in enumerate(values)
      ]
  given = video.sharpness(made.given).mean()
  for block, frames in learned.items():
    shares = video.sharpness(frames).mean(axis=0) / given
    scores += [
      Score("forecast", SHARPNESS, block, "by_step", (float(share),), "", place=float(t + 1))
      for t, share in enumerate(shares)
    ]
  protocol = {
    "description": "forecasts of frames that the method has not seen",
    "test": len(made.given), "past": past, "future": future, "known": known, "seeds": [0],
  }
  figure = Figure("curves", "by_step", "forecasts", "frame", "dB, SSIM, share")
  media = forecasts.media(made, others)
  return Result("forecast", protocol, tuple(scores), figure=figure, media=media, outcomes=outcomes)


def jobs(context: Context) -> Iterator[Job]:
  """One, for a method that foretells."""
  method = context.representation.method
  if method is not None and method.forecast is not None:
    yield "forecast", lambda: forecast(context)


def also_reads(settings: ConfigDict) -> dict[str, Any]:
  """The parameters of the other runs, by folder. Raises `UserError`, see `checkpoints.load_variables`."""
  return {folder: checkpoints.load_variables(folder)[0] for folder in forecasts.folders_of(settings.beside)}


TASK = Task(jobs, defaults, order=95, also_reads=also_reads)
