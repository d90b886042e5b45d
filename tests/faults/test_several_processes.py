"""Two processes on this machine (CPU, Gloo) equal one, stop together, and are saved by one.

They do not wait for the dead.
"""

import glob
import os
import re
import shutil
import signal
import time

import numpy as np
import pytest
from support import runs, toy, toy_run
from support.runs import local_processes

from pdr_jax.training import distributed, loop, preemption

pytestmark = pytest.mark.users_programs


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """One process with the same four devices: the reference."""
  workdir = tmp_path_factory.mktemp("whole")
  assert (
    loop.train(toy.config(log_every=1), str(workdir), method=toy_run.method(), data=toy.data()).exit_code == 0
  )
  return workdir


def pair(workdir, *words):
  """Two processes of two devices, each with a folder of its own; their lines."""
  lines = ([], [])
  children = local_processes.start([*runs.TOY, str(workdir / "{process}"), *words], 2, 2, runs.environment())
  runs.STARTED.extend(children)
  return children, lines


def finish(children, lines):
  return local_processes.wait(children, lambda i, line: lines[i].append(line))


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
  """Two processes of which only the second gets a SIGTERM, while batch 7 is read.

  Then both run again, to the end.
  """
  workdir = tmp_path_factory.mktemp("two")
  config = '--train={"log_every": 1}'
  children, lines = pair(workdir, config, "--stop_at=7")
  codes = finish(children, lines)
  saved = runs.newest(workdir / "0")
  again, more = pair(workdir, config)
  return workdir, codes, lines, saved, finish(again, more), more


def test_a_signal_to_one_process_stops_both_at_the_same_step_and_saves(stopped):
  _, codes, lines, saved, _, _ = stopped
  assert codes == [preemption.AGAIN] * 2, "".join(lines[0] + lines[1])
  assert 4 <= saved < 12 and f"stopped by a signal to another process; saved step {saved}" in "".join(
    lines[0]
  )


def test_two_processes_stopped_and_resumed_equal_one_that_was_not(stopped, whole):
  workdir, _, _, saved, codes, lines = stopped
  assert codes == [0, 0], lines
  assert f"continuing from the checkpoint of step {saved}\n" in lines[0]
  runs.compare(workdir / "0", whole)


def test_only_the_first_process_writes_and_each_reads_its_share(stopped):
  workdir, _, lines, _, _, _ = stopped
  assert not os.path.exists(workdir / "1") and glob.glob(str(workdir / "0/tensorboard/events*"))
  assert any("toy data, 4 each" in line for line in lines[0])  # of 8


def test_sums_over_processes_are_those_of_float64(stopped):
  for lines in stopped[2]:
    assert f"sum {[1e-12 + (1 + 1e-12), 0.5]}, count 3\n" in lines, lines


def test_validation_over_two_processes_counts_every_image_once(stopped):
  images, saved = toy.images(16, 10**6)[:12].astype(np.float64), runs.arrays(stopped[0] / "0", 12)
  w, b = saved["params/w"], saved["params/b"]
  scores = [
    line["val/error"]
    for line in runs.records(stopped[0] / "0")
    if line.get("val/error") and line["step"] == 12
  ]
  error = np.square(images @ w + b - images[..., :1]).mean()
  np.testing.assert_allclose(scores, [error], rtol=runs.toy_tolerance(0))  # of squares: positive


def test_a_run_of_two_processes_continues_on_one_device(stopped, whole, tmp_path):
  """Another number of devices and of processes: the same numbers, but for the order of sums."""
  workdir = tmp_path / "one"
  shutil.copytree(stopped[0] / "0", workdir)
  child = runs.start(
    [*runs.TOY, str(workdir), '--train={"log_every": 1, "steps": 16}'], JAX_NUM_CPU_DEVICES="1"
  )
  output, _ = child.communicate(timeout=1800)
  assert (
    child.returncode == 0
    and "continuing from the checkpoint of step 12" in output
    and "pdr on 1 x cpu" in output
  ), output
  longer = shutil.copytree(whole, tmp_path / "four")
  assert (
    loop.train(
      toy.config(log_every=1, steps=16), str(longer), method=toy_run.method(), data=toy.data()
    ).exit_code
    == 0
  )
  a, b = runs.arrays(workdir, 16), runs.arrays(longer, 16)
  for name in b:
    np.testing.assert_allclose(a[name], b[name], rtol=0, atol=runs.toy_tolerance(16), err_msg=name)


def test_a_killed_process_makes_the_other_stop_with_a_line_within_a_minute(tmp_path):
  # Nothing but steps from the second on: no program is compiled when the process is killed, which may take a
  # minute on a busy machine.
  never = '"validate_every": 100000, "checkpoint_every": 100000, "gradient_norms_every": 0'
  children, lines = pair(tmp_path, f'--train={{"steps": 100000, "log_every": 1, {never}}}', "--delay=0.05")
  metrics = tmp_path / "0" / "metrics.jsonl"
  runs.until(lambda: metrics.exists() and metrics.read_text().count("\n") > 5, children[0])
  children[1].kill()
  since = time.monotonic()
  codes = finish(children, lines)
  assert time.monotonic() - since < 60
  said = "".join(lines[0])
  # Python's line when a step fails first, JAX's own (and its abort) when its heartbeats notice first.
  if codes[0] == distributed.LOST:
    assert re.search(
      r"^error: process 0 of 2 stops: it lost another process of this run, whose output says why", said, re.M
    ), said
  else:
    assert codes[0] == -signal.SIGABRT and "another task died" in said, (codes, said)
  assert codes[1] == -signal.SIGKILL and local_processes.together(codes) == 128 + signal.SIGKILL


def test_exit_codes_of_several_processes():
  # A process that JAX aborts because another one was killed does not hide that one's code, wherever it
  # stands.
  cases = {(0, 0): 0, (75, 75): 75, (75, 76): 76, (76, 2): 2, (0, 75): 75, (75, -9): 137}
  cases |= {(1, 3): 1, (3, 1): 3, (76, 3, 1): 3}  # of several failures, the lowest process's
  cases |= {(-6, -9): 137, (-9, -6): 137, (-6, 76): 134, (-6, -6): 134}
  assert {codes: local_processes.together(list(codes)) for codes in cases} == cases


@pytest.mark.parametrize("value", ["yes", "host,2,0", "host:1,2,2", "host:1,2", ":1,2,0", "host:x,2,0"])
def test_a_malformed_environment_is_one_line(monkeypatch, value):
  monkeypatch.setenv(distributed.VARIABLE, value)
  with pytest.raises(distributed.UserError, match=f"PDR_JAX_DISTRIBUTED={value}: must be empty, auto"):
    distributed.start()
