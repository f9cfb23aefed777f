"""ROUGE-L: how much of a reference text comes back, as the longest common subsequence of words.

The numbers are those of the package ``rouge_score`` (Lin 2004; checked against version 0.1.2), with
its stemmer on or off. Knows nothing of models.

A high ROUGE says that a text came back, but not why: answers in one mould share words, so that a
model which never saw the data may score high. Compare with a retrained model, never with zero.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from forgetnet.audit.arrays import Compat, Floats, check_compat
from forgetnet.audit.porter import stem
from forgetnet.errors import InvalidRecord

__all__ = ["RougeL", "ground_truth", "rouge_l", "words"]

_WORD = re.compile("[a-z0-9]+")


@dataclass(frozen=True, eq=False)
class RougeL:
    """ROUGE-L of n pairs of texts.

    Attributes:
        precision: (n,) share of the candidate's words that are in the common subsequence.
        recall: (n,) share of the reference's words.
        f1: (n,) harmonic mean of both; 0 where nothing is common.
        mean_recall, mean_f1: over the pairs that count; NaN if none does.
        n: pairs that count.
        left_out: pairs that don't, NaN in the arrays: no word in the reference.
        reasons: in plain words.
    """

    precision: Floats
    recall: Floats
    f1: Floats
    mean_recall: float
    mean_f1: float
    n: int
    left_out: int
    reasons: tuple[str, ...]


def words(text: str, *, stemmer: bool) -> list[str]:
    """Split a text into runs of a-z and 0-9, in lower case; stems those of over three letters.

    Every other letter separates words, so that a text in another script has none.
    """
    found = _WORD.findall(text.lower())
    if not stemmer:
        return found
    stems = {word: stem(word) if len(word) > 3 else word for word in set(found)}
    return [stems[word] for word in found]


def ground_truth(full: str, prompt: str, *, compat: Compat = "strict") -> str:
    """Cut the prompt off a decoded text; what remains is the reference.

    ``open-unlearning`` takes out *every* occurrence of the prompt, those inside the answer too;
    ``strict`` takes out the one at the start.
    """
    check_compat(compat)
    if compat == "strict":
        return full.removeprefix(prompt).strip()
    return full.replace(prompt, "").strip()


def _common(left: Sequence[str], right: Sequence[str]) -> int:
    """Length of the longest common subsequence, a row of the table in one integer (Hyyro 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(left)) - 1
    row = full
    for word in right:
        met = row & places.get(word, 0)
        row = ((row + met) | (row - met)) & full
    return len(left) - row.bit_count()


def _scores(reference: Sequence[str], candidate: Sequence[str]) -> tuple[float, float, float]:
    if not reference or not candidate:
        return 0.0, 0.0, 0.0
    common = _common(reference, candidate)
    precision, recall = common / len(candidate), common / len(reference)
    total = precision + recall
    return precision, recall, 2 * precision * recall / total if total else 0.0


def rouge_l(
    references: Sequence[str],
    candidates: Sequence[str],
    *,
    stemmer: bool = True,
    compat: Compat = "strict",
) -> RougeL:
    """Compare candidates with their references.

    TOFU reports recall with the stemmer, MUSE F1: with it in open-unlearning, without in the
    original. ``open-unlearning`` gives 0 to a reference without a word in a-z or 0-9, which any
    text in another script is, so that nothing seems remembered; ``strict`` leaves it out and says
    so.

    Raises:
        InvalidRecord: not as many candidates as references, or none.
    """
    check_compat(compat)
    if len(references) != len(candidates) or not references:
        raise InvalidRecord(f"{len(candidates)} candidates for {len(references)} references")
    split = [words(text, stemmer=stemmer) for text in references]
    pairs = zip(split, candidates, strict=True)
    rows = np.array([_scores(a, words(b, stemmer=stemmer)) for a, b in pairs], np.float64)
    empty = np.array([not found for found in split])
    reasons: tuple[str, ...] = ()
    if compat == "strict" and empty.any():
        rows[empty] = np.nan
        reasons = (f"{int(empty.sum())} references have no word in a-z or 0-9 and were left out",)
    counted = rows[~np.isnan(rows[:, 0])]
    means = counted.mean(axis=0) if len(counted) else np.full(3, np.nan)
    return RougeL(
        precision=rows[:, 0],
        recall=rows[:, 1],
        f1=rows[:, 2],
        mean_recall=float(means[1]),
        mean_f1=float(means[2]),
        n=len(counted),
        left_out=len(rows) - len(counted),
        reasons=reasons,
    )
