"""The step that is timed against PyTorch does what PyTorch does."""

import numpy as np
import pytest

from benchmarks import convolutions, measure

torch = pytest.importorskip("torch", reason="the step is compared with PyTorch's")


@pytest.mark.users_programs
def test_both_sides_take_the_same_steps():
  """The same losses over four steps of Adam, from the same weights.

  A side that left work out would leave the other's path.
  """
  from benchmarks import step

  torch.manual_seed(0)
  config = measure.load_config("configs/heads.py", width=8)
  config.optim.clip_norm, config.optim.learning_rate = 0.0, 1e-3
  references, images = convolutions.torch_networks(8), measure.images(2, 64)
  ours = step.networks_step(references, 8, images, config)
  theirs = step.torch_step(references, images, config)
  losses = np.array([[ours(), theirs()] for _ in range(4)])
  assert np.all(np.diff(losses[:, 1]) < -1e-3 * losses[:-1, 1])  # they move
  np.testing.assert_allclose(losses[:3, 0], losses[:3, 1], rtol=1e-3)
  # Adam makes whole steps of gradients that are rounding, so that two orders of summation part: seen by 0.2 %
  # at the fourth loss.
  np.testing.assert_allclose(losses[3, 0], losses[3, 1], rtol=1e-2)


def test_alternating_repetitions_and_their_spread():
  calls = []
  seconds = measure.alternating({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 3)
  assert calls == ["a", "b"] * 4
  assert seconds["a"].shape == (3,) and (seconds["b"] > 0).all()
  assert measure.spread(np.array([1.0, 2.0, 3.0, 4.0, 5.0])) == "3.0 [2.0 ... 4.0]"
