"""Logistic regression, binary and multinomial, for a whole grid in one compiled program.

The grid spans penalties, example weights and labels. Each problem minimises, over coefficients `w` and an
intercept that is not penalised,

  mean over examples (weighted) of -log p(label | x)  +  l2 / 2 |w|^2,

which is scikit-learn's `LogisticRegression` with `C = 1 / (l2 * sum of the example weights)`. All problems
share the features, so that an iteration is two matrix products for all of them. L-BFGS (Liu and Nocedal 1989)
runs in the eigenbasis of the features' second moments, where the Hessian at the start is diagonal but for the
example weights; its first step is then nearly Newton's. The penalties are gone through from the strongest to
the weakest, each from the solution before: weak ones, which take the most iterations, start near their end.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

MEMORY = 5  # pairs that L-BFGS remembers; more take no fewer iterations
TOLERANCE = 1e-5  # of the gradient's norm
MAX_ITERATIONS = 300
TRIALS = 10  # of a line search; one is usual
TOGETHER = 2**21  # logits held by the problems that are solved side by side: bounds the memory, 8 MB a copy


class Fit(NamedTuple):
  """Solutions for S rows of example weights and L penalties.

  T counts labels (binary) or classes (multinomial). `gradient_norm` is the Euclidean norm of the objective's
  gradient where the solver stopped and `iterations` how many it took, both `[S, L, T]`, for multinomial
  problems `[S, L]`.
  """
  coefficients: Float[Array, "S L T D"]
  intercepts: Float[Array, "S L T"]
  gradient_norm: Float[Array, "S L ..."]
  iterations: Int[Array, "S L ..."]


@functools.partial(jax.jit, static_argnames=("tolerance", "max_iterations"))
def fit_binary(
    features: Float[Array | np.ndarray, "N D"],
    targets: Float[Array | np.ndarray, "N T"],
    weights: Float[Array | np.ndarray, "S N"],
    l2: Float[Array | np.ndarray, "L ..."],
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Fit:
  """One problem for each row of example weights, penalty and label.

  Features should be standardised; targets are 0 or 1. A problem stops when its gradient's norm is at most
  `tolerance`, or after `max_iterations`. `l2` may give each label its own: `[L, T]`.
  """
  path, rows = _solver(features, tolerance, max_iterations), len(weights)
  strengths = jnp.broadcast_to(l2 if l2.ndim == 2 else l2[:, None], (len(l2), targets.shape[1]))
  seeds, labels = (index.ravel() for index in jnp.indices((rows, targets.shape[1])))

  def solve(at: tuple[Array, Array]) -> Fit:
    seed, label = at
    return path(targets[:, label][None], weights[seed], strengths[:, label], jax.nn.sigmoid)

  fit = jax.lax.map(solve, (seeds, labels), batch_size=_together(len(seeds), len(features)))
  fit = jax.tree.map(lambda leaf: jnp.swapaxes(leaf.reshape(rows, -1, *leaf.shape[1:]), 1, 2), fit)
  return fit._replace(coefficients=fit.coefficients[..., 0, :], intercepts=fit.intercepts[..., 0])


@functools.partial(jax.jit, static_argnames=("classes", "tolerance", "max_iterations"))
def fit_multinomial(
    features: Float[Array | np.ndarray, "N D"],
    labels: Int[Array | np.ndarray, " N"],
    weights: Float[Array | np.ndarray, "S N"],
    l2: Float[Array | np.ndarray, " L"],
    *,
    classes: int,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Fit:
  """One softmax problem for each row of example weights and penalty; labels are 0 to `classes - 1`.

  Otherwise as `fit_binary`.
  """
  path, targets = _solver(features, tolerance, max_iterations), jax.nn.one_hot(labels, classes, axis=0)
  softmax = functools.partial(jax.nn.softmax, axis=0)
  together = _together(len(weights), len(features) * classes)
  return jax.lax.map(lambda row: path(targets, row, l2, softmax), weights, batch_size=together)


def _together(problems: int, logits: int) -> int:
  """How many problems of so many logits are solved side by side.

  It is a divisor, as a remainder would be compiled again.
  """
  divisors = (count for count in range(1, problems + 1) if problems % count == 0)
  return max(count for count in divisors if count == 1 or count * logits <= TOGETHER)


class Probe(NamedTuple):
  """Linear layers, one for each of S seeds."""
  coefficients: Float[Array, "S T D"]
  intercepts: Float[Array, "S T"]


@functools.partial(jax.jit, static_argnames=("exclusive", "learning_rate", "epochs", "batch_size"))
def adam_probe(
    features: Float[Array | np.ndarray, "N D"],
    targets: Float[Array | np.ndarray, "N T"],
    seeds: Int[Array, " S"],
    *,
    exclusive: bool,
    learning_rate: float = 2e-4,
    epochs: int = 50,
    batch_size: int = 64,
) -> Probe:
  """The published protocol: one linear layer, cross-entropy, Adam, a fixed number of epochs.

  Nothing is selected, nothing has to converge. `targets` are 0 or 1; `exclusive` ones (one-hot) are trained
  through a softmax, others each through a sigmoid. The layer starts as PyTorch's does, uniform within 1 /
  sqrt(D). An epoch is a fresh permutation, without what does not fill a batch. The paper does not give the
  batch size.
  """
  optimizer, (examples, width), labels = optax.adam(learning_rate), features.shape, targets.shape[1]
  batch_size = min(batch_size, examples)

  def loss(probe, inputs, truth):
    logits = inputs @ probe.coefficients.T + probe.intercepts[None]
    if exclusive:
      return optax.softmax_cross_entropy(logits, truth).mean()
    return optax.sigmoid_binary_cross_entropy(logits, truth).mean()

  def step(state, rows):
    probe, moments = state
    updates, moments = optimizer.update(jax.grad(loss)(probe, features[rows], targets[rows]), moments)
    return (optax.apply_updates(probe, updates), moments), None

  def epoch(state, key):
    order = jax.random.permutation(key, examples)[:examples // batch_size * batch_size]
    return jax.lax.scan(step, state, order.reshape(-1, batch_size))[0], None

  def train(seed):
    start, shuffle = jax.random.split(jax.random.key(seed))
    values = jax.random.uniform(start, (labels, width + 1), minval=-1, maxval=1) / width**0.5
    probe = Probe(values[:, :-1], values[:, -1])
    return jax.lax.scan(epoch, (probe, optimizer.init(probe)), jax.random.split(shuffle, epochs))[0][0]

  return jax.vmap(train)(seeds)


def _solver(features, tolerance: float, max_iterations: int):
  """Prepares what all problems share.

  Returns `path(targets [T, N], weights [N], l2 [L], inverse link) -> Fit` of one problem, without S.
  """
  basis, design, spectrum = _eigenbasis(features)
  examples = len(features)
  optimizer = optax.scale_by_lbfgs(MEMORY)

  def solve(targets, weights, l2, inverse_link, coefficients):
    weights = (weights / weights.sum())[None]
    prior = jnp.clip(jnp.sum(targets * weights, axis=1, keepdims=True), 1 / examples, 1 - 1 / examples)
    penalty = jnp.append(jnp.full(spectrum.size - 1, l2), 0.0)[None]
    # The unit of coefficients for which the Hessian is near the identity.
    unit = jax.lax.rsqrt(prior * (1 - prior) * spectrum[None] + penalty)

    def start():
      logits = coefficients @ design.T
      return coefficients, logits, gradient(coefficients, logits), optimizer.init(coefficients), 0

    def gradient(coefficients, logits):
      return ((inverse_link(logits) - targets) * weights) @ design + penalty * coefficients

    def step(state):
      coefficients, logits, slope, memory, count = state
      direction, memory = optimizer.update(slope * unit, memory, coefficients / unit)
      direction = -direction * unit
      change = direction @ design.T

      def slope_at(size):
        loss = jnp.sum((inverse_link(logits + size * change) - targets) * weights * change)
        return loss + jnp.sum(penalty * direction * (coefficients + size * direction))

      size = _line_search(slope_at, jnp.sum(slope * direction))
      coefficients, logits = coefficients + size * direction, logits + size * change
      return coefficients, logits, gradient(coefficients, logits), memory, count + 1

    def unfinished(state):
      return (jnp.linalg.norm(state[2]) > tolerance) & (state[4] < max_iterations)

    with jax.default_matmul_precision("highest"):
      coefficients, _, slope, _, count = jax.lax.while_loop(unfinished, step, start())
      norm = jnp.linalg.norm(slope)
      return coefficients, Fit(coefficients[:, :-1] @ basis.T, coefficients[:, -1], norm, count)

  def path(targets, weights, l2, inverse_link) -> Fit:
    share = jnp.clip((targets * weights[None]).sum(axis=1) / weights.sum(), 1 / examples, 1 - 1 / examples)
    intercept = jnp.log(share) - (jnp.log1p(-share) if len(targets) == 1 else 0.0)
    start = jnp.zeros((len(targets), spectrum.size)).at[:, -1].set(intercept)
    order = jnp.argsort(-l2)

    def weaker(before: Array, strength: Array) -> tuple[Array, Fit]:
      return solve(targets, weights, strength, inverse_link, before)

    _, fits = jax.lax.scan(weaker, start, l2[order])
    return jax.tree.map(lambda leaf: leaf[jnp.argsort(order)], fits)

  return path


def _eigenbasis(features: Array) -> tuple[Array, Array, Array]:
  """The eigenvectors `[D, E]` of the second moments, the features in their basis, and the eigenvalues.

  For the intercept the features have a column of ones `[N, E + 1]`, and the eigenvalues a one `[E + 1]`.
  """
  with jax.default_matmul_precision("highest"):
    examples, width = features.shape
    # With fewer examples than features, coefficients outside of the span of the examples are zero.
    span = jnp.linalg.qr(features.T)[0] if examples < width else jnp.eye(width)
    spectrum, vectors = jnp.linalg.eigh((features @ span).T @ (features @ span) / examples)
    basis = span @ vectors
    design = jnp.concatenate([features @ basis, jnp.ones((examples, 1))], axis=1)
    return basis, design, jnp.append(jnp.maximum(spectrum, 0.0), 1.0)


def _line_search(slope_at, slope_here):
  """A step size at which the slope is at most half of what it is here, by secants through both ends.

  The objective is convex: its slope grows with the step. Slopes keep their digits where differences of the
  objective have lost theirs.
  """
  def unfinished(state):
    _, slope, trials = state
    return (jnp.abs(slope) > 0.5 * jnp.abs(slope_here)) & (trials < TRIALS)

  def again(state):
    size, slope, trials = state
    size = size * jnp.clip(slope_here / (slope_here - slope), 0.1, 4.0)
    return size, slope_at(size), trials + 1

  return jax.lax.while_loop(unfinished, again, (1.0, slope_at(1.0), 1))[0]
