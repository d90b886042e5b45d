"""Clips from single frames:

which files are a clip, which clips are kept apart, and frames of a data set as clips.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int, Shaped

from pdr_jax.data import splits
from pdr_jax.data.dataset import Arrays, Dataset, Split, elements_of
from pdr_jax.elements import Element
from pdr_jax.errors import UserError

SEQUENCE, FRAME, PERSON = "sequence", "frame", "person"  # columns of labels.csv
# Keys that have a value for each frame; labels, the light and a shape's weights have one for the clip.
PER_FRAME = ("image", "albedo", "depth", "mask", "normal", "segmentation", "view")


# ---------------------------------------------------------------------------- frames of a data set
class _ClipSplit:
  """`Split.load` of clips, from a split whose examples are frames: `frames` in a row are one clip."""

  def __init__(self, load, frames: int, per_frame: Collection[str]):
    self._load, self._frames, self._per_frame = load, frames, per_frame

  def __call__(self, indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    wanted = {"image" if key == "clip" else key for key in keys if key != "image"}
    first, several = wanted - set(self._per_frame), wanted & set(self._per_frame)
    starts = indices * self._frames
    clips = {}
    if several:
      rows = (starts[:, None] + np.arange(self._frames)).reshape(-1)
      loaded = self._load(rows, several)
      clips = {
        key: array.reshape(len(indices), self._frames, *array.shape[1:]) for key, array in loaded.items()
      }
    if first:
      clips |= self._load(starts, first)
    return {"clip" if key == "image" else key: array for key, array in clips.items()}


def of_frames(data: Dataset, frames: int, per_frame: Collection[str] = ()) -> Dataset:
  """A data set of frames as one of clips: in every split, `frames` examples in a row are one clip.

  `image` becomes `clip` [T, S, S, C]; truth of pixels and `view` get the axis T. All else, labels too, is
  that of the first frame, except for the keys in `per_frame`, which get the axis T as well.
  """
  per_frame = {*PER_FRAME, *per_frame}

  def of_split(split: Split) -> Split:
    return Split(split.size // frames, _ClipSplit(split.load, frames, per_frame), split.in_memory)

  def of_element(key: str, element: Element) -> Element:
    shape = (frames, *element.shape) if key in per_frame else element.shape
    return element._replace(shape=shape, meaning="clip" if key == "image" else element.meaning)

  return data._replace(
    train=of_split(data.train),
    validation=of_split(data.validation),
    elements={"clip" if key == "image" else key: of_element(key, e) for key, e in data.elements.items()},
    tests={name: of_split(split) for name, split in data.tests.items()},
  )
