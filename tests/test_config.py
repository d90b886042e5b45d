"""Every key has a rule, and every shipped configuration passes.

Every impossible value is one line that names the key. And a configuration becomes that of another method.
"""

import pytest

from pdr_jax import config as config_lib
from pdr_jax import methods
from pdr_jax.config import flatten
from pdr_jax.config_checks import rules, validate
from pdr_jax.errors import UserError


@pytest.mark.parametrize("method", methods.names())
def test_every_key_has_a_rule_and_the_defaults_pass(method):
  config = config_lib.base(method)
  assert set(rules(method)) == set(flatten(config)) and config.method == method
  config.init_from = "runs/first" if methods.describe(method).stage else ""
  validate(config, 1)


@pytest.mark.parametrize(
    "key, value, said",
    [
        ("data.side", 48, "32, 64, 128, 256"),
        ("data.side", 7, "at least 8"),
        ("data.channels", 2, "3, 1"),
        ("data.channels", 1, "3 channels"),
        ("data.frames", -1, "at least 0"),
        ("data.frames", 4, "single pictures"),
        ("init_from", "runs/x", "config.method=pdr"),
        ("data.name", "", "name"),
        ("data.crop", (1, 2, 3), "left"),
        ("data.crop", (5, 0, 5, 9), "left < right"),
        ("data.path", "/no/such/folder", "no such file"),
        ("data.workers", -1, "at least 0"),
        ("method", "gan", "one of beta_vae, "),
        ("method", "contract", "one of beta_vae, "),
        ("method", "no.such_module", "dotted path of a module with a METHOD"),
        ("method", "pdr_jax.errors", "dotted path of a module with a METHOD"),
        ("method", "", "name"),
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
        ("train.best_mode", "best", "lowest, highest"),
    ],
)
def test_impossible_value_is_one_line_that_names_the_key(key, value, said):
  config = config_lib.base()
  section, _, name = key.rpartition(".")
  setattr(config[section] if section else config, name, value)
  with pytest.raises(UserError) as error:
    validate(config, 4)
  message = str(error.value)
  assert (
    said in message
    and "\n" not in message
    and (f"config.{key}" in message or key == "scene.max_depth" or said.startswith("config."))
  )


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


def test_loocc_needs_company_and_unsup3d_and_a_vae_do_not():
  config = config_lib.base()
  config.train.batch_size = 1
  with pytest.raises(UserError, match="LOOCC"):
    validate(config, 1)
  config.loocc.weight = 0.0
  validate(config, 1)
  config = config_lib.base("vae")
  config.train.batch_size = 1
  validate(config, 1)


def test_a_method_has_its_own_sections_only_and_sets_common_defaults():
  pdr, simclr = config_lib.base(), config_lib.base("simclr")
  common = {"method", "seed", "init_from", "data", "optim", "train"}
  own = {"networks", "scene", "loss", "loocc", "view_consistency"}
  assert set(pdr) == common | own and "view_rate" in pdr.optim
  assert set(simclr) == common | {"networks", "baseline", "simclr"} and "view_rate" not in simclr.optim
  assert (pdr.train.best_metric, simclr.train.best_metric) == ("val/reconstruction", "val/nt_xent")
  assert config_lib.base("pdr_jax.methods.vae").to_dict() == config_lib.base("vae").to_dict() | {
      "method": "pdr_jax.methods.vae"
  }


def test_another_method_takes_over_what_was_changed_where_it_has_the_key():
  config = config_lib.variant(config_lib.base(), "small")
  config.seed, config.data.crop, config.loocc.weight = 3, (1, 2, 9, 10), 0.0
  simclr = config_lib.for_method(config, "simclr")
  expected = config_lib.variant(config_lib.base("simclr"), "small")
  expected.seed, expected.data.crop = 3, (1, 2, 9, 10)
  assert simclr.to_dict() == expected.to_dict()  # its own best metric among them
  back = config_lib.for_method(simclr, "pdr")
  assert back.data.to_dict() == config.data.to_dict() and back.train.best_metric == "val/reconstruction"
  assert config_lib.for_method(config, "pdr").to_dict() == config.to_dict()
  with pytest.raises(UserError, match=r"config.method = 'gan'"):
    config_lib.for_method(config, "gan")


def test_what_a_method_does_not_read_is_refused_and_not_taken_over():
  """All of `optim` of PrGAN, of which the common variant and another method's configuration say something."""
  config = config_lib.base("voxels")
  config.optim.update(learning_rate=1.0, schedule="cosine", warmup_steps=2, b1=0.1, b2=0.5, weight_decay=1.0)
  config.optim.update(clip_norm=2.0, ema=0.9)
  config.train.steps = 5
  prgan, plain = config_lib.for_method(config, "prgan"), config_lib.base("prgan")
  assert prgan.optim == plain.optim and prgan.train.steps == 5
  small = config_lib.variant(prgan, "small")
  assert small.optim == plain.optim and small.data.side == 32
  validate(small, 1)
  assert set(plain.optim) == {key.removeprefix("optim.") for key in methods.describe("prgan").unread}
  for key, value in config.optim.items():
    if key in plain.optim:
      small = config_lib.variant(config_lib.base("prgan"), "small")
      small.optim[key] = value
      with pytest.raises(UserError, match=rf"optim.{key} = .*prgan does not read it; .*prgan.judge_rate"):
        validate(small, 1)


def test_variants_are_those_of_the_common_keys_and_of_the_method():
  assert config_lib.variants("pdr") == ("small", "unsup3d", "parity", "cars", "shallow", "plain", "frontal")
  assert config_lib.variants("vae") == ("small",)
  validate(config_lib.variant(config_lib.base(), "cars,small,unsup3d,parity"), 1)
  with pytest.raises(ValueError, match="unknown config variant 'parity'; choose from small"):
    config_lib.variant(config_lib.base("vae"), "parity")
