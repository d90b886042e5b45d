"""Extraction: every example once, in order, whatever the batches and devices; the cache gives back what was computed."""

import numpy as np
import pytest

from pdr_jax.evaluation import extract


def batches(images, size, **labels):
  """Batches of `size` with the last one padded by the first image."""
  for start in range(0, len(images), size):
    rows = np.arange(start, start + size)
    inside = rows < len(images)
    rows = np.where(inside, rows, 0)
    yield {"image": images[rows], "_mask": inside.astype(np.float32), **{name: values[rows] for name, values in labels.items()}}


@pytest.fixture
def images():
  return np.random.default_rng(0).uniform(-1, 1, (10, 4, 4, 3)).astype(np.float32)


@pytest.mark.parametrize("size", [4, 8, 12])
def test_every_example_once_and_in_order(images, size):
  who, light = np.arange(10, dtype=np.int32), np.arange(90, dtype=np.float32).reshape(10, 9)
  encode = lambda x: {"mean": x.mean(axis=(1, 2)), "first": x[:, 0, 0]}
  found = extract.extract(encode, batches(images, size, **{"label/who": who, "light": light}), {"label/who": ("a", "b"), "label/age": ()})
  np.testing.assert_allclose(found.blocks["mean"], images.mean(axis=(1, 2)), rtol=1e-6)
  np.testing.assert_array_equal(found.blocks["first"], images[:, 0, 0])
  np.testing.assert_array_equal(found.labels["who"], who)
  np.testing.assert_array_equal(np.stack([found.labels[f"light/{i}"] for i in range(9)], 1), light)
  assert found.classes == {"who": ("a", "b")}


def test_the_cache_gives_back_the_same_and_survives_a_damaged_file(images, tmp_path):
  calls = []

  def compute():
    calls.append(1)
    return extract.extract(extract.pixels, batches(images, 4, **{"label/who": np.arange(10)}), {"label/who": ("a",)})

  first, second = (extract.cached(str(tmp_path), "key", compute) for _ in range(2))
  assert len(calls) == 1 and second.classes == first.classes
  np.testing.assert_array_equal(first.blocks["pixels"], second.blocks["pixels"])
  np.testing.assert_array_equal(first.labels["who"], second.labels["who"])
  path = tmp_path / "key.npz"
  path.write_bytes(path.read_bytes()[:200])
  third = extract.cached(str(tmp_path), "key", compute)
  assert len(calls) == 2
  np.testing.assert_array_equal(first.blocks["pixels"], third.blocks["pixels"])


def test_fingerprints_differ_by_name_value_and_shape():
  a = np.arange(6, dtype=np.float32)
  trees = [{"a": a}, {"b": a}, {"a": a.reshape(2, 3)}, {"a": a.astype(np.float64)}, {"a": np.nextafter(a, 9)}, {"a": a, "b": a}]
  assert len({extract.fingerprint(tree) for tree in trees}) == len(trees)
  assert extract.fingerprint({"a": a}) == extract.fingerprint({"a": a.copy()})


def test_principal_components_against_the_singular_value_decomposition(images):
  encode = extract.principal_components(batches(images, 4), 3)
  found = np.asarray(encode(images)["pca"])
  rows = images.reshape(10, -1).astype(np.float64)
  left, values, _ = np.linalg.svd(rows - rows.mean(0), full_matrices=False)
  expected = left[:, :3] * values[:3]
  np.testing.assert_allclose(np.abs(found), np.abs(expected), atol=1e-4)  # the sign of a component is free
