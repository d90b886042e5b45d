"""The pages: links, sizes, and the examples of docs/extending.md, run by its own commands at a tiny size."""

import glob
import json
import os
import re
import shlex

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml

import pdr_jax
from pdr_jax import evaluate, export, main

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SMALL = [
  "--config.train.steps=4",
  "--config.train.batch_size=8",
  "--config.data.train_examples=32",
  "--config.data.val_examples=16",
  "--config.train.figure_every=0",
  "--config.optim.ema=0.0",
]
COMMANDS = {
  "pdr_jax.main": (main, SMALL),
  "pdr_jax.export": (export, []),
  "pdr_jax.evaluate": (evaluate, ["--config.batch_size=8"]),
}


def test_citation_and_readme_are_of_this_version():
  with open(os.path.join(ROOT, "CITATION.cff"), encoding="utf-8") as file:
    citation = yaml.safe_load(file)
  assert citation["version"] == pdr_jax.__version__ and citation["license"] == "Apache-2.0"
  assert len(citation["references"]) >= 4 and all(entry["authors"] for entry in citation["references"])
  assert os.path.getsize(os.path.join(ROOT, "README.md")) <= 8192


PAGES = ["README.md", "CONTRIBUTING.md", "CONVENTIONS.md", "benchmarks/README.md", *sorted(
  os.path.relpath(path, ROOT) for path in glob.glob(os.path.join(ROOT, "docs", "**", "*.md"), recursive=True)
)]


def anchors(path):
  """Those that GitHub gives to the headers of a page."""
  with open(path, encoding="utf-8") as file:
    headers = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", file.read(), flags=re.S), re.M)
  return {re.sub(r"[^\w\- ]", "", header.lower()).replace(" ", "-") for header in headers}


@pytest.mark.parametrize("name", PAGES)
def test_links_of_a_page_lead_to_files_and_headers(name):
  path = os.path.join(ROOT, name)
  with open(path, encoding="utf-8") as file:
    links = re.findall(r"\]\(([^)#\s]*)(?:#([^)]+))?\)", file.read())
  for link, anchor in links:
    target = os.path.join(os.path.dirname(path), link) if link else path
    if "://" not in link:
      assert os.path.exists(target), link
      assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


@pytest.fixture
def page():
  with open(os.path.join(ROOT, "docs", "extending.md"), encoding="utf-8") as file:
    return file.read()


@pytest.fixture
def examples(page, tmp_path, monkeypatch):
  """The files of the page, in the folder that the process is in."""
  files = re.findall(r"```python\n# (mine/\w+\.py)\n(.*?)```", page, re.S)
  assert [name for name, _ in files] == [
    "mine/charbonnier.py",
    "mine/blobs.py",
    "mine/nearest_mean.py",
    "mine/linear.py",
  ]
  (tmp_path / "mine").mkdir()
  for name, code in files:
    (tmp_path / name).write_text(code)
  monkeypatch.chdir(tmp_path)
  monkeypatch.syspath_prepend(tmp_path)
  return tmp_path


def test_the_examples_train_are_evaluated_and_exported_by_the_commands_of_the_page(page, examples):
  commands = re.findall(r"^python -m (pdr_jax\.\w+) (.*)$", page, re.M)
  assert [name for name, _ in commands] == ["pdr_jax.main", "pdr_jax.evaluate", "pdr_jax.export"]
  for name, words in commands:
    command, more = COMMANDS[name]
    assert command.main([name, *shlex.split(words), *more]) == 0
  with open("runs/mine/elements.json") as file:
    assert json.load(file)["image"]["shape"] == [16, 16, 1]
  words = [
    "--export=exported/mine",
    "--workdir=runs/of_export",
    "--config.tasks=mine.nearest_mean",
    *COMMANDS["pdr_jax.evaluate"][1],
  ]
  assert evaluate.main(["pdr_jax.evaluate", *words]) == 0
  results = []
  for run in ("mine", "of_export"):
    with open(f"runs/{run}/evaluation/nearest_mean_half.json") as file:
      results.append(json.load(file))
  assert results[0]["task"] == "nearest_mean/half" and results[0]["scores"] == results[1]["scores"]
  score = next(score for score in results[0]["scores"] if score["block"] == "code")
  assert 0 <= score["values"][0] <= 1

  model = pdr_jax.load("exported/mine")
  images = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 1)).astype(np.float32)
  code = images.reshape(3, -1) @ model.variables["encoder"]["kernel"]
  # Sums of 256 terms of size 0.1: 16 times the rounding of one, 1e-7, and some room.
  np.testing.assert_allclose(model.encode(images)["code"], code, rtol=0, atol=1e-5)


def test_the_loss_is_its_formula_and_has_finite_gradients_where_pictures_agree(examples):
  from mine.charbonnier import EPSILON, charbonnier

  first, second = jnp.full((1, 4, 4, 3), 0.5), jnp.full((1, 4, 4, 3), 0.25)
  np.testing.assert_allclose(charbonnier(first, second), np.hypot(0.25, EPSILON), rtol=1e-6)  # two roundings
  gradient = jax.grad(lambda x: charbonnier(x, first).sum())(first)
  assert not gradient.any() and jnp.isfinite(gradient).all()
