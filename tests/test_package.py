"""Every module imports, and every configuration and its variants build and are possible.

Importing touches no device.
"""

import importlib
import importlib.util
import pathlib
import pkgutil
import subprocess
import sys

import pytest

import pdr_jax
from pdr_jax.config import base, variants
from pdr_jax.config_checks import flatten, validate
from pdr_jax.methods import describe

ROOT = pathlib.Path(pdr_jax.__file__).parents[1]
CONFIGS = sorted((ROOT / "configs").glob("*.py"))
MODULES = [module.name for module in pkgutil.walk_packages(pdr_jax.__path__, "pdr_jax.")]


@pytest.mark.parametrize("name", MODULES)
def test_module_imports(name):
  importlib.import_module(name)


def module_of(path):
  spec = importlib.util.spec_from_file_location(path.stem, path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_builds_and_is_possible(path, tmp_path):
  module = module_of(path)
  method = module.get_config().method
  for variant in ["", *variants(method), *(["small,unsup3d"] if method == "pdr" else [])]:
    config = module.get_config(variant)
    config.data.path = str(tmp_path)
    if describe(method).stage:
      config.init_from = str(tmp_path)
    validate(config, 1)
    assert set(flatten(config)) == set(flatten(base(method)))  # every default is visible, no key of its own
  assert f"configs/{path.name}" in module.__doc__  # the docstring says how to run it


def test_unknown_variant_is_named():
  spec = importlib.util.spec_from_file_location("heads", ROOT / "configs" / "heads.py")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  with pytest.raises(ValueError, match="unknown config variant 'larg'"):
    module.get_config("larg")


def test_imports_touch_no_device_and_change_no_flag():
  code = "\n".join(
    [
      "import jax, importlib",
      "before = {k: v for k, v in jax.config.values.items()}",
      f"for name in {[name for name in MODULES if not name.startswith('pdr_jax.data')]}:",
      "  importlib.import_module(name)",
      "import jax._src.xla_bridge as bridge",
      "assert not bridge._backends, 'a backend was started at import'",
      "after = {k: v for k, v in jax.config.values.items() if k in before}",
      "assert before == after, 'a jax flag was changed at import'",
      "import sys; assert 'tensorflow' not in sys.modules",
    ]
  )
  done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
  assert done.returncode == 0, done.stderr[-2000:]
