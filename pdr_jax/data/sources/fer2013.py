"""FER2013: grey faces of 48 x 48 with seven emotions."""

import csv
import os
from collections.abc import Mapping

import numpy as np

from pdr_jax.data import folder_sets, image_folder, labels
from pdr_jax.errors import UserError

EMOTIONS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # the numbers of FER2013
TABLES = ("fer2013.csv", "icml_face_data.csv")  # the first one that is there is read
# How copies of the set call the folders of emotions.
_ALSO = {"anger": "angry", "disgusted": "disgust", "fearful": "fear", "happiness": "happy", "sadness": "sad",
         "surprised": "surprise", "suprise": "surprise"}


def read(path: str) -> folder_sets.Layout:
  """A table with the columns emotion, pixels and Usage, whatever the spaces and capitals in its header; or
  folders `Training/happy`, `PublicTest/happy` and `PrivateTest/happy`, or `train/happy` and `test/happy`.
  """
  tables = [path] if path.lower().endswith(".csv") else [os.path.join(path, name) for name in TABLES]
  table = next((table for table in tables if os.path.isfile(table)), None)
  return read_table(table) if table else read_folders(path)


def read_folders(path: str) -> folder_sets.Layout:
  """One folder for each part, and in it one for each emotion, by its name or its number."""
  store = image_folder.open_store(path)
  folders = [name.split("/")[-3:-1] for name in store.names]
  for folder, name in zip(folders, store.names, strict=True):
    if len(folder) < 2 or emotion_of(folder[1]) is None or not labels.part_of(folder[0]):
      raise UserError(f"{os.path.join(path, name)} does not lie in a folder of a part and of an emotion")
  emotions = [emotion_of(folder[1]) for folder in folders]
  columns = {"emotion": folder_sets.classes_of(emotions, EMOTIONS)}
  return folder_sets.Layout(store, columns, [folder[0] for folder in folders])


def emotion_of(word: str) -> int | None:
  """The number of an emotion by its name or its number; None for anything else."""
  word = word.strip().lower()
  if word in map(str, range(len(EMOTIONS))):
    return int(word)
  word = _ALSO.get(word, word)
  return EMOTIONS.index(word) if word in EMOTIONS else None


def read_table(path: str) -> folder_sets.Layout:
  """Pixels, emotions and parts from one table. Raises UserError that names the row."""
  pixels, emotions, words = {}, [], []
  with open(path, newline="", encoding="utf-8-sig") as file:
    for number, row in enumerate(csv.DictReader(file)):
      row = {(key or "").strip().lower(): value for key, value in row.items()}
      missing = [name for name in ("emotion", "pixels") if name not in row]
      if missing:
        raise UserError(f"{path} has no column {missing[0]}: it has {', '.join(row)[:100]}")
      emotions.append(_checked_emotion(row, path, number))
      pixels[f"{number:05d}.pgm"] = _checked_pixels(row, path, number)
      words.append((row.get("usage") or "Training").strip())
      if not labels.part_of(words[-1]):
        raise UserError(f"{path}, example {number + 1}: Usage {words[-1][:30]!r} is no part of FER2013")
  columns = {"emotion": folder_sets.classes_of(emotions, EMOTIONS)}
  return folder_sets.Layout(folder_sets.Pixels(path, pixels), columns, words if len(set(words)) > 1 else None)


def _checked_emotion(row: Mapping[str, str], path: str, number: int) -> int:
  emotion = emotion_of(row["emotion"] or "")
  if emotion is None:
    raise UserError(f"{path}, example {number + 1}: emotion {row['emotion']!r} is none of 0 to 6")
  return emotion


def _checked_pixels(row: Mapping[str, str], path: str, number: int) -> np.ndarray:
  try:
    return np.array(row["pixels"].split(), np.uint8).reshape(48, 48)
  except (AttributeError, ValueError, OverflowError) as error:
    raise UserError(f"{path}, example {number + 1}: no 48 x 48 pixels from 0 to 255") from error


SOURCE = folder_sets.source(
  "grey faces of FER2013 with emotions",
  read,
  "fer2013.csv, icml_face_data.csv or the folder of one, or a folder with train/, validation/, test/ (or "
  "Training/, PublicTest/, PrivateTest/) and in them one for each emotion",
)
