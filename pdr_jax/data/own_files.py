"""Files that this program has written among the user's pictures, so that it never takes them for pictures.

`decompose` names its results in a manifest, `decomposed.json`. A run directory is known by its
configuration and its record of starts; what is below its folders of results is no picture.
"""

import functools
import itertools
import json
import os
from collections.abc import Callable
from typing import NamedTuple

from pdr_jax.errors import UserError

RESULT, NORMALIZED = "result", "normalized"
MANIFEST = "decomposed.json"
RUN_FILES = ("config.json", "versions.json")  # by which a run directory is known
RUN_RECORDS = (*RUN_FILES, "elements.json", "first_stage.json", "metrics.jsonl", "summary.json")
ALWAYS = (MANIFEST, "run.lock")  # a run directory has its lock before anything else
RUN_FOLDERS = ("checkpoints", "evaluation", "figures", "forecast", "nonfinite", "profile", "tensorboard")


def _read_file(path: str) -> bytes:
  with open(path, "rb") as file:
    return file.read()


class Manifest(NamedTuple):
  """What `decompose` has written into a folder; names relative to it.

  Attributes:
    folders: those with the results of one picture each.
    files: names of the files in each of these.
    normalized: files of `--normalize_only`: pictures that a training may read, and their table.
  """

  folders: tuple[str, ...] = ()
  files: tuple[str, ...] = ()
  normalized: tuple[str, ...] = ()


def read_manifest(folder: str, read: Callable[[str], bytes] = _read_file) -> Manifest:
  """The manifest of a folder; empty where there is none. Raises `UserError` for a damaged one."""
  path = os.path.join(folder, MANIFEST)
  try:
    value = json.loads(read(path))
    return Manifest(*(tuple(str(name) for name in value.get(key, ())) for key in Manifest._fields))
  except (OSError, KeyError):  # KeyError: of a zip
    return Manifest()
  except Exception as error:  # no JSON, another structure, an entry of a zip that cannot be read
    reason = f"{path} is damaged ({type(error).__name__})"
    raise UserError(f"{reason}: remove it, and the results beside it") from error


def kinds(
  read: Callable[[str], bytes] = _read_file, is_file: Callable[[str], bool] = os.path.isfile
) -> Callable[[str], str]:
  """A test of paths: what this program has written there, `RESULT` or `NORMALIZED`; "" for other files.

  Paths are absolute and normalised, or those of a zip, whose files `read` and `is_file` then know.
  """

  @functools.cache
  def written_below(folder: str) -> dict[str, str]:
    manifest = read_manifest(folder, read)
    results = [os.path.join(*names) for names in itertools.product(manifest.folders, manifest.files)]
    kinds = {RESULT: results, NORMALIZED: manifest.normalized}
    return {
      os.path.normpath(os.path.join(folder, name)): kind for kind, names in kinds.items() for name in names
    }

  @functools.cache
  def is_run(folder: str) -> bool:
    return all(is_file(os.path.join(folder, name)) for name in RUN_FILES)

  @functools.cache
  def in_run(folder: str) -> bool:
    above = os.path.dirname(folder)
    return above != folder and ((os.path.basename(folder) in RUN_FOLDERS and is_run(above)) or in_run(above))

  @functools.cache
  def manifests_above(folder: str) -> tuple[dict[str, str], ...]:
    above, here = os.path.dirname(folder), written_below(folder)
    further = () if above == folder else manifests_above(above)
    return (here, *further) if here else further

  def kind(path: str) -> str:
    folder, name = os.path.split(path)
    if name in ALWAYS or in_run(folder) or (name in RUN_RECORDS and is_run(folder)):
      return RESULT
    return next((names[path] for names in manifests_above(folder) if path in names), "")

  return kind
