"""A workdir in a bucket: the code for gs://, with a folder of this machine in the place of Google's servers.
"""

import os

import fsspec
import numpy as np
import pytest
import tensorboardX.record_writer
from etils import epath
from fsspec.implementations.local import LocalFileSystem
from orbax.checkpoint._src.path import gcs_utils
from orbax.checkpoint._src.serialization import tensorstore_utils
from support import runs, toy

from pdr_jax.cli import flags, forecast
from pdr_jax.cli.train import COMMAND
from pdr_jax.errors import UserError
from pdr_jax.evaluation import forecasts, representations
from pdr_jax.training import checkpoints, loop, run_dir

WORKDIR = "gs://bucket/some/run"
CONFIG = os.path.join(os.path.dirname(__file__), "..", "..", "configs", "quickstart.py")


class Bucket(LocalFileSystem):
  """What gcsfs is to epath; like a bucket, it appends to nothing and has no folders of its own."""

  root = ""

  def __init__(self, **_):
    super().__init__(auto_mkdir=True)

  @classmethod
  def _strip_protocol(cls, path):
    path = os.fspath(path)
    return (
      os.path.join(cls.root, path.removeprefix("gs://")).rstrip("/") if path.startswith("gs://") else path
    )

  def glob(self, path, **words):
    return [path_in_bucket.removeprefix(self.root + "/") for path_in_bucket in super().glob(path, **words)]

  def open(self, path, mode="rb", **words):
    assert "a" not in mode and "+" not in mode, f"{path} was opened to append"
    return super().open(path, mode, **words)


class Events:
  """tensorboardX's writer for gs://, which needs google-cloud-storage."""

  def directory_check(self, path):
    pass

  def open(self, path):
    return epath.Path(path).open("wb")


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """The folder that stands for WORKDIR."""
  monkeypatch.setattr(Bucket, "root", str(tmp_path / "buckets"))
  fsspec.register_implementation("gcs", Bucket, clobber=True)
  epath.backend.fsspec_backend._get_filesystem.cache_clear()
  # The place where arrays are written and read.
  monkeypatch.setattr(tensorstore_utils, "_normalize_path", Bucket._strip_protocol)
  # Asked whether it has a hierarchical namespace.
  monkeypatch.setattr(gcs_utils, "get_bucket", lambda name: None)
  monkeypatch.setitem(tensorboardX.record_writer.REGISTERED_FACTORIES, "gs", Events())
  monkeypatch.chdir(tmp_path)
  yield tmp_path / "buckets" / WORKDIR.removeprefix("gs://")
  epath.backend.fsspec_backend._get_filesystem.cache_clear()
  assert set(os.listdir(tmp_path)) <= {"buckets", "local"}, "something was written beside the bucket"


def train(workdir, config=None, data=None):
  return loop.train(config or toy.config(), str(workdir), method=toy.method(), data=data or toy.data())


class Ending(toy.Stream):
  """The run does not get its tenth batch."""

  def __next__(self):
    if self._next == 9:
      raise ConnectionError("gone")
    return super().__next__()


def test_a_run_in_a_bucket_resumes_and_equals_one_on_a_disk(folder, tmp_path, capsys):
  train(tmp_path / "local")
  cut = toy.data()
  cut.train.__class__ = Ending
  with pytest.raises(ConnectionError):
    train(WORKDIR, data=cut)
  assert runs.newest(folder) == 8 and [line["step"] for line in runs.records(folder)][-1] == 8
  again = toy.data()
  assert train(WORKDIR, data=again).exit_code == 0
  assert again.train.drawn[0] == 8 and "continuing from the checkpoint of step 8" in capsys.readouterr().out
  assert runs.records(folder) == runs.records(tmp_path / "local") != []
  a, b = runs.arrays(folder, 12), runs.arrays(tmp_path / "local", 12)
  assert a.keys() == b.keys() and len(a) >= 6
  for name in b:
    np.testing.assert_array_equal(a[name], b[name], err_msg=name)

  def names(place):
    return {name for name in os.listdir(place) if not name.startswith("_")}

  assert names(folder) == names(tmp_path / "local") and names(folder / "figures") == names(
    tmp_path / "local" / "figures"
  )
  assert any(path.stat().st_size > 100 for path in (folder / "tensorboard").iterdir())


def test_a_changed_configuration_and_a_broken_checkpoint_are_noticed_in_a_bucket(folder, capsys):
  train(WORKDIR)
  with pytest.raises(
    UserError, match=r"gs://bucket/some/run was started with another configuration: optim.learning_rate"
  ):
    changed = toy.config()
    changed.optim.learning_rate = 0.5
    train(WORKDIR, changed)
  (folder / "checkpoints" / "12" / "run" / "metadata").write_text("{")
  assert train(WORKDIR).exit_code == 0
  assert "moved to broken_checkpoints/, using the one before, of step 8" in capsys.readouterr().out
  assert (folder / "broken_checkpoints" / "12").is_dir()
  assert run_dir.read_config(WORKDIR).train.steps == 12
  params, step = checkpoints.load_variables(WORKDIR, "latest")
  np.testing.assert_array_equal(params["w"], runs.arrays(folder, step)["params/w"])
  assert step == 12


def test_a_forecast_goes_to_the_run_in_its_bucket(folder, monkeypatch):
  train(WORKDIR)
  clips = np.random.default_rng(0).uniform(0, 1, (1, 2, 16, 16, 3))
  monkeypatch.setattr(representations, "create", lambda *_: None)
  monkeypatch.setattr(forecasts, "of_split", lambda *_, **__: forecasts.Forecast(clips, clips, clips))
  assert forecast.main(["forecast", f"--workdir={WORKDIR}", "--split=test"]) == 0
  assert sorted(os.listdir(folder / forecast.FOLDER)) == ["clips.gif", "strip.png"]


def test_the_command_line_takes_buckets_of_google_and_no_others(tmp_path):

  def parse(workdir):
    return flags.parse(COMMAND, ["main", f"--config={CONFIG}", f"--workdir={workdir}"])

  assert parse(WORKDIR).workdir == WORKDIR
  assert parse("~/run").workdir == os.path.expanduser("~/run")
  with pytest.raises(UserError, match="--workdir s3://bucket/run: must be a folder, or gs://BUCKET/FOLDER"):
    parse("s3://bucket/run")


def test_a_bucket_that_cannot_be_reached_is_one_line(monkeypatch):
  """As without gcsfs."""
  monkeypatch.setattr(
    epath.backend.fsspec_backend,
    "fs",
    lambda path: (_ for _ in ()).throw(ImportError("Please install gcsfs")),
  )
  with pytest.raises(
    UserError, match="--workdir gs://bucket/some/run cannot be written to: Please install gcsfs"
  ):
    run_dir.check_run(WORKDIR, toy.config())
