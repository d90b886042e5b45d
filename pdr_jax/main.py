"""Trains the method of a configuration.

python -m pdr_jax.main --config configs/quickstart.py[:variant] --workdir DIR [--config.key=value ...]

  --config            a file with get_config(); `:variant` is handed to it
  --workdir           folder of the run: checkpoints, figures, metrics; the same command again continues it
  --config.key=value  overrides one value, such as --config.data.side=32
  --override_config   continue a run although the configuration has changed

Exit codes: 0 done, 2 a mistake in the command or its files, 75 stopped by SIGTERM or Ctrl-C and saved (the same command continues).
Several processes and machines: see launch/; everything else: docs/manual.md.
"""

import gc
import os

from pdr_jax import command_line


def main(argv: list[str]) -> int:
  """Flags -> config -> training; returns the exit code."""
  arguments = command_line.parse(argv)

  # Only now what takes seconds to import, so that a mistyped flag answers at once.
  import jax

  from pdr_jax.config_checks import validate
  from pdr_jax.training import distributed
  from pdr_jax.training.loop import train

  gc.set_threshold(100_000)  # tracing a step makes millions of objects that stay: looking through them takes a sixth of its time
  distributed.start()
  cache_compilations(jax)
  with distributed.failing_at_once():
    validate(arguments.config, jax.device_count())
    return train(arguments.config, arguments.workdir, override_config=arguments.override_config).exit_code


def cache_compilations(jax) -> None:
  """Compiled programs are kept in the user's cache folder: the second start of a run takes seconds, not minutes."""
  if jax.config.jax_compilation_cache_dir is None:  # JAX_COMPILATION_CACHE_DIR wins
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    jax.config.update("jax_compilation_cache_dir", os.path.join(home, "pdr_jax", "xla"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


if __name__ == "__main__":
  command_line.run(main, __doc__)
