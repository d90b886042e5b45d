"""PyTorch checkpoints of both programs: outputs equal to the PyTorch networks', every wrong key listed,
nothing of a file is run.
"""

import os
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pdr_jax
from pdr_jax.config import base
from pdr_jax.errors import UserError
from pdr_jax.exports import writer
from pdr_jax.imports import torch_checkpoint, torch_networks
from pdr_jax.methods.pdr import system as pdr

torch = pytest.importorskip("torch", reason="PyTorch writes the checkpoints")
from support.torch_reference import TorchAutoencoder, TorchConfidence, TorchVectorEncoder  # noqa: E402

FULL = dict(nf=64, zdim=256, vector=32, confidence=128)
NARROW = dict(nf=8, zdim=12, vector=8, confidence=8)


def networks(nf, zdim, vector, confidence):
  torch.manual_seed(5)
  made = dict(
    netD=TorchAutoencoder(1, nf, zdim, False),
    netA=TorchAutoencoder(3, nf, zdim, True),
    netL=TorchVectorEncoder(4, vector),
    netV=TorchVectorEncoder(6, vector),
    netC=TorchConfidence(nf, confidence),
  )
  with torch.no_grad():
    for module in made.values():
      for (
        parameter
      ) in module.parameters():  # affine terms other than (1, 0), outputs that differ between pictures
        parameter.mul_(1.5).add_(0.01 * torch.randn_like(parameter))
  return made


def joined(module, parts):
  """A state dict with the modules `parts` in one or several Sequentials.

  `parts` is `{attribute: (name in the file, places before it)}`.
  """
  renamed = {}
  for key, value in module.state_dict().items():
    attribute, *rest = key.split(".")
    name, before = parts[attribute]
    renamed[".".join([name, str(int(rest[0]) + before), rest[1]] if len(rest) == 2 else [name, rest[0]])] = (
      value
    )
  return renamed


def checkpoint(layout, made):
  """What `torch.save` was given by Unsup3D and by the released PDR code."""
  if layout == "unsup3d":
    maps, head = dict(encoder=("network", 0), decoder=("network", 13)), ("network.10", 0)
  else:
    maps, head = dict(encoder=("network_down", 0), decoder=("network_up", 0)), ("conv", 0)
  kinds = {
    TorchAutoencoder: maps,
    TorchVectorEncoder: dict(trunk=("network", 0), head=head),
    TorchConfidence: dict(trunk=("network", 0), pixel=("out_net1", 0), feature=("out_net2", 0)),
  }
  states = {name: joined(module, kinds[type(module)]) for name, module in made.items()}
  return states | {
    "optimizerD": {"state": {}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]},
    "epoch": 30,
  }


def expected(layout, made, images):
  """(output, features) by network, from PyTorch, channels last."""
  with torch.no_grad():
    inputs = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    outputs = {name: module(inputs) for name, module in made.items()}
    if layout == "pdr":
      for name in ("netL", "netV"):
        features = torch.tanh(outputs[name][1])
        outputs[name] = made[name].head(features[:, :, None, None]).flatten(1), features

  def last(x):
    return np.moveaxis(x.numpy(), 1, -1) if x.ndim == 4 else x.numpy()

  return {torch_networks.NETWORKS[name]: tuple(map(last, pair)) for name, pair in outputs.items()}


def images(count):
  return np.random.default_rng(0).uniform(-1, 1, (count, 64, 64, 3)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["unsup3d", "pdr"])
def test_full_width_outputs_equal_pytorchs(layout, tmp_path):
  made = networks(**FULL)
  path = str(tmp_path / "checkpoint030.pth")
  torch.save(checkpoint(layout, made), path)
  params, known = torch_networks.convert(torch_networks.read(path))
  config = base()
  config.networks.update(known["networks"])
  assert known == {
    "confidence": True,
    "networks": dict(
      width_map=64,
      width_vector=32,
      zdim=256,
      zdim_confidence=128,
      vector_tanh="output" if layout == "unsup3d" else "features",
    ),
  }
  config.scene.light = "directional"
  want = expected(layout, made, images(2))
  run = jax.jit(
    lambda params, x: {
      name: net.apply({"params": params[name]}, x) for name, net in pdr.networks(config).items()
    }
  )
  got = run(params, images(2))
  assert got.keys() == want.keys()
  for name, pair in want.items():
    for ours, theirs in zip(got[name], pair, strict=True):
      assert np.std(theirs, axis=0).max() > 1e-3, f"{name}: both pictures give the same"
      # Layers one behind the other, sums of 4 x 4 x 512 terms, outputs of size 1; float32's eps is 1.2e-7.
      np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4, err_msg=name)


def encoder_only(method, params, element, rendered):
  """The programs of an export without the renderer, which takes longest to compile."""
  batch = jax.export.symbolic_shape("b", constraints=["b >= 1"])
  spec = jax.ShapeDtypeStruct((*batch, *element.shape), jnp.float32)
  return {"encode": jax.export.export(jax.jit(method.encode))(params, spec)}


def test_the_program_makes_an_export_of_an_old_file_with_foreign_objects(tmp_path, monkeypatch):
  made = networks(**NARROW)
  del made["netC"]  # Unsup3D on cars, demo checkpoints
  content = checkpoint("pdr", made)
  with monkeypatch.context() as patch:  # the class that those programs save, gone when the file is read
    for name in ("pdr", "pdr.meters"):
      patch.setitem(sys.modules, name, types.ModuleType(name))
    trace = type("MetricsTrace", (), {"__module__": "pdr.meters"})
    sys.modules["pdr.meters"].MetricsTrace = trace
    content["metrics_trace"] = trace()
    content["metrics_trace"].data = {"train": [{"loss": 0.5}]}
    path = str(tmp_path / "old.pth")
    torch.save(content, path, _use_new_zipfile_serialization=False)  # the format of PyTorch below 1.6
  monkeypatch.setattr(writer, "programs", encoder_only)
  out = str(tmp_path / "out")
  words = [
    "import",
    f"--checkpoint={path}",
    f"--out={out}",
    "--config.scene.border_depth=1.08",
    "--licence=for research",
  ]
  assert torch_checkpoint.main(words) == 0
  model = pdr_jax.load(out)
  assert model.config["scene"]["border_depth"] == 1.08 and model.config["scene"]["light"] == "directional"
  assert model.config["loss"]["confidence"] is False and model.config["networks"]["vector_tanh"] == "features"
  assert (
    model.manifest["origin"] == "PyTorch checkpoint old.pth"
    and "for research" in open(f"{out}/README.md").read()
  )
  want = expected("pdr", made, images(2))
  for name, block in model.encode(images(2)).items():
    np.testing.assert_allclose(block, want[name][1], rtol=0, atol=1e-4)
  with pytest.raises(UserError, match="is not empty"):
    torch_checkpoint.main(words)


def test_numbers_of_numpy_beside_the_weights_and_the_prefix_of_data_parallel_are_read(tmp_path):
  made = networks(**NARROW)
  content = checkpoint("unsup3d", made)
  plain = str(tmp_path / "plain.pth")
  torch.save(content, plain)
  states = {name: state for name, state in content.items() if name.startswith("net")}
  wrapped = {name: {f"module.{key}": value for key, value in state.items()} for name, state in states.items()}
  numbers = {"loss": np.float64(0.5), "best": np.float32(1), "steps": np.int64(7), "done": np.bool_(True)}
  for path, old in ((str(tmp_path / "new.pth"), True), (str(tmp_path / "old.pth"), False)):
    torch.save({**content, **wrapped, **numbers}, path, _use_new_zipfile_serialization=old)
    read, expected = torch_networks.read(path), torch_networks.read(plain)
    assert jax.tree.structure(read) == jax.tree.structure(expected)
    assert all(map(np.array_equal, jax.tree.leaves(read), jax.tree.leaves(expected)))


def test_every_wrong_key_is_listed():
  states = {
    name: {key: value.numpy() for key, value in state.items()}
    for name, state in checkpoint("unsup3d", networks(**NARROW)).items()
    if name.startswith("net")
  }
  del states["netD"]["network.4.bias"], states["netC"]["out_net2.0.weight"]
  states["netV"]["network.12.weight"] = np.zeros((6, 6, 1, 1), np.float32)
  with pytest.raises(UserError) as error:
    torch_networks.convert(states)
  message = str(error.value)
  assert (
    all(
      part in message
      for part in (
        "netD.network.4.bias is missing",
        "netC.out_net2.0.weight is missing",
        "netV.network.12.weight is unknown",
      )
    )
    and message.count(" is ") == 3
  )


class Harmful:
  def __reduce__(self):
    return os.mkdir, ("harm",)


@pytest.mark.parametrize(
  "content, words",
  [
    ({"netD": Harmful(), "netA": {}, "netL": {}, "netV": {}}, "is not a PyTorch file of tensors"),
    ({"state_dict": {}}, "is no checkpoint of Unsup3D or PDR: it holds state_dict, and not netD"),
    (torch.zeros(3), "it holds a Tensor"),
  ],
)
def test_other_files_are_refused_and_run_nothing(tmp_path, monkeypatch, content, words):
  monkeypatch.chdir(tmp_path)
  torch.save(content, "file.pth")
  with pytest.raises(UserError, match=words):
    torch_checkpoint.main(["import", "--checkpoint=file.pth", "--out=out"])
  assert os.listdir(tmp_path) == ["file.pth"]


def test_a_file_that_is_none(tmp_path):
  (tmp_path / "text.pth").write_text("no tensors")
  with pytest.raises(UserError, match=r"text\.pth is not a PyTorch file of tensors"):
    torch_checkpoint.main(["import", f"--checkpoint={tmp_path}/text.pth", f"--out={tmp_path}/out"])
  with pytest.raises(UserError, match="no such file"):
    torch_checkpoint.main(["import", f"--checkpoint={tmp_path}/absent.pth", f"--out={tmp_path}/out"])
