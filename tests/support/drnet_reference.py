"""DrNET's networks in PyTorch, by the specification's tables, with the released code's names of layers."""

import itertools

import torch
from torch import nn
from torch.nn import functional as F


class Wrapped(nn.Module):
  def __init__(self, layer, o):
    super().__init__()
    self.main = nn.Sequential(layer, nn.BatchNorm2d(o), nn.LeakyReLU(0.2))

  def forward(self, x):
    return self.main(x)


def down(i, o):
  return Wrapped(nn.Conv2d(i, o, 4, 2, 1), o)


def up(i, o):
  return Wrapped(nn.ConvTranspose2d(i, o, 4, 2, 1), o)


def three(i, o):
  return Wrapped(nn.Conv2d(i, o, 3, 1, 1), o)


def point(i, size, kernel=4):
  return [nn.Conv2d(i, size, kernel, 1, 0), nn.BatchNorm2d(size), nn.Tanh()]


def start(i, o):
  return [nn.ConvTranspose2d(i, o, 4, 1, 0), nn.BatchNorm2d(o), nn.LeakyReLU(0.2)]


class Encoder(nn.Module):
  """DCGAN without skips."""

  def __init__(self, channels, widths, size):
    super().__init__()
    stages = [down(i, o) for i, o in zip([channels, *widths], widths, strict=False)]
    self.main = nn.Sequential(*stages, *point(widths[-1], size))

  def forward(self, x):
    return self.main(x).flatten(1), []


class SkipEncoder(nn.Module):
  def __init__(self, channels, widths, size):
    super().__init__()
    for i, (a, b) in enumerate(zip([channels, *widths], widths, strict=False)):
      setattr(self, f"c{i + 1}", down(a, b))
    self.count = len(widths)
    setattr(self, f"c{self.count + 1}", nn.Sequential(*point(widths[-1], size)))

  def forward(self, x):
    maps = []
    for i in range(self.count):
      x = getattr(self, f"c{i + 1}")(x)
      maps.append(x)
    return getattr(self, f"c{self.count + 1}")(x).flatten(1), maps


class Decoder(nn.Module):
  def __init__(self, channels, widths, size):
    super().__init__()
    turned = widths[::-1]
    stages = [up(i, o) for i, o in itertools.pairwise(turned)]
    last = nn.ConvTranspose2d(widths[0], channels, 4, 2, 1)
    self.main = nn.Sequential(*start(size, turned[0]), *stages, last, nn.Sigmoid())

  def forward(self, vector, maps):
    return self.main(vector[:, :, None, None])


class SkipDecoder(nn.Module):
  def __init__(self, channels, widths, size):
    super().__init__()
    turned = widths[::-1]
    self.upc1 = nn.Sequential(*start(size, turned[0]))
    for i, (a, b) in enumerate(itertools.pairwise(turned)):
      setattr(self, f"upc{i + 2}", up(2 * a, b))
    self.count = len(widths)
    last = nn.ConvTranspose2d(2 * widths[0], channels, 4, 2, 1)
    setattr(self, f"upc{self.count + 1}", nn.Sequential(last, nn.Sigmoid()))

  def forward(self, vector, maps):
    x = self.upc1(vector[:, :, None, None])
    for i, skip in enumerate(maps[::-1]):
      x = getattr(self, f"upc{i + 2}")(torch.cat([x, skip], 1))
    return x


def vgg_blocks(w, side):
  """Inputs and outputs of the encoder's and the decoder's layers, spelled out from the table."""
  encoder, decoder = {16: [[w, w], [2 * w, 2 * w]]}, {16: [[2 * w, w], [w]]}
  encoder[32] = [*encoder[16], [4 * w] * 3]
  decoder[32] = [[4 * w, 4 * w, 2 * w], *decoder[16]]
  encoder[64] = [*encoder[32], [8 * w] * 3]
  decoder[64] = [[8 * w, 8 * w, 4 * w], *decoder[32]]
  encoder[128] = [*encoder[64], [8 * w] * 3]
  decoder[128] = [[8 * w, 8 * w, 8 * w], *decoder[64]]
  return encoder[side], decoder[side]


class VggEncoder(nn.Module):
  def __init__(self, channels, w, side, size):
    super().__init__()
    self.blocks, last = vgg_blocks(w, side)[0], channels
    for i, block in enumerate(self.blocks):
      layers = []
      for o in block:
        layers.append(three(last, o))
        last = o
      setattr(self, f"c{i + 1}", nn.Sequential(*layers))
    setattr(self, f"c{len(self.blocks) + 1}", nn.Sequential(*point(last, size)))

  def forward(self, x):
    maps = []
    for i in range(len(self.blocks)):
      x = getattr(self, f"c{i + 1}")(x)
      maps.append(x)
      x = F.max_pool2d(x, 2)
    return getattr(self, f"c{len(self.blocks) + 1}")(x).flatten(1), maps


class VggDecoder(nn.Module):
  def __init__(self, channels, w, side, size):
    super().__init__()
    encoder, self.blocks = vgg_blocks(w, side)
    self.upc1, last = nn.Sequential(*start(size, encoder[-1][0])), encoder[-1][0]
    for i, block in enumerate(self.blocks):
      layers, last = [], 2 * last
      for o in block:
        layers.append(three(last, o))
        last = o
      if i == len(self.blocks) - 1:
        layers += [nn.ConvTranspose2d(last, channels, 3, 1, 1), nn.Sigmoid()]
      setattr(self, f"upc{i + 2}", nn.Sequential(*layers))

  def forward(self, vector, maps):
    x = self.upc1(vector[:, :, None, None])
    for i, skip in enumerate(maps[::-1]):
      x = getattr(self, f"upc{i + 2}")(torch.cat([F.interpolate(x, scale_factor=2), skip], 1))
    return x


class Basic(nn.Module):
  def __init__(self, i, o, stride):
    super().__init__()
    self.conv1, self.bn1 = nn.Conv2d(i, o, 3, stride, 1), nn.BatchNorm2d(o)
    self.conv2, self.bn2 = nn.Conv2d(o, o, 3, 1, 1), nn.BatchNorm2d(o)
    changes = stride != 1 or i != o
    self.downsample = nn.Sequential(nn.Conv2d(i, o, 1, stride), nn.BatchNorm2d(o)) if changes else None

  def forward(self, x):
    y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
    return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Residual(nn.Module):
  def __init__(self, channels, w, stages, size):
    super().__init__()
    self.conv1, self.bn1, self.stages = nn.Conv2d(channels, w, 5, 2, 3), nn.BatchNorm2d(w), stages
    last = w
    for i in range(stages):
      o = w * 2**i
      layer = nn.Sequential(Basic(last, o, 2 if i else 1), Basic(o, o, 1))
      setattr(self, f"layer{i + 1}", layer)
      last = o
    self.conv_out, self.bn_out = nn.Conv2d(last, size, 3), nn.BatchNorm2d(size)

  def forward(self, x):
    x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
    for i in range(self.stages):
      x = getattr(self, f"layer{i + 1}")(x)
    return torch.tanh(self.bn_out(self.conv_out(x)))


class ResidualEncoder(nn.Module):
  def __init__(self, *sizes):
    super().__init__()
    self.main = Residual(*sizes)

  def forward(self, x):
    return self.main(x).flatten(1), []


class Discriminator(nn.Module):
  def __init__(self, size, width):
    super().__init__()
    self.main = nn.Sequential(
      nn.Linear(2 * size, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1)
    )

  def forward(self, first, second):
    return self.main(torch.cat([first, second], 1))[:, 0]


def networks(config):
  """`{netEC, netEP, netD, netC}` of a configuration, with random weights and running statistics."""
  drnet, side, channels = config.drnet, config.data.side, config.data.channels
  widths = [drnet.width * n for n in (1, 2, 4, 8, 8)[: {16: 2, 32: 3, 64: 4, 128: 5}[side]]]

  def encoder(kind, size, skips):
    if kind == "resnet":
      return ResidualEncoder(channels, drnet.width, len(widths), size)
    if kind == "vgg":
      return VggEncoder(channels, drnet.width, side, size)
    return (SkipEncoder if skips else Encoder)(channels, widths, size)

  size = drnet.content_size + drnet.pose_size
  if drnet.decoder == "vgg":
    decoder = VggDecoder(channels, drnet.width, side, size)
  else:
    decoder = (SkipDecoder if drnet.skips else Decoder)(channels, widths, size)
  nets = {
    "netEC": encoder(drnet.content, drnet.content_size, drnet.skips),
    "netEP": encoder(drnet.pose, drnet.pose_size, False),
    "netD": decoder,
    "netC": Discriminator(drnet.pose_size, drnet.discriminator_width),
  }
  torch.manual_seed(0)
  for net in nets.values():
    for module in net.modules():
      if isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.1)
        nn.init.normal_(module.bias, 0.0, 0.1)
        nn.init.normal_(module.running_mean, 0.0, 0.1)
        nn.init.uniform_(module.running_var, 0.5, 1.5)
  return nets


# ---------------------------------------------------------------- a training step


def optimisers(nets, rate, b1=0.9):
  return {name: torch.optim.Adam(net.parameters(), rate, betas=(b1, 0.999)) for name, net in nets.items()}


def step(nets, optimiser, clips, frames, partners, config):
  """One step on `clips [B,T,C,S,S]`, on the drawn frames, with the places of other clips' poses; its losses.

  The discriminator's pairs are those of target and partner, and of target and another clip's partner.
  """
  drnet, rows = config.drnet, torch.arange(len(clips))

  def vector(net, t):
    x, maps = nets[net](clips[rows, t])
    return (F.normalize(x, dim=1) if drnet.unit_length else x), maps

  for net in nets.values():
    net.train()
  pose, _ = vector("netEP", frames["target"])
  with torch.no_grad():
    partner, _ = vector("netEP", frames["partner"])
  fixed = pose.detach()
  logits = torch.cat([nets["netC"](fixed, partner), nets["netC"](fixed, partner[partners])])
  labels = torch.cat([torch.ones(len(clips)), torch.zeros(len(clips))])
  labels = labels if drnet.same_label else 1 - labels
  discriminator = F.binary_cross_entropy_with_logits(logits, labels)
  optimiser["netC"].zero_grad()
  discriminator.backward()
  optimiser["netC"].step()

  content, maps = vector("netEC", frames["content"])
  pictures = nets["netD"](torch.cat([content, pose], 1), maps)
  with torch.no_grad():
    similar, _ = vector("netEC", frames["similar"])
  logits = nets["netC"](pose, partner)
  terms = {
    "reconstruction": F.mse_loss(pictures, clips[rows, frames["target"]]),
    "similarity": F.mse_loss(content, similar),
    "adversary": F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, 0.5)),
  }
  loss = terms["reconstruction"] + drnet.similarity_weight * terms["similarity"]
  loss = loss + drnet.adversary_weight * terms["adversary"]
  for name in ("netEC", "netEP", "netD"):
    optimiser[name].zero_grad()
  loss.backward()
  for name in ("netEC", "netEP", "netD"):
    optimiser[name].step()
  values = terms | {"discriminator": discriminator, "loss": loss}
  return {name: float(value) for name, value in values.items()}
