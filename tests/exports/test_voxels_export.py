"""A model with voxels as an export: its programs say what the method says, and decompose writes its files."""

import json

import jax
import numpy as np
import pytest
from PIL import Image
from support.tolerances import rounding

import pdr_jax
from pdr_jax import elements, methods
from pdr_jax.cli import decompose
from pdr_jax.config import base
from pdr_jax.exports import voxel_decomposition, writer

SIDE = 28


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """The method, its variables, and the folder of its export."""
  config = base("voxels")
  config.train.batch_size = 4
  config.voxels.update(width_encoder=4, width_decoder=4, code=3, pose="circular", pose_components=2)
  config.voxels.density_start = -1.0
  method = methods.create(config)
  example = elements.zeros(methods.describe("voxels").reads(config), 1)
  state = jax.jit(method.init)(jax.random.key(0), example)
  variables = jax.device_get(methods.inference_variables(state))
  folder = str(tmp_path_factory.mktemp("exported") / "voxels")
  writer.write(folder, config, variables, {"step": 7})
  return method, variables, folder


@pytest.mark.slow
def test_programs_say_what_the_method_says(model):
  method, variables, folder = model
  loaded = pdr_jax.load(folder)
  assert set(loaded.manifest["programs"]) == {"encode", "decompose", "generate"}
  images = np.random.default_rng(0).uniform(-1, 1, (3, SIDE, SIDE, 1)).astype(np.float32)
  ours, theirs = jax.jit(method.decompose)(variables, images), loaded.decompose(images)
  for name in ("voxels", "azimuth", "shape", "projection"):  # four stages of sums of 36 products of about 0.1
    np.testing.assert_allclose(theirs[name], ours[name], rtol=0, atol=rounding(200), err_msg=name)
  np.testing.assert_allclose(loaded.encode(images)["shape"], ours["shape"], rtol=0, atol=rounding(200))
  made = loaded.generate(2)
  assert made.shape == (2, SIDE, SIDE, 1) and np.isfinite(made).all()


def test_decompose_writes_voxels_and_a_mesh(model, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(voxel_decomposition, "FRAMES", 2)
  folder = model[2]
  Image.new("L", (40, 40), 120).save(tmp_path / "grey.png")
  flags = [f"--export={folder}", f"--out={tmp_path}/out"]
  assert decompose.main(["decompose", str(tmp_path / "grey.png"), *flags]) == 0
  out = tmp_path / "out" / "grey"
  names = {path.name for path in out.iterdir()}
  assert names == {*voxel_decomposition.FILES} - {"mesh.ply", "mesh.obj"}
  with np.load(out / "voxels.npz") as file:
    assert file["density"].shape == (SIDE,) * 3 and 0 < file["density"].max() < 1
  facts = json.loads((out / "factors.json").read_text())
  assert facts["step"] == 7 and len(facts["shape"]) == 3 and 0 < facts["level"] <= 0.5
  with Image.open(out / "turned.gif") as animation:
    assert animation.n_frames == 2
