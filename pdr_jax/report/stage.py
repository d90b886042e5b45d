"""Faces packed for the stage of the report: what `html/stage.js` draws with WebGL.

Each face is one run of bytes, base64 in the page, planes after each other, rows from above:

    depth   uint16 [S,S]    0 is `near`, 65535 is `far`
    normal  int16 [S,S,3]   32767 is 1

all little-endian and in the canonical frame of CONVENTIONS.md. Beside it stand the light, `[9]` or `[9][3]`,
and the view `[6]` as numbers, and the albedo as a picture of the same square, at any resolution (black is -1,
white is 1): PNG, or JPEG where that would be large.
"""

import base64
import io
from collections.abc import Mapping

import numpy as np
from PIL import Image

MOST_BYTES = 6_000_000  # of all faces of a page; base64 makes them a third longer
LARGEST_PNG = 128  # pixels on a side


def pack(faces: Mapping[str, np.ndarray], fov: float, labels: list[str]) -> list[dict]:
  """Faces for the page's JSON; as many as `MOST_BYTES` allows, at least one.

  Args:
    faces: `depth [N,S,S]`, `normal [N,S,S,3]`, `albedo [N,T,T,3]`, `light [N,9]` or `[N,9,3]`, `view [N,6]`.
    fov: degrees, of the camera.
    labels: the name of each face.
  """
  packed, used = [], 0
  for i, label in enumerate(labels):
    depth = np.asarray(faces["depth"][i], np.float64)
    near, far = float(depth.min()), float(depth.max())
    planes = (
        np.rint((depth - near) / max(far - near, 1e-6) * 65535).astype("<u2"),
        np.rint(np.clip(faces["normal"][i], -1, 1) * 32767).astype("<i2"),
    )
    data, (kind, albedo) = b"".join(plane.tobytes() for plane in planes), picture(faces["albedo"][i])
    used += len(data) + len(albedo)
    if packed and used > MOST_BYTES:
      break
    packed.append({
        "label": label, "side": depth.shape[-1], "fov": fov, "near": near, "far": far,
        "light": np.asarray(faces["light"][i], float).tolist(),
        "view": np.asarray(faces["view"][i], float).tolist(),
        "data": base64.b64encode(data).decode(),
        "albedo": f"data:image/{kind};base64,{base64.b64encode(albedo).decode()}",
    })
  return packed


def picture(albedo: np.ndarray) -> tuple[str, bytes]:
  """An albedo `[T,T,3]` in [-1, 1] as the kind and the bytes of a file."""
  pixels = np.rint(np.clip(np.asarray(albedo) / 2 + 0.5, 0, 1) * 255).astype(np.uint8)
  buffer = io.BytesIO()
  if len(pixels) <= LARGEST_PNG:
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    return "png", buffer.getvalue()
  Image.fromarray(pixels).save(buffer, format="JPEG", quality=90, subsampling=0, optimize=True)
  return "jpeg", buffer.getvalue()
