"""SSV's two gradients next to the same networks and losses in PyTorch eager: `python -m benchmarks.ssv`.

Of both halves of the step (all terms of the viewpoint network, its gradient penalty included; all terms of
the synthesis network) the gradient by the network's parameters, from the same weights, pictures and draws,
without dropout. Repetitions alternate. The first losses of both are printed: they are the same.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from benchmarks import measure
from pdr_jax import config as config_lib
from pdr_jax.methods.ssv import model, system


def halves(config: ConfigDict, batch: int) -> dict:
  """`{half: (ours, PyTorch's)}`, each a function that gives the weighted loss and computes the gradient."""
  import torch

  from tests.support import ssv_reference

  images, rng, index = measure.images(batch, config.data.side), jax.random.key(0), jnp.arange(batch)
  params = jax.jit(lambda key: model.init(key, config))(jax.random.key(1))
  networks = {name: ssv_reference.tensors(jax.device_get(tree)) for name, tree in params.items()}

  def tensor(array):
    return torch.tensor(np.asarray(array))

  def drawn(key):
    return tuple(tensor(part) for part in model.draw(jax.random.fold_in(rng, key), index, config))

  pictures = tensor(np.moveaxis(images, -1, 1).copy())
  mix = tensor(model.draw_mix(jax.random.fold_in(rng, system._MIX), index))
  fake, first, second = (drawn(key) for key in (system._FAKE, system._FIRST, system._SECOND))
  of_torch = {
    "viewpoint": lambda v, s: ssv_reference.viewpoint_terms(
      v, s, pictures, *fake, mix, [None] * 3, config.ssv.drift
    ),
    "synthesis": lambda v, s: ssv_reference.synthesis_terms(v, s, first, second, None),
  }
  of_ours = {"viewpoint": system.viewpoint_terms, "synthesis": system.synthesis_terms}
  weights = {"viewpoint": system.viewpoint_weights(config), "synthesis": system.synthesis_weights(config)}

  def ours(name):
    more = {"features": None} if name == "viewpoint" else {}
    other = params["synthesis" if name == "viewpoint" else "viewpoint"]

    def loss(mine, other, images):
      terms, _ = of_ours[name](
        mine, other=other, images=images, rng=rng, axis_name=None, config=config, **more
      )
      return sum(weight * terms[term] for term, weight in weights[name].items())

    run = jax.jit(jax.value_and_grad(loss))
    return lambda: float(jax.block_until_ready(run(params[name], other, images))[0])

  def theirs(name):
    leaves = jax.tree.leaves(networks[name])

    def run():
      terms = of_torch[name](networks["viewpoint"], networks["synthesis"])
      loss = sum(weight * terms[term] for term, weight in weights[name].items())
      torch.autograd.grad(loss, leaves)
      return loss.item()

    return run

  return {name: (ours(name), theirs(name)) for name in of_ours}


def main() -> None:
  """Parses the command line, measures and prints a table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--side", type=int, default=32)
  parser.add_argument("--width", type=int, default=48)
  parser.add_argument("--batch", type=int, default=8)
  parser.add_argument("--repetitions", type=int, default=7)
  args = parser.parse_args()
  config = config_lib.variant(config_lib.base("ssv"), "small")
  config.data.side = args.side
  config.ssv.update(width_synthesis=args.width, width_viewpoint=args.width, dropout=0.0)
  print(measure.machine())
  rows = []
  for name, (ours, theirs) in halves(config, args.batch).items():
    print(f"{name}: first losses {ours():.5f} (JAX), {theirs():.5f} (PyTorch)", flush=True)
    seconds = measure.alternating({"jax": ours, "torch": theirs}, args.repetitions)
    ratio = measure.spread(seconds["jax"] / seconds["torch"], 2)
    rows.append([name, *(measure.spread(1e3 * seconds[key]) for key in ("jax", "torch")), ratio])
  print(measure.table(["half of the step", "JAX, ms", "PyTorch eager, ms", "JAX / PyTorch"], rows))


if __name__ == "__main__":
  main()
