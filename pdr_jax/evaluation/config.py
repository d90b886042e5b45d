"""The default configuration of an evaluation: every key, with its meaning. Files in `configs/eval/` start from it and override."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """The run's own data: its training split to learn from, its validation split to test on."""
  return ConfigDict(dict(
      checkpoint="best",          # best | latest | a step
      batch_size=64,
      tasks=("linear", "few_shot", "clustering", "identification", "factors", "geometry"),
      labels=(),                  # labels to read; empty: all that the data has
      identity="identity",        # label of the person, for identification
      seeds=3,                    # random choices that each probe repeats
      data=dict(                  # as in a training config; empty values: as in the run
          name="",
          path="",
          crop=(),
          split_by="",
          train_examples=-1,      # -1: as in the run; 0: all
          val_examples=-1,
      ),
  ))
