"""The evaluation program: from a run directory and labelled images to tables.

Errors, and what is not done twice, are checked too.
"""

import glob
import os
import shutil

import jax
import numpy as np
import pytest
from support import labelled_folder, toy_scene
from support.results import mean, metrics, score

from pdr_jax.cli import evaluate as program
from pdr_jax.data import splits
from pdr_jax.errors import UserError
from pdr_jax.evaluation import extract, records, representations
from pdr_jax.evaluation.run import evaluate, read_results
from pdr_jax.training import run_dir
from pdr_jax.training.checkpoints import check_variables

WORDS = ["evaluate", "--config.seeds=2", "--config.batch_size=8"]


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
  """A run directory with a checkpoint of a toy method, and 60 images whose colour tells their class."""
  folder = tmp_path_factory.mktemp("evaluate")
  labelled_folder.write(folder / "images")
  config = toy_scene.config(name="image_folder", path=str(folder / "images"), val_examples=20)
  toy_scene.write_run(str(folder / "run"), config)
  return folder


@pytest.fixture
def run(whole, tmp_path):
  """A copy of the run's folder; the images are shared."""
  return shutil.copytree(whole / "run", tmp_path / "run").as_posix()


def result(run, task, representation=""):
  return records.read(os.path.join(run, "evaluation", representation, f"{task}.json"))


@pytest.mark.slow
def test_pixels_tell_colours_and_finished_tasks_are_kept(run, capsys, monkeypatch):
  words = [
    *WORDS,
    f"--workdir={run}",
    "--method=pixels",
    "--config.tasks=('linear', 'clustering', 'factors')",
  ]
  assert program.main(words) == 0
  actual = result(run, "linear_colour", "pixels")
  accuracy = score(actual, "pixels", "logistic/accuracy")
  assert np.mean(accuracy.values) == 1.0 and len(accuracy.values) == 2
  assert actual.protocol["train"] == 40 and actual.protocol["method"] == "pixels"
  table = open(f"{run}/evaluation/pixels/table.md").read()
  assert "## linear/colour" in table and "| pixels logistic | 1.000 ± 0.000 |" in table
  assert "## linear/attributes" in table and "## clustering/colour" in table
  capsys.readouterr()

  from pdr_jax.evaluation.tasks import linear

  monkeypatch.setattr(
    linear, "multi_class", lambda *a, **k: pytest.fail("a finished task was computed again")
  )
  assert program.main(words) == 0
  assert "linear/colour ..." not in capsys.readouterr().out
  assert open(f"{run}/evaluation/pixels/table.md").read() == table


@pytest.mark.slow
def test_a_trained_method_by_its_dotted_path_on_every_kind_of_task(run):
  """Blocks come from `encode`, depth from `decompose`; nothing asks for the method's name."""
  words = [
    *WORDS,
    f"--workdir={run}",
    "--config.tasks=('linear', 'geometry', 'segmentation', 'support.toy_task')",
  ]
  assert program.main(words) == 0
  actual = result(run, "linear_colour")
  assert actual.protocol["checkpoint_step"] == 7 and "logistic/accuracy" in metrics(actual, "depth")
  assert (
    "true depth" in result(run, "geometry").skipped
    and "no feature maps" in result(run, "segmentation").skipped
  )
  toy = result(run, "toy_task")
  assert (
    score(toy, "light", "mean").values[0] > 0 and os.path.getsize(f"{run}/evaluation/toy_task.png") > 5000
  )
  assert "## toy_task" in open(f"{run}/evaluation/table.md").read()


def test_normalised_pictures_are_blocks_at_the_size_that_is_asked_for_and_whole(run):
  """As many components as there are pictures keep every distance: a Gram matrix is the oracle."""
  words = [*WORDS, f"--workdir={run}", "--config.tasks=('clustering',)", "--config.normalized_full=True"]
  assert program.main(words) == 0
  blocks = {entry.block for entry in result(run, "clustering_colour").scores}
  assert blocks == {"depth", "light", "encoder", "normalized", "normalized_full", "all"}
  assert mean(result(run, "clustering_colour"), "normalized_full", "ward/accuracy") == 1.0
  features = [extract.read(path) for path in sorted(glob.glob(f"{run}/evaluation/features/*.npz"))]
  assert {part.blocks["normalized"].shape for part in features} == {(40, 6), (20, 6)}  # as the features

  assert program.main([*words, "--config.components=200"]) == 0
  more = {path: extract.read(path) for path in glob.glob(f"{run}/evaluation/features/*.npz")}
  train = next(part for part in more.values() if part.blocks["normalized"].shape == (40, 40))
  whole = train.blocks["normalized_full"]
  images = np.asarray(train.blocks["normalized_full"]).reshape(40, 8, 8, 3)
  np.testing.assert_allclose(images, np.flip(images, 2), atol=1e-6)  # the toy's are symmetric
  centred = np.float64(whole) - np.float64(whole).mean(0)
  reduced = np.float64(train.blocks["normalized"])
  np.testing.assert_allclose(reduced @ reduced.T, centred @ centred.T, atol=1e-3)  # 192 terms of at most 1


@pytest.mark.slow
def test_the_steps_of_normalising_are_compared_at_equal_size(run):
  words = [*WORDS, f"--workdir={run}", "--config.tasks=('normalization',)", "--config.seeds=1"]
  assert program.main(words) == 0
  actual = result(run, "normalization_colour")
  assert actual.protocol["description"].endswith("6 components")
  variants = ("pixels", "pose_left_in", "light_left_in", "mirror_where_unseen", "both_halves")
  assert {entry.block for entry in actual.scores} == set(variants)
  assert mean(actual, "pixels", "inside/accuracy") == mean(actual, "both_halves", "inside/accuracy") == 1.0


@pytest.mark.parametrize("name", ["random", "pca"])
def test_what_nothing_is_trained_for(run, name):
  words = [*WORDS, f"--workdir={run}", f"--method={name}", "--config.tasks=('clustering',)"]
  assert program.main(words) == 0
  actual = result(run, "clustering_colour", name)
  blocks = {"random": {"depth", "light", "encoder", "normalized", "all"}, "pca": {"pca"}}
  assert blocks[name] == {entry.block for entry in actual.scores}
  assert name == "random" or mean(actual, "pca", "ward/accuracy") == 1.0


def test_labelled_light_gives_factors_and_robustness_with_their_pictures(run, tmp_path):
  """Brightness tells how far the light is from the camera; inside 25 degrees it is read, beyond it is not."""
  labelled_folder.write(
    tmp_path / "lit",
    columns=lambda i: {"reddish": int(i % 3 == 0), "azimuth": 20 * (i % 4) - 10, "elevation": 5},
  )
  words = [
    "evaluate",
    f"--workdir={run}",
    "--method=pixels",
    "--config.seeds=1",
    "--config.batch_size=8",
    "--config.robustness.width=20",
    f"--config.data.path={tmp_path / 'lit'}",
    "--config.tasks=('factors', 'robustness')",
    "--config.light_angles=('azimuth', 'elevation')",
  ]
  assert program.main(words) == 0
  for name in ("factors", "robustness_light"):
    assert os.path.getsize(f"{run}/evaluation/pixels/{name}.png") > 5000
  actual = result(run, "robustness_light", "pixels")
  # 30 within 25 degrees, of which 24 are learned from.
  assert actual.protocol["examples"] == {"0": 6, "0-20": 15, "20-40": 15}
  assert mean(actual, "pixels", "20-40/balanced_accuracy", "attributes") > 0.9


@pytest.mark.parametrize(
  ("words", "message"),
  [
    (["--method=resnet"], "--method=resnet: must be one of trained, random, pca, pixels"),
    (["--config.tasks=('linaer',)"], "'linaer' is unknown"),
    (["--config.batch_size=3"], "batch_size = 3: must be a multiple"),
    (["--config.checkpoint=9"], "no checkpoint of step 9 in"),
    (["--export=nowhere"], "nowhere is not an export"),
    (
      ["--export=nowhere", "--method=pca"],
      "--export and --method exclude each other|--method and --export exclude",
    ),
    (["--config.checkpoint=newest"], "config.checkpoint = newest: must be best, latest"),
    (
      ["--config.tasks=('regression', 'factors')"],
      r"nothing to evaluate: none of the tasks regression, factors found .*the train split has colour "
      r"\(classes\), "
      r"identity \(classes\), reddish \(classes\)",
    ),
  ],
)
def test_errors_are_one_line(run, words, message):
  with pytest.raises(UserError, match=message) as error:
    program.main(["evaluate", f"--workdir={run}", "--config.batch_size=8", *words])
  assert "\n" not in str(error.value)


def test_a_checkpoint_of_another_model_is_named_by_its_keys():
  have = {"depth": {"kernel": np.zeros((2, 3), np.float32)}, "extra": np.zeros(1, np.float32)}
  want = {"depth": {"kernel": jax.ShapeDtypeStruct((2, 4), np.float32)}}
  with pytest.raises(
    UserError, match=r"depth/kernel \(float32\[2, 3\], the model's is float32\[2, 4\]\).*extra .*absent"
  ):
    check_variables(have, want)


def test_a_label_that_nothing_can_be_learned_of_is_named_and_others_go_on(run, tmp_path, capsys):
  def columns(i):
    return {"colour": ("red", "green", "blue")[i % 3], "size": i % 7 + 0.5, "rare": "yes" if i == 7 else "no"}

  labelled_folder.write(tmp_path / "some", columns=columns)
  data = f"--config.data.path={tmp_path / 'some'}"
  words = [*WORDS, f"--workdir={run}", "--method=pixels", data, "--config.labels=('colour', 'rare')"]
  assert program.main([*words, "--config.tasks=('clustering', 'linear', 'factors', 'geometry')"]) == 0
  assert "'rare'" in result(run, "linear_attributes", "pixels").skipped
  table = open(f"{run}/evaluation/pixels/table.md").read()
  assert "| pixels ward |" in table and "Not run: " in table
  said = capsys.readouterr().out
  assert "not run, because the data have no label or truth for them: factors, geometry" in said


@pytest.mark.parametrize("words", [
  ["--config.labels=('colour', 'age')"],
  ["--config.identity=age"],
  ["--config.light_angles=('age', 'colour')"],
])
def test_a_label_that_is_named_and_not_there_is_an_error(run, words):
  message = "config.[a-z_]+ names 'age', which is no label of the data; there are: colour, reddish, identity"
  with pytest.raises(UserError, match=message):
    program.main([*WORDS, f"--workdir={run}", "--method=pixels", *words])
  assert not os.path.exists(f"{run}/evaluation")


def test_a_label_that_no_task_uses_is_told_and_an_error_where_it_is_named(run, tmp_path, capsys):
  def columns(i):
    return {"colour": ("red", "green", "blue")[i % 3], "size": i % 7 + 0.5, "rare": "yes" if i == 7 else "no"}

  labelled_folder.write(tmp_path / "some", columns=columns)
  data = f"--config.data.path={tmp_path / 'some'}"
  words = [*WORDS, f"--workdir={run}", "--method=pixels", data, "--config.tasks=clustering"]
  assert program.main(words) == 0
  told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("labels without a result")]
  assert [line.partition("): ")[2] for line in told] == ["size, rare"]
  with pytest.raises(UserError, match=r"config\.labels names 'size', which none of the tasks clustering can"):
    program.main([*words, "--config.labels=colour,size"])


def test_examples_that_lack_a_label_and_classes_of_the_test_split_alone_are_told(run, tmp_path, capsys):
  def columns(i):  # the first three pictures of the validation split are of a colour of their own
    own = i in validation[:3]
    return {"colour": "" if i % 10 == 5 else "own" if own else ("red", "green", "blue")[i % 3]}

  labelled_folder.write(tmp_path / "some")
  names = [f"{i:02d}.png" for i in range(60)]
  validation = [i for i in splits.by_seed(names, 0, 0, 20)[1] if i % 10 != 5]
  labelled_folder.write(tmp_path / "some", columns=columns)
  data = f"--config.data.path={tmp_path / 'some'}"
  words = [*WORDS, f"--workdir={run}", "--method=pixels", data, "--config.tasks=linear", "--config.seeds=1"]
  assert program.main(words) == 0
  said = capsys.readouterr().out
  train, _ = splits.by_seed(names, 0, 0, 20)
  count = len([i for i in train if i % 10 == 5])
  assert f"linear/colour: {count} of 40 training examples lack one of its labels, and are left" in said
  assert "linear/colour: 1 classes are in the test split alone, and are never recognised: own" in said


def test_an_evaluation_whose_tasks_are_all_left_out_is_an_error(run, tmp_path):
  labelled_folder.write(tmp_path / "some", columns=lambda i: {"rare": "yes" if i == 7 else "no"})
  words = [*WORDS, f"--workdir={run}", "--method=pixels", f"--config.data.path={tmp_path / 'some'}"]
  with pytest.raises(UserError, match=r"nothing was evaluated; the first task, linear/attributes: .*'rare'"):
    program.main([*words, "--config.tasks=('linear',)", "--config.labels=('rare',)"])
  assert os.path.exists(f"{run}/evaluation/pixels/table.md")


def test_a_task_that_fails_leaves_its_trace_and_the_others_go_on(run, capsys):
  words = [*WORDS, f"--workdir={run}", "--config.tasks=('support.failing_task', 'support.toy_task')"]
  assert program.main(words) == 1
  failed = result(run, "failing")
  assert failed.failed.startswith("ZeroDivisionError: a mistake of two lines (its trace is in ")
  trace = open(f"{run}/evaluation/failing.trace.txt").read()
  assert "in compute" in trace and "ZeroDivisionError" in trace
  assert (
    not result(run, "toy_task").failed and "failing: failed, ZeroDivisionError" in capsys.readouterr().out
  )
  assert "Failed: ZeroDivisionError" in open(f"{run}/evaluation/table.md").read()


def test_an_older_result_is_computed_again(run):
  words = [*WORDS, f"--workdir={run}", "--config.tasks=('support.toy_task',)"]
  assert program.main(words) == 0
  path = f"{run}/evaluation/toy_task.json"
  with open(path, "w") as file:
    file.write('{"task": "toy", "protocol": {}, "results": {}}')
  assert program.main(words) == 0
  assert records.read(path).scores


def test_untrained_representations_say_what_they_depend_on(run):
  config = run_dir.read_config(run)
  for name, untrained in representations.UNTRAINED.items():
    first, second = (untrained.create(_seeded(config, seed), run) for seed in (0, 1))
    images = np.random.default_rng(0).uniform(-1, 1, (4, 8, 8, 3)).astype(np.float32)
    blocks = [jax.tree.leaves(source.encode(images)) for source in (first, second)]
    same = all(np.array_equal(a, b) for a, b in zip(*blocks, strict=True))
    assert same != untrained.seeded, name
    assert (first.variables is None) == (name != "random") and not first.trained


def _seeded(config, seed):
  config = config.copy_and_resolve_references()
  config.seed, config.train.batch_size = seed, 8
  return config


def test_an_evaluation_tells_what_it_gave(run):
  from pdr_jax.evaluation.config import get_config

  config = get_config()
  config.update(batch_size=8, tasks=("support.toy_task",))
  outcome = evaluate(config, run, say=lambda line: None)
  assert outcome.exit_code == 0 and list(outcome.results) == ["toy_task"] and os.path.isdir(outcome.folder)


def test_results_of_other_data_are_not_read_and_those_of_other_tasks_are(run):
  from pdr_jax.evaluation.config import get_config

  config = get_config()
  for task in ("support.failing_task", "support.toy_task"):
    config.update(batch_size=8, tasks=(task,))
    evaluate(config, run, say=lambda line: None)
  assert list(read_results(run)) == ["failing", "toy_task"]
  config.data.val_examples = 9
  evaluate(config, run, say=lambda line: None)
  assert list(read_results(run)) == ["toy_task"]
  assert os.path.exists(f"{run}/evaluation/failing.json")
