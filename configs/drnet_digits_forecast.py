"""Forecasts of moving digits by a trained DrNET: ten frames are given, as many as one likes follow.

    python -m pdr_jax.main --config configs/drnet_digits_forecast.py --workdir runs/digits_forecast \
        --config.init_from=runs/digits
    python -m pdr_jax.forecast --workdir runs/digits_forecast --frames 200

Variant (`configs/drnet_digits_forecast.py:parity`): learns from true poses alone, as the released codes do.
"""

from ml_collections import ConfigDict

from pdr_jax.config import base, variant


def get_config(variants: str = "") -> ConfigDict:
  config = base("drnet_forecast")
  config.data.update(
    name="moving_digits", side=32, channels=1, frames=20, train_examples=20_000, val_examples=200
  )
  config.drnet_forecast.hidden = 128
  config.optim.schedule = "cosine"
  config.train.update(batch_size=32, steps=3_000, validate_every=500, figure_every=500, checkpoint_every=500)
  config.train.gradient_norms_every = 0
  return variant(config, variants)
