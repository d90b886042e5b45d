"""Fixed feature maps for the perceptual loss.

They are VGG16's relu3_3 from the user's weights file, or random convolutions.

torchvision's `vgg16-397923af.pth` is read with PyTorch (extra `[torch]`), tensors only, never arbitrary
pickles. A converted `.safetensors` needs no PyTorch; it holds float32 `features.N.weight` `[out, in, 3, 3]`
and `features.N.bias` `[out]` for N in 0, 2, 5, 7, 10, 12, 14, named and laid out as in torchvision. To
convert:

    python -m pdr_jax.networks.features vgg16-397923af.pth vgg16_relu3_3.safetensors
"""

import math
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.errors import UserError
from pdr_jax.networks.layers import conv_down, conv_same

# Index in torchvision's `features`, input and output width; pooling comes before layers 5 and 10.
VGG_LAYERS = (
  (0, 3, 64),
  (2, 64, 64),
  (5, 64, 128),
  (7, 128, 128),
  (10, 128, 256),
  (12, 256, 256),
  (14, 256, 256),
)
POOL_BEFORE = (5, 10)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RANDOM_LAYERS = (("down", 3, 32), ("same", 32, 32), ("down", 32, 64), ("same", 64, 64))


def _read_torch(path: Path) -> dict[str, np.ndarray]:
  try:
    import torch
  except ImportError:
    raise UserError(
      f"reading {path} needs PyTorch: pip install 'pdr_jax[torch]', or name a converted .safetensors file"
    ) from None
  try:
    state = torch.load(path, map_location="cpu", weights_only=True)
    return {
      k: v.numpy() for k, v in state.items() if isinstance(v, torch.Tensor) and k.startswith("features.")
    }
  except Exception:  # torch raises whatever its unpickler meets, with the advice to run the file's code
    raise UserError(
      f"{path} is not a PyTorch file of tensors alone; expected torchvision's VGG16 weights"
    ) from None


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
  from safetensors import SafetensorError
  from safetensors.numpy import load_file
  try:
    return load_file(path)
  except (SafetensorError, OSError) as error:
    raise UserError(f"{path} is not a readable safetensors file ({error})") from None


def read_layers(
  path: str | Path, shapes: Mapping[int, tuple[int, ...]], network: str, key: str
) -> dict[str, np.ndarray]:
  """torchvision-named float32 arrays of convolutions from `.pth`/`.pt` or `.safetensors`.

  Args:
    shapes: of the weights, by the convolution's index in torchvision's `features`.
    network, key: its name, and the configuration's key that names the file, for messages.

  UserError if the file is missing, unreadable, of another kind, or lacks a layer.
  """
  path = Path(path).expanduser()
  if not str(path).strip() or not path.is_file():
    raise UserError(
      f"{key}: no file at {path}; name torchvision's {network} .pth or a converted .safetensors"
    )
  readers = {".pth": _read_torch, ".pt": _read_torch, ".safetensors": _read_safetensors}
  if path.suffix not in readers:
    raise UserError(f"{key}: {path} must end in .pth, .pt or .safetensors")
  state = readers[path.suffix](path)
  arrays = {}
  for index, weight in shapes.items():
    for name, shape in ((f"features.{index}.weight", weight), (f"features.{index}.bias", weight[:1])):
      if name not in state or state[name].shape != shape:
        there = list(state[name].shape) if name in state else "nothing"
        raise UserError(f"{path} is not {network}: {name} should have shape {list(shape)}, found {there}")
      arrays[name] = np.asarray(state[name], np.float32)
  return arrays


def as_parameters(
  arrays: Mapping[str, np.ndarray], indices: Iterable[int]
) -> list[dict[str, Float[np.ndarray, "..."]]]:
  """Of each layer `kernel [k,k,in,out]` and `bias [out]`."""
  return [
    dict(
      kernel=np.ascontiguousarray(arrays[f"features.{i}.weight"].transpose(2, 3, 1, 0)),
      bias=arrays[f"features.{i}.bias"],
    )
    for i in indices
  ]


def read_vgg16(path: str | Path, key: str = "loss.perceptual_weights") -> dict[str, np.ndarray]:
  """The layers up to relu3_3, see `read_layers`."""
  shapes = {index: (outputs, inputs, 3, 3) for index, inputs, outputs in VGG_LAYERS}
  return read_layers(path, shapes, "VGG16", key)


def load_vgg16(
  path: str | Path, key: str = "loss.perceptual_weights"
) -> list[dict[str, Float[np.ndarray, "..."]]]:
  """Parameters of `vgg16_relu3_3`, float32. Errors as `read_layers`."""
  return as_parameters(read_vgg16(path, key), (index for index, _, _ in VGG_LAYERS))


def convert_vgg16(source: str | Path, destination: str | Path) -> None:
  """Writes the layers that the loss needs as `.safetensors` (7 MB), torchvision's names and layout."""
  from safetensors.numpy import save_file
  if Path(destination).suffix != ".safetensors":
    raise UserError(f"the converted file must end in .safetensors, got {destination}")
  save_file(read_vgg16(source), destination)


def vgg16_relu3_3(
  params: list[dict[str, ArrayLike]], images: Float[ArrayLike, "B S S 3"], dtype: Any = jnp.float32
) -> Float[Array, "B S//4 S//4 256"]:
  """VGG16's third-stage activations of RGB images in [-1, 1], float32, >= 0.

  ImageNet's normalisation is applied here.
  """
  mean, std = np.asarray(IMAGENET_MEAN, np.float32), np.asarray(IMAGENET_STD, np.float32)
  x = ((images / 2 + 0.5 - mean[None, None, None]) / std[None, None, None]).astype(dtype)
  for (index, _, _), layer in zip(VGG_LAYERS, params, strict=True):
    if index in POOL_BEFORE:
      batch, height, width, channels = x.shape
      x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).max(axis=(2, 4))
    x = jax.nn.relu(
      conv_same(x, jnp.asarray(layer["kernel"], dtype)) + jnp.asarray(layer["bias"], dtype)[None, None, None]
    )
  return x.astype(jnp.float32)


def random_features_init(seed: int) -> list[dict[str, Float[np.ndarray, "..."]]]:
  """Kernels of `random_features`, He-normal.

  They are drawn with NumPy's PCG64, so that a seed means the same network on every JAX version.
  """
  generator = np.random.Generator(np.random.PCG64(seed))
  params = []
  for kind, inputs, outputs in RANDOM_LAYERS:
    size = 4 if kind == "down" else 3
    kernel = generator.standard_normal((size, size, inputs, outputs)) * math.sqrt(2 / (size * size * inputs))
    params.append(dict(kernel=kernel.astype(np.float32)))
  return params


def random_features(
  params: list[dict[str, ArrayLike]], images: Float[ArrayLike, "B S S 3"], dtype: Any = jnp.float32
) -> Float[Array, "B S//4 S//4 64"]:
  """Activations of four fixed random convolutions with ReLU: nothing is learned.

  They hold local structure at a quarter of the resolution. The stand-in for VGG where no weights file is
  named. Images in [-1, 1]; float32, >= 0, about 0.4 % of VGG's arithmetic.
  """
  x = images.astype(dtype)
  for (kind, _, _), layer in zip(RANDOM_LAYERS, params, strict=True):
    x = jax.nn.relu((conv_down if kind == "down" else conv_same)(x, jnp.asarray(layer["kernel"], dtype)))
  return x.astype(jnp.float32)


def main(arguments: list[str]) -> int:
  """Command line of the converter; returns the exit code."""
  if len(arguments) != 2:
    print("usage: python -m pdr_jax.networks.features vgg16.pth vgg16_relu3_3.safetensors", file=sys.stderr)
    return 2
  try:
    convert_vgg16(*arguments)
  except UserError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(main(sys.argv[1:]))
