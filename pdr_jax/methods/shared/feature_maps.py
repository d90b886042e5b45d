"""What the stages of a map encoder hold: the maps that segmentation and fine-tuning build on."""

import flax.linen as nn
from jaxtyping import Array, ArrayLike, Float

from pdr_jax.networks.autoencoder import MapEncoder, stage_widths


def stages(
  encoder: MapEncoder, params: dict, images: Float[ArrayLike, "B S S C"]
) -> list[Float[Array, "B ..."]]:
  """Maps `[B, s, s, width]` at sides S/2, S/4 ... 4, then the bottleneck `[B, zdim]`.

  The maps are those after their activation.
  """
  z, captured = encoder.apply({"params": params}, images, capture_intermediates=True, mutable="intermediates")
  outputs = captured["intermediates"]
  count = len(stage_widths(encoder.width, encoder.side))
  # The last stage has no normalisation.
  names = [f"down{i}_norm" if i < count - 1 else f"down{i}" for i in range(count)]
  return [nn.leaky_relu(outputs[name]["__call__"][0], 0.2) for name in names] + [z]
