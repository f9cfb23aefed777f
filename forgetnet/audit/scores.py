"""Membership scores of examples from the numbers of one model.

Every score is *higher for what is less likely a member*, as a loss is. Knows nothing of models,
tokenisers or of who was a member.

Loss, zlib and reference scores take mean NLLs with the end of sequence; Min-K%, Min-K%++ and
gradient norms the tokens without it (``quality.answer_tokens``), as in open-unlearning. There,
gradient norms are taken in training mode: with dropout, one example has two scores in two calls.
Take them in evaluation mode.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import Compat, Floats, check_compat, matrix, same_length, vector
from forgetnet.errors import InvalidRecord

__all__ = [
    "gradnorm_scores",
    "loss_scores",
    "min_k_plus_plus_scores",
    "min_k_scores",
    "modified_entropy_scores",
    "reference_scores",
    "vocabulary_moments",
    "zlib_scores",
]

_LEAST_VARIANCE = 1e-6  # of Min-K%++: no division by 0


def loss_scores(nll: npt.ArrayLike) -> Floats:
    """Return (n,) mean NLLs as scores (Yeom et al. 2018).

    Raises:
        InvalidRecord: a value isn't finite.
    """
    return vector(nll, "nll")


def zlib_scores(nll: npt.ArrayLike, texts: Sequence[str]) -> Floats:
    """Return (n,) NLL over the bytes of the text when compressed (Carlini et al. 2021).

    The number of bytes depends on the build of zlib: compare within one installation only.

    Raises:
        InvalidRecord: not as many texts as NLLs.
    """
    losses = vector(nll, "nll")
    sizes = np.array([len(zlib.compress(text.encode())) for text in texts], np.float64)
    same_length(nll=losses, texts=sizes)
    return losses / sizes


def reference_scores(nll: npt.ArrayLike, reference_nll: npt.ArrayLike) -> Floats:
    """Return (n,) NLL minus that of a model that never saw the data.

    Raises:
        InvalidRecord: lengths differ.
    """
    losses, reference = vector(nll, "nll"), vector(reference_nll, "reference_nll")
    same_length(nll=losses, reference_nll=reference)
    return losses - reference


def _rows(values: Sequence[npt.ArrayLike]) -> list[npt.NDArray[Any]]:
    """Return rows of floats as they are: the precision of the caller is part of the result."""
    rows = [np.asarray(row) for row in values]
    rows = [row if row.dtype.kind == "f" else row.astype(np.float64) for row in rows]
    if not rows or any(row.ndim != 1 for row in rows):
        raise InvalidRecord("one row of tokens an example, and one example at least")
    return rows


def _lowest(row: npt.NDArray[Any], k: float, compat: Compat) -> float:
    """Minus the mean of the lowest share k of a row, one token at least."""
    if not len(row):
        return 0.0 if compat == "open-unlearning" else float("nan")
    count = int(len(row) * k)
    if compat == "strict":
        count = int(Fraction(str(k)) * len(row))
    return -float(np.mean(np.sort(row)[: max(1, count)]))


def _check_k(k: float) -> None:
    if not 0 < k <= 1:
        raise InvalidRecord(f"k is a share of the tokens, over 0 and up to 1, not {k}")


def min_k_scores(
    token_logprobs: Sequence[npt.ArrayLike], *, k: float = 0.4, compat: Compat = "strict"
) -> Floats:
    """Return (n,) minus the mean of the lowest share k of log-probabilities (Shi et al. 2024).

    ``open-unlearning`` scores an example without a token 0, which reads as "a member for certain",
    and computes k x T in floats, where 0.29 of 100 tokens are 28; ``strict`` gives NaN, which
    ``auc`` leaves out and counts, and 29.

    Raises:
        InvalidRecord: no example, or k isn't in (0, 1].
    """
    check_compat(compat)
    _check_k(k)
    return np.array([_lowest(row, k, compat) for row in _rows(token_logprobs)], np.float64)


def vocabulary_moments(
    vocab_logprobs: npt.ArrayLike, *, compat: Compat = "strict"
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Return mean and variance (T,) of log p over the vocabulary, under p itself.

    ``open-unlearning`` computes the variance as E[log² p] - E[log p]², which cancels where the
    model is sure, and NaN as soon as a p is 0; ``strict`` computes E[(log p - mean)²] in float64,
    and lets p = 0 weigh nothing.

    Args:
        vocab_logprobs: (T, V) log-probabilities of one example.
        compat: see above.

    Raises:
        InvalidRecord: no matrix.
    """
    check_compat(compat)
    logs = np.asarray(vocab_logprobs)
    if logs.ndim != 2:
        raise InvalidRecord(f"log-probabilities of tokens by vocabulary, not {logs.shape}")
    if compat == "open-unlearning":
        with np.errstate(invalid="ignore"):  # 0 times minus infinity, kept as it is
            mean = (np.exp(logs) * logs).sum(-1)
            return mean, (np.exp(logs) * np.square(logs)).sum(-1) - np.square(mean)
    logs = logs.astype(np.float64)
    p = np.exp(logs)
    logs = np.where(p > 0, logs, 0.0)
    mean = (p * logs).sum(-1)
    return mean, (p * np.square(logs - mean[:, None])).sum(-1)


def min_k_plus_plus_scores(
    token_logprobs: Sequence[npt.ArrayLike],
    means: Sequence[npt.ArrayLike],
    variances: Sequence[npt.ArrayLike],
    *,
    k: float = 0.4,
    compat: Compat = "strict",
) -> Floats:
    """Return (n,) Min-K% of (log p - mean) / sd over the vocabulary (Zhang et al. 2025).

    Variances below 1e-6 count as that. Differences by ``compat`` are those of ``min_k_scores`` and
    of ``vocabulary_moments``, which gives means and variances.

    Raises:
        InvalidRecord: lengths differ, no example, or k isn't in (0, 1].
    """
    check_compat(compat)
    _check_k(k)
    rows = list(zip(_rows(token_logprobs), _rows(means), _rows(variances), strict=True))
    if any(row.shape != m.shape or row.shape != v.shape for row, m, v in rows):
        raise InvalidRecord("a mean and a variance for each token")
    scaled = [(row - m) / np.sqrt(np.maximum(v, _LEAST_VARIANCE)) for row, m, v in rows]
    return np.array([_lowest(row, k, compat) for row in scaled], np.float64)


def modified_entropy_scores(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> Floats:
    """Return (n,) -(1 - p_y) ln p_y - sum over the others of p ln(1 - p) (Song & Mittal 2021).

    Unlike the entropy it knows the label: a sure and wrong answer is no member's. SalUn's code
    takes ln p for the second logarithm and mixes rows; nothing here reproduces that.

    Args:
        probabilities: (n, C), each row sums to 1.
        labels: (n,) integers below C.

    Raises:
        InvalidRecord: rows that don't sum to 1, or labels that don't fit.
    """
    p, y = matrix(probabilities, "probabilities"), np.asarray(labels)
    n = same_length(probabilities=p, labels=y)
    if (p < 0).any() or not np.allclose(p.sum(axis=1), 1, atol=1e-5):
        raise InvalidRecord("each row of probabilities sums to 1")
    if y.dtype.kind not in "iu" or y.ndim != 1 or (y < 0).any() or (y >= p.shape[1]).any():
        raise InvalidRecord("labels are integers, from 0 to the number of classes - 1")
    rows = np.arange(n)
    # 0 ln 0 = 0, and ln 0 with a weight is as far as float64 goes
    tiny = np.finfo(np.float64).tiny
    surprise = -p * np.log(np.maximum(1 - p, tiny))
    surprise[rows, y] = -(1 - p[rows, y]) * np.log(np.maximum(p[rows, y], tiny))
    return np.asarray(surprise.sum(axis=1), np.float64)


def gradnorm_scores(norms: npt.ArrayLike, *, p: float = 2, compat: Compat = "strict") -> Floats:
    """Return (n,) the p-norm of an example's gradient, from the norms of its tensors.

    ``open-unlearning`` averages over tensors, so that a bias weighs as much as the largest matrix
    and the score depends on how weights are cut into tensors; ``strict`` takes the norm of all.

    Args:
        norms: (n, tensors) p-norms of the gradient of the mean NLL by parameter tensor.
        p: the order.
        compat: see above.

    Raises:
        InvalidRecord: no matrix, or an order below 1.
    """
    check_compat(compat)
    if p < 1:
        raise InvalidRecord(f"a norm is of order 1 or more, not {p}")
    table = matrix(norms, "norms")
    if compat == "open-unlearning":
        return np.asarray(table.mean(axis=1), np.float64)
    return np.asarray((table**p).sum(axis=1) ** (1 / p), np.float64)
