"""Trains on a Cloud TPU slice of any number of hosts: a queued resource, the same program on every worker.

  python launch/tpu_pod.py create  NAME --zone=Z --type=v5litepod-16 --version=v2-alpha-tpuv5-lite [--spot]
      [--project=P]
  python launch/tpu_pod.py install NAME --zone=Z [--bucket=gs://B]
  python launch/tpu_pod.py run     NAME --zone=Z [--bucket=gs://B] -- --config configs/heads.py
      --workdir '~/bucket/runs/heads'
  python launch/tpu_pod.py logs    NAME --zone=Z [--logs=FOLDER]
  python launch/tpu_pod.py resume  NAME --zone=Z --type=T --version=V [--spot] [--bucket=gs://B]
      -- (the flags of run)
  python launch/tpu_pod.py delete  NAME --zone=Z

`--dry_run` prints the commands instead. `create` waits until the slice is there. `install` sends the
committed files of this checkout (git archive HEAD) and, with a bucket, mounts it at ~/bucket on every worker.
`run` detaches: closing this terminal stops nothing, and a second `run` beside a running one is refused.
`resume` makes a preempted slice anew, then installs and runs; the run continues from its newest checkpoint,
so its --workdir must be in the bucket. `logs` follows one file per worker until Ctrl-C. Needs gcloud, logged
in.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
POLL = float(os.environ.get("TPU_POD_POLL", "20"))  # seconds between two looks at the queue
GONE = (
  "",
  "FAILED",
  "SUSPENDING",
  "SUSPENDED",
  "PREEMPTED",
  "TERMINATED",
)  # nothing will come of it any more
INSTALL = (  # uv, because the machines come with Python 3.10
  "mkdir -p ~/pdr_jax && tar -xzf ~/pdr_jax.tar.gz -C ~/pdr_jax && python3 -m pip install --quiet --user uv"
  " && cd ~/pdr_jax && ~/.local/bin/uv venv --quiet --allow-existing --python 3.11 ~/venv"
  " && VIRTUAL_ENV=~/venv ~/.local/bin/uv pip install --quiet -e '.[tpu]' -c requirements.lock"
)
GCSFUSE = (
  " && (command -v gcsfuse >/dev/null"
  " || (echo deb https://packages.cloud.google.com/apt gcsfuse-$(lsb_release -cs) main"
  " | sudo tee /etc/apt/sources.list.d/gcsfuse.list >/dev/null"
  " && curl -fsSL https://packages.cloud.google.com/apt/doc/apt-key.gpg"
  " | sudo tee /etc/apt/trusted.gpg.d/gcsfuse.asc >/dev/null"
  " && sudo apt-get -q update && sudo apt-get -q -y install gcsfuse))"
)


class Failure(Exception):
  """One line for the user."""


class Gcloud:
  """Runs gcloud, or prints what it would run."""

  def __init__(self, zone: str, project: str | None, dry_run: bool):
    self.dry_run = dry_run
    self._place = [f"--zone={zone}", *([f"--project={project}"] if project else []), "--quiet"]

  def command(self, *words: str) -> list[str]:
    return ["gcloud", "compute", "tpus", *words, *self._place]

  def __call__(self, *words: str) -> None:
    command = self.command(*words)
    print(shlex.join(command), flush=True)
    if not self.dry_run:
      code = subprocess.run(command, check=False).returncode
      if code:
        raise Failure(f"gcloud ended with code {code}; its message stands above")

  def read(self, *words: str) -> str:
    """What a command prints; empty where the thing does not exist."""
    answer = subprocess.run(self.command(*words), capture_output=True, text=True, check=False)
    if answer.returncode and "NOT_FOUND" not in answer.stderr:
      raise Failure(
        f"{shlex.join(self.command(*words))}: {(answer.stderr.strip().splitlines() or ['no message'])[-1]}"
      )
    return answer.stdout.strip()

  def ssh(self, name: str, worker: str, command: str) -> list[str]:
    return ["tpu-vm", "ssh", name, f"--worker={worker}", f"--command={command}"]


def create(gcloud: Gcloud, a: argparse.Namespace) -> None:
  kind = [f"--accelerator-type={a.type}", f"--runtime-version={a.version}", *(["--spot"] if a.spot else [])]
  gcloud("queued-resources", "create", a.name, f"--node-id={a.name}", *kind)
  if not gcloud.dry_run:
    wait(gcloud, a.name)


def wait(gcloud: Gcloud, name: str) -> None:
  """Returns when the slice is there."""
  before = None
  while (state := queue_state(gcloud, name)) != "ACTIVE":
    if state in GONE:
      raise Failure(f"the queued resource {name} is {state or 'not there'}: delete it, or use resume")
    if state != before:
      print(f"{name}: {state}", flush=True)
    before = state
    time.sleep(POLL)


def queue_state(gcloud: Gcloud, name: str) -> str:
  return gcloud.read("queued-resources", "describe", name, "--format=value(state.state)")


def install(gcloud: Gcloud, a: argparse.Namespace) -> None:
  with tempfile.TemporaryDirectory() as folder:
    archive = os.path.join(folder, "pdr_jax.tar.gz")
    subprocess.run(["git", "-C", ROOT, "archive", "--format=tar.gz", "--output", archive, "HEAD"], check=True)
    gcloud("tpu-vm", "scp", archive, f"{a.name}:pdr_jax.tar.gz", "--worker=all")
  gcloud(*gcloud.ssh(a.name, "all", INSTALL + (GCSFUSE if a.bucket else "")))


def run(gcloud: Gcloud, a: argparse.Namespace) -> None:
  if not a.flags:
    raise Failure("the flags of the training program are missing: end with -- --config ... --workdir ...")
  # The shell of the worker opens the tilde, so a word that begins with one keeps it outside of the quotes.
  flags = " ".join(
    "~/" + shlex.quote(word[2:]) if word.startswith("~/") else shlex.quote(word) for word in a.flags
  )
  gcloud(*gcloud.ssh(a.name, "all", remote_run(flags, a.bucket)))


def remote_run(flags: str, bucket: str) -> str:
  """Starts the program in a session of its own, at most once at a time (flock), its output and exit code in
  files of the home folder.
  """
  mount = ""
  if bucket:
    where = shlex.quote(bucket.removeprefix("gs://").rstrip("/"))
    fuse = f"gcsfuse --implicit-dirs --rename-dir-limit=100000 {where} ~/bucket"
    mount = f"mkdir -p ~/bucket && (mountpoint -q ~/bucket || {fuse}) && "
  python = "PDR_JAX_DISTRIBUTED=auto ~/venv/bin/python -u -m pdr_jax.main"
  program = f"cd ~/pdr_jax && {python} {flags}; echo $? > ~/pdr_jax.exit"
  busy = "{ echo 'pdr_jax already runs on this worker' >&2; exit 1; }"
  start = f"setsid flock -n ~/pdr_jax.lock bash -c {shlex.quote(program)} >> ~/pdr_jax.log 2>&1 < /dev/null &"
  return f"{mount}(flock -n ~/pdr_jax.lock true || {busy}) && rm -f ~/pdr_jax.exit && {{ {start} }}"


def resume(gcloud: Gcloud, a: argparse.Namespace) -> None:
  if not a.bucket:
    raise Failure("resume needs --bucket: what lay on the disks of a preempted slice is lost")
  state = "SUSPENDED" if gcloud.dry_run else queue_state(gcloud, a.name)
  if state == "ACTIVE":
    state = gcloud.read("tpu-vm", "describe", a.name, "--format=value(state)") or "PREEMPTED"
  if state in GONE:
    if state:
      delete(gcloud, a)
    create(gcloud, a)
  elif state != "READY":
    wait(gcloud, a.name)
  if state != "READY":
    install(gcloud, a)
  run(gcloud, a)


def logs(gcloud: Gcloud, a: argparse.Namespace) -> None:
  follow = "tail -n +1 -F ~/pdr_jax.log"
  if gcloud.dry_run:
    gcloud(*gcloud.ssh(a.name, "0", follow))
    return
  node = gcloud.read("tpu-vm", "describe", a.name, "--format=json(networkEndpoints)")
  workers = range(len(json.loads(node or "{}").get("networkEndpoints", [])))
  if not workers:
    raise Failure(f"{a.name} has no workers: it is not there, or not ready")
  os.makedirs(a.logs, exist_ok=True)
  paths = [os.path.join(a.logs, f"{a.name}_worker_{i}.log") for i in workers]
  print(f"following {len(paths)} workers into {paths[0]} ...; Ctrl-C ends", flush=True)
  files = [open(path, "wb") for path in paths]
  followers = [
    subprocess.Popen(
      gcloud.command(*gcloud.ssh(a.name, str(i), follow)),
      stdout=file,
      stderr=subprocess.STDOUT,
      stdin=subprocess.DEVNULL,
    )
    for i, file in zip(workers, files, strict=True)
  ]
  try:
    codes = [follower.wait() for follower in followers]
  finally:
    for follower, file in zip(followers, files, strict=True):
      follower.terminate()
      file.close()
  if any(codes):
    worker, code = next((i, code) for i, code in enumerate(codes) if code)
    raise Failure(f"the log of worker {worker} ended: gcloud gave code {code}")


def delete(gcloud: Gcloud, a: argparse.Namespace) -> None:
  gcloud("queued-resources", "delete", a.name, "--force")


COMMANDS = {function.__name__: function for function in (create, install, run, logs, resume, delete)}


def parse(argv: list[str]) -> argparse.Namespace:
  parser = argparse.ArgumentParser(usage=__doc__, add_help=True)
  parser.add_argument("command", choices=COMMANDS)
  parser.add_argument("name", help="of the queued resource and of its node")
  parser.add_argument("--zone", required=True)
  parser.add_argument("--project", help="default: gcloud's")
  parser.add_argument("--type", help="accelerator type, such as v5litepod-16")
  parser.add_argument("--version", help="runtime version, such as v2-alpha-tpuv5-lite")
  parser.add_argument("--spot", action="store_true", help="cheaper, and can be preempted")
  parser.add_argument("--bucket", default="", help="gs:// bucket that holds the run directory")
  parser.add_argument("--logs", default="logs", help="folder on this machine")
  parser.add_argument("--dry_run", action="store_true")
  split = argv.index("--") if "--" in argv else len(argv)
  a = parser.parse_args(argv[:split])
  if a.command in ("create", "resume") and not (a.type and a.version):
    parser.error(f"{a.command} needs --type and --version")
  if a.bucket and not a.bucket.startswith("gs://"):
    parser.error(f"--bucket={a.bucket}: a bucket is named gs://...")
  a.flags = argv[split + 1 :]
  return a


def main(argv: list[str]) -> int:
  a = parse(argv)
  try:
    COMMANDS[a.command](Gcloud(a.zone, a.project, a.dry_run), a)
  except FileNotFoundError as error:
    print(f"error: {error.filename} is not installed or not on the PATH", file=sys.stderr)
    return 2
  except Failure as error:
    print(f"error: {error}", file=sys.stderr)
    return 1
  except KeyboardInterrupt:
    return 130
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
