"""Features whose downstream scores are known.

They are classes in separate clumps, or nothing but noise, or constant.
"""

import numpy as np

from pdr_jax.evaluation.features import Features

KINDS = ("perfect", "shuffled", "constant")


def clumps(kind: str, labels: np.ndarray, seed: int = 0, **more: np.ndarray) -> Features:
  """Blocks depth [N, 6] and light [N, 3] of the classes in `labels`.

  "shuffled" has the clumps of other examples' classes, "constant" has none.
  """
  random = np.random.default_rng(seed)
  of = random.permutation(labels) if kind == "shuffled" else labels
  centres = np.random.default_rng(9).normal(size=(labels.max() + 1, 9)) * 4  # the same in every split
  block = centres[of] + 0.2 * random.normal(size=(len(labels), 9))
  block = (np.ones_like(block) if kind == "constant" else block).astype(np.float32)
  labels = {"who": labels.astype(np.int32), **more}
  return Features({"depth": block[:, :6], "light": block[:, 6:]}, labels, {})


def one_block(features: Features) -> Features:
  """The same without light, where one subset is enough."""
  return features._replace(blocks={"depth": features.blocks["depth"]})
