"""300W-LP: faces in large poses, made from photographs by turning a fitted 3D face (Zhu et al. 2016)."""

import re

from pdr_jax.data import folder_sets, head_poses, image_folder

_NAME = re.compile(r"(?:^|/)(AFW|HELEN|IBUG|LFPW)(?:_Flip)?/([^/]+)_\d+\.jpg$")


def read(path: str) -> folder_sets.Layout:
  """`AFW/AFW_134212_1_0.jpg` with its `.mat`, and so on; `AFW_Flip` holds the mirrored ones.

  `original` is the photograph that a picture was made from. Its pictures are on one side of the split.
  """
  store = folder_sets.Some(image_folder.open_store(path), lambda name: bool(_NAME.search(name)))
  made_of = [_NAME.search(name).groups() for name in store.names]
  store, poses = head_poses.read_faces(store, "pt2d")
  columns = {
    "collection": folder_sets.classes_of(collection for collection, _ in made_of),
    "original": folder_sets.classes_of(original for _, original in made_of),
  }
  return folder_sets.Layout(store, poses | columns, apart="original")


SOURCE = folder_sets.source(
  "faces of 300W-LP in large poses with yaw, pitch and roll",
  read,
  "the folder 300W_LP with AFW/, AFW_Flip/, HELEN/, ..., each with NAME.jpg and NAME.mat; from 3DDFA's page, "
  "http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
)
