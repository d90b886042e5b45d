"""Sets in files have a fingerprint that changes with every file: nothing is kept of what was there before."""

import itertools
import os

import numpy as np
import pytest
from PIL import Image
from support.configs import data_config
from test_kth import write_video
from test_moving_digits import write_mnist
from test_shapes import off_of_box
from test_small_norb import matrix

from pdr_jax.data import digits, kth, pipeline, small_norb, sprites

IDX = [f"{name}.gz" for names in digits.PARTS.values() for name in names]
NORB = [f"{stem}-{kind}.mat" for stem in small_norb.STEMS.values() for kind in ("dat", "cat", "info")]


def write_modelnet10(folder):
  grids, kinds = np.ones((4, 30, 30, 30), np.int32), np.arange(4)
  np.savez(folder / "modelnet10.npz", X_train=grids, y_train=kinds, X_test=grids, y_test=kinds)


def write_shapes(folder):
  for name in ("box/train/a.off", "box/train/b.off", "box/test/c.off"):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(off_of_box()))


def write_sheets(folder):
  for layer, numbers in sprites.LAYERS.items():
    (folder / layer).mkdir()
    for number in numbers:
      size = (sprites.COLUMNS * sprites.CELL, sprites.ROWS * sprites.CELL)
      Image.new("RGBA", size).save(folder / layer / f"{number}.png", compress_level=1)


def write_kth(folder):
  lines = []
  for person in (1, 16):
    write_video(folder / "walking" / f"person{person:02d}_walking_d1.avi", 6)
    lines.append(f"person{person:02d}_walking_d1 frames 1-6")
  (folder / kth.LIST).write_text("\n".join(lines))


def write_norb(folder):
  rows = np.array(list(itertools.product((4, 6), (0,), range(0, 36, 2), (0,))), np.int32)
  pictures, category = np.zeros((len(rows), 2, 8, 8), np.uint8), np.zeros(len(rows), np.int32)
  arrays = {"dat": pictures, "cat": category, "info": rows}
  for name in NORB:
    (folder / name).write_bytes(matrix(arrays[name.removesuffix(".mat").rpartition("-")[2]]))


def write_mix(folder):
  for name in ("mnist", "fashion_mnist", "pictures"):
    (folder / name).mkdir()
  write_mnist(folder / "mnist")
  write_mnist(folder / "fashion_mnist")
  for i in range(4):
    Image.new("L", (20, 20), i).save(folder / "pictures" / f"{i}.png")


@pytest.mark.parametrize("name, write, files, data", [
  ("idx_pictures", write_mnist, IDX, {}),
  ("moving_mnist", write_mnist, IDX, {"frames": 2}),
  ("grey_mix", write_mix, ["mnist/" + IDX[0], "fashion_mnist/" + IDX[3], "pictures/2.png"], {}),
  ("modelnet10_voxels", write_modelnet10, ["modelnet10.npz"], {}),
  ("shape_folder", write_shapes, ["box/train/a.off", "box/test/c.off"], {}),
  ("sprites", write_sheets, ["body/5.png", "shoes/1.png"], {"frames": 2}),
  ("kth", write_kth, [kth.LIST, "walking/person16_walking_d1.avi"], {"frames": 2}),
  ("small_norb", write_norb, NORB, {"frames": 9}),
])
def test_the_fingerprint_changes_with_every_file_that_is_read(tmp_path, name, write, files, data):
  write(tmp_path)

  def fingerprint():
    pipeline._open.cache_clear()
    return pipeline.describe(data_config(name, path=str(tmp_path), side=16, channels=1, **data)).fingerprint

  seen = {fingerprint()}
  assert fingerprint() in seen and "" not in seen
  for file in files:
    # Other content of the same size differs in its time alone, which a quick second write may not move.
    later = (tmp_path / file).stat().st_mtime + 1
    os.utime(tmp_path / file, (later, later))
    now = fingerprint()
    assert now not in seen, file
    seen.add(now)
  pipeline._open.cache_clear()
