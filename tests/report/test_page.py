"""The HTML report: one file that fetches nothing and escapes everything.

Its stage has numbers that are the renderer's.
"""

import base64
import hashlib
import html.parser
import io
import json
import os
import re
import shutil
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from support import labelled_folder, toy_scene

from pdr_jax.cli import report
from pdr_jax.config import base, variant
from pdr_jax.errors import UserError
from pdr_jax.evaluation import records, study_file
from pdr_jax.evaluation.records import Figure, Result, Score
from pdr_jax.exports import mesh
from pdr_jax.methods import Method
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.plots import style
from pdr_jax.render import camera, lighting
from pdr_jax.report import page, pictures, plots, runs, stage
from pdr_jax.training import run_dir

SIDE, COUNT = 16, 10
NAME = "a<script>"  # of a run's folder


def random_scene(coloured=False):
  """Two smooth scenes and the configuration that they belong to."""
  rng = np.random.default_rng(0)
  config = variant(base(), "small")
  u, v = np.meshgrid(*[np.linspace(-1, 1, SIDE)] * 2)
  depth = 1 + 0.02 * np.stack([u**2 + 0.3 * v**2 - 0.5, np.sin(3 * u) * np.cos(2 * v)])
  albedo = np.tanh(rng.normal(size=(2, SIDE, SIDE, 3)))
  light = rng.normal(size=(2, 9, 3) if coloured else (2, 9)) * 0.3
  light[:, 4:] *= 3  # a wrong function of band 2 must show
  light[:, 0] += 3
  light[:, 2] += 1
  return config, scenes.Scene(
    *(jnp.asarray(value, jnp.float32) for value in (depth, albedo, light, rng.normal(size=(2, 6)) * 0.1))
  )


def packed(scene, config):
  normals, _, canonical = scenes.shade(scene, config)
  parts = {
    "depth": scene.depth,
    "albedo": scene.albedo,
    "normal": normals,
    "light": scene.light,
    "view": scene.view,
  }
  return stage.pack(
    {key: np.asarray(value) for key, value in parts.items()}, config.scene.fov, ["one", "two"]
  ), np.asarray(canonical)


def shader_basis(n):
  """The nine functions as they stand in the fragment shader, on `[..., 3]` float64 normals."""
  expression = re.search(r"float\[9\]\((.*?)\);", page.asset("stage.js"), re.DOTALL).group(1)
  scope = {"n": type("n", (), {"x": n[..., 0], "y": n[..., 1], "z": n[..., 2]})}
  return np.stack([np.broadcast_to(value, n.shape[:-1]) for value in eval(f"({expression})", scope)], axis=-1)


@pytest.mark.parametrize("coloured", [False, True])
def test_packed_face_with_the_shaders_formula_is_the_renderers_picture(coloured):
  config, scene = random_scene(coloured)
  faces, canonical = packed(scene, config)
  for face, want, depth in zip(faces, canonical, np.asarray(scene.depth), strict=True):
    data, pixels = base64.b64decode(face["data"]), SIDE * SIDE
    assert len(data) == 11 * pixels
    z = (
      np.frombuffer(data[: 2 * pixels], "<u2").reshape(SIDE, SIDE) / 65535 * (face["far"] - face["near"])
      + face["near"]
    )
    n = np.frombuffer(data[2 * pixels : 8 * pixels], "<i2").reshape(SIDE, SIDE, 3) / 32767
    reflectance = np.frombuffer(data[8 * pixels :], np.uint8).reshape(SIDE, SIDE, 3) / 255
    light = np.asarray(face["light"]).reshape(9, -1)
    gain = np.array([1] + [2 / 3] * 3 + [1 / 4] * 5)[:, None]
    shading = np.maximum(shader_basis(n / np.linalg.norm(n, axis=-1, keepdims=True)) @ (gain * light), 0)
    np.testing.assert_allclose(z, depth, atol=3e-6)
    shown = np.clip(reflectance * shading, 0, 1)
    assert shown.std() > 0.1
    np.testing.assert_allclose(shown, np.clip(want / 2 + 0.5, 0, 1), atol=2 / 255)


def test_the_scripts_rotations_and_meshes_are_the_renderers(tmp_path):
  node = shutil.which("node")
  if node is None:
    pytest.skip("node is not installed")
  config, scene = random_scene()
  faces, _ = packed(scene, config)
  rng = np.random.default_rng(1)
  angles, light = rng.normal(size=3), rng.normal(size=9)
  a, b = (
    vector / np.linalg.norm(vector) for vector in (np.array([0.5, -0.3, 0.6]), np.array([-0.2, 0.7, 0.4]))
  )
  matrix = np.asarray(camera.rotation_matrix(jnp.asarray(angles, jnp.float32)))
  given = json.dumps([angles.tolist(), light.tolist(), matrix.tolist(), a.tolist(), b.tolist(), faces[1]])
  (tmp_path / "run.js").write_text(
    "globalThis.document = { getElementById: () => null };\n"
    + page.asset("stage.js")
    + f"""
const [angles, light, matrix, a, b, face] = {given};
const found = unpack(face);
const turns = [rotationOf(angles), rotateLight(light, matrix), rotationBetween(a, b)];
console.log(JSON.stringify([...turns, [...found.position], [...found.indices]]));
"""
  )
  done = subprocess.run(
    [node, str(tmp_path / "run.js")], capture_output=True, text=True, timeout=60, check=True
  )
  rotation, rotated, between, position, indices = map(np.array, json.loads(done.stdout))
  np.testing.assert_allclose(rotation, matrix, atol=1e-5)
  np.testing.assert_allclose(
    rotated, lighting.rotate_sh(jnp.asarray(light, jnp.float32), jnp.asarray(matrix)), atol=1e-4
  )
  np.testing.assert_allclose(between @ a, b, atol=1e-9)
  np.testing.assert_allclose(between @ between.T, np.eye(3), atol=1e-9)
  want = camera.back_project(scene.depth[1], camera.pinhole(SIDE, config.scene.fov)).reshape(-1, 3)
  np.testing.assert_allclose(position.reshape(-1, 3), want, atol=1e-5)
  assert len(indices) == 6 * (SIDE - 1) * (SIDE - 1 - 2 * stage_rim()) and indices.max() < SIDE * SIDE


def stage_rim():
  assert f"const RIM = {mesh.RIM};" in page.asset("stage.js")
  return mesh.RIM


def test_as_many_large_faces_as_a_page_can_bear():
  count = 24
  faces = {
    "depth": np.ones((count, 256, 256)),
    "albedo": np.zeros((count, 256, 256, 3)),
    "normal": np.zeros((count, 256, 256, 3)),
    "light": np.zeros((count, 9)),
    "view": np.zeros((count, 6)),
  }
  assert len(stage.pack({**faces, "depth": np.ones((count, 128, 128))}, 10.0, ["x"] * count)) == count
  assert 1 < len(stage.pack(faces, 10.0, ["x"] * count)) * 11 * 256 * 256 / stage.MOST_BYTES + 1 <= 2


def test_swaps_take_the_named_factor_from_the_column():
  def render(parts, light=None, view=None):
    value = 10 * parts["albedo"] + (light if light is not None else 0.1 * view)
    return {
      "image": jnp.broadcast_to(value[:, None, None], (len(value), 2, 2, 3)),
      "mask": jnp.ones((len(value), 2, 2)),
    }

  method = Method(*[None] * 4, render=render)
  numbers = jnp.arange(3.0)[:, None]
  swapped = pictures.swap(
    method, {"albedo": numbers, "light": numbers, "view": numbers}, rendered=("albedo", "view")
  )
  a, b = np.mgrid[:3, :3]
  np.testing.assert_allclose(swapped["light"][:, :, 0, 0, 0], 10 * a + b)
  np.testing.assert_allclose(swapped["view"][:, :, 1, 1, 2], 10 * a + 0.1 * b, rtol=1e-6)


def test_failures_are_the_images_that_score_worst_alone():
  def validate(state, batch, axis_name):
    score = (batch["image"].mean(axis=(1, 2, 3)) * batch["_mask"]).sum()
    return {"val/reconstruction": (score, batch["_mask"].sum())}

  values = np.array([0.1, 0.7, -0.2, 0.9, 0.3, 0.0, 0.4, 5.0], np.float32)
  batches = [
    {
      "image": np.broadcast_to(values[i : i + 4, None, None, None], (4, 2, 2, 3)),
      "_mask": np.array([1, 1, 1, i < 4], np.float32),
    }
    for i in (0, 4)
  ]  # 5.0 is padding
  found = pictures.find_worst(Method(None, None, validate, None), {}, batches, "image")
  assert found.score == "val/reconstruction"
  expected = sorted(values[:7], reverse=True)
  np.testing.assert_allclose(
    found.values, expected, atol=1e-6
  )  # means of 12 equal float32 numbers of at most 1
  np.testing.assert_array_equal(found.inputs[:, 0, 0, 0], expected)


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


def test_suite_brings_its_table_and_its_methods(tmp_path):
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
  (tmp_path / "suite.md").write_text("# Methods by tasks\n")
  (found,) = runs.read([str(tmp_path)])
  assert (
    found.config is None
    and found.tables == ["# Methods by tasks\n"]
    and len(found.results["pdr:unsup3d"]) == 2
  )
  (plot,) = plots.of_runs([found])
  axis = plot.draw().axes[0]
  assert plot.name == "robustness_light" and axis.get_legend_handles_labels()[1] == ["pdr:unsup3d"]
  assert plot.title == "Robustness: probes outside, all features"


def test_an_older_suite_is_refused_by_name(tmp_path):
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
