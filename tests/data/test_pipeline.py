"""The pipeline: seeds, resuming, processes, padding and read-ahead.

The same seed gives the same batches. A resumed run is the same bit for bit. Processes share a global batch.
"""

import io
import json
import zipfile

import grain
import numpy as np
import pytest
from PIL import Image
from support.configs import data_config
from support.tolerances import rounding

from pdr_jax.data import dataset, pipeline, transforms
from pdr_jax.elements import Element
from pdr_jax.errors import UserError

COUNT = 43


@pytest.fixture(scope="module")
def path(tmp_path_factory):
  """A zip of pictures of which each is known by its first pixel, and by its left half being darker."""
  folder = tmp_path_factory.mktemp("pipeline")
  with zipfile.ZipFile(folder / "images.zip", "w") as file:
    for i in range(COUNT):
      pixels = np.full((32, 32, 3), 200, np.uint8)
      pixels[:, :16] = 10
      pixels[..., 2] = i
      buffer = io.BytesIO()
      Image.fromarray(pixels).save(buffer, "PNG")
      file.writestr(f"{i:03}.png", buffer.getvalue())
  (folder / "labels.csv").write_text("file,number\n" + "".join(f"{i:03}.png,{i}\n" for i in range(COUNT)))
  return str(folder)


IMAGE = {"image": Element((32, 32, 3), "float32", "image", (-1.0, 1.0))}
NUMBERED = IMAGE | {"label/number": Element((), "int32", "label")}


def config(path, *, batch=8, seed=0, **data):
  return data_config("image_folder", path=path, val_examples=13, batch=batch, seed=seed, **data)


def training(settings, reads=IMAGE, **place):
  return pipeline.train_iterator(settings, reads, **place)


@pytest.fixture
def small_memory(monkeypatch):
  """Opens sets as if memory were too small for them."""
  monkeypatch.setattr(dataset, "CACHE_LIMIT", 0)
  pipeline._open.cache_clear()
  yield
  pipeline._open.cache_clear()


def numbers(batch):
  """Which pictures these are."""
  return np.rint((batch["image"][:, 0, 0, 2] + 1) * 127.5).astype(int)


def take(iterator, count):
  return [next(iterator) for _ in range(count)]


def same(first, second):
  assert len(first) == len(second)
  for a, b in zip(first, second, strict=True):
    assert a.keys() == b.keys()
    for key in a:
      np.testing.assert_array_equal(a[key], b[key])


def test_a_training_batch(path):
  batch = next(training(config(path)))
  assert (
    batch.keys() == {"image"}
    and batch["image"].shape == (8, 32, 32, 3)
    and batch["image"].dtype == np.float32
  )
  np.testing.assert_allclose(batch["image"][:, 5, 20, 0], 200 / 255 * 2 - 1, rtol=0, atol=rounding(3, 2))
  full = next(training(config(path), NUMBERED))
  np.testing.assert_array_equal(full["label/number"], numbers(full))


def test_to_float_reaches_both_ends():
  out = transforms.to_range(np.arange(256, dtype=np.uint8))
  assert out[0] == -1 and out[255] == 1 and out.dtype == np.float32
  # a quotient of up to 2, and a difference
  expected = np.arange(256, dtype=np.float64) / 127.5 - 1
  np.testing.assert_allclose(out, expected, rtol=0, atol=rounding(2, 2))


def test_each_epoch_holds_every_image_at_most_once_in_a_new_order(path):
  iterator = training(config(path))
  epochs = [np.concatenate([numbers(b) for b in take(iterator, 3)]) for _ in range(4)]
  validation = {
    int(n)
    for b in pipeline.validation_batches(config(path))
    for n, m in zip(numbers(b), b["_mask"], strict=True)
    if m
  }
  for epoch in epochs:
    assert len(set(epoch)) == 24 and not validation & set(
      epoch
    )  # 30 images: three batches of 8, six images sit out
  assert len({tuple(epoch) for epoch in epochs}) == 4
  assert len(set(np.concatenate(epochs))) == 30             # and not always the same six


def test_same_seed_same_batches_other_seed_other_batches(path):
  one, two, other = (take(training(config(path, seed=s, flip=True)), 8) for s in (3, 3, 4))
  same(one, two)
  assert any((numbers(a) != numbers(b)).any() for a, b in zip(one, other, strict=True))
  later = take(training(config(path, seed=3)), 6)[3:]
  assert sorted(map(tuple, map(numbers, later))) != sorted(
    map(tuple, map(numbers, other[:3]))
  )  # seed 4 is not seed 3 an epoch later


def resumes(settings):
  iterator = training(settings)
  states, batches = [iterator.get_state()], []
  for _ in range(12):
    batches.append(next(iterator))
    states.append(json.loads(json.dumps(iterator.get_state())))
  for position in np.random.default_rng(0).permutation(12)[:5]:
    fresh = training(settings)
    if position % 2:
      next(fresh)  # a state may also be set in an iterator that has run
    fresh.set_state(states[position])
    same(batches[position:], take(fresh, 12 - position))
    assert fresh.get_state() == states[-1]
  assert len(json.dumps(states[-1])) < 100
  return batches


def test_resume_bit_for_bit_from_any_position(path):
  resumes(config(path, flip=True))


def test_reading_files_as_they_come_gives_the_same_batches(path, request):
  expected = resumes(config(path, flip=True))
  request.getfixturevalue("small_memory")
  same(expected, resumes(config(path, flip=True)))
  worker = training(config(path, flip=True, workers=1))  # another process: a few seconds
  worker.set_state({"batch": 10})
  same(expected[10:], take(worker, 2))
  worker.close()


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_each_global_batch(path, processes):
  settings = config(path, flip=True)
  whole = take(training(settings), 7)
  parts = [take(training(settings, process_index=p, process_count=processes), 7) for p in range(processes)]
  assert parts[0][0]["image"].shape[0] == 8 // processes
  same(
    whole, [{"image": np.concatenate([part["image"] for part in step])} for step in zip(*parts, strict=True)]
  )
  whole = list(pipeline.validation_batches(settings))
  parts = [
    list(pipeline.validation_batches(settings, process_index=p, process_count=processes))
    for p in range(processes)
  ]
  same(
    whole,
    [
      {key: np.concatenate([part[key] for part in step]) for key in step[0]}
      for step in zip(*parts, strict=True)
    ],
  )


def test_a_state_moves_between_process_counts(path):
  settings = config(path)
  iterator = training(settings)
  take(iterator, 4)
  halves = [training(settings, process_index=p, process_count=2) for p in range(2)]
  for half in halves:
    half.set_state(iterator.get_state())
  same([next(iterator)], [{"image": np.concatenate([next(half)["image"] for half in halves])}])


def test_flips_are_whole_images_about_half_of_them_and_new_each_epoch(path):
  plain = take(training(config(path)), 60)
  flipped = take(training(config(path, flip=True)), 60)
  share, seen = [], {}
  for a, b in zip(plain, flipped, strict=True):
    np.testing.assert_array_equal(numbers(a), numbers(b))
    for n, x, y in zip(numbers(a), a["image"], b["image"], strict=True):
      turned = not (x == y).all()
      np.testing.assert_array_equal(y, x[:, ::-1] if turned else x)
      share.append(turned)
      seen.setdefault(n, set()).add(turned)
  assert 0.4 < np.mean(share) < 0.6 and all(len(both) == 2 for both in seen.values())
  epochs = np.reshape(share, (20, 24))  # three batches of 8 each
  assert len({tuple(epoch) for epoch in epochs}) == 20


def test_validation_is_finite_fixed_and_padded(path):
  batches = pipeline.validation_batches(config(path, flip=True))
  first, second = list(batches), list(batches)
  same(first, second)
  assert len(batches) == len(first) == 2 and all(b["image"].shape == (8, 32, 32, 3) for b in first)
  np.testing.assert_array_equal(np.concatenate([b["_mask"] for b in first]), [1] * 13 + [0] * 3)
  validation_numbers = np.concatenate([numbers(b)[b["_mask"] > 0] for b in first])
  assert len(set(validation_numbers)) == 13 and first[0]["_mask"].dtype == np.float32
  np.testing.assert_array_equal(first[0]["label/number"], numbers(first[0]))
  assert (first[0]["image"][:, 0, 0, 0] < 0).all()  # never flipped
  train = np.concatenate(
    [
      numbers(b)[b["_mask"] > 0]
      for b in pipeline.validation_batches(config(path), split="train", keys=["image"])
    ]
  )
  assert sorted([*train, *validation_numbers]) == list(range(COUNT))


def test_prefetch_state_belongs_to_the_batch_handed_out(path):
  settings = config(path)
  expected = take(training(settings), 9)
  moved = []
  ahead = pipeline.prefetch(training(settings), lambda batch: moved.append(1) or batch, depth=3)
  assert ahead.get_state()["batch"] == 0
  got = take(ahead, 4)
  assert ahead.get_state()["batch"] == 4 and len(moved) == 6  # two batches are on their way beyond the fourth
  resumed = pipeline.prefetch(training(settings), lambda batch: batch)
  resumed.set_state(ahead.get_state())
  assert resumed.get_state() == ahead.get_state()
  same(expected, got + take(resumed, 5))
  same(expected[4:], take(ahead, 5))
  finite = list(pipeline.finite_prefetch(range(7), lambda x: x * 2, depth=3))
  assert finite == [0, 2, 4, 6, 8, 10, 12]


def test_describe(path):
  info = pipeline.describe(config(path))
  assert (info.train_size, info.validation_size, "depth" in info.elements, info.skipped, info.in_memory) == (
    30,
    13,
    False,
    (),
    True,
  )
  assert (
    info.classes == {"label/number": tuple(map(str, range(COUNT)))}
    and "30 training and 13 validation" in info.summary()
    and "number" in info.summary()
  )
  shown = info._replace(skipped=(("a.jpg", "corrupt"),)).summary()
  assert "1 files skipped: a.jpg: corrupt" in shown


def test_opened_once(path, monkeypatch):
  from pdr_jax.data import image_folder
  pipeline._open.cache_clear()
  calls, real = [], image_folder.open_image_folder
  monkeypatch.setattr(image_folder, "open_image_folder", lambda settings: calls.append(1) or real(settings))
  pipeline.describe(config(path))
  training(config(path, seed=5, flip=True, batch=4))
  pipeline.validation_batches(config(path))
  assert len(calls) == 1
  pipeline.describe(config(path, scene_seed=1))
  assert len(calls) == 2


@pytest.mark.parametrize("words, changes", [
    (("batch_size=64", "30 images"), {"batch": 64}),
    (("cannot be divided", "3 processes"), {"processes": 3}),
    (("split_by=who", "only folders of pictures"), {"name": "celeb_a"}),
    (("batch_size=0",), {"batch": 0})])
def test_errors(path, words, changes):
  with pytest.raises(UserError) as caught:
    settings = config(path, batch=changes.get("batch", 8))
    if "name" in changes:
      settings.data.update(name=changes["name"], path="", split_by="who")
    training(settings, process_count=changes.get("processes", 1))
  assert all(word in str(caught.value) for word in words) and "\n" not in str(caught.value)


def test_a_changed_set_is_warned_about(path, caplog):
  iterator = training(config(path))
  iterator.set_state({"batch": 3, "examples": 31, "batch_size": 8})
  assert "examples was 31" in caplog.text and iterator.get_state()["batch"] == 3
  assert issubclass(pipeline._TrainBatch, grain.transforms.Map)
