"""What a model with voxels says about one picture, as files: PNGs, a turning animation, voxels and a mesh."""

import os
from typing import Any

import numpy as np
from jaxtyping import Float

from pdr_jax.exports import decomposition, mesh
from pdr_jax.files import write_atomically, write_json

FRAMES = 24  # of a full turn
LEVEL = 0.5  # of the densities, where the surface is
PARTS = ("voxels", "azimuth", "projection", "reconstruction")
PNGS = ("input", "projection", "reconstruction")
FILES = (*(f"{name}.png" for name in PNGS), "turned.gif", *decomposition.MESHES, "voxels.npz", "factors.json")


def check_parts(parts: dict[str, Any], model: Any) -> None:
  """Raises `UserError` where a decomposition has voxels, and lacks what goes with them."""
  decomposition.check_named(parts, model, PARTS)


def write(
  folder: str,
  source: str,
  photograph: Float[np.ndarray, "N N C"],
  parts: dict[str, np.ndarray],
  model: Any,
  *,
  mesh_format: str,
  lit_mesh: bool,
) -> float:
  """Writes the results of one picture; arguments as `decomposition.write`. All of it counts as seen: 1.

  A surface is where the density is half of the largest one, at most `LEVEL`. `factors.json` comes last.
  """
  from pdr_jax.render import shaded_volume

  def path(name: str) -> str:
    return os.path.join(os.path.abspath(folder), name)

  shown = {"input": photograph} | {name: parts[name][0] for name in ("projection", "reconstruction")}
  for name, values in shown.items():
    decomposition.save_png(path(f"{name}.png"), values)
  density = np.asarray(parts["voxels"][0], np.float32)
  level = min(LEVEL, float(density.max()) / 2)
  azimuths = float(parts["azimuth"][0]) + np.arange(FRAMES, dtype=np.float32) * (2 * np.pi / FRAMES)
  frames = np.stack([
    np.asarray(shaded_volume.shade(density[None], azimuth[None], level=level))[0] for azimuth in azimuths
  ])
  decomposition.save_gif(path("turned.gif"), 2 * frames[..., None] - 1)
  write_atomically(
    path("voxels.npz"), lambda file: np.savez_compressed(file, density=density.astype(np.float16))
  )
  mesh.save_volume(path(f"mesh.{mesh_format}"), density, level=level)
  write_json(path("factors.json"), {
    "picture": source,
    "method": model.manifest["method"],
    "step": model.manifest.get("step"),
    "azimuth": float(parts["azimuth"][0]),
    "shape": np.asarray(parts["shape"][0], float).tolist() if "shape" in parts else None,
    "level": level,
    "units": {
      "azimuth": "radians about the vertical, z towards x",
      "voxels": "density [S, S, S] in (0, 1); axes z forward, y down, x right",
      "mesh": "the cube of the voxels reaches from -1 to 1, see pdr_jax/exports/mesh.py",
    },
  })
  return 1.0
