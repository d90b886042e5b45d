"""Images per second that the input pipeline gives, next to what the quickstart's step takes.

Run it as `python -m benchmarks.input_pipeline`. Rows: embedded heads in memory (quickstart), then a generated
folder of JPEG files of CelebA's size (178 x 218) with and without decoded images in memory, and, with
`--step`, the quickstart's step (compiling it takes minutes the first time). CPU seconds per 1,000 images are
those of the whole process: they say what a busy machine hides.
"""

import argparse
import os
import tempfile
import time

import numpy as np
from absl import logging
from PIL import Image

from configs import quickstart
from pdr_jax.data import dataset, pipeline

SIZE = (178, 218)


def write_folder(folder: str, count: int) -> None:
  """JPEG files with about as much detail as photographs."""
  rng = np.random.default_rng(0)
  for i in range(count):
    small = Image.fromarray(rng.integers(0, 256, (28, 22, 3), np.uint8))
    small.resize(SIZE, Image.Resampling.BICUBIC).save(os.path.join(folder, f"{i:05}.jpg"), quality=90)


def measure(name: str, iterator, batch_size: int, seconds: float, skip: int = 1) -> float:
  """Prints and returns images per second over that time, after `skip` batches."""
  for _ in range(skip):
    next(iterator)
  begun, cpu, count = time.perf_counter(), time.process_time(), 0
  while time.perf_counter() - begun < seconds:
    next(iterator)
    count += batch_size
  passed, used = time.perf_counter() - begun, time.process_time() - cpu
  print(
    f"{name:<50} {count / passed:10,.0f} images/s   {1000 * used / count:8.3f} CPU s per 1,000 images",
    flush=True,
  )
  return count / passed


def training(name: str, config, seconds: float, skip: int = 1) -> float:
  """The training iterator of a configuration, opened anew."""
  pipeline._open.cache_clear()
  iterator = pipeline.train_iterator(config, {"image": pipeline.published(config)["image"]})
  speed = measure(name, iterator, config.train.batch_size, seconds, skip)
  iterator.close()
  return speed


def step(config, seconds: float) -> float:
  """The quickstart's training step on a batch that is on the device already."""

  from pdr_jax import methods
  from pdr_jax.cli import runtime
  from pdr_jax.training import step as steps
  runtime.cache_compilations()
  reads = methods.describe(config.method).reads(config)
  method, batch = methods.create(config), next(pipeline.train_iterator(config, reads))
  state, placed = steps.initial_state(method, 0, batch), steps.place(batch)
  update, root = steps.update_fn(method), steps.stream(0, "update")

  def run():
    nonlocal state
    while True:
      state, metrics = update(state, placed, root)
      yield metrics.fetch()

  return measure(f"{config.method} step, side {config.data.side}", run(), config.train.batch_size, seconds)


def main() -> None:
  """Parses the command line, measures and prints a table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--images", type=int, default=1_000, help="files in the folder")
  parser.add_argument("--side", type=int, default=64, help="of the folder's images")
  parser.add_argument("--seconds", type=float, default=3.0, help="for each row")
  parser.add_argument("--step", action="store_true", help="the training step too")
  args = parser.parse_args()
  logging.set_verbosity(logging.ERROR)  # what reads ahead at the end finds the folder gone
  print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
  heads = quickstart.get_config()
  supply = training(f"heads, side {heads.data.side}, in memory", heads, args.seconds)
  with tempfile.TemporaryDirectory() as folder:
    write_folder(folder, args.images)
    config = quickstart.get_config()
    config.data.update(
      name="image_folder", path=folder, side=args.side, train_examples=0, val_examples=args.images // 10
    )
    training(f"folder of jpg, side {args.side}, decoded first", config, args.seconds)
    eager, dataset.EAGER_LIMIT = dataset.EAGER_LIMIT, 0
    epoch = args.images // config.train.batch_size
    training(f"folder of jpg, side {args.side}, kept, second epoch", config, args.seconds, skip=epoch)
    dataset.EAGER_LIMIT, dataset.CACHE_LIMIT = eager, 0
    training(f"folder of jpg, side {args.side}, nothing kept", config, args.seconds)
  if args.step:
    dataset.CACHE_LIMIT = 4 * 2**30
    pipeline._open.cache_clear()
    print(f"heads / step: {supply / step(heads, args.seconds):.1f} x")


if __name__ == "__main__":
  main()
