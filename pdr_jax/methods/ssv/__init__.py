"""SSV: viewpoint from single pictures by analysis and synthesis (Mustikovela et al. 2020)."""

from pdr_jax.methods.contract import Description
from pdr_jax.methods.ssv import settings
from pdr_jax.methods.ssv.system import create

METHOD = Description(
    defaults=settings.defaults,
    rules=settings.RULES,
    variants=settings.VARIANTS,
    check=settings.check,
    reads=settings.reads,
    create=create,
    version=2,  # the first said the likeliest quadrant
)
