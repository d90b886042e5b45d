"""All probe tasks on the same features, in a commit of before and in this tree.

Every number of their tables is compared.

python benchmarks/same_scores.py [--commit 660f929] [--seeds 2]

Random features of two representations (four blocks, and one) with labels of every kind, some missing, go
through each task in both trees, each in a process of its own. Compared are all numbers that tables of
evaluations and of studies show, with all their digits. It prints how many there are and the largest
difference; the exit code is 1 where a number is missing or differs by more than `TOLERANCE`. What only this
tree has (regression) is no part of it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BEFORE = "660f929"  # the last commit without score records
TOLERANCE = 1e-9  # means in another order; solvers get the same arrays and give the same bits
BLOCKS = {"depth": 12, "albedo": 10, "light": 5, "view": 4}
COUNTS = {"train": 240, "test": 120}
LIMIT, WIDTH = 25.0, 15.0  # degrees


# ---------------------------------------------------------------- features


def features(path: str) -> None:
  """Writes features and labels of two splits and two representations.

  `missing/NAME` says what has no value.
  """
  arrays = {}
  mixing = np.random.default_rng(0).normal(size=(16, sum(BLOCKS.values())))
  for place, (split, count) in enumerate(COUNTS.items()):
    random = np.random.default_rng(place + 1)
    people = random.integers(0 if split == "train" else 4, 9 if split == "train" else 16, count)
    light, view = random.normal(size=(count, 3)), random.normal(size=(count, 2))
    emotion = random.integers(0, 4, count)
    said = [np.eye(4)[emotion], light, view, np.eye(7)[people % 7]]
    inputs = np.concatenate(said, axis=1) @ mixing + 2 * random.normal(size=(count, mixing.shape[1]))
    start = 0
    for block, width in BLOCKS.items():
      arrays[f"{split}/blocks/{block}"] = inputs[:, start : start + width].astype(np.float32)
      start += width
    labels = {
        "emotion": emotion, "identity": people, "smiling": emotion > 1, "odd": emotion % 2,
        "young": light[:, 0] > 0.3,
        "azimuth": random.integers(-70, 70, count), "elevation": random.integers(-30, 40, count),
    }
    arrays |= {f"{split}/labels/{name}": np.asarray(values, np.int32) for name, values in labels.items()}
    arrays |= {f"{split}/labels/light/{i}": light[:, i].astype(np.float32) for i in range(3)}
    arrays |= {f"{split}/labels/view/{i}": view[:, i].astype(np.float32) for i in range(2)}
    arrays[f"{split}/degrees"] = np.where(np.arange(count) % 9, random.uniform(-5, 60, count), np.nan)
    for name in ("emotion", "identity", "young"):
      arrays[f"{split}/missing/{name}"] = random.random(count) < 0.1
  np.savez(path, **arrays)


def load(path: str, split: str, single: bool) -> tuple[dict, dict, dict]:
  """(blocks, labels, missing) of a split.

  `single` gives all blocks as one, as of a representation without parts.
  """
  with np.load(path) as file:
    def part(kind):
      prefix = f"{split}/{kind}/"
      return {name.removeprefix(prefix): file[name] for name in file.files if name.startswith(prefix)}

    blocks, labels, missing = part("blocks"), part("labels"), part("missing")
  return {"pixels": np.concatenate(list(blocks.values()), axis=1)} if single else blocks, labels, missing


# ---------------------------------------------------------------- the tasks of a tree


def calls(tasks: dict, train, test, degrees, seeds) -> dict:
  """`{job: result}`.

  `tasks` are the modules, whose functions have the same names in both trees but for two words.
  """
  single, several = tasks["words"]
  robustness, identification = tasks["robustness"], tasks["identification"]
  lit = [robustness.with_light(part, ("azimuth", "elevation")) for part in (train, test)]
  of_labels = {single: ["smiling", "odd"], several: ["emotion"], "width": WIDTH, "seeds": seeds}
  return {
      "linear/emotion": tasks["linear"].multi_class(train, test, "emotion", seeds=seeds),
      "linear/attributes": tasks["linear"].multi_label(train, test, ["smiling", "odd", "young"], seeds=seeds),
      "few_shot/emotion": tasks["few_shot"].few_shot(train, test, "emotion", draws=seeds),
      "clustering/emotion": tasks["clustering"].clustering(test, "emotion", seeds=seeds),
      "identification/closed_set": identification.closed_set(train, test, "identity", seeds=seeds),
      "identification/verification": identification.verification(train, test, "identity", seeds=seeds),
      "factors": tasks["factors"].factors(train, test),
      "robustness/light": robustness.robustness(*robustness.by_light_angle(*lit, LIMIT), **of_labels),
      "robustness/view": robustness.robustness(
          train, test, test, degrees, **of_labels, **({"kind": "view"} if single == "single" else {})
      ),
  }


def before(path: str, seeds: list[int]) -> dict:
  """The numbers of a tree without records: its results are nested dicts, in which -1 and NaN are missing."""
  from pdr_jax.evaluation import (
    clustering,
    factors,
    few_shot,
    identification,
    linear,
    robustness,
    suite_table,
  )
  from pdr_jax.evaluation.features import Features

  tasks = {module.__name__.rpartition(".")[2]: module for module in
           (clustering, factors, few_shot, identification, linear, robustness)}
  tasks["words"] = "attributes", "classes"

  def split(name: str, single: bool) -> Features:
    blocks, labels, missing = load(path, name, single)
    marked = {label: np.where(rows, -1, labels[label]).astype(np.int32) for label, rows in missing.items()}
    return Features(blocks, labels | marked, {})

  results = evaluations(tasks, split, path, seeds)
  numbers = {}
  for (method, seed), jobs in results.items():
    for job, result in jobs.items():
      for row, column, value in _leaves(result["results"], ()):
        numbers["|".join((method, seed, job, row, column))] = value
      extra = {("most frequent class", "accuracy"): result.get("majority")}
      extra |= {("leakage", name): value for name, value in result.get("leakage", {}).items()}
      whole = "pixels" if method == "pixels" else "all"
      extra |= {(whole, name): value for name, value in result.get("numbers", {}).items()}
      for (row, column), value in extra.items():
        if value is not None:
          numbers["|".join((method, seed, job, row, column))] = [value]
  table = suite_table.rows(_by_method(results))
  for title, cells in table.items():
    for column, cell in cells.items():
      for name in ("mean", "std", "per_seed", "probe_std"):
        if cell[name] is not None:
          numbers["|".join(("study", title, column, name))] = np.atleast_1d(cell[name]).tolist()
  return numbers


def now(path: str, seeds: list[int]) -> dict:
  """The numbers of this tree, from its records."""
  from pdr_jax.evaluation import joined
  from pdr_jax.evaluation.features import Features
  from pdr_jax.evaluation.tasks import clustering, factors, few_shot, identification, linear, robustness

  tasks = {module.__name__.rpartition(".")[2]: module for module in
           (clustering, factors, few_shot, identification, linear, robustness)}
  tasks["words"] = "single", "several"

  def split(name: str, single: bool) -> Features:
    blocks, labels, missing = load(path, name, single)
    floats = {label: values for label, values in labels.items() if values.dtype.kind == "f"}
    numbers = {label: values.astype(np.float64) for label, values in floats.items()}
    return Features(blocks, labels | numbers, {}, missing)

  results = evaluations(tasks, split, path, seeds)
  numbers = {}
  for (method, seed), jobs in results.items():
    for job, result in jobs.items():
      several = len({score.label for score in result.scores}) > 1
      for score in result.scores:
        solver, _, metric = score.metric.rpartition("/")
        matrix = result.figure is not None and result.figure.kind == "matrix"
        label = score.label if several and not matrix else ""
        row = " ".join(filter(None, (score.block, label, *solver.split("/"))))
        column = (score.label or metric) if matrix else metric
        numbers["|".join((method, seed, job, row, column))] = list(score.values)
  for row in joined.rows(_by_method(results)):
    for (method, block), cell in row.cells.items():
      for name in ("mean", "std", "per_seed", "probe_std"):
        value = getattr(cell, name)
        if value is not None:
          key = "|".join(("study", row.title, f"{method} {block}".strip(), name))
          numbers[key] = np.atleast_1d(value).tolist()
  return numbers


def evaluations(tasks: dict, split, path: str, seeds: list[int]) -> dict:
  """`{(method, seed): {job: result}}` of two representations.

  The second seed of the first has other features.
  """
  results = {}
  with np.load(path) as file:
    degrees = file["test/degrees"]
  for method, runs in (("pdr", 2), ("pixels", 1)):
    train, test = (split(name, method == "pixels") for name in COUNTS)
    for run in range(runs):
      if run:
        for name, block in train.blocks.items():
          noise = np.random.default_rng(len(name)).normal(size=block.shape[1])
          train.blocks[name], test.blocks[name] = (
              (part.blocks[name] * (1 + noise)[None]).astype(np.float32) for part in (train, test)
          )
      results[method, str(run)] = calls(tasks, train, test, degrees, seeds)
  return results


def _by_method(results: dict) -> dict[str, list]:
  methods: dict[str, list] = {}
  for (method, _), jobs in results.items():
    methods.setdefault(method, []).append(jobs)
  return methods


def _leaves(tree: dict, path: tuple[str, ...]):
  """(row, column, values) of nested results, as their tables named them."""
  for key, value in tree.items():
    if isinstance(value, dict) and "per_seed" in value:
      yield " ".join(path), key, value["per_seed"]
    elif isinstance(value, dict) and key not in ("fit", "labels"):
      yield from _leaves(value, path if key == "scores" else (*path, key))
    elif isinstance(value, float):
      yield " ".join(path), key, [value]


# ---------------------------------------------------------------- the comparison


def in_tree(tree: str, which: str, path: str, seeds: int) -> dict:
  """The numbers of a tree, from a process that imports it."""
  flags = ["--inside", which, "--features", path, "--seeds", str(seeds)]
  command = [sys.executable, os.path.abspath(__file__), *flags]
  environment = os.environ | {"PYTHONPATH": tree}
  done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
  return json.loads(done.stdout.splitlines()[-1])


def compare(old: dict, new: dict) -> int:
  """Prints what differs; the number of differences."""
  wrong, largest = [], 0.0
  for key, values in old.items():
    if key not in new or len(new[key]) != len(values):
      wrong.append(f"{key}: {values} before, {new.get(key, 'nothing')} now")
      continue
    difference = float(np.max(np.abs(np.subtract(values, new[key]))))
    largest = max(largest, difference)
    if not difference <= TOLERANCE:
      wrong.append(f"{key}: {values} before, {new[key]} now")
  print("\n".join(wrong[:20]))
  count = sum(len(values) for values in old.values())
  equal = sum(old[key] == new.get(key) for key in old)
  print(
      f"{len(old)} scores of {count} numbers; {equal} scores equal bit for bit; the largest difference is "
      f"{largest:.3g}; {len(wrong)} differ by more than {TOLERANCE:g} or are missing; "
      f"{len(set(new) - set(old))} are new"
  )
  return len(wrong)


def main() -> int:
  """Makes the features and a tree of the commit, runs both, compares; the exit code."""
  parser = argparse.ArgumentParser()
  parser.add_argument("--commit", default=BEFORE)
  parser.add_argument("--seeds", type=int, default=2)
  parser.add_argument("--inside", choices=("before", "now"))
  parser.add_argument("--features")
  flags = parser.parse_args()
  if flags.inside:
    read = {"before": before, "now": now}[flags.inside]
    print(json.dumps(read(flags.features, list(range(flags.seeds)))))
    return 0
  with tempfile.TemporaryDirectory() as folder:
    path, tree = os.path.join(folder, "features.npz"), os.path.join(folder, "tree")
    features(path)
    worktree("add", "--detach", tree, flags.commit)
    try:
      old = in_tree(tree, "before", path, flags.seeds)
    finally:
      worktree("remove", "--force", tree)
    return 1 if compare(old, in_tree(ROOT, "now", path, flags.seeds)) else 0


def worktree(*words: str) -> None:
  """`git worktree` with these words, in the repository."""
  subprocess.run(["git", "-C", ROOT, "worktree", *words], check=True, capture_output=True)


if __name__ == "__main__":
  sys.exit(main())
