"""Ridge regression from moments: one Cholesky factor, leave-one-out error, and a quick downdate.

Everything here is float64 and a function of exact sums. Factors are computed in one thread, for
their bits depend on the number of threads. Knows nothing of records or classes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from forgetnet.errors import StoreCorrupt
from forgetnet.exact import Floats, Ints, panels
from forgetnet.experts.moments import Moments

__all__ = ["Solution", "choose", "downdate", "leave_one_out", "solve"]

_PROBES = 64
_LEAST_FREE = 0.01


@dataclass(frozen=True, slots=True)
class Solution:
    """Weights W with (S + penalty I) W = cross, where S is the scatter of the features.

    Attributes:
        moments: what it solves for.
        penalty: added to the diagonal; the intercept isn't penalised.
        factor: (m, m) lower Cholesky factor, of this system or of that before a downdate.
        base: (m, k + p) solution for crosses and probes with that factor.
        removed: (r, m) rows that a downdate took out of the factored scatter.
        removed_targets: (r, k) their targets.
        weights: (m, k).
        probed: (m, p) solution for the probes.
    """

    moments: Moments
    penalty: float
    factor: Floats
    base: Floats
    removed: Floats
    removed_targets: Floats
    weights: Floats
    probed: Floats

    @property
    def intercept(self) -> Floats:
        """What is added to features times weights: (k,)."""
        # summed by numpy, not by BLAS, whose bits depend on its threads
        shift: Floats = self.moments.target_mean - (
            self.moments.mean[:, None] * self.weights
        ).sum(axis=0)
        return shift

    def keep(self, columns: Sequence[int]) -> Solution:
        """Return the solution for some of the targets."""
        k = self.weights.shape[1]
        probes = range(k, self.base.shape[1])
        of = self.moments
        return replace(
            self,
            moments=replace(
                of,
                target_mean=of.target_mean[columns],
                cross=of.cross[:, columns],
                power=of.power[columns],
            ),
            base=self.base[:, [*columns, *probes]],
            removed_targets=self.removed_targets[:, columns],
            weights=self.weights[:, columns],
        )

    @property
    def freedom(self) -> float:
        """Degrees of freedom that the fit used up, the mean's one included.

        m - penalty tr((S + penalty I)^-1); the trace by Hutchinson's estimator (1989) with 64
        constant probes of signs, about 1% off.
        """
        m = len(self.weights)
        trace = float((_probes(m) * self.probed).sum()) / self.probed.shape[1]
        used: float = m - self.penalty * trace + 1.0
        return used


def solve(packed: Ints, moments: Moments, penalty: float) -> Solution:
    """Solve for the weights; at m = 2048 a seventh of a second on one core.

    Args:
        packed: sum of f f', packed, (m, m).
        moments: of the same records.
        penalty: above zero.

    Raises:
        StoreCorrupt: the sums are no sums of squares; their bytes were changed.
    """
    import torch

    from forgetnet.experts.pinned import pinned

    m, k = moments.cross.shape
    scatter = np.zeros((m, m))  # the upper half
    whole = moments.mean * moments.weight
    for start, panel in panels(packed, m):
        rows = slice(start, start + len(panel))
        scatter[rows, start:] = panel - np.outer(moments.mean[rows], whole[start:])
    scatter[np.diag_indices(m)] += penalty
    with pinned():
        factor, failed = torch.linalg.cholesky_ex(torch.from_numpy(scatter).T)
        if int(failed):
            raise StoreCorrupt("the sums of this state are no sums of squares; build it anew")
        sides = torch.from_numpy(np.concatenate([moments.cross, _probes(m)], axis=1))
        base = torch.cholesky_solve(sides, factor).numpy()
    return Solution(
        moments, penalty, factor.numpy(), base,
        np.zeros((0, m)), np.zeros((0, k)), base[:, :k], base[:, k:],
    )  # fmt: skip


def downdate(solution: Solution, rows: Floats, targets: Floats, weights: Floats) -> Solution:
    """Take r records out of a solution without a new factor, by Woodbury's identity.

    With U the rows about their mean, and one more for the way that the mean moves, the scatter
    loses U'U and the crosses lose U'V. So W becomes W + X (I - U X)^-1 (U W - V), X = S^-1 U'.

    Args:
        solution: of all records; may itself come from here.
        rows: (r, m) features of the records, fewer than there are in all.
        targets: (r, k).
        weights: (r,) above zero.
    """
    import torch

    old = solution.moments
    k = old.cross.shape[1]
    weight = float(weights.sum())
    rest = old.weight - weight
    mean, target_mean = weights @ rows / weight, weights @ targets / weight
    root, shift = np.sqrt(weights)[:, None], np.sqrt(old.weight * weight / rest)
    u = np.concatenate([root * (rows - mean), shift * (mean - old.mean)[None]])
    moved = shift * (target_mean - old.target_mean)
    v = np.concatenate([root * (targets - target_mean), moved[None]])
    moments = Moments(
        count=old.count - len(rows),
        weight=rest,
        mean=old.mean + (weight / rest) * (old.mean - mean),
        target_mean=old.target_mean + (weight / rest) * (old.target_mean - target_mean),
        cross=old.cross - u.T @ v,
        power=old.power - (v * v).sum(axis=0),
    )
    u = np.concatenate([solution.removed, u])
    v = np.concatenate([solution.removed_targets, v])
    sides = np.concatenate([v, np.zeros((len(u), solution.probed.shape[1]))], axis=1)
    # not pinned to one thread, so that it never waits until a leaf is trained: it rounds anyway
    x = torch.cholesky_solve(
        torch.from_numpy(u.T.copy()), torch.from_numpy(solution.factor)
    ).numpy()
    left = np.eye(len(u)) - u @ x
    found = solution.base + x @ np.linalg.solve(left, u @ solution.base - sides)
    return replace(
        solution, moments=moments, removed=u, removed_targets=v,
        weights=found[:, :k], probed=found[:, k:],
    )  # fmt: skip


def leave_one_out(solution: Solution) -> Floats:
    """Return the mean squared error (k,) of a record left out, by generalised cross-validation.

    Golub, Heath and Wahba, "Generalized cross-validation as a method for choosing a good ridge
    parameter" (1979). From moments alone: the residual is power - sum(W cross) - penalty sum(W^2).
    """
    of = solution.moments
    weights = solution.weights
    residual = of.power - (weights * (of.cross + solution.penalty * weights)).sum(axis=0)
    free = max(1.0 - solution.freedom / of.count, _LEAST_FREE)
    error: Floats = np.maximum(residual, 0.0) / of.weight / free**2
    return error


def choose(solutions: Sequence[Solution], *, relative: bool) -> Solution:
    """Return the solution with the least leave-one-out error, the first among equals.

    Args:
        solutions: of the same moments, with several penalties.
        relative: whether a target counts by the share of its variance that is left.
    """

    def score(solution: Solution) -> float:
        error = leave_one_out(solution)
        if relative:
            power = solution.moments.power / solution.moments.weight
            error = error[power > 0.0] / power[power > 0.0]
        return float(error.sum())

    return min(solutions, key=score)


def _probes(m: int) -> Floats:
    """Return (m, 64) signs, the same ones always."""
    drawn = hashlib.shake_256(b"forgetnet/probes/1").digest(m * _PROBES // 8)
    bits = np.unpackbits(np.frombuffer(drawn, np.uint8)).reshape(m, _PROBES)
    return bits.astype(np.float64) * 2.0 - 1.0
