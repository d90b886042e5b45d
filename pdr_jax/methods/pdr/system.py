"""PDR: five networks take an image apart into depth, albedo, light and view, and a renderer puts it together.

Specification, sections 1 to 6. With `loocc.weight = 0` this is Unsup3D (Wu, Rupprecht, Vedaldi, CVPR 2020);
with it, PDR (Klinghoffer et al. 2022).
"""

import functools
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float
from ml_collections import ConfigDict

from pdr_jax.losses.deviation import deviation
from pdr_jax.losses.light_from_below import light_from_below
from pdr_jax.losses.perceptual import perceptual, pool_mask
from pdr_jax.losses.photometric import photometric
from pdr_jax.losses.reduce import masked_mean
from pdr_jax.losses.smoothness import smoothness
from pdr_jax.methods.contract import Method, TrainState, inference_variables
from pdr_jax.methods.pdr import depth_network, loocc, measures, view_consistency, view_reading
from pdr_jax.methods.pdr import light as light_model
from pdr_jax.methods.pdr import scene as scenes
from pdr_jax.methods.pdr.baselines import baselines
from pdr_jax.methods.pdr.normalized import normalize
from pdr_jax.methods.pdr.pictures import pictures
from pdr_jax.methods.pdr.scene import Scene
from pdr_jax.methods.shared import feature_maps as shared_maps
from pdr_jax.methods.shared import gradient_step, optimizer
from pdr_jax.metrics import geometry
from pdr_jax.networks import features as feature_networks
from pdr_jax.networks.autoencoder import MapAutoencoder, MapEncoder
from pdr_jax.networks.confidence import ConfidenceNet
from pdr_jax.networks.vector_encoder import VectorEncoder

FACTORS = loocc.FACTORS
MAPS = ("depth", "albedo")  # the factors with a map encoder
MEAN_SHAPE = "mean_shape"  # parameters: what is added to the depth network's map, the same for all images


def create(config: ConfigDict) -> Method:
  """The PDR method for a configuration (see `settings.defaults` for its keys)."""
  nets = gradient_step.recomputed(networks(config), config)
  phi = perceptual_features(config)
  phi = jax.checkpoint(phi) if phi and config.train.remat else phi
  tx = descent(config)
  terms = partial(loss_terms, nets=nets, phi=phi, config=config)
  taken_apart, rendered = partial(decompose, nets=nets, config=config), partial(render, config=config)
  return Method(
      init=partial(init, nets=nets, tx=tx, config=config),
      validate=partial(validate, nets=nets, phi=phi, config=config),
      **gradient_step.of_terms(terms, term_weights(config), tx=tx, config=config),
      encode=partial(encode, nets=nets),
      decompose=taken_apart,
      render=rendered,
      normalize=partial(normalize, decompose=taken_apart, config=config),
      feature_maps=partial(feature_maps, config=config),
      pictures=partial(pictures, decompose=taken_apart, render=rendered),
      baselines=partial(baselines, config=config),
      depth_network=depth_network.create(config),
  )


# ---------------------------------------------------------------- networks


def networks(config: ConfigDict) -> dict[str, object]:
  """The five networks by name; `confidence` is missing when the loss does not use it."""
  widths, side = config.networks, config.data.side
  dtype = jnp.dtype(widths.dtype)
  maps = partial(MapAutoencoder, width=widths.width_map, zdim=widths.zdim, side=side, dtype=dtype)
  vectors = partial(
    VectorEncoder, width=widths.width_vector, side=side, dtype=dtype, tanh_on=widths.vector_tanh
  )
  nets = {
      "depth": maps(channels=1, activation="none"),
      "albedo": maps(channels=3, activation="tanh"),
      "light": vectors(outputs=light_model.OUTPUTS[config.scene.light]),
      "view": vectors(outputs=6),
  }
  if config.loss.confidence:
    nets["confidence"] = ConfidenceNet(
      width=widths.width_map, zdim=widths.zdim_confidence, side=side, dtype=dtype
    )
  return nets


def descent(config: ConfigDict) -> optax.GradientTransformation:
  """The optimiser, with the rates of the view network and of the mean shape."""
  multiples = {"view": config.optim.view_rate}
  if config.optim.mean_shape_rate:
    multiples[MEAN_SHAPE] = config.optim.mean_shape_rate
  return optimizer.create(config, multiples=multiples)


def perceptual_features(config: ConfigDict) -> Callable | None:
  """The fixed feature map of the perceptual loss, `[B,S,S,3]` to `[B,S/4,S/4,D]`.

  None when its weight is zero. Its parameters are read at the first use: a program that computes no loss does
  not need their file.
  """
  loss = config.loss
  if not loss.perceptual:
    return None
  if loss.perceptual_features == "vgg16":
    parameters = functools.cache(partial(feature_networks.load_vgg16, loss.perceptual_weights))
    return lambda images: feature_networks.vgg16_relu3_3(parameters(), images)
  parameters = functools.cache(partial(feature_networks.random_features_init, 0))
  return lambda images: feature_networks.random_features(parameters(), images)


def init(
  rng: Array, batch: dict, *, nets: dict, tx: optax.GradientTransformation, config: ConfigDict
) -> TrainState:
  """Fresh parameters; each network draws from its own stream."""
  images = jnp.zeros((1, *batch["image"].shape[-3:]), jnp.float32)
  params = {
    name: net.init(jax.random.fold_in(rng, i), images)["params"] for i, (name, net) in enumerate(nets.items())
  }
  if config.optim.mean_shape_rate:
    params[MEAN_SHAPE] = jnp.zeros(images.shape[1:3])
  return gradient_step.init(params, tx, config)


def encode(
  params: dict, images: Float[ArrayLike, "B S S 3"], *, nets: dict
) -> dict[str, Float[Array, "B D"]]:
  """The bottleneck features by factor, all non-negative.

  They are `depth` and `albedo` `[B,zdim]`, and `light` and `view` `[B,8*width_vector]`.
  """
  return {name: nets[name].apply({"params": params[name]}, images, method="encode") for name in FACTORS}


def feature_maps(
    variables: dict, images: Float[ArrayLike, "B S S 3"], *, config: ConfigDict
) -> dict[str, list[Float[Array, "B ..."]]]:
  """The stages of the depth and of the albedo encoder, see `shared.feature_maps`; float32."""
  encoder = MapEncoder(config.networks.width_map, config.networks.zdim, config.data.side)
  return {name: shared_maps.stages(encoder, variables[name]["encoder"], images) for name in MAPS}


def explain(
  params: dict, images: Float[ArrayLike, "B S S 3"], *, nets: dict, config: ConfigDict
) -> tuple[Scene, dict, Array]:
  """The canonical scene of each image, the feature blocks, and the depth before the border clamp.

  The depth of the scene has its border clamped already. It is a mean shape, learned pixel by pixel, and what
  the network adds to it for each image (Kanazawa et al. 2018, CMR, "learned mean shape"): what all pictures
  say of the shape is found in fewer steps than a network needs to draw it.

  The view is the mean of `scene.view_readings` readings.
  """
  def apply(name):
    return nets[name].apply({"params": params[name]}, images)

  (raw, *_), (albedo, *_), (light, *_), (view, *_) = outputs = [apply(name) for name in FACTORS]
  blocks = {name: output[1] for name, output in zip(FACTORS, outputs, strict=True)}
  raw = raw[..., 0] + params[MEAN_SHAPE][None] if MEAN_SHAPE in params else raw[..., 0]
  depth = scenes.bound_depth(raw, config)
  scene = Scene(
    scenes.clamp_border(depth, config),
    albedo,
    light_model.from_outputs(light, config),
    view * scenes.view_range(config)[None],
  )
  scene = scene._replace(view=reread(params, images, scene, nets=nets, config=config))
  return scene, blocks, depth


def predicted_view(
  params: dict, images: Float[ArrayLike, "B S S 3"], *, nets: dict, config: ConfigDict
) -> Float[Array, "B 6"]:
  """The views of images: three rotations in radians and a translation."""
  outputs = nets["view"].apply({"params": params["view"]}, images)[0]
  return outputs * scenes.view_range(config)[None]


def reread(
  params: dict, images: Float[ArrayLike, "B S S 3"], scene: Scene, *, nets: dict, config: ConfigDict
) -> Float[Array, "B 6"]:
  """The view of a scene after all its readings (`view_reading`); gradients reach the first one alone.

  The further ones, which carry it to a better place, count as constants (a straight-through estimate).
  """
  if config.scene.view_readings == 1 or not config.scene.rotation_range:
    return scene.view
  params, depth = jax.lax.stop_gradient((params, scene.depth))
  view_of = partial(predicted_view, params, nets=nets, config=config)
  further = view_reading.mean_of_readings(view_of, images, depth, config) - scene.view
  return scene.view + jax.lax.stop_gradient(further)


# ---------------------------------------------------------------- training


def term_weights(config: ConfigDict) -> dict[str, float]:
  """The weight of every loss term that is on; the one place where losses are weighted."""
  loss = config.loss
  weights = {
      "photometric": 1.0,
      "photometric_flip": loss.flip,
      "perceptual": loss.perceptual,
      "perceptual_flip": loss.perceptual * loss.flip,
      "smoothness": loss.smoothness,
      "deviation": loss.deviation,
      "light_from_below": loss.light_from_below,
      "view_consistency": config.view_consistency.weight,
      "loocc": config.loocc.weight,
  }
  return {name: weight for name, weight in weights.items() if weight}


def reconstruction_terms(
  params: dict,
  images: ArrayLike,
  scene: Scene,
  depth: ArrayLike,
  *,
  nets: dict,
  phi: Callable | None,
  config: ConfigDict,
) -> tuple[dict, scenes.Rendering]:
  """The unreduced reconstruction terms, `{name: (values, mask)}`, and the rendering of both halves.

  The halves are [image; mirrored].
  """
  count, weights = images.shape[0], term_weights(config)
  rendering = scenes.render(scenes.mirrored(scene), config)
  pixel = feature = None
  if config.loss.confidence:
    pixel, feature = nets["confidence"].apply({"params": params["confidence"]}, images)
  terms = {}
  halves = {"": slice(None, count), "_flip": slice(count, None)}

  def confidence(maps, half):
    return None if maps is None else maps[..., half]

  for half, (suffix, rows) in enumerate(halves.items()):
    if f"photometric{suffix}" in weights:
      values = photometric(rendering.image[rows], images, confidence(pixel, half))
      terms[f"photometric{suffix}"] = (values, rendering.mask[rows])
  if phi is not None:
    target = jax.lax.stop_gradient(phi(images))
    for half, (suffix, rows) in enumerate(halves.items()):
      if f"perceptual{suffix}" in weights:
        mask = rendering.mask[rows]
        # Else the mask's edge would show in the features.
        seen = jnp.where(mask[..., None] > 0, rendering.image[rows], images)
        values = perceptual(phi(seen), target, confidence(feature, half))
        terms[f"perceptual{suffix}"] = (values, pool_mask(mask, values.shape[1]))
  if "smoothness" in weights:
    values = smoothness(depth, config.scene.max_depth - config.scene.min_depth)
    terms["smoothness"] = (values, None)
  return terms, rendering


def loss_terms(
  params: dict,
  batch: dict,
  rng: Array,
  axis_name: str | None,
  *,
  nets: dict,
  phi: Callable | None,
  config: ConfigDict,
) -> tuple[dict, dict]:
  """Every term's mean over the global batch (see `losses.reduce`), unweighted.

  It also gives auxiliary numbers for the log.
  """
  images = batch["image"]
  scene, blocks, depth = explain(params, images, nets=nets, config=config)
  terms, rendering = reconstruction_terms(params, images, scene, depth, nets=nets, phi=phi, config=config)
  terms = {name: masked_mean(values, mask, axis_name) for name, (values, mask) in terms.items()}
  index = gradient_step.global_index(images.shape[0], axis_name)
  if config.loss.deviation:
    span = config.scene.max_depth - config.scene.min_depth
    terms["deviation"] = masked_mean(deviation(depth, span, axis_name), None, axis_name)
  if config.loss.light_from_below:
    values = light_from_below(light_model.from_above(scene.light), axis_name)
    terms["light_from_below"] = masked_mean(values, None, axis_name)
  if config.view_consistency.weight:
    angles = view_consistency.draw(rng, index, config)
    view_of = partial(predicted_view, params, nets=nets, config=config)
    seen_depth = rendering.depth[: images.shape[0]]
    shown = view_consistency.turned(images, scene, seen_depth, angles, config, axis_name)
    values = view_consistency.loss(view_of, shown, angles)
    terms["view_consistency"] = masked_mean(values, None, axis_name)
  if config.loocc.weight:
    drawn = loocc.draw(rng, index, config)
    values = loocc.loss(partial(encode, params, nets=nets), scene, blocks, drawn, config, axis_name)
    terms["loocc"] = masked_mean(values, None, axis_name)
  return terms, {"coverage": rendering.mask.mean(), "yaw_spread": jnp.abs(scene.view[:, 1]).mean()}


# ---------------------------------------------------------------- evaluation


def validate(state: TrainState, batch: dict, axis_name: str | None, *, nets, phi, config: ConfigDict) -> dict:
  """Reconstruction, and against truth where the batch has it SIDE, MAD and relief (specification, section 9)
  and what `measures` has. Nothing is drawn at random.

  `val/reconstruction` is the weighted sum of `reconstruction_terms` alone: of the training loss it lacks
  deviation, light from below, view consistency and LOOCC. `val/l1` is the plain masked difference of the
  unmirrored half. Both are means over images.
  """
  params = inference_variables(state)
  images, valid = batch["image"], batch["_mask"]
  scene, _, depth = explain(params, images, nets=nets, config=config)
  terms, rendering = reconstruction_terms(params, images, scene, depth, nets=nets, phi=phi, config=config)
  per_image = {name: image_mean(values, mask) for name, (values, mask) in terms.items()}
  weights = term_weights(config)
  count = images.shape[0]
  mask = rendering.mask[:count]
  scores = {
      "val/reconstruction": sum(weights[name] * value for name, value in per_image.items()),
      "val/l1": image_mean(photometric(rendering.image[:count], images), mask),
      "val/convex": geometry.is_convex(scene.depth),
  }
  metrics = {name: ((value * valid).sum(), valid.sum()) for name, value in scores.items()}
  pairs = measures.without_truth(scene, valid, config)
  pairs |= measures.against_truth(scene, rendering.depth[:count], mask, batch, valid)
  metrics |= {f"val/{name}": pair for name, pair in pairs.items()}
  if "depth" in batch:
    against_truth = geometry.scores(
      rendering.depth[:count], batch["depth"], mask, batch["mask"], fov=config.scene.fov
    )
    metrics |= {f"val/{name}": pair for name, pair in geometry.totals(against_truth, valid).items()}
  return metrics if axis_name is None else jax.lax.psum(metrics, axis_name)


def image_mean(
  values: Float[ArrayLike, "B ..."], mask: Float[ArrayLike, "B H W"] | None
) -> Float[Array, " B"]:
  """The mean of each image's values inside its mask (zero for an empty mask)."""
  return jax.vmap(masked_mean)(values, jnp.ones_like(values) if mask is None else mask)


def decompose(
  params: dict, images: Float[ArrayLike, "B S S 3"], *, nets: dict, config: ConfigDict
) -> dict[str, Array]:
  """Everything PDR says about images.

  Returns `depth` `[B,S,S]`, `albedo` `[B,S,S,3]` in [-1,1], `light` (SH, `[B,9]` or `[B,9,3]`), `view`
  `[B,6]`, `normal`, `shading`, `canonical` (all in the canonical frame), `reconstruction`, `mask`,
  `depth_at_view` (at the input view), and `confidence` `[B,S,S]` (the predicted deviation; absent if off).
  """
  scene, _, _ = explain(params, images, nets=nets, config=config)
  rendering = scenes.render(scene, config)
  parts = {
    "depth": scene.depth,
    "albedo": scene.albedo,
    "light": light_model.as_sh(scene.light),
    "view": scene.view,
    "normal": rendering.normals,
    "shading": rendering.shading,
    "canonical": rendering.canonical,
    "reconstruction": rendering.image,
    "mask": rendering.mask,
    "depth_at_view": rendering.depth,
  }
  if config.loss.confidence:
    parts["confidence"] = nets["confidence"].apply({"params": params["confidence"]}, images)[0][..., 0]
  return parts


def render(
  parts: dict[str, ArrayLike],
  light: ArrayLike | None = None,
  view: ArrayLike | None = None,
  *,
  config: ConfigDict,
) -> dict[str, Array]:
  """Decomposed parts under another light (SH `[B,9]`) or from another view `[B,6]`.

  They are `image`, `mask` and `depth_at_view`.
  """
  canonical = parts["canonical"]
  if light is not None:
    _, _, canonical = scenes.shade(Scene(parts["depth"], parts["albedo"], light, parts["view"]), config)
  image, mask, depth = scenes.at_view(
    parts["depth"], canonical, parts["view"] if view is None else view, config
  )
  return {"image": image, "mask": mask, "depth_at_view": depth}
