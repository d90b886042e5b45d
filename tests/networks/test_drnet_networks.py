"""The backbones against PyTorch's layers from the same weights, and their published sizes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.programs import compiled

import pdr_jax
from pdr_jax import config as config_lib
from pdr_jax import elements, methods
from pdr_jax.config_checks import validate
from pdr_jax.errors import UserError
from pdr_jax.imports import drnet_networks, torch_checkpoint
from pdr_jax.methods.drnet import networks
from pdr_jax.networks.batch_norm import Norm
from pdr_jax.networks.lstm import Stack

torch = pytest.importorskip("torch")
from support import drnet_reference  # noqa: E402

BATCH = 8
KINDS = {
  "skips_16": dict(side=16, channels=1, skips=True),
  "vgg_16": dict(side=16, content="vgg", pose="resnet", decoder="vgg", skips=True),
}
LARGE = {
  "grey_32": dict(side=32, channels=1),
  "dcgan_64": dict(),
  "skips_128": dict(side=128, skips=True, pose="resnet"),
  "resnet_64": dict(content="resnet", pose="resnet"),
  "vgg_64": dict(content="vgg", pose="resnet", decoder="vgg", skips=True),
  "vgg_128": dict(side=128, content="vgg", pose="vgg", decoder="vgg", skips=True),
}


def small(side=64, channels=3, **drnet):
  config = config_lib.base("drnet")
  config.data.update(side=side, channels=channels)
  config.drnet.update(dict(width=4, content_size=6, pose_size=3, unit_length=False, discriminator_width=5))
  config.drnet.update(drnet)
  validate(config, 1)
  return config


def count(tree):
  return sum(leaf.size for leaf in jax.tree.leaves(tree))


def sizes(**drnet):
  config = config_lib.base("drnet")
  config.drnet.update(drnet)
  example = elements.zeros(methods.describe("drnet").reads(config), 1)
  state = jax.eval_shape(methods.create(config).init, jax.random.key(0), example)
  return {name: count(tree) for name, tree in state.params.items()}


def test_published_sizes():
  """Of 3 channels, 64 pixels, contents of 128 numbers and poses of 5 (specification, section 2.2)."""
  plain, skips = sizes(), sizes(skips=True)
  assert plain["content"] == skips["content"] == 3_807_424 and plain["pose"] == 2_799_439
  assert plain["decoder"] == 3_848_003 and skips["decoder"] == 6_603_587


@pytest.mark.parametrize("kind", [*KINDS, *(pytest.param(kind, marks=pytest.mark.slow) for kind in LARGE)])
def test_outputs_are_those_of_pytorch(kind):
  """By running statistics and by those of the batch; the running ones move alike."""
  config = small(**(KINDS | LARGE)[kind])
  theirs, nets = drnet_reference.networks(config), networks.create(config)
  side, channels = config.data.side, config.data.channels
  images = np.random.default_rng(0).uniform(0, 1, (BATCH, side, side, channels)).astype(np.float32)
  dicts = {name: {k: v.numpy().copy() for k, v in net.state_dict().items()} for name, net in theirs.items()}
  variables = drnet_networks.variables_of(dicts, config)
  shapes = methods.inference_variables(
    jax.eval_shape(methods.create(config).init, jax.random.key(0), {"clip": images[:, None]})
  )
  jax.tree.map(lambda got, wanted: np.testing.assert_equal(got.shape, wanted.shape), variables, shapes)

  def run(variables, images, batch):
    norm, statistics = Norm(batch), variables["model_state"]["statistics"]

    def call(name, *inputs):
      return networks.apply(nets[name], variables[name], statistics[name], *inputs, norm=norm, remat=False)

    (content, maps), new_content = call("content", images)
    (pose, _), _ = call("pose", images)
    vector = jnp.concatenate([content, pose], -1)
    decoded, new_decoder = call("decoder", vector, maps if config.drnet.skips else [])
    logits = nets["discriminator"].apply({"params": variables["discriminator"]}, jnp.tile(pose, (1, 2)))
    return content, pose, jax.nn.sigmoid(decoded), logits, new_content, new_decoder

  for batch in (False, True):
    for net in theirs.values():
      net.train(batch)
    with torch.no_grad():
      x = torch.from_numpy(images).permute(0, 3, 1, 2)
      content, maps = theirs["netEC"](x)
      pose, _ = theirs["netEP"](x)
      pictures = theirs["netD"](torch.cat([content, pose], 1), maps)
      logits = theirs["netC"](pose, pose)
    wanted = (content, pose, pictures.permute(0, 2, 3, 1), logits)
    got = compiled(run, static_argnums=2)(variables, images, batch)
    for ours, of_torch in zip(got[:4], wanted, strict=True):
      # A vector's batch statistics are over eight numbers. Of three some may nearly agree, and their
      # difference is then divided by a small deviation. The bound for all is 1e-4.
      np.testing.assert_allclose(ours, of_torch.numpy(), rtol=0, atol=1e-4)
  dicts = {name: {k: v.numpy().copy() for k, v in net.state_dict().items()} for name, net in theirs.items()}
  moved = drnet_networks.variables_of(dicts, config)["model_state"]["statistics"]
  for name, ours in (("content", got[4]), ("decoder", got[5])):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=0, atol=1e-4), ours, moved[name])


@pytest.mark.slow
def test_a_checkpoint_becomes_an_export_by_command(tmp_path, capsys):
  """Of the three networks that the released code saves, from behind `DataParallel`'s prefix."""
  config = small(**KINDS["skips_16"])
  theirs = drnet_reference.networks(config)
  saved = {
    name: {f"module.{key}": value for key, value in theirs[name].state_dict().items()}
    for name in ("netEC", "netEP", "netD")
  }
  torch.save(saved, tmp_path / "drnet.pth")
  words = [f"--checkpoint={tmp_path / 'drnet.pth'}", f"--out={tmp_path / 'out'}", "--config.data.side=16"]
  words += ["--config", "configs/drnet_digits.py:parity_py", "--config.drnet.skips", "--config.drnet.width=4"]
  words += ["--config.drnet.content_size=6", "--config.data.frames=3"]
  with pytest.raises(UserError, match="pose"):  # of the size of the variant, 10
    torch_checkpoint.main(["import", *words])
  assert torch_checkpoint.main(["import", *words, "--config.drnet.pose_size=3"]) == 0
  assert "netEC, netEP, netD; no discriminator, which is zeros" in capsys.readouterr().out
  clips = np.random.default_rng(1).uniform(0, 1, (2, 3, 16, 16, 1)).astype(np.float32)
  got = pdr_jax.load(str(tmp_path / "out")).encode(clips)
  for net in theirs.values():
    net.eval()
  with torch.no_grad():
    frames = torch.from_numpy(clips).permute(0, 1, 4, 2, 3)
    np.testing.assert_allclose(got["content"], theirs["netEC"](frames[:, 0])[0].numpy(), rtol=0, atol=1e-4)
    poses = theirs["netEP"](frames.reshape(6, 1, 16, 16))[0].numpy().reshape(2, 9)
  np.testing.assert_allclose(got["pose"], poses, rtol=0, atol=1e-4)


def test_a_state_of_another_layout_is_refused():
  config = small(skips=True)
  with pytest.raises(UserError, match=r"netEC has no c1\.main\.0\.weight"):
    drnet_networks.variables_of({"netEC": {"main.0.main.0.weight": np.zeros(1)}}, config)
  config.drnet.normalise_pose = False
  with pytest.raises(UserError, match=r"config\.drnet\.normalise_pose = False"):
    drnet_networks.variables_of({}, config)


def test_unit_length_and_its_gradient_where_the_vector_is_zero():
  from pdr_jax.networks.blocks import unit

  vectors = jnp.array([[3.0, 4.0], [0.0, 0.0]])
  np.testing.assert_allclose(unit(vectors), [[0.6, 0.8], [0.0, 0.0]], atol=1e-6)
  assert np.isfinite(jax.grad(lambda v: unit(v).sum())(vectors)).all()


def test_the_recurrent_network_is_pytorchs():
  size, hidden, steps = 4, 6, 5
  net, rng = Stack(hidden, 2, 3), np.random.default_rng(0)
  x = rng.normal(size=(steps, BATCH, size)).astype(np.float32)
  params = net.init(jax.random.key(0), net.start(BATCH), x[0])["params"]
  cells = [torch.nn.LSTMCell(hidden, hidden) for _ in range(2)]
  with torch.no_grad():
    for i, cell in enumerate(cells):
      ours = params[f"layer{i}"]
      cell.weight_ih.copy_(torch.from_numpy(np.asarray(ours["input"]).T.copy()))
      cell.weight_hh.copy_(torch.from_numpy(np.asarray(ours["recurrent"]).T.copy()))
      cell.bias_ih.copy_(torch.from_numpy(np.asarray(ours["bias"]).copy()))
      cell.bias_hh.zero_()
    states, wanted = [None, None], []
    for t in range(steps):
      y = torch.from_numpy(x[t] @ np.asarray(params["embed"]["kernel"]) + np.asarray(params["embed"]["bias"]))
      for i, cell in enumerate(cells):
        states[i] = cell(y, states[i])
        y = states[i][0]
      wanted.append(y.numpy() @ np.asarray(params["output"]["kernel"]) + np.asarray(params["output"]["bias"]))
  _, got = compiled(lambda params, x: jax.lax.scan(
    lambda state, x: net.apply({"params": params}, state, x), net.start(BATCH), x
  ))(params, x)
  np.testing.assert_allclose(got, np.stack(wanted), rtol=0, atol=1e-5)  # products of 6 numbers below 1
