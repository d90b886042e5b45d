"""The suite: what is trained and evaluated and how often, what an interruption leaves, the numbers of the table, and its pictures."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from pdr_jax import evaluate as program
from pdr_jax.config import base, variant
from pdr_jax.errors import UserError
from pdr_jax.evaluation import suite, suite_table
from pdr_jax.evaluation.config import get_config
from pdr_jax.training import run_dir
from pdr_jax.training.loop import Result

METHODS = ("pdr", "pdr:unsup3d", "simclr", "pixels")


def over(*values):
  return {"mean": float(np.mean(values)), "std": float(np.std(values, ddof=1)) if len(values) > 1 else None, "per_seed": list(values)}


def evaluation(level: float) -> dict[str, dict]:
  """What `evaluate` returns, of every kind that the table reads, with scores about `level`."""
  scores = {name: over(level, level + 0.02) for name in ("accuracy", "balanced_accuracy", "macro_f1", "average_precision", "nmi")}
  subsets = {"depth": ["depth"], "all": ["depth", "light"]}
  each = lambda entry: {name: entry for name in subsets}
  curve = {"0": scores, "0-10": {"balanced_accuracy": over(level - 0.1), "accuracy": over(0.5)},
           "10-20": {"balanced_accuracy": over(level - 0.3), "accuracy": over(0.5)}}
  return {
      "linear/attributes": {"protocol": {"subsets": subsets}, "results": each({"logistic": {"scores": scores}})},
      "clustering/who": {"protocol": {"subsets": subsets}, "results": each({"ward": scores, "kmeans": scores})},
      "robustness/light": {"protocol": {"subsets": subsets}, "degrees": {"0": 0.0, "0-10": 5.0, "10-20": 14.0},
                           "results": each({"attributes": curve})},
      "factors": {"results": {"depth": {"light": 0.1, "depth": level}, "light": {"light": level, "depth": 0.2},
                              "all": {"light": level, "depth": level}}},
      "geometry": {"results": {"model": {"side": level / 10, "mad": 20 + level}}},
      "segmentation": {"skipped": "no maps"},
  }


@pytest.fixture
def config():
  run = variant(base(), "small")
  run.train.steps = 3
  settings = program_config(run)
  return settings


def program_config(run):
  from ml_collections import ConfigDict

  return ConfigDict(dict(methods=METHODS, seeds=2, run=run, evaluation=get_config()))


class Machine:
  """Stands in for training and evaluation: notes what is asked for, and may be stopped or fail."""

  def __init__(self, monkeypatch):
    self.trained, self.evaluated, self.stop_at, self.fail_at = [], [], None, None
    monkeypatch.setattr(suite, "train", self.train)
    monkeypatch.setattr(suite, "draw", lambda *arguments: None)  # seconds of matplotlib; drawn once, below

  def train(self, run, folder):
    name = os.path.relpath(folder, os.path.dirname(os.path.dirname(folder)))
    run_dir.check_run(folder, run)
    run_dir.record_start(folder, run)
    if name == self.fail_at:
      raise UserError("the loss is NaN at step 2")
    if name == self.stop_at:
      return Result(143, None)
    self.trained.append((name, run.method, run.seed, run.loocc.weight, run.train.best_metric))
    with open(os.path.join(folder, run_dir.SUMMARY), "w") as file:
      json.dump({"step": run.train.steps}, file)
    return Result(0, {})

  def evaluate(self, config, folder, method, say):
    seed = run_dir.read_config(folder).seed
    self.evaluated.append((os.path.basename(os.path.dirname(folder)), seed, method))
    return evaluation({"pdr": 0.7, "pdr_unsup3d": 0.6, "simclr": 0.8, "pixels": 0.5}[self.evaluated[-1][0]] + 0.04 * seed)


def test_every_method_over_seeds_and_the_table(config, tmp_path, monkeypatch):
  machine, lines = Machine(monkeypatch), []
  assert suite.run_suite(config, str(tmp_path), machine.evaluate, say=lines.append) == 0
  assert [entry[0] for entry in machine.trained] == [f"{m}/seed_{s}" for s in range(2) for m in ("pdr", "pdr_unsup3d", "simclr")]
  assert [entry[1:] for entry in machine.trained[:3]] == [
      ("pdr", 0, base().loocc.weight, "val/reconstruction"), ("pdr", 0, 0.0, "val/reconstruction"),
      ("simclr", 0, base().loocc.weight, "val/nt_xent")]
  assert machine.evaluated.count(("pixels", 0, "pixels")) == 1 and len(machine.evaluated) == 7  # pixels have no second seed
  assert lines[0].startswith("[1 of 7] pdr, seed 0")
  rows = json.loads((tmp_path / "suite.json").read_text())["rows"]
  row = rows["attributes, linear, accuracy"]
  assert row["pdr"]["per_seed"] == pytest.approx([0.71, 0.75]) and row["pdr"]["std"] == pytest.approx(np.std([0.71, 0.75], ddof=1))
  assert row["pixels"]["std"] is None and row["pixels"]["probe_std"] == pytest.approx(np.std([0.5, 0.52], ddof=1))
  assert rows["attributes, outside the range of light, balanced accuracy"]["pdr"]["per_seed"] == pytest.approx([0.5, 0.54])
  text = (tmp_path / "suite.md").read_text()
  assert "| attributes, linear, accuracy | 0.730 ± 0.028 | 0.630 ± 0.028 | **0.830 ± 0.028** | 0.510 ± 0.014 |" in text
  side = next(line for line in text.splitlines() if line.startswith("| depth, SIDE x 100"))
  assert side.split("|")[5].strip() == "**5.000**" and "**" not in side.split("|")[2]  # lower is better
  assert "## pdr by feature block" in text and "| task | depth | all |" in text


def test_the_figures(tmp_path):
  results = {"pdr": [evaluation(0.7), evaluation(0.75)], "pdr:unsup3d": [evaluation(0.6)]}
  suite.draw(str(tmp_path), results)
  for name in ("robustness_light", "factors_pdr_unsup3d", "factors_pdr"):
    with Image.open(tmp_path / "figures" / f"{name}.png") as image:
      assert min(image.size) > 200 and np.asarray(image.convert("L")).std() > 10  # not blank
  matrix = suite_table.factor_matrices(results)["pdr"]
  assert matrix["depth"]["depth"] == pytest.approx(0.725) and matrix["light"]["depth"] == pytest.approx(0.2)
  lines = suite_table.robustness_lines(results, "robustness/light")["attributes"]
  assert lines["pdr"][0] == pytest.approx((0.0, 0.735, np.std([0.71, 0.76], ddof=1))) and [p[0] for p in lines["pdr"]] == [0.0, 5.0, 14.0]


def test_a_stopped_suite_goes_on_where_it_was(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  machine.stop_at = "simclr/seed_0"
  assert suite.run_suite(config, str(tmp_path), machine.evaluate, say=lambda line: None) == 143
  assert list(json.loads((tmp_path / "suite.json").read_text())["methods"]) == ["pdr", "pdr:unsup3d"]
  before, machine.stop_at = len(machine.trained), None
  assert suite.run_suite(config, str(tmp_path), machine.evaluate, say=lambda line: None) == 0
  names = [entry[0] for entry in machine.trained]
  assert before == 2 and len(names) == len(set(names)) == 6  # nothing was trained twice
  config.run.train.steps = 5
  suite.run_suite(config, str(tmp_path), machine.evaluate, say=lambda line: None)
  assert len(machine.trained) == 12  # further, not as it was


def test_a_run_that_fails_is_named_and_the_others_go_on(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  machine.fail_at = "simclr/seed_1"
  assert suite.run_suite(config, str(tmp_path), machine.evaluate, say=lambda line: None) == 0
  text = (tmp_path / "suite.md").read_text()
  assert "* simclr, seed 1: the loss is NaN at step 2" in text and "0.810" in text


def test_a_changed_configuration_is_not_mixed_in(config, tmp_path, monkeypatch):
  machine, lines = Machine(monkeypatch), []
  config.methods, config.seeds = ("simclr",), 1
  suite.run_suite(config, str(tmp_path), machine.evaluate, say=lambda line: None)
  config.run.optim.learning_rate = 0.5
  with pytest.raises(UserError, match=r"every run of the suite failed.*optim.learning_rate: 0.0003 -> 0.5"):
    suite.run_suite(config, str(tmp_path), machine.evaluate, say=lines.append)


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c.update(methods=("pdr:unsup4d",)), "pdr:unsup4d: unknown config variant"),
    (lambda c: c.update(methods=("stylegan",)), "'stylegan': must be one of"),
    (lambda c: c.run.train.update(batch_size=0), "train.batch_size = 0"),
])
def test_impossible_configurations_stop_it_first(config, tmp_path, monkeypatch, change, message):
  machine = Machine(monkeypatch)
  change(config)
  with pytest.raises(UserError, match=message):
    suite.run_suite(config, str(tmp_path), machine.evaluate, say=lambda line: None)
  assert not machine.trained


def test_features_of_one_block_stand_for_all():
  one = evaluation(0.5)
  for task in ("linear/attributes", "clustering/who", "robustness/light"):
    one[task]["results"] = {"pixels": one[task]["results"]["all"]}
    one[task]["protocol"] = {"subsets": {"pixels": ["pixels"]}}
  one["factors"]["results"] = {"pixels": one["factors"]["results"]["all"]}
  table = suite_table.rows({"pixels": [one]})
  assert table["attributes, linear, accuracy"]["pixels"]["mean"] == pytest.approx(0.51)
  assert table["light, R2"]["pixels"]["mean"] == 0.5 and all(set(row) == {"pixels"} for row in table.values())
  assert suite_table.robustness_lines({"pixels": [one]}, "robustness/light")["attributes"]["pixels"][1] == pytest.approx((5.0, 0.4, 0.0))


def test_the_suite_files_are_configurations():
  from pdr_jax.cli import configurations

  for name, data in (("", "people"), (":cars", "embedded_cars"), (":celeb_a", "image_folder"), (":folder", "image_folder")):
    overrides = ["--config.run.train.steps=5", "--config.evaluation.seeds=2"]
    _, words = configurations.split_words(overrides)
    read = configurations.resolve(f"configs/eval/suite.py{name}", words)
    assert read.run.data.name == data and read.run.train.steps == 5 and read.evaluation.seeds == 2
  assert configurations.load("configs/eval/yale_b.py").identity == "subject"
