"""What is evaluated: the encoders of a run or of an export, or what nothing is trained for in their place."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jaxtyping import Array, Float
from ml_collections import ConfigDict

from pdr_jax import elements, methods
from pdr_jax.elements import ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.evaluation.batches import of_split
from pdr_jax.evaluation.probes.descent import run_once
from pdr_jax.exports import first_stage
from pdr_jax.files import absolute
from pdr_jax.methods import FIRST, MODEL_STATE, Method
from pdr_jax.training import checkpoints, run_dir, stages

Encode = Callable[[Array], dict[str, Array]]  # pictures or clips [B, ...] to blocks [B, ...]


class Representation(NamedTuple):
  """Where features come from.

  Attributes:
    name: trained, export, or one of `UNTRAINED`.
    encode: a pure function, what is under `input` in a batch to `{block: features}`.
    reads: the batch key that it takes, `image` or `clip`, with its element.
    method: with its capabilities; None where there is no network.
    variables: of the method's inference, host arrays; None where there is no network.
    fresh: `random key -> variables` as training would start with, those of a first stage included; None where
      there is no network.
    step: of the checkpoint.
  """

  name: str
  encode: Encode
  reads: ElementSpec
  method: Method | None = None
  variables: dict | None = None
  fresh: Callable[[Array], dict] | None = None
  step: int | None = None

  @property
  def input(self) -> str:
    """The batch key that it takes."""
    return next(iter(self.reads))

  @property
  def trained(self) -> bool:
    """Whether data has taught the networks something."""
    return self.variables is not None and self.name not in UNTRAINED


class Model(NamedTuple):
  """A method of a run without its parameters; see `Representation`.

  `expected` are the shapes of its variables.
  """

  method: Method
  reads: ElementSpec
  fresh: Callable[[Array], dict]
  expected: dict


class Untrained(NamedTuple):
  """A representation that nothing is trained for.

  Attributes:
    create: `(the run's configuration, its folder, number of principal components) -> Representation`.
    seeded: whether it depends on the run's seed; otherwise it is the same for every one.
  """

  create: Callable[[ConfigDict, str, int], Representation]
  seeded: bool


def names() -> tuple[str, ...]:
  """What `--method` of an evaluation may name."""
  return ("trained", *UNTRAINED)


def create(
    run: ConfigDict, workdir: str, name: str, checkpoint: str, components: int = 0
) -> Representation:
  """The representation `name` for the run in `workdir`.

  `run` is its resolved configuration, which may name other data. `checkpoint` is best, latest or a step.
  `components` are those of `pca`; 0: as many as the method's features have numbers.
  Raises `UserError`: no such checkpoint, or one that is not of the configuration's method.
  """
  if name in UNTRAINED:
    return UNTRAINED[name].create(run, workdir, components)
  if checkpoint not in ("best", "latest") and not checkpoint.isdecimal():
    raise UserError(f"config.checkpoint = {checkpoint}: must be best, latest, or a step such as 1000")
  variables, step = checkpoints.load_variables(workdir, checkpoint)
  built = model(run, workdir, run_dir.read_reads(workdir, run), _first_in(variables))
  return _of_model("trained", built, variables, step)


def of_export(run: ConfigDict, folder: str) -> Representation:
  """The model that `pdr_jax.export` wrote to `folder`.

  Raises `UserError` where it is damaged or not as configured.
  """
  from pdr_jax.exports import reader  # the package of exports is not needed otherwise

  variables, manifest = reader.load_variables(folder), reader.read_manifest(folder)
  asked, element = methods.describe(run.method).reads(run), reader.element_of(manifest)
  key = methods.describe(run.method).input
  elements.check({key: element}, {key: asked[key]}, f"the export in {folder}")
  built = model(run, folder, {**asked, key: element}, _first_in(variables))
  return _of_model("export", built, variables, manifest.get("step"))


def model(run: ConfigDict, folder: str, spec: ElementSpec, first: dict | None = None) -> Model:
  """The method of a run or an export in `folder`, with what is needed to make its variables.

  Args:
    run: the resolved configuration.
    folder: of the run or export.
    spec: the batch keys that its method reads, as they were recorded.
    first: of a second stage: the variables of the first, which fresh ones start with; zeros without.
  """
  description, method = methods.describe(run.method), stages.method_of(run, folder)
  example = elements.zeros(spec, 1)

  def fresh(rng: Array) -> dict:
    variables = methods.inference_variables(method.init(rng, example))
    if first is None:
      return variables
    return variables | {MODEL_STATE: variables[MODEL_STATE] | {FIRST: first}}

  expected = jax.eval_shape(fresh, jax.random.key(run.seed))
  return Model(method, {description.input: spec[description.input]}, fresh, expected)


def parameters_of(representation: Representation, run: ConfigDict) -> dict[str, Any]:
  """What tells these features from others of the same data: the parameters, and who reads them how."""
  version = methods.describe(run.method).version if representation.method is not None else 1
  read_otherwise = {"version": version} if version > 1 else {}
  return {"variables": representation.variables or {}, **read_otherwise}


def _of_model(name: str, built: Model, variables: dict, step: int | None) -> Representation:
  checkpoints.check_variables(variables, built.expected)
  encode = partial(built.method.encode, variables)
  return Representation(name, encode, built.reads, built.method, variables, built.fresh, step)


def _first_in(variables: dict) -> dict | None:
  """The first stage's variables among those of a second stage."""
  return variables.get(MODEL_STATE, {}).get(FIRST)


# ---------------------------------------------------------------- what nothing was trained for


def _random(run: ConfigDict, folder: str, components: int = 0) -> Representation:
  """The method's networks as training starts with them."""
  built = model(run, folder, run_dir.read_reads(folder, run), _first_of(run, folder))
  variables = jax.device_get(run_once(built.fresh, jax.random.key(run.seed)))
  return _of_model("random", built, variables, 0)


def _first_of(run: ConfigDict, folder: str) -> dict | None:
  """The variables of the first stage of a run: those in its checkpoint, or else in what it starts from."""
  if not methods.describe(run.method).stage:
    return None
  if epath.Path(folder, checkpoints.FOLDER).is_dir():
    variables, _ = checkpoints.load_variables(folder, "latest")
    return _first_in(variables)
  _, variables = first_stage.read(absolute(run.init_from))
  return variables


def _pixels(run: ConfigDict, folder: str, components: int = 0) -> Representation:
  """The pixels themselves as one block."""
  key = methods.describe(run.method).input
  return Representation("pixels", pixels, {key: run_dir.read_reads(folder, run)[key]})


def _pca(run: ConfigDict, folder: str, components: int = 0) -> Representation:
  """Principal components of the training data; 0: as many as the method's features have numbers."""
  built = model(run, folder, run_dir.read_reads(folder, run))
  (key,) = built.reads
  count = components or feature_count(built.method, built.expected, built.reads)
  encode = principal_components(of_split(run, built.reads, "train", ()), count, key)
  return Representation("pca", encode, built.reads)


def feature_count(method: Method, variables: dict, reads: ElementSpec) -> int:
  """How many numbers the feature blocks have together; of `variables` the shapes are enough."""
  (element,) = reads.values()
  example = jax.ShapeDtypeStruct((1, *element.shape), np.dtype(element.dtype))
  return sum(block.size for block in jax.eval_shape(method.encode, variables, example).values())


def pixels(inputs: Float[Array | np.ndarray, "B ..."]) -> dict[str, Float[Array | np.ndarray, "B _"]]:
  """The pixels themselves as one block."""
  return {"pixels": inputs.reshape(inputs.shape[0], -1)}


def principal_components(batches: Iterable[Mapping], count: int, key: str = "image") -> Encode:
  """The `count` principal components of what is under `key`, as one block; fewer where there is less data."""
  from sklearn.decomposition import PCA

  rows = np.concatenate([np.asarray(batch[key])[np.asarray(batch["_mask"]) > 0] for batch in batches])
  rows = rows.reshape(len(rows), -1)
  fitted = PCA(min(count, *rows.shape), svd_solver="randomized", random_state=0).fit(rows)
  mean, axes = fitted.mean_.astype(np.float32), fitted.components_.T.astype(np.float32)

  def encode(inputs: Array | np.ndarray) -> dict[str, Array | np.ndarray]:
    return {"pca": (inputs.reshape(inputs.shape[0], -1) - mean[None]) @ axes}

  return encode


UNTRAINED: Mapping[str, Untrained] = {
    "random": Untrained(_random, seeded=True),
    "pca": Untrained(_pca, seeded=False),
    "pixels": Untrained(_pixels, seeded=False),
}
