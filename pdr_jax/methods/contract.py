"""What a method is to the rest of the program.

It is a description, a set of pure functions, and the state that they train.
"""

import types
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.struct
from ml_collections import ConfigDict

from pdr_jax.elements import ElementSpec
from pdr_jax.rules import Rule

Tree = Any
MODEL_STATE = "model_state"  # the key of inference variables that is no network
FIRST = "first"  # where the model state of a second stage has the variables of its first


@flax.struct.dataclass
class TrainState:
  """What a run carries from step to step.

  Attributes:
    step: number of updates so far, int32.
    params: `{network: tree}`, what the optimisers change.
    opt_state: `{optimiser: state}`; a method with a single optimiser calls it `main`.
    model_state: what steps change without an optimiser (batch statistics, codebooks), and the frozen
      variables of a first stage as `first`.
    ema: `{network: tree}`, moving averages of any networks; None without.
  """

  step: Any
  params: dict[str, Tree]
  opt_state: dict[str, Tree] = flax.struct.field(default_factory=dict)
  model_state: dict[str, Tree] = flax.struct.field(default_factory=dict)
  ema: dict[str, Tree] | None = None


def inference_variables(state: TrainState) -> dict[str, Tree]:
  """The variables that validation, evaluation and exports use: `{network: tree}`.

  They are moving averages where these exist. `model_state` is one more key where the state has any.
  """
  variables = {**state.params, **(state.ema or {})}
  return variables | ({MODEL_STATE: state.model_state} if state.model_state else {})


class DepthNetwork(NamedTuple):
  """A network of a method's own size that is taught with true depth: the bound of what the method can reach.

  Attributes:
    init: `(random key, inputs) -> params`.
    apply: `(params, inputs) -> depth at the input view [B, S, S]`.
  """

  init: Callable
  apply: Callable


class Camera(NamedTuple):
  """What depth maps are seen by: the field of view in degrees, and the range of canonical depth."""

  fov: float
  near: float
  far: float


class Method(NamedTuple):
  """The functions of a system.

  `variables` are those of `inference_variables`, `inputs` the batch's `Description.input`. Metrics are
  `{name: (sum, count)}`, already summed over `axis_name` (None: one device).

  Attributes:
    init: `(rng, batch) -> state`.
    update: `(state, batch, rng, axis_name) -> (state, metrics)`; `rng` is the step's key, the same on every
      device.
    validate: `(state, batch, axis_name) -> metrics`, deterministic; `batch["_mask"]` marks the examples that
      count.
    encode: `(variables, inputs) -> {block: [B, D]}`.

  The others are None where they have no meaning:
    gradient_norms: `(state, batch, rng, axis_name) -> metrics`, the gradient's norm of each weighted loss
      term.
    decompose: `(variables, inputs) -> {depth, albedo, light, view, ...}`; viewpoints are `view` (the frames
      of CONVENTIONS.md) or `angles` `[B, 3]` (azimuth, elevation and tilt, as the method has them), radians.
    render: `(parts, light=None, view=None) -> {image, mask, depth_at_view}`, decomposed parts (those of
      `Description.rendered`) under another light or view.
    turn: `(variables, inputs, angles) -> pictures`, the inputs from other viewpoints, the `angles` of
      `decompose`.
    normalize: `(variables, inputs) -> {completed, ...}`: the inputs in a canonical pose and light, the whole
      pictures as `completed` `[B, ...]`, reflectance in [0, 1] and a little above; for pictures also
      `texture`, `reflectance` and `visibility`, see `render.unwrap.Normalized`.
    generate: `(variables, rng, count) -> pictures [count, S, S, C]`.
    forecast: `(variables, clips [B, T, S, S, C], frames) -> clips [B, frames, S, S, C]`, what comes after.
    swap: `(variables, contents [B, T, S, S, C], poses [B, U, S, S, C]) -> clips [B, U, S, S, C]`, the content
      of one clip in the poses of another.
    feature_maps: `(variables, inputs) -> {encoder: [map, ..., bottleneck]}`, from fine to coarse,
      differentiable.
    pictures: `(variables, inputs) -> {column: pictures [B, S, S, C] or maps [B, S, S]}`, shown in figures.
    baselines: `(batches, sums) -> {title: {metric: value}}`, scores that need no model, by the names of
      `validate`. `batches` are host arrays and can be iterated over again; `sums` adds a dict of arrays over
      the processes.
    depth_network: what the task `geometry` trains with true depth, for comparison.
  """

  init: Callable
  update: Callable
  validate: Callable
  encode: Callable
  gradient_norms: Callable | None = None
  decompose: Callable | None = None
  render: Callable | None = None
  turn: Callable | None = None
  normalize: Callable | None = None
  generate: Callable | None = None
  forecast: Callable | None = None
  swap: Callable | None = None
  feature_maps: Callable | None = None
  pictures: Callable | None = None
  baselines: Callable | None = None
  depth_network: DepthNetwork | None = None


def pictures_in_order(method: Method) -> Callable:
  """`method.pictures`, whose columns keep their order under `jax.jit`, which sorts the keys of a dict."""
  return lambda variables, inputs: OrderedDict(method.pictures(variables, inputs))


class FirstStage(NamedTuple):
  """The trained method that a second stage starts from.

  It comes with its resolved configuration and inference variables.
  """

  config: ConfigDict
  method: Method
  variables: dict[str, Tree]


class Description(NamedTuple):
  """What a method says about itself; the one name `METHOD` of its module.

  Attributes:
    defaults: `() -> {section: {key: value}}`: its own sections, keys that it adds to a common section, and
      common defaults that it sets otherwise.
    rules: `{"section.key": Rule}` for each key that it adds.
    variants: `{name: function of the configuration}`: its part of the named variants.
    check: `(config, devices)` raises `UserError` where keys do not go together.
    reads: `(config) -> ElementSpec`: the keys of a batch that a training step reads. Those of the meaning
      `missing` are there only where an example of the data lacks that label.
    create: `(config) -> Method`; of a second stage `(config, first: FirstStage) -> Method`.
    input: the key of a batch that `encode`, `decompose` and the others take.
    stage: does it need `config.init_from`? The first stage's variables are then `FIRST` in `model_state`.
    camera: `(config) -> Camera` of its depth maps; None where it has none.
    rendered: the parts of a decomposition that `render` reads.
    from_data: `{"section.key": (config, classes) -> value}`: keys whose empty value stands for what the data
      say. A run fills them in at its start, in this order, and records them. `classes` has the number of
      classes of each label in the training split, 0 for numbers. Raises `UserError`.
    unread: `{"section.key": words}`: common keys that its steps do not read, and what the user is told of
      another value than the default. What another method or a variant says of them is not taken over.
    version: raised when the same parameters say something else than before: kept features and results are
      then computed anew.
  """

  defaults: Callable[[], dict[str, dict[str, Any]]]
  rules: Mapping[str, Rule]
  variants: Mapping[str, Callable[[ConfigDict], None]]
  check: Callable[[ConfigDict, int], None]
  reads: Callable[[ConfigDict], ElementSpec]
  create: Callable[..., Method]
  input: str = "image"
  stage: bool = False
  camera: Callable[[ConfigDict], Camera] | None = None
  rendered: tuple[str, ...] = ()
  from_data: Mapping[str, Callable[[ConfigDict, Mapping[str, int]], Any]] = types.MappingProxyType({})
  unread: Mapping[str, str] = types.MappingProxyType({})
  version: int = 1
