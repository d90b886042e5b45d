"""The five networks in PyTorch, written out as Unsup3D's (side 64): an independent oracle.

The mapping of their weights onto ours is here too.
"""

import numpy as np
import torch
from torch import nn


def _gn(channels):
  return nn.GroupNorm(channels // 4, channels)


def _encoder(nf, zdim):
  return [
      nn.Conv2d(3, nf, 4, 2, 1, bias=False), _gn(nf), nn.LeakyReLU(0.2),
      nn.Conv2d(nf, nf * 2, 4, 2, 1, bias=False), _gn(nf * 2), nn.LeakyReLU(0.2),
      nn.Conv2d(nf * 2, nf * 4, 4, 2, 1, bias=False), _gn(nf * 4), nn.LeakyReLU(0.2),
      nn.Conv2d(nf * 4, nf * 8, 4, 2, 1, bias=False), nn.LeakyReLU(0.2),
      nn.Conv2d(nf * 8, zdim, 4, 1, 0, bias=False), nn.ReLU()]


class TorchAutoencoder(nn.Module):
  """Returns (maps [B,C,64,64], bottleneck [B,zdim])."""

  def __init__(self, channels, nf, zdim, tanh):
    super().__init__()
    self.encoder = nn.Sequential(*_encoder(nf, zdim))
    self.decoder = nn.Sequential(
        nn.ConvTranspose2d(zdim, nf * 8, 4, 1, 0, bias=False), nn.ReLU(),
        nn.Conv2d(nf * 8, nf * 8, 3, 1, 1, bias=False), nn.ReLU(),
        nn.ConvTranspose2d(nf * 8, nf * 4, 4, 2, 1, bias=False), _gn(nf * 4), nn.ReLU(),
        nn.Conv2d(nf * 4, nf * 4, 3, 1, 1, bias=False), _gn(nf * 4), nn.ReLU(),
        nn.ConvTranspose2d(nf * 4, nf * 2, 4, 2, 1, bias=False), _gn(nf * 2), nn.ReLU(),
        nn.Conv2d(nf * 2, nf * 2, 3, 1, 1, bias=False), _gn(nf * 2), nn.ReLU(),
        nn.ConvTranspose2d(nf * 2, nf, 4, 2, 1, bias=False), _gn(nf), nn.ReLU(),
        nn.Conv2d(nf, nf, 3, 1, 1, bias=False), _gn(nf), nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(nf, nf, 3, 1, 1, bias=False), _gn(nf), nn.ReLU(),
        nn.Conv2d(nf, nf, 5, 1, 2, bias=False), _gn(nf), nn.ReLU(),
        nn.Conv2d(nf, channels, 5, 1, 2, bias=False), *([nn.Tanh()] if tanh else []))

  def forward(self, images):
    z = self.encoder(images)
    return self.decoder(z), z.flatten(1)


class TorchVectorEncoder(nn.Module):
  """Returns (vector [B,N], bottleneck [B,8 nf])."""

  def __init__(self, outputs, nf):
    super().__init__()
    self.trunk = nn.Sequential(
      nn.Conv2d(3, nf, 4, 2, 1, bias=False),
      nn.ReLU(),
      nn.Conv2d(nf, nf * 2, 4, 2, 1, bias=False),
      nn.ReLU(),
      nn.Conv2d(nf * 2, nf * 4, 4, 2, 1, bias=False),
      nn.ReLU(),
      nn.Conv2d(nf * 4, nf * 8, 4, 2, 1, bias=False),
      nn.ReLU(),
      nn.Conv2d(nf * 8, nf * 8, 4, 1, 0, bias=False),
      nn.ReLU(),
    )
    self.head = nn.Conv2d(nf * 8, outputs, 1, bias=False)

  def forward(self, images):
    z = self.trunk(images)
    return torch.tanh(self.head(z)).flatten(1), z.flatten(1)


class TorchConfidence(nn.Module):
  """Returns (pixel [B,2,64,64], feature [B,2,16,16])."""

  def __init__(self, nf, zdim):
    super().__init__()
    self.trunk = nn.Sequential(
        *_encoder(nf, zdim),
        nn.ConvTranspose2d(zdim, nf * 8, 4, 1, 0, bias=False), nn.ReLU(),
        nn.ConvTranspose2d(nf * 8, nf * 4, 4, 2, 1, bias=False), _gn(nf * 4), nn.ReLU(),
        nn.ConvTranspose2d(nf * 4, nf * 2, 4, 2, 1, bias=False), _gn(nf * 2), nn.ReLU())
    self.feature = nn.Sequential(nn.Conv2d(nf * 2, 2, 3, 1, 1, bias=False), nn.Softplus())
    self.pixel = nn.Sequential(
        nn.ConvTranspose2d(nf * 2, nf, 4, 2, 1, bias=False), _gn(nf), nn.ReLU(),
        nn.ConvTranspose2d(nf, nf, 4, 2, 1, bias=False), _gn(nf), nn.ReLU(),
        nn.Conv2d(nf, 2, 5, 1, 2, bias=False), nn.Softplus())

  def forward(self, images):
    x = self.trunk(images)
    return self.pixel(x), self.feature(x)


_ENCODER = [
  f"encoder/{n}"
  for n in ("down0", "down0_norm", "down1", "down1_norm", "down2", "down2_norm", "down3", "bottleneck")
]
# Our layers in the order in which PyTorch's modules() lists theirs.
ORDER = {
  TorchAutoencoder: _ENCODER
  + [
    f"decoder/{n}"
    for n in (
      "expand",
      "expand_conv",
      "up0",
      "up0_norm",
      "up0_conv",
      "up0_conv_norm",
      "up1",
      "up1_norm",
      "up1_conv",
      "up1_conv_norm",
      "up2",
      "up2_norm",
      "up2_conv",
      "up2_conv_norm",
      "final0",
      "final0_norm",
      "final1",
      "final1_norm",
      "head",
    )
  ],
  TorchVectorEncoder: [f"encoder/{n}" for n in ("down0", "down1", "down2", "down3", "bottleneck")] + ["head"],
  TorchConfidence: _ENCODER
  + [
    "expand",
    "up0",
    "up0_norm",
    "up1",
    "up1_norm",
    "feature_head",
    "up2",
    "up2_norm",
    "up3",
    "up3_norm",
    "pixel_head",
  ],
}


def layers(module):
  """The PyTorch layers with weights, by our names."""
  actual = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d, nn.GroupNorm))]
  return dict(zip(ORDER[type(module)], actual, strict=True))


def _nest(flat):
  tree = {}
  for path, leaves in flat.items():
    node = tree
    for part in path.split("/"):
      node = node.setdefault(part, {})
    node.update(leaves)
  return tree


def convert(module, read=lambda parameter: parameter):
  """Flax parameters `{"params": ...}` of a PyTorch network.

  `read=lambda p: p.grad` converts its gradients instead.
  """
  flat = {}
  for path, layer in layers(module).items():
    weight = read(layer.weight).detach().numpy()
    if isinstance(layer, nn.GroupNorm):
      flat[path] = dict(scale=weight.copy(), bias=read(layer.bias).detach().numpy().copy())
    else:
      axes = (2, 3, 0, 1) if isinstance(layer, nn.ConvTranspose2d) else (2, 3, 1, 0)
      flat[path] = dict(kernel=np.ascontiguousarray(weight.transpose(axes)))
  return dict(params=_nest(flat))
