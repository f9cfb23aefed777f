"""Linear models in closed form or to the last bit of Newton's method, in float64.

Objectives are sums, not means: sum l(w; x_i, y_i) + lambda n / 2 |w|^2 + <b, w>, with weights W of
(d, k), a column a class or target. Knows nothing of modules.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord

__all__ = [
    "curvature",
    "influence",
    "logistic_gradient",
    "newton_step",
    "removal_charge",
    "solve_logistic",
    "solve_ridge",
]

Floats = npt.NDArray[np.float64]

_BEND = 1.0 / (6.0 * math.sqrt(3.0))
"""Largest |l'''| of the logistic loss; Guo et al. use 1/4."""


def _probabilities(scores: Floats) -> Floats:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * scores)), dtype=np.float64)


def solve_ridge(rows: Floats, targets: Floats, ridge: float) -> Floats:
    """Return the (d, k) minimiser of half squared errors: (X'X + lambda n I)^-1 X'Y."""
    gram = rows.T @ rows + ridge * len(rows) * np.eye(rows.shape[1])
    return np.asarray(np.linalg.solve(gram, rows.T @ targets), dtype=np.float64)


def logistic_gradient(
    weights: Floats, rows: Floats, targets: Floats, ridge: float, noise: Floats | float = 0.0
) -> Floats:
    """Return the (d, k) gradient of the logistic objective, one against all; targets are 0 or 1."""
    errors = _probabilities(rows @ weights) - targets
    found: Floats = rows.T @ errors + ridge * len(rows) * weights + noise
    return found


def curvature(weights: Floats, rows: Floats, ridge: float) -> Floats:
    """Return the (k, d, d) Hessians of the logistic objective."""
    shares = _probabilities(rows @ weights)
    bends = shares * (1.0 - shares)
    flat = ridge * len(rows) * np.eye(rows.shape[1])
    return np.stack([(rows * bends[:, [k]]).T @ rows + flat for k in range(bends.shape[1])])


def newton_step(hessians: Floats, gradient: Floats) -> Floats:
    """Return H^-1 g, column by column."""
    columns = [np.linalg.solve(h, gradient[:, k]) for k, h in enumerate(hessians)]
    return np.stack(columns, axis=1)


def _objective(
    weights: Floats, rows: Floats, targets: Floats, ridge: float, noise: Floats
) -> Floats:
    scores = rows @ weights
    losses = np.logaddexp(0.0, scores) - targets * scores
    decay = 0.5 * ridge * len(rows) * (weights**2).sum(axis=0)
    total = losses.sum(axis=0) + decay + (noise * weights).sum(axis=0)
    return np.asarray(total, dtype=np.float64)


def solve_logistic(
    rows: Floats, targets: Floats, ridge: float, noise: Floats | None = None
) -> Floats:
    """Return the (d, k) minimiser, by Newton's method with halved steps.

    Raises:
        InvalidRecord: it doesn't settle, as with rows that are not finite.
    """
    weights = np.zeros((rows.shape[1], targets.shape[1]))
    shift = np.zeros_like(weights) if noise is None else noise
    for _ in range(100):
        gradient = logistic_gradient(weights, rows, targets, ridge, shift)
        step = newton_step(curvature(weights, rows, ridge), gradient)
        fall = (gradient * step).sum(axis=0)
        if not np.isfinite(fall).all():
            break
        if (fall <= 1e-24 * (1.0 + len(rows))).all():
            return weights
        now, scale = _objective(weights, rows, targets, ridge, shift), np.ones_like(fall)
        for _ in range(40):
            far = _objective(weights - scale * step, rows, targets, ridge, shift)
            worse = far > now - 1e-4 * scale * fall + 1e-12 * np.abs(now)
            if not worse.any():
                break
            scale = np.where(worse, 0.5 * scale, scale)
        weights = weights - scale * step
    raise InvalidRecord("logistic regression didn't settle; raise ridge= or look at the features")


def removal_charge(rows: Floats, step: Floats) -> float:
    """Bound the norm of the gradient that one Newton step leaves behind.

    For each class |X| sup|l'''| / 2 |(X step)^2|, from the integral form of the remainder. It is
    the data-dependent bound of Guo et al. 2020, gamma |X| |step| |X step|, without
    its last Cauchy-Schwarz, so that rows need not have norm 1.

    Args:
        rows: (n, d), those that are retained.
        step: (d, k), by which the weights are moved.
    """
    widest = float(np.linalg.norm(rows, 2)) if len(rows) else 0.0
    moved = np.linalg.norm((rows @ step) ** 2, axis=0)
    return float(np.linalg.norm(0.5 * _BEND * widest * moved))


def influence(
    weights: Floats,
    rows: Floats,
    targets: Floats,
    ridge: float,
    *,
    asked: Floats,
    answers: Floats,
    leverage: bool = True,
) -> Floats:
    """Estimate by how much each example's absence would change the mean loss on others.

    <grad L(asked), H^-1 (grad l_i + lambda w)>, the first order of leaving one out (Koh and Liang
    2017, eq. 2), here with the regulariser of the example that has gone.

    Args:
        weights: (d, k), the minimiser on all rows.
        rows: (n, d), what was learnt from.
        targets: (n, k), 0 or 1.
        ridge: lambda.
        asked: (m, d), what is asked.
        answers: (m, k), 0 or 1.
        leverage: take an example's own curvature out of H, by Sherman and Morrison's formula: one
            Newton step of leaving it out, which matters where few rows meet many features.

    Returns:
        (n,) nats; above 0 where the example helps.
    """
    hessians = curvature(weights, rows, ridge)
    pull = asked.T @ (_probabilities(asked @ weights) - answers) / len(asked)
    turned = newton_step(hessians, pull)
    shares = _probabilities(rows @ weights)
    found: Floats = np.zeros(len(rows))
    for k, hessian in enumerate(hessians):
        errors, bends = shares[:, k] - targets[:, k], shares[:, k] * (1.0 - shares[:, k])
        solved = np.linalg.solve(hessian, rows.T)
        own = ridge * weights[:, k]
        if leverage:  # u'(H - b x x')^-1 v = u'H^-1 v + b u'H^-1 x x'H^-1 v / (1 - b x'H^-1 x)
            heights = (rows * solved.T).sum(axis=1)
            along = errors * heights + own @ solved
            errors = errors + bends * along / (1.0 - bends * heights)
        found += errors * (rows @ turned[:, k]) + float(own @ turned[:, k])
    return found
