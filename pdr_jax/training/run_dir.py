"""The run directory: everything needed to repeat the run.

Of several processes, only the first one reads and writes it. `config.json`, `elements.json` (what its batches
hold), `first_stage.json` (of a second stage: the configuration of the first), `versions.json`,
`checkpoints/`, `metrics.jsonl`, `tensorboard/`, `figures/`, `summary.json`, and after a step that was not
finite `nonfinite/`, its batch.
"""

import datetime
import errno
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator

import jax
from etils import epath
from ml_collections import ConfigDict

from pdr_jax import config as config_lib
from pdr_jax import elements, methods
from pdr_jax.config import flatten
from pdr_jax.config_checks import nearest
from pdr_jax.elements import Element, ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.files import write_atomically, write_json

CONFIG, ELEMENTS, VERSIONS = "config.json", "elements.json", "versions.json"
METRICS, SUMMARY, FIGURES = "metrics.jsonl", "summary.json", "figures"
# May change from start to start: no number depends on them.
FREE = ("train.grace_seconds", "train.stall_minutes", "train.profile_steps")
MOVED = ("data.path", "data.cache_dir")  # where the data lie; may change, with a line
LIBRARIES = (
  "jax",
  "jaxlib",
  "flax",
  "optax",
  "orbax-checkpoint",
  "grain",
  "ml-collections",
  "numpy",
  "tensorflow-datasets",
  "pdr-jax",
)


def check_run(
  workdir: str,
  config: ConfigDict,
  *,
  override_config: bool = False,
  say: Callable[[str], None] = print,
  advice: str = "Choose another --workdir, or pass --override_config to continue it",
) -> None:
  """May this configuration run in `workdir`? Creates the folder, and writes nothing into it yet.

  Raises `UserError` when the folder cannot be written to, or when it belongs to another configuration (which
  keys, old and new; `advice` says what to do), unless `override_config`. Raising `train.steps` alone ("train
  longer") needs no flag while the learning rate does not depend on it.
  """
  if jax.process_index() != 0:
    return
  _check_writable(workdir)
  if epath.Path(workdir, CONFIG).exists():
    _check_same(read_config(workdir), config, workdir, override_config, say, advice)


def record_start(workdir: str, config: ConfigDict, spec: ElementSpec | None = None) -> str:
  """Writes `config.json` and `elements.json`, and appends this start to `versions.json`.

  To be called once data and model are known to work. `spec`: the elements of a batch, where the data tell
  them. Returns the run's id, given at its first start; empty in all processes but the first.
  """
  if jax.process_index() != 0:
    return ""
  write_json(os.path.join(workdir, CONFIG), _plain(config))
  if spec is not None:
    write_json(os.path.join(workdir, ELEMENTS), elements.to_json(spec))
  return _record_start(workdir, config)


def read_reads(workdir: str, config: ConfigDict) -> dict[str, Element]:
  """The batch keys of the run's method, as the run has recorded them; without a record, as the method asks.

  Raises `UserError` where the record is not what the method of `config` takes.
  """
  asked, recorded = methods.describe(config.method).reads(config), read_elements(workdir)
  recorded = {key: recorded[key] for key in asked if key in recorded}
  elements.check(recorded, {key: asked[key] for key in recorded}, f"the run in {workdir}")
  return {**asked, **recorded}


def read_config(workdir: str) -> ConfigDict:
  """The resolved configuration of a run or an export.

  Keys that did not exist when it was started have their defaults, which change nothing. Raises `UserError`
  without one, and for one of an earlier version that cannot be read.
  """
  path = os.path.join(workdir, CONFIG)
  try:
    stored = json.loads(epath.Path(path).read_text())
  except FileNotFoundError:
    raise UserError(f"{workdir} is not a run directory: it has no {CONFIG}") from None
  except json.JSONDecodeError as error:
    raise UserError(f"{path} is not valid JSON ({error}): mend it or choose another --workdir") from None
  if not isinstance(stored, dict) or not isinstance(stored.get("method"), str):
    raise UserError(f"{path} is not the configuration of a run: it names no method")
  return from_json(stored, path)


def from_json(stored: dict, where: str) -> ConfigDict:
  """A resolved configuration as JSON has it, completed by defaults.

  `where` names its file in a `UserError`.
  """
  defaults = _plain(config_lib.base(stored["method"]))
  # Before 0.2 every configuration had the sections of all methods.
  foreign = [name for name, value in stored.items() if isinstance(value, dict) and name not in defaults]
  if foreign:
    writer = f"an earlier pdr_jax (0.1; it has config.{foreign[0]})"
    raise UserError(f"{where} was written by {writer}: install that version, or train anew")
  known = flatten(defaults)
  unknown = [key for key in flatten(stored) if key not in known]
  if unknown:  # else a misspelt key would silently have its default
    guess = nearest(unknown[0], list(known))
    raise UserError(f"{where}: config.{unknown[0]} is unknown; did you mean config.{guess}? Mend the file")
  return _from_plain(_completed(stored, defaults))


def read_elements(workdir: str) -> dict[str, Element]:
  """What the batches of a run held; empty where nothing was trained.

  Raises `UserError` for a record that is damaged.
  """
  path = os.path.join(workdir, ELEMENTS)
  try:
    return elements.from_json(json.loads(epath.Path(path).read_text()))
  except FileNotFoundError:
    return {}
  except ValueError as error:
    raise UserError(f"{path} cannot be read ({error}): mend it or choose another --workdir") from None


def disk_is_full(error: BaseException | None) -> bool:
  """Does an exception, or one that it came from, say that the file system has no room?"""
  return any(is_system_error(each, errno.ENOSPC, errno.EDQUOT, errno.EFBIG) for each in chain(error))


def chain(error: BaseException | None) -> Iterator[BaseException]:
  """An exception and those that it came from."""
  while error is not None:
    yield error
    error = error.__cause__ or error.__context__


def is_system_error(error: BaseException, *numbers: int) -> bool:
  """Is it the system's error of one of these numbers? Told by text where a library has only that."""
  return getattr(error, "errno", None) in numbers or any(os.strerror(n) in str(error) for n in numbers)


def _completed(stored: dict, defaults: dict) -> dict:
  """`stored` with the defaults of keys that it does not have."""
  complete = dict(defaults)
  for name, value in stored.items():
    nested = isinstance(value, dict) and isinstance(defaults.get(name), dict)
    complete[name] = _completed(value, defaults[name]) if nested else value
  return complete


def _check_writable(workdir: str) -> None:
  probe = os.path.join(workdir, ".writable")
  try:
    write_atomically(probe, lambda file: None)
    epath.Path(probe).unlink(missing_ok=True)  # another start may look at the same moment
  except Exception as error:  # that of a bucket's client, or that there is none: pip install "pdr_jax[gcs]"
    raise UserError(
      f"--workdir {workdir} cannot be written to: {getattr(error, 'strerror', None) or error}"
    ) from error


def _check_same(
  old: ConfigDict, new: ConfigDict, workdir: str, override: bool, say: Callable[[str], None], advice: str
) -> None:
  before, after = flatten(_plain(old)), flatten(_plain(new))
  described = methods.describe(new.method)
  ignored = [*FREE, *described.unread, *(key for key in described.from_data if not after[key])]
  keys = [
    key
    for key in before | after
    if before.get(key, "(absent)") != after.get(key, "(absent)") and key not in ignored
  ]
  changes = [f"{key}: {before.get(key, '(absent)')} -> {after.get(key, '(absent)')}" for key in keys]
  if not changes:
    return
  others = [key for key in keys if key not in MOVED]
  longer = (
    others == ["train.steps"]
    and after["train.steps"] > before["train.steps"]
    and after.get("optim.schedule") == "constant"
  )
  if longer or override or not others:
    say(f"continuing {workdir} with a changed configuration: " + "; ".join(changes))
    return
  what = f"{workdir} was started with another configuration: {'; '.join(changes)}"
  raise UserError(f"{what}. {advice}")


def _plain(config: ConfigDict) -> dict:
  """What JSON makes of it (tuples become lists), so that a config read back compares equal."""
  return json.loads(json.dumps(config.to_dict()))


def _from_plain(value: dict) -> ConfigDict:
  def tuples(entry):
    if isinstance(entry, dict):
      return {key: tuples(inner) for key, inner in entry.items()}
    return tuple(entry) if isinstance(entry, list) else entry

  return ConfigDict(tuples(value))


def _record_start(workdir: str, config: ConfigDict) -> str:
  """Appends this start to `versions.json`: when, with which command, libraries, commit and devices.

  Returns the run's id.
  """
  path = os.path.join(workdir, VERSIONS)
  try:
    record = json.loads(epath.Path(path).read_text())
    starts = record["starts"]
  except FileNotFoundError:
    record, starts = {}, []
  except (json.JSONDecodeError, KeyError, TypeError):  # what it says is not lost
    epath.Path(path).rename(f"{path}.damaged")
    record, starts = {}, []
  now = datetime.datetime.now(datetime.UTC)
  name = record.get("run") or _name(now, _git(), config)
  starts.append(about_start(now))
  write_json(path, {"run": name, "starts": starts})
  return name


def about_start(now: datetime.datetime) -> dict:
  """What is to be known of a start: when, with which command, libraries, commit and machine."""
  return {
      "time": now.isoformat(timespec="seconds"),
      "command": sys.argv,
      "python": platform.python_version(),
      "platform": platform.platform(),
      "libraries": {name: _version(name) for name in LIBRARIES},
      "git": _git(),
      "devices": [device.device_kind for device in jax.devices()],
      "processor": _processor(),
      "processes": jax.process_count(),
  }


def _processor() -> str:
  """`2 cores of AMD EPYC 9V74 80-Core Processor`."""
  try:
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
      names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
  except OSError:
    names = []
  count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
  return f"{count} core{'s' * (count > 1)} of {names[0] if names else platform.machine()}"


def _name(now: datetime.datetime, git: dict | None, config: ConfigDict) -> str:
  """The name of a run, such as `20261121-032500_0f74ea9+_pdr-heads-32_1a2b3c4d`.

  It has the time (UTC), the commit (+: changed), the configuration in short, and its checksum.
  """
  commit = git["commit"][:7] + "+" * git["changed"] if git else "no-commit"
  what = f"{config.method}-{config.data.name}-{config.data.side}".replace("/", "-")
  checksum = zlib.crc32(json.dumps(_plain(config), sort_keys=True).encode())
  return f"{now:%Y%m%d-%H%M%S}_{commit}_{what}_{checksum:08x}"


def _version(name: str) -> str | None:
  try:
    return importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return None


def _git() -> dict | None:
  """Commit of the program's checkout, and whether tracked files differ from it; None outside a checkout."""
  folder = os.path.dirname(os.path.abspath(__file__))

  def ask(*words: str) -> str:
    command = ("git", "-C", folder, *words)
    return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()

  try:
    return {
      "commit": ask("rev-parse", "HEAD"),
      "changed": bool(ask("status", "--porcelain", "--untracked-files=no")),
    }
  except (OSError, subprocess.SubprocessError):
    return None
