"""How well a model knows its answers: the metrics of TOFU, MUSE and open-unlearning, on arrays.

Every function takes one number an example (or one row of tokens), in any order, and returns a
value with the numbers behind it. Knows nothing of models, tokenisers or texts.

``compat="open-unlearning"`` computes as open-unlearning does (locuslab, December 2025), faults
included, to compare with published tables; ``compat="strict"`` mends what each docstring names.
An NLL is the mean over the labelled tokens of an answer, the end of sequence included; NaN says
that an answer had none. Truth ratios of the forget and retain sets take the paraphrase as the
correct answer, those of real authors and world facts the original one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from forgetnet.audit.arrays import Compat, Floats, check_compat, same_length
from forgetnet.errors import InvalidRecord

__all__ = [
    "UTILITY_PARTS",
    "Score",
    "TruthRatio",
    "answer_tokens",
    "exact_memorisation",
    "extraction_strength",
    "gibberish",
    "mean_nll",
    "model_utility",
    "prob_normalised",
    "probability",
    "truth_ratio",
]

UTILITY_PARTS = tuple(
    f"{part}_{metric}"
    for part in ("retain", "real_authors", "world_facts")
    for metric in ("probability", "rouge", "truth_ratio")
)
"""The nine parts of model utility; the probabilities of the last two sets are normalised."""
_TINY = 1e-10  # the constant that open-unlearning adds to denominators


@dataclass(frozen=True, eq=False)
class Score:
    """A metric over examples.

    Attributes:
        value: the mean over the examples that count; NaN if there is none.
        per_example: (n,) one number each, NaN where an example was left out.
        n: examples that count.
        left_out: examples that don't.
        reasons: what should be known about the value, in plain words.
    """

    value: float
    per_example: Floats
    n: int
    left_out: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TruthRatio(Score):
    """Truth ratios and their mean under one reading.

    Attributes:
        ratios: (n,) wrong over correct, R; what ``forget_quality`` takes.
    """

    ratios: Floats = field(kw_only=True)


def _mean(
    per_example: Floats, *, skip: bool = True, what: str = "examples without a labelled token"
) -> tuple[float, int, int, tuple[str, ...]]:
    """Return mean, n, left out and reasons; without skip, NaN poisons the mean."""
    missing = np.isnan(per_example)
    left_out = int(missing.sum())
    if not skip:
        return float(np.mean(per_example)), len(per_example), 0, ()
    kept = per_example[~missing]
    reasons = (f"{left_out} {what} were left out",) if left_out else ()
    if not len(kept):
        return float("nan"), 0, left_out, (*reasons, "no example is left")
    return float(np.mean(kept)), len(kept), left_out, reasons


def _losses(values: npt.ArrayLike, name: str) -> Floats:
    array = np.asarray(values, np.float64)
    if not array.ndim or not array.size:
        raise InvalidRecord(f"{name}: one or more numbers an example, not {array.shape}")
    if (array < 0).any() or np.isinf(array).any():
        raise InvalidRecord(f"{name}: a negative log-likelihood is finite, and not below 0")
    return array


def _by_example(values: npt.ArrayLike, name: str) -> Floats:
    """Average over all axes but the first."""
    array = _losses(values, name)
    averaged: Floats = np.mean(array, axis=tuple(range(1, array.ndim)))
    return averaged


def answer_tokens(
    tokens: Sequence[Any], *, ends_with_eos: bool, compat: Compat = "strict"
) -> Sequence[Any]:
    """Return Y': the tokens of an answer without the end of sequence.

    ``open-unlearning`` drops the last token always, a real one where a data set adds no end of
    sequence, as MUSE's; ``strict`` drops it only if it is one.
    """
    check_compat(compat)
    return tokens[:-1] if ends_with_eos or compat == "open-unlearning" else tokens


def mean_nll(token_logprobs: Sequence[npt.ArrayLike]) -> Floats:
    """Return (n,) mean negative log-likelihoods of n rows of tokens; NaN for an empty row.

    Raises:
        InvalidRecord: a row has several dimensions.
    """
    rows = [np.asarray(row, np.float64) for row in token_logprobs]
    if any(row.ndim != 1 for row in rows):
        raise InvalidRecord("log-probabilities are one row of tokens an example")
    return np.array([-row.mean() if len(row) else np.nan for row in rows], np.float64)


def probability(nll: npt.ArrayLike, *, compat: Compat = "strict") -> Score:
    """Average exp(-NLL): the geometric mean probability of a token.

    ``open-unlearning`` lets one example without a labelled token turn the mean into NaN;
    ``strict`` leaves it out and says so.

    Raises:
        InvalidRecord: no number, or one below 0.
    """
    check_compat(compat)
    values = np.exp(-_by_example(nll, "nll"))
    value, n, left_out, reasons = _mean(values, skip=compat == "strict")
    return Score(value, values, n, left_out, reasons)


def prob_normalised(
    correct_nll: npt.ArrayLike, wrong_nll: npt.ArrayLike, *, compat: Compat = "strict"
) -> Score:
    """Average p(correct) / (p(correct) + sum of p(wrong)), with p = exp(-NLL).

    ``open-unlearning`` adds 1e-10 below, so that a collapsed model scores 0 where it prefers the
    correct answer; ``strict`` computes from differences of NLLs, without a constant.

    Args:
        correct_nll: (n,).
        wrong_nll: (n, k), the k other answers of each question.

    Raises:
        InvalidRecord: lengths differ, or a number below 0.
    """
    check_compat(compat)
    correct, wrong = _losses(correct_nll, "correct_nll"), _losses(wrong_nll, "wrong_nll")
    if correct.ndim != 1 or wrong.ndim != 2:
        raise InvalidRecord("one correct answer an example, and a row of wrong ones")
    same_length(correct=correct, wrong=wrong)
    if compat == "open-unlearning":
        p = np.exp(-correct)
        values = p / (p + np.exp(-wrong).sum(axis=1) + _TINY)
    else:
        with np.errstate(over="ignore"):  # exp(inf) = inf, and 1 / inf = 0 is right
            values = 1 / (1 + np.exp(correct[:, None] - wrong).sum(axis=1))
    value, n, left_out, reasons = _mean(values, skip=compat == "strict")
    return Score(value, values, n, left_out, reasons)


def _wrong_nll(wrong: npt.ArrayLike, average: str) -> Floats:
    array = _losses(wrong, "wrong_nll")
    if average == "geometric" or array.ndim == 1:
        return _by_example(array, "wrong_nll")
    least = array.min(axis=1, keepdims=True)  # log-sum-exp: no underflow
    averaged: Floats = (least - np.log(np.mean(np.exp(least - array), axis=1, keepdims=True)))[:, 0]
    return averaged


def truth_ratio(
    correct_nll: npt.ArrayLike,
    wrong_nll: npt.ArrayLike,
    how: Literal["closer_to_1_better", "true_better", "prob_mean"],
    *,
    average: Literal["geometric", "arithmetic"] = "geometric",
    compat: Compat = "strict",
) -> TruthRatio:
    """Compare the probability of wrong answers with that of the correct one: R = p_w / p_c.

    ``closer_to_1_better`` (forget set) averages min(R, 1/R), ``true_better`` (the others)
    max(0, 1 - R), ``prob_mean`` (the paper's) p_c / (p_c + p_w).

    ``open-unlearning`` adds 1e-10 to every denominator. Where both probabilities are below that,
    as in a model destroyed by gradient ascent, R tends to 0, which reads as "still knows the
    truth". ``strict`` computes from differences of NLLs: R = exp(NLL_c - NLL_w). NaN poisons the
    mean in the former, and is left out in the latter.

    Args:
        correct_nll: (n,), or (n, c) for c paraphrases, averaged as NLL.
        wrong_nll: (n, k).
        how: the reading.
        average: of the wrong answers: "geometric" averages NLLs, as open-unlearning; "arithmetic"
            averages probabilities, as the first code of TOFU did: other values.
        compat: see above.

    Raises:
        InvalidRecord: lengths differ, a number below 0, or an unknown reading.
    """
    check_compat(compat)
    correct = _by_example(correct_nll, "correct_nll")
    if average not in {"geometric", "arithmetic"}:
        raise InvalidRecord("average is 'geometric' or 'arithmetic'")
    wrong = _wrong_nll(wrong_nll, average)
    same_length(correct=correct, wrong=wrong)
    p, q = np.exp(-correct), np.exp(-wrong)
    tiny = _TINY if compat == "open-unlearning" else 0.0
    with np.errstate(over="ignore"):  # R may be infinite, its readings below are not
        ratios = q / (p + tiny) if tiny else np.exp(correct - wrong)
        if how == "closer_to_1_better":
            closer = np.minimum(ratios, 1 / (ratios + tiny)) if tiny else None
            values = np.exp(-np.abs(correct - wrong)) if closer is None else closer
        elif how == "true_better":
            values = np.maximum(0, 1 - ratios)
        elif how == "prob_mean":
            values = p / (p + q + tiny) if tiny else 1 / (1 + ratios)
        else:
            raise InvalidRecord("how is 'closer_to_1_better', 'true_better' or 'prob_mean'")
    value, n, left_out, reasons = _mean(values, skip=compat == "strict")
    return TruthRatio(value, values, n, left_out, reasons, ratios=ratios)


def _match_rows(matches: Sequence[npt.ArrayLike]) -> list[npt.NDArray[np.bool_]]:
    rows = [np.asarray(row, np.bool_) for row in matches]
    if not rows or any(row.ndim != 1 for row in rows):
        raise InvalidRecord("matches are one row of tokens an example, and one example at least")
    return rows


def exact_memorisation(matches: Sequence[npt.ArrayLike], *, compat: Compat = "strict") -> Score:
    """Average the share of tokens that the model would choose, given those before (EM).

    ``open-unlearning`` divides in float32. An example without a token is left out in both.

    Args:
        matches: for each example whether the argmax is the token, over Y' (``answer_tokens``).
        compat: see above.

    Raises:
        InvalidRecord: no example.
    """
    check_compat(compat)
    kind = np.float64 if compat == "strict" else np.float32
    values = np.array(
        [float(kind(r.sum()) / kind(len(r))) if len(r) else np.nan for r in _match_rows(matches)]
    )
    value, n, left_out, reasons = _mean(values)
    return Score(value, values, n, left_out, reasons)


def extraction_strength(matches: Sequence[npt.ArrayLike], *, compat: Compat = "strict") -> Score:
    """Average the share of an answer that follows from the shortest sufficient prefix (ES).

    1 - k / T, where from token k on all are right (Carlini et al. 2021). ``open-unlearning``
    never gives less than 1 / T, even to a model that gets nothing right, and 0 to an answer
    without a token; ``strict`` gives 0 to the former and leaves out the latter.

    Args:
        matches: for each example whether the argmax is the token, over Y' (``answer_tokens``).
        compat: see above.

    Raises:
        InvalidRecord: no example.
    """
    check_compat(compat)
    faulty = compat == "open-unlearning"
    values = np.empty(len(matches))
    for index, row in enumerate(_match_rows(matches)):
        wrong = np.flatnonzero(~row)
        first = int(wrong[-1]) + 1 if len(wrong) else 0
        if not len(row):
            values[index] = 0.0 if faulty else np.nan
        else:
            values[index] = 1 - min(first, len(row) - 1 if faulty else len(row)) / len(row)
    value, n, left_out, reasons = _mean(values)
    return Score(value, values, n, left_out, reasons)


def gibberish(class_probabilities: npt.ArrayLike, *, compat: Compat = "strict") -> Score:
    """Average what a classifier of texts gives to its class 0: the share of sense, or of nonsense.

    Which of the two class 0 is, the classifier decides; that of open-unlearning's settings calls it
    clean. ``open-unlearning`` lets NaN poison the mean, ``strict`` leaves it out and says so.

    Args:
        class_probabilities: (n, c), each row sums to 1, or is NaN where there was no text.
        compat: see above.

    Raises:
        InvalidRecord: no matrix, or a row that doesn't sum to 1.
    """
    check_compat(compat)
    table = np.asarray(class_probabilities, np.float64)
    if table.ndim != 2 or not table.size:
        raise InvalidRecord(f"a row of probabilities an example, not {table.shape}")
    told = ~np.isnan(table).any(axis=1)
    if (table[told] < 0).any() or not np.allclose(table[told].sum(axis=1), 1, atol=1e-5):
        raise InvalidRecord("each row of probabilities sums to 1")
    values = np.where(told, table[:, 0], np.nan)
    strict = compat == "strict"
    value, n, left_out, reasons = _mean(values, skip=strict, what="examples without a text")
    return Score(value, values, n, left_out, reasons)


def model_utility(parts: Mapping[str, float], *, compat: Compat = "strict") -> Score:
    """Take the harmonic mean of nine parts (TOFU): 0 as soon as one of them is 0.

    ``open-unlearning`` takes any parts, and NaN if one is; ``strict`` wants all of
    ``UTILITY_PARTS``, says which of them are 0 or missing, and has no value then: NaN. A part that
    is 0 hides the others, so look at them too.

    Raises:
        InvalidRecord: no part, one below 0 or, if strict, a name that is none of the nine.
    """
    check_compat(compat)
    names = tuple(parts) if compat == "open-unlearning" else UTILITY_PARTS
    if not parts or any(value < 0 for value in parts.values()):
        raise InvalidRecord("model utility takes parts that aren't below 0, one at least")
    if unknown := set(parts) - set(names):
        raise InvalidRecord(f"{len(unknown)} parts are none of {', '.join(UTILITY_PARTS)}")
    values = np.array([parts.get(name, np.nan) for name in names], np.float64)
    zeros = [name for name, value in zip(names, values, strict=True) if value == 0]
    missing = [name for name, value in zip(names, values, strict=True) if np.isnan(value)]
    reasons = []
    if compat == "strict" and zeros:
        reasons.append(f"0 since a part is 0: {', '.join(zeros)}")
    if compat == "strict" and missing:
        reasons.append(f"no value since parts are missing: {', '.join(missing)}")
    if missing:
        value = float("nan")
    else:
        value = 0.0 if zeros else 1.0 / float(np.mean(1.0 / values))
    left_out = len(missing) if compat == "strict" else 0
    return Score(value, values, len(values) - left_out, left_out, tuple(reasons))
