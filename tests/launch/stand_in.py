#!/usr/bin/env python3
"""Stands in for gcloud, sbatch, srun, scontrol and kubectl on the PATH: refuses every argument that the real
one would not take, and notes the call in $CALLS. What gcloud answers to questions stands in $ANSWERS, a list
for each question, its last entry repeated.
"""

import json
import os
import re
import subprocess
import sys

PLACE = {"--zone": r"[a-z]+-[a-z]+\d-[a-z]", "--project": r"[a-z][a-z0-9-]+", "--quiet": None}
WORKER = {"--worker": r"all|\d+"}
# Command -> (positionals, flags, flags that must be there); from
# cloud.google.com/sdk/gcloud/reference/compute/tpus, read 2026-11-20.
GCLOUD = {
  "queued-resources create": (
    1,
    {
      "--node-id": r"[a-z][a-z0-9-]+",
      "--accelerator-type": r"v\w+-\d+",
      "--runtime-version": r"[a-z0-9.-]+",
      "--spot": None,
    },
    ("--node-id", "--accelerator-type", "--runtime-version"),
  ),
  "queued-resources describe": (1, {"--format": r"value\(state\.state\)"}, ()),
  "queued-resources delete": (1, {"--force": None, "--async": None}, ()),
  "tpu-vm describe": (1, {"--format": r"value\(state\)|json\(networkEndpoints\)"}, ()),
  "tpu-vm ssh": (1, {"--command": r"(?s).+"} | WORKER, ("--command", "--worker")),
  "tpu-vm scp": (2, WORKER, ("--worker",)),
}
KUBECTL = {
  "apply": (0, {"-f": r".+\.yaml"}, ("-f",)),
  "delete": (0, {"-f": r".+\.yaml"}, ("-f",)),
  "logs": (
    0,
    {"--follow": None, "--prefix": None, "--max-log-requests": r"\d+", "--selector": r"[\w./-]+=[\w-]+"},
    ("--selector",),
  ),
}


def refuse(why: str):
  sys.exit(f"stand-in refuses: {why}: {sys.argv}")


def check(words: list[str], grammar: tuple) -> None:
  positionals, flags, needed = grammar
  names, count, words = [], 0, list(words)
  while words:
    word = words.pop(0)
    if not word.startswith("-"):
      count += 1
      continue
    name, given, value = word.partition("=")
    if name not in flags:
      refuse(f"no flag {name}")
    if flags[name] is None:
      if given:
        refuse(f"{name} takes no value")
    else:
      value = value if given else (words.pop(0) if words else "")
      if not re.fullmatch(flags[name], value):
        refuse(f"{name}={value}")
    names.append(name)
  if count != positionals or len(set(names)) < len(names) or not set(needed) <= set(names):
    refuse("positionals or flags")


def gcloud(words: list[str]) -> str:
  if words[:2] != ["compute", "tpus"] or " ".join(words[2:4]) not in GCLOUD:
    refuse("no such command")
  command = " ".join(words[2:4])
  positionals, flags, needed = GCLOUD[command]
  check(words[4:], (positionals, flags | PLACE, (*needed, "--zone")))
  if command == "tpu-vm scp" and not os.path.getsize(words[4]) > 1000:
    refuse("nothing to copy")
  return answer(command)


def answer(question: str) -> str:
  path = os.environ.get("ANSWERS")
  if not path:
    return ""
  with open(path) as file:
    answers = json.load(file)
  mine = answers.get(question, [""])
  if len(mine) > 1:
    answers[question] = mine[1:]
    with open(path, "w") as file:
      json.dump(answers, file)
  if mine[0].startswith("ERROR"):
    sys.exit(mine[0])
  return mine[0]


def sbatch(words: list[str]) -> str:
  """Checks the script's #SBATCH lines and runs it, as the first node would."""
  options = [
    word
    for word in words
    if word.startswith("--") and words.index(word) < next(i for i, w in enumerate(words) if w[0] != "-")
  ]
  script, *rest = words[len(options) :]
  lines = [line.split(maxsplit=1)[1].strip() for line in open(script) if line.startswith("#SBATCH")]
  flags = {
    "--job-name": r"\w+",
    "--nodes": r"\d+",
    "--ntasks-per-node": r"\d+",
    "--gpus-per-node": r"\d+",
    "--cpus-per-task": r"\d+",
    "--requeue": None,
    "--open-mode": r"append|truncate",
    "--output": r"[\w%.]+",
    "--signal": r"(B:)?[A-Z]+(@\d+)?",
    "--partition": r"\w+",
    "--account": r"\w+",
    "--time": r"[\d:-]+",
  }
  check(lines, (0, flags, ()))
  check(options, (0, flags, ()))
  return str(
    subprocess.run(["bash", script, *rest], env=os.environ | {"SLURM_JOB_ID": "17"}, check=False).returncode
  )


def srun(words: list[str]) -> str:
  own = []
  while words and words[0].startswith("--"):
    own.append(words.pop(0))
  check(own, (0, {"--kill-on-bad-exit": r"[01]", "--label": None}, ()))
  if not os.access(words[0], os.X_OK):
    refuse("no such program")
  if os.environ.get("PDR_JAX_DISTRIBUTED") != "auto":
    refuse("the processes would not find each other")
  sys.exit(int(os.environ["TASK_CODE"]))


def scontrol(words: list[str]) -> str:
  if words[0] != "requeue" or words[1:] != ["17"]:
    refuse("requeue takes the job")
  return ""


def kubectl(words: list[str]) -> str:
  if words[0] not in KUBECTL:
    refuse("no such command")
  check(words[1:], KUBECTL[words[0]])
  return ""


if __name__ == "__main__":
  program = os.path.basename(sys.argv[0])
  with open(os.environ["CALLS"], "a") as calls:
    calls.write(json.dumps([program, *sys.argv[1:]]) + "\n")
  print({f.__name__: f for f in (gcloud, sbatch, srun, scontrol, kubectl)}[program](sys.argv[1:]))
