"""Stanford Cars: photographs with the model and the body of the car."""

import os

import numpy as np

from pdr_jax.data import folder_sets, image_folder

BODIES = ("Sedan", "SUV", "Coupe", "Convertible", "Hatchback", "Wagon", "Van", "Pickup")


def read(path: str) -> folder_sets.Layout:
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
  bodies = [body_of(title) for title in titles]
  kinds = tuple(sorted(set(bodies)))
  cars = [number["/".join(name.split("/")[-2:])] for name in store.names]
  return folder_sets.Layout(
    store,
    {
      "car": folder_sets.classes_of(cars, titles),
      "body": folder_sets.classes_of([kinds.index(bodies[car]) for car in cars], kinds),
    },
    [name.split("/")[-2].removeprefix("cars_") for name in store.names],
  )


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
  "cars_test_annos_withlabels.mat",
)
