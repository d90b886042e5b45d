"""What the tasks on clips count: halves of held-out classes, leaks that were put there, entropies."""

import numpy as np
import pytest
from ml_collections import ConfigDict
from support import memory_data

from pdr_jax.config import base
from pdr_jax.elements import Element
from pdr_jax.errors import UserError
from pdr_jax.evaluation import forecasts, records
from pdr_jax.evaluation.config import get_config
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.probes.judge import entropies
from pdr_jax.evaluation.records import Media, Result
from pdr_jax.evaluation.representations import Representation
from pdr_jax.evaluation.task import Context
from pdr_jax.evaluation.tasks import forecast, leakage, swaps
from pdr_jax.methods.contract import Method


def frames_of(classes, clips_each, frames=2, seed=0):
  """Frames whose content names the class and whose pose is noise."""
  rng = np.random.default_rng(seed)
  labels, clips = [], []
  for k in classes:
    for clip in range(clips_each):
      labels += [k] * frames
      clips += [1000 * k + clip] * frames
  labels, clips = np.array(labels, np.int32), np.array(clips, np.int32)
  content = np.eye(20, dtype=np.float32)[labels] + 0.1 * rng.normal(size=(len(labels), 20)).astype(np.float32)
  pose = rng.normal(size=(len(labels), 3)).astype(np.float32)
  labels = {"who": labels, leakage.CLIP: clips, leakage.TOGETHER: clips}
  return Features({"content": content, "pose": pose}, labels, {})


FRAMES, SIDE = 3, 12
WHO = np.repeat([4, 9, 2], 4).astype(np.int32)  # of twelve clips: three people


def context_of(monkeypatch, people=WHO, absent=None, **settings):
  """Twelve noisy clips for train and for test, and a method that does something with them."""
  rng = np.random.default_rng(0)
  arrays = {
    "clip": rng.integers(0, 255, (len(WHO), FRAMES, SIDE, SIDE, 1)).astype(np.uint8),
    "label/kind": (np.arange(len(WHO)) % 2).astype(np.int32),
    "position": rng.uniform(0, SIDE, (len(WHO), FRAMES, 1, 2)).astype(np.float32),
  }
  memory_data.install(monkeypatch, arrays, arrays, {"label/kind": ("round", "square")})
  labels = {} if people is None else {"identity": people}
  missing = {} if absent is None else {"identity": absent}
  whole = Features({"content": None, "pose": None}, labels, {}, missing)
  method = Method(
    init=None, update=None, validate=None,
    encode=lambda variables, clips: {"content": clips.mean((1, 2, 4)), "pose": clips.mean((1, 3, 4))},
    swap=lambda variables, contents, poses: poses,
    forecast=lambda variables, clips, frames: clips[:, :frames],
  )
  reads = {"clip": Element((FRAMES, SIDE, SIDE, 1), "float32", "clip", (0.0, 1.0))}
  config, run = get_config(), base()
  config.seeds, config.batch_size, run.train.batch_size, run.data.name = 1, 8, 8, "moving_digits"
  model = Representation("trained", method.encode, reads, method, {})
  asked = ConfigDict(settings)
  return Context(config, asked, run, model, whole, whole, "validation", {}, lambda line: None)


def clusters_of(result):
  """How many groups are drawn for the intervals of each score."""
  assert result.outcomes
  return {len(np.unique(given.clusters)) for given in result.outcomes.values()}


def test_frames_of_a_person_are_drawn_together(monkeypatch):
  """Three people in twelve clips. A clip of which nobody knows who is in it stands for itself."""
  nobody = np.isin(np.arange(len(WHO)), [0, 11])
  for people, absent, groups in ((WHO, None, 3), (WHO, nobody, 5), (None, None, 12)):
    context = context_of(monkeypatch, people, absent, clips=100, frames=2, hidden=0)
    frames = leakage.read(context, "validation")
    classes = leakage.classify(frames, frames, "kind", 0, range(1))
    numbers = leakage.measure(frames, frames, "position_0", range(1))
    assert clusters_of(classes) == clusters_of(numbers) == {groups}
    assert all(given.clusters.shape == (24,) for given in classes.outcomes.values())


def test_foretold_clips_of_a_person_are_drawn_together(monkeypatch):
  for people, groups in ((WHO, 2), (None, 8)):
    context = context_of(monkeypatch, people, past=2, future=1, clips=8, beside="")
    assert clusters_of(forecast.forecast(context)) == {groups}  # eight clips, four of each person


def test_swapped_clips_of_a_person_are_drawn_together(monkeypatch):
  """The judge should find the label of a clip, so those with labels of one person's clips belong together."""
  for motion, who in (((), WHO[:10]), (("kind",), np.roll(WHO[:10], 1))):
    result = swaps.swaps(context_of(monkeypatch, judge_steps=1, pairs=10, motion=motion))
    assert clusters_of(result) == {3}
    for given in result.outcomes.values():
      np.testing.assert_array_equal(given.clusters, who)
  nobody = context_of(monkeypatch, people=None, judge_steps=1, pairs=10, motion=())
  assert clusters_of(swaps.swaps(nobody)) == {10}


def test_halves_are_of_whole_clips_of_every_class():
  halves = leakage.halves(frames_of([3, 5], 4), "who")
  for part in halves:
    assert sorted(part.labels["who"]) == [3] * 4 + [5] * 4
  assert not set(halves.train.labels[leakage.CLIP]) & set(halves.test.labels[leakage.CLIP])
  with pytest.raises(UserError, match="each has one clip in test"):
    leakage.halves(frames_of([3, 5], 1), "who")


@pytest.mark.slow
def test_a_class_is_told_by_the_block_that_has_it_and_held_out_classes_too():
  train = frames_of(range(4), 5)
  for test in (frames_of(range(4), 5, seed=1), frames_of(range(10, 14), 6, seed=2)):
    result = leakage.classify(train, test, "who", 8, range(1))
    found = {s.block: s.values[0] for s in result.scores if s.metric == "logistic/accuracy"}
    assert found["content"] > 0.95 and found["pose"] < 0.6
    assert result.protocol["chance"] == 0.25
    for given in result.outcomes.values():  # frames of a clip are drawn together
      assert len(set(given.clusters)) < len(given.clusters)
    assert {s.metric for s in result.scores} >= {"perceptron/accuracy", "logistic/accuracy"}
  assert result.protocol["gallery"] == "every other clip of each class in test"


def test_a_perceptron_learns_from_few_frames():
  """48 frames of four classes, too few to hold a tenth out."""
  frames = leakage.Frames(frames_of(range(4), 6), frames_of(range(4), 5, seed=1))
  found = leakage.perceptron(frames, "who", "leakage/who", 8, range(1))
  accuracy = {s.block: s.values[0] for s in found if s.metric == "perceptron/accuracy"}
  assert accuracy["content"] > 0.9 and accuracy["pose"] < 0.6


def test_labels_of_frames_and_turns_and_places():
  batch = {
    "label/who": np.array([1, 2], np.int32), "label/azimuth_deg": np.array([[0.0, 90.0], [180.0, 270.0]]),
    "position": np.arange(8.0).reshape(2, 2, 1, 2), "view": np.arange(24.0).reshape(2, 2, 6),
  }  # fmt: skip
  got = leakage._labels(batch, 1, 2)
  np.testing.assert_allclose(got["azimuth_deg_sin"], [1, -1], atol=1e-12)
  np.testing.assert_allclose(got["azimuth_deg_cos"], [0, 0], atol=1e-12)
  np.testing.assert_array_equal(got["position_0"], [2, 6])
  np.testing.assert_array_equal(got["yaw"], [7, 19])
  assert got["who"].dtype == np.int32


def test_a_name_asks_for_the_numbers_that_are_made_of_it():
  asked = ["azimuth_deg", "position"]
  found = [name for name in ("azimuth_deg_sin", "position_1", "who", "yaw") if leakage.is_asked(name, asked)]
  assert found == ["azimuth_deg_sin", "position_1"]
  assert leakage.is_asked("who", []) and leakage.is_asked("azimuth_deg", asked)


def test_entropies_of_a_sure_and_of_an_unsure_judge():
  sure = entropies(np.eye(4))
  np.testing.assert_allclose([sure["entropy_given"], sure["entropy"]], [0, np.log(4)], atol=1e-9)
  np.testing.assert_allclose(sure["inception_score"], 4, rtol=1e-9)
  unsure = entropies(np.full((5, 4), 0.25))
  np.testing.assert_allclose(unsure["entropy_given"], np.log(4), rtol=1e-12)
  np.testing.assert_allclose(unsure["inception_score"], 1, rtol=1e-9)


def test_guesses_and_media(tmp_path):
  given = np.arange(6.0).reshape(1, 3, 1, 1, 2) / 6
  guessed = forecasts.guesses(given, 4)
  np.testing.assert_array_equal(guessed["last frame"], np.repeat(given[:, 2:], 4, axis=1))
  np.testing.assert_allclose(guessed["mean frame"][0, 3], given[0].mean(axis=0))
  media = (Media("a.png", "what it shows", b"bytes"),)
  records.write(str(tmp_path / "some_task.json"), Result("some/task", {}, media=media))
  assert (tmp_path / "some_task_a.png").read_bytes() == b"bytes"
  read = records.read(str(tmp_path / "some_task.json"))
  assert read.details["media"] == {"some_task_a.png": "what it shows"}
