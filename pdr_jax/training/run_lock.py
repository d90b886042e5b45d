"""One start at a time in a run directory: `with run_lock.hold(workdir): ...`.

`WORKDIR/run.lock` says which process holds the directory, on which host and since when; its time of change is
that of the last sign of life. The operating system locks the file as well (flock), and lets go when the
process dies, however it dies. So on one machine the second start is refused, and the lock of a dead process
is taken over.

Other hosts see the same file on a shared file system. Not all of these lock between hosts (NFS and Lustre by
their mount options, FUSE often not at all), so there the sign of life decides: a lock of another host holds
until it has been silent for `SILENCE` seconds. Buckets (gs://) cannot lock or append: there the lock is an
object that is written again at every sign of life, and two starts within the same second or two may both
pass.
"""

import contextlib
import datetime
import fcntl
import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
from etils import epath

from pdr_jax.errors import UserError
from pdr_jax.files import in_bucket

LOCK = "run.lock"
BEAT = 20.0  # seconds between signs of life
SILENCE = 120.0  # seconds without one after which another host's lock counts for nothing
LETTING_GO = 5.0  # seconds that the children of a dead start have for closing its lock


class InUse(UserError):
  """Another start holds the directory."""


_open_locks: set[int] = set()  # file descriptors; a forked child must not keep its parent's lock alive


@contextlib.contextmanager
def hold(workdir: str, say: Callable[[str], None] = print, name: str = LOCK) -> Iterator[None]:
  """Holds a run directory, which exists, against other starts.

  Of several processes only the first does anything. `name`: of the lock's file; locks of different names do
  not know of each other.

  Raises `InUse` where another start holds it. `say` gets a line where a dead start's lock is taken over,
  where the file system cannot lock, and where somebody takes the lock away meanwhile.
  """
  if jax.process_index() != 0:
    yield
    return
  with (_in_bucket if in_bucket(workdir) else _on_disk)(workdir, say, name):
    yield


def holder(workdir: str, name: str = LOCK) -> str:
  """Which process holds a run directory on a disk, in words; "" where none does. Takes nothing."""
  path = os.path.join(workdir, name)
  try:
    with open(path, "rb") as file:
      lock = json.loads(file.read() or b"{}")
    alive = _runs(lock) if lock.get("machine") == _machine() else _age(path) < SILENCE
  except (OSError, ValueError, AttributeError):  # none, one that goes at this moment, or no lock of ours
    return ""
  return _who(lock) if alive else ""


# ------------------------------------------------------------------------------------------------ on disks


@contextlib.contextmanager
def _on_disk(workdir: str, say: Callable[[str], None], name: str) -> Iterator[None]:
  path = os.path.join(workdir, name)
  descriptor, can_lock = _take(path, workdir)
  try:
    earlier = _read(descriptor)
    if earlier:
      _check_earlier(earlier, path, workdir, can_lock)
      say(f"taking over {workdir} from {_who(earlier)}, which no longer runs")
    if not can_lock:
      say(f"the file system of {workdir} cannot lock: another start is noticed by {name} alone")
    _write(descriptor, _about_this_process(), path)
    try:
      with _signs_of_life(lambda: _beat(path, descriptor, say)):
        yield
    finally:  # another host may go on at once after an error
      if _is_at(descriptor, path):
        os.remove(path)
  finally:
    _open_locks.discard(descriptor)
    os.close(descriptor)


def _take(path: str, workdir: str) -> tuple[int, bool]:
  """The open, locked file, and whether the file system can lock.

  Raises `InUse` where another one has it. A child that a start had just forked when it was killed lets go
  within a moment, which is waited for.
  """
  until = time.monotonic() + LETTING_GO
  while True:
    try:
      descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
      raise UserError(f"{path} cannot be opened ({error.strerror}): is it another user's run?") from error
    try:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
      can_lock = True
    except BlockingIOError:
      earlier = _read(descriptor)
      os.close(descriptor)
      dead = earlier.get("machine") == _machine() and not _runs(earlier)
      if not dead or time.monotonic() > until:
        raise InUse(_in_use(workdir, earlier)) from None
      time.sleep(0.02)
      continue
    except OSError:  # this file system has no locks
      can_lock = False
    if _is_at(descriptor, path):
      _open_locks.add(descriptor)
      return descriptor, can_lock
    os.close(descriptor)  # the start before removed it between our opening and our locking


def _check_earlier(earlier: dict[str, Any], path: str, workdir: str, can_lock: bool) -> None:
  """Raises `InUse` where the start that left this lock may still run."""
  if earlier.get("machine") == _machine():
    alive = not can_lock and _runs(earlier)  # a lock that we could take is nobody's
  else:
    alive = _age(path) < SILENCE
  if alive:
    raise InUse(_in_use(workdir, earlier, None if can_lock else _age(path)))


def _age(path: str) -> float:
  """Seconds since the last sign of life, by the clock of the file system: those of two hosts may differ."""
  probe = f"{path}.{os.getpid()}"
  try:
    with open(probe, "wb"):
      pass
    return os.stat(probe).st_mtime - os.stat(path).st_mtime
  finally:
    with contextlib.suppress(FileNotFoundError):
      os.remove(probe)


def _runs(earlier: dict[str, Any]) -> bool:
  """Is there a process of this id on this machine that began when the lock says?"""
  try:
    os.kill(earlier["process"], 0)
  except (ProcessLookupError, KeyError, TypeError, OverflowError):
    return False
  except PermissionError:  # somebody else's, and there
    return True
  return earlier.get("began") in (None, _began(earlier["process"]))


def _beat(path: str, descriptor: int, say: Callable[[str], None]) -> bool:
  """A sign of life; False where there is nothing left to give one for."""
  try:
    if _is_at(descriptor, path):
      os.utime(descriptor)
      return True
  except OSError:  # a file system that is away for a while: the next sign may reach it
    return True
  say(f"{path} was removed or replaced: another start may be writing into this run")
  return False


def _is_at(descriptor: int, path: str) -> bool:
  try:
    return os.path.samestat(os.fstat(descriptor), os.stat(path))
  except FileNotFoundError:
    return False


def _read(descriptor: int) -> dict[str, Any]:
  """What the lock says; empty where it is new or says nothing that can be read."""
  try:
    value = json.loads(os.pread(descriptor, 65536, 0) or b"{}")
  except ValueError:
    return {}
  return value if isinstance(value, dict) else {}


def _write(descriptor: int, value: dict[str, Any], path: str) -> None:
  data = (json.dumps(value, indent=1) + "\n").encode()
  try:
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, data, 0)
    os.fsync(descriptor)
  except OSError as error:  # a full disk, a quota
    raise UserError(f"{path} cannot be written ({error.strerror}): make room on its disk") from error


# ------------------------------------------------------------------------------------------------ in buckets


@contextlib.contextmanager
def _in_bucket(workdir: str, say: Callable[[str], None], name: str) -> Iterator[None]:
  path = epath.Path(workdir, name)
  own = _about_this_process()
  earlier = _read_object(path)
  silent = time.time() - float(earlier.get("alive", 0.0))
  if earlier and silent < SILENCE and not (earlier.get("machine") == _machine() and not _runs(earlier)):
    raise InUse(_in_use(workdir, earlier, silent))
  if earlier:
    say(f"taking over {workdir} from {_who(earlier)}, which no longer runs")

  def sign() -> None:
    path.write_text(json.dumps(own | {"alive": time.time()}))

  def beat() -> bool:
    with contextlib.suppress(Exception):  # of a bucket's client: the next sign may reach it
      sign()
    return True

  sign()
  try:
    with _signs_of_life(beat):
      yield
  finally:
    if _read_object(path).get("process") == own["process"]:
      path.unlink(missing_ok=True)


def _read_object(path: epath.Path) -> dict[str, Any]:
  try:
    value = json.loads(path.read_text())
  except (FileNotFoundError, ValueError):
    return {}
  return value if isinstance(value, dict) else {}


# ------------------------------------------------------------------------------------------------ both


@contextlib.contextmanager
def _signs_of_life(beat: Callable[[], bool]) -> Iterator[None]:
  """Calls `beat()` every `BEAT` seconds in a thread, until it returns False."""
  ended = threading.Event()

  def run() -> None:
    while not ended.wait(BEAT):
      if not beat():
        return

  thread = threading.Thread(target=run, name="run_lock", daemon=True)
  thread.start()
  try:
    yield
  finally:
    ended.set()
    thread.join()


def _about_this_process() -> dict[str, Any]:
  started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
  process = os.getpid()
  return {
      "process": process,
      "host": platform.node(),
      "started": started,
      "machine": _machine(),
      "began": _began(process),
  }


def _machine() -> str:
  """What tells a machine (since its last boot) from others.

  Containers on it share it, whatever they are called.
  """
  try:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
      return file.read().strip()
  except OSError:
    return platform.node()


def _began(process: int) -> str | None:
  """When a process began, in the kernel's count; None if unknown.

  It tells the process from a later one of the same id.
  """
  try:
    with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as file:
      return file.read().rpartition(")")[2].split()[19]
  except (OSError, IndexError):
    return None


def _who(lock: dict[str, Any]) -> str:
  if not lock:
    return "another process"
  return f"process {lock.get('process')} on {lock.get('host')}, started {lock.get('started')}"


def _in_use(workdir: str, lock: dict[str, Any], silent: float | None = None) -> str:
  text = f"{workdir} is in use by {_who(lock)}: wait for it, stop it, or choose another --workdir"
  if silent is None:
    return text
  return f"{text} (last sign of life {max(silent, 0):.0f} s ago; after {SILENCE:.0f} s it counts as dead)"


def _forget_locks() -> None:
  for descriptor in _open_locks:
    os.close(descriptor)
  _open_locks.clear()


os.register_at_fork(after_in_child=_forget_locks)
