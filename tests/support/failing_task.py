"""A task with a mistake in it."""

from pdr_jax.evaluation.task import Task


def compute():
  """Raises what no task should."""
  raise ZeroDivisionError("a mistake\nof two lines")


TASK = Task(lambda context: iter([("failing", compute)]))
