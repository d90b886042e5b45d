"""Exports: the numbers of the run in another process with JAX alone, and every way in which a folder is no export."""

import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from toy_exports import SIDE, STEP, random_params, small_config

import pdr_jax
from pdr_jax import export, methods
from pdr_jax.config import base, variant
from pdr_jax.errors import UserError
from pdr_jax.exports import reader, writer
from pdr_jax.training import run_dir

# What the training code is made of. The reading process raises on importing any of it.
BLOCKED = ("flax", "optax", "orbax", "tensorflow_datasets", "grain", "ml_collections", "jaxtyping", "absl", "matplotlib", "PIL", "chex")
ELSEWHERE = """
import sys
class Block:
  def find_spec(self, name, *rest):
    if name.split(".")[0] in {blocked}:
      raise ImportError(name + " is not here")
sys.meta_path.insert(0, Block())
import numpy as np
import pdr_jax
model = pdr_jax.load({folder!r})
given = np.load({inputs!r})
parts = model.decompose(given["images"])
one = {{name: value[:1] for name, value in parts.items()}}
found = {{"encode/" + name: value for name, value in model.encode(given["images"]).items()}}
found |= {{"decompose/" + name: value for name, value in parts.items()}}
found |= {{"as_is/" + name: value for name, value in model.render(parts).items()}}
found |= {{"turned/" + name: value for name, value in model.render(one, light=given["lights"], view=given["views"]).items()}}
np.savez({outputs!r}, **found)
"""


def images(count, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, (count, SIDE, SIDE, 3)).astype(np.float32)


def test_programs_name_no_file_of_the_machine_that_exported(exported):
  here = os.path.dirname(os.path.dirname(pdr_jax.__file__))
  for name in os.listdir(exported):
    if name.endswith(".stablehlo"):
      with open(os.path.join(exported, name), "rb") as file:
        data = file.read()
      assert here.encode() not in data and b".py" not in data, name


def test_another_process_with_jax_alone_gives_the_numbers_of_the_run(exported, tmp_path):
  generator = np.random.default_rng(1)
  views = np.concatenate([generator.uniform(-0.5, 0.5, (3, 3)), generator.uniform(-0.05, 0.05, (3, 3))], axis=1).astype(np.float32)
  lights = generator.uniform(-0.5, 1.5, (3, 9)).astype(np.float32)
  given, outputs = str(tmp_path / "given.npz"), str(tmp_path / "found.npz")
  np.savez(given, images=images(3), views=views, lights=lights)
  code = ELSEWHERE.format(blocked=BLOCKED, folder=exported, inputs=given, outputs=outputs)
  environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(pdr_jax.__file__)),
                 "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir}
  done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  with np.load(outputs) as file:
    found = dict(file)

  config = small_config()
  method, params = methods.create(config), random_params(config)
  parts = jax.jit(method.decompose)(params, images(3))
  one = {name: np.broadcast_to(value[:1], value.shape) for name, value in parts.items()}
  expected = {f"encode/{name}": value for name, value in jax.jit(method.encode)(params, images(3)).items()}
  expected |= {f"decompose/{name}": value for name, value in parts.items()}
  expected |= {"as_is/image": parts["reconstruction"]} | {f"as_is/{name}": parts[name] for name in ("mask", "depth_at_view")}
  expected |= {f"turned/{name}": value for name, value in jax.jit(method.render)(one, light=lights, view=views).items()}
  assert found.keys() == expected.keys()
  for name, value in expected.items():
    assert found[name].shape == value.shape and found[name].dtype == np.float32
    if not name.endswith("mask"):  # all ones where nothing is turned
      assert np.std(value) > 1e-4, f"{name}: a constant would agree with anything"
    # Where a pixel's centre lies on the outline of a turned surface, two compilations may round it to either side.
    off = np.abs(found[name] - value) > 2e-5
    assert off.mean() <= (0.005 if name.startswith("turned/") else 0), f"{name}: {off.sum()} of {off.size} numbers differ"
  assert np.abs(np.diff(found["turned/image"], axis=0)).max() > 0.05  # of one picture: lights and views differ


def test_batches_above_the_largest_are_cut(exported):
  model = pdr_jax.load(exported)
  whole = model.encode(images(5))
  model.manifest["largest_batch"] = 2
  for name, block in model.encode(images(5)).items():
    assert block.shape == whole[name].shape
    np.testing.assert_allclose(block, whole[name], rtol=0, atol=1e-5)


def test_manifest_configuration_and_card_say_what_it_is(exported, run):
  manifest = reader.read_manifest(exported)
  assert manifest["method"] == "pdr" and manifest["side"] == SIDE and manifest["step"] == STEP
  assert manifest["metrics"] == {"val/side": 0.5} and manifest["platforms"] == ["cpu", "cuda", "tpu"]
  assert manifest["libraries"]["jax"] == jax.__version__ and "no third party" in manifest["licence"]
  assert run_dir.read_config(exported) == run_dir.read_config(run) == small_config()
  card = open(f"{exported}/README.md").read()
  assert "| side | 0.5 | 0.8 |" in card and "constant depth" in card and "heads, 4000" not in card and "| steps | 7 |" in card
  count = sum(leaf.size for leaf in jax.tree.leaves(random_params(small_config())))
  assert f"{count:,}" in card


def test_load_params_gives_what_the_method_takes(exported):
  params, expected = reader.load_params(exported), random_params(small_config())
  assert jax.tree.structure(params) == jax.tree.structure(expected)
  assert all(map(np.array_equal, jax.tree.leaves(params), jax.tree.leaves(expected)))


def test_a_method_that_takes_nothing_apart_exports_its_encoder(tmp_path):
  config = variant(base(), "small")
  config.method = "vae"
  config.networks.update(width_map=4, width_vector=4, zdim=8)
  params = random_params(config)
  writer.write(str(tmp_path), config, params, {"step": 1})
  model = pdr_jax.load(str(tmp_path))
  expected = methods.create(config).encode(params, images(2))
  np.testing.assert_allclose(model.encode(images(2))["mean"], expected["mean"], rtol=0, atol=1e-5)
  with pytest.raises(UserError, match="a model of vae, which has no decompose"):
    model.decompose(images(2))


@pytest.mark.parametrize("given, words", [
    (np.zeros((2, 64, 64, 3)), r"takes images \[B, 32, 32, 3\] but got \[2, 64, 64, 3\]"),
    (np.zeros((32, 32, 3)), r"but got \[32, 32, 3\]"),
    (np.zeros((2, 32, 32, 3), np.uint8), r"in \[-1, 1\] but got uint8: use images / 127.5 - 1"),
    (np.zeros((0, 32, 32, 3)), "the batch is empty"),
])
def test_images_that_the_model_does_not_take(exported, given, words):
  with pytest.raises(UserError, match=words):
    pdr_jax.load(exported).encode(given)


def test_parts_that_cannot_be_rendered(exported):
  model = pdr_jax.load(exported)
  parts = {name: np.zeros(shape) for name, shape in dict(depth=(3, 32, 32), albedo=(3, 32, 32, 3), canonical=(3, 32, 32, 3),
                                                         view=(3, 6)).items()}
  with pytest.raises(UserError, match="albedo, view is missing"):
    model.render({"depth": parts["depth"], "canonical": parts["canonical"]})
  with pytest.raises(UserError, match=r"batches of \[2, 3\]; they must be equal, or 1"):
    model.render(parts, view=np.zeros((2, 6)))


# ---------------------------------------------------------------- folders that are no export


def _write(folder, name, text):
  with open(f"{folder}/{name}", "w") as file:
    file.write(text)


def _manifest(**changes):
  return lambda folder: _write(folder, "export.json", json.dumps(reader.read_manifest(folder) | changes))


def _cut(name):
  def cut(folder):
    with open(f"{folder}/{name}", "r+b") as file:
      file.truncate(os.path.getsize(f"{folder}/{name}") - 100)
  return cut


def _flip(folder):
  with open(f"{folder}/params.safetensors", "r+b") as file:
    file.seek(-5, os.SEEK_END)
    byte = file.read(1)
    file.seek(-1, os.SEEK_CUR)
    file.write(bytes([byte[0] ^ 1]))


@pytest.mark.parametrize("harm, words", [
    (lambda folder: os.remove(f"{folder}/export.json"), "is not an export: it has no export.json"),
    (lambda folder: _write(folder, "export.json", "{"), "is not the export.json of an export .JSONDecodeError"),
    (lambda folder: _write(folder, "export.json", "[1]"), "is not the export.json of an export .TypeError"),
    (lambda folder: _write(folder, "export.json", '{"version": 1}'), "is not the export.json of an export .KeyError: 'format'"),
    (_manifest(format="something else"), "format 'something else'"),
    (_manifest(version="1"), "version '1'"),
    (_manifest(version=2), "is an export of version 2, and this pdr_jax reads version 1: upgrade pdr_jax"),
    (_manifest(version=0), "version 0, and this pdr_jax reads version 1: export the model again"),
    (_manifest(programs=["encode", "../../encode"]), r"export.json is damaged .program '../../encode'."),
    (_manifest(side="32", files=[]), "export.json is damaged .side, files."),
    (_manifest(side=-1), "export.json is damaged .side."),
    (_cut("params.safetensors"), "params.safetensors is not the file that was exported, it is damaged"),
    (_flip, "params.safetensors is not the file that was exported, it is damaged"),
    (_cut("decompose.stablehlo"), "decompose.stablehlo is not the file that was exported"),
    (lambda folder: os.remove(f"{folder}/encode.stablehlo"), "encode.stablehlo is missing from the export"),
    (lambda folder: os.remove(f"{folder}/config.json"), "config.json is missing from the export"),
])
def test_a_damaged_export_is_named(exported, tmp_path, harm, words):
  folder = str(tmp_path / "copy")
  shutil.copytree(exported, folder)
  harm(folder)
  with pytest.raises(UserError, match=words) as error:
    pdr_jax.load(folder)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", ["nothing_here", "a_file"])
def test_what_is_not_there_is_no_export(tmp_path, path):
  (tmp_path / "a_file").write_text("x")
  with pytest.raises(UserError, match=f"{path} is not an export: it has no export.json"):
    pdr_jax.load(str(tmp_path / path))


def test_without_a_folder_the_shipped_model_is_read(exported, tmp_path, monkeypatch):
  monkeypatch.setattr(reader, "SHIPPED", str(tmp_path))
  with pytest.raises(UserError, match="no model is shipped with this installation"):
    pdr_jax.load()
  monkeypatch.setattr(reader, "SHIPPED", exported)
  assert pdr_jax.load().manifest["step"] == STEP


# ---------------------------------------------------------------- the program


@pytest.mark.parametrize("words, message", [
    (["--out=x"], "the following arguments are required: --workdir"),
    (["--out=x", "--workdir={run}", "--forse"], "unrecognized arguments: --forse"),
    (["--out=x", "--workdir={run}", "--checkpoint=newest"], "--checkpoint=newest: must be best, latest, or a step"),
    (["--out=x", "--workdir={run}", "--checkpoint=8"], "no checkpoint of step 8 in .*: there are 7"),
    (["--out=x", "--workdir=nowhere"], "nowhere is not a run directory"),
    (["--out={exported}", "--workdir={run}"], "is not empty: choose another folder, or pass --force"),
    (["--out={exported}/README.md", "--workdir={run}"], "README.md is a file: name a folder"),
])
def test_mistakes_are_one_line_and_change_nothing(run, exported, words, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  before = {name: os.stat(f"{exported}/{name}").st_mtime_ns for name in os.listdir(exported)}
  with pytest.raises(UserError, match=message):
    export.main(["export", *(word.format(run=run, exported=exported) for word in words)])
  assert before == {name: os.stat(f"{exported}/{name}").st_mtime_ns for name in os.listdir(exported)} and not os.listdir(tmp_path)


def test_parameters_of_another_model_are_listed(tmp_path):
  with pytest.raises(UserError, match=r"albedo/decoder/expand/kernel \(float32\[4, 4, 12, 32\], the model's is float32\[4, 4, 16, 32\]\)"):
    writer.write(str(tmp_path / "x"), small_config(zdim=16), random_params(small_config()), {})
  assert not (tmp_path / "x").exists()


def test_force_keeps_other_files_and_an_interruption_leaves_no_export(exported, tmp_path, monkeypatch):
  folder = str(tmp_path / "copy")
  shutil.copytree(exported, folder)
  _write(folder, "notes.txt", "mine")
  writer.check_target(folder, force=True)
  monkeypatch.setattr(writer, "programs", lambda *_: {})
  monkeypatch.setattr(writer, "write_atomically", lambda path, write: (_ for _ in ()).throw(OSError(28, "No space left on device")))
  with pytest.raises(UserError, match="cannot be written to: No space left on device"):
    writer.write(folder, small_config(), random_params(small_config()), {})
  assert open(f"{folder}/notes.txt").read() == "mine"
  with pytest.raises(UserError, match="is not an export"):
    pdr_jax.load(folder)


def test_a_configuration_of_an_older_version_is_named_by_its_keys(tmp_path):
  config = small_config()
  del config.networks["vector_tanh"]
  with pytest.raises(UserError, match=r"the configuration lacks networks\.vector_tanh: an older pdr_jax wrote it"):
    writer.write(str(tmp_path / "x"), config, {}, {})
