"""Whole runs of the toy method: resuming, refusals, broken checkpoints, numbers that stop being finite."""

import glob
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest
import tensorstore
from support import runs, toy
from support.toy import interrupted, records, run, saved_state

from pdr_jax.errors import UserError
from pdr_jax.training import checkpoints, preemption, run_dir, run_lock
from pdr_jax.training import step as steps


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """An uninterrupted run of 12 steps."""
  workdir = tmp_path_factory.mktemp("whole")
  result = run(workdir)
  return workdir, result


def stop():
  os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("number, at", [(signal.SIGTERM, 7), (signal.SIGINT, 8)])
def test_stopped_and_resumed_equals_uninterrupted_bit_for_bit(whole, tmp_path, number, at):
  """At step 7, between checkpoints and logs: the open averages must survive.

  At step 8, where a validation is due: it is made up for.
  """
  before = signal.getsignal(number)
  result = run(tmp_path, data=interrupted(at, lambda: os.kill(os.getpid(), number)))
  assert result.exit_code == preemption.AGAIN and signal.getsignal(number) is before
  assert saved_state(tmp_path)[0] == at
  assert run(tmp_path).exit_code == 0
  for (a_step, a, a_run), (b_step, b, b_run) in [(saved_state(whole[0]), saved_state(tmp_path))]:
    assert a_step == b_step == 12 and a_run["position"] == b_run["position"] == {"batch": 12}
    jax.tree.map(np.testing.assert_array_equal, a, b)
  assert records(tmp_path) == records(whole[0])


def test_a_validation_that_is_made_up_for_is_logged_once(whole, tmp_path, monkeypatch):
  """However often the run is started after that; and when a start is killed before its checkpoint says so."""

  class Killed(Exception):
    pass

  def die(*_):
    raise Killed

  assert run(tmp_path, data=interrupted(12, stop)).exit_code == preemption.AGAIN
  with monkeypatch.context() as patched, pytest.raises(Killed):
    patched.setattr(checkpoints.Checkpoints, "complete", die)
    run(tmp_path)
  for _ in range(2):
    assert run(tmp_path).exit_code == 0
    assert records(tmp_path) == records(whole[0])


def test_a_killed_run_continues_from_its_last_checkpoint_bit_for_bit(whole, tmp_path):
  class Killed(Exception):
    pass

  def die(*_):
    raise Killed

  with pytest.raises(Killed):
    run(tmp_path, data=interrupted(11, die))
  assert saved_state(tmp_path)[0] == 8
  with open(tmp_path / run_dir.METRICS, "a") as file:
    # What a run writes after its last checkpoint, cut off by the kill.
    file.write('{"step": 9, "train/loss": 1}\n{"step": 10, "train/lo')
  again = toy.data()
  assert run(tmp_path, data=again).exit_code == 0
  assert again.train.drawn[:4] == [8, 9, 10, 11]  # neither skipped nor repeated
  jax.tree.map(np.testing.assert_array_equal, saved_state(tmp_path)[1], saved_state(whole[0])[1])
  assert records(tmp_path) == records(whole[0])


def test_a_second_start_in_one_workdir_is_refused_in_one_line_and_the_first_goes_on(whole, tmp_path):
  refused = []

  def start_again():
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(UserError) as error:
      run(tmp_path)
    refused.append(str(error.value))
    assert sorted(os.listdir(tmp_path)) == before

  assert run(tmp_path, data=interrupted(6, start_again)).exit_code == 0
  message, = refused
  assert "\n" not in message and message.startswith(f"{tmp_path} is in use by process {os.getpid()} on ")
  assert "choose another --workdir" in message and not (tmp_path / run_lock.LOCK).exists()
  jax.tree.map(np.testing.assert_array_equal, saved_state(tmp_path)[1], saved_state(whole[0])[1])
  assert records(tmp_path) == records(whole[0])
  starts = json.loads((tmp_path / run_dir.VERSIONS).read_text())["starts"]
  assert len(starts) == 1
  again = toy.data()  # and now it may
  assert run(tmp_path, data=again).exit_code == 0 and again.train.drawn == []


def test_metrics_are_logged_on_their_cadence_and_average_the_steps(whole):
  by_step = {}
  for record in records(whole[0]):
    by_step.setdefault(record["step"], {}).update(record)
  assert [step for step in by_step if "train/loss" in by_step[step]] == [5, 10, 12]
  assert [step for step in by_step if "val/error" in by_step[step]] == [4, 8, 12]
  assert [step for step in by_step if "gradient_norm/photometric" in by_step[step]] == [6, 12]
  # The same steps by hand, one device, in a plain loop.
  method, losses = toy.method(), []
  state = jax.jit(method.init)(steps.stream(0, "init"), toy.data().validation[0])
  stream, update = toy.Stream(8), jax.jit(lambda *a: method.update(*a, None))
  for k in range(5):
    state, metrics = update(state, {"image": next(stream)["image"]}, steps.stream(0, "update", k))
    losses.append(float(metrics["loss"][0] / metrics["loss"][1]))
  off = runs.toy_tolerance(5)
  np.testing.assert_allclose(by_step[5]["train/loss"], np.mean(losses), rtol=off, atol=off)


def test_run_directory_has_what_repeats_the_run(whole):
  workdir, result = whole
  assert run_dir.read_config(str(workdir)).to_dict() == toy.config().to_dict()
  start = json.loads((workdir / run_dir.VERSIONS).read_text())["starts"][0]
  assert (
    start["libraries"]["jax"] == jax.__version__ and start["git"]["commit"] and len(start["devices"]) == 4
  )
  assert json.loads((workdir / run_dir.SUMMARY).read_text()) == result.summary
  assert result.summary["examples"] == 12 and result.summary["checkpoints"] == [8, 12]
  assert (workdir / run_dir.FIGURES / "training_curves.png").stat().st_size > 5_000
  assert glob.glob(str(workdir / "tensorboard" / "events*"))


def test_finished_run_again_trains_nothing_and_longer_needs_no_flag(whole, tmp_path, capsys):
  run(tmp_path, toy.config(steps=8))
  data = toy.data()
  result = run(tmp_path, toy.config(steps=8), data=data)
  assert result.exit_code == 0 and data.train.drawn == [] and result.summary["validation"]
  run(tmp_path, toy.config(steps=12))
  assert "train.steps: 8 -> 12" in capsys.readouterr().out
  jax.tree.map(np.testing.assert_array_equal, saved_state(tmp_path)[1], saved_state(whole[0])[1])


def test_changed_config_is_refused_with_its_keys_unless_told(tmp_path):
  run(tmp_path, toy.config(steps=4))
  changed = toy.config(steps=4)
  changed.optim.learning_rate, changed.loocc.factors = 1e-3, ("light",)
  with pytest.raises(UserError) as error:
    run(tmp_path, changed)
  assert "optim.learning_rate: 0.0001 -> 0.001" in str(
    error.value
  ) and "loocc.factors: ['light', 'view'] -> ['light']" in str(error.value)
  assert run_dir.read_config(str(tmp_path)).optim.learning_rate == 1e-4
  with pytest.raises(UserError, match=r"train.steps: 4 -> 3"):
    run(tmp_path, toy.config(steps=3))
  run(tmp_path, changed, override_config=True)
  assert run_dir.read_config(str(tmp_path)).optim.learning_rate == 1e-3
  cosine = toy.config(steps=4)
  cosine.optim.schedule = "cosine"
  with pytest.raises(UserError, match=r"optim\.schedule"):
    run(tmp_path, cosine)


@pytest.mark.parametrize("damage", ["truncated", "bit", "missing"])
def test_broken_checkpoint_falls_back_to_the_one_before_and_says_so(whole, tmp_path, capsys, damage):
  run(tmp_path)
  files = [
    path
    for path in glob.glob(str(tmp_path / "checkpoints/12/rest/**/d/*"), recursive=True)
    if os.path.isfile(path)
  ]
  assert files
  for path in files:  # which of them holds what is Orbax's affair
    content = bytearray(open(path, "rb").read())
    content[len(content) // 2] ^= 4
    if damage == "missing":
      os.remove(path)
    else:
      open(path, "wb").write(content if damage == "bit" else content[: len(content) // 2])
  capsys.readouterr()
  again = toy.data()
  result = run(tmp_path, data=again)
  out, err = capsys.readouterr()
  assert "checkpoint of step 12 cannot be read" in out and "of step 8" in out and "Traceback" not in err
  assert result.exit_code == 0 and again.train.drawn[0] == 8
  assert os.path.isdir(tmp_path / checkpoints.BROKEN / "12")
  jax.tree.map(np.testing.assert_array_equal, saved_state(tmp_path)[1], saved_state(whole[0])[1])


def test_all_checkpoints_broken_is_an_error_and_another_model_moves_nothing(tmp_path):
  run(tmp_path, toy.config(steps=4))
  with pytest.raises(UserError, match=r"belongs to another model: .*params/"):
    run(tmp_path, toy.config(steps=5), method=toy.method(width=2))
  assert os.path.isdir(tmp_path / "checkpoints/4")
  for path in glob.glob(str(tmp_path / "checkpoints/4/params/**/*"), recursive=True):
    if os.path.isfile(path):
      open(path, "wb").close()
  with pytest.raises(UserError, match=r"no checkpoint in .* can be read"):
    run(tmp_path, toy.config(steps=4))


@pytest.mark.parametrize(
    "broken, term",
    [
        (dict(nan_at=6), "loss is nan at step 7"),
        (dict(nan_gradient_at=6), "loss is nan at step 8"),
        # The loss of step 8 was finite: its checkpoint must not be written.
        (dict(nan_gradient_at=7), "params/b is nan at step 8"),
    ],
)
def test_nonfinite_stops_names_step_and_term_and_keeps_the_last_good_checkpoint(
  whole, tmp_path, broken, term
):
  config = toy.config(validate_every=12)
  with pytest.raises(UserError) as error:
    run(tmp_path, config, method=toy.method(**broken))
  assert (
    term in str(error.value) and "checkpoint of step 4" in str(error.value) and "\n" not in str(error.value)
  )
  step, state, _ = saved_state(tmp_path)
  assert step == 4 and steps.first_nonfinite(state) is None
  assert all(np.isfinite(value) for record in records(tmp_path) for value in record.values())
  assert run(tmp_path, config).exit_code == 0  # mended, it goes on from there
  jax.tree.map(np.testing.assert_array_equal, saved_state(tmp_path)[1], saved_state(whole[0])[1])


# The best checkpoint is that of step 7, which is saved for that alone.
BEST = dict(validate_every=1, checkpoint_every=5, keep_checkpoints=1, best_metric="val/distance")


def test_best_checkpoint_is_kept_besides_the_newest_and_loads(tmp_path):
  result = run(tmp_path, toy.config(**BEST))
  scores = {record["step"]: record["val/error"] for record in records(tmp_path) if "val/error" in record}
  assert result.summary["best"] == {"step": 7, "value": 0.0, "metric": "val/distance", "checkpoint": 7}
  assert result.summary["checkpoints"] == [7, 12]
  params, step = checkpoints.load_variables(str(tmp_path))
  latest, last = checkpoints.load_variables(str(tmp_path), "latest")
  assert (step, last) == (7, 12)
  every = toy.images(16, 10**6)[:12].astype(np.float64)
  for weights, at in ((params, 7), (latest, 12)):
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(weights))
    error = np.square(every @ weights["w"] + weights["b"] - every[..., :1]).mean()
    np.testing.assert_allclose(error, scores[at], rtol=runs.toy_tolerance(0))  # of squares: positive
  with pytest.raises(UserError, match="no checkpoint of step 3"):
    checkpoints.load_variables(str(tmp_path), 3)


def test_a_best_checkpoint_that_was_saved_before_its_validation_is_kept_and_loads(tmp_path):
  whole, stopped = tmp_path / "whole", tmp_path / "stopped"
  wanted = run(whole, toy.config(**BEST)).summary
  assert run(stopped, toy.config(**BEST), data=interrupted(7, stop)).exit_code == preemption.AGAIN
  got = run(stopped, toy.config(**BEST)).summary
  assert (got["best"], got["checkpoints"]) == (wanted["best"], wanted["checkpoints"])
  (params, step), (wanted, at) = (checkpoints.load_variables(str(folder)) for folder in (stopped, whole))
  assert step == at == 7
  jax.tree.map(np.testing.assert_array_equal, params, wanted)
  assert records(stopped) == records(whole)


def test_a_save_asks_tensorstore_for_no_metrics(tmp_path, monkeypatch):
  """What TensorStore 0.1.86 answers stays in memory for good: a long run would grow with every checkpoint."""
  asked = []
  monkeypatch.setattr(
    tensorstore,
    "experimental_collect_matching_metrics",
    lambda *arguments, **named: asked.append(arguments) or [],
  )
  assert run(tmp_path).exit_code == 0 and os.listdir(tmp_path / "checkpoints")
  assert asked == []


def test_wrong_best_metric_and_unwritable_folder(tmp_path):
  with pytest.raises(
    UserError, match=r"train.best_metric = 'val/eror': must be one of val/distance, val/error"
  ):
    run(tmp_path / "a", toy.config(best_metric="val/eror"))
  (tmp_path / "file").write_text("")
  with pytest.raises(UserError, match="cannot be written to"):
    run(tmp_path / "file" / "b")


def test_an_altered_value_is_noticed_where_the_file_format_has_no_checksum(tmp_path):
  params = {"w": np.random.default_rng(0).normal(size=(200, 300)).astype(np.float32)}
  state = steps.replicate(toy.TrainState(step=np.int32(0), params=params, opt_state={}, ema=params))
  lines = []
  manager = checkpoints.Checkpoints(str(tmp_path), keep=3, best_metric="val/error", say=lines.append)
  for step in (1, 2):
    manager.save(step, state, {"position": {"bytes": b"\x00\xff", "n": np.int64(3)}})
  manager.wait()
  largest = max(glob.glob(str(tmp_path / "checkpoints/2/ema/**/*"), recursive=True), key=os.path.getsize)
  content = bytearray(open(largest, "rb").read())
  content[len(content) // 2] ^= 4
  open(largest, "wb").write(content)
  run_dir.record_start(str(tmp_path), toy.config(), None)
  with pytest.raises(UserError, match=r"checkpoint of step 2 .* cannot be read .*'ema' are not those"):
    checkpoints.load_variables(str(tmp_path), 2)
  np.testing.assert_array_equal(checkpoints.load_variables(str(tmp_path), 1)[0]["w"], params["w"])
  restored = manager.restore_latest(state)
  manager.close()
  assert restored.step == 1 and restored.run["position"] == {"bytes": b"\x00\xff", "n": 3}
  np.testing.assert_array_equal(restored.state.ema["w"], params["w"])
  assert len(lines) == 1 and "step 2" in lines[0] and "'ema'" in lines[0]
  shutil.rmtree(tmp_path / "checkpoints/1/ema")
  with pytest.raises(UserError, match=r"checkpoint of step 1 .* cannot be read"):
    checkpoints.load_variables(str(tmp_path), 1)
