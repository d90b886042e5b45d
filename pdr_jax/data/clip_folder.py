"""Folders and zips of frames as data sets of clips: a folder is a sequence, or columns of a table say so."""

import posixpath
from collections.abc import Sequence

from pdr_jax.data import image_folder, label_files, sequences, splits, stores
from pdr_jax.data import labels as label_lib
from pdr_jax.data.dataset import Dataset, Option, options_of
from pdr_jax.errors import UserError
from pdr_jax.rules import at_least

OPTIONS = {"stride": Option(1, at_least(1), "every so manieth frame of a sequence makes a clip")}


def open_clip_folder(config) -> Dataset:
  """The images under `config.data.path` as clips of `data.frames` of them.

  Which images are a sequence, and in which order, is said in `sequences.cut`; `data.label_kinds` may give
  columns of other names that part, such as `car:sequence,speaker:person`. Labels and stores are those of
  `image_folder`. A label with one value in every clip is a label of clips, else one of frames [T]. With
  `data.split_by=seed`, and wherever validation is taken from a published train, no person (or sequence) is
  both in training and in validation.

  Raises UserError as `image_folder.open_image_folder` and `sequences.cut`.
  """
  data = config.data
  store = stores.open_store(data.path)
  roles, kinds = sequences.read_roles(data.get("label_kinds", ""))
  labelled = label_files.read(store, label_lib.read_kinds(kinds))
  cells = {name: label_lib.plain(column) for name, column in labelled.columns.items()}
  for role, name in roles.items():
    if name not in cells:
      raise UserError(f"data.label_kinds={name}:{role}: the columns are {', '.join(cells) or 'none'}")
    cells[role] = cells[name]
  stride = options_of(data, OPTIONS)["stride"]
  clips = sequences.cut(store.names, cells, data.frames, store.where, stride)
  chosen = _choose(data, store.names, labelled, clips)
  files = splits.Chosen(*(clips.files(part) for part in chosen[:3]), note=chosen.note)
  frames = image_folder.assemble(config, store, labelled, files)
  of_frames = sequences.varying(cells, clips) & labelled.columns.keys()
  varying = [f"{kind}/{name}" for name in of_frames for kind in ("label", "missing")]
  report = (*frames.report, *_told(clips, data.frames))
  return sequences.of_frames(frames, data.frames, varying)._replace(report=report)


def _told(clips: sequences.Clips, frames: int) -> list[str]:
  """What was made of the sequences, line by line."""
  told = [f"{len(clips.frames):,} clips of {frames} frames"]
  if clips.left_out:
    sequence, reason = clips.left_out[0]
    told[0] += f"; {len(clips.left_out):,} sequences left out, the first: {sequence}, {reason}"
  if clips.rest:
    told[0] += f"; {clips.rest:,} frames at the ends of sequences are in no clip"
  if clips.gaps:
    sequence, before, after = clips.gaps[0]
    told.append(
      f"{len(clips.gaps):,} sequences have gaps in the numbers of their files: in {sequence}, "
      f"{posixpath.basename(after)} is taken for what comes after {posixpath.basename(before)}"
    )
  if len(clips.steps) > 1:
    of_each = ", ".join(f"{step} in {sequence}" for step, sequence in sorted(clips.steps.items())[:3])
    told.append(f"the numbers of frames have several steps, each taken for one frame: {of_each}")
  return told


def _choose(data, names: list[str], labelled: label_lib.Labels, clips: sequences.Clips) -> splits.Chosen:
  """Clips for train, validation and test."""

  def keep_apart(rows: Sequence[int]) -> tuple[list[int], list[int]]:
    sizes = (data.train_examples, data.val_examples)
    kept = sequences.keep_apart([clips.people[row] for row in rows], data.scene_seed, *sizes)
    train, validation = ([rows[i] for i in part] for part in kept)
    return train, validation

  if data.split_by == "seed" and labelled.parts is None:
    train, validation = keep_apart(range(len(clips.people)))
    note = f"{len(set(clips.people)):,} sequences or people are kept apart"
    note = "; ".join(filter(None, (note, splits.unused_parts(labelled))))
    return splits.Chosen(train, validation, [], note)
  _check_of_one_part(data.split_by, names, labelled, clips)
  first = clips.frames[:, 0].tolist()
  firsts = [names[i] for i in first]
  # Clips of one video are much alike: validation must not have those of a video that is trained on.
  return splits.choose(data, firsts, label_lib.take(labelled, first), hold_out=keep_apart)


def _check_of_one_part(
    split_by: str, names: Sequence[str], labelled: label_lib.Labels, clips: sequences.Clips
) -> None:
  """Raises UserError where frames of a clip are of different parts."""
  values = splits.deciding(split_by, labelled)
  for clip in clips.frames.tolist():
    for i in clip:
      if values[i] != values[clip[0]]:
        first, other = (values[row] or "no part" for row in (clip[0], i))
        raise UserError(
          f"data.split_by={split_by}: {names[clip[0]]} is of {first} and {names[i]} of {other}, and both are "
          "frames of one clip; give the frames of a sequence the same value"
        )
