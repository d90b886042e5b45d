"""When the result of an earlier start counts: everything that it depends on has to be the same."""

import numpy as np
import pytest
from ml_collections import ConfigDict

from pdr_jax.config import base
from pdr_jax.data import pipeline
from pdr_jax.evaluation import jobs, representations, task
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.records import Result, Score
from pdr_jax.evaluation.representations import Representation
from pdr_jax.evaluation.task import Context

FEATURES = Features({"depth": np.zeros((6, 2), np.float32)}, {"kind": np.arange(6)}, {})
DATA = pipeline.DatasetInfo("toy", 6, 6, {}, {}, (), True, "", fingerprint="first")


def context(batch_size=8, variables=1.0, step=3, also=0.0):
  """All features are the same: those of `FEATURES`."""
  config, run = get_config(), base()
  config.batch_size = batch_size
  networks = {"decoder": np.full(3, variables)}
  representation = Representation("trained", None, {}, variables=networks, step=step)
  words = run, representation, FEATURES, FEATURES, "test", {}, lambda line: None
  return Context(config, ConfigDict(), *words, also={"another run": np.full(2, also)})


@pytest.mark.parametrize(
  ("changes", "info"),
  [
    (dict(batch_size=4), DATA),
    (dict(variables=2.0), DATA),
    (dict(step=4), DATA),
    (dict(also=1.0), DATA),
    ({}, DATA._replace(fingerprint="second")),
  ],
)
def test_a_result_of_another_batch_size_model_or_data_is_computed_again(tmp_path, monkeypatch, changes, info):
  """A task may train networks on the data, or use parameters that no feature comes from."""
  began = []

  def result(value, data=DATA, **words):
    def job():
      began.append(value)
      return Result("t", {}, (Score("t", "", "", "m", (value,), "higher"),))

    monkeypatch.setattr(pipeline, "describe", lambda run: data)
    return jobs.result("t", job, context(**words), str(tmp_path)).scores[0].values

  assert result(1.0) == result(2.0) == (1.0,) and began == [1.0]
  assert result(3.0, info, **changes) == (3.0,)


def test_a_method_that_reads_its_parameters_otherwise_is_another_representation():
  variables = {"weights": np.ones(3)}
  trained = Representation("trained", None, {}, method=object(), variables=variables)
  assert representations.parameters_of(trained, base("pdr")) == {"variables": variables}
  assert representations.parameters_of(trained, base("ssv")) == {"variables": variables, "version": 2}
  pixels = trained._replace(name="pixels", method=None, variables=None)
  assert representations.parameters_of(pixels, base("ssv")) == {"variables": {}}


def test_what_a_task_also_reads_comes_into_its_context_and_fails_as_the_task(monkeypatch):
  def give(context):
    yield "t", lambda: context.also

  def fails(settings):
    raise ValueError("no such run")

  reads = task.Task(give, also_reads=lambda settings: {"other": 1})
  toys = {"reads": reads, "fails": task.Task(give, also_reads=fails)}
  contexts = dict.fromkeys(toys, context())
  monkeypatch.setattr(task, "find", toys.get)
  (first, _, job), (_, name, failing) = jobs.of_tasks(contexts)
  assert job() == first.also == {"other": 1} and name == "fails"
  with pytest.raises(ValueError, match="no such run"):
    failing()
