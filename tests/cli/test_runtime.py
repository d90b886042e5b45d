"""What a process sets before it computes."""

import os
import platform
import subprocess
import sys

import pytest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Minor faults of the second to fifth time that 64 MiB are written and freed; they are 16,384 pages of 4 KiB.
PROGRAM = """
import ctypes, resource
from pdr_jax.cli import runtime

assert runtime.keep_freed_memory() is {kept}
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]

def write_and_free():
  place = libc.malloc(64 * 2**20)
  ctypes.memset(place, 1, 64 * 2**20)
  libc.free(place)

write_and_free()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
  write_and_free()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(kept: bool, **variables: str) -> int:
  environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
  command = [sys.executable, "-c", PROGRAM.format(kept=kept)]
  environment |= {"JAX_PLATFORMS": "cpu"} | variables
  done = subprocess.run(command, env=environment, cwd=ROOT, check=True, stdout=subprocess.PIPE)
  return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc has the switches")
def test_freed_memory_stays_unless_the_environment_says_otherwise():
  assert faults(True) < 100  # the interpreter's own
  assert faults(False, MALLOC_ARENA_MAX="2") >= 4 * 64 // 2  # with pages of 2 MiB; with those of 4 KiB 65,536
