"""SSV's networks written out in PyTorch, from parameters of ours: an independent oracle.

Images are `[B,C,H,W]`, volumes `[B,C,D,H,W]`. A kernel `[k,k,(k,)I,O]` is PyTorch's with the axes reversed.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F


def tensors(params):
  """A tree of arrays as one of tensors that gradients are asked for."""
  if isinstance(params, dict):
    return {name: tensors(value) for name, value in params.items()}
  return torch.tensor(np.asarray(params), requires_grad=True)


def equalised(params, x):
  """A linear layer or a convolution, by the kernel's number of axes."""
  kernel, bias = params["kernel"], params["bias"]
  kernel = kernel * math.sqrt(2 / math.prod(kernel.shape[:-1]))
  if kernel.ndim == 2 and x.ndim == 2:
    return x @ kernel + bias
  if kernel.ndim == 2:  # 1 x 1
    return F.conv2d(x, kernel.T[:, :, None, None], bias)
  if kernel.ndim == 4:
    return F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, padding=1)
  return F.conv3d(x, kernel.permute(4, 3, 0, 1, 2), bias, padding=1)


def activate(x):
  return F.leaky_relu(x, 0.2)


def adain(params, x, style):
  scale, shift = equalised(params["style"], style).chunk(2, dim=1)
  shape = (*scale.shape, *(1,) * (x.ndim - 2))
  return F.instance_norm(x) * scale.reshape(shape) + shift.reshape(shape)


def mapping(params, code):
  x = code / torch.sqrt((code**2).mean(dim=1, keepdim=True) + 1e-8)
  for i in range(8):
    x = activate(equalised(params[f"layer{i}"], x))
  return x


def rotation(angles):
  """`Ry(a) Rx(e) Rz(t)` as the specification writes it."""
  rows = []
  for a, e, t in angles.tolist():
    c, s = math.cos, math.sin
    about_y = np.array([[c(a), 0, s(a)], [0, 1, 0], [-s(a), 0, c(a)]])
    about_x = np.array([[1, 0, 0], [0, c(e), -s(e)], [0, s(e), c(e)]])
    about_z = np.array([[c(t), -s(t), 0], [s(t), c(t), 0], [0, 0, 1]])
    rows.append(about_y @ about_x @ about_z)
  return torch.tensor(np.stack(rows), dtype=torch.float32)


def turned(x, angles, mode="bilinear"):
  matrix = torch.cat([rotation(angles), torch.zeros(len(angles), 3, 1)], dim=2)
  grid = F.affine_grid(matrix, list(x.shape), align_corners=True)
  return F.grid_sample(x, grid, mode=mode, padding_mode="zeros", align_corners=True)


def synthesis(params, codes, angles, mode="bilinear"):
  """Pictures `[B,C,S,S]`."""
  in_volume, in_picture = (mapping(params["mapping"], code) for code in codes.chunk(2, dim=1))
  x = params["constant"].permute(3, 0, 1, 2)[None].expand(len(codes), -1, -1, -1, -1)
  x = activate(adain(params["start_norm"], x, in_volume))
  x = activate(adain(params["start_conv_norm"], equalised(params["start_conv"], x), in_volume))
  i = 0
  while f"volume{i}_conv0" in params:
    x = F.interpolate(x, scale_factor=2, mode="trilinear", align_corners=False)
    for j in range(2):
      x = equalised(params[f"volume{i}_conv{j}"], x)
      x = activate(adain(params[f"volume{i}_norm{j}"], x, in_volume))
    i += 1
  x = turned(x, angles, mode)
  for i in range(4):
    x = activate(equalised(params[f"turned{i}"], x))
  x = x.reshape(len(x), -1, *x.shape[3:])
  x = F.prelu(equalised(params["projection"], x), params["projection_slope"])
  i = 0
  while f"flat{i}_conv0" in params:
    x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    for j in range(2):
      x = activate(adain(params[f"flat{i}_norm{j}"], equalised(params[f"flat{i}_conv{j}"], x), in_picture))
    i += 1
  return equalised(params["pixels"], x)


def viewpoint(params, images):
  """Realism, codes, magnitudes `[B,3,2]` and quadrants `[B,3,4]`, without dropout."""
  x = equalised(params["pixels"], images)
  x = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
  i = 0
  while f"down{i}_conv0" in params:
    for j in range(2):
      x = activate(F.instance_norm(equalised(params[f"down{i}_conv{j}"], x)))
    x = F.interpolate(x, scale_factor=0.5, mode="bilinear", align_corners=False)
    i += 1
  deviation = torch.sqrt(x.var(dim=0, unbiased=False) + 1e-8).mean()
  x = torch.cat([x, deviation.expand(len(x), 1, *x.shape[2:])], dim=1)
  x = activate(F.instance_norm(equalised(params["last_conv"], x)))
  features = activate(equalised(params["features"], x.permute(0, 2, 3, 1).reshape(len(x), -1)))
  heads = []
  for name in ("azimuth", "elevation", "tilt"):
    hidden = F.relu(equalised(params[f"{name}_hidden"], features))
    heads.append([equalised(params[f"{name}_{part}"], hidden) for part in ("magnitudes", "quadrant")])
  magnitudes, quadrants = (torch.stack(part, dim=1) for part in zip(*heads, strict=True))
  realism = equalised(params["realism"], features)[:, 0]
  return realism, equalised(params["codes"], features), magnitudes, quadrants
