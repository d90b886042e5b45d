"""The task of voxels with a model that extrudes its picture: scores, baselines, what is refused."""

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from pdr_jax import methods
from pdr_jax.config import base
from pdr_jax.data import pipeline
from pdr_jax.errors import UserError
from pdr_jax.evaluation import run as evaluation
from pdr_jax.evaluation.config import get_config as evaluation_config
from pdr_jax.evaluation.features import Features
from pdr_jax.evaluation.representations import Representation
from pdr_jax.evaluation.task import Context
from pdr_jax.evaluation.tasks import voxels as task
from pdr_jax.methods.contract import Method
from pdr_jax.training.loop import train

SIDE = 28
SETTINGS = ConfigDict(task.defaults() | dict(select=4, most=8, angles=4, views=2))


def nothing(*_):
  raise AssertionError("not called")


def extrude(variables, images):
  """The silhouette along the whole depth, seen from where it is."""
  flat = (images[..., 0] + 1) / 2
  count = images.shape[0]
  return {
    "voxels": jnp.repeat(flat[:, None], SIDE, axis=1),
    "azimuth": jnp.zeros(count),
    "azimuth_draws": jnp.zeros((count, 4)),
    "projection": images,
  }


def representation(run, decompose):
  method = Method(init=nothing, update=nothing, validate=nothing, encode=nothing, decompose=decompose)
  reads = {"image": methods.describe("voxels").reads(run)["image"]}
  return Representation("trained", nothing, reads, method, {})


def config(**data):
  run = base("voxels")
  run.data.update(side=SIDE, train_examples=8, val_examples=8, **data)
  run.train.batch_size = 4
  return run


@pytest.mark.slow
def test_scores_of_an_extruded_picture():
  run = config()
  result = task.shapes(run, representation(run, extrude), "test", SETTINGS, say=lambda line: None)
  scores = {(score.block, score.metric): score.values[0] for score in result.scores}
  beside = {task.HULL, task.MEAN, task.SPHERE, task.NEAREST, task.TRUTH}
  assert {block for block, _ in scores} == {task.MODEL} | beside
  iou = {block: value for (block, metric), value in scores.items() if metric == "iou"}
  assert iou[task.HULL] > max(value for block, value in iou.items() if block != task.HULL)
  assert 0 < iou[task.MODEL] < iou[task.HULL] <= 1
  assert scores[task.HULL, "held_out_views/iou"] > 0.85
  assert scores[task.MODEL, "projection/squared_error"] == 0 and scores[task.MODEL, "projection/ssim"] > 0.999
  assert scores[task.MODEL, "pose/to_uniform"] > 0.49  # always the same azimuth
  assert scores[task.SPHERE, "views_alike"] > 0.9 > scores[task.TRUTH, "views_alike"] > 0.3
  assert scores[task.MODEL, "occupied"] > 0.05 and result.protocol["test"] == 8


def test_a_model_keeps_the_batch_of_its_training():
  """Free poses have parameters for each place of a batch; the evaluation's own batch is its data's."""
  trained, asked = config(), evaluation_config()
  trained.train.batch_size, asked.batch_size = 6, 4
  run = evaluation.data_of(trained, asked)
  built_as = evaluation.model_of(run, trained)
  assert run.train.batch_size == 4 and built_as.train.batch_size == 6 and built_as.data == run.data


@pytest.mark.slow
def test_free_poses_are_evaluated_in_batches_of_another_size(tmp_path):
  run = config()
  run.train.update(steps=1, figure_every=0, gradient_norms_every=0)
  run.voxels.update(width_encoder=2, width_decoder=2, code=2, pose="free")
  assert train(run, str(tmp_path)).exit_code == 0
  asked = evaluation_config()
  asked.tasks, asked.batch_size = ("voxels",), 8
  asked.voxels.update(SETTINGS)
  outcome = evaluation.evaluate(asked, str(tmp_path), say=lambda line: None)
  assert not outcome.failed and outcome.results["voxels"].protocol["test"] == 8


def sorted_shapes(folder):
  """A run on boxes and then rods, three of each to be tested on: 36 pictures of either kind."""
  for kind, size in (("box", 8), ("rod", 1)):
    solid = np.zeros((8, 8, 8), np.uint8)
    solid[:size, :size] = 1  # all of y, which is up
    for part, count in (("train", 4), ("test", 3)):
      (folder / kind / part).mkdir(parents=True)
      runs = b"".join(bytes((value, 1)) for value in solid.reshape(-1))
      for i in range(count):
        (folder / kind / part / f"{i}.binvox").write_bytes(b"#binvox 1\ndim 8 8 8\ndata\n" + runs)
  return config(name="shape_folder", path=str(folder))


def test_few_pictures_are_of_all_kinds(tmp_path):
  """The split is sorted by kind: the first 24 of its 72 pictures are of two boxes."""
  run = sorted_shapes(tmp_path)
  model, keys = representation(run, extrude), ("label/kind", "azimuth")
  few, again = (task.taken(run, model, keys, "test", 24) for _ in range(2))
  kinds = np.concatenate([batch["label/kind"] for batch in few])
  assert len(kinds) == 24 and 6 <= (kinds == 0).sum() <= 18
  np.testing.assert_array_equal(few[-1]["image"], again[-1]["image"])
  whole = np.concatenate([batch["azimuth"] for batch in task.taken(run, model, keys, "test", 500)])
  np.testing.assert_allclose(whole, np.tile(np.arange(12) * np.pi / 6, 6), rtol=1e-6)


@pytest.mark.slow
def test_pictures_of_a_shape_are_drawn_together(tmp_path):
  run, asked = sorted_shapes(tmp_path), evaluation_config()
  asked.voxels.update(SETTINGS)
  asked.voxels.most = 24
  test = pipeline.open_dataset(run).tests["test"]
  who = test.load(np.arange(test.size), ["label/identity"])["label/identity"]
  nobody, features = Features({}, {}, {}), Features({}, {"identity": who}, {})
  model = representation(run, extrude)
  context = Context(asked, asked.voxels, run, model, nobody, features, "test", {}, lambda line: None)
  ((_, job),) = task.jobs(context)
  outcomes = job().outcomes
  assert len(outcomes) >= 3
  for given in outcomes.values():
    assert given.values.shape[-1] == 24 and len(set(given.clusters.tolist())) == 6  # three boxes, three rods


def test_what_has_no_voxels_is_refused():
  run = config()
  with pytest.raises(UserError, match="no picture apart into voxels"):
    task.shapes(run, representation(run, lambda v, x: {"depth": x}), "test", SETTINGS)
  run = config(name="digits")
  with pytest.raises(UserError, match="no exact voxels"):
    task.shapes(run, representation(run, extrude), "test", SETTINGS)


def test_unseen_views_are_none_of_the_pictures():
  azimuth = np.array([0.3, 1.0], np.float32)
  views = task.unseen(azimuth, 4)
  away = np.abs(np.angle(np.exp(1j * (views - azimuth[:, None]))))
  assert views.shape == (2, 4) and away.min() > 0.7
