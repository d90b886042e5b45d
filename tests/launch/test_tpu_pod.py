"""launch/tpu_pod.py against a gcloud that checks every argument; what it starts on a worker runs here, in a
home folder of its own.
"""

import json
import os
import shlex
import subprocess
import sys
import time

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = os.path.join(ROOT, "launch", "tpu_pod.py")
PLACE = ["--zone=us-west4-a", "--project=my-project"]
TYPE = ["--type=v5litepod-16", "--version=v2-alpha-tpuv5-lite", "--spot"]
FLAGS = [
  "--",
  "--config",
  "configs/heads.py:small",
  "--workdir",
  "~/bucket/runs/a b",
  "--config.data.crop=(1, 2, 3, 4)",
]
END = [*PLACE, "--quiet"]
TPUS = ["gcloud", "compute", "tpus"]
CREATE = [
  *TPUS,
  "queued-resources",
  "create",
  "pod",
  "--node-id=pod",
  "--accelerator-type=v5litepod-16",
  "--runtime-version=v2-alpha-tpuv5-lite",
  "--spot",
  *END,
]
STATE = [*TPUS, "queued-resources", "describe", "pod", "--format=value(state.state)", *END]


def tpu_pod(cloud, *words, **kwargs):
  return subprocess.run(
    [sys.executable, SCRIPT, *words],
    env=cloud.env,
    capture_output=True,
    text=True,
    timeout=60,
    check=False,
    **kwargs,
  )


def test_create_waits_until_the_slice_is_there(cloud):
  cloud.answer(
    queued_resources__describe=["WAITING_FOR_RESOURCES", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]
  )
  result = tpu_pod(cloud, "create", "pod", *PLACE, *TYPE)
  assert result.returncode == 0, result.stderr
  assert cloud.calls() == [CREATE] + [STATE] * 4
  assert result.stdout.count("pod: WAITING_FOR_RESOURCES") == 1 and "pod: PROVISIONING" in result.stdout


def test_create_without_spot_and_project(cloud):
  cloud.answer(queued_resources__describe=["ACTIVE"])
  assert tpu_pod(cloud, "create", "pod", "--zone=us-west4-a", *TYPE[:2]).returncode == 0
  assert cloud.calls()[0] == [word for word in CREATE if word not in ("--spot", "--project=my-project")]


@pytest.mark.parametrize("state", ["FAILED", "SUSPENDED", "ERROR NOT_FOUND: no such queued resource"])
def test_a_request_that_failed_is_one_line(cloud, state):
  cloud.answer(queued_resources__describe=[state])
  result = tpu_pod(cloud, "create", "pod", *PLACE, *TYPE)
  assert (
    result.returncode == 1
    and result.stderr.startswith("error: the queued resource pod is ")
    and result.stderr.count("\n") == 1
  )


def test_install_copies_the_committed_files_and_mounts(cloud):
  assert tpu_pod(cloud, "install", "pod", *PLACE, "--bucket=gs://my-bucket").returncode == 0
  copy, ssh = cloud.calls()
  assert copy[:5] == [*TPUS, "tpu-vm", "scp"] and copy[5].endswith("/pdr_jax.tar.gz")
  assert copy[6:] == ["pod:pdr_jax.tar.gz", "--worker=all", *END]
  assert ssh[3:7] == ["tpu-vm", "ssh", "pod", "--worker=all"] and ssh[8:] == END
  assert "requirements.lock" in ssh[7] and "'.[tpu]'" in ssh[7] and "gcsfuse" in ssh[7]
  assert subprocess.run(["bash", "-n", "-c", ssh[7].removeprefix("--command=")], check=False).returncode == 0


def test_delete_and_dry_run(cloud):
  assert tpu_pod(cloud, "delete", "pod", *PLACE).returncode == 0
  assert cloud.calls() == [[*TPUS, "queued-resources", "delete", "pod", "--force", *END]]
  for command in ("create", "install", "run", "logs", "resume", "delete"):
    result = tpu_pod(cloud, command, "pod", *PLACE, *TYPE, "--bucket=gs://b", "--dry_run", *FLAGS)
    assert result.returncode == 0 and result.stdout.startswith("gcloud compute tpus "), result.stderr
  assert len(cloud.calls()) == 1
  assert [
    shlex.split(line)
    for line in tpu_pod(cloud, "create", "pod", *PLACE, *TYPE, "--dry_run").stdout.splitlines()
  ] == [CREATE]


@pytest.mark.parametrize(
  "queue, node, expected",
  [
    (["SUSPENDED", "ACTIVE"], None, ["describe", "delete", "create", "describe", "scp", "ssh", "ssh"]),
    (["ERROR NOT_FOUND", "ACTIVE"], None, ["describe", "create", "describe", "scp", "ssh", "ssh"]),
    (["ACTIVE"], "PREEMPTED", ["describe", "describe", "delete", "create", "describe", "scp", "ssh", "ssh"]),
    (["PROVISIONING", "ACTIVE"], None, ["describe", "describe", "scp", "ssh", "ssh"]),
    (["ACTIVE"], "READY", ["describe", "describe", "ssh"]),
  ],
)
def test_resume_makes_a_preempted_slice_anew_and_leaves_a_sound_one(cloud, queue, node, expected):
  cloud.answer(queued_resources__describe=queue, tpu_vm__describe=[node or ""])
  result = tpu_pod(cloud, "resume", "pod", *PLACE, *TYPE, "--bucket=gs://b", *FLAGS)
  assert result.returncode == 0, result.stderr
  assert [call[4] for call in cloud.calls()] == expected
  assert "pdr_jax.main" in cloud.calls()[-1][7]


def test_logs_are_one_file_for_each_worker(cloud, tmp_path):
  node = {"networkEndpoints": [{"ipAddress": "10.0.0.2"}, {"ipAddress": "10.0.0.3"}]}
  cloud.answer(tpu_vm__describe=[json.dumps(node)], tpu_vm__ssh=["step 1"])
  result = tpu_pod(cloud, "logs", "pod", *PLACE, f"--logs={tmp_path}/logs")
  assert result.returncode == 0, result.stderr
  assert sorted(os.listdir(tmp_path / "logs")) == ["pod_worker_0.log", "pod_worker_1.log"]
  assert all((tmp_path / "logs" / name).read_text() == "step 1\n" for name in os.listdir(tmp_path / "logs"))
  assert sorted(call[6] for call in cloud.calls()[1:]) == ["--worker=0", "--worker=1"]
  cloud.answer(tpu_vm__describe=["{}"])
  assert "has no workers" in tpu_pod(cloud, "logs", "pod", *PLACE).stderr


@pytest.mark.parametrize(
  "words, said",
  [
    (["create", "pod", "--zone=us-west4-a"], "create needs --type and --version"),
    (["run", "pod", *PLACE], "flags of the training program are missing"),
    (["resume", "pod", *PLACE, *TYPE, *FLAGS], "resume needs --bucket"),
    (["install", "pod", *PLACE, "--bucket=b"], "a bucket is named gs://"),
    (["create", "pod", *PLACE, "--type=v5litepod", "--version=x"], "gcloud ended with code 1"),
  ],
)
def test_mistakes_are_named(cloud, words, said):
  result = tpu_pod(cloud, *words)
  assert result.returncode in (1, 2) and said in result.stderr and "Traceback" not in result.stderr


def test_without_gcloud_the_line_says_so(cloud):
  environment = cloud.env | {"PATH": "/nowhere"}
  result = subprocess.run(
    [sys.executable, SCRIPT, "delete", "pod", *PLACE],
    env=environment,
    capture_output=True,
    text=True,
    check=False,
  )
  assert result.returncode == 2 and result.stderr == "error: gcloud is not installed or not on the PATH\n"


def test_what_runs_on_a_worker(cloud, tmp_path):
  """The remote command itself, by bash in a home folder with a stand-in for Python: detached, logged,
  mounted, never twice at a time.
  """
  assert tpu_pod(cloud, "run", "pod", *PLACE, "--bucket=gs://my-bucket/", *FLAGS).returncode == 0
  (call,) = cloud.calls()
  assert call[:7] == [*TPUS, "tpu-vm", "ssh", "pod", "--worker=all"] and call[8:] == END
  home = tmp_path / "home"
  for folder in ("venv/bin", "pdr_jax"):
    (home / folder).mkdir(parents=True)
  python = home / "venv/bin/python"
  python.write_text(
    '#!/bin/bash\npwd\nprintf "<%s>" "$PDR_JAX_DISTRIBUTED" "$@"\n'
    "while [ ! -e ~/go ]; do sleep 0.05; done\nexit 75\n"
  )
  fuse = home / "bin" / "gcsfuse"
  fuse.parent.mkdir()
  fuse.write_text(f'#!/bin/bash\nprintf "<%s>" "$@" > {home}/mounted\n')
  python.chmod(0o755)
  fuse.chmod(0o755)
  environment = {"HOME": str(home), "PATH": f"{home}/bin:/usr/bin:/bin"}

  def start():
    return subprocess.run(
      ["bash", "-c", call[7].removeprefix("--command=")],
      env=environment,
      capture_output=True,
      text=True,
      timeout=20,
      check=False,
    )

  try:
    assert start().returncode == 0  # returns although the program goes on
    wanted = (
      f"{home}/pdr_jax\n<auto><-u><-m><pdr_jax.main><--config><configs/heads.py:small>"
      f"<--workdir><{home}/bucket/runs/a b><--config.data.crop=(1, 2, 3, 4)>"
    )
    log = home / "pdr_jax.log"
    until(lambda: log.exists() and log.read_text() == wanted, lambda: log.exists() and log.read_text())
    assert (
      home / "mounted"
    ).read_text() == f"<--implicit-dirs><--rename-dir-limit=100000><my-bucket><{home}/bucket>"
    second = start()
    assert second.returncode == 1 and "already runs" in second.stderr
  finally:
    (home / "go").touch()
  until(lambda: (home / "pdr_jax.exit").exists() and (home / "pdr_jax.exit").read_text() == "75\n")


def until(true, shown=lambda: None):
  end = time.monotonic() + 20
  while not true():
    assert time.monotonic() < end, shown()
    time.sleep(0.05)
