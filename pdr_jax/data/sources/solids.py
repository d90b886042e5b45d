"""Embedded solids as silhouettes: bowls, cups, chairs, tables, cars and heads, with exact voxels."""

import functools

from pdr_jax.data import solids
from pdr_jax.data.dataset import Source

SOURCE = Source(
  about="silhouettes of embedded solids with exact voxels and azimuth",
  open=functools.partial(solids.open_solids, shaded=False),
  licence="trained on pictures that the package draws itself: no third party's data is involved",
)
