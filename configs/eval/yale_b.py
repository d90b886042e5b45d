r"""Extended Yale B (cropped): who it is under unseen light, and what each feature block tells of the light.

    python -m pdr_jax.evaluate --workdir runs/celeb --config configs/eval/yale_b.py \
        --config.data.path=FOLDER_OR_ZIP

The pictures' labels.csv has columns `subject`, `azimuth_deg` and `elevation_deg` (degrees, 0 from the
camera), which are exact; the published folder (`--config.data.name=yale_b`) has them in its file names.
"""

from ml_collections import ConfigDict

from pdr_jax.evaluation.config import get_config as evaluation


def get_config() -> ConfigDict:
  config = evaluation()
  config.data.update(name="image_folder", crop=(12, 24, 156, 168), train_examples=0, val_examples=600)
  config.update(tasks=("identification", "factors", "robustness"), labels=("subject",), identity="subject",
                light_angles=("azimuth_deg", "elevation_deg"))
  return config
