"""Embedded solids in grey, lit, from 30 degrees above the horizon, with exact voxels and azimuth."""

import functools

from pdr_jax.data import solids
from pdr_jax.data.dataset import Source

SOURCE = Source(
  about="shaded pictures of embedded solids with exact voxels and azimuth",
  open=functools.partial(solids.open_solids, shaded=True),
  licence="trained on pictures that the package draws itself: no third party's data is involved",
)
