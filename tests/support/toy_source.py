"""A data source in one file, for tests: `data.name=support.toy_source`.

A bright square lies in one of four quadrants of dark noise; which one is the class. In a clip it drifts to
the right. Side, channels and frames are those of the configuration; the sizes are `data.train_examples` (0:
64) and `data.val_examples` (0: 16).
"""

import numpy as np

from pdr_jax.data import dataset
from pdr_jax.rules import at_least

OPTIONS = {"light": dataset.Option(180, at_least(1), "brightness of the squares above the noise, to 195")}
KINDS = ("top_left", "top_right", "bottom_left", "bottom_right")


def draw(data, count: int, stream: int) -> dict[str, np.ndarray]:
  """So many pictures or clips, uint8, and their classes."""
  rng = np.random.default_rng([data.scene_seed, stream])
  kind = rng.integers(len(KINDS), size=count, dtype=np.int32)
  light = dataset.options_of(data, OPTIONS)["light"]
  half, width = data.side // 2, max(2, data.side // 5)
  place = rng.integers(0, half - width + 1, (2, count))
  frames = max(1, data.frames)
  clips = rng.integers(0, 60, (count, frames, data.side, data.side, data.channels), dtype=np.uint8)
  for i, t in np.ndindex(count, frames):
    row = place[0, i] + half * (kind[i] // 2)
    column = (place[1, i] + t) % (half - width + 1) + half * (kind[i] % 2)
    clips[i, t, row : row + width, column : column + width] += light
  key = dataset.input_key(data)
  return {key: clips if data.frames else clips[:, 0], "label/kind": kind}


def read(config) -> dataset.Dataset:
  """The set, in memory."""
  data = config.data
  train, validation = draw(data, data.train_examples or 64, 0), draw(data, data.val_examples or 16, 1)
  return dataset.Dataset(
    name="toy",
    train=dataset.memory_split(train),
    validation=dataset.memory_split(validation),
    elements=dataset.elements_of(train),
    classes={"label/kind": KINDS},
    skipped=[],
  )


SOURCE = dataset.Source(
  about="squares in noise", open=read, clips=True, licence="drawn by a test", options=OPTIONS
)
