"""Exports: the numbers of the run in another process with JAX alone.

`test_damaged_exports` tries every way in which a folder is no export.
"""

import json
import os
import shutil
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import exported_clips, toy_scene
from support.exported import SIDE, STEP, small_config, write_text
from support.programs import compiled

import pdr_jax
from pdr_jax import config as config_lib
from pdr_jax import export, methods
from pdr_jax.errors import UserError
from pdr_jax.exports import first_stage, model_card, reader, writer
from pdr_jax.training import run_dir, stages

# What the training code is made of. The reading process raises on importing any of it.
BLOCKED = (
  "flax",
  "optax",
  "orbax",
  "tensorflow_datasets",
  "grain",
  "ml_collections",
  "jaxtyping",
  "absl",
  "matplotlib",
  "PIL",
  "chex",
  "etils",
)
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
outputs = {{"encode/" + name: value for name, value in model.encode(given["images"]).items()}}
outputs |= {{"decompose/" + name: value for name, value in parts.items()}}
outputs |= {{"as_is/" + name: value for name, value in model.render(parts).items()}}
turned = model.render(one, light=given["lights"], view=given["views"])
outputs |= {{"turned/" + name: value for name, value in turned.items()}}
video, stage = pdr_jax.load({video!r}), pdr_jax.load({stage!r})
outputs["video/encode"] = video.encode(given["clips"])["content"]
outputs["video/normalize"] = video.normalize(given["clips"])["completed"]
outputs |= {{"normalize/" + name: value for name, value in model.normalize(given["images"]).items()}}
outputs["video/forecast"] = video.forecast(given["clips"])
outputs["video/generate"] = video.generate(3, seed=5)
outputs["stage/encode"] = stage.encode(given["clips"])["scaled"]
np.savez({outputs!r}, **outputs)
"""
# Two compilations of one program in float32: outputs of size 1, sums of at most some thousand terms; eps is
# 1.2e-7.
CLOSE = 2e-5
NEW = ("elements", "input", "camera", "rendered")  # what the first manifests do not say


def images(count, seed=0):
  return np.random.default_rng(seed).uniform(-1, 1, (count, SIDE, SIDE, 3)).astype(np.float32)


def clips(count):
  shape = (count, exported_clips.FRAMES, exported_clips.SIDE, exported_clips.SIDE, 1)
  return np.random.default_rng(2).uniform(0, 1, shape).astype(np.float32)


def initial_variables(method):
  return jax.tree.map(
    np.asarray, methods.inference_variables(method.init(jax.random.key(0), {"clip": clips(1)}))
  )


@pytest.fixture(scope="module")
def video(tmp_path_factory):
  """The export of a toy method of grey clips, and its variables."""
  folder = str(tmp_path_factory.mktemp("video"))
  config = config_lib.base("support.exported_clips")
  variables = initial_variables(methods.create(config))
  writer.write(folder, config, variables, {"step": 1})
  return folder, variables


@pytest.fixture(scope="module")
def stage(video, tmp_path_factory):
  """The export of a second stage on top of `video`, and its variables."""
  first_config = config_lib.base("support.exported_clips")
  first = methods.FirstStage(first_config, methods.create(first_config), video[1])
  config = config_lib.base("support.exported_stage")
  method = methods.create(config, first)
  variables = initial_variables(method)
  folder = str(tmp_path_factory.mktemp("stage"))
  record = {"config": first_config.to_dict(), "first": None}
  writer.write(folder, config, variables, {"step": 1}, method=method, first=record)
  return folder, variables


def test_programs_name_no_file_of_the_machine_that_exported(exported):
  here = os.path.dirname(os.path.dirname(pdr_jax.__file__))
  for name in os.listdir(exported):
    if name.endswith(".stablehlo"):
      with open(os.path.join(exported, name), "rb") as file:
        data = file.read()
      assert here.encode() not in data and b".py" not in data, name


@pytest.mark.slow
def test_another_process_with_jax_alone_gives_the_numbers_of_the_run(
  exported, variables, video, stage, tmp_path
):
  generator = np.random.default_rng(1)
  angles, shifts = generator.uniform(-0.5, 0.5, (3, 3)), generator.uniform(-0.05, 0.05, (3, 3))
  views = np.concatenate([angles, shifts], axis=1).astype(np.float32)
  lights = generator.uniform(-0.5, 1.5, (3, 9)).astype(np.float32)
  given, outputs = str(tmp_path / "given.npz"), str(tmp_path / "outputs.npz")
  np.savez(given, images=images(3), views=views, lights=lights, clips=clips(2))
  code = ELSEWHERE.format(
    blocked=BLOCKED, folder=exported, video=video[0], stage=stage[0], inputs=given, outputs=outputs
  )
  environment = {
    **os.environ,
    "PYTHONPATH": os.path.dirname(os.path.dirname(pdr_jax.__file__)),
    "JAX_COMPILATION_CACHE_DIR": jax.config.jax_compilation_cache_dir,
  }
  command = [sys.executable, "-c", code]
  done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
  with np.load(outputs) as file:
    elsewhere = dict(file)

  method = methods.create(small_config())

  def here(variables, images, lights, views):
    parts = method.decompose(variables, images)
    one = {name: jnp.broadcast_to(value[:1], value.shape) for name, value in parts.items()}
    turned = method.render(one, light=lights, view=views)
    return method.encode(variables, images), parts, turned, method.normalize(variables, images)

  blocks, parts, turned, normalized = compiled(here)(variables, images(3), lights, views)
  expected = {f"encode/{name}": value for name, value in blocks.items()}
  expected |= {f"decompose/{name}": value for name, value in parts.items()}
  expected |= {"as_is/image": parts["reconstruction"]}
  expected |= {f"as_is/{name}": parts[name] for name in ("mask", "depth_at_view")}
  expected |= {f"turned/{name}": value for name, value in turned.items()}
  expected |= {f"normalize/{name}": value for name, value in normalized.items()}
  expected |= expected_of_clips(video[1], stage[1])
  assert elsewhere.keys() == expected.keys()
  for name, value in expected.items():
    assert elsewhere[name].shape == value.shape and elsewhere[name].dtype == np.float32
    if not name.endswith("mask"):  # all ones where nothing is turned
      assert np.std(value) > 1e-4, f"{name}: a constant would agree with anything"
    # Where a pixel's centre lies on the outline of a turned surface, or a surface on the edge of what counts
    # as seen, two compilations may round it to either side.
    off = np.abs(elsewhere[name] - value) > CLOSE * max(1, np.abs(value).max())
    assert off.mean() <= (0.005 if name.startswith(("turned/", "normalize/")) else 0), (
      f"{name}: {off.sum()} of {off.size} differ"
    )
  assert (
    np.abs(np.diff(elsewhere["turned/image"], axis=0)).max() > 0.05
  )  # of one picture: lights and views differ


def expected_of_clips(variables, stage_variables):
  """What the toy methods say, by NumPy where that is as easy."""
  kernel, mean = variables["encoder"]["kernel"], variables["model_state"]["mean"]
  content = clips(2).reshape(2, -1) @ kernel - mean
  keys = jax.random.split(jax.random.key(5), 3)
  method = methods.create(config_lib.base("support.exported_clips"))
  shift = np.arange(1, 4, dtype=np.float32).reshape(1, 3, 1, 1, 1) * mean[0]
  np.testing.assert_array_equal(stage_variables["model_state"]["first"]["encoder"]["kernel"], kernel)
  return {
    "video/encode": content,
    "video/normalize": clips(2) - clips(2).mean(axis=(1, 2, 3, 4), keepdims=True),
    "video/forecast": clips(2)[:, -1:] + shift,
    "video/generate": np.stack([method.generate(variables, key, 1)[0] for key in keys]),
    "stage/encode": content * 3,
  }


def test_an_export_has_the_programs_of_the_capabilities_and_says_what_its_input_is(exported, video, stage):
  pdr, clip, second = (reader.read_manifest(folder) for folder in (exported, video[0], stage[0]))
  assert pdr["programs"] == ["encode", "decompose", "normalize", "render_view", "render_light"]
  assert clip["programs"] == ["encode", "normalize", "generate", "forecast"] and second["programs"] == [
    "encode"
  ]
  assert (pdr["input"], clip["input"]) == ("image", "clip") and list(clip["elements"]) == ["clip"]
  assert clip["elements"]["clip"]["shape"] == [3, 12, 12, 1] and clip["elements"]["clip"]["range"] == [
    0.0,
    1.0,
  ]
  assert pdr["version"] == clip["version"] == 2  # readers of version 1 know no `normalize`
  card = open(f"{video[0]}/README.md").read()
  assert (
    "blocks = model.encode(clips)  # clips [B, 3, 12, 12, 1], grey in [0, 1]" in card
    and "model.generate" in card
  )


def test_half_an_export_is_rounded_to_float16_and_computes_in_float32(video, tmp_path):
  folder, variables = video
  config = config_lib.base("support.exported_clips")
  writer.write(str(tmp_path / "half"), config, variables, {"step": 1}, half=True)
  manifest = reader.read_manifest(str(tmp_path / "half"))
  assert manifest["version"] == 3 and manifest["parameters"] == "float16"
  size = os.path.getsize(tmp_path / "half" / reader.PARAMS)
  assert 0.5 < size / os.path.getsize(f"{folder}/{reader.PARAMS}") < 0.6
  read, kernel = pdr_jax.load(str(tmp_path / "half")), variables["encoder"]["kernel"]
  assert read.variables["encoder"]["kernel"].dtype == np.float32
  np.testing.assert_allclose(read.variables["encoder"]["kernel"], kernel, rtol=2**-11, atol=2**-25)
  clips = np.random.default_rng(0).random((2, 3, 12, 12, 1), np.float32)
  exact = clips.reshape(2, -1) @ np.float64(np.asarray(kernel, np.float16)) - 0.25
  content = read.encode(clips)["content"]
  np.testing.assert_allclose(content, exact, atol=1e-4)
  assert content.dtype == np.float32


def test_only_float32_is_halved_up_to_the_largest_of_float16():
  flat = {"a": np.array([65504.0, -65504.0], np.float32), "n": np.array([7], np.int32)}
  half = writer._halved(flat)
  assert half["a"].dtype == np.float16 and half["a"].tolist() == [65504.0, -65504.0]
  assert half["n"].dtype == np.int32 and half["n"].tolist() == [7]


@pytest.mark.parametrize("half", [False, True])
def test_the_command_hands_half_on(run, tmp_path, monkeypatch, half):
  asked = []
  monkeypatch.setattr(writer, "write", lambda *_, **options: asked.append(options["half"]))
  words = [f"--workdir={run}", f"--out={tmp_path / 'out'}", *["--half"] * half]
  assert export.main(["export", *words]) == 0 and asked == [half]


def test_half_refuses_what_float16_cannot_hold(video, tmp_path):
  variables = jax.tree.map(np.array, video[1])
  for bad in (7e4, np.nan):
    variables["encoder"]["kernel"][3, 2] = bad
    with pytest.raises(UserError, match="--half: encoder/kernel has values that are not"):
      writer.write(
        str(tmp_path / "x"), config_lib.base("support.exported_clips"), variables, {"step": 1}, half=True
      )
  assert not (tmp_path / "x").exists()


def test_a_second_stage_is_complete_without_its_first(stage):
  """Another process finds the method and its variables in the folder alone."""
  folder, variables = stage
  method = stages.method_of(run_dir.read_config(folder), folder)
  read = reader.load_variables(folder)
  assert jax.tree.structure(read) == jax.tree.structure(variables)
  assert jax.tree.map(np.shape, read) == jax.tree.map(np.shape, variables)  # numbers stay numbers
  np.testing.assert_array_equal(
    method.encode(read, clips(1))["scaled"], method.encode(variables, clips(1))["scaled"]
  )


def test_a_second_stage_starts_from_an_export_as_from_a_run(video, stage, run, variables):
  record, read = first_stage.read(video[0])
  assert record["config"]["method"] == "support.exported_clips" and record["first"] is None
  assert all(map(np.array_equal, jax.tree.leaves(read), jax.tree.leaves(video[1])))
  assert first_stage.read(stage[0])[0]["first"]["config"]["method"] == "support.exported_clips"
  record, read = first_stage.read(run)
  assert record["config"]["method"] == "pdr"
  assert all(map(np.array_equal, jax.tree.leaves(read), jax.tree.leaves(variables)))


def test_the_first_exports_are_read(exported, variables, tmp_path):
  """Their manifest does not say what the input, the camera and the rendered parts are.

  Their config.json has the sections of all methods.
  """
  folder = str(tmp_path / "copy")
  shutil.copytree(exported, folder)
  manifest = reader.read_manifest(folder)
  old = {key: value for key, value in manifest.items() if key not in NEW}
  config = json.load(open(f"{folder}/config.json")) | {"simclr": {"crop": 0.08}}
  write_text(folder, "config.json", json.dumps(config))
  old["files"] = manifest["files"] | {"config.json": reader.digest(json.dumps(config).encode())}
  write_text(folder, "export.json", json.dumps(old))
  model = pdr_jax.load(folder)
  new = pdr_jax.load(exported)
  assert model.element == new.element and model.config["simclr"] == {"crop": 0.08}
  assert model.camera == new.camera == {"fov": 10.0, "near": 0.9, "far": 1.1}
  assert model.rendered == new.rendered == ("depth", "albedo", "canonical", "view")
  with pytest.raises(UserError, match=r"config\.json was written by an earlier pdr_jax"):
    run_dir.read_config(folder)


def test_the_shipped_model_is_whole_and_of_todays_configuration():
  manifest, config = reader.read_manifest(reader.SHIPPED), run_dir.read_config(reader.SHIPPED)
  assert config_lib.flatten(config).keys() == config_lib.flatten(config_lib.base("pdr")).keys()
  for name, checksum in manifest["files"].items():
    with open(os.path.join(reader.SHIPPED, name), "rb") as file:
      assert reader.digest(file.read()) == checksum, name
  model = pdr_jax.load()
  kernel = model.variables["depth"]["encoder"]["down0"]["kernel"]
  assert kernel.shape == (4, 4, 3, 16) and kernel.dtype == np.float32
  assert model.side == 64 and config.data.name == "faces" and manifest["parameters"] == "float16"
  assert sum(os.path.getsize(os.path.join(reader.SHIPPED, name)) for name in os.listdir(reader.SHIPPED)) < 6e6


def test_licences_come_from_the_module_of_the_data_source():
  assert "no third party" in model_card.licence_of("people") and "ICT Face Model" in model_card.licence_of(
    "ict_faces"
  )
  assert (
    model_card.licence_of("image_folder")
    == model_card.licence_of("no.such.module")
    == model_card.UNKNOWN_LICENCE
  )


def test_batches_above_the_largest_are_cut(exported):
  model = pdr_jax.load(exported)
  whole = model.encode(images(5))
  model.manifest["largest_batch"] = 2
  for name, block in model.encode(images(5)).items():
    assert block.shape == whole[name].shape
    np.testing.assert_allclose(block, whole[name], rtol=0, atol=CLOSE)


def test_manifest_configuration_and_card_say_what_it_is(exported, run, variables):
  manifest = reader.read_manifest(exported)
  assert manifest["method"] == "pdr" and manifest["side"] == SIDE and manifest["step"] == STEP
  assert manifest["metrics"] == {"val/side": 0.5} and manifest["platforms"] == ["cpu", "cuda", "tpu"]
  assert manifest["libraries"]["jax"] == jax.__version__ and "no third party" in manifest["licence"]
  assert run_dir.read_config(exported) == run_dir.read_config(run) == small_config()
  card = open(f"{exported}/README.md").read()
  assert (
    "| side | 0.5 | 0.8 |" in card
    and "constant depth" in card
    and "heads, 4000" not in card
    and "| steps | 7 |" in card
  )
  count = sum(leaf.size for leaf in jax.tree.leaves(variables))
  assert f"{count:,}" in card


def test_load_variables_gives_what_the_method_takes(exported, variables):
  read = reader.load_variables(exported)
  assert jax.tree.structure(read) == jax.tree.structure(variables)
  assert all(map(np.array_equal, jax.tree.leaves(read), jax.tree.leaves(variables)))


def test_a_method_without_a_capability_says_so(video):
  model = pdr_jax.load(video[0])
  with pytest.raises(UserError, match=r"a model of support\.exported_clips, which has no decompose"):
    model.decompose(clips(2))


@pytest.mark.parametrize(
  "given, words",
  [
    (np.zeros((2, 64, 64, 3)), r"takes images \[B, 32, 32, 3\] but got \[2, 64, 64, 3\]"),
    (np.zeros((32, 32, 3)), r"but got \[32, 32, 3\]"),
    (np.zeros((2, 32, 32, 3), np.uint8), r"in \[-1, 1\] but got uint8: use images / 127.5 - 1"),
    (np.zeros((0, 32, 32, 3)), "the batch is empty"),
    (np.full((1, 32, 32, 3), 255.0), r"in \[-1, 1\] but got values from 255 to 255: use images / 127.5 - 1"),
    (np.full((1, 32, 32, 3), np.nan), "values that are not finite"),
    ([np.zeros((32, 32, 3)), np.zeros((8, 8, 3))], "takes a NumPy or JAX array, not list"),
  ],
)
def test_images_that_the_model_does_not_take(exported, given, words):
  with pytest.raises(UserError, match=words):
    pdr_jax.load(exported).encode(given)


def test_pictures_from_0_to_1_are_warned_about(exported, recwarn):
  model, pictures = pdr_jax.load(exported), np.linspace(0, 1, 32 * 32 * 3).reshape(1, 32, 32, 3)
  with pytest.warns(UserWarning, match=r"in \[-1, 1\] but got values from 0 to 1: .* Then use 2 \*"):
    model.encode(pictures)
  recwarn.clear()
  model.encode(2 * pictures - 1)
  model.encode(0 * pictures)
  assert not recwarn.list


def test_tensors_of_pytorch_are_arrays_or_one_clear_error(exported):
  torch = pytest.importorskip("torch")
  model = pdr_jax.load(exported)
  pictures = np.random.default_rng(0).uniform(-1, 1, (1, 32, 32, 3)).astype(np.float32)
  blocks = model.encode(torch.from_numpy(pictures))
  assert all(map(np.array_equal, jax.tree.leaves(blocks), jax.tree.leaves(model.encode(pictures))))
  with pytest.raises(UserError, match=r"takes a NumPy or JAX array, not Tensor \(Can't call numpy"):
    model.encode(torch.from_numpy(pictures).requires_grad_())


def test_a_method_says_which_parts_it_renders_and_what_they_are_seen_by(tmp_path):
  config = toy_scene.config()
  method = methods.create(config)
  folder = str(tmp_path / "model")
  writer.write(folder, config, toy_scene.write_run(str(tmp_path / "run"), config), {"step": 1})
  model = pdr_jax.load(folder)
  assert model.rendered == ("depth", "canonical") and model.camera == {"fov": 10.0, "near": 0.9, "far": 1.1}
  parts = jax.device_get(model.decompose(images(2)[:, :8, :8]))
  given = {name: parts[name] for name in model.rendered}
  rendered = model.render(given, view=parts["view"])
  for name, value in method.render(given, view=parts["view"]).items():
    np.testing.assert_array_equal(rendered[name], value)  # nothing is computed: the parts themselves
  with pytest.raises(UserError, match="render needs the parts depth, canonical, view of decompose; view is"):
    model.render(given)


def test_parts_that_cannot_be_rendered(exported):
  model = pdr_jax.load(exported)
  parts = {
    name: np.zeros(shape)
    for name, shape in dict(
      depth=(3, 32, 32), albedo=(3, 32, 32, 3), canonical=(3, 32, 32, 3), view=(3, 6)
    ).items()
  }
  with pytest.raises(UserError, match="albedo, view is missing"):
    model.render({"depth": parts["depth"], "canonical": parts["canonical"]})
  with pytest.raises(UserError, match=r"batches of \[2, 3\]; they must be equal, or 1"):
    model.render(parts, view=np.zeros((2, 6)))
