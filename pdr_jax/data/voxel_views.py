"""Solid shapes as data: occupied voxels, their views, and splits that hand out both. NumPy only.

A shape is a boolean array with the axes z (forward: plane 0 is the nearest), y (down) and x (right), as in
`render.volume`; it stays in the upright cylinder inscribed in its cube, so that no view cuts it off. A view
turns it about the vertical by an azimuth (z turns towards x) and looks along z with parallel rays.
"""

import math
from collections.abc import Callable, Collection

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from pdr_jax.data import dataset
from pdr_jax.data.dataset import Arrays
from pdr_jax.elements import Element
from pdr_jax.errors import UserError

FINE = 2  # shapes are drawn and seen at this many times the side, and then averaged
FILLED = 0.94  # of the cube's half side, that a shape takes up
ELEVATION = 30.0  # degrees of the camera above the horizon, of shaded views
AMBIENT, DIFFUSE = 0.25, 0.75  # of shaded views
LIGHT = np.array([0.45, 0.65, 0.75]) / np.linalg.norm([0.45, 0.65, 0.75])  # where it travels: x, y, z
AZIMUTHS = 12  # of a shape that is given, evenly

Fine = Bool[np.ndarray, "M M M"]


def coarse(shape: Fine) -> UInt8[np.ndarray, "S S S"]:
  """1 for the voxels of half the side of which at least a half is occupied, else 0."""
  side = shape.shape[0] // FINE
  blocks = shape.reshape(side, FINE, side, FINE, side, FINE)
  return (blocks.mean(axis=(1, 3, 5), dtype=np.float32) >= 0.5).astype(np.uint8)


def silhouette(shape: Fine, azimuth: float) -> UInt8[np.ndarray, "S S 1"]:
  """White where a ray meets the shape, on black; edges are soft by averaging."""
  count = shape.shape[0]
  z, x = _turned(count, azimuth)
  inside = (z >= 0) & (z < count) & (x >= 0) & (x < count)
  z, x = np.clip(z, 0, count - 1), np.clip(x, 0, count - 1)
  planes = np.swapaxes(shape, 1, 2)[z, x] & inside[..., None]  # [depth, column, row]
  return _pixels(planes.any(axis=0).T.astype(np.float32))


def shaded(shape: Fine, azimuth: float, elevation: float = ELEVATION) -> UInt8[np.ndarray, "S S 1"]:
  """Grey by Lambert's law, lit from the left, above and before, on black, from above the horizon."""
  from scipy import ndimage

  count = shape.shape[0]
  centre = (count - 1) / 2
  grid = np.stack(np.meshgrid(*[np.arange(count) - centre] * 3, indexing="ij"), -1)[..., ::-1]  # x, y, z
  source = grid @ rotation(azimuth, elevation)  # rows: p^T R = (R^T p)^T
  index = np.rint(source + centre).astype(int)
  inside = ((index >= 0) & (index < count)).all(axis=-1)
  x, y, z = np.moveaxis(np.clip(index, 0, count - 1), -1, 0)
  turned = shape[z, y, x] & inside
  first = turned.argmax(axis=0)[None]
  smooth = ndimage.gaussian_filter(turned.astype(np.float32), 1.5)
  inward = [np.take_along_axis(np.gradient(smooth, axis=axis), first, 0)[0] for axis in (2, 1, 0)]
  length = np.sqrt(sum(part**2 for part in inward)) + 1e-6
  cosine = sum(part * light for part, light in zip(inward, LIGHT, strict=True)) / length
  seen = turned.any(axis=0)
  return _pixels(np.where(seen, AMBIENT + DIFFUSE * np.maximum(cosine, 0), 0.0).astype(np.float32))


def rotation(azimuth: float, elevation: float) -> Float[np.ndarray, "3 3"]:
  """In (x, y, z): about y by the azimuth, radians, then about x by the elevation, degrees."""
  c, s = math.cos(azimuth), math.sin(azimuth)
  about_y = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
  c, s = math.cos(math.radians(elevation)), math.sin(math.radians(elevation))
  return np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ about_y


def _turned(count: int, azimuth: float) -> tuple[Int[np.ndarray, "M M"], Int[np.ndarray, "M M"]]:
  """Where each place of a turned plane, by depth and column, comes from: z and x."""
  place = np.arange(count) - (count - 1) / 2
  z, x = place[:, None], place[None]
  c, s = math.cos(azimuth), math.sin(azimuth)
  return tuple(np.rint(p + (count - 1) / 2).astype(int) for p in (c * z + s * x, c * x - s * z))


def _pixels(values: Float32[np.ndarray, "M M"]) -> UInt8[np.ndarray, "S S 1"]:
  side = values.shape[0] // FINE
  pooled = values.reshape(side, FINE, side, FINE).mean(axis=(1, 3))
  return np.rint(255 * np.clip(pooled, 0, 1)).astype(np.uint8)[..., None]


def fitted(shape: Bool[np.ndarray, "D H W"], side: int) -> Fine:
  """A shape of any size, in the middle of a cube of `FINE * side` voxels a side, filling its cylinder.

  Raises ValueError where nothing is occupied.
  """
  z, y, x = np.nonzero(shape)
  if not len(z):
    raise ValueError("no voxel is occupied")
  middle = [(axis.min() + axis.max()) / 2 for axis in (z, y, x)]
  around = np.hypot(z - middle[0], x - middle[2]).max() + 0.5
  extent = max(around, np.abs(y - middle[1]).max() + 0.5) / FILLED
  count = FINE * side
  places = (np.arange(count) + 0.5) / count * 2 - 1
  index = [np.rint(at + places * extent).astype(int) for at in middle]
  inside = [(i >= 0) & (i < n) for i, n in zip(index, shape.shape, strict=True)]
  taken = shape[np.ix_(*[np.clip(i, 0, n - 1) for i, n in zip(index, shape.shape, strict=True)])]
  return taken & inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None]


class Views:
  """`Split.load` of views of shapes; voxels are kept as bits.

  Args:
    shape_of: the shape of each view, an index into `voxels`.
    azimuths: of each view, radians.
    voxels: `[shapes, bytes]`, packed; None where views have no voxels.
    draw: makes picture i, the first time it is asked for.
    side: of the pictures and volumes.
    labels: further arrays by key, one entry a view.
  """

  def __init__(
    self, shape_of: np.ndarray, azimuths: np.ndarray, voxels: np.ndarray, draw: Callable[[int], np.ndarray],
    side: int, labels: Arrays,
  ):
    self._shape_of, self._voxels, self._draw, self._side = shape_of, voxels, draw, side
    self._arrays = {"azimuth": azimuths.astype(np.float32), **labels}
    self._images = dataset.Kept(len(shape_of), (side, side, 1))

  def __call__(self, indices: Int[np.ndarray, " n"], keys: Collection[str]) -> Arrays:
    rows = {key: array[indices] for key, array in self._arrays.items() if key in keys}
    if "image" in keys:
      rows["image"] = np.stack([self._images.get(int(i), self._draw) for i in indices])
    if "voxels" in keys:
      rows["voxels"] = unpacked(self._voxels[self._shape_of[indices]], self._side)
    return rows


def packed(voxels: UInt8[np.ndarray, "S S S"]) -> UInt8[np.ndarray, " bytes"]:
  """Eight voxels a byte."""
  return np.packbits(voxels.reshape(-1))


def unpacked(rows: UInt8[np.ndarray, "n bytes"], side: int) -> UInt8[np.ndarray, "n S S S"]:
  """The inverse of `packed`, of several."""
  return np.unpackbits(rows, axis=1, count=side**3).reshape(-1, side, side, side)


def elements(side: int, labels: Collection[str]) -> dict[str, Element]:
  """What batches of views hold."""
  return {
    "image": Element((side, side, 1), "float32", "image", (-1.0, 1.0)),
    "azimuth": Element((), "float32", "azimuth"),
    "voxels": Element((side, side, side), "uint8", "voxels", (0.0, 1.0)),
    **{key: Element((), "int32", key.split("/")[0]) for key in labels},
  }


def check_grey(data) -> None:
  """Raises `UserError`: views of shapes are grey."""
  if data.channels != 1:
    raise UserError(f"data.channels={data.channels}: data.name={data.name} has grey pictures and needs 1")
