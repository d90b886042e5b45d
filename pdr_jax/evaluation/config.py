"""The default configuration of an evaluation: every key, with its meaning. Files in `configs/eval/` start from it and override."""

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
  """The run's own data: its training split to learn from, its validation split to test on."""
  return ConfigDict(dict(
      checkpoint="best",          # best | latest | a step
      batch_size=64,              # also of the tasks that train networks
      tasks=("linear", "few_shot", "clustering", "identification", "factors", "robustness", "geometry", "segmentation"),  # or finetune
      labels=(),                  # labels to read; empty: all that the data has
      identity="identity",        # label of the person, for identification
      light_angles=(),            # labels with the light's azimuth and elevation in degrees: exact light without an embedded world
      seeds=3,                    # random choices that each probe repeats
      robustness=dict(
          inside=25.0,            # degrees of the light to the camera's axis, with light_angles: what probes learn from
          width=10.0,             # degrees of a bin
      ),
      geometry=dict(
          bound_steps=3_000,      # of training for the supervised bound; 0: none
      ),
      finetune=dict(
          steps=2_000,            # of training of encoders and linear layer, for each seed; only with `finetune` among the tasks
      ),
      segmentation=dict(
          steps=2_000,            # of training, for each choice of encoders, start and seed
          starts=("scratch", "frozen", "finetuned"),
      ),
      data=dict(                  # as in a training config; empty values: as in the run
          name="",
          path="",
          crop=(),
          split_by="",
          train_examples=-1,      # -1: as in the run; 0: all
          val_examples=-1,
      ),
  ))
