"""Times a grid of logistic regressions in one program, next to scikit-learn's LogisticRegression.

The latter solves a sample of the same problems.

  python benchmarks/logistic.py [--attributes 40] [--penalties 12] [--seeds 5] [--examples 6000]
      [--features 1024] [--sample 24]

Synthetic features of correlated columns with a decaying spectrum, standardised; noisy binary attributes of
varying frequency; each seed holds out a fifth of the examples. Ours is timed warm, as the median of the
repeats, and the time to compile is stated beside it. Scikit-learn gets the same float32 features, its default
solver (lbfgs) and tolerance, up to 1,000 iterations, and a random sample of the problems, one after the
other; its time for all of them is the sample's mean times their number. Times are wall clock, and CPU time of
all threads (which other work on the machine disturbs less). Every run also compares the accuracy of both on
the examples held out.
"""

import argparse
import os
import time
import warnings

import jax
import numpy as np
import sklearn
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from pdr_jax.evaluation.probes import logistic


def problems(examples: int, width: int, attributes: int, seeds: int):
  """Features `[N, D]`, targets `[N, T]` in {0, 1} and example weights `[S, N]`."""
  rng = np.random.default_rng(0)
  mix = rng.standard_normal((width, width)) * np.linspace(1, 0.02, width)[:, None] ** 2
  features = rng.standard_normal((examples, width)) @ mix
  features = ((features - features.mean(axis=0)) / features.std(axis=0)).astype(np.float32)
  logits = features @ rng.standard_normal((width, attributes)) / width**0.5 + rng.uniform(-3, 1, attributes)
  targets = (logits + rng.logistic(size=logits.shape) > 0).astype(np.float32)
  weights = np.stack([rng.permutation(examples) >= examples // 5 for _ in range(seeds)]).astype(np.float32)
  return features, targets, weights


def ours(features, targets, weights, l2, repeats: int):
  """The fits of all problems, and the median of wall and CPU seconds; prints the time to compile."""
  on_device = jax.device_put((features, targets, weights, l2))
  start = time.perf_counter()
  solve = logistic.fit_binary.lower(*on_device).compile()
  print(f"  compiling {time.perf_counter() - start:.1f} s", flush=True)
  times = []
  for _ in range(repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    fit = jax.block_until_ready(solve(*on_device))
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
  return fit, *np.median(times, axis=0)


def scikit_learn(features, targets, weights, l2, fit, sample: int):
  """Solves a random sample of the problems, and compares with `fit` on the examples that are held out.

  Returns wall and CPU seconds `[N, 2]`, steps `[N]`, accuracy of ours and theirs `[N, 2]`, and the share of
  equal decisions `[N]`.
  """
  shape = (len(weights), len(l2), targets.shape[1])
  count = int(np.prod(shape))
  drawn = np.random.default_rng(1).choice(count, min(sample, count), replace=False)
  slow, iterations, accuracy, same = [], [], [], []
  for seed, penalty, label in zip(*np.unravel_index(drawn, shape), strict=True):
    used = weights[seed] > 0
    inputs, labels = features[used], targets[used, label]
    held_out, truth = features[~used], targets[~used, label] > 0
    wall, cpu = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", ConvergenceWarning)
      solver = LogisticRegression(C=1 / (float(l2[penalty]) * used.sum()), max_iter=1000).fit(inputs, labels)
    slow.append((time.perf_counter() - wall, time.process_time() - cpu))
    iterations.append(solver.n_iter_[0])
    coefficients = np.asarray(fit.coefficients[seed, penalty, label])
    decided = held_out @ coefficients + float(fit.intercepts[seed, penalty, label]) > 0
    expected = solver.decision_function(held_out) > 0
    accuracy.append((np.mean(decided == truth), np.mean(expected == truth)))
    same.append(np.mean(decided == expected))
  return np.array(slow), iterations, np.array(accuracy), same


def main():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--attributes", type=int, default=40)
  parser.add_argument("--penalties", type=int, default=12)
  parser.add_argument("--seeds", type=int, default=5)
  parser.add_argument("--examples", type=int, default=6000)
  parser.add_argument("--features", type=int, default=1024)
  parser.add_argument("--repeats", type=int, default=3)
  parser.add_argument("--sample", type=int, default=24, help="problems that scikit-learn solves")
  args = parser.parse_args()
  features, targets, weights = problems(args.examples, args.features, args.attributes, args.seeds)
  l2 = np.logspace(-5, 0.5, args.penalties).astype(np.float32)
  count = args.attributes * args.penalties * args.seeds
  print(
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, "
    f"jax {jax.__version__}, scikit-learn {sklearn.__version__}; {args.attributes} attributes x "
    f"{args.penalties} penalties x {args.seeds} seeds = {count} problems, "
    f"{args.examples} x {args.features} features",
    flush=True,
  )

  fit, wall, cpu = ours(features, targets, weights, l2, args.repeats)
  print(
    f"  pdr_jax       all {count} problems: {wall:9.2f} s, CPU {cpu:9.2f} s; "
    f"iterations {float(np.mean(fit.iterations)):.1f} mean, {int(fit.iterations.max())} most; "
    f"largest gradient norm {float(fit.gradient_norm.max()):.1e}",
    flush=True,
  )
  slow, iterations, accuracy, same = scikit_learn(features, targets, weights, l2, fit, args.sample)
  wall_each, cpu_each = slow.mean(axis=0)
  print(
    f"  scikit-learn  {len(slow)} problems sampled: {wall_each:.3f} s each, CPU {cpu_each:.3f} s, "
    f"{np.mean(iterations):.0f} steps; times {count}: {wall_each * count:9.1f} s, "
    f"CPU {cpu_each * count:9.1f} s (extrapolated)",
    flush=True,
  )
  mean_ours, mean_theirs = 100 * accuracy.mean(axis=0)
  print(
    f"  scikit-learn / pdr_jax: {wall_each * count / wall:.1f} x, CPU {cpu_each * count / cpu:.1f} x; "
    f"accuracy on what is held out {mean_ours:.2f} % (scikit-learn {mean_theirs:.2f} %, "
    f"largest difference of a problem {100 * np.abs(np.diff(accuracy)).max():.2f} points), "
    f"same decision {100 * np.mean(same):.2f} %",
    flush=True,
  )


if __name__ == "__main__":
  main()
