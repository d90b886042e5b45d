"""What this program has written among the user's pictures is no picture of theirs."""

import json
import shutil

import numpy as np
from PIL import Image

from pdr_jax.data import own_files, stores


def picture(path):
  path.parent.mkdir(parents=True, exist_ok=True)
  Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(path)


def test_results_and_runs_among_pictures_are_left_out_and_counted(tmp_path):
  for name in ("a.png", "a/depth.png", "a/mine.png", "figures/b.png", "run/figures/latest.png", "run/c.png"):
    picture(tmp_path / name)
  for name in ("config.json", "versions.json"):
    (tmp_path / "run" / name).write_text("{}")
  (tmp_path / own_files.MANIFEST).write_text(json.dumps({"folders": ["a"], "files": ["depth.png"]}))
  store = stores.Folder(str(tmp_path))
  assert store.names == ["a.png", "a/mine.png", "figures/b.png", "run/c.png"]
  assert stores.describe_left_out(store.left_out) == "5 results of earlier commands"  # and three records
  assert stores.Folder(str(tmp_path / "run" / "figures")).names == []
  zipped = stores.Zip(shutil.make_archive(str(tmp_path / "all"), "zip", tmp_path))
  assert zipped.names == store.names and zipped.left_out[stores.OWN] == 5


def test_normalised_pictures_are_data_where_they_are_alone(tmp_path):
  for name in ("out/a.png", "out/b/a.png"):
    picture(tmp_path / name)
  (tmp_path / "out/labels.csv").write_text("file,mood\na.png,sad\nb/a.png,glad\n")
  written = {"folders": [], "files": [], "normalized": ["a.png", "b/a.png", "labels.csv"]}
  (tmp_path / "out" / own_files.MANIFEST).write_text(json.dumps(written))
  store = stores.Folder(str(tmp_path))
  assert store.names == ["out/a.png", "out/b/a.png"] and store.tables[-1] == "out/labels.csv"
  assert stores.Folder(str(tmp_path), normalized=False).names == []
  picture(tmp_path / "a.png")
  store = stores.Folder(str(tmp_path))
  assert store.names == ["a.png"] and "out/labels.csv" not in store.tables
  assert stores.describe_left_out(store.left_out) == "4 results of earlier commands"
