"""The HTML report: one file that fetches nothing and escapes everything.

`test_stage` holds its face to turn and relight against the renderer.
"""

import base64
import hashlib
import html.parser
import io
import json
import os
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from support import labelled_folder, toy_scene

from pdr_jax.cli import report
from pdr_jax.config import base
from pdr_jax.errors import UserError
from pdr_jax.evaluation import records, study_file
from pdr_jax.evaluation.records import Figure, Result, Score
from pdr_jax.plots import style
from pdr_jax.report import page, plots, runs
from pdr_jax.training import run_dir

SIDE, COUNT = 16, 10
NAME = "a<script>"  # of a run's folder


# ---------------------------------------------------------------- the page of a run


class Page(html.parser.HTMLParser):
  """Elements and addresses of a document."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.addresses, self.ids, self.policy, self.headings, self._in = [], [], [], "", [], ""
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    given = dict(attributes)
    self.tags.append(tag)
    self._in = tag
    self.addresses += [
      value for key, value in attributes if key in ("src", "href", "xlink:href", "action", "srcset")
    ]
    self.ids += [given["id"]] if "id" in given else []
    if given.get("http-equiv") == "Content-Security-Policy":
      self.policy = given["content"]

  def handle_data(self, data):
    if self._in == "h2":
      self.headings.append(data)
      self._in = ""


@pytest.fixture(scope="session")
def run(tmp_path_factory):
  """A run directory with a toy method on a folder of pictures, and results of an evaluation.

  Its name is hostile.
  """
  folder = tmp_path_factory.mktemp("runs")
  labelled_folder.write(folder / "photos", COUNT, SIDE)
  config = toy_scene.config(name="image_folder", path=str(folder / "photos"), side=SIDE, val_examples=4)
  workdir = str(folder / NAME)
  toy_scene.write_run(workdir, config)
  with open(os.path.join(workdir, run_dir.METRICS), "w") as file:
    file.write('{"step": 6, "val/l1": 0.9, "train/loss": 2.0}\n')
    file.write('{"step": 7, "val/l1": 0.5, "train/loss": 1.0}\n{"step": 8, "val')
  evaluation = os.path.join(workdir, "evaluation")
  scores = tuple(
    Score("factors", factor, block, "r2", (value,), "higher")
    for block in ("light", "view", "all")
    for factor, value in (("light", 0.25), ("view", 0.5))
  )
  result = Result("factors", {}, scores, figure=Figure("matrix", "r2", "who tells what"))
  records.write(os.path.join(evaluation, "factors.json"), result)
  with open(os.path.join(evaluation, "table.md"), "w") as file:
    file.write(
      "# Evaluation\n\n## factors\n\n| features | <i>light</i> |\n| --- | --- |\n| all | **0.25** |\n"
    )
  return workdir


@pytest.fixture(scope="session")
def written(run, tmp_path_factory):
  folder = tmp_path_factory.mktemp("out")
  out, figures = str(folder / "report.html"), str(folder / "figures")
  assert report.main(["report", "--workdir", run, "--out", out, "--figures", figures]) == 0
  return out, figures


def test_report_is_one_file_that_fetches_nothing_and_runs_nothing_but_its_script(written):
  with open(written[0], encoding="utf-8") as file:
    text = file.read()
  document = Page(text)
  assert (
    all(address.startswith(("data:image/png;base64,", "#")) for address in document.addresses)
    and len(document.addresses) > 50
  )
  assert len(set(document.ids)) == len(document.ids)
  assert (
    not {"link", "iframe", "object", "embed", "i"} & set(document.tags) and document.tags.count("script") == 2
  )
  assert NAME not in text and "a&lt;script&gt;" in text
  script = page.asset("stage.js")
  digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
  assert f"<script>{script}</script>" in text and f"script-src 'sha256-{digest}'" in document.policy
  assert document.policy.startswith("default-src 'none'; img-src data:;")
  assert os.path.getsize(written[0]) < 15e6


def test_report_has_every_section(written):
  with open(written[0], encoding="utf-8") as file:
    text = file.read()
  headings = Page(text).headings
  assert headings == [
    "Runs",
    "Stage",
    "Curves",
    "Results",
    "Robustness and factors",
    *(f"{NAME}: {part}" for part in ("validation images", "swapped factors", "failures")),
  ]
  faces = json.loads(
    re.search(r'<script id="faces" type="application/json">(.*?)</script>', text, re.DOTALL).group(1)
  )
  assert len(faces) == 4 and faces[0]["side"] == SIDE and len(faces[0]["light"]) == 9
  assert text.count("<svg") == 4 and style.PAGE_INK not in text  # two of curves, the heat map, the pad
  assert "<strong>0.25</strong>" in text and "&lt;i&gt;light&lt;/i&gt;" in text
  stems = {os.path.splitext(name)[0] for name in os.listdir(written[1])}
  assert {
    "curves_val",
    "curves_train",
    "factors_a_script_",
    "gallery_a_script_",
    "failures_a_script_",
  } == stems
  assert len(os.listdir(written[1])) == 2 * len(stems)


def test_mistakes_are_one_clear_line(run, written, tmp_path):
  def fails(match, *words):
    with pytest.raises(UserError, match=match):
      report.main(["report", *words])

  fails(
    "is not a run directory: it has no config.json",
    "--workdir",
    str(tmp_path),
    "--out",
    str(tmp_path / "r.html"),
  )
  fails("report.html exists already: .* --force", "--workdir", run, "--out", written[0])
  fails(
    "is not empty: .* --force", "--workdir", run, "--out", str(tmp_path / "r.html"), "--figures", written[1]
  )
  fails("is a folder: name a file", "--workdir", run, "--out", str(tmp_path))
  fails("is named twice", "--workdir", run, "--workdir", run + "/", "--out", str(tmp_path / "r.html"))
  assert os.listdir(tmp_path) == []


def test_run_without_a_checkpoint_still_has_its_curves(run, tmp_path, capsys):
  copy = tmp_path / "b"
  shutil.copytree(run, copy, ignore=shutil.ignore_patterns("checkpoints"))
  out = tmp_path / "r.html"
  assert report.main(["report", f"--workdir={copy}", f"--out={out}"]) == 0
  assert "no pictures of b: no checkpoints in" in capsys.readouterr().err
  assert Page(out.read_text()).headings == [
    "Runs",
    "Curves",
    "Results",
    "Robustness and factors",
    "b: pictures",
  ]


def test_study_brings_its_table_and_its_methods(tmp_path):
  figure = Figure("curves", "balanced_accuracy", "probes outside", "degrees", "balanced accuracy")
  folders = [str(tmp_path / "pdr_unsup3d" / f"seed_{seed}") for seed in range(2)]
  for seed, folder in enumerate(folders):
    scores = tuple(
      Score(
        "robustness/light", "emotion", "all", f"{name}/balanced_accuracy", (value,), "higher", place=place
      )
      for name, value, place in (("0", 0.9, 0.0), ("0-10", 0.6, 5.0 + seed))
    )
    result = Result("robustness/light", {}, scores, figure=figure)
    records.write(f"{folder}/evaluation/robustness_light.json", result)
  study_file.write(str(tmp_path), study_file.Study({"pdr:unsup3d": folders}, {}), [], {})
  (tmp_path / "study.md").write_text("# Methods by tasks\n")
  (read_run,) = runs.read([str(tmp_path)])
  assert (
    read_run.config is None
    and read_run.tables == ["# Methods by tasks\n"]
    and len(read_run.results["pdr:unsup3d"]) == 2
  )
  (plot,) = plots.of_runs([read_run])
  axis = plot.draw().axes[0]
  assert plot.name == "robustness_light" and axis.get_legend_handles_labels()[1] == ["pdr:unsup3d"]
  assert plot.title == "Robustness: probes outside, all features"
  config = base()
  config.train.batch_size = 8
  for folder in folders:  # once its runs were probed while they learned
    run_dir.record_start(folder, config)
    line = {"step": 100, "val/probe": 0.5, "speed/processor_seconds": 1800.0}
    with open(f"{folder}/metrics.jsonl", "w") as file:
      file.write(json.dumps(line) + "\n")
  seen, spent, _ = plots.of_runs(runs.read([str(tmp_path)]))
  assert seen.title == "Light probe over training, by pictures seen"
  assert spent.title == "Light probe over training, by processor time"
  points = [plot.draw().axes[0].get_lines()[0].get_xydata()[0].tolist() for plot in (seen, spent)]
  assert points == [[800, 0.5], [0.5, 0.5]]


def test_an_older_study_is_refused_by_name(tmp_path):
  (tmp_path / "suite.json").write_text('{"methods": ["pdr"], "rows": {}, "failed": {}}')
  with pytest.raises(UserError, match=r"suite\.json was written by another version of pdr_jax"):
    runs.read([str(tmp_path)])


def test_browser_turns_and_relights_the_face(written):
  playwright = pytest.importorskip("playwright.sync_api")
  chromium = shutil.which("chromium")
  if chromium is None:
    pytest.skip("chromium is not installed")
  wrong = []
  with playwright.sync_playwright() as play:
    software = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    browser = play.chromium.launch(executable_path=chromium, args=software)
    tab = browser.new_page()
    tab.on("console", lambda message: wrong.append(message.text))
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on("request", lambda request: wrong.append(request.url) if request.url.startswith("http") else None)
    tab.goto(f"file://{written[0]}")
    canvas, pad = tab.locator("canvas"), tab.locator('[data-stage="light"]')

    def picture():
      tab.wait_for_timeout(300)
      return np.asarray(Image.open(io.BytesIO(canvas.screenshot())).convert("L"), float)

    tab.locator('[data-stage="shading"]').check()
    tab.get_by_text("From the front").click()
    halves = {}
    for side, at in (("left", 0.15), ("right", 0.85)):
      box = pad.bounding_box()
      pad.click(position={"x": box["width"] * at, "y": box["height"] / 2})
      shown = picture()
      middle = shown.shape[1] // 2
      halves[side] = shown[:, :middle].mean() - shown[:, middle:].mean()
    before = picture()
    canvas.press("ArrowRight")
    assert np.abs(picture() - before).max() > 5
    browser.close()
  assert halves["left"] > halves["right"] and not wrong
