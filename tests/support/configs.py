"""Configurations for tests."""

from ml_collections import ConfigDict

from pdr_jax import config as configs


def data_config(name: str, *, batch: int = 4, seed: int = 0, **data) -> ConfigDict:
  """The defaults with the data set `name`, whole, at side 32, and what `data` says of it."""
  config = configs.base()
  config.data.update(name=name, side=32, channels=3, frames=0, train_examples=0, val_examples=0)
  config.data.update(data)
  config.train.batch_size, config.seed = batch, seed
  return config
