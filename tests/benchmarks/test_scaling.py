"""Collectives counted in known programs, and the ring formula against a simulated ring."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from benchmarks import scaling

HLO = """HloModule step

%add (a: f32[], b: f32[]) -> f32[] {
  ROOT %sum = f32[] add(%a, %b)
}

ENTRY %main {
  %all-reduce.1 = (f32[], f32[4,4,8]{2,1,0}, /*index=2*/bf16[16]{0}) all-reduce(%a, %b, %c), to_apply=%add
  %get-tuple-element.1 = f32[4,4,8]{2,1,0} get-tuple-element(%all-reduce.1), index=1
  %scalars = (f32[], s32[]) all-reduce(%d, %e), metadata={op_name="jit(step)/all-gather (x)/psum"}
  %all_gather.3 = f32[16,160]{1,0} all-gather(%local), dimensions={0}
  %gathering = (f32[4,160]{1,0}, f32[16,160]{1,0}) all-gather-start(%local), dimensions={0}
  %gathered = f32[16,160]{1,0} all-gather-done(%gathering)
  ROOT %scattered = pred[4,160]{1,0} reduce-scatter(%x), dimensions={0}, to_apply=%add
}
"""


def test_collectives_of_a_known_program():
  actual = scaling.collectives(HLO, 4)
  assert actual == [
    ("all-reduce", 512 + 32, 4),
    ("all-reduce", 0, 8),
    ("all-gather", 10_240, 0),
    ("all-gather", 10_240, 0),
    ("reduce-scatter", 4 * 640, 0),
  ]
  assert scaling.totals(actual) == {
    "gradients": (1, 544),
    "metrics and counts": (1, 12),
    "negatives": (3, 23_040),
  }


def test_collectives_of_a_compiled_program():
  """What a program is written to send is what is counted, for whatever this version's text looks like."""
  devices = jax.local_device_count()
  if devices < 2:
    pytest.skip("one device sends nothing")

  def step(x):
    everyone = lax.all_gather(x, "i", tiled=True)
    return lax.psum(x * 2, "i"), lax.pmean(x.sum(), "i"), lax.psum_scatter(jnp.sin(everyone), "i", tiled=True)

  text = jax.pmap(step, axis_name="i").lower(np.zeros((devices, 6, 5), np.float32)).compile().as_text()
  actual = scaling.totals(scaling.collectives(text, devices))
  assert actual["gradients"][1] == 6 * 5 * 4
  assert actual["metrics and counts"][1] == 4
  assert actual["negatives"] == (2, 2 * devices * 6 * 5 * 4)


def test_contrast_is_what_xla_counts():
  """The similarities alone: a third of the operations of similarities and both their gradients."""
  batch, devices, features = 3, 4, 50
  product = jax.jit(lambda own, all: own @ all.T).lower(
    jnp.ones((2 * batch, features)), jnp.ones((2 * batch * devices, features))
  )
  assert product.cost_analysis()["flops"] * 3 / batch == scaling.contrast_flops(batch, devices, features)


def ring_all_reduce(devices: int, size: float, bandwidth: float, latency: float) -> float:
  """Seconds of a ring, hop by hop: the array in as many pieces as devices, passed on 2 (n - 1) times."""
  return sum(size / devices / bandwidth + latency for _ in range(2 * (devices - 1)))


@pytest.mark.parametrize("devices", [2, 8])
def test_ring(devices):
  machine = scaling.Machine("", devices, devices - 1, 1e9, 1e-3)
  seconds = scaling.communication_seconds(machine, 1e8, 0.0, 1)
  np.testing.assert_allclose(
    seconds["gradients"] + seconds["latency"], ring_all_reduce(devices, 1e8, 1e9, 1e-3)
  )
  # A gather and the reduce-scatter of its gradient are the two halves of an all-reduce.
  np.testing.assert_allclose(
    scaling.communication_seconds(machine, 0.0, 1e8, 0)["negatives"], ring_all_reduce(devices, 1e8, 1e9, 1e-3)
  )


def test_efficiency():
  seconds = {"gradients": 0.04, "negatives": 0.01, "latency": 0.0}
  assert scaling.efficiency(seconds, 0.05) == pytest.approx(0.5)
  assert scaling.efficiency(seconds, 0.05, hidden=0.5) == pytest.approx(0.05 / 0.075)
  # the gradients are hidden, the negatives are not
  assert scaling.efficiency(seconds, 0.1, hidden=0.5) == pytest.approx(0.1 / 0.11)
