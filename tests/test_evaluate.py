"""The evaluation program: from a run directory and labelled images to tables; errors of one line; finished tasks are not repeated."""

import csv
import json
import os

import jax
import numpy as np
import pytest
from PIL import Image

from pdr_jax import evaluate as program
from pdr_jax.config import base, variant
from pdr_jax.errors import UserError
from pdr_jax.evaluation import tables
from pdr_jax.training import run_dir
from pdr_jax.training.checkpoints import check_variables


@pytest.fixture
def run(tmp_path):
  """A run directory without a checkpoint, and 60 images whose colour tells their class."""
  images = tmp_path / "images"
  images.mkdir()
  random = np.random.default_rng(0)
  rows = []
  for i in range(60):
    colour = i % 3
    pixels = random.integers(0, 80, (32, 32, 3)).astype(np.uint8)
    pixels[..., colour] += 150
    Image.fromarray(pixels).save(images / f"{i:02d}.png")
    rows.append({"file": f"{i:02d}.png", "colour": ("red", "green", "blue")[colour], "reddish": int(colour == 0), "identity": i % 6})
  with open(images / "labels.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  config = variant(base(), "small")
  config.data.update(name="image_folder", path=str(images), val_examples=20, train_examples=0)
  workdir = str(tmp_path / "run")
  run_dir.record_start(workdir, config)
  return workdir


def test_pixels_tell_colours_and_finished_tasks_are_kept(run, capsys, monkeypatch):
  words = ["evaluate", f"--workdir={run}", "--method=pixels", "--config.seeds=2", "--config.batch_size=8",
           "--config.tasks=('linear', 'clustering', 'factors', 'geometry')"]
  assert program.main(words) == 0
  folder = f"{run}/evaluation/pixels"
  with open(f"{folder}/linear_colour.json") as file:
    found = json.load(file)
  logistic = found["results"]["pixels"]["logistic"]["scores"]
  assert logistic["accuracy"]["mean"] == 1.0 and len(logistic["accuracy"]["per_seed"]) == 2
  assert found["protocol"]["train"] == 40 and found["protocol"]["method"] == "pixels"
  table = open(f"{folder}/table.md").read()
  assert "## linear/colour" in table and "| pixels logistic | 1.000 ± 0.000 |" in table and "## linear/attributes" in table
  assert "## clustering/colour" in table
  capsys.readouterr()

  from pdr_jax.evaluation import linear
  monkeypatch.setattr(linear, "multi_class", lambda *a, **k: pytest.fail("a finished task was computed again"))
  assert program.main(words) == 0
  assert "linear/colour ..." not in capsys.readouterr().out
  assert open(f"{folder}/table.md").read() == table


def test_labelled_light_gives_factors_and_robustness_with_their_pictures(run):
  """Brightness tells how far the light is from the camera; inside 25 degrees it is read, beyond it is not."""
  folder = run_dir.read_config(run).data.path
  rows = [{"file": f"{i:02d}.png", "reddish": int(i % 3 == 0), "azimuth": 20 * (i % 4) - 10, "elevation": 5} for i in range(60)]
  with open(f"{folder}/labels.csv", "w", newline="") as file:
    writer = csv.DictWriter(file, rows[0])
    writer.writeheader()
    writer.writerows(rows)
  words = ["evaluate", f"--workdir={run}", "--method=pca", "--config.seeds=1", "--config.batch_size=8", "--config.robustness.width=20",
           "--config.tasks=('factors', 'robustness')", "--config.light_angles=('azimuth', 'elevation')"]
  assert program.main(words) == 0
  for name in ("factors", "robustness_light"):
    with open(f"{run}/evaluation/pca/{name}.json") as file:
      found = json.load(file)
    assert os.path.getsize(f"{run}/evaluation/pca/{name}.png") > 5000
  assert found["protocol"]["examples"] == {"0": 6, "0-20": 15, "20-40": 15}  # 30 within 25 degrees, of which 24 are learned from
  assert found["results"]["pca"]["attributes"]["20-40"]["balanced_accuracy"]["mean"] > 0.9


@pytest.mark.parametrize(("words", "message"), [
    (["--method=resnet"], "--method=resnet: must be one of trained, random, pca, pixels"),
    (["--config.tasks=('linaer',)"], "'linaer' is unknown"),
    (["--config.batch_size=3"], "batch_size = 3: must be a multiple"),
    ([], "no checkpoints in"),
    (["--export=nowhere"], "nowhere is not an export"),
    (["--export=nowhere", "--method=pca"], "--export and --method exclude each other"),
    (["--config.checkpoint=newest"], "config.checkpoint = newest: must be best, latest"),
])
def test_errors_are_one_line(run, words, message):
  with pytest.raises(UserError, match=message) as error:
    program.main(["evaluate", f"--workdir={run}", *words])
  assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_model_is_named_by_its_keys():
  have = {"depth": {"kernel": np.zeros((2, 3), np.float32)}, "extra": np.zeros(1, np.float32)}
  want = {"depth": {"kernel": jax.ShapeDtypeStruct((2, 4), np.float32)}}
  with pytest.raises(UserError, match=r"depth/kernel \(float32\[2, 3\], the model's is float32\[2, 4\]\).*extra .*absent"):
    check_variables(have, want)


def test_a_missing_label_is_named_and_others_go_on(run):
  results = program.main(["evaluate", f"--workdir={run}", "--method=pixels", "--config.labels=('colour', 'age')", "--config.batch_size=8",
                          "--config.seeds=1", "--config.tasks=('clustering', 'linear')"])
  assert results == 0
  with open(f"{run}/evaluation/pixels/linear_attributes.json") as file:
    assert "no label 'age'" in json.load(file)["skipped"]
  table = open(f"{run}/evaluation/pixels/table.md").read()
  assert "| pixels ward |" in table and "Not run: the train split has no label 'age'" in table


def test_tables_show_means_deviations_and_groups():
  result = {"task": "t", "protocol": {"train": 1000, "test": 10, "seeds": [0, 1]}, "majority": 0.5, "leakage": {"light": 0.25},
            "results": {"all": {"logistic": {"scores": {"accuracy": {"mean": 0.5, "std": 0.1, "per_seed": [0.4, 0.6]}}, "fit": {"l2": 1.0}},
                                "knn": {"1": {"accuracy": {"mean": 0.25, "std": None, "per_seed": [0.25]}}}}}}
  text = tables.markdown("title", {"a": result, "b": {"skipped": "why"}})
  assert "train 1,000, test 10" in text and "50.0 %" in text and "Leakage: light 0.25." in text
  assert "| all logistic | 0.500 ± 0.100 |" in text and "| all knn 1 | 0.250 |" in text and "Not run: why." in text and "l2" not in text
