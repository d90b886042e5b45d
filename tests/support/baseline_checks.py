"""What holds for every baseline.

Devices do not matter, padding does not count, losses fall, and the training loop runs and resumes.
"""

from functools import lru_cache, partial

import jax
import numpy as np

from pdr_jax.config import base
from pdr_jax.config_checks import validate
from pdr_jax.training import checkpoints, loop
from pdr_jax.training import step as steps
from support.method_checks import vector
from support.programs import compiled
from support.tolerances import rounding, sum_tolerance

B, S, D = 8, 32, 32
SMALL = {
    "vae": {"baseline__zdim": D},
    "beta_vae": {"baseline__zdim": D},
    "vq_vae": {"baseline__zdim": D, "vq_vae__codes": 12, "vq_vae__code_dim": 8},
    "simclr": {"baseline__zdim": D, "simclr__projection": 16},
    "vicreg": {"baseline__zdim": D, "vicreg__expander": 16},
    "mae": {
        "baseline__zdim": D, "mae__patch": 8, "mae__width": 16, "mae__depth": 1, "mae__heads": 2,
        "mae__decoder_width": 8, "mae__decoder_heads": 2,
    },
    "supervised": {
        "baseline__zdim": D, "supervised__labels": ("half", "brightest"), "supervised__classes": (2, 3),
    },
}


def tiny(method, **changes):
  """A small configuration of a method; `changes` are named `section__key`."""
  config = base(method)
  config.data.side = S
  config.optim.update(learning_rate=3e-3, ema=0.9)
  config.train.update(batch_size=B, steps=4, log_every=2, gradient_norms_every=0)
  config.train.update(validate_every=2, figure_every=2, checkpoint_every=2)
  for key, value in (SMALL.get(method, {}) | {"networks__width_map": 8} | changes).items():
    section, name = key.split("__")
    config[section][name] = value
  validate(config, 4)
  return config


def images(seed=0, count=B):
  """Coloured blobs on coloured ground, [count,S,S,3] in [-1,1]: pictures that differ in more than noise."""
  return examples(seed, count)["image"]


def examples(seed=0, count=B):
  """`images` with labels: is the blob in the right `half`, and which channel of the ground is `brightest`.

  Every third picture lacks the latter.
  """
  rng = np.random.default_rng(seed)
  yy, xx = np.mgrid[-1:1:S * 1j, -1:1:S * 1j]
  centre, width = rng.uniform(-0.5, 0.5, (2, count, 1, 1)), rng.uniform(0.2, 0.6, (count, 1, 1))
  blob = np.exp(-((xx - centre[0]) ** 2 + (yy - centre[1]) ** 2) / width**2)[..., None]
  ground, paint = rng.uniform(-0.9, 0.9, (2, count, 1, 1, 3))
  missing = np.arange(count) % 3 == 2
  return {
    "image": (blob * paint + (1 - blob) * ground).astype(np.float32),
    "label/half": (centre[0, :, 0, 0] > 0).astype(np.int32),
    "label/brightest": np.where(missing, -1, ground[:, 0, 0].argmax(axis=1)).astype(np.int32),
    "missing/brightest": missing,
  }


@lru_cache
def fresh(method):
  """The state of step 0, and the compiled update of one device."""
  return compiled(method.init)(steps.stream(0, "init"), examples()), compiled(
    partial(method.update, axis_name=None)
  )


def relative(value, expected):
  return np.linalg.norm(value - expected) / np.linalg.norm(expected)


def first_moment(state):
  """Adam's, a tenth of the clipped gradient."""
  return state.opt_state["main"][2].mu


def four_devices_equal_one(method, at_step=0):
  """The gradients of four devices and of one, as whole vectors; returns both states after the step."""
  assert jax.local_device_count() == 4
  batch, root = examples(), steps.stream(3, "update")
  start, update = fresh(method)
  start, rng = start.replace(step=jax.numpy.int32(at_step)), jax.random.fold_in(root, at_step)
  one, one_metrics = update(start, batch, rng)
  # What gradients that were not averaged would see.
  pairs = {key: np.concatenate([value[:2]] * 4) for key, value in batch.items()}
  unaveraged, _ = update(start, pairs, rng)
  many, many_metrics = steps.update_fn(method)(steps.replicate(start), steps.place(batch), root)
  many_metrics = many_metrics.fetch()
  assert set(many_metrics) == set(one_metrics)
  for name, (total, count) in one_metrics.items():
    # Sums over thousands of pixels of what went through all layers, forwards and, for the gradient's norm,
    # back; and sums over B images and the latent of numbers of about one that cancel.
    words = dict(rtol=rounding(9000), atol=B * sum_tolerance(4 * D))
    np.testing.assert_allclose(many_metrics[name], [total, count], **words, err_msg=name)
  moments = first_moment(one)
  assert moments
  for name, tree in moments.items():
    assert relative(vector(first_moment(many)[name]), vector(tree)) < 0.01, name
    assert relative(vector(first_moment(unaveraged)[name]), vector(tree)) > 0.1, name
  return one, jax.device_get(many)


def validation_ignores_padding(method, counted=3):
  """Scores of three images, which count as so many, do not depend on what pads their batch."""
  batch = examples() | {"_mask": (np.arange(B) < 3).astype(np.float32)}
  state, _ = fresh(method)
  run = compiled(partial(method.validate, axis_name=None))
  padded_otherwise = batch | {
    key: np.concatenate([batch[key][:3], value[3:]]) for key, value in examples(seed=9).items()
  }
  first, second = run(state, batch), run(state, padded_otherwise)
  for name, (total, count) in first.items():
    assert float(count) == counted and np.isfinite(total)
    # the same program; sums of three positive numbers
    np.testing.assert_allclose(second[name][0], total, rtol=rounding(16), err_msg=name)
  return state, first


def losses_of_overfit(method, count, names=("loss",)):
  """`count` steps on one batch; metrics by name, one value a step."""
  batch, root = examples(), steps.stream(3, "update")
  state, update = fresh(method)
  seen = {name: [] for name in names}
  for step in range(count):
    state, metrics = update(state, batch, jax.random.fold_in(root, step))
    for name in names:
      seen[name].append(float(metrics[name][0] / metrics[name][1]))
  return seen


class Stream:
  """Endless batches that depend on their number only."""

  def __init__(self):
    self._next = 0

  def __next__(self):
    self._next += 1
    return examples(self._next)

  def get_state(self):
    return {"batch": self._next}

  def set_state(self, state):
    self._next = int(state["batch"])

  def close(self):
    pass


def trains_and_resumes(config, method, tmp_path):
  """Four steps in one go, and two and two: the same checkpoint, bit for bit.

  Averages, model state and figures are included. `method`: made from `config`; one that a test has trained on
  four devices already does not compile again.
  """
  norms = jax.eval_shape(
    partial(method.gradient_norms, axis_name=None), fresh(method)[0], examples(), jax.random.key(0)
  )
  assert norms  # their values: test_gradient_step.py
  validation = [examples(10**6) | {"_mask": (np.arange(B) < 5).astype(np.float32)}]
  states = []
  for name, stops in (("whole", (4,)), ("halves", (2, 4))):
    for stop in stops:
      config.train.steps = stop
      result = loop.train(
        config, str(tmp_path / name), method=method, data=loop.Data(Stream(), validation, "blobs")
      )
      assert result.exit_code == 0 and result.summary["validation"][config.train.best_metric] > 0
    manager = checkpoints.Checkpoints(str(tmp_path / name), keep=2, best_metric=config.train.best_metric)
    read = manager.restore_latest(steps.abstract_state(method, config.seed, validation[0]))
    manager.close()
    assert read.step == 4
    if method.pictures is not None:
      assert (tmp_path / name / "figures" / "latest.png").stat().st_size > 10_000
    states.append(jax.device_get(read.state))
  jax.tree.map(np.testing.assert_array_equal, *states)
