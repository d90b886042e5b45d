"""Clips of files: grouping, order, windows, what is left out, who is kept apart, and errors of one line."""

import numpy as np
import pytest

from pdr_jax.data import dataset, sequences
from pdr_jax.errors import UserError

FOLDERS = [f"{who}/{k}.png" for who in ("b", "a", "c10", "c9") for k in (10, 9, 2, 1, 11)]


def names_of(clips, names):
  return [[names[i] for i in clip] for clip in clips.frames]


def test_a_folder_is_a_sequence_in_natural_order():
  clips = sequences.cut(FOLDERS, {}, 2, "photos")
  assert names_of(clips, FOLDERS)[:2] == [["a/1.png", "a/2.png"], ["a/9.png", "a/10.png"]]  # a/11 is the rest
  assert clips.people == ("a", "a", "b", "b", "c9", "c9", "c10", "c10") and clips.left_out == ()
  assert sequences.cut(FOLDERS, {}, 5, "photos").frames.shape == (4, 5)
  assert [FOLDERS[i] for i in clips.files([1, 0])] == ["a/9.png", "a/10.png", "a/1.png", "a/2.png"]
  assert sequences.cut(["2.png", "10.png", "1.png"], {}, 3, "photos").people == (".",)


@pytest.mark.parametrize("kind", [int, float, str])
def test_columns_say_sequence_and_frame(kind):
  names = [f"{i}.png" for i in range(7)]
  columns = {
    "sequence": ["x", "y", "x", "y", "x", "y", "z"],
    "frame": [kind(k) for k in (30, 2, 10, 1, 20, 3, 1)],
  }
  clips = sequences.cut(names, columns, 3, "labels.csv")
  assert names_of(clips, names) == [["2.png", "4.png", "0.png"], ["3.png", "1.png", "5.png"]]
  assert clips.people == ("x", "y") and clips.left_out == (("z", "1 frames, fewer than data.frames=3"),)


def test_person_and_frame_are_enough_and_a_sequence_is_of_one_person():
  names = [f"{i}.png" for i in range(8)]
  columns = {"person": [7, 7, 8, 8, 7, 7, 8, 8], "frame": [1, 2, 1, 2, 3, 4, 3, 4]}
  clips = sequences.cut(names, columns, 2, "labels.csv")
  assert names_of(clips, names) == [
    ["0.png", "1.png"],
    ["4.png", "5.png"],
    ["2.png", "3.png"],
    ["6.png", "7.png"],
  ]
  assert clips.people == ("7", "7", "8", "8")
  columns |= {"sequence": ["a", "a", "b", "b", "c", "c", "d", "d"]}
  assert sequences.cut(names, columns, 2, "labels.csv").people == ("7", "8", "7", "8")
  assert sequences.varying(columns, clips) == {"frame"}


def test_folders_of_one_person_are_sequences_of_their_own():
  names = [f"{who}_v{v}/{k}.png" for who in ("bob", "ann") for v in (1, 2) for k in range(5)]
  names += [f"both/{k}.png" for k in range(4)]
  columns = {"person": ["bob"] * 10 + ["ann"] * 10 + ["bob", "ann"] * 2}
  clips = sequences.cut(names, columns, 2, "labels.csv")
  folders = ("ann_v1", "ann_v2", "bob_v1", "bob_v2")
  expected = [[f"{folder}/{k}.png", f"{folder}/{k + 1}.png"] for folder in folders for k in (0, 2)]
  expected.insert(4, ["both/1.png", "both/3.png"])
  expected.append(["both/0.png", "both/2.png"])
  assert names_of(clips, names) == expected
  assert clips.people == ("ann",) * 5 + ("bob",) * 5 and clips.rest == 4
  frames = columns | {"frame": [*range(5), *range(5)] * 2 + [0, 0, 1, 1]}  # numbers begin anew in each folder
  assert names_of(sequences.cut(names, frames, 2, "labels.csv"), names) == expected


def test_several_steps_between_numbers_are_recorded():
  names = [f"{k}.png" for k in range(6)]
  columns = {"sequence": ["a"] * 3 + ["b"] * 3, "frame": [1, 2, 3, 10, 20, 30]}
  assert sequences.cut(names, columns, 3, "labels.csv").steps == {1: "a", 10: "b"}


def test_a_stride_interleaves_the_clips_of_a_sequence():
  """Ten frames, every third one: 0 3 6 9, 1 4 7, 2 5 8; of the first a rest of one is left."""
  names = [f"{k}.png" for k in (*range(10), 20, 21, 22, 23)]
  columns = {"sequence": ["long"] * 10 + ["short"] * 4, "frame": [*range(10), 20, 21, 22, 23]}
  clips = sequences.cut(names, columns, 3, "labels.csv", 3)
  assert clips.frames.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
  assert clips.people == ("long",) * 3 and clips.rest == 1
  assert clips.left_out == (("short", "4 frames, fewer than data.frames=3 at data.options=stride=3"),)
  with pytest.raises(UserError, match=r"^data.frames=6 at data.options=stride=2: none of the 2 .* has 10"):
    sequences.cut(names, columns, 6, "labels.csv", 2)


@pytest.mark.parametrize(
  "columns, frames, words",
  [
    ({"sequence": ["a", None, "a", "a"]}, 2, ("2.png", "no value in the column sequence")),
    ({"person": ["a", "", "a", "a"]}, 2, ("2.png", "column person")),
    ({"frame": [1, 2, None, 4]}, 2, ("the frame number of 3.png is missing",)),
    ({"frame": [1, 2, float("nan"), 4]}, 2, ("the frame number of 3.png is missing",)),
    ({"frame": [1, 2, 2.5, 4]}, 2, ("3.png", "2.5", "whole number")),
    ({"frame": ["1", "2", "three", "4"]}, 2, ("3.png", "'three'", "whole number")),
    ({"frame": [1, 2, 2, 3]}, 2, ("2.png and 3.png are both frame 2",)),
    ({"frame": [2, 4, 10, 8]}, 2, ("no frame 6, after 2.png", "without a gap")),
    (
      {"person": ["a", "a", "b", "b"], "sequence": ["x"] * 4},
      2,
      ("the sequence x is of two people, a and b",),
    ),
    (
      {"sequence": ["x", "y", "y", "y"]},
      4,
      ("data.frames=4", "none of the 2 sequences", "the longest, y, has 3"),
    ),
  ],
)
def test_what_cannot_be_cut_is_one_line(columns, frames, words):
  with pytest.raises(UserError) as caught:
    sequences.cut(["1.png", "2.png", "3.png", "4.png"], columns, frames, "labels.csv")
  message = str(caught.value)
  assert all(word in message for word in (*words,)) and "\n" not in message, message


def test_nobody_is_in_two_splits():
  people = tuple(f"person {i % 9}" for i in range(45))
  seen = set()
  for seed in range(5):
    train, validation = sequences.keep_apart(people, seed, 0, 7)
    who = [{people[i] for i in part} for part in (train, validation)]
    assert not who[0] & who[1] and len(who[1]) == 2 and len(validation) == 7 and len(train) == 35
    assert sequences.keep_apart(people, seed, 0, 7) == (train, validation)
    seen.add(tuple(sorted(who[1])))
  assert len(seen) > 1
  train, validation = sequences.keep_apart(people, 0, 12, 0)
  assert len(train) == 12 and len(validation) == 5  # a tenth, rounded up
  with pytest.raises(UserError, match="of one sequence or person"):
    sequences.keep_apart(("a", "a"), 0, 0, 0)


def test_frames_of_a_data_set_become_clips():
  rng = np.random.default_rng(0)
  arrays = {
    "image": rng.integers(0, 256, (11, 8, 8, 1), dtype=np.uint8),
    "depth": rng.random((11, 8, 8), dtype=np.float32),
    "view": rng.random((11, 6), dtype=np.float32),
    "light": rng.random((11, 9), dtype=np.float32),
    "label/who": np.arange(11, dtype=np.int32),
    "label/pose": np.arange(11, dtype=np.int32),
  }
  split = dataset.memory_split(arrays)
  frames = dataset.Dataset(
    "noise", split, split, dataset.elements_of(arrays), {"label/who": ()}, [], tests={"test": split}
  )
  clips = sequences.of_frames(frames, 3, ["label/pose"])
  assert [part.size for part in (clips.train, clips.validation, clips.tests["test"])] == [
    3,
    3,
    3,
  ] and clips.train.in_memory
  batch = clips.train.load(np.array([2, 0]), clips.elements)
  shapes = {
    "clip": (3, 8, 8, 1),
    "depth": (3, 8, 8),
    "view": (3, 6),
    "light": (9,),
    "label/who": (),
    "label/pose": (3,),
  }
  assert {key: element.shape for key, element in clips.elements.items()} == shapes
  assert {key: array.shape[1:] for key, array in batch.items()} == shapes
  assert clips.elements["clip"].meaning == "clip" and clips.elements["label/pose"].meaning == "label"
  for key in ("depth", "view", "label/pose"):
    np.testing.assert_array_equal(batch[key][0], arrays[key][6:9])
  np.testing.assert_array_equal(batch["clip"], np.stack([arrays["image"][6:9], arrays["image"][:3]]))
  for key in ("light", "label/who"):
    np.testing.assert_array_equal(batch[key], arrays[key][[6, 0]])
  assert clips.train.load(np.array([1]), {"label/who", "image"}).keys() == {"label/who"}
