"""The tasks of an evaluation by name: each makes a few named jobs of the labels and truth that its data has."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from pdr_jax.errors import UserError
from pdr_jax.evaluation import clustering, factors, few_shot, finetune, identification, linear, robustness, segmentation, true_depth
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.sources import Source

Job = tuple[str, Callable[[], dict]]


class Context(NamedTuple):
  """What a job may read. `run` is the configuration of the encoders, with the evaluation's data; `test_split` the name of `test`;
  `outside` gives the features of the splits beyond the training range (`test_light`, `test_view`), as far as the data has them."""
  config: ConfigDict
  run: ConfigDict
  source: Source
  train: Features
  test: Features
  test_split: str
  outside: dict[str, Callable[[], Features]]
  say: Callable[[str], None]

  @property
  def seeds(self) -> range:
    """Of the probes."""
    return range(self.config.seeds)

  def labels(self, binary: bool) -> list[str]:
    """The labels that are asked for: attributes (0 or 1), or those of several classes without the identity. Unknown ones are attributes.

    Without any in the configuration all are, but for attributes that train has fewer than twice (`bald`, in a small set).
    """
    everything = [name for name, values in self.train.labels.items() if np.issubdtype(values.dtype, np.integer)]
    named = list(self.config.labels) or [name for name in everything if not _rare(self.train.labels[name])]
    values = {name: np.unique(self.train.labels[name]) if name in self.train.labels else np.arange(2) for name in named}
    return [name for name in named if name != self.config.identity and (set(values[name]) <= {-1, 0, 1}) == binary]


def _rare(values: np.ndarray) -> bool:
  """Whether they are those of an attribute with a single example of its rarer value, or none."""
  return values.max(initial=-1) <= 1 and min(np.sum(values == 0), np.sum(values == 1)) < 2


def _linear(context: Context) -> Iterator[Job]:
  train, test = context.train, context.test
  for name in context.labels(binary=False):
    yield f"linear/{name}", lambda name=name: linear.multi_class(train, test, name, seeds=context.seeds)
  if context.labels(binary=True):
    yield "linear/attributes", lambda: linear.multi_label(train, test, context.labels(binary=True), seeds=context.seeds)


def _few_shot(context: Context) -> Iterator[Job]:
  for name in context.labels(binary=False):
    yield f"few_shot/{name}", lambda name=name: few_shot.few_shot(context.train, context.test, name, draws=context.seeds)


def _clustering(context: Context) -> Iterator[Job]:
  for name in context.labels(binary=False):
    yield f"clustering/{name}", lambda name=name: clustering.clustering(context.test, name, seeds=context.seeds)


def _identification(context: Context) -> Iterator[Job]:
  train, test, who = context.train, context.test, context.config.identity
  if who in train.labels:
    yield "identification/closed_set", lambda: identification.closed_set(train, test, who, seeds=context.seeds)
    yield "identification/verification", lambda: identification.verification(train, test, who, seeds=context.seeds)


def _factors(context: Context) -> Iterator[Job]:
  if factors.groups(context.train):
    yield "factors", lambda: factors.factors(context.train, context.test)


def _robustness(context: Context) -> Iterator[Job]:
  settings, seeds, identity = context.config.robustness, context.seeds, context.config.identity
  attributes, classes = context.labels(binary=True), context.labels(binary=False)

  def job(kind: str) -> dict:
    outside = context.outside[f"test_{kind}"]()
    if f"{kind}_outside" not in outside.labels:
      raise UserError(f"the split test_{kind} does not say by how many degrees it is outside (label {kind}_outside)")
    return robustness.robustness(context.train, context.test, outside, outside.labels[f"{kind}_outside"], attributes=attributes,
                                 classes=classes, width=settings.width, seeds=seeds)

  if context.config.light_angles:
    also = [identity] if identity in context.train.labels else []  # one person's pictures are on both sides of the limit
    yield "robustness/light", lambda: robustness.robustness(
        *robustness.by_light_angle(context.train, context.test, settings.inside), attributes=attributes, classes=[*classes, *also],
        width=settings.width, seeds=seeds)
  else:
    yield from ((f"robustness/{kind}", lambda kind=kind: job(kind)) for kind in ("light", "view") if f"test_{kind}" in context.outside)


def _geometry(context: Context) -> Iterator[Job]:
  if context.source.trained:
    yield "geometry", lambda: true_depth.true_depth(context.run, context.source, context.test_split, context.config.geometry, context.say)


def _segmentation(context: Context) -> Iterator[Job]:
  if context.source.params is not None:
    yield "segmentation", lambda: segmentation.segmentation(
        context.run, context.source, context.test_split, context.config.segmentation, seeds=context.seeds, say=context.say)


def _finetune(context: Context) -> Iterator[Job]:
  if context.source.params is None:
    return

  def job(labels: list[str]) -> dict:
    return finetune.finetune(context.run, context.source, context.train, context.test, context.test_split, labels, context.config.finetune,
                             seeds=context.seeds, say=context.say)

  yield from ((f"finetune/{name}", lambda name=name: job([name])) for name in context.labels(binary=False))
  if context.labels(binary=True):
    yield "finetune/attributes", lambda: job(context.labels(binary=True))


TASKS = {"linear": _linear, "few_shot": _few_shot, "clustering": _clustering, "identification": _identification, "factors": _factors,
         "robustness": _robustness, "geometry": _geometry, "segmentation": _segmentation, "finetune": _finetune}
