"""What an array of a batch is: shape, type, meaning and range.

Data sources publish it, runs record it, methods ask for it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from pdr_jax.errors import UserError


class Element(NamedTuple):
  """One key of a batch.

  Attributes:
    shape: of one example, without the batch axis.
    dtype: NumPy's name of the type, such as `float32`.
    meaning: what it is: image, clip, depth, mask, normal, albedo, segmentation, light, view, label ...
    range: the smallest and the largest value, (-1, 1) or (0, 1) for pictures; None where there are no bounds.
  """

  shape: tuple[int, ...]
  dtype: str
  meaning: str = ""
  range: tuple[float, float] | None = None


ElementSpec = Mapping[str, Element]


def to_json(spec: ElementSpec) -> dict[str, dict[str, Any]]:
  """Plain dicts and lists, for `json.dump`."""
  return {
      key: element._asdict()
      | {"shape": list(element.shape), "range": list(element.range) if element.range else None}
      for key, element in spec.items()
  }


def from_json(value: Any) -> dict[str, Element]:
  """The inverse of `to_json`. Raises ValueError for anything else."""
  try:
    return {
        key: Element(
            shape=tuple(int(size) for size in entry["shape"]),
            dtype=np.dtype(entry["dtype"]).name,
            meaning=str(entry["meaning"]),
            range=tuple(float(bound) for bound in entry["range"]) if entry["range"] else None,
        )
        for key, entry in value.items()
    }
  except (AttributeError, KeyError, TypeError, ValueError) as error:
    raise ValueError(f"not a description of elements ({type(error).__name__}: {error})") from error


def check(published: ElementSpec, wanted: ElementSpec, where: str) -> None:
  """Raises `UserError` where a wanted key is missing from what is published, or has another shape or type.

  `where` names the publisher in the message, such as "the data set heads".
  """
  for key, element in wanted.items():
    if key not in published:
      raise UserError(f"{where} has no {key!r}: it has {', '.join(published) or 'nothing'}")
    there = published[key]
    if there.shape != element.shape or there.dtype != element.dtype:
      raise UserError(f"{where} has {key!r} as {describe(there)}, and {describe(element)} is needed")


def describe(element: Element) -> str:
  """`float32 [32, 32, 3]`."""
  return f"{element.dtype} {list(element.shape)}"


def zeros(spec: ElementSpec, batch: int) -> dict[str, np.ndarray]:
  """A batch of zeros, for shapes and for the first look of a network at its input."""
  return {key: np.zeros((batch, *element.shape), element.dtype) for key, element in spec.items()}
