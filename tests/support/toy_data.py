"""Random data of any elements, for whole runs of any method: every batch depends on its number only."""

import jax
import numpy as np
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.elements import ElementSpec
from pdr_jax.training.loop import Data


def batch(spec: ElementSpec, count: int, seed: int) -> dict[str, np.ndarray]:
  """Uniform over the range of each element, (-1, 1) without one."""
  rng = np.random.default_rng([7, seed])
  values = {}
  for key, element in spec.items():
    low, high = element.range or (-1.0, 1.0)
    values[key] = rng.uniform(low, high, (count, *element.shape)).astype(element.dtype)
  return values


class Stream:
  """Endless batches with a position, as the pipeline's iterator: this process's part of each."""

  def __init__(self, spec: ElementSpec, batch_size: int):
    self._spec, self._size, self._next = spec, batch_size, 0

  def __next__(self) -> dict[str, np.ndarray]:
    self._next += 1
    return part(batch(self._spec, self._size, seed=self._next))

  def get_state(self) -> dict[str, int]:
    return {"batch": self._next}

  def set_state(self, state: dict[str, int]) -> None:
    self._next = int(state["batch"])

  def close(self) -> None:
    """Nothing is open."""


def part(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  count = len(next(iter(values.values()))) // jax.process_count()
  start = jax.process_index() * count
  return {key: value[start : start + count] for key, value in values.items()}


def data(config: ConfigDict, stream: type[Stream] = Stream) -> Data:
  """What the method reads. Validation: one batch and a half, so the second one is half padding."""
  spec, size = methods.describe(config.method).reads(config), config.train.batch_size
  masks = [np.ones(size, np.float32), (np.arange(size) < size // 2).astype(np.float32)]
  validation = [part(batch(spec, size, 10**6 + i) | {"_mask": mask}) for i, mask in enumerate(masks)]
  return Data(stream(spec, size), validation, "random data", spec)
