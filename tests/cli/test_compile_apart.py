"""Programs compiled by another process: when it pays, what the run then finds, and what happens without."""

import os
import subprocess
import sys
from types import SimpleNamespace

import jax
import pytest
from etils import epath
from support import runs

from pdr_jax.cli import compile_apart
from pdr_jax.cli import train as train_command
from pdr_jax.config import base

WORDS = ("steps=4", "batch_size=8", "log_every=1", "validate_every=2", "figure_every=4", "checkpoint_every=2")


def toy_words(folder, method="toy_gan"):
  """The command that trains a toy."""
  config = folder / "toy.py"
  config.write_text("from pdr_jax.config import base\n\ndef get_config():\n  return base()\n")
  words = ["main", f"--config={config}", f"--workdir={folder / 'run'}", f"--config.method=support.{method}"]
  words += ["--config.data.name=support.toy_source", "--config.data.train_examples=64"]
  return [*words, "--config.data.val_examples=24", *(f"--config.train.{key}" for key in WORDS)]


@pytest.fixture
def no_marks(tmp_path, monkeypatch):
  """Nothing has been compiled in another process before."""
  monkeypatch.setattr(compile_apart, "_marker", lambda config: epath.Path(tmp_path, "cache", "mark"))


def test_it_pays_for_long_fresh_runs_that_nobody_has_compiled(tmp_path, no_marks):
  config = base()
  assert config.train.steps >= compile_apart.WORTH
  assert compile_apart.pays(config, str(tmp_path / "new"))
  (tmp_path / "old" / "checkpoints").mkdir(parents=True)
  assert not compile_apart.pays(config, str(tmp_path / "old"))
  for key, value in {"steps": compile_apart.WORTH - 1, "steps_per_dispatch": 4}.items():
    other = base()
    other.train[key] = value
    assert not compile_apart.pays(other, str(tmp_path / "new"))
  kept = jax.config.jax_enable_compilation_cache
  jax.config.update("jax_enable_compilation_cache", False)
  try:
    assert not compile_apart.pays(config, str(tmp_path / "new"))
  finally:
    jax.config.update("jax_enable_compilation_cache", kept)
  (tmp_path / "cache").mkdir()
  (tmp_path / "cache" / "mark").touch()
  assert not compile_apart.pays(config, str(tmp_path / "new"))


def test_the_mark_belongs_to_configuration_and_flags(monkeypatch):
  monkeypatch.setenv("XLA_FLAGS", "")
  config, mark = base(), compile_apart._marker(base())
  assert compile_apart._marker(base()) == mark
  config.train.batch_size += 1
  assert compile_apart._marker(config) != mark
  monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_max_isa=AVX2")
  assert compile_apart._marker(base()) != mark


@pytest.mark.parametrize("code, takes_files", [(0, True), (1, True), (0, False)])
def test_a_run_goes_on_whatever_becomes_of_the_other_process(
  code, takes_files, tmp_path, no_marks, monkeypatch
):
  asked = []

  def other(command, env, check):
    asked.append((command, env[compile_apart.COMPILE_ONLY]))
    return subprocess.CompletedProcess(command, code)

  monkeypatch.setattr(compile_apart, "WORTH", 4)
  monkeypatch.setattr(compile_apart, "subprocess", SimpleNamespace(run=other))
  if not takes_files:
    (tmp_path / "cache").touch()  # a file where the folder should be
  words = toy_words(tmp_path)
  assert train_command.main(words) == 0
  assert asked == [([sys.executable, "-m", "pdr_jax.main", *words[1:]], "1")]
  assert (tmp_path / "run" / "summary.json").exists()
  assert (tmp_path / "cache" / "mark").exists() == (code == 0 and takes_files)


def test_the_other_process_leaves_it_to_the_run_to_tell_what_is_wrong(tmp_path, monkeypatch, capsys):
  config = base()
  config.data.update(name="image_folder", path=str(tmp_path / "nowhere"))
  assert compile_apart.compile_all(config) == 1
  told = capsys.readouterr()
  assert told.out == told.err == ""


@pytest.mark.slow
def test_the_run_compiles_no_step_validation_or_pictures_again(tmp_path):
  """Programs that the other process compiled, by their names in JAX's cache, against those after the run."""
  cache = tmp_path / "cache"
  place = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}

  def programs(**more):
    command = [*runs.MODULE, "pdr_jax.main", *toy_words(tmp_path)[1:]]
    subprocess.run(command, env=runs.environment(**place, **more), check=True, timeout=300)
    return {name for name in os.listdir(cache) if name.startswith(("jit__fun", "jit_pictures", "jit_init"))}

  compiled = programs(**{compile_apart.COMPILE_ONLY: "1"})
  assert not (tmp_path / "run").exists()
  assert len(compiled) >= 4  # and `replicate`
  assert programs() == compiled
  assert jax.default_backend() == "cpu"
