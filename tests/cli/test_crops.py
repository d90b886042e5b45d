"""Crops that find themselves: a face that is found is framed, and without a detector the model finds it."""

import io
import types

import numpy as np
import pytest
from PIL import Image

from pdr_jax.cli import crops, pictures
from pdr_jax.data import decode
from pdr_jax.elements import Element
from pdr_jax.errors import UserError

SIDE = 16


class Target:
  """A model that explains one picture, a ring on a ramp, and sees nothing else."""

  side, camera = SIDE, {"fov": 10.0, "near": 0.9, "far": 1.1}
  manifest = {"method": "pdr", "programs": ["decompose"]}  # noqa: RUF012
  element = Element((SIDE, SIDE, 3), "float32", "image", (-1.0, 1.0))

  def __init__(self):
    self.batches = []

  def decompose(self, images):
    self.batches.append(len(images))
    known = np.broadcast_to(ring(SIDE) / 127.5 - 1, images.shape)
    return {"reconstruction": known, "mask": np.ones(images.shape[:3])}


def ring(side):
  v, u = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
  grey = 100 + 60 * u + 90 * np.exp(-(((u**2 + v**2) ** 0.5 - 0.55) ** 2) / 0.02)
  return np.repeat(grey[..., None], 3, -1).clip(0, 255).astype(np.uint8)


def encoded(width, height, box):
  """Noise with the ring in a box, as PNG."""
  pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
  left, top, right, bottom = box
  pixels[top:bottom, left:right] = ring(right - left)
  file = io.BytesIO()
  Image.fromarray(pixels).save(file, format="PNG")
  return file.getvalue()


def test_without_a_detector_the_model_finds_what_it_knows(monkeypatch):
  monkeypatch.setattr(crops, "detector", lambda: None)
  model = Target()
  wanted = (0, 40, 80, 120)  # one of the squares of the search
  crop = crops.automatic(model)(encoded(120, 160, wanted), 120, 160)
  assert np.abs(np.subtract(crop.box, wanted)).max() <= 16 and "not installed" in crop.how
  assert set(model.batches) == {crops.TOGETHER}
  assert crops.automatic(model)(encoded(16, 16, (0, 0, 16, 16)), 16, 16).box == (0, 0, 16, 16)


def test_a_face_that_is_found_is_framed_as_the_model_likes_it(monkeypatch):
  """The detector's box is in pixels of a square. The model's frame is 1.45 times as large."""
  wanted = (100, 30, 216, 146)
  face = np.array([58 - 40, 58 - 40, 80, 80]) + [100, 30, 0, 0]  # a box in the middle of the ring

  def detect(square):
    assert square.shape == (crops.LOOKED_AT, crops.LOOKED_AT, 3)
    detect.calls += 1
    scale = crops.LOOKED_AT / 160
    c, r, size, _ = (face - [75, 0, 0, 0]) * scale if detect.calls == 2 else np.zeros(4)
    return [{"c": c, "r": r, "width": size, "height": size}] if size else []

  detect.calls = 0
  monkeypatch.setattr(crops, "detector", lambda: detect)
  assert crops.squares(310, 160) == [(0, 0, 160, 160), (75, 0, 235, 160), (150, 0, 310, 160)]
  crop = crops.automatic(Target())(encoded(310, 160, wanted), 310, 160)
  assert crop.how == "around a face of 80 pixels, found by scikit-image's cascade"
  np.testing.assert_allclose(crop.box, wanted, atol=2)


def test_crops_lie_in_the_picture():
  for width, height in [(100, 100), (64, 300), (301, 97)]:
    boxes = [*crops.grid(width, height), *crops.squares(width, height)]
    boxes += crops.around((20, 10, 60, 50), width, height) + crops.around((0, 0, 30, 30), width, height)
    for left, top, right, bottom in boxes:
      assert 0 <= left < right <= width and 0 <= top < bottom <= height and right - left == bottom - top
  assert crops.around((0, 0, 8, 8), 100, 100) == []  # a face of which hardly anything is in the picture


def test_what_stands_behind_the_flag():
  assert crops.parse(["auto"]) == "auto" and crops.parse(["center"]) == crops.parse([]) == ()
  assert crops.parse(["1", "2", "30", "40"]) == (1, 2, 30, 40)
  for words in (["1", "2", "3", "4", "a.png"], ["middle"]):
    with pytest.raises(UserError, match="must be auto, faces, center, or LEFT TOP RIGHT BOTTOM; pictures"):
      crops.parse(words)
  with pytest.raises(decode.CropOutside):
    crops.fixed((0, 0, 50, 50))(b"", 40, 60)
  blind = types.SimpleNamespace(manifest={"method": "vae", "programs": ["encode"]}, camera=None)
  with pytest.raises(UserError, match="--crop auto: a model of vae does not reconstruct pictures"):
    crops.automatic(blind)


def test_a_flat_picture_is_not_chosen():
  """Any model explains a wall; what it explains of contrast counts."""
  error = crops.reconstruction_error(Target())
  wall, target = np.full((SIDE, SIDE, 3), 100, np.uint8), ring(SIDE)
  walls, targets = error(np.stack([wall, target]))
  assert walls == np.inf and targets < 1e-6


def test_every_face_of_a_photograph_is_a_picture_of_its_own(monkeypatch, capsys):
  """Faces that overlapping squares show twice count once; they are numbered from left to right."""
  wanted = [(20, 30, 100, 110), (200, 40, 280, 120)]
  squares = iter(crops.squares(310, 160))

  def detect(square):
    left, _, right, _ = next(squares)
    scale = crops.LOOKED_AT / 160
    seen = [face for face in wanted if left <= face[0] and face[2] <= right]
    boxes = [(face[0] - left + shift, face[1], 80 - shift) for face in seen for shift in (0, 3)]
    names = ("c", "r", "width", "height")
    return [dict(zip(names, np.multiply([c, r, w, w], scale), strict=True)) for c, r, w in boxes]

  monkeypatch.setattr(crops, "detector", lambda: detect)
  data = encoded(310, 160, (0, 0, 30, 30))
  two = pictures.Picture("two.png", lambda: io.BytesIO(data), "out/two")
  left, right = pictures.by_face([two])
  assert (left.target, right.target) == ("out/two_face_1", "out/two_face_2")
  np.testing.assert_allclose([left.face, right.face], wanted, atol=1)
  assert left.title == right.title == "two.png" and "two.png shows 2 faces" in capsys.readouterr().err
  # A crop around the face that is meant, though the other one is as large and no detector is asked again.
  assert crops.automatic(Target())(data, 310, 160, right.face).box[0] > 150
  named = pictures.Picture("two_face_1.png", lambda: io.BytesIO(b"no picture"), "out/two_face_1")
  squares = iter(crops.squares(310, 160))
  with pytest.raises(UserError, match="two pictures would go to out/two_face_1: name them one at a time"):
    pictures.by_face([two, named])
  broken = two._replace(open=lambda: io.BytesIO(b"no picture"))
  assert pictures.by_face([broken]) == [broken]
  monkeypatch.setattr(crops, "detector", lambda: None)
  with pytest.raises(UserError, match="--crop faces: scikit-image, which finds faces, is not installed"):
    pictures.by_face([two])
