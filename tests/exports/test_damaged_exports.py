"""What is no export, or no longer one, is named; mistakes of the command are one line and change nothing."""

import json
import os
import shutil

import pytest
from support.exported import STEP, small_config, write_text

import pdr_jax
from pdr_jax import export
from pdr_jax.errors import UserError
from pdr_jax.exports import reader, writer

# ---------------------------------------------------------------- folders that are no export


def _manifest(**changes):
  return lambda folder: write_text(folder, "export.json", json.dumps(reader.read_manifest(folder) | changes))


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


@pytest.mark.parametrize(
  "harm, words",
  [
    (lambda folder: os.remove(f"{folder}/export.json"), "is not an export: it has no export.json"),
    (
      lambda folder: write_text(folder, "export.json", "{"),
      "is not the export.json of an export .JSONDecodeError",
    ),
    (
      lambda folder: write_text(folder, "export.json", "[1]"),
      "is not the export.json of an export .TypeError",
    ),
    (
      lambda folder: write_text(folder, "export.json", '{"version": 1}'),
      "is not the export.json of an export .KeyError: 'format'",
    ),
    (_manifest(format="something else"), "format 'something else'"),
    (_manifest(version="1"), "version '1'"),
    (
      _manifest(version=4),
      "is an export of version 4, and this pdr_jax reads versions 1 to 3: upgrade pdr_jax",
    ),
    (_manifest(version=0), "version 0, and this pdr_jax reads versions 1 to 3: export the model again"),
    (_manifest(programs=["encode", "../../encode"]), r"export.json is damaged .program '../../encode'."),
    (_manifest(parameters="float8"), "export.json is damaged .parameters."),
    (_manifest(side="32", files=[]), "export.json is damaged .side, files."),
    (_manifest(side=-1), "export.json is damaged .side."),
    (_manifest(input="clip"), "export.json is damaged .elements."),
    (_manifest(elements={"image": {}}), "export.json is damaged .elements."),
    (_cut("params.safetensors"), "params.safetensors is not the file that was exported, it is damaged"),
    (_flip, "params.safetensors is not the file that was exported, it is damaged"),
    (_cut("decompose.stablehlo"), "decompose.stablehlo is not the file that was exported"),
    (lambda folder: os.remove(f"{folder}/encode.stablehlo"), "encode.stablehlo is missing from the export"),
    (lambda folder: os.remove(f"{folder}/config.json"), "config.json is missing from the export"),
  ],
)
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


@pytest.mark.parametrize(
  "words, message",
  [
    (["--out=x"], "missing: --workdir"),
    (
      ["--out=x", "--workdir={run}", "--forse"],
      "--forse is no flag of python -m pdr_jax.export; did you mean --force",
    ),
    (
      ["--out=x", "--workdir={run}", "--checkpoint=newest"],
      "--checkpoint=newest: must be best, latest, or a step",
    ),
    (["--out=x", "--workdir={run}", "--checkpoint=8"], "no checkpoint of step 8 in .*: there are 7"),
    (["--out=x", "--workdir=nowhere"], "nowhere is not a run directory"),
    (["--out={exported}", "--workdir={run}"], "is not empty: choose another folder, or pass --force"),
    (["--out={exported}/README.md", "--workdir={run}"], "README.md is a file: name a folder"),
  ],
)
def test_mistakes_are_one_line_and_change_nothing(run, exported, words, message, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  before = {name: os.stat(f"{exported}/{name}").st_mtime_ns for name in os.listdir(exported)}
  with pytest.raises(UserError, match=message):
    export.main(["export", *(word.format(run=run, exported=exported) for word in words)])
  assert before == {
    name: os.stat(f"{exported}/{name}").st_mtime_ns for name in os.listdir(exported)
  } and not os.listdir(tmp_path)


def test_parameters_of_another_model_are_listed(tmp_path, variables):
  words = r"albedo/decoder/expand/kernel \(float32\[4, 4, 6, 16\], the model's is float32\[4, 4, 8, 16\]\)"
  with pytest.raises(UserError, match=words):
    writer.write(str(tmp_path / "x"), small_config(zdim=8), variables, {})
  assert not (tmp_path / "x").exists()


def test_force_keeps_other_files_and_an_interruption_leaves_no_export(
  exported, variables, tmp_path, monkeypatch
):
  folder = str(tmp_path / "copy")
  shutil.copytree(exported, folder)
  write_text(folder, "notes.txt", "mine")
  writer.check_target(folder, force=True)
  monkeypatch.setattr(writer, "programs", lambda *_: {})

  def full(path, write):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(writer, "write_atomically", full)
  with pytest.raises(UserError, match="cannot be written to: No space left on device"):
    writer.write(folder, small_config(), variables, {})
  assert open(f"{folder}/notes.txt").read() == "mine"
  with pytest.raises(UserError, match="is not an export"):
    pdr_jax.load(folder)


def test_a_configuration_of_an_older_version_is_named_by_its_keys(tmp_path):
  config = small_config()
  del config.networks["vector_tanh"]
  with pytest.raises(
    UserError, match=r"the configuration lacks networks\.vector_tanh: an older pdr_jax wrote it"
  ):
    writer.write(str(tmp_path / "x"), config, {}, {})
