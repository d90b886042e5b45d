"""docs/tour.ipynb runs from top to bottom, in a process of its own, with the model that is shipped."""

import json
import os
import subprocess
import sys

import pytest

NOTEBOOK = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "docs", "tour.ipynb")
CHECKS = """
import math
assert images.shape[1:] == (model.side, model.side, 3) and parts["depth"].shape == images.shape[:3]
left, _, right, _ = relit.mean(axis=-1)
half = model.side // 2
brighter = lambda picture: picture[:, :half].mean() - picture[:, half:].mean()
assert brighter(left) > brighter(right)  # light from the left shines on what is on the left
assert abs(turned[0] - turned[-1]).max() > 0.1 and all(math.isfinite(score) and score <= 1 for score in
scores.values())
"""


@pytest.mark.slow
def test_tour_runs_from_top_to_bottom(tmp_path):
  with open(NOTEBOOK, encoding="utf-8") as file:
    notebook = json.load(file)
  cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
  assert notebook["nbformat"] == 4 and len(cells) > 5
  (tmp_path / "tour.py").write_text("\n".join([*cells, CHECKS]), encoding="utf-8")
  environment = os.environ | {"MPLBACKEND": "Agg", "JAX_PLATFORMS": "cpu"}
  done = subprocess.run(
    [sys.executable, "tour.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
  )
  assert done.returncode == 0, done.stderr[-2000:]
  assert (tmp_path / "face.glb").stat().st_size > 10_000
