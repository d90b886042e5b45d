"""Forecasts of clips: what a method foretells of a split, guesses that need no model, and figures."""

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from ml_collections import ConfigDict

from pdr_jax.data import registry
from pdr_jax.elements import Element
from pdr_jax.errors import UserError
from pdr_jax.evaluation import batches, representations
from pdr_jax.evaluation.records import Media
from pdr_jax.evaluation.representations import Representation
from pdr_jax.files import absolute
from pdr_jax.plots import clips as pictures
from pdr_jax.plots import style
from pdr_jax.training import run_dir

FORECAST, TRUTH = "forecast", "truth"
LAST, MEAN = "last frame", "mean frame"
NAMES = (FORECAST, TRUTH, LAST, MEAN)  # what no other run may be called
SHOWN = 4  # clips in figures
STRIP = 16  # frames of a film strip


class Forecast(NamedTuple):
  """Clips in [0, 1] and what was foretold.

  Attributes:
    given: `[N, P, S, S, C]`, what the method saw.
    foretold: `[N, F, S, S, C]`.
    truth: `[N, G, S, S, C]`, what came after, as far as it is known: G is at most F.
  """

  given: Float[np.ndarray, "N P S S C"]
  foretold: Float[np.ndarray, "N F S S C"]
  truth: Float[np.ndarray, "N G S S C"]


def of_split(
  run: ConfigDict, representation: Representation, split: str, *, past: int, frames: int, count: int
) -> Forecast:
  """Foretells so many frames of the first `count` clips of a split, from their first `past` frames.

  The truth goes as far as the data do: some draw clips of any length, others have those of the run. Raises
  `UserError` where the method foretells nothing.
  """
  method = representation.method
  if method is None or method.forecast is None:
    raise UserError(f"config.method={run.method} foretells nothing: train drnet_forecast on top of it")
  element = representation.reads[representation.input]
  clips = _read(run, representation, split, past + frames, count)
  if clips.shape[1] <= past:
    raise UserError(
      f"the clips have {clips.shape[1]} frames, and {past} are given: nothing is left to foretell; give fewer"
    )
  foretold = _foretell(representation, clips[:, :past], frames, run.train.batch_size)
  return Forecast(
    _unit(clips[:, :past], element), _unit(foretold, element), _unit(clips[:, past : past + frames], element)
  )


def folders_of(folders: str) -> list[str]:
  """The absolute paths of folders with commas between."""
  return [absolute(folder) for folder in map(str.strip, folders.split(",")) if folder]


def of_others(folders: str, made: Forecast, run: ConfigDict) -> dict[str, Float[np.ndarray, "N F S S C"]]:
  """What other runs foretell of the same given frames, by the names of their folders.

  Args:
    folders: run directories, with commas between.
    made: whose given frames they see, and as many frames as it foretells.
    run: the configuration of the run that is evaluated.

  Raises UserError for one that foretells nothing, or frames of another shape.
  """
  found: dict[str, np.ndarray] = {}
  for folder in folders_of(folders):
    config = run_dir.read_config(folder)
    other = representations.create(config, folder, "trained", "best")
    element = other.reads[other.input]
    if other.method is None or other.method.forecast is None:
      raise UserError(f"config.forecast.beside: {folder} is of {config.method}, which foretells nothing")
    if element.shape[1:] != made.given.shape[2:]:
      raise UserError(
        f"config.forecast.beside: {folder} reads frames of {element.shape[1:]}, and the run's are of"
        f" {made.given.shape[2:]}"
      )
    name = os.path.basename(folder)
    if name in found or name in NAMES:
      raise UserError(f"config.forecast.beside={folders}: two rows of the table would be called {name}")
    low, high = element.range or (0.0, 1.0)
    given = low + (high - low) * made.given
    foretold = _foretell(other, given, made.foretold.shape[1], run.train.batch_size)
    found[name] = _unit(foretold, element)
  return found


def _foretell(
  representation: Representation, given: Float[np.ndarray, "N P S S C"], frames: int, batch: int
) -> Float[np.ndarray, "N F S S C"]:
  """The method's forecasts, in its own range, for so many clips at a time."""
  forecast = jax.jit(representation.method.forecast, static_argnums=2)
  parts = [
    jax.device_get(forecast(representation.variables, given[start : start + batch], frames))
    for start in range(0, len(given), batch)
  ]
  return np.concatenate(parts)


def _unit(values: Float[np.ndarray, "N T S S C"], element: Element) -> Float[np.ndarray, "N T S S C"]:
  low, high = element.range or (0.0, 1.0)
  return np.clip((values - low) / (high - low), 0, 1)


def _read(
  run: ConfigDict, representation: Representation, split: str, frames: int, count: int
) -> Float[np.ndarray, "N T S S C"]:
  """The first clips of a split, of `frames` frames where the source gives any number, else of the run's."""
  key, element = representation.input, representation.reads[representation.input]
  run = ConfigDict(run.to_dict())
  if registry.find(run.data.name).any_length:
    run.data.frames = frames
    element = element._replace(shape=(frames, *element.shape[1:]))
  clips: list[np.ndarray] = []
  for batch in batches.of_split(run, {key: element}, split, ()):
    clips.append(np.asarray(batch[key])[np.asarray(batch["_mask"]) > 0])
    if sum(map(len, clips)) >= count:
      break
  return np.concatenate(clips)[:count]


def guesses(given: Float[np.ndarray, "N P S S C"], frames: int) -> dict[str, np.ndarray]:
  """Forecasts that need no model: the last given frame, and the mean of all given ones, for ever."""
  constant = {LAST: given[:, -1:], MEAN: given.mean(axis=1, keepdims=True)}
  return {name: np.repeat(frame, frames, axis=1) for name, frame in constant.items()}


def media(forecast: Forecast, others: Mapping[str, np.ndarray] = MappingProxyType({})) -> tuple[Media, ...]:
  """A film strip of the first clips, forecast beside truth with the numbers of the frames; and a GIF.

  `others` are foretold by other runs, by their names.
  """
  shown, frames = min(SHOWN, len(forecast.given)), forecast.foretold.shape[1]
  steps = np.unique(np.linspace(0, frames - 1, STRIP).round().astype(int)).tolist()
  rows: dict[str, Any] = {}
  for i in range(shown):
    rows[f"truth {i + 1}"] = forecast.truth[i]
    rows[f"forecast {i + 1}"] = forecast.foretold[i]
    rows |= {f"{name} {i + 1}": foretold[i] for name, foretold in others.items()}
  past = forecast.given.shape[1]
  title = f"{past} frames are given; the numbers count from the first one that is foretold"
  strip = style.png(pictures.film_strip(rows, steps, title))
  whole: Mapping[str, np.ndarray] = {
    TRUTH: np.concatenate([forecast.given, forecast.truth], axis=1)[:shown],
    FORECAST: np.concatenate([forecast.given, forecast.foretold], axis=1)[:shown],
    **{
      name: np.concatenate([forecast.given, foretold], axis=1)[:shown] for name, foretold in others.items()
    },
  }
  captions = [f"given {t + 1}" for t in range(past)] + [f"+{t + 1}" for t in range(frames)]
  moving = pictures.gif(pictures.animation(whole, captions))
  return (
    Media("strip.png", "forecast beside truth; the numbers count the frames that are foretold", strip),
    Media("clips.gif", f"from above: {', '.join(whole)}, after the given frames", moving),
  )
