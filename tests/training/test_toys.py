"""Toy methods that no other file knows: each trains, and is killed and continues bit for bit.

None minds devices.
"""

import json
import os
import signal
from functools import partial

import jax
import numpy as np
import pytest
from support import runs, toy_data, train_toy
from support.tolerances import mean_tolerance, rounding, sum_tolerance

from pdr_jax import methods
from pdr_jax.errors import UserError
from pdr_jax.evaluation import representations
from pdr_jax.methods import inference_variables
from pdr_jax.training import checkpoints, loop, run_dir, stages
from pdr_jax.training import step as steps

TOYS = ("support.toy_gan", "support.toy_clips", "support.toy_forecast")
BEST = {
  "support.toy_gan": "val/realism",
  "support.toy_clips": "val/reconstruction",
  "support.toy_forecast": "val/error",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """An uninterrupted run of twelve steps of each toy; the forecast starts from the clips."""
  root = tmp_path_factory.mktemp("toys")
  workdirs = {method: root / method for method in TOYS}
  for method, workdir in workdirs.items():
    config = settings_of(method, workdirs)
    assert loop.train(config, str(workdir), data=toy_data.data(config)).exit_code == 0
  return workdirs


def settings_of(method, workdirs, **train):
  init_from = str(workdirs["support.toy_clips"]) if methods.describe(method).stage else ""
  return train_toy.config(method, init_from, **train)


def scores(workdir, name):
  return {line["step"]: line[name] for line in runs.records(workdir) if name in line}


@pytest.mark.parametrize("method", TOYS)
def test_trains_validates_and_draws(folders, method):
  workdir, name = folders[method], BEST[method]
  values = scores(workdir, name)
  assert list(values) == [4, 8, 12] and np.isfinite(list(values.values())).all()
  summary = json.loads((workdir / run_dir.SUMMARY).read_text())
  choose = max if method == "support.toy_gan" else min
  best = choose(values, key=values.get)
  assert summary["best"] == {"step": best, "value": values[best], "metric": name, "checkpoint": best}
  assert summary["examples"] == 12 and (workdir / run_dir.FIGURES / "latest.png").stat().st_size > 5_000
  spec = methods.describe(method).reads(run_dir.read_config(str(workdir)))
  assert run_dir.read_elements(str(workdir)) == spec


@pytest.mark.users_programs
@pytest.mark.parametrize("method", TOYS)
def test_killed_and_continued_equals_uninterrupted_bit_for_bit(folders, tmp_path, method):
  command = [*runs.MODULE, "support.train_toy", method, str(tmp_path)]
  if methods.describe(method).stage:
    command.append(f"--init_from={folders['support.toy_clips']}")
  environment = dict(JAX_NUM_CPU_DEVICES="4", JAX_COMPILATION_CACHE_DIR=jax.config.jax_compilation_cache_dir)
  child = runs.start([*command, "--delay=0.3"], **environment)
  runs.until(lambda: runs.newest(tmp_path) >= 4, child)
  child.kill()
  assert child.wait() == -signal.SIGKILL and runs.newest(tmp_path) < 12
  again = runs.start(command, **environment)
  output, _ = again.communicate(timeout=1800)
  assert again.returncode == 0 and "continuing from the checkpoint of step" in output, output
  got, wanted = runs.arrays(tmp_path, 12), runs.arrays(folders[method], 12)
  assert got.keys() == wanted.keys()
  for name, value in wanted.items():
    np.testing.assert_array_equal(got[name], value, err_msg=name)
  assert runs.records(tmp_path) == runs.records(folders[method])


@pytest.mark.parametrize("method", TOYS)
def test_four_devices_equal_one(folders, method):
  config = settings_of(method, folders)
  system = stages.open_method(config, "", resumes=False).method
  spec = methods.describe(method).reads(config)
  state = steps.initial_state(system, 0, toy_data.batch(spec, 8, 0))
  alone, update = jax.device_get(state), jax.jit(partial(system.update, axis_name=None))
  for k in range(3):
    batch = toy_data.batch(spec, 8, k)
    state, metrics = steps.update_fn(system)(state, steps.place(batch), steps.stream(0, "update"))
    alone, expected = update(alone, batch, steps.stream(0, "update", k))
    for name, pair in expected.items():
      # 8 times a mean of at most 8 x 3 x 12 x 12 x 3 numbers of about one, before and after each step
      off = 8 * (k + 1) * mean_tolerance(8 * 3 * 12 * 12 * 3)
      np.testing.assert_allclose(metrics.fetch()[name], pair, rtol=0, atol=off, err_msg=name)
  # Three of Adam's steps of 1e-2, which are normalised gradients. Some are a thousand times smaller than
  # most, so that their rounding is a hundredth of them. (A step that was not averaged is off by a step.)
  near = partial(np.testing.assert_allclose, rtol=0, atol=3 * 1e-2 * 1000 * rounding(100))
  jax.tree.map(near, jax.device_get(state.params), jax.device_get(alone.params))
  jax.tree.map(near, jax.device_get(state.model_state), jax.device_get(alone.model_state))


def test_the_state_of_the_gan_has_named_optimisers_statistics_and_an_average_of_one_network(folders):
  arrays = runs.arrays(folders["support.toy_gan"], 12)
  groups = {"/".join(name.split("/")[:3]) for name in arrays}
  assert {"rest/opt_state/generator", "rest/opt_state/discriminator", "model_state/statistics/mean"} <= groups
  assert {name.split("/")[1] for name in arrays if name.startswith("ema/")} == {"generator"}
  variables, step = checkpoints.load_variables(str(folders["support.toy_gan"]), "latest")
  assert step == 12 and set(variables) == {"generator", "discriminator", "model_state"}
  for name, item in (("generator", "ema"), ("discriminator", "params")):
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables[name]):
      key = f"{item}/{name}/{jax.tree_util.keystr(path, simple=True, separator='/')}"
      np.testing.assert_array_equal(leaf, arrays[key])
  assert not np.array_equal(variables["generator"]["kernel"], arrays["params/generator/kernel"])


def test_the_second_stage_carries_the_first_which_may_be_gone(folders, tmp_path):
  """Its variables are those of the first stage's best checkpoint, frozen.

  It continues and is opened without it.
  """
  method, workdir = "support.toy_forecast", tmp_path / "second"
  first = tmp_path / "first"
  os.rename(folders["support.toy_clips"], first)
  try:
    config = train_toy.config(method, str(first), steps=4)
    loop.train(config, str(workdir), data=toy_data.data(config))
    wanted, _ = checkpoints.load_variables(str(first), "best")
  finally:
    os.rename(first, folders["support.toy_clips"])
  config.train.steps = 8
  loop.train(config, str(workdir), data=toy_data.data(config))
  variables, step = checkpoints.load_variables(str(workdir), "latest")
  assert step == 8
  jax.tree.map(np.testing.assert_array_equal, variables["model_state"]["first"], wanted)
  system = stages.method_of(run_dir.read_config(str(workdir)), str(workdir))
  batch = toy_data.batch(methods.describe(method).reads(config), 2, 0)
  shapes = jax.eval_shape(system.init, jax.random.key(0), batch)
  checkpoints.check_variables(variables, inference_variables(shapes))
  blocks = system.encode(variables, batch["clip"])
  codes = batch["clip"][:, -1].reshape(2, -1) @ wanted["encoder"]["kernel"] + wanted["encoder"]["bias"]
  # 432 products of numbers of up to one, of which the weights are smaller
  np.testing.assert_allclose(blocks["last"], codes, rtol=0, atol=sum_tolerance(432, 0.1))
  assert blocks["next"].shape == blocks["last"].shape


def test_an_untrained_second_stage_has_its_trained_first(folders, tmp_path):
  """Of a run with a checkpoint, and of a folder with nothing but a configuration."""
  method = "support.toy_forecast"
  wanted, _ = checkpoints.load_variables(str(folders["support.toy_clips"]), "best")
  trained, config = folders[method], settings_of(method, folders)
  alone = str(tmp_path / "alone")
  run_dir.record_start(alone, config)
  stages.write_record(alone, stages.record_of_first(config))
  for workdir in (str(trained), alone):
    variables = representations.create(config, workdir, "random", "best").variables
    jax.tree.map(np.testing.assert_array_equal, variables["model_state"]["first"], wanted)
  learned = representations.create(config, str(trained), "trained", "latest")
  fresh = learned.fresh(jax.random.key(1))
  jax.tree.map(np.testing.assert_array_equal, fresh["model_state"]["first"], wanted)
  assert not np.array_equal(fresh["next"]["kernel"], learned.variables["next"]["kernel"])


def test_a_second_stage_without_a_first_and_a_first_with_one_are_refused(tmp_path):
  with pytest.raises(UserError, match=r"config.init_from is empty: config.method=support.toy_forecast"):
    train_toy.config("support.toy_forecast")
  with pytest.raises(UserError, match=r"config.init_from = 'x': config.method=support.toy_clips"):
    train_toy.config("support.toy_clips", "x")
  config = train_toy.config("support.toy_forecast", str(tmp_path / "nothing"))
  with pytest.raises(UserError, match="nothing"):
    loop.train(config, str(tmp_path / "run"), data=toy_data.data(config))
