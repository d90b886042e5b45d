"""A study: what is trained and evaluated, and what an interruption leaves.

The table's numbers and the pictures are checked too.
"""

import json
import os

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from pdr_jax.cli import configurations
from pdr_jax.config import base, variant
from pdr_jax.errors import UserError
from pdr_jax.evaluation import joined, records, study_file
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.records import Figure, Result, Score
from pdr_jax.evaluation.run import Outcome, folder_of
from pdr_jax.study import run as study
from pdr_jax.study import table
from pdr_jax.training import loop, run_dir

METHODS = ("pdr", "pdr:unsup3d", "simclr", "pixels")
LEVELS = {"pdr": 0.7, "pdr_unsup3d": 0.6, "simclr": 0.8, "pixels": 0.5}
CURVES = Figure("curves", "balanced_accuracy", "probes outside", "degrees", "balanced accuracy")


def evaluation(level: float, blocks=("depth", "all")) -> dict[str, Result]:
  """What an evaluation gives, of every kind that the study shows, with scores about `level`."""
  linear = [
    Score(
      "linear",
      "attributes",
      block,
      "logistic/accuracy",
      (level, level + 0.02),
      "higher",
      "attributes, linear, accuracy",
    )
    for block in blocks
  ]
  bins = {"0": (0.0, 0.0), "0-10": (5.0, 0.1), "10-20": (14.0, 0.3)}
  curve = [
    Score(
      "robustness/light",
      "attributes",
      block,
      f"{name}/balanced_accuracy",
      (level - less,),
      "higher",
      place=at,
    )
    for block in blocks
    for name, (at, less) in bins.items()
  ]
  matrix = [
    Score("factors", factor, block, "r2", (level if factor == block else 0.1,), "higher", f"{factor}, R2")
    for block in ("depth", "light")
    for factor in ("depth", "light")
  ]
  side = Score("geometry", "depth", "model", "side_x_100", (10 * level,), "lower", "depth, SIDE x 100")
  return {
    "linear/attributes": Result("linear/attributes", {}, tuple(linear)),
    "robustness/light": Result("robustness/light", {}, tuple(curve), figure=CURVES),
    "factors": Result("factors", {}, tuple(matrix), figure=Figure("matrix", "r2", "who tells what")),
    "geometry": Result("geometry", {}, (side,)),
    "segmentation": Result("segmentation", {}, skipped="no maps"),
  }


@pytest.fixture
def config():
  run = variant(base(), "small")
  run.train.steps = 3
  return ConfigDict(dict(methods=METHODS, seeds=2, run=run, evaluation=get_config()))


class Machine:
  """Stands in for training and evaluation: notes what is asked for, and may be stopped or fail."""

  def __init__(self, monkeypatch):
    self.trained, self.evaluated = [], []
    self.stop_at = self.fail_at = self.broken_at = None
    monkeypatch.setattr(study, "train", self.train)
    monkeypatch.setattr(study, "evaluate", self.evaluate)
    monkeypatch.setattr(study, "draw", lambda *arguments: None)  # seconds of matplotlib; drawn once, below

  def train(self, run, folder, read_first):
    name = os.path.relpath(folder, os.path.dirname(os.path.dirname(folder)))
    run_dir.check_run(folder, run)
    run_dir.record_start(folder, run)
    if name == self.fail_at:
      raise UserError("the loss is NaN at step 2")
    if name == self.stop_at:
      return loop.Result(143, None)
    self.trained.append(
      (name, run.method, run.seed, run.get("loocc", {}).get("weight"), run.train.best_metric)
    )
    with open(os.path.join(folder, run_dir.SUMMARY), "w") as file:
      json.dump({"step": run.train.steps}, file)
    return loop.Result(0, {})

  def evaluate(self, config, folder, method, say):
    seed = run_dir.read_config(folder).seed
    name = os.path.basename(os.path.dirname(folder))
    self.evaluated.append((name, seed, method))
    results, failed = evaluation(LEVELS[name] + 0.04 * seed), ()
    if f"{name}/seed_{seed}" == self.broken_at:
      results["geometry"], failed = Result("geometry", {}, failed="ValueError: no"), ("geometry",)
    where = folder_of(folder, method)
    for task, result in results.items():
      records.write(os.path.join(where, f"{records.file_name(task)}.json"), result)
    return Outcome(results, where, failed)


def run_suite(config, workdir, lines=None):
  return study.run_suite(config, str(workdir), say=(lines if lines is not None else []).append)


def test_every_method_over_seeds_and_the_table(config, tmp_path, monkeypatch):
  machine, lines = Machine(monkeypatch), []
  assert run_suite(config, tmp_path, lines) == 0
  names = [f"{method}/seed_{seed}" for seed in range(2) for method in ("pdr", "pdr_unsup3d", "simclr")]
  assert [entry[0] for entry in machine.trained] == names
  assert [entry[1:] for entry in machine.trained[:3]] == [
    ("pdr", 0, base().loocc.weight, "val/reconstruction"),
    ("pdr", 0, 0.0, "val/reconstruction"),
    ("simclr", 0, None, "val/nt_xent"),
  ]
  # Pixels have no second seed.
  assert machine.evaluated.count(("pixels", 0, "pixels")) == 1 and len(machine.evaluated) == 7
  assert lines[0].startswith("[1 of 7] pdr, seed 0")
  stored = json.loads((tmp_path / "suite.json").read_text())["rows"]
  row = {row["title"]: row for row in stored}["attributes, linear, accuracy"]
  cells = {(cell["method"], cell["block"]): cell for cell in row["cells"]}
  assert row["direction"] == "higher" and cells["pdr", ""]["per_seed"] == pytest.approx([0.71, 0.75])
  assert cells["pdr", ""]["std"] == pytest.approx(np.std([0.71, 0.75], ddof=1))
  assert cells["pixels", ""]["std"] is None
  assert cells["pixels", ""]["probe_std"] == pytest.approx(np.std([0.5, 0.52], ddof=1))
  text = (tmp_path / "suite.md").read_text()
  line = (
    "| attributes, linear, accuracy | 0.730 ± 0.028 | 0.630 ± 0.028 | **0.830 ± 0.028** | 0.510 ± 0.014 |"
  )
  assert line in text
  side = next(line for line in text.splitlines() if line.startswith("| depth, SIDE x 100"))
  assert side.split("|")[5].strip() == "**5.000**" and "**" not in side.split("|")[2]  # lower is better
  assert "## pdr by feature block" in text and "| task | depth | light | all |" in text


def test_what_is_written_is_read_again(config, tmp_path, monkeypatch):
  Machine(monkeypatch)
  run_suite(config, tmp_path)
  read = study_file.read(str(tmp_path))
  assert {method: len(folders) for method, folders in read.methods.items()} == {
    "pdr": 2,
    "pdr:unsup3d": 2,
    "simclr": 2,
    "pixels": 1,
  }
  rows = {row.title: row for row in joined.rows(study_file.results(read))}
  assert rows["attributes, linear, accuracy"].cells["simclr", ""].per_seed == pytest.approx([0.81, 0.85])


@pytest.mark.parametrize(
  ("text", "message"),
  [
    (
      '{"rows": {}, "failed": {}, "methods": ["pdr"]}',
      "another version of pdr_jax \\(format 1, this one reads 2\\)",
    ),
    ('{"format": 2, "methods": ["pdr"], "failed": {}}', "is damaged"),
    ('{"format": 2', "is not valid JSON"),
    ("[]", "is not valid JSON"),
  ],
)
def test_an_older_or_damaged_file_is_refused_by_name(tmp_path, text, message):
  (tmp_path / "suite.json").write_text(text)
  with pytest.raises(UserError, match=f"{tmp_path / 'suite.json'}.*{message}"):
    study_file.read(str(tmp_path))


def test_a_task_that_no_table_knows_stands_in_the_table():
  """Its row, its better side and its title come with its records."""

  def results(*values):
    return [
      {"new": Result("new", {}, (Score("new", "", "all", "m", (v,), "lower", "something new"),))}
      for v in values
    ]

  rows = joined.rows({"a": results(0.5, 0.7), "b": results(0.4)})
  text = table.markdown(rows, ["a", "b"], {}, "")
  assert "| something new | 0.600 ± 0.141 | **0.400** |" in text


def test_the_figures(tmp_path):
  results = {"pdr": [evaluation(0.7), evaluation(0.75)], "pdr:unsup3d": [evaluation(0.6)]}
  study.draw(str(tmp_path), results)
  assert sorted(os.listdir(tmp_path / "figures")) == [
    "factors_pdr.png",
    "factors_pdr_unsup3d.png",
    "robustness_light.png",
  ]
  for name in os.listdir(tmp_path / "figures"):
    with Image.open(tmp_path / "figures" / name) as image:
      assert min(image.size) > 200 and np.asarray(image.convert("L")).std() > 10  # not blank


def test_a_stopped_suite_goes_on_where_it_was(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  machine.stop_at = "simclr/seed_0"
  assert run_suite(config, tmp_path) == 143
  assert list(study_file.read(str(tmp_path)).methods) == ["pdr", "pdr:unsup3d"]
  before, machine.stop_at = len(machine.trained), None
  assert run_suite(config, tmp_path) == 0
  names = [entry[0] for entry in machine.trained]
  assert before == 2 and len(names) == len(set(names)) == 6  # nothing was trained twice
  config.run.train.steps = 5
  run_suite(config, tmp_path)
  assert len(machine.trained) == 12  # further, not as it was


def test_a_run_that_fails_is_named_and_the_others_go_on(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  machine.fail_at = "simclr/seed_1"
  assert run_suite(config, tmp_path) == 0
  text = (tmp_path / "suite.md").read_text()
  assert "* simclr, seed 1: the loss is NaN at step 2" in text and "0.810" in text


def test_a_task_that_fails_is_named_and_is_in_the_exit_code(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  machine.broken_at = "pdr/seed_1"
  assert run_suite(config, tmp_path) == 1
  text = (tmp_path / "suite.md").read_text()
  assert "* pdr, seed 1, geometry: ValueError: no" in text and "| depth, SIDE x 100 | 7.000 |" in text


def test_a_changed_configuration_is_not_mixed_in(config, tmp_path, monkeypatch):
  Machine(monkeypatch)
  config.methods, config.seeds = ("simclr",), 1
  run_suite(config, tmp_path)
  config.run.optim.learning_rate = 0.5
  with pytest.raises(UserError, match=r"every run of the suite failed.*optim.learning_rate: 0.0003 -> 0.5"):
    run_suite(config, tmp_path)


@pytest.mark.parametrize(
  ("change", "message"),
  [
    (lambda c: c.update(methods=("pdr:unsup4d",)), "pdr:unsup4d: unknown config variant"),
    (lambda c: c.update(methods=("stylegan",)), "'stylegan': must be one of"),
    (lambda c: c.run.train.update(batch_size=0), "train.batch_size = 0"),
  ],
)
def test_impossible_configurations_stop_it_first(config, tmp_path, monkeypatch, change, message):
  machine = Machine(monkeypatch)
  change(config)
  with pytest.raises(UserError, match=message):
    run_suite(config, tmp_path)
  assert not machine.trained


def test_a_method_by_its_dotted_path_is_one_of_a_study(config, tmp_path):
  entries = study.plan(
    ConfigDict(config.to_dict() | {"methods": ("support.toy_scene:narrow", "pca")}), str(tmp_path)
  )
  assert [(entry.method, entry.seed) for entry in entries] == [
    ("support.toy_scene:narrow", 0),
    ("pca", 0),
    ("support.toy_scene:narrow", 1),
  ]
  assert entries[0].run.method == "support.toy_scene" and entries[0].folder.endswith(
    "support.toy_scene_narrow/seed_0"
  )


def test_the_suite_files_are_configurations():
  for name, data in (
    ("", "people"),
    (":cars", "embedded_cars"),
    (":celeb_a", "image_folder"),
    (":folder", "image_folder"),
  ):
    overrides = [
      configurations.Override("run.train.steps", "5"),
      configurations.Override("evaluation.seeds", "2"),
    ]
    read = configurations.resolve(f"configs/eval/suite.py{name}", overrides)
    assert read.run.data.name == data and read.run.train.steps == 5 and read.evaluation.seeds == 2
  assert configurations.resolve("configs/eval/yale_b.py", []).identity == "subject"
  assert configurations.resolve("configs/eval/ssv.py:cars", []).run.ssv.azimuth == 180
