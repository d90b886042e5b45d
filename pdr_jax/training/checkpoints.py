"""Checkpoints with Orbax: asynchronous, the newest few and the best by a named metric.

A broken one is passed over. A checkpoint has these items: `params`, `ema` and `model_state` (where the run
has them), `rest` (step, optimisers and whatever else the state holds) and `run` (JSON: position of the data
iterator, open averages, steps left out in a row, best value so far). A fingerprint of every array travels in
`run`, so that a file that was cut short or altered is noticed even where its format has no checksum.

Of several processes only the first one reads and writes; the others are sent what it read, so they need not
see its disk.
"""

import contextlib
import errno
import functools
import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from pdr_jax.errors import UserError
from pdr_jax.files import absolute, write_text
from pdr_jax.methods import TrainState, inference_variables
from pdr_jax.training import checkpoint_contents as contents
from pdr_jax.training import distributed, quiet_orbax
from pdr_jax.training.run_dir import chain, is_system_error, read_config

FOLDER = "checkpoints"
BROKEN = "broken_checkpoints"  # beside FOLDER, so that Orbax does not look at what was put aside
# Raised when a checkpoint of before cannot be read as it is; absent in the first ones, which are of format 1.
FORMAT = 2
MODES = {"lowest": min, "highest": max}
# What the system says when the fault is not in the checkpoint: another start may well read it.
PASSING = tuple(
  getattr(errno, name) for name in "EMFILE ENFILE ENOMEM EACCES EPERM EIO ESTALE ENOSPC EROFS".split()
)
# What TensorStore and TensorFlow say of a bucket that cannot be reached or does not know the user.
_OF_BUCKETS = re.compile(
  r"\b(UNAVAILABLE|DEADLINE_EXCEEDED|UNAUTHENTICATED|PERMISSION_DENIED|ABORTED|CANCELLED)\b"
)
_ALTERED = "the values of {!r} are not those that were saved"
Tree = Any

class Restored(NamedTuple):
  """A checkpoint read back: the state on its devices, and the `run` item."""

  step: int
  state: Tree
  run: dict


class Checkpoints:
  """The checkpoints of one run directory.

  Args:
    workdir: the run directory.
    keep: how many of the newest are kept.
    best_metric: name of the metric whose best value marks the checkpoint that is kept besides.
    best_mode: which value is the best one, `lowest` or `highest`.
    say: where a line for the user goes.
  """

  def __init__(
    self,
    workdir: str,
    *,
    keep: int,
    best_metric: str,
    best_mode: str = "lowest",
    say: Callable[[str], None] = print,
  ):
    quiet_orbax.quiet()
    self._workdir = workdir
    self._say = say
    self._best_metric = best_metric
    self._open = functools.partial(_manager, os.path.join(workdir, FOLDER), keep, best_metric, best_mode)
    self._manager = None
    if jax.process_index() == 0:
      epath.Path(workdir, FOLDER).mkdir(parents=True, exist_ok=True)
      self._manager = self._open()

  def save(
    self, step: int, state: Tree, run: Mapping[str, Any], metrics: Mapping[str, float] | None = None
  ) -> None:
    """Begins to save: on return the copy off the device is complete, the writing goes on.

    `metrics`: of a validation of this very state.
    """
    if self._manager is None or step in self._manager.all_steps():
      return
    items = contents.split(state)
    if jax.process_count() > 1:  # Orbax takes arrays of all processes or of none
      items = jax.tree.map(lambda leaf: np.asarray(leaf.addressable_data(0)), items)
    marks = {name: contents.fingerprints(tree) for name, tree in items.items()}
    run = dict(run, format=FORMAT, shapes=contents.shapes(items), fingerprints=marks)
    arguments = {name: ocp.args.StandardSave(tree) for name, tree in items.items()}
    metrics = metrics if metrics and self._best_metric in metrics else None
    self._manager.save(
      step,
      args=ocp.args.Composite(run=ocp.args.JsonSave(contents.encode(run)), **arguments),
      metrics=metrics,
      force=True,
    )

  def complete(
    self, step: int, run: Mapping[str, Any], metrics: Mapping[str, float] | None = None
  ) -> None:
    """Changes what the checkpoint of a step says of the run, and adds `metrics` of its very state.

    `run`: as it was read, with the changes. The checkpoint can be read at every moment.
    """
    if self._manager is None:
      return
    folder = os.path.join(self._workdir, FOLDER, str(step))
    # Orbax only writes whole checkpoints, and this one would be absent in between; so these files are written
    # as Orbax lays them out. The metrics first: whoever is killed before `run` is changed does both again.
    if metrics and self._best_metric in metrics:
      write_text(os.path.join(folder, "metrics", "metrics"), json.dumps(metrics))
    write_text(os.path.join(folder, "run", "metadata"), json.dumps(contents.encode(run)))
    self._manager.reload()

  def restore_latest(self, abstract: Tree) -> Restored | None:
    """The newest checkpoint that can be read, into the shapes and placement of `abstract`.

    None in a fresh run. All processes call it together. Broken ones are put aside, with a line. Raises
    `UserError` when all are broken, when one belongs to a model of other shapes or to another version of
    the format, or when what keeps it from being read is not its own fault, such as too little memory.
    """
    if jax.process_count() == 1:
      return self._read_latest(abstract)
    host = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract)
    read = self._read_latest(host) if self._manager else None
    message = json.dumps({"step": read.step, "run": contents.encode(read.run)} if read else None).encode()
    message = json.loads(distributed.bytes_from_first(message))
    if message is None:
      return None
    leaves, shape = jax.tree.flatten(read.state if read else host)
    buffer = distributed.bytes_from_first(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    parts = [buffer[end - leaf.nbytes : end] for leaf, end in zip(leaves, ends, strict=True)]
    arrays = [
      np.frombuffer(part, leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)
    ]

    def place(array, leaf):
      return jax.device_put(array, leaf.sharding)

    return Restored(
      message["step"],
      jax.tree.map(place, jax.tree.unflatten(shape, arrays), abstract),
      contents.decode(message["run"]),
    )

  def _read_latest(self, abstract: Tree) -> Restored | None:
    steps = sorted(self._manager.all_steps(), reverse=True)
    for step in steps:
      try:
        with quiet_orbax.quiet_failure(), _passing_errors_told_apart(step):
          return self._restore(step, abstract)
      except UserError:
        raise
      except Exception as error:  # whatever the file formats raise: the checkpoint cannot be used
        self._put_aside(step, error)
    if steps:
      moved = f"all were moved to {BROKEN}/: run again to start from step 0"
      raise UserError(f"no checkpoint in {self._workdir} can be read; {moved}")
    return None

  def _restore(self, step: int, abstract: Tree) -> Restored:
    items = contents.split(abstract)
    stored = self._manager.restore(step, args=ocp.args.Composite(run=ocp.args.JsonRestore()))["run"]
    run = contents.decode(stored)
    _check_format(run, step, self._workdir)
    saved, wanted = run["shapes"], contents.shapes(items)
    for path in sorted(saved.keys() | wanted.keys()):
      if saved.get(path) != wanted.get(path):
        there, here = saved.get(path, "absent"), wanted.get(path, "absent")
        raise UserError(
          f"the checkpoint of step {step} in {self._workdir} belongs to another model: {path} is {there}"
          f" there and {here} here; choose another --workdir"
        )
    arguments = {name: ocp.args.StandardRestore(tree) for name, tree in items.items()}
    read = self._manager.restore(step, args=ocp.args.Composite(**arguments))
    for name in items:
      if contents.fingerprints(read[name]) != run["fingerprints"][name]:
        raise ValueError(_ALTERED.format(name))
    return Restored(step, contents.join(abstract, {name: read[name] for name in items}), run)

  def _put_aside(self, step: int, error: Exception) -> None:
    target = epath.Path(self._workdir, BROKEN)
    earlier = [other for other in self._manager.all_steps() if other < step]
    self._manager.close()
    target.mkdir(parents=True, exist_ok=True)
    name, count = str(step), 0
    while (target / name).exists():
      name, count = f"{step}_{count + 1}", count + 1
    epath.Path(self._workdir, FOLDER, str(step)).rename(target / name)
    self._manager = self._open()
    instead = f"using the one before, of step {max(earlier)}" if earlier else "and there is none before it"
    self._say(f"checkpoint of step {step} cannot be read ({_reason(error)}); moved to {BROKEN}/, {instead}")

  def steps(self) -> list[int]:
    """Steps with a checkpoint, ascending; like the next one, empty in all processes but the first."""
    return sorted(self._manager.all_steps()) if self._manager else []

  def best_step(self) -> int | None:
    """The step of the best `best_metric` among the kept ones."""
    measured = any(self._best_metric in (self._manager.metrics(step) or {}) for step in self.steps())
    return self._manager.best_step() if measured else None

  def wait(self) -> None:
    """Returns when everything is on disk. Raises what went wrong in writing."""
    if self._manager:
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Finishes writing and lets go of the directory."""
    if self._manager:
      self._manager.close()


@contextlib.contextmanager
def _passing_errors_told_apart(step: int) -> Iterator[None]:
  """Raises `UserError` for an error that says nothing about the checkpoint: a good one must stay."""
  try:
    yield
  except Exception as error:
    passing = next((each for each in chain(error) if _passes(each)), None)
    if passing is None:
      raise
    reason = f"cannot be read now ({_reason(passing)})"
    raise UserError(f"checkpoint of step {step} {reason}; nothing was moved, run again") from error


def _passes(error: BaseException) -> bool:
  """Is it about memory, open files, permissions, the disk or the network, and not about what was read?"""
  on_device = isinstance(error, jax.errors.JaxRuntimeError) and str(error).startswith("RESOURCE_EXHAUSTED")
  at_once = isinstance(error, MemoryError | ConnectionError | TimeoutError)
  in_words = _OF_BUCKETS.search(f"{type(error).__name__}: {error}")
  return on_device or at_once or bool(in_words) or is_system_error(error, *PASSING)


def _reason(error: BaseException) -> str:
  """An error in part of a line."""
  line = (str(error).strip().splitlines() or [type(error).__name__])[0]
  return line.split(" See full TensorStore details")[0][:160]


def _manager(folder: str, keep: int, best_metric: str, best_mode: str) -> ocp.CheckpointManager:
  """Orbax's manager, in the first process alone."""
  value = functools.partial(_value, best_metric, best_mode)
  alone = {}
  if jax.process_count() > 1:  # Orbax would wait for the others
    processes = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
    alone = dict(create=False, multiprocessing_options=processes)
  # The last of the sorted ones is the best; those without a validation are kept only while they are new.
  best = policies.BestN(
    get_metric_fn=value, reverse=best_mode == "lowest", n=1, keep_checkpoints_without_metrics=False
  )
  options = ocp.CheckpointManagerOptions(
    best_fn=value,  # makes Orbax store the metrics
    best_mode=MODES[best_mode].__name__,
    preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
    cleanup_tmp_directories=True,
    **alone,
  )
  return ocp.CheckpointManager(folder, options=options)


def _value(metric: str, mode: str, metrics: Mapping[str, float]) -> float:
  """What ranks a checkpoint.

  It is the worst there can be where the checkpoint lacks the metric: it was saved while another was the best.
  """
  return metrics.get(metric, {"lowest": math.inf, "highest": -math.inf}[mode])


def load_variables(workdir: str, which: str | int = "best") -> tuple[dict, int]:
  """Inference variables for evaluation and export (`methods.inference_variables`), as NumPy arrays.

  Args:
    workdir: the run directory.
    which: "best" (the newest where no validation was saved), "latest", or a step.

  Returns (variables, step). Raises `UserError` without such a checkpoint, when it cannot be read, or is of
  another version of the format.
  """
  quiet_orbax.quiet()
  folder = epath.Path(absolute(workdir), FOLDER)
  step, steps = _chosen(workdir, folder, which)
  try:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
      run = reader.restore(folder / str(step) / "run", args=ocp.args.JsonRestore())
      _check_format(run, step, workdir)
    marks = run["fingerprints"]
    items = {name: _read_item(folder / str(step) / name) for name in contents.NAMES if name in marks}
    for name, tree in items.items():
      # Sorted, as a NamedTuple or dataclass is read back as a dict, whose leaves are in another order.
      if sorted(contents.fingerprints(tree)) != sorted(marks[name]):
        raise ValueError(_ALTERED.format(name))
  except UserError:
    raise
  except Exception as error:  # whatever the file formats raise
    reason = f"cannot be read ({_reason(error)}); choose another: {steps}"
    raise UserError(f"checkpoint of step {step} in {workdir} {reason}") from error
  return inference_variables(TrainState(step, **items)), step


def _chosen(workdir: str, folder: epath.Path, which: str | int) -> tuple[int, list[int]]:
  """The step that `which` means, and all that there are."""
  train = read_config(workdir).train if folder.is_dir() else None
  if train is None:
    raise UserError(f"no checkpoints in {workdir}: train there first")

  mode = MODES[train.best_mode]
  value = functools.partial(_value, train.best_metric, train.best_mode)
  options = ocp.CheckpointManagerOptions(best_fn=value, best_mode=mode.__name__, read_only=True)
  with ocp.CheckpointManager(folder, options=options) as manager:
    steps = sorted(manager.all_steps())
    if not steps:
      raise UserError(f"no checkpoints in {workdir}: train there first")
    metrics = {step: manager.metrics(step) or {} for step in steps}
  scores = {step: value(each) for step, each in metrics.items() if train.best_metric in each}
  step = {"latest": steps[-1], "best": mode(scores, key=scores.get, default=steps[-1])}.get(which)
  step = int(which) if step is None else step
  if step not in steps:
    raise UserError(f"no checkpoint of step {step} in {workdir}: there are {', '.join(map(str, steps))}")
  return step, steps


def _read_item(path: epath.Path) -> Tree:
  with ocp.PyTreeCheckpointer() as reader:
    tree = reader.metadata(path).item_metadata.tree
    return reader.restore(
      path, restore_args=jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), tree)
    )


def check_variables(variables: Tree, expected: Tree) -> None:
  """Raises `UserError` that lists the keys in `variables` that are not those of the model.

  They differ in names, shapes or types.
  """
  have, want = contents.shapes(variables), contents.shapes(expected)
  wrong = [
    f"{name} ({have.get(name, 'absent')}, the model's is {want.get(name, 'absent')})"
    for name in sorted(have | want)
    if have.get(name) != want.get(name)
  ]
  if wrong:
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    raise UserError(
      f"the checkpoint does not match the model of the run's config.json: {'; '.join(wrong[:5])}{more}"
    )


def _check_format(run: Mapping[str, Any], step: int, workdir: str) -> None:
  """Raises `UserError` for a checkpoint of another version of the format."""
  version = run.get("format", 1)
  if version == FORMAT:
    return
  age = "a later" if version > FORMAT else "an earlier"
  raise UserError(
    f"the checkpoint of step {step} in {workdir} was written by {age} pdr_jax (format {version}, this one"
    f" reads {FORMAT}): install that version, or train anew in another --workdir"
  )
