"""AFLW2000-3D: the first 2,000 faces of AFLW with a fitted 3D face each (Zhu et al. 2016)."""

import re

from pdr_jax.data import folder_sets, head_poses, image_folder

_NAME = re.compile(r"(?:^|/)image\d+\.jpg$")


def read(path: str) -> folder_sets.Layout:
  """`image00002.jpg` with its `image00002.mat`."""
  store = folder_sets.Some(image_folder.open_store(path), lambda name: bool(_NAME.search(name)))
  return folder_sets.Layout(*head_poses.read_faces(store, "pt3d_68"))


SOURCE = folder_sets.source(
  "faces of AFLW2000-3D with yaw, pitch and roll",
  read,
  "the folder AFLW2000 with image00002.jpg and image00002.mat and so on; from 3DDFA's page, "
  "http://www.cbsr.ia.ac.cn/users/xiangyuzhu/projects/3DDFA/main.htm",
)
