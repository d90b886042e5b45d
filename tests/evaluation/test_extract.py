"""Extraction: every example once, in order, whatever batches and devices.

The cache gives back what was computed.
"""

import numpy as np
import pytest

from pdr_jax.evaluation import extract, representations


def batches(inputs, size, key="image", **labels):
  """Batches of `size` with the last one padded by the first input."""
  for start in range(0, len(inputs), size):
    rows = np.arange(start, start + size)
    inside = rows < len(inputs)
    rows = np.where(inside, rows, 0)
    others = {name: values[rows] for name, values in labels.items()}
    yield {key: inputs[rows], "_mask": inside.astype(np.float32), **others}


@pytest.fixture
def images():
  return np.random.default_rng(0).uniform(-1, 1, (10, 4, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [4, 8, 12])
def test_every_example_once_and_in_order(images, size):
  who, light = np.arange(10, dtype=np.int64), np.arange(90, dtype=np.float32).reshape(10, 9)
  age, absent = np.arange(10, dtype=np.float32) / 4, np.arange(10) == 9
  labels = {"label/who": who, "label/age": age, "missing/age": absent, "light": light}

  def encode(x):
    return {"mean": x.mean(axis=(1, 2)), "first": x[:, 0, 0]}

  classes = {"label/who": ("a", "b"), "label/age": ()}
  result = extract.extract(encode, batches(images, size, **labels), classes)
  # Means of 16 float32 numbers of at most 1.
  np.testing.assert_allclose(result.blocks["mean"], images.mean(axis=(1, 2)), atol=16 * 1.2e-7)
  np.testing.assert_array_equal(result.blocks["first"], images[:, 0, 0])
  np.testing.assert_array_equal(result.labels["who"], who)
  np.testing.assert_array_equal(result.labels["age"], age)
  assert result.labels["who"].dtype == np.int32 and result.labels["age"].dtype == np.float64
  np.testing.assert_array_equal(np.stack([result.labels[f"light/{i}"] for i in range(9)], 1), light)
  assert result.classes == {"who": ("a", "b")}
  assert list(result.missing) == ["age"]  # of others nothing is missing, and of padding nothing counts
  np.testing.assert_array_equal(result.missing["age"], absent)


def test_clips_are_encoded_whole():
  clips = np.random.default_rng(1).uniform(-1, 1, (6, 5, 4, 4, 1)).astype(np.float32)

  def encode(x):
    return {"frames": x[:, :, 0, 0, 0], "maps": x[:, 0]}

  result = extract.extract(encode, batches(clips, 4, key="clip"), {}, "clip")
  np.testing.assert_array_equal(result.blocks["frames"], clips[:, :, 0, 0, 0])
  np.testing.assert_array_equal(result.blocks["maps"], clips[:, 0].reshape(6, -1))
  pixels = extract.extract(representations.pixels, batches(clips, 4, key="clip"), {}, "clip")
  np.testing.assert_array_equal(pixels.blocks["pixels"], clips.reshape(6, -1))


def test_the_cache_gives_back_the_same_and_survives_a_damaged_file(images, tmp_path):
  calls = []

  def compute():
    calls.append(1)
    labels = {"label/who": np.arange(10), "missing/who": np.arange(10) == 3}
    return extract.extract(representations.pixels, batches(images, 4, **labels), {"label/who": ("a",)})

  first, second = (extract.cached(str(tmp_path), "key", compute) for _ in range(2))
  assert len(calls) == 1 and second.classes == first.classes
  for part in ("blocks", "labels", "missing"):
    assert getattr(first, part).keys() == getattr(second, part).keys()
    for name, values in getattr(first, part).items():
      np.testing.assert_array_equal(values, getattr(second, part)[name])
  path = tmp_path / "key.npz"
  path.write_bytes(path.read_bytes()[:200])
  third = extract.cached(str(tmp_path), "key", compute)
  assert len(calls) == 2
  np.testing.assert_array_equal(first.blocks["pixels"], third.blocks["pixels"])


def test_fingerprints_differ_by_name_value_and_shape():
  a = np.arange(6, dtype=np.float32)
  others = [{"b": a}, {"a": a.reshape(2, 3)}, {"a": a.astype(np.float64)}, {"a": np.nextafter(a, 9)}]
  trees = [{"a": a}, *others, {"a": a, "b": a}]
  assert len({extract.fingerprint(tree) for tree in trees}) == len(trees)
  assert extract.fingerprint({"a": a}) == extract.fingerprint({"a": a.copy()})


def test_principal_components_against_the_singular_value_decomposition(images):
  encode = representations.principal_components(batches(images, 4), 3)
  result = np.asarray(encode(images)["pca"])
  rows = images.reshape(10, -1).astype(np.float64)
  left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
  # The sign of a component is free; sums of 48 float32 products of at most 2, and directions that a
  # randomised solver in float32 finds to a few 1e-6.
  np.testing.assert_allclose(np.abs(result), np.abs(left[:, :3] * values[:3]), atol=1e-4)
