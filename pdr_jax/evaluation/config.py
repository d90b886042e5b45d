"""The default configuration of an evaluation, put together from the tasks that exist.

Files in `configs/eval/` start from it and override. Each task's section stands, with its comments, in the
task's file.
"""

from ml_collections import ConfigDict

from pdr_jax.evaluation import task


def get_config() -> ConfigDict:
  """The run's own data: its training split to learn from, its validation split to test on."""
  names = task.names()
  config = dict(
      checkpoint="best",  # best | latest | a step
      batch_size=64,      # also of the tasks that train networks
      tasks=tuple(name for name in names if task.find(name).by_default),  # names, or dotted paths of modules
      labels=(),          # labels to read; empty: all that the data has
      identity="identity",  # label of the person, for identification
      light_angles=(),    # labels with the light's azimuth and elevation in degrees: exact light
      seeds=3,            # random choices that each probe repeats
      components=0,       # principal components of normalised pictures and of `pca`; 0: as many as features
      normalized_full=False,  # also whole normalised pictures as a block: what the method of pixels reads
      data=dict(          # as in a training config; empty: as in the run, but not of another source
          name="",
          path="",
          crop=(),
          split_by="",
          label_kinds="",
          options="",
          train_examples=-1,  # -1: as in the run; 0: all
          val_examples=-1,
      ),
  )
  sections = {name: task.find(name).defaults() for name in names}
  return ConfigDict(config | {name: section for name, section in sections.items() if section})
