"""PDR and Unsup3D: depth, albedo, light and view from single pictures.

`system` has the method, `settings` its keys.
"""

from pdr_jax.methods.contract import Description
from pdr_jax.methods.pdr import scene, settings, system

METHOD = Description(
    defaults=settings.defaults,
    rules=settings.RULES,
    variants=settings.VARIANTS,
    check=settings.check,
    reads=settings.reads,
    create=system.create,
    camera=scene.camera,
    rendered=("depth", "albedo", "canonical", "view"),
)
