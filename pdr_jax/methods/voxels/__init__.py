"""Inverse graphics: shapes as voxels, and their poses, from unlabelled silhouettes and grey pictures.

`system` has the method, `settings` its keys, `pose` the three ways to a pose, `projection` the camera.
"""

from pdr_jax.methods.contract import Description
from pdr_jax.methods.voxels import settings, system

METHOD = Description(
  defaults=settings.defaults,
  rules=settings.RULES,
  variants=settings.VARIANTS,
  check=settings.check,
  reads=settings.reads,
  create=system.create,
)
