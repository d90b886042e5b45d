"""Patches and positions against loops, the transformer block against float64 NumPy."""

import jax
import numpy as np
from support.programs import compiled
from support.tolerances import rounding, sum_tolerance

from pdr_jax.networks import vit

GRID, PATCH, CHANNELS, WIDTH, HEADS = 3, 2, 3, 8, 2
SIDE, COUNT = GRID * PATCH, GRID * GRID


def pictures():
  return np.random.default_rng(0).uniform(-1, 1, (2, SIDE, SIDE, CHANNELS)).astype(np.float32)


def test_patches_are_cut_row_by_row_and_put_back():
  images = pictures()
  patches = np.asarray(vit.to_patches(images, PATCH))
  for place in range(COUNT):
    row, column = PATCH * (place // GRID), PATCH * (place % GRID)
    cut = images[:, row : row + PATCH, column : column + PATCH]
    np.testing.assert_array_equal(patches[:, place], cut.reshape(2, -1))
  np.testing.assert_array_equal(vit.to_images(patches, PATCH), images)


def test_positions_are_sines_and_cosines_of_column_and_row():
  table = vit.positions(GRID, WIDTH)
  assert table.shape == (COUNT, WIDTH)
  for place in range(COUNT):
    row, column = divmod(place, GRID)
    slow = 10_000.0 ** (-1 / 2)
    expected = [f(x * w) for x in (column, row) for f in (np.sin, np.cos) for w in (1.0, slow)]
    np.testing.assert_allclose(table[place], expected, rtol=0, atol=rounding(1))  # rounded once, to float32
  assert len(np.unique(table, axis=0)) == COUNT


def normalized(x, params):
  centred = x - x.mean(axis=-1, keepdims=True)
  deviation = np.sqrt(np.square(centred).mean(axis=-1, keepdims=True) + 1e-6)
  return centred / deviation * params["scale"] + params["bias"]


def naive_block(x, p):
  """One picture `[N, W]` token by token, head by head, in float64."""
  y, a = normalized(x, p["attention_norm"]), p["attention"]
  out = np.zeros_like(x)
  for head in range(HEADS):
    query, key, value = (
      y @ a[name]["kernel"][:, head] + a[name]["bias"][head] for name in ("query", "key", "value")
    )
    for i in range(len(x)):
      scores = np.array([query[i] @ k for k in key]) / (WIDTH / HEADS) ** 0.5
      weights = np.exp(scores - scores.max())
      out[i] += (weights / weights.sum()) @ value @ a["out"]["kernel"][head]
  x = x + out + a["out"]["bias"]
  y = normalized(x, p["mlp_norm"])
  h = y @ p["mlp_in"]["kernel"] + p["mlp_in"]["bias"]
  h = 0.5 * h * (1 + np.tanh((2 / np.pi) ** 0.5 * (h + 0.044715 * h**3)))
  return x + h @ p["mlp_out"]["kernel"] + p["mlp_out"]["bias"]


def test_block_is_the_naive_one():
  tokens = np.random.default_rng(1).normal(size=(2, COUNT, WIDTH)).astype(np.float32)
  block = vit.Block(HEADS)
  params = compiled(block.init)(jax.random.key(0), tokens)["params"]
  rng = np.random.default_rng(2)
  params = jax.tree.map(lambda leaf: np.float32(leaf + 0.1 * rng.normal(size=leaf.shape)), params)
  found = compiled(block.apply)({"params": params}, tokens)
  wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  for one, result in zip(tokens.astype(np.float64), found, strict=True):
    # four products with kernels of at most 32 terms of numbers of about one, after each other
    np.testing.assert_allclose(result, naive_block(one, wide), rtol=0, atol=4 * sum_tolerance(32))


def test_decoder_puts_every_vector_at_its_place():
  """A decoder of depth 0 is its last normalisation and head, patch by patch."""
  rng = np.random.default_rng(2)
  order = rng.permutation(COUNT)[None]
  visible = rng.normal(size=(1, 4, 5)).astype(np.float32)
  decoder = vit.PatchDecoder(3, WIDTH, 0, HEADS, GRID)
  params = compiled(decoder.init)(jax.random.key(0), visible, order)["params"]
  found = np.asarray(compiled(decoder.apply)({"params": params}, visible, order))[0]
  wide = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
  where = vit.positions(GRID, WIDTH)
  for place in range(COUNT):
    rank = int(np.flatnonzero(order[0] == place)[0])
    token = visible[0, rank] @ wide["embed"]["kernel"] + wide["embed"]["bias"] if rank < 4 else wide["hidden"]
    expected = normalized(token + where[place], wide["tower"]["norm"]) @ wide["head"]["kernel"]
    np.testing.assert_allclose(found[place], expected, rtol=0, atol=4 * sum_tolerance(WIDTH))
