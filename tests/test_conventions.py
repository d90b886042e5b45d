"""CONVENTIONS.md, statement by statement: an F-shaped relief, lit from one corner and turned to one side.

The F has no symmetry, so whatever is mirrored, transposed or turned the wrong way shows. Expectations are by
hand, or from the float64 renderer in `render_oracles.py`, which was written from CONVENTIONS.md and shares no
code with the package.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import render_oracles as oracle
from support.tolerances import rounding

from pdr_jax.metrics import geometry
from pdr_jax.render import camera, depth_mesh, lighting, reproject, warp
from pdr_jax.render.rasterize import rasterize

SIDE = 24
LENS = camera.pinhole(SIDE)
NEAR, FAR = 0.8, 1.2
FULL = np.s_[1:-1, 1:-1]


def letter_f():
  """[S,S] 1 on the strokes: stem on the left, long bar at the top, shorter bar in the middle.

  There is nothing below on the right.
  """
  strokes = np.zeros((SIDE, SIDE))
  strokes[4:20, 6:10] = 1
  strokes[4:8, 6:18] = 1
  strokes[11:14, 6:15] = 1
  return strokes


def letter_depth():
  """The F stands out of a plane at depth 1 towards the camera, by 0.01."""
  return 1.0 - 0.01 * letter_f()


def dot_image():
  """[S,S,1] a bright dot in the middle of the picture."""
  image = np.zeros((SIDE, SIDE, 1))
  image[10:14, 10:14] = 1
  return image


def dome():
  """A face's relief: the middle is nearer than the rim."""
  axis = np.linspace(-1, 1, SIDE)
  return 0.95 + 0.05 * np.minimum(axis[:, None] ** 2 + axis[None] ** 2, 1)


@jax.jit
def render(depth, image, view):
  seen = reproject.depth_at_view(depth, view, LENS, near=NEAR, far=FAR)
  return seen, warp_masked(image, seen, view)


def warp_masked(image, seen, view):
  return reproject.warp_to_view(image, seen, view, LENS) * (seen < FAR)[..., None]


def show(depth, image, view):
  seen, picture = render(
    jnp.asarray(depth, jnp.float32), jnp.asarray(image, jnp.float32), jnp.asarray(view, jnp.float32)
  )
  return np.asarray(seen), np.asarray(picture)


def centroid(image):
  """(column, row) of the mean of an image's brightness."""
  weights = np.asarray(image).reshape(image.shape[0], image.shape[1])
  return (
    weights.sum(0) @ np.arange(weights.shape[1]) / weights.sum(),
    weights.sum(1) @ np.arange(weights.shape[0]) / weights.sum(),
  )


# ---------------------------------------------------------------- frames and views


def test_camera_frame_is_x_right_y_down_z_forward():
  points = jnp.array([[0, 0, 1.0], [0.02, 0, 1.0], [0, 0.03, 1.0], [0.02, 0.03, 2.0]])
  centre, right, below, beyond = np.asarray(camera.project(points, LENS))
  f = oracle.focal_length(SIDE)
  off = rounding(8, SIDE)  # eight roundings of a coordinate
  np.testing.assert_allclose(centre, [11.5, 11.5, 1], rtol=0, atol=off)
  np.testing.assert_allclose(right, [11.5 + 0.02 * f, 11.5, 1], rtol=0, atol=off)  # larger u: to the right
  np.testing.assert_allclose(below, [11.5, 11.5 + 0.03 * f, 1], rtol=0, atol=off)  # larger v: further down
  # further away: smaller
  np.testing.assert_allclose(beyond, [11.5 + 0.01 * f, 11.5 + 0.015 * f, 2], rtol=0, atol=off)


@pytest.mark.parametrize("axis, source, target", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_each_rotation_turns_one_axis_towards_the_next(axis, source, target):
  angles = np.zeros(3, np.float32)
  angles[axis] = np.pi / 2
  turned = np.asarray(camera.rotation_matrix(angles)) @ np.eye(3)[source]
  np.testing.assert_allclose(turned, np.eye(3)[target], rtol=0, atol=rounding(8))


@pytest.mark.parametrize("angles, source, target", [
    ((1, 1, 0), 1, 0),  # Ry Rx y = Ry z = x; the other way round it would be z
    ((1, 0, 1), 1, 2),  # Rz Rx y = Rz z = z; the other way round -x
    ((0, 1, 1), 2, 1),  # Rz Ry z = Rz x = y; the other way round x
])
def test_rotations_are_applied_in_the_order_x_y_z(angles, source, target):
  turned = np.asarray(camera.rotation_matrix(np.float32(angles) * np.float32(np.pi / 2))) @ np.eye(3)[source]
  np.testing.assert_allclose(turned, np.eye(3)[target], rtol=0, atol=rounding(8))


def test_view_is_rotation_about_the_pivot_then_translation():
  view = jnp.array([0.3, -0.5, 0.7, 0.01, -0.02, 0.03])
  np.testing.assert_allclose(
    camera.apply_view(jnp.array([[0.0, 0.0, 1.0]]), view), [[0.01, -0.02, 1.03]], rtol=0, atol=rounding(4)
  )
  # A quarter turn of yaw takes the point behind the pivot to its right; translation is along the camera's
  # axes, after the rotation.
  turned = camera.apply_view(jnp.array([[0.0, 0.0, 1.1]]), jnp.array([0, np.pi / 2, 0, 0.2, 0.3, 0.0]))
  np.testing.assert_allclose(turned, [[0.3, 0.3, 1.0]], rtol=0, atol=rounding(8))
  np.testing.assert_allclose(
    camera.undo_view(turned, jnp.array([0, np.pi / 2, 0, 0.2, 0.3, 0.0])),
    [[0.0, 0.0, 1.1]],
    rtol=0,
    atol=rounding(8),
  )


@pytest.mark.parametrize("name, view, direction", [
    ("pitch > 0: nose further down", (0.3, 0, 0, 0, 0, 0), (0, 1)),
    ("yaw > 0: nose to the left", (0, 0.3, 0, 0, 0, 0), (-1, 0)),
    ("tx > 0: to the right", (0, 0, 0, 0.02, 0, 0), (1, 0)),
    ("ty > 0: down", (0, 0, 0, 0, 0.02, 0), (0, 1)),
])
def test_which_way_the_nose_goes(name, view, direction):
  _, picture = show(dome(), dot_image(), view)
  moved = np.subtract(centroid(picture), 11.5)
  assert moved @ direction > 1.0, f"{name}: moved by {moved}"
  assert abs(moved @ direction[::-1]) < 0.3, f"{name}: moved by {moved}"


def test_roll_turns_the_top_of_the_letter_to_the_right():
  _, picture = show(np.ones((SIDE, SIDE)), letter_f()[..., None], (0, 0, np.pi / 2, 0, 0, 0))
  expected = np.rot90(letter_f(), -1)  # clockwise: x (right) towards y (down)
  assert np.abs(picture[..., 0] - expected)[FULL].max() < 1e-3
  assert np.abs(np.rot90(letter_f()) - expected).max() == 1.0


def test_tz_moves_away_and_shrinks():
  seen, picture = show(np.ones((SIDE, SIDE)), letter_f()[..., None], (0, 0, 0, 0, 0, 0.15))
  assert seen[12, 12] == pytest.approx(1.15, abs=rounding(8, 1.15)) and seen[0, 0] == np.float32(FAR)
  assert picture.sum() == pytest.approx(letter_f().sum() / 1.15**2, rel=0.03)


# ---------------------------------------------------------------- pixels and images


def test_field_of_view_between_outermost_centres_and_principal_point():
  assert LENS.focal == pytest.approx((SIDE - 1) / 2 / np.tan(np.deg2rad(5)))
  assert LENS.centre_u == LENS.centre_v == (SIDE - 1) / 2
  points = np.asarray(camera.back_project(jnp.ones((SIDE, SIDE)), LENS))
  half = np.tan(np.deg2rad(5))
  # first row and column: above left
  np.testing.assert_allclose(points[0, 0], [-half, -half, 1], rtol=0, atol=rounding(2))
  np.testing.assert_allclose(points[0, -1], [half, -half, 1], rtol=0, atol=rounding(2))
  np.testing.assert_allclose(points[-1, 0], [-half, half, 1], rtol=0, atol=rounding(2))


def test_depth_is_the_z_coordinate():
  points = np.asarray(camera.back_project(jnp.full((SIDE, SIDE), 1.05), LENS))
  np.testing.assert_array_equal(points[..., 2], np.float32(1.05))
  assert np.linalg.norm(points[0, 0]) > 1.055  # the length of the ray is more


def test_front_view_of_the_letter_is_the_letter():
  seen, picture = show(letter_depth(), letter_f()[..., None], np.zeros(6))
  # coordinates have some roundings of their size; depth changes by 0.01 in a pixel, the picture by one
  off = rounding(8) + 0.01 * rounding(16, SIDE)
  np.testing.assert_allclose(seen[FULL], letter_depth()[FULL], rtol=0, atol=off)
  np.testing.assert_allclose(seen, letter_depth(), rtol=0, atol=off + 0.01 * reproject.BORDER_OVERLAP)
  np.testing.assert_allclose(picture[..., 0], letter_f(), rtol=0, atol=rounding(16, SIDE))
  assert seen[5, 16] < 0.995 < seen[16, 5]  # the long bar: row 5, column 16


def test_sampling_is_at_pixel_centres_and_zero_outside():
  # 3 rows, 4 columns: 11 ... 34
  image = jnp.asarray(10 * np.arange(1, 4)[:, None] + np.arange(1, 5)[None], jnp.float32)[..., None]
  uv = jnp.array([[[0, 0], [3, 0], [0, 2], [2.5, 1], [-1, 0], [4, 0], [-0.5, 0], [0, -1]]])
  np.testing.assert_array_equal(warp.sample_bilinear(image, uv)[0, :, 0], [11, 14, 31, 23.5, 0, 0, 5.5, 0])


def test_colour_ranges_and_image_formation():
  albedo = jnp.array([-1.0, 0.0, 1.0]).reshape(1, 1, 3)
  np.testing.assert_array_equal(lighting.shade(albedo, jnp.ones((1, 1)))[0, 0], [-1, 0, 1])
  np.testing.assert_array_equal(lighting.shade(albedo, jnp.full((1, 1), 0.5))[0, 0], [-1, -0.5, 0])
  np.testing.assert_array_equal(lighting.shade(albedo, jnp.zeros((1, 1)))[0, 0], [-1, -1, -1])


# ---------------------------------------------------------------- normals, light and shading


def test_normals_point_into_the_scene():
  flat = np.asarray(depth_mesh.normals(jnp.ones((SIDE, SIDE)), LENS))
  np.testing.assert_allclose(flat, np.broadcast_to([0, 0, 1.0], flat.shape), rtol=0, atol=rounding(8))
  normal = np.asarray(depth_mesh.normals(jnp.asarray(letter_depth(), jnp.float32), LENS))
  # The stem's left flank (column 6) faces left: its outward normal has x < 0, ours x > 0. The long bar's
  # upper flank (row 4) likewise.
  assert normal[15, 6, 0] > 0.5 and abs(normal[15, 6, 1]) < 1e-3 and normal[15, 9, 0] < -0.5
  assert normal[4, 13, 1] > 0.5 and abs(normal[4, 13, 0]) < 1e-3 and normal[7, 13, 1] < -0.5
  np.testing.assert_allclose(np.linalg.norm(normal, axis=-1), 1.0, rtol=rounding(8))


def flank_brightness(shading):
  """Brightness of the letter's flanks: left, right (of the stem), upper, lower (of the long bar)."""
  return shading[15, 6], shading[15, 9], shading[4, 13], shading[7, 13]


@pytest.mark.parametrize("model", ["directional", "harmonics"])
@pytest.mark.parametrize("direction, bright, dark", [
    ((1, 0, 0.5), 0, 1),  # travels to the right, comes from the left: what faces left is bright
    ((-1, 0, 0.5), 1, 0),
    ((0, 1, 0.5), 2, 3),  # comes from above
    ((0, -1, 0.5), 3, 2),
])
def test_light_brightens_what_faces_where_it_comes_from(model, direction, bright, dark):
  normal = depth_mesh.normals(jnp.asarray(letter_depth(), jnp.float32), LENS)
  ambient, diffuse, direction = jnp.float32(0.2), jnp.float32(0.7), jnp.array(direction, jnp.float32)
  if model == "directional":
    shading = lighting.directional_shading(ambient, diffuse, direction, normal)
  else:
    shading = lighting.sh_shading(lighting.directional_to_sh(ambient, diffuse, direction), normal)
  flanks = flank_brightness(np.asarray(shading))
  assert flanks[bright] == max(flanks) and flanks[bright] > flanks[dark] + 0.3


def test_lambert_by_hand():
  flat = depth_mesh.normals(jnp.ones((8, 8)), camera.pinhole(8))
  def shading(*direction):
    return float(
      lighting.directional_shading(jnp.float32(0.1), jnp.float32(0.5), jnp.float32(direction), flat)[4, 4]
    )

  assert shading(0, 0, 1) == pytest.approx(0.6, rel=rounding(8))  # a headlight
  assert shading(0, 0, -1) == pytest.approx(0.1, rel=rounding(8))  # from behind
  assert shading(1, 0, 1) == pytest.approx(0.1 + 0.5 / np.sqrt(2))


def test_order_and_signs_of_the_harmonics():
  """Each coefficient is largest where its polynomial says: y, z, x; xy, yz, 3z^2-1, xz, x^2-y^2.

  All are without Condon-Shortley signs.
  """
  x, y, z, half = np.eye(3)[0], np.eye(3)[1], np.eye(3)[2], np.sqrt(0.5)
  where = [x, y, z, x, half * (x + y), half * (y + z), z, half * (x + z), x]
  values = [
    np.sqrt(1 / 4 / np.pi),
    *[np.sqrt(3 / 4 / np.pi)] * 3,
    *[np.sqrt(15 / 16 / np.pi)] * 2,
    np.sqrt(5 / 4 / np.pi),
    *[np.sqrt(15 / 16 / np.pi)] * 2,
  ]
  basis = np.asarray(lighting.sh_basis(np.float32(where)))
  np.testing.assert_allclose(np.diagonal(basis), values, rtol=0, atol=rounding(8))
  assert float(lighting.sh_basis(np.float32(y))[8]) == pytest.approx(-np.sqrt(15 / 16 / np.pi))


def test_irradiance_gains_by_hand():
  up = jnp.array([[[0.0, 0.0, 1.0]]])
  for index, gain in [(0, np.pi), (2, 2 * np.pi / 3), (6, np.pi / 4)]:
    coefficients = jnp.zeros(9).at[index].set(1.0)
    expected = gain * float(lighting.sh_basis(up)[0, 0, index])
    assert float(lighting.sh_irradiance(coefficients, up)[0, 0]) == pytest.approx(expected, rel=rounding(8))
    assert float(lighting.sh_shading(coefficients, up)[0, 0]) == pytest.approx(
      expected / np.pi, rel=rounding(8)
    )
    assert float(lighting.sh_shading(-coefficients, up)[0, 0]) == 0.0


def test_light_turns_with_the_object():
  """Lit from the left, then upside down: what faced left now faces right, and is still the bright side."""
  normal = depth_mesh.normals(jnp.asarray(letter_depth(), jnp.float32), LENS)
  shading = lighting.directional_shading(
    jnp.float32(0.2), jnp.float32(0.7), jnp.array([1.0, 0.0, 0.5]), normal
  )
  _, picture = show(letter_depth(), np.asarray(shading)[..., None], (0, 0, np.pi, 0, 0, 0))
  row, left, right = SIDE - 1 - 15, SIDE - 1 - 9, SIDE - 1 - 6  # where the stem's flanks are now
  assert picture[row, right, 0] > picture[row, left, 0] + 0.3


def test_turning_the_light():
  """`rotate_sh` by the matrix that turns x towards y takes a light from the left to one from above."""
  from_left = lighting.directional_to_sh(jnp.float32(0.2), jnp.float32(0.7), jnp.array([1.0, 0.0, 0.5]))
  turned = lighting.rotate_sh(from_left, camera.rotation_matrix(jnp.array([0.0, 0.0, np.pi / 2])))
  flanks = flank_brightness(
    np.asarray(
      lighting.sh_shading(turned, depth_mesh.normals(jnp.asarray(letter_depth(), jnp.float32), LENS))
    )
  )
  assert flanks[2] == max(flanks)


# ---------------------------------------------------------------- meshes


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_rasterizer_windings_edges_signs_and_barycentrics(order):
  vertices = jnp.array([[0.0, 0.0, 1.0], [8.0, 0.0, 2.0], [0.0, 8.0, 4.0]])
  fragments = rasterize(vertices, np.array([order], np.int32), height=10, width=10, blur_radius=3.0)
  inside = np.asarray(fragments.signed_distance_sq)[..., 0]
  # two pixels from either leg: squared, negative
  assert inside[2, 2] == pytest.approx(-4.0, abs=rounding(8, 100))
  assert inside[9, 0] == pytest.approx(1.0, abs=rounding(8, 100))  # one pixel below the lowest vertex
  hard = rasterize(vertices, np.array([order], np.int32), height=10, width=10)
  face = np.asarray(hard.face)[..., 0]
  rows, columns = np.mgrid[:10, :10]
  # edges and vertices included; u is the column
  np.testing.assert_array_equal(face == 0, rows + columns <= 8)
  screen = np.array([1 - 0.5 - 0.25, 0.5, 0.25]) / np.array([1.0, 2.0, 4.0])  # at column 4, row 2
  expected = (screen / screen.sum())[list(order)]
  np.testing.assert_allclose(np.asarray(hard.barycentric)[2, 4, 0], expected, rtol=0, atol=rounding(16))
  assert float(hard.depth[2, 4, 0]) == pytest.approx(1 / screen.sum(), abs=rounding(16, 4))


# ---------------------------------------------------------------- everything together


@pytest.mark.parametrize(
  "view", [(0.35, 0.5, -0.4, 0.012, -0.02, 0.03), (-0.3, -0.45, 0.5, -0.01, 0.015, -0.02)]
)
def test_the_letter_lit_from_a_corner_and_turned(view):
  """The whole picture against the float64 renderer."""
  depth, f = letter_depth(), letter_f()
  albedo = np.stack([f, 0.5 * f, -f], -1) * 0.8
  light = np.array([0.8, 0.5, 1.0]) / np.linalg.norm([0.8, 0.5, 1.0])  # from the upper left corner
  shading = 0.3 + 0.6 * np.maximum(oracle.face_normals(depth) @ light, 0)
  canonical = (albedo / 2 + 0.5) * shading[..., None] * 2 - 1
  corners = oracle.triangles(oracle.to_camera(oracle.surface(depth, widen=reproject.BORDER_OVERLAP), view))
  seen, _ = oracle.cast_rays(corners, SIDE)
  reached, _ = oracle.cast_rays(corners, SIDE, slack=0.02)
  certain = np.isclose(reached, seen, atol=1e-4)  # at silhouettes a ray may fall either way
  expected = (
    oracle.warp(canonical, np.where(np.isfinite(seen), seen, FAR), view) * np.isfinite(seen)[..., None]
  )

  @jax.jit
  def everything(depth, albedo, light, view):
    ours = lighting.shade(
      albedo,
      lighting.directional_shading(
        jnp.float32(0.3), jnp.float32(0.6), light, depth_mesh.normals(depth, LENS)
      ),
    )
    seen = reproject.depth_at_view(depth, view, LENS, near=NEAR, far=FAR)
    return seen, warp_masked(ours, seen, view)

  found_depth, actual = everything(*(jnp.asarray(x, jnp.float32) for x in (depth, albedo, light, view)))
  covered = certain & np.isfinite(seen)
  assert certain.mean() > 0.9 and covered.mean() > 0.5
  np.testing.assert_allclose(np.asarray(found_depth)[covered], seen[covered], rtol=0, atol=rounding(48))
  # on flanks that are nearly edge-on, the coordinates' rounding, some eps times SIDE, is spread by a hundred
  np.testing.assert_allclose(np.asarray(actual)[certain], expected[certain], rtol=0, atol=rounding(700, SIDE))
  assert np.ptp(expected) > 1.0


def test_relief_is_right_when_the_middle_is_nearer():
  depth = jnp.asarray(np.stack([dome(), 2 - dome()]), jnp.float32)
  np.testing.assert_array_equal(geometry.is_convex(depth), [1, 0])
