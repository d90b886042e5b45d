"""Several sets of grey pictures as one, with fixed shares of every batch: inverse graphics' published mix.

A quarter of a batch is of MNIST, a quarter of Fashion-MNIST, and a half of pictures in folders and zips.
`label/set` says where a picture is from; other labels are left behind.
"""

import os

import numpy as np

from pdr_jax.data import dataset, digits, image_folder, stores
from pdr_jax.data.dataset import Dataset, Source
from pdr_jax.data.joined import LABEL, join
from pdr_jax.elements import Element
from pdr_jax.errors import UserError

IDX = {"mnist": 1, "fashion_mnist": 1}  # parts of a batch
PICTURES, PARTS = "pictures", 2
LAYOUT = "a folder with mnist/, fashion_mnist/ (idx files) and pictures/ (images, in folders or zips)"


def read(config) -> Dataset:
  """The mix of what lies in the folder. Raises UserError."""
  data = config.data
  root = os.path.expanduser(data.path)
  folders = {name: os.path.join(root, name) for name in (*IDX, PICTURES)}
  missing = [name for name, folder in folders.items() if not os.path.isdir(folder)]
  if missing:
    raise UserError(f"data.path={data.path} has no {missing[0]}/; {data.name}: name {LAYOUT}")
  if data.channels != 1:
    raise UserError(f"data.channels={data.channels}: data.name={data.name} has grey pictures and needs 1")
  train, validation = [], []
  for name in IDX:
    parts = digits.of_folder(folders[name], data.side)
    for splits, part in ((train, "train"), (validation, "validation")):
      most = data.train_examples if part == "train" else data.val_examples
      images = parts[part].images[: most or None][..., None]
      splits.append(dataset.memory_split({"image": np.ascontiguousarray(images)}))
  files = [path for name in IDX for path in digits.files(folders[name])]
  copy = config.copy_and_resolve_references()
  copy.data.path = folders[PICTURES]
  pictures = image_folder.open_image_folder(copy)
  train.append(pictures.train)
  validation.append(pictures.validation)
  return Dataset(
    name=data.name,
    train=join(train, ["image"], (*IDX.values(), PARTS)),
    validation=join(validation, ["image"]),
    elements={"image": pictures.elements["image"], LABEL: Element((), "int32", "label")},
    classes={LABEL: (*IDX, PICTURES)},
    skipped=pictures.skipped,
    report=pictures.report,
    fingerprint=pictures.fingerprint + stores.fingerprint_of(files),
  )


SOURCE = Source(
  about="MNIST, Fashion-MNIST and pictures, in fixed shares", open=read, path=LAYOUT, crops=True
)
