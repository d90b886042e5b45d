"""What each step of normalising a picture is worth: linear probes on pictures with one step left out.

All are read as equally many principal components of the training split. Where the data has splits beyond the
training range of light or view, the same probes are tested on them.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from pdr_jax import methods
from pdr_jax.data import pipeline
from pdr_jax.evaluation import batches, extract, normalized
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.records import Result, Score
from pdr_jax.evaluation.representations import feature_count, principal_components
from pdr_jax.evaluation.task import ATTRIBUTES, Context, Job, Task, attributes, classes
from pdr_jax.evaluation.tasks import linear
from pdr_jax.methods import Camera
from pdr_jax.render import camera as cameras
from pdr_jax.render import reproject, unwrap

INSIDE = "inside"  # the test split, within the training range of light and view
SOLVER = "logistic"
Parts = Mapping[str, Array]


def pixels(image: Array, parts: Parts, camera: Camera) -> Array:
  """The picture as it is."""
  return image


def pose_left_in(image: Array, parts: Parts, camera: Camera) -> Array:
  """The picture where it is, divided by its shading where a surface is seen."""
  grey = parts["shading"].ndim == 3
  shading = parts["shading"][..., None] if grey else parts["shading"]
  lens = cameras.pinhole(image.shape[1], camera.fov)
  at_view = reproject.warp_to_view(shading, parts["depth_at_view"], parts["view"], lens)
  at_view = jnp.where(parts["mask"][..., None] > 0, at_view, 1.0)
  return unwrap.reflectance(image, at_view[..., 0] if grey else at_view)


def light_left_in(image: Array, parts: Parts, camera: Camera) -> Array:
  """The picture in canonical pose and in its own light, both halves averaged."""
  maps = _unwrapped(image, parts, camera, average=True)
  return unwrap.complete(maps.texture / 2 + 0.5, maps.visibility, parts["canonical"])


def mirror_where_unseen(image: Array, parts: Parts, camera: Camera) -> Array:
  """The picture in canonical pose and without light, completed where it shows nothing."""
  return _unwrapped(image, parts, camera, average=False).completed


def both_halves(image: Array, parts: Parts, camera: Camera) -> Array:
  """The same with both halves averaged everywhere."""
  return _unwrapped(image, parts, camera, average=True).completed


VARIANTS = (pixels, pose_left_in, light_left_in, mirror_where_unseen, both_halves)


def _unwrapped(image: Array, parts: Parts, camera: Camera, average: bool) -> unwrap.Normalized:
  return unwrap.normalize_decomposed(image, parts, **camera._asdict(), average=average)


def ablation(context: Context, labels: list[str], title: str) -> Result:
  """Probes for one label of several classes, or for attributes; scores are `SPLIT/METRIC` by variant."""
  scores: list[Score] = []
  for variant in VARIANTS:
    name = variant.__name__
    context.say(f"  {name}")
    train, tests = _features(context, variant)
    for split, test in tests.items():
      options = {"seeds": context.seeds, "solvers": [SOLVER]}
      if title == ATTRIBUTES:
        result = linear.multi_label(train, test, labels, **options)
      else:
        result = linear.multi_class(train, test, title, **options)
      scores += [
        score._replace(
          task="normalization", metric=f"{split}/{score.metric.rpartition('/')[2]}", headline="", outcomes=""
        )
        for score in result.scores if score.block == name
      ]
  protocol = {
    "description": f"pictures with steps of normalising left out, {train.blocks[name].shape[1]} components",
    "labels": labels,
    "train": len(train.blocks[name]),
    "test": {split: len(test.blocks[name]) for split, test in tests.items()},
    "seeds": list(context.seeds),
    "solver": SOLVER,
  }
  return Result(f"normalization/{title}", protocol, tuple(scores))


def _features(context: Context, variant: Callable) -> tuple[Features, dict[str, Features]]:
  """Of one variant: those of train, and those of the test split and the splits outside, by name."""
  representation, run = context.representation, context.run
  camera = methods.describe(run.method).camera(run)

  def flat(inputs: Array) -> Float[Array, "B _"]:
    parts = representation.method.decompose(representation.variables, inputs)
    return variant(inputs, parts, camera).reshape(inputs.shape[0], -1)

  count = context.config.components or feature_count(
    representation.method, representation.variables, representation.reads
  )
  reduce = principal_components(normalized.of_train(flat, representation, run), count, "picture")

  def encode(inputs: Array) -> dict[str, Array]:
    return {variant.__name__: reduce(flat(inputs))["pca"]}

  def read(split: str) -> Features:
    data, known = batches.of_split(run, representation.reads, split), pipeline.describe(run).classes
    return extract.extract(encode, data, known, representation.input)

  tests = {INSIDE: context.test_split} | {name.removeprefix("test_"): name for name in context.outside}
  return read("train"), {title: read(split) for title, split in tests.items()}


def jobs(context: Context) -> Iterator[Job]:
  """One for each label of several classes and one for all attributes, where the method has a scene."""
  method = context.representation.method
  if method is None or method.normalize is None or method.decompose is None:
    return
  for name in classes(context):
    yield f"normalization/{name}", partial(ablation, context, [name], name)
  if attributes(context):
    yield f"normalization/{ATTRIBUTES}", partial(ablation, context, attributes(context), ATTRIBUTES)


TASK = Task(jobs, order=65, by_default=False)
