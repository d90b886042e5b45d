"""KTH: clips are cut from the listed segments, persons are kept apart, what is missing is named."""

import cv2
import numpy as np
import pytest
from support.configs import data_config

from pdr_jax.data import kth, pipeline
from pdr_jax.errors import UserError


def write_video(path, count):
  """Frame t is of grey 4 t."""
  path.parent.mkdir(exist_ok=True)
  writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25, (32, 24))
  assert writer.isOpened()
  for t in range(count):
    writer.write(np.full((24, 32, 3), 4 * t, np.uint8))
  writer.release()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp("kth")
  lines = ["KTH", ""]
  for person in (1, 16, 17):
    write_video(root / "walking" / f"person{person:02d}_walking_d1_uncomp.avi", 30)
    lines.append(f"person{person:02d}_walking_d1\t\tframes\t1-11, 15-30")
  lines.append("person02_running_d3 frames 1-20")
  (root / kth.LIST).write_text("\n".join(lines))
  return root


def opened(folder, **data):
  return pipeline.open_dataset(data_config("kth", **(dict(path=str(folder), side=16, frames=5) | data)))


def test_clips_are_those_of_the_segments(folder):
  data = opened(folder, channels=1)
  assert [data.train.size, data.validation.size, data.tests["test"].size] == [5, 5, 5]
  assert data.skipped == [("person02_running_d3", "the video is not there")]
  loaded = data.tests["test"].load(np.arange(5), data.elements)
  assert set(loaded["label/person"]) == {16} and set(loaded["label/action"]) == {kth.ACTIONS.index("walking")}
  # JPEG moves a grey by a few levels; steps are of four.
  first = np.round(loaded["clip"][:, 0].mean(axis=(1, 2, 3)) / 4).astype(int)
  assert sorted(first) == [0, 5, 14, 19, 24]
  np.testing.assert_allclose(np.diff(loaded["clip"].mean(axis=(2, 3, 4)), axis=1), 4, atol=2.5)


def test_what_is_missing_is_one_line(folder, tmp_path):
  with pytest.raises(UserError, match=r"there is no .*00sequences\.txt: data\.path must be"):
    opened(tmp_path)
  (tmp_path / kth.LIST).write_text("person01_walking_d1 frames 1-20\n")
  with pytest.raises(UserError, match="has no listed video of 5 frames"):
    opened(tmp_path)
  (tmp_path / "walking").mkdir()
  (tmp_path / "walking" / "person01_walking_d1.avi").write_bytes(b"no video")
  clip = kth.clips_of(str(tmp_path), 5)[0][0]
  with pytest.raises(UserError, match="is no video, or has no frame 1 of 5 listed"):
    kth.read_frames(clip, 5, 16)
  (tmp_path / kth.LIST).write_text("person01_flying_d1 frames 1-20\n")
  with pytest.raises(UserError, match="is no person, action and scene of KTH"):
    kth.clips_of(str(tmp_path), 5)
