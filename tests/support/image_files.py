"""Encoded pictures, and folders and zips of them."""

import io
import os
import zipfile

import numpy as np
from PIL import Image

from pdr_jax.config import base


def config(path, **data):
  result = base()
  result.data.update(
    name="image_folder", path=str(path), side=32, channels=3, frames=0, train_examples=0, val_examples=0
  )
  with result.unlocked():
    result.data.update(data)
  return result


def encoded(pixels, kind="PNG", **options) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(pixels).save(buffer, kind, **options)
  return buffer.getvalue()


def picture(seed, height=32, width=32):
  return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def write(root, files):
  for name, data in files.items():
    path = os.path.join(root, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
      file.write(data)
  return root


def write_zip(path, files, compression=zipfile.ZIP_STORED):
  with zipfile.ZipFile(path, "w", compression) as file:
    for name, data in files.items():
      file.writestr(name, data)
  return path


def everything(data):
  """Images and labels of both splits, training first."""
  parts = [split.load(np.arange(split.size), data.elements) for split in (data.train, data.validation)]
  return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
