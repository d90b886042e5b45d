"""Every key has a rule, every shipped configuration passes, every impossible value is one line that names the key."""

import glob
import importlib.util
import os

import pytest

from pdr_jax import config as config_lib
from pdr_jax.config_checks import RULES, flatten, validate
from pdr_jax.errors import UserError

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def test_every_key_has_a_rule_and_the_defaults_pass():
  assert set(RULES) == set(flatten(config_lib.base()))
  validate(config_lib.base(), 1)


@pytest.mark.parametrize("path", sorted(glob.glob(os.path.join(ROOT, "configs", "*.py"))), ids=os.path.basename)
def test_shipped_configs_pass_with_every_variant(path):
  spec = importlib.util.spec_from_file_location("a_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  for variant in ("", "small", "unsup3d", "parity", "cars", "cars,small,unsup3d,parity"):
    config = module.get_config(variant)
    config.data.path = "/"  # exists everywhere; the user's own belongs here
    validate(config, 1)
  with pytest.raises(ValueError, match="nonsense"):
    module.get_config("nonsense")


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("data.side", 48, "32, 64, 128, 256"),
        ("data.name", "", "name"),
        ("data.crop", (1, 2, 3), "left"),
        ("data.crop", (5, 0, 5, 9), "left < right"),
        ("data.path", "/no/such/folder", "no such file"),
        ("data.workers", -1, "at least 0"),
        ("method", "gan", "pdr"),
        ("seed", -1, "from 0"),
        ("networks.width_map", 30, "multiple of 4"),
        ("networks.width_vector", 0, "multiple of 4"),
        ("networks.dtype", "float16", "bfloat16"),
        ("scene.light", "lamp", "directional"),
        ("scene.max_depth", 0.9, "config.scene.min_depth = 0.9"),
        ("scene.border_depth", 2.0, "0.9 to 1.1"),
        ("scene.fov", 0.0, "above 0"),
        ("scene.rotation_range", 120.0, "below 90"),
        ("loss.perceptual", -1.0, "at least 0"),
        ("loss.flip", float("nan"), "finite"),
        ("loss.perceptual_features", "resnet", "vgg16"),
        ("loss.perceptual_features", "vgg16", "config.loss.perceptual_weights is empty"),
        ("loocc.factors", (), "at least one"),
        ("loocc.factors", ("light", "hair"), "light, view, albedo, depth"),
        ("loocc.factors", ("light", "light"), "each once"),
        ("loocc.choice", "coin", "sample, batch"),
        ("loocc.contrast", "triplet", "ntxent, supcon"),
        ("loocc.perturbation", "wild", "bounded, raw"),
        ("loocc.temperature", 0.0, "above 0"),
        ("loocc.weight", -0.1, "at least 0"),
        ("optim.learning_rate", 0.0, "above 0"),
        ("optim.schedule", "step", "constant, cosine"),
        ("optim.ema", 1.0, "below 1"),
        ("optim.warmup_steps", 10**9, "train.steps"),
        ("train.steps", 0, "at least 1"),
        ("train.batch_size", 62, "4 devices"),
        ("train.keep_checkpoints", 0, "at least 1"),
        ("train.best_metric", " ", "name"),
    ],
)
def test_impossible_value_is_one_line_that_names_the_key(key, value, said):
  config = config_lib.base()
  section, _, name = key.rpartition(".")
  setattr(config[section] if section else config, name, value)
  with pytest.raises(UserError) as error:
    validate(config, 4)
  message = str(error.value)
  assert said in message and "\n" not in message and (f"config.{key}" in message or key == "scene.max_depth" or said.startswith("config."))


def test_unknown_missing_and_mistyped_keys_of_a_config_file():
  config = config_lib.base()
  config.data.sid = 3
  with pytest.raises(UserError, match=r"config.data.sid is unknown; did you mean config.data.side\?"):
    validate(config, 1)
  config = config_lib.base()
  del config.data.side
  with pytest.raises(UserError, match=r"config.data.side is missing"):
    validate(config, 1)
  config = config_lib.base().to_dict()
  config["train"]["steps"] = True
  with pytest.raises(UserError, match=r"config.train.steps = True: must be int"):
    validate(config_lib.ConfigDict(config), 1)


def test_loocc_needs_company_and_unsup3d_does_not():
  config = config_lib.base()
  config.train.batch_size = 1
  with pytest.raises(UserError, match="LOOCC"):
    validate(config, 1)
  config.loocc.weight = 0.0
  validate(config, 1)
