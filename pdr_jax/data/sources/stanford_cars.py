"""Stanford Cars: photographs with the model and the body of the car."""

import os
from collections.abc import Sequence

import numpy as np

from pdr_jax.data import folder_sets, image_folder, labels

BODIES = ("Sedan", "SUV", "Coupe", "Convertible", "Hatchback", "Wagon", "Van", "Pickup")


TABLE, NAME = "labels.csv", "class_name"  # of copies that are pictures and a table


def read(path: str) -> folder_sets.Layout:
  """The published layout, or pictures with a table of the classes' names (`Dodge Charger Sedan 2012`)."""
  table = os.path.join(os.path.dirname(path) if os.path.isfile(path) else path, TABLE)
  return read_table(path, table) if os.path.isfile(table) else read_folders(path)


def read_table(path: str, table: str) -> folder_sets.Layout:
  """Reads the pictures in a folder, in its one zip, or in a zip, and the columns `file` and `class_name`."""
  store = image_folder.open_store(path)
  names = [row[NAME] for row in folder_sets.rows_by_file(table, store, (NAME,))]
  titles = tuple(sorted(set(names)))
  return folder_sets.Layout(store, _columns([titles.index(name) for name in names], titles))


def read_folders(path: str) -> folder_sets.Layout:
  """Reads the folders `cars_train` and `cars_test`, and the tables in `devkit`.

  They are `cars_train_annos.mat`, `cars_test_annos_withlabels.mat` and `cars_meta.mat`.
  """
  from scipy.io import loadmat

  store = folder_sets.Some(
    image_folder.open_store(path), lambda name: name.split("/")[-2:-1] in (["cars_train"], ["cars_test"])
  )

  def entries(name: str, key: str) -> np.ndarray:
    return np.atleast_1d(loadmat(os.path.join(path, "devkit", name), squeeze_me=True)[key])

  files = {"train": "cars_train_annos.mat", "test": "cars_test_annos_withlabels.mat"}
  number = {
    f"cars_{split}/{row['fname']}": int(row["class"]) - 1
    for split, file in files.items()
    for row in entries(file, "annotations")
  }
  titles = tuple(map(str, entries("cars_meta.mat", "class_names")))
  cars = [number["/".join(name.split("/")[-2:])] for name in store.names]
  parts = [name.split("/")[-2].removeprefix("cars_") for name in store.names]
  return folder_sets.Layout(store, _columns(cars, titles), parts)


def _columns(cars: Sequence[int], titles: Sequence[str]) -> dict[str, labels.Column]:
  """`car` and `body` of pictures, of which each shows a car by its number."""
  bodies = [body_of(title) for title in titles]
  kinds = tuple(sorted(set(bodies)))
  return {
    "car": folder_sets.classes_of(cars, titles),
    "body": folder_sets.classes_of([kinds.index(bodies[car]) for car in cars], kinds),
  }


def body_of(title: str) -> str:
  """The body in a class's name.

  That is the last word before the year, such as SUV of "Toyota Sequoia SUV 2012"; Other where that is none.
  """
  word = title.split()[-2] if len(title.split()) > 1 else ""
  return {"Cab": "Pickup", "Minivan": "Van"}.get(word, word if word in BODIES else "Other")


SOURCE = folder_sets.source(
  "photographs of Stanford Cars with model and body",
  read,
  "a folder with cars_train/, cars_test/, and devkit/ with cars_train_annos.mat, cars_meta.mat and "
  "cars_test_annos_withlabels.mat; or a folder or zip of pictures beside labels.csv (file, class_name)",
)
