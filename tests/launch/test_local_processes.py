"""launch/local_processes.py with the real program: the processes join, a mistake is one line of each and ends all of them."""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "launch", "local_processes.py")


def local_processes(*words):
  command = [sys.executable, SCRIPT, *words]
  return subprocess.run(command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, check=False)


def test_a_mistake_ends_all_of_them_with_code_2(tmp_path):
  flags = ["--config", "configs/quickstart.py", "--workdir", str(tmp_path / "run"), "--config.train.batch_size=7"]
  result = local_processes("--processes=2", "--devices=3", "--", *flags)
  assert result.returncode == 2, result.stdout
  mistake = r"config\.train\.batch_size = 7: must be a multiple of the 6 devices"
  said = re.findall(rf"^\[(\d)\] error: process (\d) of 2: {mistake}$", result.stdout, re.M)
  assert said and all(a == b for a, b in said), result.stdout
  assert not (tmp_path / "run").exists()


def test_its_own_flags_are_checked():
  for words in (["--processes=0", "--", "--config", "x"], ["--processes=2"], ["--procs=2", "--", "x"]):
    result = local_processes(*words)
    assert result.returncode == 2 and "Traceback" not in result.stderr
