"""The configuration of `voxels`: defaults, rules, variants and checks.

The defaults are the released code's architecture and optimiser (Ucar 2019, arXiv 1911.07937). What it left
to chance at the start is a key here: `density_start`.
"""

from typing import Any

from ml_collections import ConfigDict

from pdr_jax.elements import Element, ElementSpec
from pdr_jax.errors import UserError
from pdr_jax.networks.voxels import SIDES
from pdr_jax.rules import ANYTHING, above, at_least, between, one_of

REGULARISERS = ("mu_vae", "mu_vae_per_dimension", "mmd", "kl", "none")
POSES = ("free", "adversarial", "circular")
WIDTHS = ("width_encoder", "width_decoder", "width_texture", "judge_width")  # sizes of networks, no choices


def defaults() -> dict[str, dict[str, Any]]:
  """The published widths on grey pictures of side 28."""
  return dict(
      data=dict(name="solids", side=28, channels=1),
      optim=dict(
          learning_rate=1e-3,
          weight_decay=0.0,
          clip_norm=0.0,          # of the whole gradient
          clip_each_norm=1.0,     # of the gradient of every tensor by itself; 0: none
      ),
      train=dict(steps=22_000, batch_size=64),
      voxels=dict(
          width_encoder=128,      # channels of every stage of the encoder
          width_decoder=128,      # channels of the decoder's first volume; halved at every doubling
          code=19,                # numbers of the shape code
          clip_mean=6.0,          # the code's mean is held within this radius, times the root of the latent
                                  # numbers (code and pose); 0: free
          clip_log_variance=1.0,  # the same of the logarithm of its variance
          density_start=-3.0,     # logit of the densities at the start; at the released code's 0 every ray
                                  # begins opaque, and hardly has a gradient
          absorption="density",   # what a voxel absorbs: density (at most 1, as released) | occupancy (its
                                  # density is a probability, and nothing passes what is occupied)
          symmetric=False,        # volumes are their own mirror images, left to right
          texture=False,          # two more layers from the projection to the picture, with a loss of their
                                  # own
          width_texture=1000,     # of these layers
          elevation=0.0,          # degrees of the camera above the horizon, the same for all pictures
          regulariser="mu_vae",   # mu_vae (as released) | mu_vae_per_dimension | mmd | kl | none
          beta=1.0,               # its weight, beside the sum of squared differences of a picture
          sample_std=4.0,         # deviation of the codes that generate draws: 4 with mu_vae, 1 with kl, mmd
          pose="free",            # free (learned, does not see the picture) | adversarial (the encoder's, in
                                  # a game against a judge of code and pose) | circular (the encoder's
                                  # posterior on the circle)
          pose_weight=1.0,        # weight of the pose's term: |means| of free, the game, the KL to uniform
          pose_step=True,         # free: one more optimiser's step of the pose's own variables alone, first
          pose_components=8,      # circular: wrapped normals in the posterior
          pose_noise=0.0,         # adversarial: deviation in radians of noise on the encoder's azimuth
          judge_width=512,        # adversarial: of the two layers of the judge
          judge_rate=1e-4,        # its learning rate
          judge_b1=0.5,           # Adam's decay of its first moment
      ),
  )


RULES = {
  "optim.clip_each_norm": at_least(0),
  "voxels.width_encoder": at_least(1),
  "voxels.width_decoder": at_least(1),
  "voxels.code": at_least(1),
  "voxels.clip_mean": at_least(0),
  "voxels.clip_log_variance": at_least(0),
  "voxels.density_start": ANYTHING,
  "voxels.absorption": one_of("density", "occupancy"),
  "voxels.symmetric": ANYTHING,
  "voxels.texture": ANYTHING,
  "voxels.width_texture": at_least(1),
  "voxels.elevation": between(-90, 90),
  "voxels.regulariser": one_of(*REGULARISERS),
  "voxels.beta": at_least(0),
  "voxels.sample_std": above(0),
  "voxels.pose": one_of(*POSES),
  "voxels.pose_weight": at_least(0),
  "voxels.pose_step": ANYTHING,
  "voxels.pose_components": at_least(1),
  "voxels.pose_noise": at_least(0),
  "voxels.judge_width": at_least(1),
  "voxels.judge_rate": above(0),
  "voxels.judge_b1": between(0, 0.999),
}


def _small(config: ConfigDict) -> None:
  """Pictures of side 32 (the common variant) and narrow networks."""
  config.voxels.update(width_encoder=32, width_decoder=32, judge_width=128)
  config.optim.learning_rate = 1e-3


def _parity(config: ConfigDict) -> None:
  """What the released code does: all but the widths, whatever the configuration said before."""
  config.voxels.update({key: value for key, value in defaults()["voxels"].items() if key not in WIDTHS})
  config.voxels.update(texture=True, density_start=0.0)


def _sweeps() -> dict[str, Any]:
  """A variant for each regulariser and each pose, so that a study can name them.

  A regulariser comes with its weight and with the deviation of the codes that it leaves.
  """

  def setter(**values: Any):
    return lambda config: config.voxels.update(values)

  wide = {"beta": 1.0, "sample_std": 4.0}
  others = {"mmd": {"beta": 100.0, "sample_std": 1.0}, "kl": {"beta": 1.0, "sample_std": 1.0}}
  chosen = {name: setter(regulariser=name, **others.get(name, wide)) for name in REGULARISERS}
  return chosen | {name: setter(pose=name) for name in POSES}


VARIANTS = {"small": _small, "parity": _parity} | _sweeps()


def check(config: ConfigDict, devices: int) -> None:
  """Raises `UserError` for pictures that the networks do not take, and for keys that do not go together."""
  check_pictures(config)
  if config.voxels.regulariser == "mmd" and config.train.batch_size < 2:
    raise UserError(
      f"config.train.batch_size = {config.train.batch_size}: config.voxels.regulariser=mmd needs pairs"
    )


def check_pictures(config: ConfigDict) -> None:
  """Raises `UserError` unless the data are single grey pictures of a side that volumes have."""
  data, name = config.data, config.method
  if data.frames:
    raise UserError(f"config.data.frames = {data.frames}: config.method={name} takes single pictures, 0")
  if data.channels != 1:
    raise UserError(f"config.data.channels = {data.channels}: config.method={name} takes grey pictures, 1")
  if data.side not in SIDES:
    raise UserError(
      f"config.data.side = {data.side}: must be one of {', '.join(map(str, SIDES))} for config.method={name}"
    )


def reads(config: ConfigDict) -> ElementSpec:
  """Grey pictures in [-1, 1]."""
  side = config.data.side
  return {"image": Element((side, side, 1), "float32", "image", (-1.0, 1.0))}
