"""The lock of a run directory: real processes that hold it, die, or live on another host."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from etils import epath

from pdr_jax.errors import UserError
from pdr_jax.training import run_lock

HOLD = """
import sys
from pdr_jax.training import run_lock
with run_lock.hold(sys.argv[1]):
  if sys.argv[2:] == ["fork"]:
    import os
    if os.fork() == 0:
      sys.stdin.readline()  # until the test closes it, whatever becomes of the parent
      os._exit(0)
  print("held", flush=True)
  sys.stdin.readline()
"""


def start(workdir, *words):
  process = subprocess.Popen(
    [sys.executable, "-c", HOLD, str(workdir), *words],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  )
  assert process.stdout.readline().strip() == "held"
  return process


def test_the_second_start_is_refused_and_the_next_one_is_not(tmp_path):
  with start(tmp_path) as process:
    message = rf"is in use by process {process.pid} on .*, started 20.*: wait for it"
    with pytest.raises(UserError, match=message) as error:
      with run_lock.hold(str(tmp_path)):
        pass
    assert "\n" not in str(error.value)
    process.communicate("\n")
  assert os.listdir(tmp_path) == []  # an end without a trace
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    with pytest.raises(UserError, match="is in use"):
      with run_lock.hold(str(tmp_path)):
        pass
    assert json.loads((tmp_path / "run.lock").read_text())["process"] == os.getpid()
  assert lines == []


def test_the_lock_of_a_dead_process_is_taken_over_although_its_children_live(tmp_path):
  process = start(tmp_path, "fork")
  process.send_signal(signal.SIGKILL)
  process.wait()
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    assert len(lines) == 1 and f"from process {process.pid}" in lines[0] and "no longer runs" in lines[0]
  process.stdin.close()
  process.stdout.close()


def test_a_child_that_was_just_forked_is_waited_for(tmp_path, monkeypatch):
  """Its parent is dead, and it holds the lock until it runs for the first time."""
  with start(tmp_path) as process:
    lock = (tmp_path / run_lock.LOCK).read_bytes()
    process.send_signal(signal.SIGKILL)
  (tmp_path / run_lock.LOCK).write_bytes(lock)
  child = os.open(tmp_path / run_lock.LOCK, os.O_RDWR)
  fcntl.flock(child, fcntl.LOCK_EX)
  monkeypatch.setattr(run_lock, "LETTING_GO", 0.1)
  with pytest.raises(UserError, match=f"in use by process {process.pid}"), run_lock.hold(str(tmp_path)):
    pass
  monkeypatch.setattr(run_lock, "LETTING_GO", 60.0)
  threading.Timer(0.3, os.close, [child]).start()
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    assert len(lines) == 1 and "no longer runs" in lines[0]


def test_a_later_process_of_the_same_id_is_another_one(tmp_path, monkeypatch):
  own = run_lock._about_this_process()
  assert own["began"] is not None or not os.path.exists("/proc/self/stat")

  def flock(*_):
    raise OSError(95, "Operation not supported")

  monkeypatch.setattr(run_lock.fcntl, "flock", flock)  # there the process id decides
  lock = tmp_path / run_lock.LOCK
  lock.write_text(json.dumps(own))
  with pytest.raises(UserError, match="in use by process"), run_lock.hold(str(tmp_path)):
    pass
  lock.write_text(json.dumps(own | {"began": "1"}))
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    pass
  assert "taking over" in lines[0] and "which no longer runs" in lines[0]


def test_a_lock_that_is_removed_between_opening_and_locking_is_taken_anew(tmp_path, monkeypatch):
  lock, real, calls = tmp_path / run_lock.LOCK, run_lock.fcntl.flock, []

  def flock(*arguments):
    if not calls:  # the start before ends now, and removes its lock
      lock.unlink()
    calls.append(arguments)
    return real(*arguments)

  monkeypatch.setattr(run_lock.fcntl, "flock", flock)
  with run_lock.hold(str(tmp_path), lambda line: None):
    assert len(calls) == 2 and json.loads(lock.read_text())["process"] == os.getpid()


@pytest.mark.parametrize("in_bucket", [False, True])
def test_an_error_inside_lets_go(tmp_path, monkeypatch, in_bucket):
  monkeypatch.setattr(run_lock, "in_bucket", lambda path: in_bucket)
  with pytest.raises(ValueError, match="inside"), run_lock.hold(str(tmp_path)):
    raise ValueError("inside")
  assert os.listdir(tmp_path) == []  # or another host would wait for a sign of life
  with run_lock.hold(str(tmp_path)):
    pass


ELSEWHERE = {"process": 7, "host": "node12", "started": "2026-01-01T00:00:00", "machine": "another"}


def written_elsewhere(tmp_path, seconds_ago):
  path = tmp_path / "run.lock"
  path.write_text(json.dumps(ELSEWHERE))
  then = time.time() - seconds_ago
  os.utime(path, (then, then))


def test_another_hosts_lock_holds_until_it_is_silent(tmp_path):
  written_elsewhere(tmp_path, 30)  # nothing of this machine's locks tells of it
  with pytest.raises(UserError, match="in use by process 7 on node12"), run_lock.hold(str(tmp_path)):
    pass
  assert os.listdir(tmp_path) == ["run.lock"]
  written_elsewhere(tmp_path, run_lock.SILENCE + 1)
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    pass
  who = "process 7 on node12, started 2026-01-01T00:00:00"
  assert lines == [f"taking over {tmp_path} from {who}, which no longer runs"]


def test_signs_of_life_are_given_and_a_stolen_lock_is_said(tmp_path, monkeypatch):
  monkeypatch.setattr(run_lock, "BEAT", 0.02)
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    path = tmp_path / "run.lock"
    os.utime(path, (0, 0))
    deadline = time.monotonic() + 20
    while os.stat(path).st_mtime == 0 and time.monotonic() < deadline:
      time.sleep(0.01)
    assert os.stat(path).st_mtime > 0
    path.unlink()
    path.write_text("{}")
    while not lines and time.monotonic() < deadline:
      time.sleep(0.01)
  assert "another start may be writing" in lines[0] and path.read_text() == "{}"  # somebody else's stays


def test_a_file_system_without_locks_is_said_and_the_process_id_decides(tmp_path, monkeypatch):
  with start(tmp_path) as process:

    def flock(*_):
      raise OSError(95, "Operation not supported")

    monkeypatch.setattr(run_lock.fcntl, "flock", flock)
    with pytest.raises(UserError, match=rf"process {process.pid} on .*last sign of life \d+ s ago"):
      with run_lock.hold(str(tmp_path)):
        pass
    process.kill()
    process.wait()
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    pass
  assert "taking over" in lines[0] and "cannot lock" in lines[1]


def test_a_bucket_has_an_object_instead(tmp_path, monkeypatch):
  monkeypatch.setattr(run_lock, "in_bucket", lambda path: True)
  with run_lock.hold(str(tmp_path)):
    with pytest.raises(UserError, match="in use by process"), run_lock.hold(str(tmp_path)):
      pass
  assert os.listdir(tmp_path) == []
  (tmp_path / "run.lock").write_text(json.dumps(ELSEWHERE | {"alive": time.time()}))
  with pytest.raises(UserError, match="process 7 on node12"), run_lock.hold(str(tmp_path)):
    pass
  silent = ELSEWHERE | {"alive": time.time() - run_lock.SILENCE - 1}
  (tmp_path / "run.lock").write_text(json.dumps(silent))
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    pass
  assert len(lines) == 1 and "taking over" in lines[0]


def test_in_a_bucket_a_dead_process_of_this_machine_is_not_waited_for_and_anothers_object_stays(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(run_lock, "in_bucket", lambda path: True)
  lock, lines = tmp_path / run_lock.LOCK, []
  dead = run_lock._about_this_process() | {"began": "1", "alive": time.time()}
  lock.write_text(json.dumps(dead))
  with run_lock.hold(str(tmp_path), lines.append):
    assert "taking over" in lines[0]
    lock.write_text(json.dumps(ELSEWHERE))
  assert json.loads(lock.read_text()) == ELSEWHERE


def test_a_full_disk_is_one_line_and_leaves_nobodys_lock(tmp_path, monkeypatch):
  def pwrite(*_):
    raise OSError(28, "No space left on device")

  with monkeypatch.context() as full:
    full.setattr(run_lock.os, "pwrite", pwrite)
    with pytest.raises(UserError, match=r"run.lock cannot be written \(No space left on device\)") as error:
      with run_lock.hold(str(tmp_path)):
        pass
  assert "\n" not in str(error.value)
  lines = []
  with run_lock.hold(str(tmp_path), lines.append):
    pass
  assert lines == [] and os.listdir(tmp_path) == []


def test_a_bucket_that_is_away_for_a_while_gets_the_next_sign(tmp_path, monkeypatch):
  kind, away, refused = type(epath.Path(tmp_path)), threading.Event(), threading.Event()
  write_text = kind.write_text

  def write(path, text):
    if away.is_set():
      refused.set()
      raise ConnectionError("gone")
    return write_text(path, text)

  monkeypatch.setattr(kind, "write_text", write)
  monkeypatch.setattr(run_lock, "in_bucket", lambda path: True)
  monkeypatch.setattr(run_lock, "BEAT", 0.02)
  lock = tmp_path / run_lock.LOCK
  with run_lock.hold(str(tmp_path)):
    away.set()
    assert refused.wait(20)
    before = json.loads(lock.read_text())["alive"]
    away.clear()
    deadline = time.monotonic() + 20
    while (alive := _alive(lock)) in (None, before) and time.monotonic() < deadline:
      time.sleep(0.01)
    assert alive > before


def _alive(lock):
  """The time of the last sign; None while one is being written."""
  try:
    return json.loads(lock.read_text())["alive"]
  except ValueError:
    return None
