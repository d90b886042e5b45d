"""The command line: errors are one line and exit code 2, and a run from the command line reaches its end."""

import os
import subprocess
import sys

import pytest

from pdr_jax import command_line
from pdr_jax.errors import UserError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BASE = """
from pdr_jax.config import base
def get_config(variant=""):
  if variant not in ("", "wide"):
    raise ValueError(f"unknown variant {variant!r}")
  return base()
"""


@pytest.fixture
def config_file(tmp_path):
  path = tmp_path / "some_config.py"
  path.write_text(BASE)
  return str(path)


def parse(*words):
  return command_line.parse(["main", *map(str, words)])


def test_overrides_reach_the_config(config_file):
  words = ["--config.data.side=32", "--config.loss.flip=1", "--noconfig.data.flip", "--config.loocc.factors=('light',)"]
  arguments = parse("--config", config_file + ":wide", "--workdir=~/x", *words, "--config.train.steps", "7", "--override_config")
  config = arguments.config
  assert (config.data.side, config.loss.flip, config.loocc.factors, config.train.steps) == (32, 1.0, ("light",), 7)
  assert arguments.workdir == os.path.expanduser("~/x") and arguments.override_config


@pytest.mark.parametrize(
    "words, said",
    [
        (["--config.data.sid=3"], "config.data.sid is unknown; did you mean config.data.side?"),
        (["--config.dta.side=3"], "did you mean config.data.side?"),
        (["--config.data=3"], "config.data is a section"),
        (["--config.data.side=abc"], "config.data.side = abc: must be int"),
        (["--config.data.side=32.5"], "config.data.side = 32.5: must be int"),
        (["--config.data.flip=perhaps"], "config.data.flip = perhaps: must be bool"),
        (["--config.optim.learning_rate=fast"], "config.optim.learning_rate = fast: must be float"),
        (["--config.data.side"], "config.data.side has no value"),
        (["--wrokdir=x"], "workdir"),
        (["stray"], "unexpected argument 'stray'"),
    ],
)
def test_bad_flags_are_one_line(config_file, words, said):
  with pytest.raises(UserError) as error:
    parse("--config", config_file, "--workdir", "w", *words)
  assert said in str(error.value) and "\n" not in str(error.value)


def test_bad_config_files_are_one_line(config_file, tmp_path):
  (tmp_path / "broken.py").write_text("def get_config(:\n")
  for file, said in [
      ("none.py", "No such file"), (config_file + ":tall", "unknown variant 'tall'"), (str(tmp_path / "broken.py"), "invalid syntax"),
  ]:  # fmt: skip
    with pytest.raises(UserError) as error:
      parse("--config", file, "--workdir", "w")
    assert said in str(error.value) and "\n" not in str(error.value)
  with pytest.raises(UserError, match="--workdir is missing"):
    parse("--config", config_file)
  with pytest.raises(UserError, match="--config is missing"):
    parse("--workdir", "w", "--config.data.side=3")


def run(*words):
  command = [sys.executable, "-m", "pdr_jax.main", *map(str, words)]
  return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=500, check=False)


def test_exit_codes(config_file, tmp_path):
  """No arguments: usage. A bad key is found before JAX is imported, a bad value and a workdir after. Each is one line and code 2."""
  usage = run()
  assert usage.returncode == 2 and "--workdir" in usage.stdout and "Traceback" not in usage.stderr
  (tmp_path / "file").write_text("")
  for words, said in [
      (["--workdir", tmp_path / "a", "--config.data.sid=3"], "did you mean config.data.side?"),
      (["--workdir", tmp_path / "a", "--config.data.side=48"], "config.data.side = 48"),
      (["--workdir", tmp_path / "file" / "b"], "cannot be written to"),
  ]:
    result = run("--config", config_file, *words)
    assert result.returncode == 2
    assert result.stderr.startswith("error: ") and said in result.stderr and result.stderr.count("\n") == 1, result.stderr
  assert not (tmp_path / "a").exists()
