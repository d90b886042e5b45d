"""Faces packed for the stage of the report: what `html/stage.js` draws with WebGL.

Each face is one run of bytes, base64 in the page, planes after each other, rows from above:

    depth   uint16 [S,S]    0 is `near`, 65535 is `far`
    normal  int16 [S,S,3]   32767 is 1
    albedo  uint8 [S,S,3]   0 is -1, 255 is 1

all little-endian and in the canonical frame of CONVENTIONS.md. Beside it stand the light, `[9]` or `[9][3]`,
and the view `[6]` as numbers.
"""

import base64
from collections.abc import Mapping

import numpy as np

BYTES_A_PIXEL = 2 + 6 + 3
MOST_BYTES = 6_000_000  # of all faces of a page; base64 makes them a third longer


def pack(faces: Mapping[str, np.ndarray], fov: float, labels: list[str]) -> list[dict]:
  """Faces for the page's JSON; as many as `MOST_BYTES` allows (all 24 up to 128 x 128).

  Args:
    faces: `depth [N,S,S]`, `albedo`, `normal [N,S,S,3]`, `light [N,9]` or `[N,9,3]`, `view [N,6]`.
    fov: degrees, of the camera.
    labels: the name of each face.
  """
  count, side = faces["depth"].shape[:2]
  count = min(count, max(1, MOST_BYTES // (BYTES_A_PIXEL * side * side)))
  packed = []
  for i in range(count):
    depth = np.asarray(faces["depth"][i], np.float64)
    near, far = float(depth.min()), float(depth.max())
    planes = (
        np.rint((depth - near) / max(far - near, 1e-6) * 65535).astype("<u2"),
        np.rint(np.clip(faces["normal"][i], -1, 1) * 32767).astype("<i2"),
        np.rint(np.clip(faces["albedo"][i] / 2 + 0.5, 0, 1) * 255).astype(np.uint8),
    )
    packed.append({
        "label": labels[i], "side": side, "fov": fov, "near": near, "far": far,
        "light": np.asarray(faces["light"][i], float).tolist(),
        "view": np.asarray(faces["view"][i], float).tolist(),
        "data": base64.b64encode(b"".join(plane.tobytes() for plane in planes)).decode(),
    })
  return packed
