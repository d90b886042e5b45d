"""What one key of a configuration accepts: a test of the value, and the words for it."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
  """`accepts(value)` is true for a possible value; `words` end the sentence "must be ..."."""

  accepts: Callable[[Any], bool]
  words: str


def one_of(*choices: Any) -> Rule:
  """One of these values."""
  return Rule(lambda value: value in choices, "one of " + ", ".join(map(str, choices)))


def at_least(low: float) -> Rule:
  """`low` or more."""
  return Rule(lambda value: value >= low, f"at least {low:g}")


def above(low: float) -> Rule:
  """More than `low`."""
  return Rule(lambda value: value > low, f"above {low:g}")


def between(low: float, high: float) -> Rule:
  """From `low` to `high`, both included."""
  return Rule(lambda value: low <= value <= high, f"from {low:g} to {high:g}")


def fraction() -> Rule:
  """From 0 to below 1."""
  return Rule(lambda value: 0 <= value < 1, "from 0 to below 1")


PATH = Rule(lambda value: True, "a path")  # stored absolute, so that any folder will do
ANYTHING = Rule(lambda value: True, "anything")
NAME = Rule(lambda value: bool(value.strip()), "a name")
