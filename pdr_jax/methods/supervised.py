"""An encoder that is taught labels: the ceiling for probes of encoders that learn without.

The encoder is that of the other baselines. One linear layer on its features says the classes of every chosen
label, and the loss is their cross-entropy, `-log softmax(logits of the label)[true class]`, the mean over
all labels that are given in the batch: a missing label teaches nothing. Nothing but `data.flip` augments the
pictures.

Which labels there are and how many classes they have is read from the training split, once, and stands in
the run's configuration.
"""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int
from ml_collections import ConfigDict

from pdr_jax.elements import Element, ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.losses.classification import cross_entropy
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.methods.contract import Description, Method, TrainState, inference_variables
from pdr_jax.methods.shared import baseline, gradient_step, inputs, optimizer
from pdr_jax.rules import Rule

IDENTITY = "identity"  # the label that is not learned unless it is asked for: tests have other people
WEIGHTS = {"cross_entropy": 1.0}


def create(config: ConfigDict) -> Method:
  """The method `supervised`. Raises `UserError` where nobody has said what its labels are."""
  if not config.supervised.labels or not config.supervised.classes:
    raise UserError(
      "config.supervised.labels or config.supervised.classes is empty: name labels and how many classes they"
      " have (a training fills them in from its data)"
    )
  nets = gradient_step.recomputed(networks(config), config)
  tx = optimizer.create(config)
  words = dict(nets=nets, config=config)
  return Method(
      init=partial(baseline.init, tx=tx, **words),
      validate=partial(validate, **words),
      **gradient_step.of_terms(partial(loss_terms, **words), WEIGHTS, tx=tx, config=config),
      encode=partial(encode, nets=nets),
      feature_maps=partial(baseline.feature_maps, config=config),
      baselines=partial(baselines, config=config),
  )


def networks(config: ConfigDict) -> dict[str, nn.Module]:
  """`encoder`, and `head`, its bottleneck to the logits of all labels side by side (float32)."""
  return {"encoder": baseline.encoder(config), "head": nn.Dense(sum(config.supervised.classes))}


def encode(
  params: dict, images: Float[ArrayLike, "B S S C"], *, nets: dict
) -> dict[str, Float[Array, "B D"]]:
  """`backbone`: the features below the linear layer, which are non-negative."""
  return {"backbone": baseline.embed(params, images, nets)}


def logits_of(
  params: dict, images: Float[ArrayLike, "B S S C"], nets: dict, config: ConfigDict
) -> list[Float[Array, "B _"]]:
  """The logits of each label, in the order of `supervised.labels`."""
  logits = nets["head"].apply({"params": params["head"]}, baseline.embed(params, images, nets))
  return jnp.split(logits, np.cumsum(config.supervised.classes)[:-1], axis=1)


def truth_of(batch: Mapping, config: ConfigDict) -> tuple[Int[Array, "B L"], Float[Array, "B L"]]:
  """The class of each label, and 1 where it is given."""
  names = config.supervised.labels
  truth = jnp.stack([jnp.asarray(batch[f"label/{name}"]) for name in names], axis=1)
  nothing = np.zeros(truth.shape[0], bool)
  missing = jnp.stack([jnp.asarray(batch.get(f"missing/{name}", nothing)) for name in names], axis=1)
  return truth, 1.0 - missing.astype(jnp.float32)


# ---------------------------------------------------------------- training


def loss_terms(
  params: dict, batch: dict, rng: Array, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> tuple[dict, dict]:
  """The mean over all labels that are given in the global batch, and numbers for the log: none.

  Nothing is drawn from `rng`.
  """
  truth, known = truth_of(batch, config)
  values = losses(logits_of(params, batch["image"], nets, config), truth)
  return {"cross_entropy": masked_mean(values, known, axis_name)}, {}


def losses(logits: list[Float[Array, "B _"]], truth: Int[Array, "B L"]) -> Float[Array, "B L"]:
  """The cross-entropy of each label, in nats."""
  return jnp.stack([cross_entropy(values, truth[:, i]) for i, values in enumerate(logits)], axis=1)


# ---------------------------------------------------------------- evaluation


def validate(
  state: TrainState, batch: dict, axis_name: str | None, *, nets: dict, config: ConfigDict
) -> dict:
  """`val/accuracy` and `val/cross_entropy`, means over all labels that are given."""
  truth, known = truth_of(batch, config)
  logits = logits_of(inference_variables(state), batch["image"], nets, config)
  said = jnp.stack([values.argmax(axis=1) for values in logits], axis=1)
  scores = {"val/accuracy": (said == truth).astype(jnp.float32), "val/cross_entropy": losses(logits, truth)}
  counted = known * batch["_mask"][:, None]
  return gradient_step.masked_totals(
    {name: values.reshape(-1) for name, values in scores.items()}, counted.reshape(-1), axis_name
  )


def baselines(
  batches: Iterable[dict], sums: Callable, *, config: ConfigDict
) -> dict[str, dict[str, float]]:
  """`majority`: the accuracy of always saying each label's most frequent class of these batches.

  Of the classes that training has. One that it lacks counts as wrong, as it does for the model.
  """
  names, classes = config.supervised.labels, config.supervised.classes
  # The last count is that of all classes that training lacks.
  counts = {name: np.zeros(count + 1) for name, count in zip(names, classes, strict=True)}
  for batch in batches:
    truth, known = (np.asarray(value) for value in truth_of(batch, config))
    known = known * np.asarray(batch["_mask"])[:, None]
    for i, name in enumerate(names):
      values = truth[known[:, i] > 0, i]
      counts[name] += np.bincount(np.minimum(values, classes[i]), minlength=classes[i] + 1)
  counts = sums(counts).values()
  right, given = sum(count[:-1].max() for count in counts), sum(count.sum() for count in counts)
  return {"majority": {"val/accuracy": float(right / max(given, 1.0))}}


# ---------------------------------------------------------------- configuration


def defaults() -> dict[str, dict[str, Any]]:
  return baseline.defaults() | dict(
      supervised=dict(
          labels=(),              # columns of labels that are learned together; empty: all of classes but
                                  # `identity`
          classes=(),             # how many classes each has; empty: counted in the training split
      ),
      train=dict(best_metric="val/accuracy", best_mode="highest"),
  )


def chosen_labels(config: ConfigDict, classes: Mapping[str, int]) -> tuple[str, ...]:
  """All labels of at least two classes but the identity. Raises `UserError` where there are none."""
  names = tuple(name for name, count in classes.items() if count > 1 and name != IDENTITY)
  if not names:
    raise UserError(f"config.method=supervised: the data set {config.data.name} has no label of classes")
  return names


def counted_classes(config: ConfigDict, classes: Mapping[str, int]) -> tuple[int, ...]:
  """Those of `supervised.labels`.

  Raises `UserError` for a label that holds no classes, or one alone.
  """
  for name in config.supervised.labels:
    where = f"config.supervised.labels: {name!r}"
    if name not in classes:
      known = ", ".join(key for key, count in classes.items() if count > 1) or "none"
      raise UserError(f"{where} is no label of the data set {config.data.name}: of classes there are {known}")
    if not classes[name]:
      raise UserError(f"{where} holds numbers, not classes: choose a label of classes")
    if classes[name] < 2:
      raise UserError(f"{where} has a single class in the training split: there is nothing to learn")
  return tuple(classes[name] for name in config.supervised.labels)


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` for pictures that the networks do not take, and labels that are no names."""
  baseline.check(config, devices)
  labels, classes = config.supervised.labels, config.supervised.classes
  if classes and len(classes) != len(labels):
    raise UserError(
      f"config.supervised.classes = {tuple(classes)}: must be as many as config.supervised.labels,"
      f" {len(labels)}"
    )


def reads(config: ConfigDict) -> ElementSpec:
  """Pictures, the chosen labels, and who lacks them."""
  spec = {"image": inputs.image(config)}
  for name in config.supervised.labels:
    spec[f"label/{name}"] = Element((), "int32", "label")
    spec[f"missing/{name}"] = Element((), "bool", "missing")
  return spec


METHOD = Description(
    defaults=defaults,
    rules=baseline.RULES | {
        "supervised.labels": Rule(
            lambda names: all(isinstance(name, str) for name in names) and len(set(names)) == len(names),
            "empty, or different names of labels",
        ),
        "supervised.classes": Rule(
            lambda counts: all(isinstance(count, int) and count > 1 for count in counts),
            "empty, or a number of at least 2 for each label",
        ),
    },
    variants={"small": baseline.small},
    check=check,
    reads=reads,
    create=create,
    from_data={"supervised.labels": chosen_labels, "supervised.classes": counted_classes},
)
