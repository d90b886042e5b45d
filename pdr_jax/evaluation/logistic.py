"""Logistic regression, binary and multinomial: a whole grid of penalties, example weights and labels in one compiled program.

Each problem minimises, over coefficients `w` and an intercept that is not penalised,

  mean over examples (weighted) of -log p(label | x)  +  l2 / 2 |w|^2,

which is scikit-learn's `LogisticRegression` with `C = 1 / (l2 * sum of the example weights)`. All problems share the features, so that
an iteration is two matrix products for all of them. L-BFGS (Liu and Nocedal 1989) runs in the eigenbasis of the features' second moments,
where the Hessian at the start is diagonal but for the example weights; its first step is then nearly Newton's.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

MEMORY = 5  # pairs that L-BFGS remembers; more take no fewer iterations
TOLERANCE = 1e-5  # of the gradient's norm
MAX_ITERATIONS = 300
TRIALS = 10  # of a line search; one is usual
TOGETHER = 2**21  # logits held by the problems that are solved side by side: bounds the memory, 8 MB a copy


class Fit(NamedTuple):
  """Solutions for S rows of example weights and L penalties; T counts labels (binary) or classes (multinomial).

  `gradient_norm` is the Euclidean norm of the objective's gradient where the solver stopped and `iterations` how many it took, both
  `[S, L, T]`, for multinomial problems `[S, L]`.
  """
  coefficients: Float[Array, "S L T D"]
  intercepts: Float[Array, "S L T"]
  gradient_norm: Float[Array, "S L ..."]
  iterations: Int[Array, "S L ..."]


@functools.partial(jax.jit, static_argnames=("tolerance", "max_iterations"))
def fit_binary(
    features: Float[Array, "N D"],
    targets: Float[Array, "N T"],
    weights: Float[Array, "S N"],
    l2: Float[Array, " L"],
    *,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Fit:
  """One problem for each row of example weights, penalty and label. Features should be standardised; targets are 0 or 1.

  A problem stops when its gradient's norm is at most `tolerance`, or after `max_iterations`.
  """
  solve, shape = _solver(features, tolerance, max_iterations), (len(l2), len(weights), targets.shape[1])
  strengths, rows, labels = (index.ravel() for index in jnp.indices(shape))
  fit = jax.lax.map(
      lambda at: solve(targets[:, at[2]][None], weights[at[1]], l2[at[0]], jax.nn.sigmoid),
      (strengths, rows, labels), batch_size=_together(math.prod(shape), len(features)))
  fit = jax.tree.map(lambda leaf: jnp.swapaxes(leaf.reshape(*shape, *leaf.shape[1:]), 0, 1), fit)
  return fit._replace(coefficients=fit.coefficients[..., 0, :], intercepts=fit.intercepts[..., 0])


@functools.partial(jax.jit, static_argnames=("classes", "tolerance", "max_iterations"))
def fit_multinomial(
    features: Float[Array, "N D"],
    labels: Int[Array, " N"],
    weights: Float[Array, "S N"],
    l2: Float[Array, " L"],
    *,
    classes: int,
    tolerance: float = TOLERANCE,
    max_iterations: int = MAX_ITERATIONS,
) -> Fit:
  """One softmax problem for each row of example weights and penalty; labels are 0 to `classes - 1`. Otherwise as `fit_binary`."""
  solve, shape = _solver(features, tolerance, max_iterations), (len(l2), len(weights))
  strengths, rows = (index.ravel() for index in jnp.indices(shape))
  targets = jax.nn.one_hot(labels, classes, axis=0)
  fit = jax.lax.map(
      lambda at: solve(targets, weights[at[1]], l2[at[0]], functools.partial(jax.nn.softmax, axis=0)),
      (strengths, rows), batch_size=_together(math.prod(shape), len(features) * classes))
  return jax.tree.map(lambda leaf: jnp.swapaxes(leaf.reshape(*shape, *leaf.shape[1:]), 0, 1), fit)


def _together(problems: int, logits: int) -> int:
  """How many problems of so many logits to solve side by side: a divisor, as the remainder would be compiled once more."""
  return max(count for count in range(1, problems + 1) if problems % count == 0 and (count == 1 or count * logits <= TOGETHER))


class Probe(NamedTuple):
  """Linear layers, one for each of S seeds."""
  coefficients: Float[Array, "S T D"]
  intercepts: Float[Array, "S T"]


@functools.partial(jax.jit, static_argnames=("exclusive", "learning_rate", "epochs", "batch_size"))
def adam_probe(
    features: Float[Array, "N D"],
    targets: Float[Array, "N T"],
    seeds: Int[Array, " S"],
    *,
    exclusive: bool,
    learning_rate: float = 2e-4,
    epochs: int = 50,
    batch_size: int = 64,
) -> Probe:
  """The published protocol: one linear layer, cross-entropy, Adam, a fixed number of epochs; nothing is selected, nothing has to converge.

  `targets` are 0 or 1; `exclusive` ones (one-hot) are trained through a softmax, others each through a sigmoid. The layer starts as
  PyTorch's does, uniform within 1 / sqrt(D). An epoch is a fresh permutation, without what does not fill a batch. The paper does not give
  the batch size.
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
  """Prepares what all problems share. Returns `solve(targets [T, N], weights [N], l2, inverse link) -> Fit` of one, without S and L."""
  with jax.default_matmul_precision("highest"):
    examples, width = features.shape
    # With fewer examples than features, coefficients outside of the span of the examples are zero.
    span = jnp.linalg.qr(features.T)[0] if examples < width else jnp.eye(width)
    spectrum, vectors = jnp.linalg.eigh((features @ span).T @ (features @ span) / examples)
    basis = span @ vectors
    design = jnp.concatenate([features @ basis, jnp.ones((examples, 1))], axis=1)
    spectrum = jnp.append(jnp.maximum(spectrum, 0.0), 1.0)
  optimizer = optax.scale_by_lbfgs(MEMORY)

  def solve(targets, weights, l2, inverse_link) -> Fit:
    weights = (weights / weights.sum())[None]
    prior = jnp.clip(jnp.sum(targets * weights, axis=1, keepdims=True), 1 / examples, 1 - 1 / examples)
    penalty = jnp.append(jnp.full(spectrum.size - 1, l2), 0.0)[None]
    unit = jax.lax.rsqrt(prior * (1 - prior) * spectrum[None] + penalty)  # of coefficients for which the Hessian is near the identity

    def start():
      intercept = jnp.log(prior) - (jnp.log1p(-prior) if len(targets) == 1 else 0.0)
      coefficients = jnp.concatenate([jnp.zeros_like(unit[:, 1:]), intercept], axis=1)
      logits = jnp.broadcast_to(intercept, targets.shape)
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
      return Fit(coefficients[:, :-1] @ basis.T, coefficients[:, -1], jnp.linalg.norm(slope), count)

  return solve


def _line_search(slope_at, slope_here):
  """A step size at which the slope is at most half of what it is here, by secants through both ends.

  The objective is convex: its slope grows with the step. Slopes keep their digits where differences of the objective have lost theirs.
  """
  def unfinished(state):
    _, slope, trials = state
    return (jnp.abs(slope) > 0.5 * jnp.abs(slope_here)) & (trials < TRIALS)

  def again(state):
    size, slope, trials = state
    size = size * jnp.clip(slope_here / (slope_here - slope), 0.1, 4.0)
    return size, slope_at(size), trials + 1

  return jax.lax.while_loop(unfinished, again, (1.0, slope_at(1.0), 1))[0]
