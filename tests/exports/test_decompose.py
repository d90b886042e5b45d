"""The decompose program on pictures of every kind: what is written is what the model says.

Nothing is written over unasked. The model is a stand-in, so that no renderer is compiled; `test_export` holds
the real one against the run.
"""

import json
import os
import zipfile

import numpy as np
import pytest
from PIL import Image

import pdr_jax
from pdr_jax.cli import decompose, pictures
from pdr_jax.data import decode, label_files, stores
from pdr_jax.elements import Element
from pdr_jax.errors import UserError
from pdr_jax.exports import decomposition, reader

SIDE = 16


class StandIn:
  """Says about each picture what can be computed by hand; notes what it is asked for."""

  side = SIDE
  camera = {"near": 0.9, "far": 1.1, "fov": 10.0}  # noqa: RUF012
  manifest = {"method": "pdr", "step": 5}  # noqa: RUF012

  def __init__(self):
    self.seen, self.view = [], np.arange(6.0) / 10
    self.element = Element((SIDE, SIDE, 3), "float32", "image", (-1.0, 1.0))

  def decompose(self, images):
    self.seen.append(np.asarray(images))
    count = len(images)

    def full(*shape):
      return np.ones((count, SIDE, SIDE, *shape), np.float32)

    depth = np.broadcast_to(np.linspace(0.95, 1.1, SIDE, dtype=np.float32), (count, SIDE, SIDE))
    mask = full()
    mask[:, :, -4:] = 0
    normal = full(3) * np.float32([0, 0.6, 0.8])
    light, view = np.arange(9.0)[None].repeat(count, 0), self.view[None].repeat(count, 0)
    return {
      "depth": depth,
      "albedo": images / 2,
      "normal": normal,
      "shading": full() * 1.5,
      "canonical": images,
      "reconstruction": full(3) * -1,
      "mask": mask,
      "light": light,
      "view": view,
    }


@pytest.fixture
def model(monkeypatch):
  stand_in = StandIn()
  monkeypatch.setattr(pdr_jax, "load", lambda folder: stand_in)
  monkeypatch.setattr(decomposition, "FRAMES", 8)
  monkeypatch.setattr(decomposition, "SHOWN_SIDE", 2 * SIDE)
  return stand_in


@pytest.fixture
def photos(tmp_path):
  """A gradient that is dark up and red on the left, saved in several ways."""
  folder = tmp_path / "photos"
  (folder / "more").mkdir(parents=True)
  row, column = np.mgrid[:SIDE, :SIDE] * 16
  picture = np.stack([row + 0 * column, column, 0 * row + 40], axis=-1).astype(np.uint8)
  Image.fromarray(picture).save(folder / "plain.png")
  exif = Image.Exif()
  exif[0x0112] = 6  # shown turned by a quarter to the right
  Image.fromarray(np.rot90(picture).copy()).save(folder / "turned.png", exif=exif)
  Image.fromarray(picture[..., 0]).save(folder / "more" / "grey.png")
  alpha = np.concatenate([picture, np.full((SIDE, SIDE, 1), 255, np.uint8)], axis=-1)
  alpha[:4, :4, 3] = 0
  Image.fromarray(alpha).save(folder / "plain.webp", lossless=True, exact=True)
  return str(folder), picture


def run(*words):
  return decompose.main(["decompose", *words])


def read(path):
  with Image.open(path) as image:
    return np.asarray(image)


def test_every_kind_of_picture_is_read_and_the_results_are_the_models(model, photos, tmp_path):
  folder, picture = photos
  out = str(tmp_path / "out")
  assert run("--export=x", f"--out={out}", folder) == 0
  assert sorted(os.listdir(out)) == [
    "decomposed.json",
    "more",
    "plain.png",
    "plain.webp",
    "turned",
  ]  # a suffix where needed
  names = [
    "albedo.png",
    "canonical.png",
    "depth.png",
    "factors.json",
    "input.png",
    "mesh.glb",
    "model_albedo.png",
    "normals.png",
    "reconstruction.png",
    "relit.gif",
    "shading.png",
    "texture.png",
    "turned.gif",
    "visibility.png",
  ]
  assert all(
    sorted(os.listdir(f"{out}/{name}")) == names
    for name in ("more/grey", "plain.png", "plain.webp", "turned")
  )

  grey = np.repeat(picture[..., :1], 3, axis=-1)
  blended = picture.copy()
  blended[:4, :4] = 255
  for name, expected in (
    ("plain.png", picture),
    ("turned", picture),
    ("more/grey", grey),
    ("plain.webp", blended),
  ):
    np.testing.assert_array_equal(read(f"{out}/{name}/input.png"), expected, err_msg=name)
  (seen,) = model.seen  # in one batch
  assert seen.shape == (4, SIDE, SIDE, 3) and seen.dtype == np.float32
  assert seen.min() == -1 and seen.max() == 1


def test_the_files_of_a_picture_say_what_the_model_says(model, photos, tmp_path):
  folder, picture = photos
  out = str(tmp_path / "out")
  assert run("--export=x", f"--out={out}", f"{folder}/plain.png") == 0
  (done,) = (os.path.join(out, name) for name in os.listdir(out) if name != "decomposed.json")
  albedo = (picture / 127.5 - 1) / 2
  np.testing.assert_allclose(read(f"{done}/model_albedo.png"), (albedo / 2 + 0.5) * 255, atol=0.51)
  depth = read(f"{done}/depth.png")
  assert depth.dtype == np.uint16
  np.testing.assert_allclose(depth[3] / 65535 * 0.2 + 0.9, np.linspace(0.95, 1.1, SIDE), atol=1e-5)
  np.testing.assert_allclose(read(f"{done}/normals.png")[0, 0], np.array([0.5, 0.8, 0.9]) * 255, atol=0.51)
  with open(f"{done}/factors.json") as file:
    factors = json.load(file)
  assert read(f"{done}/shading.png")[0, 0] == 255 and factors["png"]["shading"]["255"] == 1.5
  shown = read(f"{done}/reconstruction.png")
  assert (shown[:, :-4] == 0).all() and (shown[:, -4:] == 255).all()  # nothing was seen there: white
  assert factors["view"] == {"rx": 0.0, "ry": 0.1, "rz": 0.2, "tx": 0.3, "ty": 0.4, "tz": 0.5}
  assert factors["light"] == list(range(9))
  assert factors["picture"] == f"{folder}/plain.png" and factors["step"] == 5
  assert factors["png"]["depth"] == {"0": 0.9, "65535": 1.1}


def test_animations_go_around_and_to_both_sides(model, photos, tmp_path):
  model.view *= 0
  run("--export=x", f"--out={tmp_path}/out", f"{photos[0]}/plain.png")
  relit, turned = (Image.open(f"{tmp_path}/out/plain/{name}.gif") for name in ("relit", "turned"))
  assert (
    relit.n_frames == turned.n_frames == decomposition.FRAMES
    and relit.size == (2 * SIDE, 2 * SIDE)
    and relit.info["loop"] == 0
  )
  light, view = decomposition.circling_lights(()), decomposition.turning_views()
  assert light.shape == (decomposition.FRAMES, 9) and view.shape == (decomposition.FRAMES, 6)
  # Band 1 is y, z, x of where light travels: from the left (x > 0), then from above (y > 0), from the right,
  # from below.
  quarter = decomposition.FRAMES // 4
  assert (
    light[0, 3] > 0.5
    and light[quarter, 1] > 0.5
    and light[2 * quarter, 3] < -0.5
    and light[3 * quarter, 1] < -0.5
  )
  np.testing.assert_allclose(
    view[:, 1], -view[(-np.arange(decomposition.FRAMES)) % decomposition.FRAMES, 1], atol=1e-6
  )
  assert np.isclose(view[quarter, 1], np.deg2rad(30)) and not view[:, [0, 2, 3, 4, 5]].any()


def test_coloured_light_is_relit_in_three_colours():
  light = decomposition.circling_lights((3,))
  assert light.shape == (decomposition.FRAMES, 9, 3)
  np.testing.assert_array_equal(light[..., 1], decomposition.circling_lights(()))


def test_pictures_that_cannot_be_used_are_named_and_left_out(model, photos, tmp_path, capsys, monkeypatch):
  folder, _ = photos
  with open(f"{folder}/text.jpg", "w") as file:
    file.write("no picture")
  with open(f"{folder}/plain.png", "rb") as file, open(f"{folder}/cut.png", "wb") as cut:
    cut.write(file.read()[:-30])
  Image.new("L", (20000, 20)).save(f"{folder}/wide.png")
  monkeypatch.setattr(decode, "LARGEST", 300_000)
  assert run("--export=x", f"--out={tmp_path}/out", folder) == 0
  lines = [line for line in capsys.readouterr().err.splitlines() if "is left out" in line]
  assert sorted(line.split(":")[0] for line in lines) == [
    f"{folder}/{name} is left out" for name in ("cut.png", "text.jpg", "wide.png")
  ]
  assert any("20000x20 pixels are too many" in line for line in lines) and any(
    "not a readable image" in line for line in lines
  )
  assert sum(len(files) for _, _, files in os.walk(tmp_path / "out")) == 4 * 14 + 1  # and the manifest

  with pytest.raises(UserError, match="none of the 1 pictures can be used; see the reasons above"):
    run("--export=x", f"--out={tmp_path}/none", f"{folder}/text.jpg")
  assert not os.path.exists(tmp_path / "none")


def test_long_picture_is_cut_to_its_centre_or_to_the_crop(model, tmp_path):
  wide = np.zeros((20, 20000, 3), np.uint8)
  wide[:, :40, 0] = wide[:, 9980:10020, 1] = 255
  Image.fromarray(wide).save(tmp_path / "wide.png")
  run("--export=x", f"--out={tmp_path}/centre", f"{tmp_path}/wide.png")
  run("--export=x", f"--out={tmp_path}/left", f"{tmp_path}/wide.png", "--crop", "0", "0", "20", "20")
  assert (read(tmp_path / "centre/wide/input.png") == [0, 255, 0]).all() and (
    read(tmp_path / "left/wide/input.png") == [255, 0, 0]
  ).all()


def test_a_grey_model_gets_luminance_and_one_of_clips_is_refused(model, photos, tmp_path):
  model.element = Element((SIDE, SIDE, 1), "float32", "image", (-1.0, 1.0))
  run("--export=x", f"--out={tmp_path}/out", f"{photos[0]}/plain.png")
  luminance = np.asarray(Image.fromarray(photos[1]).convert("L"))
  np.testing.assert_array_equal(read(f"{tmp_path}/out/plain/input.png"), luminance)
  assert model.seen[0].shape == (1, SIDE, SIDE, 1)
  model.element = Element((4, SIDE, SIDE, 3), "float32", "clip", (-1.0, 1.0))
  with pytest.raises(UserError, match=r"takes float32 \[4, 16, 16, 3\], and decompose gives"):
    run("--export=x", f"--out={tmp_path}/clips", f"{photos[0]}/plain.png")


def test_batches_have_one_size(model, photos, tmp_path, monkeypatch):
  monkeypatch.setattr(pictures, "BATCH", 3)
  run("--export=x", f"--out={tmp_path}/out", photos[0])
  assert [batch.shape[0] for batch in model.seen] == [3, 3]
  assert sum("factors.json" in files for _, _, files in os.walk(tmp_path / "out")) == 4


def test_nothing_is_written_over_without_force(model, photos, tmp_path):
  words = ["--export=x", f"--out={tmp_path}/out", f"{photos[0]}/more"]
  run(*words)
  (tmp_path / "out/grey/albedo.png").write_text("precious")
  with pytest.raises(UserError, match="out/grey exists already: choose another --out, or pass --force"):
    run(*words)
  assert (tmp_path / "out/grey/albedo.png").read_text() == "precious"
  run(*words, "--force", "--mesh=ply", "--lit_mesh")
  assert (
    read(tmp_path / "out/grey/albedo.png").shape == (SIDE, SIDE, 3)
    and (tmp_path / "out/grey/mesh.ply").exists()
  )


def test_results_inside_the_folder_are_no_pictures(model, photos, tmp_path):
  run("--export=x", f"--out={photos[0]}/out", photos[0])
  run("--export=x", f"--out={photos[0]}/out", photos[0], "--force")
  assert len(model.seen[1]) == 4
  run("--export=x", f"--out={tmp_path}/another", photos[0])  # the results of any --out are known
  assert len(model.seen[2]) == 4


def test_results_beside_the_pictures_are_no_pictures(model, photos, tmp_path):
  folder, picture = photos
  with pytest.raises(
    UserError, match=r"plain\.png is a file, and the results of .*/plain\.png need a folder of that name"
  ):
    run("--export=x", f"--out={folder}", folder, "--force")
  os.remove(f"{folder}/plain.webp")  # plain.png now needs no suffix
  os.makedirs(f"{folder}/mine")
  Image.fromarray(picture).save(f"{folder}/mine/albedo.png")  # called as a result is, and none
  for _ in range(2):
    run("--export=x", f"--out={folder}", folder, "--force")
  assert [len(images) for images in model.seen] == [4, 4]
  with pytest.raises(UserError, match="no picture in"):
    run("--export=x", f"--out={tmp_path}/x", f"{folder}/turned")  # nothing but results
  with open(f"{folder}/decomposed.json", "w") as file:
    file.write("{")
  with pytest.raises(UserError, match=r"decomposed\.json is damaged"):
    run("--export=x", f"--out={folder}", folder, "--force")


def test_zips_and_other_formats_are_read(model, photos, tmp_path, capsys):
  _, picture = photos
  other = Image.fromarray(picture[::-1].copy())
  other.save(f"{tmp_path}/a.tiff")
  Image.fromarray(picture).save(
    f"{tmp_path}/a.gif", save_all=True, append_images=[other]
  )  # the first frame counts
  with zipfile.ZipFile(f"{tmp_path}/photos.zip", "w") as file:
    for name in ("a.tiff", "a.gif"):
      file.write(f"{tmp_path}/{name}", f"../in/{name}")
    file.writestr("phone.heic", b"x")
    file.writestr("__MACOSX/._a.gif", b"x")
  assert run("--export=x", f"--out={tmp_path}/out", f"{tmp_path}/photos.zip") == 0
  assert sorted(os.listdir(f"{tmp_path}/out/in")) == ["a.gif", "a.tiff"] and not os.path.exists(
    f"{tmp_path}/in"
  )
  np.testing.assert_array_equal(read(f"{tmp_path}/out/in/a.tiff/input.png"), picture[::-1])
  shown = read(f"{tmp_path}/out/in/a.gif/input.png").astype(int)
  assert (
    np.abs(shown - picture).mean() < 12 < np.abs(shown - picture[::-1]).mean()
  )  # a palette of 256 colours
  assert "left out 1 pictures of a format that is not read (.heic 1)" in capsys.readouterr().err


class Frontal(StandIn):
  """Every picture is a flat face that looks straight ahead in white light of strength 1."""

  def decompose(self, images):
    parts = super().decompose(images)
    parts["depth"], parts["shading"] = np.ones_like(parts["depth"]), np.ones_like(parts["shading"])
    parts["normal"] = np.zeros_like(parts["normal"]) + np.float32([0, 0, 1])
    parts["view"] = np.zeros_like(parts["view"])
    return parts


def test_normalised_pictures_keep_names_and_labels(photos, tmp_path, monkeypatch, capsys):
  """What is seen from the front in flat light stays as it is, at its own side of 32 pixels."""
  monkeypatch.setattr(pdr_jax, "load", lambda folder: Frontal())
  folder, picture = photos
  large = picture.repeat(2, 0).repeat(2, 1)
  Image.fromarray(large).save(f"{folder}/plain.png")
  with open(f"{folder}/labels.csv", "w") as file:
    file.write("file,age,mood,roll\nplain.png,31.5,glad,0.5\nturned.png,7,sad,1.5\n")
    file.write("plain.webp,,glad,2.5\nmore/grey.png,3,sad,3.5\n")
  out = str(tmp_path / "out")
  words = ["--export=x", f"--out={out}", folder, "--normalize_only"]
  assert run(*words) == 0
  assert "[4 of 4]" in capsys.readouterr().out
  np.testing.assert_allclose(read(f"{out}/plain.png.png").astype(int), large, atol=1)  # names stay apart
  np.testing.assert_allclose(read(f"{out}/turned.png").astype(int), picture, atol=1)
  store = stores.Folder(out)
  assert store.names == ["more/grey.png", "plain.png.png", "plain.webp.png", "turned.png"]
  columns = label_files.read(store, {}).columns
  assert [columns["mood"].classes[k] for k in columns["mood"].values] == ["sad", "glad", "glad", "sad"]
  np.testing.assert_array_equal(columns["age"].values[[0, 1, 3]], [3, 31.5, 7])
  assert list(columns["age"].missing) == [False, False, True, False]
  np.testing.assert_array_equal(columns["yaw"].values, 0)
  np.testing.assert_array_equal(columns["roll"].values, [3.5, 0.5, 2.5, 1.5])  # the user's
  np.testing.assert_array_equal(columns["normalized_roll"].values, 0)
  with pytest.raises(UserError, match="exists already: choose another --out, or pass --force"):
    run(*words)
  run(*words, "--force")
  inside = [*words[:1], f"--out={folder}/frontal", folder, "--normalize_only"]
  run(*inside)
  run(*inside, "--force")
  assert capsys.readouterr().out.count("[4 of 4]") == 3  # results are no pictures
  with pytest.raises(UserError, match="no picture in"):
    run("--export=x", f"--out={tmp_path}/again", f"{out}/more")
  assert "frontal" not in "".join(stores.Folder(folder).names)  # beside the originals they are no data
  assert stores.Folder(f"{folder}/frontal").names == store.names


def test_force_never_writes_over_a_file_of_the_users(model, photos, monkeypatch):
  folder, picture = photos
  words = ["--export=x", f"--out={folder}/more", f"{folder}/more", "--force"]
  with pytest.raises(UserError, match=r"more/grey\.png is a file of yours: no earlier start has written it"):
    run(*words, "--normalize_only")
  os.makedirs(f"{folder}/more/grey")
  Image.fromarray(picture).save(f"{folder}/more/grey/depth.png")
  with pytest.raises(UserError, match=r"grey/depth\.png is a file of yours"):
    run(*words)
  np.testing.assert_array_equal(read(f"{folder}/more/grey/depth.png"), picture)
  assert not os.path.exists(f"{folder}/more/decomposed.json")


def test_a_photograph_keeps_its_own_resolution_up_to_a_limit(photos, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr(pdr_jax, "load", lambda folder: Frontal())
  for side in (12, 50):
    Image.new("RGB", (side + 8, side), (90, 120, 60)).save(tmp_path / f"{side}.png")
  monkeypatch.setattr(decode, "SMALLEST", 8)
  pictures_of = [str(tmp_path / "12.png"), str(tmp_path / "50.png")]
  run("--export=x", f"--out={tmp_path}/out", *pictures_of)
  assert "has 12 pixels a side, fewer than the model's 16: it is enlarged" in capsys.readouterr().err
  assert read(f"{tmp_path}/out/12/albedo.png").shape == (16, 16, 3)
  for name in ("input", "albedo", "texture", "normals", "canonical"):
    assert read(f"{tmp_path}/out/50/{name}.png").shape == (32, 32, 3)
  np.testing.assert_allclose(read(f"{tmp_path}/out/50/albedo.png").astype(int) - [90, 120, 60], 0, atol=1)
  sides = [pictures.own_side(pixels, 20, 512) for pixels in (10, 20, 50, 64, 511, 2000)]
  assert sides == [20, 20, 32, 64, 480, 512]


def test_a_view_that_shows_no_face_is_named(model, photos, tmp_path, capsys):
  """The first stand-in moves everything out of the picture: the albedo is the model's own."""
  run("--export=x", f"--out={tmp_path}/out", f"{photos[0]}/plain.png")
  assert "is not seen from this view: colours are those of the model's albedo" in capsys.readouterr().err
  done = f"{tmp_path}/out/plain"
  np.testing.assert_array_equal(read(f"{done}/albedo.png"), read(f"{done}/model_albedo.png"))


@pytest.mark.parametrize(
  "words, message",
  [
    (["--export=x", "--out=o"], "missing: PICTURE_OR_FOLDER_OR_ZIP"),
    (["--export=x", "--out=o", "absent.png"], r"absent\.png does not exist"),
    (["--export=x", "--out=o", "{empty}"], "no picture in .*empty"),
    (["--export=x", "--out=o", "{folder}", "{folder}/more"], "two pictures would go to .*/o/grey.png"),
    (["--export=x", "--out=o", "{folder}", "--mesh=stl"], "--mesh: invalid choice: 'stl'"),
    (["--export=x", "--out=o", "{folder}", "--crop", "5", "0", "5", "9"], "with left < right"),
    (["--export={empty}", "--out=o", "{folder}"], "empty is not an export: it has no export.json"),
    (["--out=o", "{folder}"], "no model is shipped with this installation"),
  ],
)
def test_mistakes_are_one_line(photos, tmp_path, monkeypatch, words, message):
  (tmp_path / "empty").mkdir()
  monkeypatch.setattr(reader, "SHIPPED", str(tmp_path / "empty"))
  before = sorted(os.listdir(tmp_path))
  monkeypatch.chdir(tmp_path)
  Image.new("RGB", (20, 20)).save(f"{photos[0]}/grey.png")
  with pytest.raises(UserError, match=message) as error:
    run(*(word.format(folder=photos[0], empty=tmp_path / "empty") for word in words))
  assert "\n" not in str(error.value) and sorted(os.listdir(tmp_path)) == before
