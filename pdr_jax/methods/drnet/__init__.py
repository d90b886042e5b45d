"""DrNET: content and pose from video (Denton and Birodkar 2017)."""

from pdr_jax.methods.contract import Description
from pdr_jax.methods.drnet import settings
from pdr_jax.methods.drnet.system import create

METHOD = Description(
    defaults=settings.defaults,
    rules=settings.RULES,
    variants=settings.VARIANTS,
    check=settings.check,
    reads=settings.reads,
    create=create,
    input="clip",
)
