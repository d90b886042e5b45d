"""Three toy methods, a toy source and a toy task, each one file that no other knows, through every command.

A GAN on grey pictures, a method on clips, and a second stage on top of it: trained, evaluated, put into a
study's table, exported, and loaded again in another process.
"""

import json
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from support.tolerances import sum_tolerance

import pdr_jax
from pdr_jax.cli import evaluate as evaluate_command
from pdr_jax.cli import export as export_command
from pdr_jax.cli import study as study_command
from pdr_jax.cli import train as train_command
from pdr_jax.config import base
from pdr_jax.evaluation.config import get_config as evaluation_config
from pdr_jax.study.run import work

TESTS = os.path.dirname(os.path.abspath(__file__))
BLOCKS = {"toy_gan": {"features"}, "toy_clips": {"content"}, "toy_forecast": {"last", "next"}}
TRAIN = ("steps=4", "batch_size=8", "log_every=1", "validate_every=2", "figure_every=4", "checkpoint_every=2")
LOAD = """
import sys, numpy, pdr_jax
model = pdr_jax.load(sys.argv[1])
inputs = numpy.load(sys.argv[2])
numpy.savez(sys.argv[3], **{name: numpy.asarray(block) for name, block in model.encode(inputs).items()})
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("toys")


@pytest.fixture(scope="module")
def runs(folder):
  """The run directories of the three toys, trained by the command."""
  config = folder / "toy.py"
  config.write_text("from pdr_jax.config import base\n\ndef get_config():\n  return base()\n")
  workdirs = {}
  for name in BLOCKS:
    workdirs[name] = str(folder / name)
    words = ["main", f"--config={config}", f"--workdir={workdirs[name]}", f"--config.method=support.{name}"]
    words += ["--config.data.name=support.toy_source", *(f"--config.train.{key}" for key in TRAIN)]
    words += ["--config.data.train_examples=64", "--config.data.val_examples=24"]
    words += [f"--config.init_from={workdirs['toy_clips']}"] if name == "toy_forecast" else []
    assert train_command.main(words) == 0
  return workdirs


@pytest.mark.parametrize("name", BLOCKS)
def test_trained_and_evaluated(runs, name):
  words = ["evaluate", f"--workdir={runs[name]}", "--config.tasks=('linear', 'support.toy_task')"]
  assert evaluate_command.main([*words, "--config.batch_size=8", "--config.seeds=2"]) == 0
  with open(os.path.join(runs[name], "evaluation", "linear_kind.json")) as file:
    result = json.load(file)
  blocks = {score["block"] for score in result["scores"]}
  assert BLOCKS[name] <= blocks
  assert all(len(score["values"]) in (1, 2) for score in result["scores"])
  table = open(os.path.join(runs[name], "evaluation", "table.md")).read()
  assert "linear/kind" in table and "toy" in table.lower()


def exported(workdir, folder) -> str:
  """The export of a run's newest checkpoint."""
  words = ["export", f"--workdir={workdir}", f"--out={folder}", "--checkpoint=latest"]
  assert export_command.main(words) == 0
  return str(folder)


@pytest.mark.parametrize("name", BLOCKS)
def test_exported_and_loaded_in_another_process(runs, folder, name):
  out = exported(runs[name], folder / f"exported_{name}")
  model = pdr_jax.load(out)
  config = model.config["data"]
  frames = (config["frames"],) if config["frames"] else ()
  shape = (5, *frames, config["side"], config["side"], config["channels"])
  inputs = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
  here = jax.device_get(model.encode(inputs))
  np.save(folder / "inputs.npy", inputs)
  words = [sys.executable, "-c", LOAD, out, str(folder / "inputs.npy"), str(folder / "blocks.npz")]
  root = os.path.dirname(TESTS)  # not tests/: the export needs nothing of the toy's module
  subprocess.run(words, check=True, env=os.environ | {"PYTHONPATH": root}, cwd=folder)
  with np.load(folder / "blocks.npz") as there:
    assert set(there.files) == set(here) == BLOCKS[name]
    for block in here:
      # The same products on another number of devices: sums of 1,000 of numbers of up to one, times smaller
      # weights.
      np.testing.assert_allclose(there[block], here[block], rtol=0, atol=sum_tolerance(1000, 0.1))


def test_an_export_is_evaluated_as_its_run(runs, folder):
  out = exported(runs["toy_forecast"], folder / "exported_again")
  workdir = str(folder / "evaluation_of_an_export")
  words = ["evaluate", f"--export={out}", f"--workdir={workdir}", "--config.tasks=('linear',)"]
  assert evaluate_command.main([*words, "--config.batch_size=8", "--config.seeds=2"]) == 0
  assert os.path.exists(os.path.join(workdir, "evaluation", "linear_kind.json"))


@pytest.mark.slow
@pytest.mark.parametrize(
  "methods",
  [("toy_gan", "toy_clips", "random", "pixels"), ("toy_forecast", "toy_clips", "random", "pca")],
  ids=lambda methods: methods[0],
)
def test_a_row_in_the_table_of_a_study(runs, folder, methods):
  """Toys beside what nothing is trained for, a second stage too."""
  methods = tuple(f"support.{name}" if name in BLOCKS else name for name in methods)
  run, probes = base(methods[0]), evaluation_config()
  run.data.update(name="support.toy_source", train_examples=64, val_examples=24)
  run.init_from = runs["toy_clips"] if "support.toy_forecast" in methods else ""
  run.train.update(steps=2, batch_size=8, validate_every=2, checkpoint_every=2)
  run.train.update(figure_every=0, gradient_norms_every=0)
  probes.update(tasks=("linear",), batch_size=8, seeds=2)
  config = ConfigDict(dict(methods=methods, seeds=1, run=run, evaluation=probes))
  workdir = str(folder / f"study_{methods[0]}")
  assert work(config, workdir) == 0
  table = open(os.path.join(workdir, "study.md")).read()
  assert all(method in table for method in methods) and "kind, linear, accuracy" in table
  words = ["study", f"--workdir={workdir}"]
  assert study_command.main([*words, "--status"]) == 0
  assert study_command.main([*words, f"--with={workdir}", f"--into={folder}/results.md"]) == 0
  with open(folder / "results.md") as file:
    text = file.read()
  parts = (f"<!-- study study_{methods[0]}: begin", "| kind, linear, accuracy |", "JAX ")
  assert all(part in text for part in parts)
  assert study_command.main(words) == 0  # everything is done
