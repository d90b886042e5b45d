"""The model card of an export: what was trained on what, how well it does, and what may be done with it.

The facts of a card, which `export.json` keeps too: `step`, `data`, `metrics` `{name: value}`, `baselines`
`{title: {name: value}}`, `commit`, `libraries` `{name: version}`, `trained` (when, and the command),
`origin`, `licence`. Those that are not known are left out.
"""

import json
import os
from collections.abc import Mapping
from typing import Any

import jax
from etils import epath
from ml_collections import ConfigDict

from pdr_jax.data import registry
from pdr_jax.errors import UserError
from pdr_jax.exports import reader
from pdr_jax.training import metric_log, run_dir

UNKNOWN_LICENCE = "not stated; the terms of the training data hold, which the exporter has to know"


def of_run(workdir: str, config: ConfigDict, step: int) -> dict:
  """The facts of a run's checkpoint, as far as its directory has them."""
  start = (_read_json(os.path.join(workdir, run_dir.VERSIONS)).get("starts") or [{}])[-1]
  data = config.data
  git = start.get("git") or {}
  what = "clips" if data.frames else "pictures"
  facts = {
    "step": step,
    "data": f"{data.name}, {data.train_examples or 'all'} training {what} of {data.side} x {data.side}",
    "metrics": _metrics(workdir, step),
    "baselines": _read_json(os.path.join(workdir, run_dir.SUMMARY)).get("baselines"),
    "commit": git.get("commit", "") + (" with changes" if git.get("changed") else ""),
    "libraries": start.get("libraries"),
    "trained": start.get("time"),
    "licence": licence_of(data.name),
  }
  return {name: value for name, value in facts.items() if value not in (None, "", {})}


def licence_of(name: str) -> str:
  """What the terms of a data source mean for parameters trained on it, as far as its module says."""
  try:
    return registry.find(name).licence or UNKNOWN_LICENCE
  except UserError:  # a source of the user's own that is not here
    return UNKNOWN_LICENCE


def markdown(manifest: Mapping[str, Any], config: ConfigDict, variables: dict) -> str:
  """The card."""
  count = sum(leaf.size for leaf in jax.tree.leaves(variables))
  libraries = manifest.get("libraries", {}).items()
  rows = {
    "method": manifest["method"],
    "data": manifest.get("data"),
    "steps": manifest.get("step"),
    "origin": manifest.get("origin"),
    "parameters": f"{count:,}",
    "licence": manifest.get("licence"),
    "trained": manifest.get("trained"),
    "commit": manifest.get("commit"),
    "libraries": ", ".join(f"{name} {version}" for name, version in libraries),
    "runs on": ", ".join(manifest["platforms"]),
  }
  title = f"# {manifest['method']} of {config.data.name}, {manifest['side']} x {manifest['side']}"
  lines = [title, "", "| | |", "|---|---|"]
  lines += [f"| {name} | {value} |" for name, value in rows.items() if value]
  if manifest.get("metrics"):
    lines += ["", "Scores on the validation split:", ""]
    lines += _score_table(manifest["metrics"], manifest.get("baselines", {}))
  lines += ["", *_usage(manifest)]
  return "\n".join(lines) + "\n"


def _score_table(metrics: Mapping[str, float], baselines: Mapping[str, Mapping[str, float]]) -> list[str]:
  lines = [
    "| | model | " + "".join(f"{title} | " for title in baselines),
    "|---|---|" + "---|" * len(baselines),
  ]
  for name, value in metrics.items():
    values = [value, *(scores.get(name) for scores in baselines.values())]
    cells = ["" if number is None else f"{number:.4g}" for number in values]
    lines.append(f"| {name.removeprefix('val/')} | {' | '.join(cells)} |")
  return lines


def _usage(manifest: Mapping[str, Any]) -> list[str]:
  """How the model is called, in Python."""
  element = reader.element_of(manifest)
  name = f"{element.meaning or 'input'}s"
  shape = ", ".join(map(str, element.shape))
  bounds = f" in [{element.range[0]:g}, {element.range[1]:g}]" if element.range else ""
  colours = ", RGB" if element.shape[-1] == 3 else ", grey" if element.shape[-1] == 1 else ""
  lines = [
    "```python",
    "import pdr_jax",
    "",
    'model = pdr_jax.load("this folder")  # needs jax, numpy, safetensors and flatbuffers',
    f"blocks = model.encode({name})  # {name} [B, {shape}]{colours}{bounds}",
  ]
  if "decompose" in manifest["programs"]:
    lines.append(f"parts = model.decompose({name})")
  if "render_view" in manifest["programs"]:
    lines.append("turned = model.render(parts, view=view)  # radians and model units, [B, 6]")
  if "turn" in manifest["programs"]:
    lines.append(f'turned = model.turn({name}, parts["angles"])  # azimuth, elevation, tilt: radians, [B, 3]')
  if "normalize" in manifest["programs"]:
    lines.append(f"normalized = model.normalize({name})")
  if "generate" in manifest["programs"]:
    lines.append("pictures = model.generate(8, seed=0)")
  if "forecast" in manifest["programs"]:
    lines.append(f"coming = model.forecast({name})")
  return [*lines, "```", "", "Frames, signs and units: CONVENTIONS.md of pdr_jax."]


def _metrics(workdir: str, step: int) -> dict[str, float]:
  """The validation scores of this very step."""
  scores = {}
  for record in metric_log.read_metrics(workdir):
    if record.get("step") == step:
      scores |= {name: value for name, value in record.items() if name.startswith("val/")}
  return scores


def _read_json(path: str) -> dict:
  try:
    return json.loads(epath.Path(path).read_text())
  except (OSError, json.JSONDecodeError):
    return {}
