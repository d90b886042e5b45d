"""A study's section in a document: what it says, and that nothing around it changes."""

import os

import numpy as np
import pytest
from ml_collections import ConfigDict

from pdr_jax.config import base
from pdr_jax.errors import UserError
from pdr_jax.evaluation import records
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.records import Result, Score
from pdr_jax.study import document, plan, state
from pdr_jax.study import run as study
from pdr_jax.study.state import Record

PROGRAM = {
  "time": "2026-11-28T15:00:00+00:00",
  "command": ["/x/pdr_jax/study/__main__.py", "--config", "suite", "--workdir", "runs/two words"],
  "libraries": {"jax": "0.10.2"},
  "git": {"commit": "0123456789abcdef", "changed": False},
  "devices": ["cpu"],
  "processor": "2 cores of AMD EPYC",
}


def record(steps=600, spent=125.0, **program):
  budget = {"steps": steps, "pictures": 16 * steps, "seconds": 65.0, "processor_seconds": spent}
  return Record("done", "", "", 70.0, budget | {"stopped": f"all {steps} steps"}, PROGRAM | program)


def results(*values):
  score = [Score("linear", "emotion", "all", "accuracy", (v,), "higher", "emotion, accuracy") for v in values]
  return [{"linear": Result("linear", {}, (each,))} for each in score]


def part(name="x"):
  late = record(400, 75.0, time="2026-11-29T01:00:00+00:00")
  ended = {"vae/seed_0": record(), "vae/seed_1": late._replace(reason="task")}
  ended["pixels/seed_0"] = record()._replace(budget={}, program=PROGRAM | {"devices": ["NVIDIA H100"] * 2})
  given = {"vae": results(0.7, 0.71), "pixels": results(0.2)}
  return document.Part(f"/runs/{name}", f"set_{name}", given, ended)


def test_it_says_what_and_how():
  text = "\n".join(document.section("Who?", [part()]))
  assert "## Who?" in text and "| emotion, accuracy | 0.705 ± 0.007 | 0.200 |" in text
  assert "| emotion, accuracy | vae | pixels | +0.505 [+0.441, +0.569] | seeds | pixels |" in text
  assert "| vae | 2 | 6,400 to 9,600 | 1:05 | 1:40 | all 600 steps; all 400 steps |" in text
  assert "| pixels | 1 | none |  |  | nothing is trained |" in text
  assert "Failed: vae/seed_1 (task)." in text
  assert "\npython -m pdr_jax.study --config suite --workdir 'runs/two words'\n" in text
  assert text.endswith(
    "3 runs in `x`, commit 0123456789, 2 cores of AMD EPYC; 2 x NVIDIA H100 on 2 cores of AMD EPYC, "
    "JAX 0.10.2, 2026-11-28 to 2026-11-29."
  )


def test_several_studies_are_one_table():
  lines = document.section("Who?", [part("x"), part("y")])
  rows = [line for line in lines if line.startswith(("| set_x: emotion", "| set_y: emotion"))]
  assert len(rows) == 4 and sum("0.705 ± 0.007" in row for row in rows) == 2
  assert lines.count("### How sure that is") == 1 and "### What it has cost on set_y" in lines


def test_two_studies_of_the_same_data_keep_their_rows_apart():
  first, second = (part(name)._replace(data="cars") for name in ("a/big", "b/big"))
  second = second._replace(results={"simclr": results(0.8, 0.82), "pixels": results(0.3)})
  lines = document.section("Who?", [first, part("people"), second])
  place = lines.index("| task | vae | pixels | simclr |")
  assert lines[place : place + 6] == [
    "| task | vae | pixels | simclr |",
    "| --- | --- | --- | --- |",
    "| cars (a/big): emotion, accuracy | 0.705 ± 0.007 | 0.200 |  |",
    "| set_people: emotion, accuracy | 0.705 ± 0.007 | 0.200 |  |",
    "| cars (b/big): emotion, accuracy |  | 0.300 | 0.810 ± 0.014 |",
    "",
  ]
  assert "### What it has cost on cars (b/big)" in lines


def end(entry):
  """Leaves what a run leaves: 400 test examples, of which SimCLR has 90 % right and others 40 %; a record."""
  level = 0.9 if entry.method == "simclr" else 0.4
  right = np.random.default_rng(entry.seed).random((1, 1, 400)) < level
  score = Score("linear", "kind", "all", "accuracy", (float(right.mean()),), "higher", "kind", outcomes="k")
  outcomes = {"k": records.outcomes_of(right, np.zeros((1, 400), int))}
  path = os.path.join(entry.folder, "evaluation", "linear_kind.json")
  records.write(path, Result("linear/kind", {}, (score,), outcomes=outcomes))
  state.write(entry, record()._replace(key=entry.key))


def test_nobody_is_first_while_runs_are_left(tmp_path):
  methods, folder, path = ("simclr", "vae"), str(tmp_path / "study"), tmp_path / "results.md"
  config = ConfigDict(dict(methods=methods, seeds=3, pictures=64, run=base(), evaluation=get_config()))
  entries = plan.plan(config, folder)
  for entry in entries[:4]:
    end(entry)
  study.write_section({folder: config}, str(path), "how")
  text = path.read_text()
  assert "\nSo far: 2 runs are left, and nobody is called first.\n" in text
  assert "| kind | 0." in text and "**" not in text
  for entry in entries[4:]:
    end(entry)
  study.write_section({folder: config}, str(path), "how")
  assert "So far" not in path.read_text() and "| kind | **0." in path.read_text()


def test_only_what_is_between_the_marks_changes(tmp_path):
  path = tmp_path / "results.md"
  path.write_text("# Results\n\nWritten by hand.\n")
  document.write(str(path), "cars", ["first"], "how")
  document.write(str(path), "people", ["second"], "how")
  path.write_text(path.read_text() + "\nThe end, by hand.\n")
  before = path.read_text()
  document.write(str(path), "cars", ["first", "again"], "how")
  assert path.read_text() == before.replace("first\n", "first\nagain\n")
  begin = "<!-- study cars: begin; written by `how`, change nothing here -->"
  assert before.startswith(f"# Results\n\nWritten by hand.\n\n{begin}\nfirst\n<!-- study cars: end -->\n\n")
  with pytest.raises(UserError, match="has `<!-- study cars: begin` and no"):
    document.inserted(before.replace("<!-- study cars: end -->", ""), "cars", [], "how")
  document.write(str(tmp_path / "new.md"), "cars", ["first"], "how")
  assert (tmp_path / "new.md").read_text().startswith(begin)
