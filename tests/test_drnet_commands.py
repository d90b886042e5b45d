"""DrNET and its forecasts by the commands, on moving digits: train, evaluate, foretell, export, report."""

import json
import shutil

import numpy as np
import pytest
from ml_collections import ConfigDict
from PIL import Image

import pdr_jax
from pdr_jax import evaluate, export, forecast, main
from pdr_jax.cli import report
from pdr_jax.errors import UserError
from pdr_jax.evaluation import extract, forecasts, representations, task
from pdr_jax.training import checkpoints, run_dir

pytestmark = pytest.mark.slow

SMALL = [
  "--config.data.side=16", "--config.data.train_examples=32", "--config.data.val_examples=16",
  "--config.train.batch_size=8", "--config.train.steps=4", "--config.train.validate_every=4",
  "--config.train.figure_every=4", "--config.train.checkpoint_every=4", "--config.train.log_every=2",
]  # fmt: skip
NARROW = ["--config.drnet.width=4", "--config.drnet.content_size=8", "--config.data.frames=6"]


def run(command, name, *words):
  assert command.main([f"pdr_jax.{name}", *words]) == 0


def scores(workdir, task):
  return json.loads((workdir / "evaluation" / f"{task}.json").read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  root = tmp_path_factory.mktemp("drnet")
  run(main, "main", "--config=configs/drnet_digits.py", f"--workdir={root / 'first'}", *SMALL, *NARROW)
  run(
    main, "main", "--config=configs/drnet_digits_forecast.py", f"--workdir={root / 'second'}", *SMALL,
    f"--config.init_from={root / 'first'}", "--config.drnet_forecast.hidden=8", "--config.data.frames=6",
    "--config.drnet_forecast.past=3",
  )
  return root


def test_training_shows_a_grid_and_validates(trained):
  for name, metric in (("first", "val/reconstruction"), ("second", "val/pose")):
    summary = json.loads((trained / name / "summary.json").read_text())
    assert np.isfinite(list(summary["validation"].values())).all() and metric in summary["validation"]
    assert (trained / name / run_dir.FIGURES / "latest.png").stat().st_size > 5_000
  assert set(summary["baselines"]) == {"last frame", "mean frame"}
  assert {"val/pose", "val/mse"} == set(summary["validation"])


def test_the_first_stage_is_evaluated(trained):
  """The grid and the clips are files beside the results; a judge, and leaks of each block."""
  run(
    evaluate, "evaluate", f"--workdir={trained / 'first'}", "--config.tasks=swaps,leakage",
    "--config.batch_size=8", "--config.seeds=1", "--config.swaps.judge_steps=2", "--config.swaps.pairs=6",
    "--config.leakage.hidden=4", "--config.labels=digit,position_0",
  )  # fmt: skip
  swaps, folder = scores(trained / "first", "swaps"), trained / "first" / "evaluation"
  assert set(swaps["details"]["media"]) == {"swaps_grid.png", "swaps_clips.gif"}
  with Image.open(folder / "swaps_clips.gif") as image:
    assert image.n_frames == 6
  named = {(score["label"], score["block"], score["metric"]) for score in swaps["scores"]}
  assert ("digit", "swapped, content kept", "accuracy") in named
  assert ("position", "swapped, motion kept", "mean_distance") in named
  assert ("position", "swapped, motion of the content", "mean_distance") in named
  assert ("digit", "real clips", "entropy_given") in named
  for label, metric in (("digit", "logistic/accuracy"), ("position_0", "r2")):
    result = scores(trained / "first", f"leakage_{label}")
    blocks = {score["block"] for score in result["scores"] if score["metric"] == metric}
    assert {"content", "pose", "all"} <= blocks
  page = trained / "report.html"
  assert report.main(["report", f"--workdir={trained / 'first'}", f"--out={page}"]) == 0
  assert page.read_text().count("data:image/gif;base64,") == 1


def test_the_second_stage_is_evaluated_beside_another_run(trained):
  """Beside a copy of itself, whose rows are the same."""
  shutil.copytree(trained / "second", trained / "copy")
  words = [f"--workdir={trained / 'second'}", "--config.tasks=forecast", "--config.batch_size=8"]
  words += ["--config.forecast.past=3", f"--config.forecast.beside={trained / 'copy'}"]
  run(evaluate, "evaluate", *words)
  result = scores(trained / "second", "forecast")
  steps = [s["place"] for s in result["scores"] if s["label"] == "psnr" and s["block"] == "forecast"]
  assert steps == [1.0, 2.0, 3.0]
  assert {s["block"] for s in result["scores"]} == {"forecast", "copy", "last frame", "mean frame"}
  rows: dict = {"forecast": {}, "copy": {}}
  for score in result["scores"]:
    if score["block"] in rows:
      rows[score["block"]][score["label"], score["metric"], score.get("place")] = score["values"]
  assert rows["forecast"] == rows["copy"] and len(rows["copy"]) == 11  # three steps of three, and two means
  read = task.find("forecast").also_reads(ConfigDict({"beside": f"{trained / 'copy'}, {trained / 'first'}"}))
  assert list(read) == [str(trained / "copy"), str(trained / "first")]
  parameters = [extract.fingerprint(each) for each in read.values()]
  own = checkpoints.load_variables(str(trained / "second"))[0]
  assert parameters[0] == extract.fingerprint(own) != parameters[1]
  assert (trained / "second" / "evaluation" / "forecast.png").exists()  # its curves
  assert set(result["details"]["media"]) == {"forecast_strip.png", "forecast_clips.gif"}


def test_a_command_foretells_as_many_frames_as_one_likes(trained, capsys):
  words = [f"--workdir={trained / 'second'}", "--frames=20", "--past=4", "--clips=3"]
  run(forecast, "forecast", *words)
  told = capsys.readouterr().out
  assert "3 clips of test, 4 frames given, 20 foretold, of which 20 have a truth" in told
  with Image.open(trained / "second" / "forecast" / "clips.gif") as image:
    assert image.n_frames == 24
  with pytest.raises(UserError, match=r"--frames 0: must be at least 1"):
    forecast.main(["forecast", f"--workdir={trained / 'second'}", "--frames=0"])
  with pytest.raises(UserError, match=r"config\.method=drnet foretells nothing"):
    forecast.main(["forecast", f"--workdir={trained / 'first'}"])


def test_forecasts_feed_their_own_poses_back(trained):
  """The first frames of a long forecast are those of a short one, and do not depend on what comes after."""
  config = run_dir.read_config(str(trained / "second"))
  model = representations.create(config, str(trained / "second"), "trained", "latest")
  made = [
    forecasts.of_split(config, model, "validation", past=3, frames=frames, count=2) for frames in (3, 7)
  ]
  np.testing.assert_allclose(made[0].foretold, made[1].foretold[:, :3], atol=1e-5)
  assert made[1].truth.shape[1] == 7 and made[0].given.shape[1] == 3
  with pytest.raises(UserError, match=r"first is of drnet, which foretells nothing"):
    forecasts.of_others(str(trained / "first"), made[0], config)


def test_the_second_stage_starts_from_an_export_too_and_is_exported(trained):
  run(export, "export", f"--workdir={trained / 'first'}", f"--out={trained / 'exported'}")
  model = pdr_jax.load(str(trained / "exported"))
  clips = np.random.default_rng(0).uniform(0, 1, (2, 6, 16, 16, 1)).astype(np.float32)
  blocks = model.encode(clips)
  assert blocks["content"].shape == (2, 8) and blocks["pose"].shape == (2, 5 * 6)
  swapped = model.swap(clips, clips[::-1].copy())
  assert swapped.shape == clips.shape
  run(
    main, "main", "--config=configs/drnet_digits_forecast.py", f"--workdir={trained / 'of_export'}", *SMALL,
    f"--config.init_from={trained / 'exported'}", "--config.drnet_forecast.hidden=8",
    "--config.data.frames=6", "--config.drnet_forecast.past=3",
  )
  first, _ = checkpoints.load_variables(str(trained / "first"), "best")
  second, _ = checkpoints.load_variables(str(trained / "of_export"), "latest")
  kept = second["model_state"]["first"]["pose"]["down0"]["conv"]["kernel"]
  np.testing.assert_array_equal(kept, first["pose"]["down0"]["conv"]["kernel"])
  run(export, "export", f"--workdir={trained / 'second'}", f"--out={trained / 'exported_second'}")
  foretold = pdr_jax.load(str(trained / "exported_second")).forecast(clips)
  assert foretold.shape == clips.shape and np.isfinite(foretold).all()


def test_what_does_not_go_together_is_one_line(trained, tmp_path):
  words = ["--config=configs/drnet_digits_forecast.py", f"--workdir={tmp_path / 'run'}", *SMALL]
  first = f"--config.init_from={trained / 'first'}"
  with pytest.raises(UserError, match=r"config\.data\.side = 32: must be 16, as in the first stage"):
    main.main(["main", *words, first, "--config.data.side=32"])
  with pytest.raises(UserError, match=r"config\.drnet_forecast\.past = 20: must be below"):
    main.main(["main", *words, first, "--config.drnet_forecast.past=20"])
