"""A study: what is trained and evaluated, by how many workers, and what an interruption leaves.

The table's numbers and the pictures are checked too.
"""

import json
import os
import shutil
import sys
import threading
import time

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

from pdr_jax import config as config_lib
from pdr_jax import methods
from pdr_jax.cli import configurations
from pdr_jax.config import base, variant
from pdr_jax.errors import UserError
from pdr_jax.evaluation import joined, learning, records, study_file
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.records import Figure, Result, Score
from pdr_jax.evaluation.run import Outcome, folder_of
from pdr_jax.study import plan, state, table, workers
from pdr_jax.study import run as study
from pdr_jax.training import loop, run_dir, run_lock

METHODS = ("pdr", "pdr:unsup3d", "simclr", "pixels")
LEVELS = {"vae": 0.4, "pdr": 0.7, "pdr_unsup3d": 0.6, "simclr": 0.8, "pixels": 0.5}
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
    self.trained, self.evaluated, self.seconds = [], [], 0.0
    self.stop_at = self.fail_at = self.broken_at = None
    monkeypatch.setattr(study, "train", self.train)
    monkeypatch.setattr(study, "evaluate", self.evaluate)
    monkeypatch.setattr(study, "draw", lambda *arguments: None)  # seconds of matplotlib; drawn once, below
    monkeypatch.setattr(run_dir, "_git", lambda: None)  # two processes for each run

  def train(self, run, folder, read_first):
    name = os.path.relpath(folder, os.path.dirname(os.path.dirname(folder)))
    run_dir.check_run(folder, run)
    run_dir.record_start(folder, run)
    time.sleep(self.seconds)
    if name == self.fail_at:
      raise UserError("the loss is NaN at step 2")
    if name == self.stop_at:
      return loop.Result(143, None)
    self.trained.append(
      (name, run.method, run.seed, run.get("loocc", {}).get("weight"), run.train.best_metric)
    )
    with open(os.path.join(folder, run_dir.SUMMARY), "w") as file:
      json.dump({"step": run.train.steps, "seconds": 70.0, "processor_seconds": 130.0}, file)
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
    records.list_results(where, f"the data of {name}", results)
    return Outcome(results, where, failed)


def work(config, workdir, lines=None, **words):
  say = (lines if lines is not None else []).append
  return study.work(config, str(workdir), say=say, pause=0.05, **words)


@pytest.mark.slow
def test_every_method_over_seeds_and_the_table(config, tmp_path, monkeypatch):
  machine, lines = Machine(monkeypatch), []
  assert work(config, tmp_path, lines) == 0
  names = [f"{method}/seed_{seed}" for seed in range(2) for method in ("pdr", "pdr_unsup3d", "simclr")]
  assert [entry[0] for entry in machine.trained] == names
  assert [entry[1:] for entry in machine.trained[:3]] == [
    ("pdr", 0, base().loocc.weight, "val/reconstruction"),
    ("pdr", 0, 0.0, "val/reconstruction"),
    ("simclr", 0, None, "val/nt_xent"),
  ]
  # Pixels have no second seed.
  assert machine.evaluated.count(("pixels", 0, "pixels")) == 1 and len(machine.evaluated) == 7
  assert lines[0] == "[1 of 7] pdr/seed_0"
  stored = json.loads((tmp_path / "study.json").read_text())["rows"]
  row = {row["title"]: row for row in stored}["attributes, linear, accuracy"]
  cells = {(cell["method"], cell["block"]): cell for cell in row["cells"]}
  assert row["direction"] == "higher" and cells["pdr", ""]["per_seed"] == pytest.approx([0.71, 0.75])
  assert cells["pdr", ""]["std"] == pytest.approx(np.std([0.71, 0.75], ddof=1))
  assert cells["pixels", ""]["std"] is None
  assert cells["pixels", ""]["probe_std"] == pytest.approx(np.std([0.5, 0.52], ddof=1))
  text = (tmp_path / "study.md").read_text()
  line = (
    "| attributes, linear, accuracy | 0.730 ± 0.028 | 0.630 ± 0.028 | 0.830 ± 0.028 | 0.510 ± 0.014 |"
  )
  assert line in text
  assert "| attributes, linear, accuracy | simclr | pdr | +0.100 [" in text  # of two seeds each: not sure
  assert "| depth, SIDE x 100 | pixels | pdr:unsup3d | -1.200 [" in text  # lower is better
  assert "## pdr by feature block" in text and "| task | depth | light | all |" in text
  assert text.index("| attributes, linear") < text.index("| depth, R2") < text.index("| depth, SIDE")
  assert "| simclr/seed_1 | 48 | 1:10 | 2:10 |  |" in text and "| pixels/seed_0 | none |" in text  # 3 x 16


@pytest.mark.slow
def test_what_is_written_is_read_again(config, tmp_path, monkeypatch):
  Machine(monkeypatch)
  work(config, tmp_path)
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
      "another version of pdr_jax \\(format 1, this one reads 3\\)",
    ),
    ('{"format": 3, "methods": ["pdr"], "failed": {}}', "is damaged"),
    ('{"format": 2', "is not valid JSON"),
    ("[]", "is not valid JSON"),
  ],
)
def test_an_older_or_damaged_file_is_refused_by_name(tmp_path, text, message):
  (tmp_path / "study.json").write_text(text)
  with pytest.raises(UserError, match=f"{tmp_path / 'study.json'}.*{message}"):
    study_file.read(str(tmp_path))


def test_a_task_that_no_table_knows_stands_in_the_table():
  """Its row, its better side and its title come with its records."""

  def results(*values):
    return [
      {"new": Result("new", {}, (Score("new", "", "all", "m", (v,), "lower", "something new"),))}
      for v in values
    ]

  every = joined.samples({"a": results(0.5, 0.7), "b": results(0.4, 0.39)})
  text = table.markdown(every, ["a", "b"], {}, "", {})
  # Nothing is known of single examples: nobody is first, however far apart the values are.
  assert "| something new | 0.600 ± 0.141 | 0.395 ± 0.007 |" in text and "| something new | b | a |" in text
  every = joined.samples({"a": results(0.601, 0.6, 0.599), "b": results(0.4, 0.39, 0.41)})
  assert "| 0.600 ± 0.001 | 0.400 ± 0.010 |" in table.markdown(every, ["a", "b"], {}, "", {})


def test_the_figures(tmp_path):
  results = {"pdr": [evaluation(0.7), evaluation(0.75)], "pdr:unsup3d": [evaluation(0.6)]}
  points = {"pdr": [(0.0, 0.2, 0.0), (800.0, 0.6, 0.1)]}
  figure = Figure("curves", "val/probe", "light probe over training", "pictures seen", "balanced accuracy")
  study.draw(str(tmp_path), results, [joined.Curves("probe", figure, {"": points})])
  assert sorted(os.listdir(tmp_path / "figures")) == [
    "factors_pdr.png",
    "factors_pdr_unsup3d.png",
    "probe.png",
    "robustness_light.png",
  ]
  for name in os.listdir(tmp_path / "figures"):
    with Image.open(tmp_path / "figures" / name) as image:
      assert min(image.size) > 200 and np.asarray(image.convert("L")).std() > 10  # not blank


def test_the_probe_is_drawn_by_pictures_seen_and_by_processor_time(config, tmp_path, monkeypatch):
  monkeypatch.setattr(run_dir, "_git", lambda: None)
  config.run.train.batch_size = 8
  entries = [entry for entry in plan.plan(config, str(tmp_path)) if entry.trained]
  folders = {}
  for entry in entries:
    folders.setdefault(entry.method, []).append(entry.folder)
  assert learning.curves(folders) == []
  for entry in entries:
    if entry.method == "simclr":
      os.makedirs(entry.folder)
      run_dir.record_start(entry.folder, entry.run)
      with open(os.path.join(entry.folder, run_dir.METRICS), "w") as file:
        for step, value in ((50, 0.2), (100, 0.4)):
          spent = {"speed/processor_seconds": 36.0 * step * (1 + entry.seed)}
          file.write(json.dumps({"step": step, "val/probe": value + 0.1 * entry.seed} | spent) + "\n")
          file.write(json.dumps({"step": step, "train/loss": 1.0}) + "\n")
  seen, spent = learning.curves(folders)
  spread = np.std([0.2, 0.3], ddof=1)
  assert list(seen.panels[""]) == list(spent.panels[""]) == ["simclr"]
  assert np.allclose(seen.panels[""]["simclr"], [(400, 0.25, spread), (800, 0.45, spread)])
  assert np.allclose(spent.panels[""]["simclr"], [(0.75, 0.25, spread), (1.5, 0.45, spread)])


@pytest.mark.slow
def test_a_stopped_study_goes_on_where_it_was(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  config.methods = ("pdr", "simclr")
  machine.stop_at = "simclr/seed_0"
  assert work(config, tmp_path) == 143
  assert list(study_file.read(str(tmp_path)).methods) == ["pdr"]
  assert "So far: 3 runs are left" in (tmp_path / "study.md").read_text()
  before, machine.stop_at = len(machine.trained), None
  assert work(config, tmp_path) == 0
  names = [entry[0] for entry in machine.trained]
  assert before == 1 and len(names) == len(set(names)) == 4  # nothing was trained twice
  evaluated = len(machine.evaluated)
  assert work(config, tmp_path) == 0 and len(machine.evaluated) == evaluated  # nor evaluated
  config.run.train.steps = 5
  work(config, tmp_path)
  assert len(machine.trained) == 8  # further, not as it was
  config.evaluation.seeds = 2
  work(config, tmp_path)
  assert len(machine.trained) == 8 and len(machine.evaluated) == evaluated + 8


def test_another_folder_to_evaluate_on_is_another_evaluation(config, tmp_path):
  """The run's own data may move; what an evaluation names besides is what it reads."""
  config.methods, config.seeds = ("simclr",), 1

  def entry(**changes):
    changed = config.copy_and_resolve_references()
    changed.update_from_flattened_dict(changes)
    return plan.plan(changed, str(tmp_path))[0]

  first = entry(**{"evaluation.data.path": "/data/faces"})
  os.makedirs(os.path.join(first.folder, "evaluation"))
  with open(os.path.join(first.folder, "evaluation", "linear.json"), "w") as file:
    file.write("{}")
  state.write(first, state.Record(state.DONE, first.key, "", 1.0, {}, {}))
  elsewhere = {"run.data.path": str(tmp_path), "run.data.cache_dir": str(tmp_path)}
  moved = entry(**{"evaluation.data.path": "/data/faces"} | elsewhere)
  assert state.of(first).kind == state.of(moved).kind == state.DONE
  for path in ("/data/cars", ""):
    assert state.of(entry(**{"evaluation.data.path": path})).kind == state.WAITING


def test_a_method_that_reads_its_parameters_otherwise_is_evaluated_again(config, tmp_path, monkeypatch):
  config.methods, config.seeds = ("simclr",), 1
  (before,) = plan.plan(config, str(tmp_path))
  described = methods.describe
  monkeypatch.setattr(methods, "describe", lambda name: described(name)._replace(version=2))
  (after,) = plan.plan(config, str(tmp_path))
  assert before.key != after.key and before.folder == after.folder


def test_results_that_are_gone_are_made_again(config, tmp_path, monkeypatch):
  """So may everything be evaluated anew: a record alone is no result."""
  machine = Machine(monkeypatch)
  config.methods, config.seeds = ("simclr",), 1
  assert work(config, tmp_path) == 0
  (folder,) = (tmp_path / "simclr" / "seed_0").glob("**/evaluation")
  shutil.rmtree(folder)
  assert work(config, tmp_path) == 0
  assert len(machine.trained) == 1 and len(machine.evaluated) == 2
  assert "0.810" in (tmp_path / "study.md").read_text()


def test_results_of_other_data_are_no_results_of_the_study(config, tmp_path, monkeypatch):
  """Somebody evaluates a run of the study by hand, on other data, into the same folder."""
  machine = Machine(monkeypatch)
  config.methods, config.seeds = ("simclr",), 1
  assert work(config, tmp_path) == 0
  (folder,) = (tmp_path / "simclr" / "seed_0").glob("**/evaluation")
  records.list_results(str(folder), "the data of simclr", ["geometry"])  # one task more of the same
  assert work(config, tmp_path) == 0
  assert len(machine.evaluated) == 1
  records.list_results(str(folder), "other data", ["linear"])
  assert work(config, tmp_path) == 0
  assert len(machine.trained) == 1 and len(machine.evaluated) == 2
  assert "0.810" in (tmp_path / "study.md").read_text()


@pytest.mark.slow
def test_a_run_that_fails_is_named_the_others_go_on_and_it_is_tried_again_alone(
  config, tmp_path, monkeypatch
):
  machine, lines = Machine(monkeypatch), []
  machine.fail_at = "simclr/seed_1"
  assert work(config, tmp_path, lines) == 1
  text = (tmp_path / "study.md").read_text()
  assert "* simclr/seed_1: the loss is NaN at step 2" in text and "0.810" in text
  assert any(line.startswith("  failed   simclr/seed_1") and "--only simclr/seed_1" in line for line in lines)
  assert "the loss is NaN" in (tmp_path / "simclr" / "seed_1" / state.TRACE).read_text()
  trained, machine.fail_at = len(machine.trained), None
  assert work(config, tmp_path) == 1 and len(machine.trained) == trained  # not by itself
  assert work(config, tmp_path, only=["simclr"]) == 0
  assert [entry[0] for entry in machine.trained[trained:]] == ["simclr/seed_1"]
  assert "What failed" not in (tmp_path / "study.md").read_text()
  assert not (tmp_path / "simclr" / "seed_1" / state.TRACE).exists()
  with pytest.raises(UserError, match=r"--only simclr/seed_7: no run .* did you mean simclr/seed_"):
    work(config, tmp_path, only=["simclr/seed_7"])


@pytest.mark.slow
def test_any_exception_of_a_run_is_its_failure(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  config.methods, config.seeds = ("pixels", "simclr"), 1

  def broken(*arguments, **words):
    raise MemoryError("no more")

  monkeypatch.setattr(study, "train", broken)
  assert work(config, tmp_path) == 1 and machine.evaluated == [("pixels", 0, "pixels")]
  assert study_file.read(str(tmp_path)).failed == {"simclr/seed_0": "MemoryError: no more"}


def test_a_task_that_fails_is_named_and_is_in_the_exit_code(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  machine.broken_at = "pdr/seed_1"
  assert work(config, tmp_path) == 1
  text = (tmp_path / "study.md").read_text()
  assert "* pdr/seed_1: geometry: ValueError: no" in text and "| depth, SIDE x 100 | 7.000 |" in text


def test_a_changed_configuration_is_not_mixed_in(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  config.methods, config.seeds = ("simclr",), 1
  work(config, tmp_path)
  config.run.optim.learning_rate = 0.5
  with pytest.raises(UserError, match=r"optim.learning_rate: 0.0003 -> 0.5\. Choose another --workdir, or d"):
    work(config, tmp_path)
  assert len(machine.trained) == 1


# ---------------------------------------------------------------- several workers


def test_workers_never_take_the_same_run(config, tmp_path, monkeypatch):
  """Threads, which the locks keep apart as they do processes."""
  machine = Machine(monkeypatch)
  machine.seconds = 0.2
  codes, lines = [], [[], []]

  def worker(number):
    codes.append(work(config, tmp_path, lines[number]))

  threads = [threading.Thread(target=worker, args=[number]) for number in range(2)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  names = [entry[0] for entry in machine.trained]
  assert codes == [0, 0] and len(names) == 6 and len(set(names)) == 6
  assert len(machine.evaluated) == len(set(machine.evaluated)) == 7
  took = [sum(line.startswith("[") for line in own) for own in lines]
  assert sum(took) == 7 and min(took) > 0
  assert any("2 running" in line or "1 running" in line for own in lines for line in own)
  rows = json.loads((tmp_path / "study.json").read_text())["rows"]
  cells = next(row for row in rows if row["title"] == "attributes, linear, accuracy")["cells"]
  assert sorted(len(cell["per_seed"]) for cell in cells if not cell["block"]) == [1, 2, 2, 2]


def test_a_run_in_other_hands_is_waited_for_and_taken_over(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  config.methods, config.seeds = ("simclr",), 1
  folder = tmp_path / "simclr" / "seed_0"
  os.makedirs(folder)
  lock = run_lock.hold(str(folder), lambda line: None, state.LOCK)
  lock.__enter__()
  entries = plan.plan(config, str(tmp_path))
  now = state.of(entries[0])
  assert now.kind == state.RUNNING and f"process {os.getpid()}" in now.holder
  thread = threading.Thread(target=work, args=[config, tmp_path])
  thread.start()
  time.sleep(0.3)
  assert not machine.trained
  lock.__exit__(None, None, None)  # it has left without a record
  thread.join()
  assert len(machine.trained) == 1 and state.of(entries[0]).kind == state.DONE


def test_a_run_whose_process_always_dies_fails_and_the_others_go_on(config, tmp_path, monkeypatch):
  machine = Machine(monkeypatch)
  train = machine.train
  config.methods, config.seeds = ("vae", "simclr"), 1

  class Dies(BaseException):
    """As if the system ended the process."""

  def die(run, folder, read_first):
    if run.method == "vae":
      raise Dies
    return train(run, folder, read_first)

  monkeypatch.setattr(study, "train", die)
  for _ in range(study.DEATHS):
    with pytest.raises(Dies):
      work(config, tmp_path)
  assert work(config, tmp_path) == 1
  assert [entry[0] for entry in machine.trained] == ["simclr/seed_0"]
  assert "its process died 3 times" in study_file.read(str(tmp_path)).failed["vae/seed_0"]
  entry = plan.plan(config, str(tmp_path))[0]
  state.forget(entry)
  assert [state.begin(entry) for _ in range(3)] == [0, 1, 2]
  os.makedirs(os.path.join(entry.folder, "checkpoints", "50"))
  assert state.begin(entry) == 0  # it got further
  state.end(entry)
  assert state.begin(entry) == 0


def test_time_left_is_that_of_runs_alike_shared_by_the_workers(config, tmp_path):
  config.run.train.update(steps=10, batch_size=8)
  config.methods = ("pdr", "simclr", "vae")
  entries = plan.plan(config, str(tmp_path))  # pdr, simclr, vae; then again
  done = state.Record(state.DONE, "", "", 100.0, {}, {})
  states = [
    state.State(state.DONE, done),
    state.State(state.DONE, done._replace(seconds=40.0)),
    state.State(state.RUNNING, step=5, speed=1.0),  # half of the mean of all: 35
    state.State(state.RUNNING, step=0),  # pdr: 100
    state.State(state.WAITING, step=5),  # simclr, half of it: 20
    state.State(state.FAILED, done._replace(state=state.FAILED)),
  ]
  assert state.seconds_left(entries, states) == pytest.approx((35 + 100 + 20) / 2)
  assert state.summary(entries, states).endswith("about 1:18 left with 2 workers")
  states = [state.State(state.RUNNING, step=5, speed=2.0), *[state.State(state.WAITING)] * 5]
  # 5 steps of 8 pictures at 2 a second; nothing tells of the others, which count as much.
  assert state.seconds_left(entries, states) == pytest.approx(6 * 20)
  assert state.seconds_left(entries, [state.State(state.WAITING)] * 6) is None


def test_a_worker_runs_the_command_of_its_parent():
  argv = ["/x/pdr_jax/study/__main__.py", "--workers", "2", "--workdir=w", "--config", "suite", "--workers=3"]
  assert workers.command_of(argv)[1:] == ["-m", "pdr_jax.study", "--workdir=w", "--config", "suite"]


def test_a_workers_signals_are_those_that_are_handed_on(tmp_path, monkeypatch):
  """It is in no process group of its parent's, to which a terminal sends Ctrl-C too."""
  monkeypatch.setattr(workers, "PAUSE", 0.02)
  monkeypatch.setattr(state, "lines", lambda entries, states: [])
  command = [sys.executable, "-c", "import os; print(os.getpgrp(), os.getsid(0), os.getpid())"]
  workers.run(command, 2, str(tmp_path), [], os.environ, lambda line: None)
  groups = [path.read_text().split() for path in (tmp_path / "workers").iterdir()]
  assert len(groups) == 2 and all(len(set(group)) == 1 for group in groups)


# ---------------------------------------------------------------- what a study may ask for


def test_budgets_are_equal_by_pictures(config, tmp_path):
  config.methods = ("pdr", "simclr:wide_batch")
  config.changes = ConfigDict({"wide_batch": {"train": {"batch_size": 48}}})
  with pytest.raises(UserError, match="budgets differ: simclr:wide_batch may see 144 pictures, pdr 48"):
    plan.plan(config, str(tmp_path))
  config.pictures = 100
  steps = {entry.method: entry.run.train.steps for entry in plan.plan(config, str(tmp_path))}
  assert steps == {"pdr": 7, "simclr:wide_batch": 3}  # whole batches


def test_changes_of_the_study_are_variants(config, tmp_path):
  config.methods = ("pdr:cold", "pdr:unsup3d,cold")
  config.changes = ConfigDict({"cold": {"loocc": {"temperature": 0.05}}})
  first, second = plan.plan(config, str(tmp_path))[:2]
  assert first.run.loocc.temperature == second.run.loocc.temperature == 0.05
  assert first.run.loocc.weight > 0 and second.run.loocc.weight == 0
  config.changes.cold.loocc.temprature = 0.1
  with pytest.raises(UserError, match=r"loocc.temprature is unknown; did you mean loocc.temperature"):
    plan.plan(config, str(tmp_path))


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
    work(config, tmp_path)
  assert not machine.trained


def test_a_method_by_its_dotted_path_is_one_of_a_study(config, tmp_path):
  entries = plan.plan(
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


def test_the_shipped_studies_are_configurations():
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
  assert configurations.resolve("configs/eval/drnet.py:coil", []).run.data.name == "image_folder"
  for name in ("", ":cars", ":celeb_a", ":yale_b", ":heads", ":on_normalized"):
    read = configurations.resolve(f"configs/eval/normalized.py{name}", [])
    assert read.run.optim.schedule == "cosine" and read.seeds == 3


@pytest.mark.parametrize("name", [
  "claim", "claim:cars", "claim:celeb_a", "claim:utkface", "claim:fer2013", "claim:yale_b",
  "claim:stanford_cars", "claim:face_synthetics", "loocc", "loocc:cars",
])  # fmt: skip
def test_the_studies_of_the_claim_can_be_run(name, tmp_path):
  """Their runs are valid, have equal budgets, and stop as each file says; changes are changes."""
  config = configurations.resolve(name, [])
  assert config.question.endswith("?") and config.seeds == 3 and config.evaluation.seeds == 3
  entries = plan.plan(config, str(tmp_path))
  trained = [entry for entry in entries if entry.trained]
  assert {entry.run.train.steps * entry.run.train.batch_size for entry in trained} == {config.pictures}
  assert {entry.run.train.patience > 0 for entry in trained} == {name.startswith("claim")}
  if name.startswith("loocc"):
    first = {entry.method: config_lib.flatten(entry.run) for entry in entries if entry.seed == 0}
    on = first.pop("pdr")
    assert len(first) == 9 and all(run != on for run in first.values())
