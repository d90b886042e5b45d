"""Parts that a table, a folder or a published layout names: what is learned from and what is tested on."""

import pytest
from support.label_store import LabelStore, read, told, values

from pdr_jax.config import base
from pdr_jax.data import label_files, labels, splits
from pdr_jax.errors import UserError


def split(parsed, names, **data):
  config = base()
  config.data.update(train_examples=0, val_examples=0, **data)
  chosen = splits.choose(config.data, names, parsed)
  return [{names[i] for i in part} for part in chosen[:3]], chosen.note


def test_celeba_as_published():
  names = [f"img_align_celeba/{i:06}.jpg" for i in range(1, 7)]
  smiles = {i: " 1" if i % 2 else "-1" for i in range(1, 7)}
  attributes = "6\nSmiling Male \n" + "".join(f"{i:06}.jpg {smile} -1\n" for i, smile in smiles.items())
  identity = "".join(f"{i:06}.jpg {i % 2 + 10177}\n" for i in range(1, 7))
  parts = "".join(f"{i:06}.jpg {part}\n" for i, part in enumerate([0, 0, 0, 1, 2, 2], 1))
  parsed = label_files.read(
    LabelStore(
      names,
      {
        "list_attr_celeba.txt": attributes,
        "identity_CelebA.txt": identity,
        "list_eval_partition.txt": parts,
      },
    ),
    {},
  )
  assert values(parsed, "Smiling") == ["1", "-1"] * 3 and values(parsed, "Male") == ["-1"] * 6
  assert values(parsed, "identity") == ["10178", "10177"] * 3
  assert parsed.columns["identity"].kind == "identity"
  assert "partition" not in parsed.columns
  for how in ("seed", "partition"):
    assert split(parsed, names, split_by=how)[0] == [set(names[:3]), {names[3]}, set(names[4:])]
  kaggle = {"list_eval_partition.csv": "image_id,partition\n000001.jpg,0\n000002.jpg,2\n000003.jpg,1\n"}
  parsed = label_files.read(LabelStore(names[:3], kaggle), {})
  assert split(parsed, names[:3], split_by="seed")[0] == [{names[0]}, {names[2]}, {names[1]}]


def test_folders_of_parts_and_classes():
  folders = ["train/cat", "train/dog", "test/cat", "test/dog"]
  names = [f"arc/{folder}/{i}.png" for folder in folders for i in range(3)]
  parsed = labels.from_folders(names)
  assert values(parsed, "class") == ["cat"] * 3 + ["dog"] * 3 + ["cat"] * 3 + ["dog"] * 3
  (train, validation, test), note = split(parsed, names, split_by="seed")
  assert train | validation == set(names[:6]) and len(validation) == 1 and test == set(names[6:])
  assert note == "validation is taken from train" and "train" in told(parsed)
  twice = labels.from_folders(
    [
      "seg_train/seg_train/sea/1.png",
      "seg_train/seg_train/wood/1.png",
      "seg_test/seg_test/sea/1.png",
      "seg_pred/seg_pred/1.png",
    ]
  )
  assert values(twice, "class")[:3] == ["sea", "wood", "sea"]
  assert twice.parts == ("train", "train", "test", "")
  assert "seg_pred is left out" in told(twice)
  fer = labels.from_folders(["Training/a/1.png", "PublicTest/b/1.png", "PrivateTest/a/2.png"])
  assert fer.parts == ("train", "validation", "test")
  vehicles = labels.from_folders(["bus/1.png", "car/1.png", "train/1.png"])
  assert vehicles.parts is None and values(vehicles, "class") == ["bus", "car", "train"]


@pytest.mark.parametrize(
  "words",
  [
    ["train", "val", "test"],
    ["Training", "PublicTest", "PrivateTest"],
    ["TRAIN", "dev", "Test"],
    ["train", "validation", "test"],
  ],
)
def test_split_columns_mean_what_they_say(words):
  names = [f"{i}.png" for i in range(9)]
  parsed = read("file,part\n" + "".join(f"{name},{words[i % 3]}\n" for i, name in enumerate(names)), names)
  parts, _ = split(parsed, names, split_by="part")
  assert parts == [{name for i, name in enumerate(names) if i % 3 == part} for part in range(3)]


def test_test_is_never_trained_on_and_strangers_are_left_out():
  names = [f"{i}.png" for i in range(20)]
  words = ["train"] * 10 + ["test"] * 5 + ["extra"] * 4 + [""]
  rows = [f"{name},{word}" for name, word in zip(names, words, strict=True)]
  parsed = read("\n".join(["file,usage", *rows]), names)
  (train, validation, test), note = split(parsed, names, split_by="usage")
  assert train | validation == set(names[:10]) and not train & validation and len(validation) == 1
  assert test == set(names[10:15]) and "5 images without a part of it are left out" in note


def test_numbers_as_parts_ask_which_is_which():
  names = [f"{i}.png" for i in range(9)]
  table = "file,partition,who\n" + "".join(f"{name},{i % 3},{i % 3}\n" for i, name in enumerate(names))
  parsed = read(table, names)
  with pytest.raises(UserError, match="split_by=partition:0=train,1=validation,2=test") as error:
    split(parsed, names, split_by="partition")
  assert "\n" not in str(error.value)
  parts, note = split(parsed, names, split_by="partition:2=train,0=val,1=test")
  assert parts == [{n for i, n in enumerate(names) if i % 3 == k} for k in (2, 0, 1)]
  assert "2 is train" in note
  # Persons, whose pictures stay together:
  (train, validation, test), note = split(parsed, names, split_by="who")
  assert not {int(name[0]) % 3 for name in train} & {int(name[0]) % 3 for name in validation}
  assert not test and "3 values of who are kept apart" in note
  with pytest.raises(UserError, match="'3=train' is not VALUE=PART with a value of 0, 1, 2"):
    split(parsed, names, split_by="partition:3=train,0=val")
  with pytest.raises(UserError, match="none of its values is train"):
    split(parsed, names, split_by="partition:0=val,1=test")


def test_pictures_without_a_person_are_on_no_side():
  names = [f"{i}.png" for i in range(12)]
  rows = [f"{name},{'' if i < 2 else i % 5}" for i, name in enumerate(names)]
  parsed = read("\n".join(["file,who", *rows]), names)
  (train, validation, _), note = split(parsed, names, split_by="who")
  assert not {"0.png", "1.png"} & (train | validation)
  assert "2 images without a part of it are left out" in note
