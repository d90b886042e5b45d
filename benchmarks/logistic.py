"""Times a grid of logistic regressions in one program, next to scikit-learn's LogisticRegression on a sample
of the same problems.

  python benchmarks/logistic.py [--attributes 40] [--penalties 12] [--seeds 5] [--examples 6000] [--features
  1024] [--sample 24]

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

from pdr_jax.evaluation import logistic


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
    f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, jax {jax.__version__}, "
    f"scikit-learn {sklearn.__version__}; {args.attributes} attributes x {args.penalties} penalties x {args.seeds} seeds = {count} "
    f"problems, {args.examples} x {args.features} features",
    flush=True,
  )

  on_device = jax.device_put((features, targets, weights, l2))
  start = time.perf_counter()
  solve = logistic.fit_binary.lower(*on_device).compile()
  print(f"  compiling {time.perf_counter() - start:.1f} s", flush=True)
  times = []
  for _ in range(args.repeats):
    wall, cpu = time.perf_counter(), time.process_time()
    fit = jax.block_until_ready(solve(*on_device))
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
  wall, cpu = np.median(times, axis=0)
  print(
    f"  pdr_jax       all {count} problems: {wall:9.2f} s, CPU {cpu:9.2f} s; iterations {float(np.mean(fit.iterations)):.1f} mean, "
    f"{int(fit.iterations.max())} most; largest gradient norm {float(fit.gradient_norm.max()):.1e}",
    flush=True,
  )

  rng, ours, theirs, same, slow, iterations = np.random.default_rng(1), [], [], [], [], []
  sample = rng.choice(count, min(args.sample, count), replace=False)
  for seed, penalty, label in zip(
    *np.unravel_index(sample, (args.seeds, args.penalties, args.attributes)), strict=True
  ):
    used = weights[seed] > 0
    inputs = features[used]
    labels = targets[used, label]
    held_out = features[~used]
    truth = targets[~used, label] > 0
    begun = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
      warnings.simplefilter("ignore", ConvergenceWarning)
      solver = LogisticRegression(C=1 / (float(l2[penalty]) * used.sum()), max_iter=1000).fit(inputs, labels)
    slow.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    iterations.append(solver.n_iter_[0])
    found = (
      held_out @ np.asarray(fit.coefficients[seed, penalty, label])
      + float(fit.intercepts[seed, penalty, label])
      > 0
    )
    expected = solver.decision_function(held_out) > 0
    ours.append(np.mean(found == truth))
    theirs.append(np.mean(expected == truth))
    same.append(np.mean(found == expected))
  wall_each, cpu_each = np.mean(slow, axis=0)
  print(
    f"  scikit-learn  {len(slow)} problems sampled: {wall_each:.3f} s each, CPU {cpu_each:.3f} s, {np.mean(iterations):.0f} steps; "
    f"times {count}: {wall_each * count:9.1f} s, CPU {cpu_each * count:9.1f} s (extrapolated)",
    flush=True,
  )
  print(
    f"  scikit-learn / pdr_jax: {wall_each * count / wall:.1f} x, CPU {cpu_each * count / cpu:.1f} x; accuracy on what is held out "
    f"{100 * np.mean(ours):.2f} % (scikit-learn {100 * np.mean(theirs):.2f} %, largest difference of a problem "
    f"{100 * np.max(np.abs(np.subtract(ours, theirs))):.2f} points), same decision {100 * np.mean(same):.2f} %",
    flush=True,
  )


if __name__ == "__main__":
  main()
