"""Fuzzing of what users hand over: images, zips, labels.csv, exports and overrides of the configuration: a
result or one clear error.
"""

import io
import json
import os
import shutil
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.numpy import save_file
from support.label_store import LabelStore

import pdr_jax
from pdr_jax import config
from pdr_jax.cli import configurations
from pdr_jax.config_checks import flatten, validate
from pdr_jax.data import decode, image_folder, label_files
from pdr_jax.errors import UserError
from pdr_jax.exports import reader

QUICK = dict(
  deadline=None,
  derandomize=True,
  suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


def encoded(kind: str) -> bytes:
  buffer = io.BytesIO()
  Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(buffer, kind)
  return buffer.getvalue()


IMAGES = {kind: encoded(kind) for kind in ("PNG", "JPEG", "BMP", "WEBP", "PPM")}


NUMBERS = [b"\xff" * 4, bytes(4), struct.pack("<I", 2**31 - 1), struct.pack(">I", 2**31)]


@st.composite
def damaged(draw, whole: bytes):
  """A file with bytes changed, cut out, repeated or put in, mostly near its head, where the structure is."""
  data = bytearray(whole)
  for _ in range(draw(st.integers(1, 4))):
    place = draw(st.one_of(st.integers(0, min(64, len(data))), st.integers(0, len(data))))
    piece = draw(st.one_of(st.binary(max_size=8), st.sampled_from(NUMBERS)))
    data[place : place + draw(st.integers(0, 16))] = piece
  return bytes(data)


@settings(max_examples=100, **QUICK)
@given(st.sampled_from(sorted(IMAGES)).flatmap(lambda kind: damaged(IMAGES[kind])))
def test_a_damaged_image_is_decoded_or_a_bad_image(data):
  try:
    image = decode.decode_image(data, 32)
  except decode.BadImage as error:
    assert str(error) and "\n" not in str(error)
  else:
    assert image.shape == (32, 32, 3) and image.dtype == np.uint8


def zipped() -> bytes:
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
    for i in range(6):
      file.writestr(f"{'ab'[i % 2]}/{i}.png", IMAGES["PNG"])
  return buffer.getvalue()


def folder_config(path):
  wanted = config.base()
  wanted.data.update(name="image_folder", path=str(path), side=32, train_examples=0, val_examples=0)
  return wanted


@settings(max_examples=40, **QUICK)
@given(data=damaged(zipped()))
def test_a_damaged_zip_is_read_or_one_line(tmp_path, data):
  path = tmp_path / "images.zip"
  path.write_bytes(data)
  wanted = folder_config(path)
  try:
    opened = image_folder.open_image_folder(wanted)
  except UserError as error:
    assert str(error)
  else:
    assert opened.train.load(np.arange(opened.train.size), ("image",))["image"].shape == (
      opened.train.size,
      32,
      32,
      3,
    )
  assert os.listdir(tmp_path) == ["images.zip"]  # nothing was unpacked


@pytest.mark.parametrize("name", ["../out.png", "/tmp/out.png", "a/../../out.png", "..\\out.png"])
def test_a_name_in_a_zip_that_leads_outside_writes_nothing(tmp_path, name):
  folder = tmp_path / "in"
  folder.mkdir()
  with zipfile.ZipFile(folder / "images.zip", "w") as file:
    for entry in (name, "a.png", "b.png"):
      file.writestr(entry, IMAGES["PNG"])
  image_folder.open_image_folder(folder_config(folder / "images.zip"))
  assert sorted(os.listdir(tmp_path)) == ["in"] and os.listdir(folder) == ["images.zip"]


ROWS = st.binary(max_size=200).map(lambda rest: b"name,x\na.png," + rest)
TABLE = b"name,age,mood\na.png,3,glad\nb.png,4.5,sad\nc.png,,glad\n"


@settings(max_examples=200, **QUICK)
@given(st.one_of(damaged(TABLE), st.binary(max_size=200), ROWS))
def test_a_damaged_table_of_labels_is_read_or_one_line(data):
  names = ["a.png", "b.png", "c.png"]
  try:
    actual = label_files.read(LabelStore(names, {"labels.csv": data}), {})
  except UserError as error:
    assert str(error).startswith("faces/labels.csv") and "\n" not in str(error)
    return
  for entry in actual.columns.values():
    assert entry.values.shape == entry.missing.shape == (3,) and not entry.missing.all()
    if entry.classes:
      assert entry.values.dtype == np.int32 and entry.values.max() < len(entry.classes)
    else:
      assert entry.values.dtype == np.float64 and np.isfinite(entry.values[~entry.missing]).all()


@pytest.fixture(scope="module")
def small_export(tmp_path_factory):
  """The shipped model's folder with a handful of parameters, to be damaged quickly."""
  folder = str(tmp_path_factory.mktemp("export") / "small")
  shutil.copytree(reader.SHIPPED, folder)
  save_file(
    {"depth/head/kernel": np.zeros((2, 3), np.float32), "depth/head/bias": np.zeros(3, np.float32)},
    f"{folder}/{reader.PARAMS}",
  )
  write(folder, reader.MANIFEST, with_checksum(folder, reader.PARAMS, read(folder, reader.PARAMS)))
  assert set(pdr_jax.load(folder).variables["depth"]["head"]) == {"kernel", "bias"}
  return folder


def read(folder: str, name: str) -> bytes:
  with open(f"{folder}/{name}", "rb") as file:
    return file.read()


def write(folder: str, name: str, content: bytes) -> None:
  with open(f"{folder}/{name}", "wb") as file:
    file.write(content)


def with_checksum(folder: str, name: str, content: bytes) -> bytes:
  """The manifest of an export in which a file has that content."""
  manifest = json.loads(read(folder, reader.MANIFEST))
  manifest["files"][name] = reader.digest(content)
  return json.dumps(manifest).encode()


@settings(max_examples=100, **QUICK)
@given(st.data())
def test_a_damaged_export_is_read_or_one_line(small_export, data):
  """Checksums fit, as one who means harm would see to; so the readers behind them are met."""
  whole = {
    name: read(small_export, name)
    for name in (reader.MANIFEST, reader.CONFIG, reader.PARAMS, "encode.stablehlo")
  }
  name = data.draw(st.sampled_from(sorted(whole)))
  harmed = data.draw(damaged(whole[name]))
  write(small_export, reader.MANIFEST, with_checksum(small_export, name, harmed))
  write(small_export, name, harmed)
  try:
    model = pdr_jax.load(small_export)
    reader._read_program(f"{small_export}/encode.stablehlo")
  except UserError as error:
    assert str(error) and "\n" not in str(error)
  else:
    assert name == reader.PARAMS or set(model.variables) == {"depth"}
  finally:
    for name, content in whole.items():
      write(small_export, name, content)


KEYS = flatten(config.base())
VALUES = st.one_of(
  st.binary(max_size=12).map(lambda text: text.decode("latin-1")),
  st.integers().map(str),
  st.floats().map(repr),
  st.booleans().map(str),
  st.sampled_from(
    [
      "()",
      "(1,2",
      "[]",
      "{}",
      "None",
      "nan",
      "inf",
      "1e999",
      "'",
      '"',
      "\\",
      "__import__('os')",
      "(1,2,3,4)",
      "${x}",
    ]
  ),
)


@settings(max_examples=100, **QUICK)
@given(key=st.sampled_from(sorted(KEYS)), value=VALUES)
def test_an_override_is_taken_or_one_line(tmp_path, key, value):
  """The value is data: nothing in it is run."""
  file = tmp_path / "some_config.py"
  if not file.exists():
    file.write_text("from pdr_jax.config import base\ndef get_config(variant=''):\n  return base()\n")
  try:
    parsed = configurations.resolve(str(file), [configurations.Override(key, value)])
    validate(parsed, 4)
  except UserError as error:
    assert str(error)
  else:
    assert isinstance(flatten(parsed)[key], (type(KEYS[key]), int))
