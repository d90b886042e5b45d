"""Heads of the ICT-FaceKit model: read from its folder or a packed file, upright, symmetric."""

import pathlib

import jax
import numpy as np
import pytest
from scene_oracles import camera_vertices, cast, pixel_rays
from support.configs import data_config

from pdr_jax.data.scenes import builder, head_mesh, heads, ict_faces, ict_mesh, render_scene
from pdr_jax.errors import UserError

ROOT = pathlib.Path(__file__).parents[2]
SIDE = 32
COUNT = builder.BATCH


def small_data(tmp_path, name, **data):
  sizes = dict(side=SIDE, train_examples=2, val_examples=1)
  return data_config(name, cache_dir=str(tmp_path / "cache"), **sizes, **data).data


def fake_parts():
  """A small model in the ICT model's units and axes.

  It has the embedded head's own shape, two identities and three expressions.
  """
  model = heads.shape_model()

  def centimetres(a):
    return (a * ict_mesh.CENTIMETRES).astype(np.float32)

  neutral = centimetres(model.coords) + ict_mesh.ORIGIN.astype(np.float32)
  flip = np.array([1, -1, -1], np.float32) / head_mesh.UNIT
  modes = dict(zip(model.names, centimetres(model.modes * flip), strict=True))
  return {
    "neutral": neutral,
    "faces": model.faces[:, ::-1],
    "identity": np.stack([modes["width"], modes["nose_forward"]]),
    "expression": np.stack([modes["mouth_open"], modes["smile"], modes["smile"]]),
    "names": ("jawOpen", "mouthSmile_L", "mouthSmile_R"),
  }


def write_npz(path, parts):
  np.savez(
    path,
    neutral=parts["neutral"],
    faces=parts["faces"],
    identity=parts["identity"].astype(np.float16),
    expression=parts["expression"].astype(np.float16),
    expression_names=np.array(parts["names"]),
  )


def write_folder(folder, parts, extra_vertices=5):
  """The layout of the official release: absolute meshes, textured quads, and parts after the skin.

  Those parts are not used.
  """
  folder.mkdir(parents=True)
  meshes = {"generic_neutral_mesh": 0 * parts["neutral"]}
  meshes |= {f"identity{k:03d}": delta for k, delta in enumerate(parts["identity"])}
  meshes |= dict(zip(parts["names"], parts["expression"], strict=True))
  count = len(parts["neutral"])
  for name, delta in meshes.items():
    lines = ["mtllib ICTFaceModelMaterial.mtl"] + [
      f"v {x:.9f} {y:.9f} {z:.9f}" for x, y, z in parts["neutral"] + delta
    ]
    lines += ["v 0 0 0"] * extra_vertices + ["vt 0.5 0.5", "usemtl skin"]
    faces = parts["faces"] + 1
    for k, (a, b, c) in enumerate(faces[:-1]):
      lines.append(f"f {a}/1/1 {b}/1/1 {c}/1/1" if k % 2 else f"f {a}/1 {b}/1 {c}/1")
    a, b, c = faces[-1]
    lines += [f"f {a} {b} {c} {a}", f"f {count + 1} {count + 2} {count + 3}"]
    (folder / f"{name}.obj").write_text("\n".join(lines) + "\n")


def test_ict_folder_and_npz_read_the_same(tmp_path, monkeypatch):
  parts = fake_parts()
  monkeypatch.setattr(ict_mesh, "SKIN_VERTICES", len(parts["neutral"]))
  write_npz(tmp_path / "model.npz", parts)
  write_folder(tmp_path / "release" / "FaceXModel", parts)
  packed = ict_mesh.read(str(tmp_path / "model.npz"))
  for path in ("release", "release/FaceXModel"):
    folder = ict_mesh.read(str(tmp_path / path))
    assert folder["names"] == packed["names"] == parts["names"]
    assert np.array_equal(folder["faces"][: len(parts["faces"])], parts["faces"])
    assert (
      len(folder["faces"]) == len(parts["faces"]) + 1
    )  # the last face is a quad here, and what is beyond the skin is left out
    for name in ("neutral", "identity", "expression"):
      np.testing.assert_allclose(folder[name], packed[name], atol=5e-3)


def test_ict_faces_render_the_right_way_round(tmp_path):
  write_npz(tmp_path / "model.npz", fake_parts())
  model = ict_faces.shape_model(str(tmp_path / "model.npz"))
  scene = builder.stack([ict_faces.draw(model, 2, "train", index)[0] for index in range(COUNT)])
  scene["view"] = 0 * scene["view"]
  render = jax.jit(lambda s: render_scene.render(model, s, SIDE))
  maps = jax.device_get(render(scene))
  assert maps["hit"].mean() > 0.4
  rays = pixel_rays(SIDE)
  vertices, _ = camera_vertices(model, scene, 0)
  for v, u in ((16, 16), (12, 11), (20, 18), (25, 15), (8, 22)):
    assert abs(cast(rays[v, u], vertices, model.faces) - maps["depth"][0, v, u]) < 2e-5
  middle = np.mean([maps["depth"][k, 12:22, 14:18].mean() for k in range(COUNT)])
  rim = np.mean([maps["depth"][k, 12:22][maps["hit"][k, 12:22]].max() for k in range(COUNT)])
  assert middle < rim - 0.02
  assert np.mean(maps["normal"][2][maps["hit"]] > 0) > 0.97  # into the scene
  assert model.names[-5:] == ict_mesh.HAIR and len(model.modes) == 2 + 3 + 5


def test_ict_expressions_are_the_same_on_both_sides(tmp_path):
  write_npz(tmp_path / "model.npz", fake_parts())
  model = ict_faces.shape_model(str(tmp_path / "model.npz"))
  weights = np.stack([ict_faces.draw(model, 0, "train", index)[0]["weights"] for index in range(200)])
  left, right = weights[:, model.names.index("mouthSmile_L")], weights[:, model.names.index("mouthSmile_R")]
  assert np.array_equal(left > 0, right > 0) and 0.2 < (left > 0).mean() < 0.6
  np.testing.assert_allclose(left, right, atol=0.4)
  assert weights[:, 2:5].min() >= 0 and weights[:, 2:5].max() <= 1.2
  assert 0.8 < weights[:, :2].std() < 1.2


@pytest.mark.parametrize(("path", "said"), [
    ("", "data.path is empty"), ("nowhere", "does not exist"), ("folder", "generic_neutral_mesh.obj"),
    ("bad.npz", "no packed ICT Face Model"), ("part.npz", "no packed ICT Face Model")])
def test_a_wrong_ict_path_is_one_line_that_names_the_key(tmp_path, path, said):
  (tmp_path / "folder").mkdir()
  (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 truncated")
  np.savez(tmp_path / "part.npz", neutral=np.zeros((3, 3)))
  with pytest.raises(UserError, match=r"data\.path") as caught:
    builder.prepared(
      ict_faces.IctFaces, small_data(tmp_path, "ict_faces", path=str(tmp_path / path) if path else "")
    )
  assert said in str(caught.value) and "\n" not in str(caught.value) and "ICT-FaceKit" in str(caught.value)


def test_impossible_sizes_and_folders_are_user_errors(tmp_path):
  data = small_data(tmp_path, "heads")
  data.train_examples = 0
  with pytest.raises(UserError, match=r"data\.train_examples=0"):
    builder.prepared(heads.Heads, data)
  (tmp_path / "file").write_text("")
  data = small_data(tmp_path, "heads")
  data.cache_dir = str(tmp_path / "file" / "cache")
  with pytest.raises(UserError, match=r"data\.cache_dir"):
    builder.prepared(heads.Heads, data)
