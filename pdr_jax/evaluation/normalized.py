"""Normalised pictures as feature blocks, beside those of the encoder.

They are what a method's `normalize` gives as `completed`: `normalized` are its principal components on the
training split, at the size of the encoder's features, `normalized_full` are whole pictures.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from pdr_jax.evaluation.batches import of_split
from pdr_jax.evaluation.features import NORMALIZED, NORMALIZED_FULL
from pdr_jax.evaluation.representations import Encode, Representation, feature_count, principal_components
from pdr_jax.training import step as steps


def blocks_of(
    representation: Representation,
    run: ConfigDict,
    *,
    components: int,
    full: bool,
    say: Callable[[str], None],
) -> Encode:
  """The encoder with the block of normalised pictures added; the encoder itself where there are none.

  Args:
    representation: of a run or an export.
    run: its configuration, with the data whose training split the principal components are of.
    components: how many of them; 0: as many as the encoder's features have numbers.
    full: whether the whole pictures are a block too.
    say: takes a line for the user.
  """
  if not has_pictures(representation):
    return representation.encode
  say("normalised pictures: principal components of the training split")
  of_encoder = feature_count(representation.method, representation.variables, representation.reads)
  pictures = partial(_pictures, representation)
  reduce = principal_components(of_train(pictures, representation, run), components or of_encoder, "picture")

  def encode(inputs: Array) -> dict[str, Array]:
    flat = pictures(inputs)
    whole = {NORMALIZED_FULL: flat} if full else {}
    return {**representation.encode(inputs), NORMALIZED: reduce(flat)["pca"], **whole}

  return encode


def has_pictures(representation: Representation) -> bool:
  """Whether the method can normalise its inputs."""
  return representation.method is not None and representation.method.normalize is not None


def _pictures(representation: Representation, inputs: Array) -> Float[Array, "B _"]:
  maps = representation.method.normalize(representation.variables, inputs)
  return maps["completed"].reshape(inputs.shape[0], -1)


def of_train(
  flat: Callable[[Array], Float[Array, "B _"]], representation: Representation, run: ConfigDict
) -> Iterator[Mapping[str, np.ndarray]]:
  """What `flat` makes of the training split's inputs, as `principal_components` reads it: `picture`."""
  compute = steps.mapped(flat)
  for batch in of_split(run, representation.reads, "train", ()):
    yield {"picture": np.asarray(compute(np.asarray(batch[representation.input]))), "_mask": batch["_mask"]}
