"""A PATH whose gcloud, sbatch, srun, scontrol and kubectl are stand-ins that check every argument."""

import json
import os
import stat
import sys

import pytest


@pytest.fixture
def cloud(tmp_path):
  """`cloud.env` for subprocesses, `cloud.calls()` so far, `cloud.answer(question=[...])` beforehand."""
  folder = tmp_path / "bin"
  folder.mkdir()
  source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "stand_in.py")
  for name in ("gcloud", "sbatch", "srun", "scontrol", "kubectl"):
    path = folder / name
    path.write_text(open(source).read().replace("#!/usr/bin/env python3", f"#!{sys.executable}", 1))
    path.chmod(path.stat().st_mode | stat.S_IXUSR)

  class Cloud:
    env = os.environ | {
      "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}",
      "CALLS": str(tmp_path / "calls"),
      "TPU_POD_POLL": "0.01",
      "ANSWERS": str(tmp_path / "answers"),
    }

    def calls(self):
      return (
        [json.loads(line) for line in open(self.env["CALLS"])] if os.path.exists(self.env["CALLS"]) else []
      )

    def answer(self, **questions):
      with open(self.env["ANSWERS"], "w") as file:
        json.dump(
          {name.replace("__", " ").replace("_", "-"): answers for name, answers in questions.items()}, file
        )

  cloud = Cloud()
  cloud.answer()
  return cloud
