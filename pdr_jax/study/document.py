"""A study's section in a document such as docs/results/cars.md, written from its records.

The section stands between two comments with the study's name; what people wrote around them stays as it is.
"""

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pdr_jax.errors import UserError
from pdr_jax.evaluation.joined import Results, samples
from pdr_jax.evaluation.tables import line
from pdr_jax.files import write_text
from pdr_jax.study import table
from pdr_jax.study.state import Record
from pdr_jax.training.progress import duration


def write(path: str, name: str, section: Sequence[str], how: str) -> None:
  """Puts the section of the study `name` into the file, in the place of an earlier one or at the end.

  `how` is the command that does so. Raises `UserError` for a file that cannot be read, or lacks an end mark.
  """
  try:
    with open(path, encoding="utf-8") as file:
      text = file.read()
  except FileNotFoundError:
    text = ""
  except (OSError, UnicodeDecodeError) as error:
    raise UserError(f"--into {path} cannot be read ({error})") from error
  new = inserted(text, name, section, how, path)
  write_text(os.path.abspath(path), new)


def inserted(text: str, name: str, section: Sequence[str], how: str, path: str = "the document") -> str:
  """`text` with the section of the study `name`."""
  begin, end = f"<!-- study {name}: begin", f"<!-- study {name}: end -->"
  lines = [f"{begin}; written by `{how}`, change nothing here -->", *section, end]
  start = text.find(begin)
  if start < 0:
    before = f"{text.rstrip()}\n\n" if text.strip() else ""
    return before + "\n".join(lines) + "\n"
  stop = text.find(end, start)
  if stop < 0:
    raise UserError(f"{path} has `{begin}` and no `{end}` after it: put it where the section ends")
  return text[:start] + "\n".join(lines) + text[stop + len(end) :]


class Part(NamedTuple):
  """One of the studies of a section.

  Attributes:
    folder: the study's.
    data: what it is about, by which its rows are called where there are several studies.
    results: what it gave.
    records: of its runs that have ended, by their names.
    left: how many runs have not.
  """

  folder: str
  data: str
  results: Results
  records: Mapping[str, Record]
  left: int = 0


def section(title: str, parts: Sequence[Part], blocks: Sequence[str] = ()) -> list[str]:
  """The lines of a section: who is first and how sure that is, what it cost, and how it was made.

  Several studies become one table, whose rows begin with their data, see `_names`. `blocks`: see
  `table.comparison`.
  """
  every, methods = {}, {}
  names = _names(parts)
  for name, part in zip(names, parts, strict=True):
    before = f"{name}: " if len(parts) > 1 else ""
    every |= {before + row: columns for row, columns in samples(part.results).items()}
    methods |= dict.fromkeys(part.results)
  left = sum(part.left for part in parts)
  compared = table.comparison(every, list(methods), "### How sure that is", left=left, blocks=blocks)
  lines = [f"## {title}", "", *compared, ""]
  for name, part in zip(names, parts, strict=True):
    heading = f"### What it has cost{f' on {name}' if len(parts) > 1 else ''}"
    lines += [heading, "", *costs(part.records), ""]
    failed = [f"{run} ({record.reason})" for run, record in part.records.items() if record.reason]
    lines += [f"Failed: {'; '.join(failed)}.", ""] if failed else []
    lines += [*provenance(part.records, part.folder), ""]
  return lines[:-1]


def _names(parts: Sequence[Part]) -> list[str]:
  """The data of each part; with its folder, where several have the same: `image_folder (faces)`.

  Such studies share no row: a source like `image_folder` does not tell which pictures it read.
  """
  data = [part.data for part in parts]
  paths = [os.path.abspath(part.folder) for part in parts]
  above = os.path.commonpath(paths)
  return [
    name if data.count(name) == 1 else f"{name} ({os.path.relpath(path, above)})"
    for name, path in zip(data, paths, strict=True)
  ]


def costs(records: Mapping[str, Record]) -> list[str]:
  """A row for each method: pictures seen, mean times, and why its trainings stopped."""
  heads = ["method", "runs", "pictures seen", "time of a run", "processor time of a run", "stopped"]
  lines = [line(heads), line(["---"] * len(heads))]
  methods: dict[str, list[Record]] = {}
  for name, record in records.items():
    methods.setdefault(name.rpartition("/")[0], []).append(record)
  for method, runs in methods.items():
    budgets = [record.budget for record in runs if record.budget]
    if not budgets:
      lines.append(line([method, str(len(runs)), "none", "", "", "nothing is trained"]))
      continue
    seen = sorted({budget["pictures"] for budget in budgets})
    pictures = f"{seen[0]:,}" + (f" to {seen[-1]:,}" if len(seen) > 1 else "")
    spent = [budget["processor_seconds"] for budget in budgets if budget["processor_seconds"] is not None]
    times = [
        duration(float(np.mean([budget["seconds"] for budget in budgets]))),
        duration(float(np.mean(spent))) if spent else "",
    ]
    why = "; ".join(dict.fromkeys(budget["stopped"] for budget in budgets))
    lines.append(line([method, str(len(runs)), pictures, *times, why]))
  return lines


def provenance(records: Mapping[str, Record], folder: str) -> list[str]:
  """With which command, commit, machine and libraries the runs were made, and when."""
  programs = [record.program for record in records.values()]
  commands = _distinct(_command(program) for program in programs)
  commits = _distinct(_commit(program) for program in programs)
  machines = _distinct(_machine(program) for program in programs)
  versions = _distinct(f"JAX {program['libraries'].get('jax')}" for program in programs)
  days = sorted({program["time"][:10] for program in programs})
  about = [
      f"{len(records)} runs in `{os.path.basename(folder)}`", f"commit {', '.join(commits)}",
      "; ".join(machines), ", ".join(versions), days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}",
  ]
  return ["```", *commands, "```", "", f"{', '.join(about)}."] if programs else []


def _distinct(words: Any) -> list[str]:
  return list(dict.fromkeys(words))


def _command(program: Mapping[str, Any]) -> str:
  return shlex.join(["python", "-m", "pdr_jax.study", *program["command"][1:]])


def _commit(program: Mapping[str, Any]) -> str:
  git = program["git"]
  return "unknown" if git is None else git["commit"][:10] + (" (changed)" if git["changed"] else "")


def _machine(program: Mapping[str, Any]) -> str:
  devices = program["devices"]
  accelerator = f"{len(devices)} x {devices[0]} on " if devices and devices[0] != "cpu" else ""
  return f"{accelerator}{program['processor']}"
