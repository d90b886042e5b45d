"""PyTorch, where it is installed: an independent reference for convolutions, networks and gradients.

It has no build for every Python that the package runs on; what compares with it is skipped there.
"""

import pytest

try:
  import torch
except ModuleNotFoundError:
  torch = None

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch, the reference, is not installed")
