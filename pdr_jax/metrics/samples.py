"""What is done with examples before they are measured or fitted.

They are standardised, and a part is held out.
"""

import numpy as np
from jaxtyping import Float, Int, Shaped

ROUNDING = 1e-6  # a column whose deviation is below this share of its size is constant
OUTLIER = 10.0  # deviations


def standardize(
    train: Shaped[np.ndarray, "N D"], *others: Shaped[np.ndarray, "_ D"]
) -> tuple[Float[np.ndarray, "_ D"], ...]:
  """All of them, float32, with the mean and deviation of `train` taken out.

  Columns that say nothing in `train` become zero in all. These are constant ones, and those of which a single
  example makes up a quarter of the variance and is ten deviations off: units that hardly ever fire. In these
  deviations a test example can be a thousand away, and would alone decide a probe's score.
  """
  exact = np.asarray(train, np.float64)
  mean = exact.mean(axis=0)
  deviation = exact.std(axis=0)
  varies = deviation > ROUNDING * np.sqrt(np.mean(exact**2, axis=0))
  farthest = np.abs(exact - mean).max(axis=0, initial=0.0)
  varies &= farthest**2 < max(len(exact) / 4, OUTLIER**2) * deviation**2
  factor = np.where(varies, 1 / np.where(varies, deviation, 1.0), 0.0)
  return tuple(((part - mean) * factor).astype(np.float32) for part in (train, *others))


def split_off(count: int, share: float, seed: int) -> tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]]:
  """Sorted indices of what stays and of the share that is held out, chosen by the seed.

  Each has at least one.
  """
  order = np.random.default_rng(seed).permutation(count)
  held_out = min(max(round(share * count), 1), count - 1)
  return np.sort(order[held_out:]), np.sort(order[:held_out])
