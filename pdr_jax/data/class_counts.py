"""How many classes the labels of a data set have, for methods that learn them."""

import numpy as np
from ml_collections import ConfigDict

from pdr_jax.data import pipeline


def of(config: ConfigDict) -> dict[str, int]:
  """How many classes each label of single examples has, by its name; 0 for numbers.

  As many as it names, or as its largest value in the training split needs.
  """
  data = pipeline.open_dataset(config)
  labels = {
    key.removeprefix("label/"): element
    for key, element in data.elements.items()
    if key.startswith("label/") and not element.shape
  }
  whole = [name for name, element in labels.items() if np.issubdtype(element.dtype, np.integer)]
  counts = {name: len(data.classes.get(f"label/{name}", ())) if name in whole else 0 for name in labels}
  unnamed = [name for name in whole if not counts[name]]
  if unnamed:
    keys = [f"{kind}/{name}" for name in unnamed for kind in ("label", "missing")]
    values = data.train.load(np.arange(data.train.size), keys)
    for name in unnamed:
      known = ~values.get(f"missing/{name}", np.zeros(data.train.size, bool))
      counts[name] = int(values[f"label/{name}"][known].max(initial=-1)) + 1
  return counts
