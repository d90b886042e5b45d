"""slurm.sbatch run through stand-ins for sbatch, srun and scontrol.

gke_jobset.yaml is checked against the fields that the API has.
"""

import os
import re
import shlex
import subprocess
import sys

import pytest
import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SBATCH, JOBSET = (os.path.join(ROOT, "launch", name) for name in ("slurm.sbatch", "gke_jobset.yaml"))


@pytest.mark.parametrize("code, requeued", [(0, False), (75, True), (2, False), (76, False)])
def test_only_a_run_that_was_stopped_and_saved_queues_itself_again(cloud, code, requeued):
  environment = cloud.env | {"TASK_CODE": str(code), "PDR_JAX_PYTHON": sys.executable}
  flags = ["--config", "configs/heads.py", "--workdir", "/shared/a b"]
  result = subprocess.run(
    ["sbatch", "--nodes=2", SBATCH, *flags], env=environment, capture_output=True, text=True, check=False
  )
  assert result.returncode == 0 and result.stdout.split()[-1] == str(code), result.stderr
  calls = cloud.calls()
  assert calls[1] == [
    "srun",
    "--kill-on-bad-exit=0",
    "--label",
    sys.executable,
    "-u",
    "-m",
    "pdr_jax.main",
    *flags,
  ]
  assert calls[2:] == ([["scontrol", "requeue", "17"]] if requeued else [])


TEXT, COUNT = str, int
POD_FAILURE_RULE = {
  "action!": {"FailJob", "Ignore", "Count", "FailIndex"},
  "onExitCodes": {"containerName": TEXT, "operator!": {"In", "NotIn"}, "values!": [COUNT]},
  "onPodConditions": [{"type!": TEXT, "status": {"True", "False", "Unknown"}}],
}
CONTAINER = {
  "name!": TEXT,
  "image!": TEXT,
  "command": [TEXT],
  "env": [{"name!": TEXT, "value": TEXT}],
  "resources": {"requests": {"google.com/tpu!": COUNT}, "limits": {"google.com/tpu!": COUNT}},
  "volumeMounts": [{"name!": TEXT, "mountPath!": TEXT}],
}
POD = {
  "restartPolicy!": {"Never", "OnFailure"},
  "terminationGracePeriodSeconds": COUNT,
  "serviceAccountName": TEXT,
  "nodeSelector": {"*": TEXT},
  "containers!": [CONTAINER],
  "volumes": [
    {"name!": TEXT, "csi!": {"driver!": {"gcsfuse.csi.storage.gke.io"}, "volumeAttributes": {"*": TEXT}}}
  ],
}
JOB = {
  "parallelism": COUNT,
  "completions": COUNT,
  "completionMode": {"Indexed", "NonIndexed"},
  "backoffLimit": COUNT,
  "podFailurePolicy": {"rules!": [POD_FAILURE_RULE]},
  "template!": {"metadata": {"annotations": {"*": TEXT}}, "spec!": POD},
}
# The part of jobset.x-k8s.io/v1alpha2 and batch/v1 that the file uses; "!" marks what must be there, "*" any
# name. Sources: the examples of kubernetes-sigs/jobset (site/static/examples/failure-policy, tpu-multislice),
# read 2026-11-20.
SCHEMA = {
  "apiVersion!": {"jobset.x-k8s.io/v1alpha2"},
  "kind!": {"JobSet"},
  "metadata!": {"name!": TEXT, "annotations": {"*": TEXT}},
  "spec!": {
    "failurePolicy": {
      "maxRestarts": COUNT,
      "rules": [
        {
          "action!": {"FailJobSet", "RestartJobSet", "RestartJobSetAndIgnoreMaxRestarts"},
          "onJobFailureReasons": [
            {"BackoffLimitExceeded", "DeadlineExceeded", "FailedIndexes", "PodFailurePolicy"}
          ],
          "targetReplicatedJobs": [TEXT],
        }
      ],
    },
    "replicatedJobs!": [{"name!": TEXT, "replicas": COUNT, "template!": {"spec!": JOB}}],
  },
}


def check(value, schema, path="") -> None:
  if isinstance(schema, dict):
    assert isinstance(value, dict), path
    known = {name.rstrip("!"): entry for name, entry in schema.items()}
    for name, entry in value.items():
      assert name in known or "*" in known, f"{path}.{name} is no field"
      check(entry, known.get(name, known.get("*")), f"{path}.{name}")
    missing = [name for name in schema if name.endswith("!") and name[:-1] not in value]
    assert not missing, f"{path} lacks {missing}"
  elif isinstance(schema, list):
    assert isinstance(value, list), path
    for i, entry in enumerate(value):
      check(entry, schema[0], f"{path}[{i}]")
  elif isinstance(schema, set):
    assert value in schema, f"{path} = {value!r}"
  else:
    assert type(value) is schema, f"{path} = {value!r}"


def jobset():
  with open(JOBSET) as file:
    return yaml.safe_load(file)


def test_jobset_has_only_fields_that_exist_and_hangs_together():
  document = jobset()
  check(document, SCHEMA)
  job = document["spec"]["replicatedJobs"][0]["template"]["spec"]
  pod = job["template"]["spec"]
  (container,) = pod["containers"]
  rows, columns = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
  assert (
    job["parallelism"]
    == job["completions"]
    == rows * columns // container["resources"]["limits"]["google.com/tpu"]
  )
  assert container["resources"]["limits"] == container["resources"]["requests"]
  assert pod["restartPolicy"] == "Never"  # what podFailurePolicy demands
  rules = job["podFailurePolicy"]["rules"]
  assert rules[0]["onExitCodes"] == {"containerName": container["name"], "operator": "In", "values": [75]}
  assert {mount["name"] for mount in container["volumeMounts"]} == {
    volume["name"] for volume in pod["volumes"]
  }
  assert {"name": "PDR_JAX_DISTRIBUTED", "value": "auto"} in container["env"]
  for broken in ({"parallelizm": 4}, {"completions": "4"}):
    wrong = jobset()
    wrong["spec"]["replicatedJobs"][0]["template"]["spec"].update(broken)
    with pytest.raises(AssertionError, match=r"parallelizm is no field|completions = '4'"):
      check(wrong, SCHEMA)


def test_the_commands_in_its_head_are_kubectl_s(cloud):
  commands = re.findall(r"^#   (kubectl .*)$", open(JOBSET).read(), re.M)
  assert len(commands) == 3
  for command in commands:
    result = subprocess.run(
      shlex.split(command), env=cloud.env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
  selector = next(word for word in shlex.split(commands[1]) if word.startswith("--selector="))
  assert selector == f"--selector=jobset.sigs.k8s.io/jobset-name={jobset()['metadata']['name']}"
