"""The hand count of the voxel decoder, against the kernels that it has."""

import jax
import jax.numpy as jnp

from benchmarks import voxels
from pdr_jax.networks.voxels import VolumeDecoder


def test_operations_of_the_decoder_are_those_of_its_kernels():
  """Every tap of a kernel meets every voxel of its input once; three passes of two operations."""
  code, width, batch = 5, 8, 3
  decoder = VolumeDecoder(width, voxels.SIDE)
  shapes = jax.eval_shape(
    lambda z: decoder.init(jax.random.key(0), z, False), jax.ShapeDtypeStruct((batch, code), jnp.float32)
  )
  inputs = {"expand": 1, "up0": 7**3, "density": 14**3}
  sizes = {name: shapes["params"][name]["kernel"].size for name in inputs}
  products = sum(batch * inputs[name] * size for name, size in sizes.items())
  assert voxels.works(code, width, batch)["decoder"].flops == 3 * 2 * products
  kernels = [name for name, tree in shapes["params"].items() if "kernel" in tree]
  assert sorted(kernels) == sorted(inputs)  # none is left out
