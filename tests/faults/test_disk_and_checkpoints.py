"""A full disk, half a checkpoint, a checkpoint of another version, a run directory of an older program."""

import contextlib
import datetime
import errno
import functools
import json
import os
import re
import resource
import shutil
import signal
import subprocess

import jax
import numpy as np
import pytest
from support import runs, toy

from pdr_jax.errors import UserError
from pdr_jax.training import checkpoints, distributed, loop, run_dir
from pdr_jax.training import step as steps


def train(workdir, config=None, data=None):
  return loop.train(config or toy.config(), str(workdir), method=toy.method(), data=data or toy.data())


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
  """Twelve steps without a fault, checkpoints at 8 and 12."""
  workdir = tmp_path_factory.mktemp("whole")
  train(workdir)
  return workdir


@contextlib.contextmanager
def small_tmpfs(path):
  path.mkdir()
  if subprocess.run(
    ["mount", "-t", "tmpfs", "-o", "size=4m", "pdr_jax_test", str(path)], capture_output=True, check=False
  ).returncode:
    pytest.skip("mounting a tmpfs is not permitted here; the other case fills a disk by a limit")
  try:
    yield
  finally:
    subprocess.run(["umount", "--lazy", str(path)], check=True)


class Disturbed(toy.Stream):
  """Calls `act` before the batch with number `at` is drawn."""

  def __next__(self):
    if self._next == self.at:
      self.act()
    return super().__next__()


def disturbed(at, act):
  data = toy.data()
  data.train.__class__ = type("_", (Disturbed,), {"at": at, "act": staticmethod(act)})
  return data


def fill(folder):
  """Takes what room is left."""
  with open(os.path.join(folder, "filler"), "wb", buffering=0) as file, contextlib.suppress(OSError):
    while True:
      file.write(bytes(4096))


@pytest.mark.parametrize("kind", ["tmpfs", "limit"])
def test_a_full_disk_stops_with_one_line_and_leaves_the_last_good_checkpoint(whole, tmp_path, kind):
  """tmpfs: no room at all. limit: no file may grow (RLIMIT_FSIZE), where mounting is not permitted."""
  workdir = tmp_path / "disk" / "run"
  before = resource.getrlimit(resource.RLIMIT_FSIZE)

  def full():
    runs.until(lambda: runs.newest(workdir) == 4)  # it is written while the run goes on
    fill(tmp_path / "disk") if kind == "tmpfs" else resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))

  with small_tmpfs(tmp_path / "disk") if kind == "tmpfs" else contextlib.nullcontext():
    try:
      with pytest.raises(UserError) as error:
        train(workdir, data=disturbed(7, full))
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "no room is left on the disk" in str(error.value) and "\n" not in str(error.value)
    assert runs.newest(workdir) == 4 and "params/w" in runs.arrays(workdir, 4)
    with contextlib.suppress(FileNotFoundError):
      os.remove(tmp_path / "disk" / "filler")
    again = toy.data()
    assert train(workdir, data=again).exit_code == 0 and again.train.drawn[0] == 4
    same(workdir, whole)


def same(workdir, whole):
  assert runs.records(workdir) == runs.records(whole)
  a, b = runs.arrays(workdir, 12), runs.arrays(whole, 12)
  assert a.keys() == b.keys() and len(a) >= 6
  for name in b:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)


@pytest.mark.parametrize("lost", ["params", "run", "_CHECKPOINT_METADATA", "every second file"])
def test_half_a_checkpoint_is_passed_over(whole, tmp_path, capsys, lost):
  workdir = shutil.copytree(whole, tmp_path / "run")
  newest = workdir / "checkpoints" / "12"
  if lost == "every second file":
    for path in sorted(path for path in newest.rglob("*") if path.is_file())[::2]:
      path.unlink()
  else:
    shutil.rmtree(newest / lost) if (newest / lost).is_dir() else (newest / lost).unlink()
  result = train(workdir)
  out = capsys.readouterr().out
  assert result.exit_code == 0
  if "checkpoint of step 12 cannot be read" in out:
    assert "using the one before, of step 8" in out and "continuing from the checkpoint of step 8" in out
  # A name that Orbax does not take for a checkpoint any more, or a file that holds nothing of the state.
  else:
    assert "continuing from the checkpoint of step" in out
  same(workdir, whole)


OUT_OF_MEMORY = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes."
NUMBERS = ("EMFILE", "ENFILE", "ENOMEM", "EACCES", "EPERM", "EIO", "ESTALE", "ENOSPC", "EROFS")
SYSTEM = [OSError(number, os.strerror(number)) for number in (getattr(errno, name) for name in NUMBERS)]

BUCKET = [
  ConnectionResetError("reset by peer"),
  TimeoutError("no answer"),
  ValueError('FAILED_PRECONDITION: Error opening "zarr" driver: UNAVAILABLE: CURL error: no such host'),
  ValueError("UNAUTHENTICATED: Invalid Credentials"),
]


@pytest.mark.parametrize(
  "error",
  [
    MemoryError(), jax.errors.JaxRuntimeError(OUT_OF_MEMORY), *SYSTEM, ValueError(f"UNKNOWN: [{SYSTEM[0]}]"),
    *BUCKET,
  ],
  ids=repr,
)
def test_an_error_that_passes_moves_no_checkpoint(whole, tmp_path, monkeypatch, capsys, error):
  """Not the checkpoint's fault: both would be put aside otherwise, and the run begin at step 0."""
  workdir = shutil.copytree(whole, tmp_path / "run")
  before = sorted((workdir / "checkpoints").rglob("*"))

  def restore(*_, **__):
    raise ValueError("what Orbax makes of it") from error

  with monkeypatch.context() as patched, pytest.raises(UserError) as told:
    patched.setattr(checkpoints.ocp.CheckpointManager, "restore", restore)
    train(workdir)
  assert re.fullmatch(
    r"checkpoint of step 12 cannot be read now \(.+\); nothing was moved, run again", str(told.value)
  )
  assert sorted((workdir / "checkpoints").rglob("*")) == before
  assert not (workdir / checkpoints.BROKEN).exists()
  again = toy.data()
  assert train(workdir, data=again).exit_code == 0 and again.train.drawn == []
  assert "continuing from the checkpoint of step 12" in capsys.readouterr().out
  same(workdir, whole)


def edit_run(workdir, step, change):
  path = workdir / "checkpoints" / str(step) / "run" / "metadata"
  record = json.loads(path.read_text())
  change(record)
  path.write_text(json.dumps(record))


def test_a_checkpoint_of_another_version_is_refused_by_name(whole, tmp_path, monkeypatch):
  """A later one; an earlier one, told from it by its number or by having none; and nothing is moved."""
  workdir = shutil.copytree(whole, tmp_path / "run")
  reads = checkpoints.FORMAT
  for written, age in ((reads + 1, "a later"), (reads - 1, "an earlier"), (None, "an earlier")):
    edit_run(workdir, 12, lambda record: record.pop("format", None))
    if written:
      edit_run(workdir, 12, functools.partial(dict.update, format=written))
    formats = rf"\(format {written or 1}, this one reads {reads}\)"
    line = rf"checkpoint of step 12 .* was written by {age} pdr_jax {formats}"
    line += ": install that version, or train anew"
    with pytest.raises(UserError, match=line):
      train(workdir)
    with pytest.raises(UserError, match=line):
      checkpoints.load_variables(str(workdir), "latest")
    assert runs.newest(workdir) == 12
  monkeypatch.setattr(checkpoints, "FORMAT", 1)
  data = toy.data()  # the one without a number, as written before there was one, is of format 1
  assert train(workdir, data=data).exit_code == 0 and data.train.drawn == []


def test_the_run_id_is_kept_and_the_process_is_called_by_it(tmp_path, monkeypatch):
  titles = []  # a process whose environment others have moved may be unable to take one
  monkeypatch.setattr(distributed.setproctitle, "setproctitle", titles.append)
  train(tmp_path, toy.config(steps=4))
  record = json.loads((tmp_path / run_dir.VERSIONS).read_text())
  assert re.fullmatch(r"\d{8}-\d{6}_([0-9a-f]{7}\+?|no-commit)_pdr-heads-32_[0-9a-f]{8}", record["run"])
  assert (
    datetime.datetime.strptime(record["run"][:15], "%Y%m%d-%H%M%S").isoformat()
    == record["starts"][0]["time"][:19]
  )
  git = record["starts"][0]["git"]
  assert record["run"].split("_")[1] == (git["commit"][:7] + "+" * git["changed"] if git else "no-commit")
  train(tmp_path, toy.config(steps=8))
  again = json.loads((tmp_path / run_dir.VERSIONS).read_text())
  assert again["run"] == record["run"] and len(again["starts"]) == 2
  assert titles == [f"pdr_jax.main {record['run']}"] * 2
  other = toy.config(steps=4)
  other.optim.learning_rate = 0.5
  train(tmp_path / "other", other)
  assert json.loads((tmp_path / "other" / run_dir.VERSIONS).read_text())["run"][-8:] != record["run"][-8:]


def test_parameters_alone_are_restored(whole):
  params, step = checkpoints.load_variables(str(whole), "latest")
  read = runs.arrays(whole, 12)
  assert step == 12
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    np.testing.assert_array_equal(
      leaf, read["params/" + jax.tree_util.keystr(path, simple=True, separator="/")]
    )


def test_run_directories_of_before_a_key_existed_continue_and_free_keys_may_change(whole, tmp_path):
  workdir = shutil.copytree(whole, tmp_path / "run")
  config = json.loads((workdir / run_dir.CONFIG).read_text())
  for key in ("grace_seconds", "skip_nonfinite", "stall_minutes"):
    del config["train"][key]
  del config["data"]["frames"], config["init_from"]
  (workdir / run_dir.CONFIG).write_text(json.dumps(config))
  assert run_dir.read_config(str(workdir)).train.skip_nonfinite == 0
  assert train(workdir).exit_code == 0
  assert train(workdir, toy.config(grace_seconds=3.0, stall_minutes=1.0)).exit_code == 0
  with pytest.raises(UserError, match=r"train.skip_nonfinite: 0 -> 2"):
    train(workdir, toy.config(skip_nonfinite=2))


def test_a_run_directory_of_before_methods_had_their_own_sections_is_refused_by_name(whole, tmp_path):
  """Its configuration has the sections of all methods; nothing in it is changed."""
  workdir = shutil.copytree(whole, tmp_path / "run")
  path = workdir / run_dir.CONFIG
  path.write_text(json.dumps(json.loads(path.read_text()) | {"vq_vae": {"codes": 512}}))
  before = path.read_text()
  writer = r"an earlier pdr_jax \(0.1; it has config.vq_vae\)"
  refused = rf"config.json was written by {writer}: install that version, or train anew"
  for read in (
    train,
    lambda workdir: run_dir.read_config(str(workdir)),
    lambda workdir: checkpoints.load_variables(str(workdir)),
  ):
    with pytest.raises(UserError, match=refused):
      read(workdir)
  assert path.read_text() == before


def test_restoring_into_another_placement_keeps_every_bit(whole):
  """What was saved from four devices, onto one."""
  one = jax.sharding.SingleDeviceSharding(jax.devices()[-1])
  abstract = steps.abstract_state(toy.method(), 0, toy.data().validation[0])
  abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one), abstract)
  manager = checkpoints.Checkpoints(str(whole), keep=2, best_metric="val/error")
  state = manager.restore_latest(abstract).state
  manager.close()
  assert all(leaf.devices() == {jax.devices()[-1]} for leaf in jax.tree.leaves(state))
  np.testing.assert_array_equal(state.params["w"], runs.arrays(whole, 12)["params/w"])


def test_sigxfsz_is_not_what_ends_the_run():
  """Python ignores it, or the limit above would kill the process and the test would show nothing."""
  assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN
