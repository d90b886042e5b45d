"""launch/local_processes.py with the real program: the processes join.

A mistake is one line of each and ends all of them.
"""

import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "launch", "local_processes.py")


def local_processes(*words):
  command = [sys.executable, SCRIPT, *words]
  return subprocess.run(
    command, cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "cpu"}, capture_output=True, text=True, check=False
  )


def test_a_mistake_ends_all_of_them_with_code_2(tmp_path):
  flags = [
    "--config",
    "configs/quickstart.py",
    "--workdir",
    str(tmp_path / "run"),
    "--config.train.batch_size=7",
  ]
  result = local_processes("--processes=2", "--devices=3", "--", *flags)
  assert result.returncode == 2, result.stdout
  mistake = r"config\.train\.batch_size = 7: must be a multiple of the 6 devices"
  said = re.findall(rf"^\[(\d)\] error: process (\d) of 2: {mistake}$", result.stdout, re.M)
  assert said and all(a == b for a, b in said), result.stdout
  assert not (tmp_path / "run").exists()


def test_each_process_is_told_its_place_and_the_flags_of_the_user_count_last(monkeypatch):
  monkeypatch.syspath_prepend(os.path.dirname(SCRIPT))
  import local_processes as launcher

  names = ("PDR_JAX_DISTRIBUTED", "JAX_NUM_CPU_DEVICES", "XLA_FLAGS")
  show = f"import os; print(*(os.environ[name] for name in {names}))"
  lines = [[], []]
  children = launcher.start([sys.executable, "-c", show], 2, 3, {"XLA_FLAGS": "--mine"})
  assert launcher.wait(children, lambda i, line: lines[i].append(line.split())) == [0, 0]
  for i in range(2):
    assert re.fullmatch(rf"127\.0\.0\.1:\d+,2,{i}", lines[i][0][0]) and lines[i][0][1:] == [
      "3",
      launcher.XLA_FLAGS,
      "--mine",
    ]
  assert lines[0][0][0].split(",")[0] == lines[1][0][0].split(",")[0]


def test_its_own_flags_are_checked():
  for words in (["--processes=0", "--", "--config", "x"], ["--processes=2"], ["--procs=2", "--", "x"]):
    result = local_processes(*words)
    assert result.returncode == 2 and "Traceback" not in result.stderr
