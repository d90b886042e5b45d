"""Which data an evaluation reads: the run's own, or another source with its own crop and columns."""

import pytest

from pdr_jax.config import base
from pdr_jax.evaluation import run as evaluation
from pdr_jax.evaluation.config import get_config

CROP = (12, 32, 76, 96)


def data_of(**asked):
  run, config = base(), get_config()
  run.data.update(name="image_folder", path="mine", crop=CROP, split_by="identity", label_kinds="age:classes")
  config.data.update(asked)
  return evaluation.data_of(run, config).data


def test_nothing_asked_is_the_runs_own():
  data = data_of()
  assert (data.name, data.path, data.crop, data.split_by) == ("image_folder", "mine", CROP, "identity")
  assert data.label_kinds == "age:classes"


@pytest.mark.parametrize("asked", [dict(path="other"), dict(path="other", name="image_folder")])
def test_another_folder_of_the_same_layout_is_cut_and_split_the_same_way(asked):
  data = data_of(**asked)
  assert (data.path, data.crop, data.split_by) == ("other", CROP, "identity")


def test_another_source_has_no_crop_and_no_columns_of_the_run():
  data = data_of(name="youtube_faces_landmarks", path="other")
  assert (data.crop, data.split_by, data.label_kinds) == ((), "seed", "")


def test_what_is_asked_for_another_source_holds():
  data = data_of(name="yale_b", crop=(1, 2, 3, 4), split_by="subject")
  assert (data.crop, data.split_by) == ((1, 2, 3, 4), "subject")
