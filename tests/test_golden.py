"""Resolved configurations and parameter trees, as they were when somebody last looked at them.

To write them anew after a change that is meant, and look at the difference with `git diff tests/golden`:

    PDR_JAX_GOLDEN=write python -m pytest tests/test_golden.py
"""

import glob
import importlib.util
import json
import os

import jax
import jax.numpy as jnp
import pytest

from pdr_jax import config as config_lib
from pdr_jax import elements, methods

HERE = os.path.dirname(os.path.abspath(__file__))
GOLDEN = os.path.join(HERE, "golden")
CONFIGS = sorted(glob.glob(os.path.join(os.path.dirname(HERE), "configs", "*.py")))
# Keys that make a method small, where it has them.
SMALL = {
  "data.side": 32,
  "networks.width_map": 8,
  "networks.width_vector": 4,
  "networks.zdim": 8,
  "networks.zdim_confidence": 4,
  "vq_vae.codes": 6,
  "vq_vae.code_dim": 8,
  "simclr.projection": 4,
  "vicreg.expander": 8,
  "mae.width": 8,
  "mae.depth": 1,
  "mae.decoder_width": 8,
  "supervised.labels": ("smiling", "expression"),
  "supervised.classes": (2, 3),
  "optim.ema": 0.9,
  "drnet.width": 4,
  "ssv.width_synthesis": 8,
  "ssv.width_viewpoint": 8,
  "ssv.code": 4,
  "drnet_forecast.hidden": 8,
}
FIRST = {"drnet_forecast": "drnet"}  # what a second stage starts from


def check(kind: str, name: str, value: dict) -> None:
  path = os.path.join(GOLDEN, kind, f"{name}.json")
  value = json.loads(json.dumps(value))
  if os.environ.get("PDR_JAX_GOLDEN") == "write":
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
      file.write(json.dumps(value, indent=1) + "\n")
  with open(path, encoding="utf-8") as file:
    assert value == json.load(file)


def get_config(path: str, variants: str = "") -> dict:
  spec = importlib.util.spec_from_file_location("a_config", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return config_lib.flatten(module.get_config(variants))


@pytest.mark.parametrize("path", CONFIGS, ids=os.path.basename)
def test_every_shipped_configuration_is_as_it_was(path):
  """All keys, and what each variant changes of them."""
  plain = get_config(path)
  content = {"config": plain}
  for variant in config_lib.variants(plain["method"]):
    changed = get_config(path, variant)
    assert changed.keys() == plain.keys()
    content[variant] = {key: value for key, value in changed.items() if value != plain[key]}
  check("configs", os.path.basename(path).removesuffix(".py"), content)


def small(method, first=None):
  """A small configuration, its method, and the shapes of the inference variables."""
  config = config_lib.base(method)
  for key, value in SMALL.items():
    section, name = key.split(".")
    if name in config.get(section, {}):
      config[section][name] = value
  example = elements.zeros(methods.describe(method).reads(config), 1)
  if first is not None:  # its variables are arrays in the state
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first.variables)
    first = first._replace(variables=zeros)
  system = methods.create(config, first)
  state = jax.eval_shape(system.init, jax.random.key(0), example)
  return config, system, methods.inference_variables(state)


@pytest.mark.parametrize("method", methods.names())
def test_every_methods_defaults_and_parameters_are_as_they_were(method):
  check("methods", method, config_lib.flatten(config_lib.base(method)))
  first = None
  if method in FIRST:
    first = methods.FirstStage(*small(FIRST[method]))
  _, _, variables = small(method, first)
  shapes = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
    shapes[jax.tree_util.keystr(path, simple=True, separator="/")] = f"{leaf.dtype} {list(leaf.shape)}"
  check("parameters", method, shapes)
