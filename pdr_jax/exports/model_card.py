"""The model card of an export: what was trained on what, how well it does, and what may be done with it.

The facts of a card, which `export.json` keeps too: `step`, `data`, `metrics` `{name: value}`, `baselines` `{title: {name: value}}`,
`commit`, `libraries` `{name: version}`, `trained` (when, and the command), `origin`, `licence`. Those that are not known are left out.
"""

import json
import os

import jax
from etils import epath
from ml_collections import ConfigDict

from pdr_jax.training import run_dir

# What a data set's own terms mean for parameters that were trained on it; of other data this program knows nothing.
LICENCES = {
    "heads": "trained on pictures that the package draws itself: no third party's data is involved",
    "ict_faces": "trained on renderings of the ICT Face Model Light, which is under the MIT licence",
}
UNKNOWN_LICENCE = "not stated; the terms of the training data hold, which the exporter has to know"


def of_run(workdir: str, config: ConfigDict, step: int) -> dict:
  """The facts of a run's checkpoint, as far as its directory has them."""
  start = (_read_json(os.path.join(workdir, run_dir.VERSIONS)).get("starts") or [{}])[-1]
  summary = _read_json(os.path.join(workdir, run_dir.SUMMARY))
  data = config.data
  git = start.get("git") or {}
  facts = {
      "step": step,
      "data": f"{data.name}, {data.train_examples or 'all'} training pictures of {data.side} x {data.side}",
      "metrics": _metrics(workdir, step),
      "baselines": summary.get("baselines"),
      "commit": git.get("commit", "") + (" with changes" if git.get("changed") else ""),
      "libraries": start.get("libraries"),
      "trained": start.get("time"),
      "licence": LICENCES.get(data.name, UNKNOWN_LICENCE),
  }
  return {name: value for name, value in facts.items() if value not in (None, "", {})}


def markdown(manifest: dict, config: ConfigDict, params: dict) -> str:
  """The card."""
  count = sum(leaf.size for leaf in jax.tree.leaves(params))
  rows = {
      "method": manifest["method"], "data": manifest.get("data"), "steps": manifest.get("step"), "origin": manifest.get("origin"),
      "parameters": f"{count:,}", "licence": manifest.get("licence"), "trained": manifest.get("trained"), "commit": manifest.get("commit"),
      "libraries": ", ".join(f"{name} {version}" for name, version in manifest.get("libraries", {}).items()),
      "runs on": ", ".join(manifest["platforms"]),
  }
  lines = [f"# {manifest['method']} of {config.data.name}, {manifest['side']} x {manifest['side']}", "", "| | |", "|---|---|"]
  lines += [f"| {name} | {value} |" for name, value in rows.items() if value]
  if manifest.get("metrics"):
    lines += ["", "Scores on the validation split:", "", *_score_table(manifest["metrics"], manifest.get("baselines", {}))]
  lines += ["", *_usage(manifest)]
  return "\n".join(lines) + "\n"


def _score_table(metrics: dict, baselines: dict) -> list[str]:
  lines = ["| | model | " + "".join(f"{title} | " for title in baselines), "|---|---|" + "---|" * len(baselines)]
  number = lambda value: "" if value is None else f"{value:.4g}"
  cells = lambda name: [number(metrics[name]), *(number(entry.get(name)) for entry in baselines.values())]
  return lines + [f"| {name.removeprefix('val/')} | {' | '.join(cells(name))} |" for name in metrics]


def _usage(manifest: dict) -> list[str]:
  lines = ["```python", "import pdr_jax", "", 'model = pdr_jax.load("this folder")  # needs jax, numpy, safetensors and flatbuffers',
           f"blocks = model.encode(images)  # images [B, {manifest['side']}, {manifest['side']}, 3], RGB in [-1, 1]"]
  if "decompose" in manifest["programs"]:
    lines += ["parts = model.decompose(images)", "turned = model.render(parts, view=view)  # radians and model units, [B, 6]"]
  return lines + ["```", "", "Frames, signs and units: CONVENTIONS.md of pdr_jax."]


def _metrics(workdir: str, step: int) -> dict[str, float]:
  """The validation scores of this very step."""
  try:
    records = [json.loads(line) for line in epath.Path(workdir, run_dir.METRICS).read_text().splitlines()]
  except (OSError, json.JSONDecodeError):
    return {}
  found = {}
  for record in records:
    if record.get("step") == step:
      found |= {name: value for name, value in record.items() if name.startswith("val/")}
  return found


def _read_json(path: str) -> dict:
  try:
    return json.loads(epath.Path(path).read_text())
  except (OSError, json.JSONDecodeError):
    return {}
