"""Prepared copies of the embedded worlds: a TFDS builder that renders on first use, and a reader.

Neither needs TensorFlow. All worlds go through here; a world is a function `draw(split, index) -> (scene,
labels)`, a `ShapeModel` and a painter. Files are array_record; maps are PNGs: image and albedo 8 bit, normal
8 bit (within 0.4 degrees), depth 16 bit (steps of 6e-6 model units, 65535: background), segmentation 8 bit
(the number of the part at the pixel's centre).
"""

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import io
import itertools
import os
import pathlib
import shutil
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import jax
import numpy as np
import tensorflow_datasets as tfds
from absl import logging as absl_logging

from pdr_jax.data.scenes import clips, render_scene
from pdr_jax.data.scenes.render_scene import BACKGROUND_DEPTH, DEPTH_STEPS, FAR, NEAR
from pdr_jax.errors import UserError

try:
  import fcntl
except ImportError:  # Windows: two processes that prepare the same set at once are then not kept apart
  fcntl = None

BATCH = 4  # images rendered at a time: more fall out of the processor's cache


@dataclasses.dataclass(kw_only=True)
class WorldConfig(tfds.core.BuilderConfig):
  """What a prepared copy depends on; all of it is in the config's name, hence in the folder's."""

  side: int = 64
  frames: int = 0  # of a clip; 0: single images
  train_examples: int = 0
  val_examples: int = 0
  scene_seed: int = 0
  path: str = ""  # source of the shape, where it is read from disk
  label_names: tuple = ()


class SceneBuilder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
  """Renders a world into array_record files. Subclasses say which world.

  With `frames`, each clip is stored as so many images in a row.
  """

  RELEASE_NOTES: dict[str, str] = {}  # noqa: RUF012  (TFDS's interface)
  SPLITS = ("train", "validation")  # further ones are as large as validation
  FACTORS = ()   # labels that are numbers (float32)
  CLASSES = types.MappingProxyType({})  # names of a label's classes
  PARTS = ()     # names of the classes of `segmentation`, () where there is none
  LANDMARKS = False  # whether it is a head on which `landmarks` finds its places
  YAW_LIMIT = 0.0  # degrees: azimuths of clips reach so far to both sides
  painter = staticmethod(render_scene.paint_head)

  @staticmethod
  def source(path: str) -> tuple[str, str]:
    """(resolved path, tag for the folder's name) of a world that reads its shapes from disk.

    The other worlds read nothing.
    """
    return "", ""

  @staticmethod
  def turned(view: np.ndarray, azimuth: float) -> np.ndarray:
    """The view [6] from another azimuth, in radians."""
    return np.array([view[0], azimuth, *view[2:]], np.float32)

  def world(self) -> tuple[object, Callable[[str, int], tuple[dict, dict]]]:
    """(ShapeModel, draw)."""
    raise NotImplementedError

  def _info(self) -> tfds.core.DatasetInfo:
    side = self.builder_config.side
    maps = {
        "image": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
        "albedo": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
        "normal": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
        "depth": tfds.features.Image(shape=(side, side, 1), dtype=np.uint16, encoding_format="png"),
        "light": tfds.features.Tensor(shape=(9,), dtype=np.float32),
        "view": tfds.features.Tensor(shape=(6,), dtype=np.float32),
        "weights": tfds.features.Tensor(shape=(None,), dtype=np.float32),
    }
    if self.PARTS:
      maps["segmentation"] = tfds.features.Image(shape=(side, side, 1), encoding_format="png")
    labels = {name: tfds.features.Scalar(dtype=np.int32) for name in self.builder_config.label_names}
    labels |= {name: tfds.features.Scalar(dtype=np.float32) for name in self.FACTORS}
    info = self.dataset_info_from_configs(
      description=self.__doc__,
      features=tfds.features.FeaturesDict({**maps, "label": labels}),
      disable_shuffling=True,
    )
    # TFDS would ask its bucket for a set of this name, and leave an empty folder in /tmp behind.
    info.initialize_from_bucket = lambda: None
    return info

  def _split_generators(self, dl_manager):
    config = self.builder_config
    images = max(1, config.frames)  # of an example
    sizes = {
      split: images * (config.train_examples if split == "train" else config.val_examples)
      for split in self.SPLITS
    }
    progress = _Progress(f"{self.name} {config.side}x{config.side}", sum(sizes.values()))
    return {split: self._generate_examples(split, size, progress) for split, size in sizes.items()}

  def _generate_examples(self, split: str, size: int, progress) -> Iterator[tuple[int, dict]]:
    draw, render = self._world

    def batch(
      start: int,
    ) -> list[
      dict
    ]:  # drawn, rendered and encoded; the last one is filled up with images that are thrown away
      draws = [draw(split, index) for index in range(start, start + BATCH)]
      arrays = jax.device_get(render(stack([scene for scene, _ in draws])))
      return [
        _example(scene, labels, {name: array[k] for name, array in arrays.items()})
        for k, (scene, labels) in enumerate(draws)
      ]

    # XLA keeps hardly more than one core busy with one batch: as many at a time as there are cores, a few
    # ahead of the writer.
    workers = min(8, os.cpu_count() or 1)
    with concurrent.futures.ThreadPoolExecutor(workers) as pool, progress:
      starts, waiting = iter(range(0, size, BATCH)), collections.deque()
      try:
        for start in itertools.islice(starts, 2 * workers):
          waiting.append((start, pool.submit(batch, start)))
        while waiting:
          start, job = waiting.popleft()
          examples = job.result()[: size - start]
          for following in itertools.islice(starts, 1):
            waiting.append((following, pool.submit(batch, following)))
          yield from ((start + k, example) for k, example in enumerate(examples))
          progress.advance(len(examples))
      finally:
        for _, job in waiting:  # after an error or Ctrl-C: do not finish the rest first
          job.cancel()

  @functools.cached_property
  def _world(self) -> tuple[Callable, Callable]:
    """(draw, render), made once for all splits."""
    model, draw = self.world()
    config = self.builder_config
    if config.frames:
      draw = clips.drawing(
        draw, self.turned, seed=config.scene_seed, frames=config.frames, limit=self.YAW_LIMIT
      )
    return draw, renderer(model, config.side, self.painter)


def _example(scene: dict, labels: dict, maps: dict[str, np.ndarray]) -> dict:
  """What the builder's features expect of one image.

  Maps are encoded bytes, since arrays would make TFDS call TensorFlow.
  """
  light = maps.pop("light")
  encoded = {name: io.BytesIO(_png(pixels)) for name, pixels in maps.items()}
  return {**encoded, "light": light, "view": scene["view"], "weights": scene["weights"], "label": labels}


def stack(scenes: list[dict]) -> dict:
  """A list of scenes as one scene with leading batch axes."""
  return jax.tree.map(lambda *leaves: np.stack(leaves), *scenes)


def host() -> jax.Device:
  """The device that renders: the CPU, where there is one."""
  try:
    return jax.local_devices(backend="cpu")[0]
  except RuntimeError:  # JAX_PLATFORMS leaves the CPU out
    return jax.local_devices()[0]


def renderer(model, side: int, painter: Callable = render_scene.paint_head) -> Callable[[dict], dict]:
  """Jitted function from stacked scenes to stored maps (uint8, uint16) and `light` [B, 9].

  On the host's CPU: the same everywhere.
  """
  cpu = host()
  arrays = jax.device_put((model.vertices, model.modes, model.coords), cpu)

  @jax.jit
  def run(arrays, scene):
    vertices, modes, coords = arrays
    filled = model._replace(vertices=vertices, modes=modes, coords=coords)
    return {
      **render_scene.quantize(render_scene.render(filled, scene, side, painter)),
      "light": render_scene.light_coefficients(scene),
    }

  return lambda scene: run(arrays, jax.device_put(scene, cpu))


def _png(pixels: np.ndarray) -> bytes:
  """Encodes planes [3, S, S] (red, green, blue) or [S, S], uint8 or uint16."""
  pixels = (
    np.ascontiguousarray(pixels[::-1].transpose(1, 2, 0)) if pixels.ndim == 3 else pixels
  )  # OpenCV wants blue first
  return cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def decode(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Stored features, by path, as batches have them; of one example, or of several with a leading axis.

  Pictures stay uint8. depth [S, S] float32, BACKGROUND_DEPTH where mask [S, S] is 0; normal [S, S, 3] unit,
  camera frame; segmentation [S, S] uint8; light [9]; view [6]; weights [M] of the shape's modes; `label/NAME`
  int32, numbers float32.
  """
  result = {}
  for name, value in rows.items():
    if name == "normal":
      normal = value.astype(np.float32) / 127 - 1
      result[name] = normal / np.linalg.norm(normal, axis=-1, keepdims=True)
    elif name == "depth":
      steps = value[..., 0]
      inside = steps <= DEPTH_STEPS
      depth = (NEAR + steps * ((FAR - NEAR) / DEPTH_STEPS)).astype(np.float32)
      result[name] = np.where(inside, depth, np.float32(BACKGROUND_DEPTH))
      result["mask"] = inside.astype(np.float32)
    elif name == "segmentation":
      result[name] = value[..., 0]
    elif name in ("light", "view", "weights"):
      result[name] = np.asarray(value, np.float32)
    elif name.startswith("label/"):
      number = np.issubdtype(np.asarray(value).dtype, np.floating)
      result[name] = np.asarray(value, np.float32 if number else np.int32)
    else:
      result[name] = value
  return result


def prepared(world: type[SceneBuilder], data: Any) -> SceneBuilder:
  """The prepared builder of an embedded world, which renders first where there is no copy yet.

  Raises UserError. `data` is the section of the configuration. The copy is at `<cache_dir>/<name>/<side,
  sizes, seed>/<version>`; it appears there only when it is complete.
  """
  for key in ("train_examples", "val_examples"):
    if data[key] < 1:
      raise UserError(
        f"data.{key}={data[key]}: an embedded world needs at least 1 (it is rendered, there is no `all`)"
      )
  source, tag = world.source(data.path)
  name = f"side{data.side}_train{data.train_examples}_val{data.val_examples}_seed{data.scene_seed}{tag}"
  name += f"_frames{data.frames}" if data.frames else ""
  config = WorldConfig(
    name=name,
    side=data.side,
    frames=data.frames,
    train_examples=data.train_examples,
    val_examples=data.val_examples,
    scene_seed=data.scene_seed,
    path=source,
    label_names=world.LABELS,
  )
  root = os.path.expanduser(data.cache_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
  try:
    os.makedirs(root, exist_ok=True)
    with _quiet():
      builder = world(config=config, data_dir=root, file_format="array_record")
      if not builder.is_prepared():
        _prepare(builder)
  except OSError as error:
    raise UserError(
      f"data.cache_dir={root}: the data set cannot be written there ({error.strerror or error})"
    ) from error
  return builder


def _prepare(builder) -> None:
  """Renders and writes, one process at a time; what an interrupted attempt left is cleared away first."""
  folder = pathlib.Path(builder.data_dir)
  folder.parent.mkdir(parents=True, exist_ok=True)
  with open(folder.parent / ".lock", "w") as lock:
    if fcntl:
      fcntl.flock(lock, fcntl.LOCK_EX)  # released by the system however this process ends
    if builder.is_prepared():  # another process was faster
      builder.info.read_from_directory(str(folder))
      return
    for stale in folder.parent.glob("*incomplete*"):
      shutil.rmtree(stale, ignore_errors=True)
    builder.download_and_prepare()


@contextlib.contextmanager
def _quiet():
  """TFDS without its bars, its prints and its warnings about our configs; errors still come out."""
  from tensorflow_datasets.core.utils import tqdm_utils
  bars, verbosity = tqdm_utils._active, absl_logging.get_verbosity()
  tfds.disable_progress_bar()
  absl_logging.set_verbosity(absl_logging.ERROR)
  try:
    with contextlib.redirect_stdout(io.StringIO()):
      yield
  finally:
    tqdm_utils.display_progress_bar(bars)
    absl_logging.set_verbosity(verbosity)


class _Progress:
  """A progress bar on a terminal, a line every ten seconds elsewhere.

  Each split opens it in turn, and it counts over all of them.
  """

  def __init__(self, title: str, total: int, every: float = 10.0):
    self.title, self.total, self.every = title, total, every
    self.done = 0
    self.bar = self.start = None

  def __enter__(self):
    if self.start is None:
      self.start = self.said = time.monotonic()
    if sys.stderr.isatty() and self.bar is None:
      from rich import console, progress

      columns = (
        progress.TextColumn("rendering {task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[rate]:.0f} images/s"),
        progress.TimeRemainingColumn(),
      )
      self.bar = progress.Progress(*columns, console=console.Console(stderr=True))
      self.task = self.bar.add_task(self.title, total=self.total, rate=0.0)
      self.bar.start()
    return self

  def __exit__(self, kind, *_):
    if self.bar is not None and (kind is not None or self.done >= self.total):
      self.bar.stop()

  def advance(self, count: int) -> None:
    self.done += count
    now = time.monotonic()
    rate = self.done / max(now - self.start, 1e-9)
    if self.bar is not None:
      self.bar.update(self.task, completed=self.done, rate=rate)
    elif now - self.said >= self.every or self.done == self.total:
      self.said = now
      left = (self.total - self.done) / max(rate, 1e-9)
      line = f"rendering {self.title}: {self.done:,} of {self.total:,} images"
      print(f"{line}, {rate:.0f} images/s, {left:.0f} s left", file=sys.stderr, flush=True)
