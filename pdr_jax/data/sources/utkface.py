"""UTKFace: faces with age, gender and race in their file names."""

import os
import re

import numpy as np

from pdr_jax.data import folder_sets, image_folder


def read(path: str) -> folder_sets.Layout:
  """`AGE_GENDER_RACE_DATE.jpg`; a handful of names lacks a number, and is left out.

  Archives may hold the set in several folders; of one name the first is read, so that no picture is in two
  splits.
  """
  pattern = re.compile(r"(\d+)_([01])_([0-4])_")
  store = folder_sets.Some(
    image_folder.open_store(path), lambda name: bool(pattern.match(os.path.basename(name)))
  )
  first: dict[str, str] = {}
  for name in store.names:
    first.setdefault(os.path.basename(name), name)
  store = folder_sets.Some(store, set(first.values()).__contains__, "copies of the same file name")
  numbers = [[int(part) for part in pattern.match(os.path.basename(name)).groups()] for name in store.names]
  ages, genders, races = np.array(numbers).reshape(-1, 3).T
  columns = {
    "gender": folder_sets.classes_of(genders, ("male", "female")),
    "race": folder_sets.classes_of(races, ("White", "Black", "Asian", "Indian", "Others")),
    "age": folder_sets.numbers_of(ages),
  }
  return folder_sets.Layout(store, columns)


SOURCE = folder_sets.source(
  "faces of UTKFace with age, gender and race",
  read,
  "a folder or zip of its files AGE_GENDER_RACE_DATE.jpg",
)
