"""When something is due in a run, and which of its steps are dispatched together.

Steps count from one: step n is the n-th update.
"""

from collections.abc import Iterator

from ml_collections import ConfigDict


def is_due(step: int, every: int, last: int) -> bool:
  """Every `every` steps and at the `last` one; never where `every` is 0."""
  return bool(every) and (step % every == 0 or step == last)


def looks_at_state(step: int, train: ConfigDict) -> bool:
  """Is something due at this step that needs the state as it is after it?

  That is validation, figures, a checkpoint, or gradient norms.
  """
  every = (train.validate_every, train.figure_every, train.checkpoint_every, train.gradient_norms_every)
  return any(is_due(step, cadence, train.steps) for cadence in every)


def out_of_patience(step: int, best: int, train: ConfigDict) -> bool:
  """Has the best validation, of step `best`, stood for the share `train.patience` of the run's steps?"""
  return train.patience > 0 and step - best >= train.patience * train.steps


def dispatches(start: int, train: ConfigDict) -> Iterator[range]:
  """The steps after `start`, in order, as ranges of those that are sent to the device together.

  A range has `train.steps_per_dispatch` steps, or one. Together go the steps from a multiple of that number
  to the next, unless something looks at the state between them. So a stopped run, which never stops between
  them either, continues with the same programs for the same steps, and only two programs are compiled.
  """
  size, step = train.steps_per_dispatch, start + 1
  while step <= train.steps:
    together = range(step, step + size)
    whole = (
      (step - 1) % size == 0
      and together[-1] <= train.steps
      and not any(looks_at_state(k, train) for k in together[:-1])
    )
    together = together if whole else range(step, step + 1)
    yield together
    step = together[-1] + 1
