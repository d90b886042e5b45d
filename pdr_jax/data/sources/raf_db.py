"""RAF-DB: aligned faces with seven emotions."""

import os

from pdr_jax.data import folder_sets, image_folder

EMOTIONS = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")  # from 1 in its list


def read(path: str) -> folder_sets.Layout:
  """Reads `Image/aligned/train_00001_aligned.jpg` and `EmoLabel/list_patition_label.txt`.

  A line of the list is `train_00001.jpg 5`.
  """
  path = os.path.join(path, "basic") if os.path.isdir(os.path.join(path, "basic")) else path
  store = image_folder.open_store(os.path.join(path, "Image", "aligned"))
  emotion = {
    name: int(number) - 1
    for name, number in folder_sets.rows_of(os.path.join(path, "EmoLabel", "list_patition_label.txt"))
  }
  numbers = [emotion[name.replace("_aligned", "")] for name in store.names]
  return folder_sets.Layout(
    store,
    {"emotion": folder_sets.classes_of(numbers, EMOTIONS)},
    [name.split("_")[0] for name in store.names],
  )


SOURCE = folder_sets.source(
  "faces of RAF-DB with emotions",
  read,
  "the folder with basic/Image/aligned/ and basic/EmoLabel/list_patition_label.txt",
)
