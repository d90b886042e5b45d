"""SSV's networks and losses written out in PyTorch, from parameters of ours: an independent oracle.

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
  if kernel.ndim == 2 and x.ndim == 5:  # 1 x 1 x 1
    return F.conv3d(x, kernel.T[:, :, None, None, None], bias)
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
  for i in range(len(params)):
    x = activate(equalised(params[f"layer{i}"], x))
  return x


def rotation(angles):
  """`Ry(a) Rx(e) Rz(t)` as the specification writes it."""
  (a, e, t), (o, i) = angles.unbind(1), (torch.zeros(len(angles)), torch.ones(len(angles)))
  c, s = torch.cos, torch.sin
  about_y = [c(a), o, s(a), o, i, o, -s(a), o, c(a)]
  about_x = [i, o, o, o, c(e), -s(e), o, s(e), c(e)]
  about_z = [c(t), -s(t), o, s(t), c(t), o, o, o, i]
  matrices = [torch.stack(entries, dim=1).reshape(-1, 3, 3) for entries in (about_y, about_x, about_z)]
  return matrices[0] @ matrices[1] @ matrices[2]


def density(logits):
  """Of a soft ball, `[B,V,V,V]`: zero in the corners."""
  place = torch.linspace(-1, 1, logits.shape[-1])
  r = torch.linalg.norm(torch.stack(torch.meshgrid(place, place, place, indexing="ij")), dim=0)
  rim = max(1 / 6, 2 / (len(place) - 1))
  return F.softplus(6 * (0.7 - r) + logits) * ((1 - r) / rim).clamp(0, 1)


def received(params, x, angles, mode):
  """What rays along z receive of a smoothed, turned medium, plane by plane; pictures show its middle 0.8."""
  x = equalised(params["medium1"], activate(equalised(params["medium0"], x)))
  kernel = torch.einsum("i,j,k->ijk", *[torch.tensor([0.25, 0.5, 0.25])] * 3)
  x = F.conv3d(F.pad(x, (1,) * 6, mode="replicate"), kernel.expand(x.shape[1], 1, 3, 3, 3), groups=x.shape[1])
  x = turned(torch.cat([density(x[:, 0])[:, None], x[:, 1:]], dim=1), angles, mode, (0.8, 0.8, 1))
  light, passed = 0, 1
  for plane in x.unbind(2):
    stays = torch.exp(-plane[:, :1])
    light, passed = light + passed * (1 - stays) * plane[:, 1:], passed * stays
  return torch.cat([light, 1 - passed], dim=1)


def turned(x, angles, mode="bilinear", scale=(1, 1, 1)):
  matrix = rotation(angles) * torch.tensor(scale, dtype=torch.float32)  # columns: x, y, z of the output
  matrix = torch.cat([matrix, torch.zeros(len(angles), 3, 1)], dim=2)
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
  if "medium0" in params:
    x = received(params, x, angles, mode)
  else:
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


def viewpoint(params, images, dropout=None):
  """Realism, codes, magnitudes `[B,3,2]` and quadrants `[B,3,4]`; `dropout` are factors `[B,3,H]`."""
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
  for k, name in enumerate(("azimuth", "elevation", "tilt")):
    hidden = F.relu(equalised(params[f"{name}_hidden"], features))
    hidden = hidden if dropout is None else hidden * dropout[:, k]
    heads.append([equalised(params[f"{name}_{part}"], hidden) for part in ("magnitudes", "quadrant")])
  magnitudes, quadrants = (torch.stack(part, dim=1) for part in zip(*heads, strict=True))
  realism = equalised(params["realism"], features)[:, 0]
  return realism, equalised(params["codes"], features), magnitudes, quadrants


# ---------------------------------------------------------------- losses


def first_map(params, images):
  """The trunk's first map, by a detached network."""
  frozen = {name: {k: v.detach() for k, v in params[name].items()} for name in params if name in FIRST}
  x = F.interpolate(equalised(frozen["pixels"], images), scale_factor=0.5, mode="bilinear")
  for j in range(2):
    x = activate(F.instance_norm(equalised(frozen[f"down0_conv{j}"], x)))
  return F.interpolate(x, scale_factor=0.5, mode="bilinear").flatten(1)


FIRST = ("pixels", "down0_conv0", "down0_conv1")
MIRRORED = torch.tensor([1, 0, 3, 2])


def soft(magnitudes, quadrants, squares, quadrant):
  """Cross-entropies of one angle: of the squared cosine and sine, and of the quadrant."""
  return F.cross_entropy(magnitudes, squares) + F.cross_entropy(quadrants, quadrant)


def angle_loss(magnitudes, quadrants, angles):
  total = 0
  for k in range(3):
    cosine, sine = torch.cos(angles[:, k]), torch.sin(angles[:, k])
    squares = torch.stack([cosine**2, sine**2], dim=1)
    total = total + soft(magnitudes[:, k], quadrants[:, k], squares, 2 * (cosine < 0) + 1 * (sine < 0))
  return total


def flip_loss(said, of_mirrored):
  total = 0
  for k in range(3):
    squares, quadrant = torch.softmax(said[0][:, k].detach(), 1), said[1][:, k].argmax(1)
    quadrant = quadrant if k == 1 else MIRRORED[quadrant]
    total = total + soft(of_mirrored[0][:, k], of_mirrored[1][:, k], squares, quadrant)
  return total


def decoded(magnitudes, quadrants):
  """The angles, as the specification has them."""
  p, quadrant = torch.softmax(magnitudes, -1), quadrants.argmax(-1)
  sign_cosine, sign_sine = 1 - 2 * (quadrant // 2), 1 - 2 * (quadrant % 2)
  return torch.atan2(sign_sine * p[..., 1].sqrt(), sign_cosine * p[..., 0].sqrt())


def shaded(images, shade):
  """Brightness, black being -1, times a power of e that is linear in the place; the middle stays."""
  if shade is None:
    return images
  rows, columns = torch.meshgrid(*[torch.linspace(-1, 1, images.shape[2])] * 2, indexing="ij")
  ramps = [right * columns + low * rows for right, low in shade]
  return (images + 1) * torch.exp(torch.stack(ramps))[:, None] - 1


def viewpoint_terms(v, s, images, codes, angles, mix, dropout, drift, shade=(None, None, None)):
  """The terms of the viewpoint network's step; `s` are parameters that get no gradient.

  `shade` is that of pictures, mirrored and made ones.
  """
  mirrored = viewpoint(v, shaded(images.flip(3), shade[1]), dropout[1])
  fake, images = shaded(synthesis(s, codes, angles).detach(), shade[2]), shaded(images, shade[0])
  real = viewpoint(v, images, dropout[0])
  made = viewpoint(v, fake, dropout[2])
  between = (mix[:, None, None, None] * images + (1 - mix[:, None, None, None]) * fake).requires_grad_()
  slope, = torch.autograd.grad(viewpoint(v, between)[0].sum(), between, create_graph=True)
  rebuilt = shaded(synthesis(s, real[1], decoded(real[2], real[3])), shade[0])
  alike = F.cosine_similarity(first_map(v, images).detach(), first_map(v, rebuilt))
  return {
    "critic": (made[0] - real[0] + drift * real[0] ** 2).mean(),
    "penalty": ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean(),
    "image": (1 - alike).mean(),
    "flip": flip_loss(real[2:], mirrored[2:]),
    "code": F.mse_loss(made[1], codes),
    "view": angle_loss(*made[2:], angles),
  }


def synthesis_terms(v, s, first, second, dropout, shade=None):
  """The terms of the synthesis network's step; `first` and `second` are drawn codes and angles."""
  codes = torch.cat([first[0], first[0], second[0]])
  angles = torch.cat([first[1], second[1], first[1]])
  pictures = synthesis(s, codes, angles)
  seen = viewpoint(v, shaded(pictures, shade), dropout)
  again = synthesis(s, first[0], first[1] * torch.tensor([-1.0, 1.0, -1.0]))
  return {
    "realism": -seen[0].mean(),
    "paired_code": F.mse_loss(seen[1], codes),
    "paired_view": angle_loss(*seen[2:], angles),
    "mirror": F.smooth_l1_loss(again, pictures[: len(first[0])].flip(3).detach()),
  }
