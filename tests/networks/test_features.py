"""VGG16 and its files, against the same network in PyTorch with random weights; the random features."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import compiled
from support.references import needs_torch, torch
from support.tolerances import eps, mean_tolerance, rounding, sum_tolerance

from pdr_jax.errors import UserError
from pdr_jax.networks import alexnet, features


def torch_vgg():
  """torchvision's `vgg16().features` up to relu3_3 (index 15), and a layer more, which must be ignored."""
  layers = []
  for width, convolutions in ((64, 2), (128, 2), (256, 3)):
    for _ in range(convolutions):
      inputs = next((m.out_channels for m in reversed(layers) if isinstance(m, torch.nn.Conv2d)), 3)
      layers += [torch.nn.Conv2d(inputs, width, 3, padding=1), torch.nn.ReLU()]
    layers.append(torch.nn.MaxPool2d(2, 2))
  layers.append(torch.nn.Conv2d(256, 8, 3))
  torch.manual_seed(0)
  model = torch.nn.Sequential(*layers)
  for m in model:
    if isinstance(m, torch.nn.Conv2d):
      torch.nn.init.kaiming_normal_(m.weight)
      torch.nn.init.normal_(m.bias, std=0.1)
  return model


@pytest.fixture(scope="module")
def vgg_file(tmp_path_factory):
  pytest.importorskip("torch", reason="PyTorch writes the file")
  path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
  model = torch_vgg()
  state = {f"features.{k}": v for k, v in model.state_dict().items()} | {
    "classifier.0.weight": torch.zeros(2, 2)
  }
  torch.save(state, path)
  return path, model


def test_vgg_equals_pytorchs(vgg_file):
  path, model = vgg_file
  images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
  x = (torch.from_numpy(images).permute(0, 3, 1, 2) + 1) / 2
  x = (x - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
    :, None, None
  ]
  expected = model[:16](x).detach().permute(0, 2, 3, 1).numpy()
  got = jax.jit(features.vgg16_relu3_3)(features.load_vgg16(path), images)
  assert got.shape == (2, 8, 8, 256) and expected.std() > 0.1
  # seven layers of sums of up to 2,304 products
  off = 7 * mean_tolerance(2304, expected.max())
  np.testing.assert_allclose(got, expected, rtol=0, atol=off)


@needs_torch
def test_alexnets_second_convolution_equals_pytorchs(tmp_path):
  first, second = torch.nn.Conv2d(3, 64, 11, 4, 2), torch.nn.Conv2d(64, 192, 5, padding=2)
  state = {f"features.{i}.{k}": v for i, m in ((0, first), (3, second)) for k, v in m.state_dict().items()}
  torch.save(state, tmp_path / "alexnet.pth")
  images = np.random.default_rng(0).uniform(-1, 1, (2, 32, 32, 3)).astype(np.float32)
  x = torch.nn.functional.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2), size=224, mode="bilinear")
  x = torch.nn.functional.max_pool2d(torch.relu(first(x)), 3, 2)
  expected = second(x).detach().permute(0, 2, 3, 1).numpy()
  params = alexnet.load(tmp_path / "alexnet.pth", "ssv.feature_weights")
  got = jax.jit(alexnet.second_convolution)(params, images)
  assert got.shape == (2, 27, 27, 192)
  np.testing.assert_allclose(got, expected, rtol=0, atol=2 * mean_tolerance(1600, 10 * expected.max()))
  with pytest.raises(UserError, match=r"ssv.feature_weights: no file at .*name torchvision's AlexNet"):
    alexnet.load(tmp_path / "gone.pth", "ssv.feature_weights")


def test_converted_file_gives_the_same_parameters(vgg_file, tmp_path):
  path, _ = vgg_file
  converted = tmp_path / "vgg.safetensors"
  subprocess.run([sys.executable, "-m", "pdr_jax.networks.features", path, converted], check=True)
  assert converted.stat().st_size < path.stat().st_size
  jax.tree.map(np.testing.assert_array_equal, features.load_vgg16(converted), features.load_vgg16(path))


@pytest.mark.xfail(
  jax.__version_info__ >= (0, 12), strict=True, reason="XLA:CPU fuses bfloat16 convolutions and gives NaN"
)
def test_vgg_runs_in_bfloat16(vgg_file):
  path, _ = vgg_file
  images = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
  params = features.load_vgg16(path)
  full = compiled(features.vgg16_relu3_3)(params, images)
  half = compiled(features.vgg16_relu3_3, static_argnums=2)(params, images, jnp.bfloat16)
  assert half.dtype == jnp.float32
  assert 0 < float(jnp.abs(full - half).max()) < 7 * eps(jnp.bfloat16) * float(full.max())  # one eps a layer


def test_bad_files_are_one_line_errors(vgg_file, tmp_path, monkeypatch):
  path, _ = vgg_file
  garbage = tmp_path / "garbage.pth"
  garbage.write_bytes(b"not a checkpoint")
  truncated = tmp_path / "truncated.pth"
  truncated.write_bytes(path.read_bytes()[:10_000])
  broken = tmp_path / "broken.safetensors"
  broken.write_bytes(b"\x00" * 64)
  other = tmp_path / "other.pth"
  torch.save({"features.0.weight": torch.zeros(8, 3, 3, 3)}, other)
  pickled = tmp_path / "pickled.pth"
  torch.save({"features.0.weight": subprocess.Popen}, pickled)
  for file, words in (
    (tmp_path / "none.pth", "no file at"),
    ("", "no file at"),
    (tmp_path, "no file at"),
    (garbage, "not a PyTorch file"),
    (truncated, "not a PyTorch file"),
    (broken, "safetensors"),
    (other, "features.0.weight should have shape"),
    (pickled, "not a PyTorch file"),
  ):
    with pytest.raises(UserError, match=words) as caught:
      features.load_vgg16(file)
    assert "\n" not in str(caught.value)
  odd = tmp_path / "weights.bin"
  odd.write_bytes(b"")
  with pytest.raises(UserError, match="must end in"):
    features.load_vgg16(odd)
  with pytest.raises(UserError, match="must end in"):
    features.convert_vgg16(path, tmp_path / "out.npz")
  monkeypatch.setitem(sys.modules, "torch", None)  # as if it were not installed
  with pytest.raises(UserError, match=r"pip install 'pdr_jax\[torch\]'"):
    features.load_vgg16(path)
  assert features.main([str(path)]) == 2 and features.main([str(path), str(tmp_path / "x.safetensors")]) == 2


def test_random_features_are_the_same_everywhere():
  """Recorded from NumPy 2: a change of stream, order or scale would silently change what a seed means."""
  params = features.random_features_init(0)
  np.testing.assert_allclose(
    params[0]["kernel"].ravel()[:3],
    np.sqrt(2 / 48) * np.array([0.12573022, -0.13210486, 0.64042265]),
    rtol=rounding(2),
  )
  assert not np.array_equal(features.random_features_init(1)[3]["kernel"], params[3]["kernel"])
  jax.tree.map(np.testing.assert_array_equal, features.random_features_init(0), params)


@needs_torch
def test_random_features_equal_pytorchs_and_keep_their_scale():
  params = features.random_features_init(5)
  images = np.random.default_rng(0).uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32)
  x = torch.from_numpy(images).permute(0, 3, 1, 2)
  for layer in params:
    weight = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
    stride = 2 if weight.shape[-1] == 4 else 1
    x = torch.relu(torch.nn.functional.conv2d(x, weight, stride=stride, padding=1))
  got = jax.jit(features.random_features)(params, images)
  assert got.shape == (2, 4, 4, 64) and got.dtype == jnp.float32
  # four layers, the widest of sums of 1,024 products of 0.04 and 0.6
  off = 4 * sum_tolerance(1024, 0.04 * 0.6)
  np.testing.assert_allclose(got, x.permute(0, 2, 3, 1), rtol=0, atol=off)
  # He initialisation keeps the images' root mean square, 0.58, roughly
  assert 0.1 < float(jnp.sqrt(jnp.square(got).mean())) < 1.0
