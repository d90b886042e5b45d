"""Times normalising pictures beside encoding them: `python -m benchmarks.normalize`.

Images per second of `encode`, of `normalize` at the model's side, and of `photograph`: the whole way of
`decompose --normalize_only` from decoded photographs of `--photograph` pixels a side (`decompose` and
`exports.photograph`). The networks have random weights: a flat relief seen from the front takes as long as
any. Medians of alternating repetitions with the middle half in brackets.
"""

import argparse
from functools import partial

import jax

from benchmarks import measure
from pdr_jax import methods
from pdr_jax.exports import photograph


def rows(side: int, values: argparse.Namespace) -> list[list[str]]:
  """One row for each of the three, at one side of the model."""
  config = measure.load_config(values.config, side=side)
  method = methods.create(config)
  images = measure.images(values.batch, side)
  variables = jax.device_put(methods.inference_variables(method.init(jax.random.key(0), {"image": images})))
  camera = methods.describe(config.method).camera(config)._asdict()
  programs = {name: jax.jit(getattr(method, name)) for name in ("encode", "normalize", "decompose")}
  photographs = measure.images(1, values.photograph)

  def whole() -> None:
    parts = jax.device_get(programs["decompose"](variables, images[:1]))
    photograph.unwrapped(photographs[0], parts, camera)

  def of_batch(name: str) -> None:
    jax.block_until_ready(programs[name](variables, images))

  steps = {name: partial(of_batch, name) for name in ("encode", "normalize")} | {"photograph": whole}
  counts = {"encode": values.batch, "normalize": values.batch, "photograph": 1}
  seconds = measure.alternating(steps, values.repetitions)
  rates = {name: counts[name] / seconds[name] for name in steps}
  return [
    [f"{name}, {side}", measure.spread(rate), measure.spread(rate / rates["encode"], 3)]
    for name, rate in rates.items()
  ]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--config", default="configs/heads.py:small", help="FILE[:VARIANT]")
  parser.add_argument("--sides", default="32,64", help="of the model")
  parser.add_argument("--batch", type=int, default=64)
  parser.add_argument("--photograph", type=int, default=512, help="side of photographs")
  parser.add_argument("--repetitions", type=int, default=9)
  parser.add_argument("--quick", action="store_true", help="for looking whether it runs")
  values = parser.parse_args()
  if values.quick:
    values.sides, values.batch, values.photograph, values.repetitions = "32", 4, 64, 2
  print(measure.machine())
  table = [row for side in map(int, values.sides.split(",")) for row in rows(side, values)]
  print(measure.table(["what, model's side", "images/s", "of encode"], table))


if __name__ == "__main__":
  main()
