"""The default configuration: every key a run can have, with its meaning. Files in `configs/` start from it and override."""

from ml_collections import ConfigDict


def base() -> ConfigDict:
  """Faces at 64 x 64 at the published widths (specification, sections 1 to 6)."""
  return ConfigDict(dict(
      method="pdr",               # pdr | vae | beta_vae | vq_vae | simclr (with train.best_metric=val/nt_xent)
      seed=0,
      data=dict(
          name="heads",           # heads | ict_faces | people | embedded_cars | car_meshes | image_folder | any TFDS name with images
          path="",                # image_folder: folder or zip; ict_faces: the model's folder or npz; car_meshes: a folder of meshes
          cache_dir="",           # where prepared datasets live; empty: TFDS_DATA_DIR or ~/tensorflow_datasets
          side=64,                # side of the square images, one of 32, 64, 128, 256
          train_examples=20_000,  # size of the training split; embedded worlds render this many, others take at most this many (0: all)
          val_examples=1_000,     # the same for the validation split, and for each test split of an embedded world
          scene_seed=0,           # embedded worlds: which people, lights and views are drawn
          crop=(),                # (left, top, right, bottom) in pixels of the source image, before resizing; empty: centre square
          flip=False,             # random left-right flips of training images (images without truth only)
          split_by="seed",        # image_folder: `seed` (random split) or a column of labels.csv whose values are kept apart
          workers=0,              # Grain worker processes; 0 reads in the training process (threads)
      ),
      networks=dict(
          width_map=64,           # nf of the depth, albedo and confidence networks
          width_vector=32,        # nf of the light and view networks
          zdim=256,               # depth and albedo bottleneck
          zdim_confidence=128,
          vector_tanh="output",   # output | features: what the tanh of the light and view networks bounds (features: released PDR code)
          dtype="float32",        # compute dtype, float32 or bfloat16; parameters are float32
      ),
      scene=dict(
          fov=10.0,               # degrees, between the centres of the outermost pixels
          min_depth=0.9,
          max_depth=1.1,
          border_depth=1.04,      # depth of the two leftmost and two rightmost columns
          rotation_range=60.0,    # degrees, each axis
          translation_xy=0.1,     # model units
          translation_z=0.0,
          light="sh",             # sh | sh_rgb (coloured) | directional
          diffuse_min=0.0,        # directional light: lower bound of the diffuse term (cars 0.5)
          convex_start=0.8,       # height of the dome added to the raw depth before its tanh; 0 switches it off
          level=False,            # take the slope from top to bottom out of the raw depth, so that pitch is the view's alone
      ),
      loss=dict(
          confidence=True,
          flip=0.5,               # weight of the mirrored scene's terms
          perceptual=1.0,
          perceptual_features="random",  # random (fixed random convolutions) | vgg16 (needs perceptual_weights)
          perceptual_weights="",  # torchvision's VGG16 .pth or a converted .safetensors
          smoothness=0.0,
      ),
      loocc=dict(
          weight=0.0714,          # 0 switches LOOCC off (Unsup3D)
          factors=("light", "view"),     # which factors may be perturbed; also albedo, depth
          choice="sample",        # sample | batch: one draw per sample, or one coin per batch
          ambient=0.5,            # light: offset of the ambient and of the diffuse strength, +-
          light_angle=22.5,       # light: degrees
          pitch=11.25,            # view: degrees, +-
          yaw=22.5,
          perturbation="bounded",  # bounded (clamped to the ranges, direction rotated) | raw (released code: offsets, no clamp)
          mask="own",             # own | both: the re-render's mask, or the product of both halves' masks, unclipped
          stop_gradient=False,    # True stops the gradient at the re-render
          features="normalized",  # normalized | raw: per-block L2 normalisation, or bottlenecks as they are (L, V through a tanh)
          contrast="ntxent",      # ntxent | supcon (base temperature 0.07)
          temperature=0.5,
      ),
      baseline=dict(              # vae, beta_vae, vq_vae, simclr: one map encoder of networks.width_map (and its decoder)
          zdim=0,                 # size of the representation; 0: that of PDR's blocks together, 2 zdim + 16 width_vector of networks
          pixel_std=1.0,          # deviation of the decoded pixels' Gaussian, in pixels of [-1, 1]: smaller favours reconstruction
      ),
      beta_vae=dict(
          gamma=1000.0,           # weight of |KL - C|
          capacity=50.0,          # nats, C at the end of its growth from 0
          capacity_steps=10_000,  # how long it grows
      ),
      vq_vae=dict(
          codes=512,              # vectors in the codebook
          code_dim=16,            # numbers in each; divides the size of the representation
          decay=0.99,             # of the codebook's moving averages
          commitment=0.25,        # weight of the tokens' squared distance from their codes
      ),
      simclr=dict(
          crop=0.08,              # smallest share of the picture's area that a crop keeps
          color=0.5,              # strength of the colour distortion (published: 0.5 for small images, 1 for ImageNet)
          projection=128,         # numbers after the projection head
          temperature=0.5,
      ),
      optim=dict(
          learning_rate=1e-4,
          view_rate=1.0,          # the view network's learning rate, as a multiple of learning_rate
          schedule="constant",    # constant | cosine (to zero over train.steps)
          warmup_steps=0,
          b1=0.9,
          b2=0.999,
          weight_decay=5e-4,      # L2 added to the gradient, as torch.optim.Adam does
          clip_norm=1.0,          # global norm of the gradient; 0 switches clipping off
          ema=0.0,                # decay of the parameters' moving average, used for validation and export; 0: none
      ),
      train=dict(
          steps=70_000,
          batch_size=64,          # global
          steps_per_dispatch=1,   # steps that are sent to the device at once; cadences that are multiples of it let all steps go so
          remat=False,            # networks' activations are computed again, not kept: for memory, on GPU and TPU (XLA:CPU undoes it)
          log_every=50,           # steps
          validate_every=1_000,
          figure_every=1_000,
          checkpoint_every=1_000,
          gradient_norms_every=1_000,  # gradient norm of each loss term by name; 0: never
          keep_checkpoints=2,     # newest ones kept, besides the best
          best_metric="val/reconstruction",  # lowest wins
          grace_seconds=25.0,     # after SIGTERM or SIGINT: how long saving may take before the process ends without
          skip_nonfinite=0,       # steps in a row with a loss or gradient that is not finite that are left out; 0 stops at the first
          stall_minutes=10.0,     # without progress for so long, a line says where the run is; 0: never
          profile_steps=(),       # (first, last): a profiler's trace of these steps goes to WORKDIR/profile
      ),
  ))


def variant(config: ConfigDict, names: str) -> ConfigDict:
  """Applies named variants, comma-separated, as in `--config configs/heads.py:small,unsup3d`.

  `small`: 32 x 32 and narrow networks, for two CPU cores, and what a short run needs to find shape and views. `unsup3d`: LOOCC off.
  `parity`: every choice of the released PDR code (specification, section 6), without the convex start. `cars`: the published car settings
  (section 5). Raises ValueError for another name.
  """
  for name in filter(None, names.split(",")):
    if name not in VARIANTS:
      raise ValueError(f"unknown config variant {name!r}; choose from {', '.join(VARIANTS)}")
    VARIANTS[name](config)
  return config


def _small(config: ConfigDict) -> None:
  config.data.side = 32
  config.networks.update(width_map=16, width_vector=16, zdim=64, zdim_confidence=32)
  config.scene.level = True
  config.loss.update(perceptual=0.0, smoothness=0.5)
  config.optim.update(learning_rate=3e-4, view_rate=3.0, ema=0.99)
  config.train.update(batch_size=16, steps=10_000, validate_every=500, figure_every=500, checkpoint_every=500, gradient_norms_every=500)


def _unsup3d(config: ConfigDict) -> None:
  config.loocc.weight = 0.0


def _parity(config: ConfigDict) -> None:
  config.scene.update(light="directional", convex_start=0.0, level=False)
  config.optim.view_rate = 1.0
  config.loocc.update(choice="batch", perturbation="raw", mask="both", features="raw", contrast="supcon", weight=0.01)


def _cars(config: ConfigDict) -> None:
  config.scene.update(border_depth=1.08, light="directional", diffuse_min=0.5)
  config.loss.update(confidence=False, flip=1.0, perceptual=0.01, smoothness=0.1)


VARIANTS = {"small": _small, "unsup3d": _unsup3d, "parity": _parity, "cars": _cars}
