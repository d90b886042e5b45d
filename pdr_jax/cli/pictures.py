"""The pictures that `decompose` is given: files, folders and zips, without what an earlier start has written.
"""

import collections
import functools
import io
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Float32

from pdr_jax import elements
from pdr_jax.cli import crops
from pdr_jax.data import decode, own_files, stores, transforms
from pdr_jax.elements import Element
from pdr_jax.errors import UserError
from pdr_jax.files import write_json

BATCH = 32
RANGE = (-1.0, 1.0)  # of the pixels that a model gets
LOOK_EVERY = 10.0  # seconds between two lines of progress
MULTIPLE = 32  # of a photograph's side: each side is a program of its own to compile


class Picture(NamedTuple):
  """A picture that was given.

  Attributes:
    title: how it is called in messages.
    open: how to open it.
    target: the folder of its results.
    face: which face of it is meant, in pixels; None: the picture has not been looked at.
  """

  title: str
  open: Callable[[], BinaryIO]
  target: str
  face: crops.Box | None = None


class Batch(NamedTuple):
  """Pictures that can be used, in [-1, 1].

  Attributes:
    pictures: as they were given.
    images: of the model's side. The last batch is filled up with copies, which belong to no picture.
    photographs: of each picture, the same square at its own resolution.
  """

  pictures: list[Picture]
  images: Float32[np.ndarray, "B S S C"]
  photographs: list[Float32[np.ndarray, "N N C"]]


def find(places: Sequence[str], out: str) -> list[Picture]:
  """The pictures in the files, folders and zips named, without those that an earlier start has written.

  The results of each go to a folder in `out` of its name, with the suffix where two would share it. Files
  that are left out are counted on stderr. Raises `UserError` where there is nothing, or two pictures would go
  to one folder.
  """
  entries = []  # (title, how to open it, name relative to the place)
  for place in places:
    place = os.path.expanduser(place)
    if os.path.isfile(place) and not place.lower().endswith(".zip"):
      entries.append((place, functools.partial(open, place, "rb"), os.path.basename(place)))
      continue
    if not os.path.exists(place):
      raise UserError(f"{place} does not exist: name pictures, or folders or zips of pictures")
    kind = stores.Zip if os.path.isfile(place) else stores.Folder
    store = kind(place, normalized=False)
    left_out = stores.describe_left_out(store.left_out)
    if left_out:
      print(f"{place}: left out {left_out}", file=sys.stderr)
    for name in store.names:
      entries.append((os.path.join(place, name), functools.partial(store.open, name), name))
  if not entries:
    raise UserError(f"no picture in {', '.join(places)} (pictures end in {' '.join(decode.SUFFIXES)})")
  names = [_inside(name) for _, _, name in entries]
  stems = [os.path.splitext(name)[0] for name in names]
  uses = collections.Counter(stems)
  pictures = [
    Picture(title, opener, os.path.join(out, stem if uses[stem] == 1 else name))
    for (title, opener, _), name, stem in zip(entries, names, stems, strict=True)
  ]
  _check_apart(pictures)
  return pictures


def by_face(pictures: Sequence[Picture]) -> list[Picture]:
  """Each picture of several faces once for each of them; others, and what cannot be read, as they are.

  The results of the faces go to folders that end in `_face_1` and so on, from left to right. Raises
  `UserError` where nothing finds faces, or a picture is called as the folder of a face.
  """
  detect = crops.detector()
  if detect is None:
    raise UserError(
      "--crop faces: scikit-image, which finds faces, is not installed: pip install scikit-image"
    )
  apart, told = [], time.monotonic()
  for number, picture in enumerate(pictures, 1):
    try:
      with picture.open() as file:
        data = file.read()
      found = crops.faces(detect, data, *decode.check_header(io.BytesIO(data)))
    except Exception:  # the picture's turn comes again, when it is left out with the reason
      found = []
    if len(found) > 1:
      say(picture, f"shows {len(found)} faces")
      apart += [
        picture._replace(target=f"{picture.target}_face_{k}", face=face) for k, face in enumerate(found, 1)
      ]
    else:
      apart.append(picture)
    if time.monotonic() - told > LOOK_EVERY:
      print(f"faces are looked for: {number} of {len(pictures)} pictures", file=sys.stderr)
      told = time.monotonic()
  _check_apart(apart)
  return apart


def _check_apart(pictures: Sequence[Picture]) -> None:
  """Raises `UserError` where the results of two pictures would go to one folder."""
  target, count = collections.Counter(picture.target for picture in pictures).most_common(1)[0]
  if count > 1:
    raise UserError(f"two pictures would go to {target}: name them one at a time, each with its own --out")


def _inside(name: str) -> str:
  """A name that leads to no other folder: an entry of a zip may be called ../../x.png."""
  return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def write_manifest(out: str, folders: Sequence[str], files: Sequence[str], normalized: Sequence[str]) -> None:
  """Adds to the manifest of `out` what is going to be written: `own_files.Manifest`, but with whole paths."""
  earlier = own_files.read_manifest(out)
  new = own_files.Manifest(_relative(folders, out), tuple(files), _relative(normalized, out))
  written = {key: sorted({*getattr(earlier, key), *getattr(new, key)}) for key in new._fields}
  write_json(os.path.join(out, own_files.MANIFEST), written)


def _relative(paths: Sequence[str], out: str) -> tuple[str, ...]:
  return tuple(os.path.relpath(path, out).replace(os.sep, "/") for path in paths)


def batches(
  pictures: Sequence[Picture], element: Element, choose: crops.Chooser, largest: int
) -> Iterator[Batch]:
  """Pictures that can be used, with what is shown of each; the others are named on stderr.

  `element` says side and channels, `choose` what part of a picture is taken, `largest` is the most pixels
  that a side of a photograph has here. Raises `UserError` where it is no such picture.

  Every batch has the same size, so that one program serves them all.
  """
  if len(element.shape) != 3 or element.range != RANGE:
    takes = elements.describe(element)
    raise UserError(f"the model takes {takes}, and decompose gives it single pictures in [-1, 1]")
  size = min(BATCH, len(pictures))
  usable, images, photographs = [], [], []
  for number, picture in enumerate(pictures, 1):
    try:
      image, own = read(picture, element, choose, largest)
    except Exception as error:  # BadImage; that of a damaged zip or of a file that cannot be opened
      reason = error if isinstance(error, decode.BadImage) else f"cannot be read ({error})"
      say(picture, f"is left out: {reason}")
    else:
      usable, images, photographs = [*usable, picture], [*images, image], [*photographs, own]
    if usable and (len(usable) == size or number == len(pictures)):
      yield Batch(usable, np.stack(images + images[:1] * (size - len(images))), photographs)
      usable, images, photographs = [], [], []


def read(
  picture: Picture, element: Element, choose: crops.Chooser, largest: int
) -> tuple[Float32[np.ndarray, "S S C"], Float32[np.ndarray, "N N C"]]:
  """The chosen part of a picture at the model's side, and at its own. Raises `BadImage`."""
  side, _, channels = element.shape
  with picture.open() as file:
    size = decode.check_header(file)  # before the whole of a huge file is read
  with picture.open() as file:
    data = file.read()
  crop, how = choose(data, *size, picture.face)
  if how:
    say(picture, f"is cut to {' '.join(map(str, crop))}: {how}")
  left, top, right, bottom = crop
  pixels = min(right - left, bottom - top)
  if pixels < side:
    say(picture, f"has {pixels} pixels a side, fewer than the model's {side}: it is enlarged")

  def at(size: int) -> np.ndarray:
    return transforms.to_range(transforms.picture(data, size, crop, channels), RANGE)

  return at(side), at(own_side(pixels, side, largest))


def own_side(pixels: int, smallest: int, largest: int) -> int:
  """The side at which a square of so many pixels a side is worked on.

  It is rounded down to a multiple of `MULTIPLE`, and at least `smallest`, the model's.
  """
  return max(min(pixels, largest) // MULTIPLE * MULTIPLE, smallest)


def say(picture: Picture, what: str) -> None:
  """A line on stderr about one picture."""
  print(f"{stores.printable(picture.title)} {what}", file=sys.stderr)
