"""Which topics a query means, what lies inside and outside of it, and which margin is enough.

Three ways to a threshold, the best that the exemplars allow: by the exemplars of what is meant
themselves, each scored as if it weren't one; by other topics, each asked for by its name as if it
were as new; or a plain default. Pure functions; knows nothing of stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from forgetnet.linking import Exemplars, Linker
from forgetnet.linking.nearest import Whole, whole
from forgetnet.meaning.conformal import MILLION, Miss, control, enough
from forgetnet.meaning.margins import Field, Floats, Mask, margins, of_scores
from forgetnet.record import id_hash

__all__ = ["Concept", "Cut", "Method", "cut", "meant", "plain_name"]

Method = Literal["exemplars", "topics", "uncalibrated", "everything"]
Named = Callable[[Sequence[str]], Floats]
"""Turns names into unit vectors, as the query was."""

_STEP = np.float32(2.0**-11)
_NEW_WEIGHT = 0.5  # chosen on the training parts of CLINC150 and Banking77, among 0, 0.5 and 1
_SHIFT = 20_000  # parts per million: what is asked for is seldom quite like what is labelled
_MEMBERSHIP = 50_000
_TOPICS, _MEMBERS = 100, 64  # more than these would cost time and tell little
_AT_ONCE = 16
_ORDER = 5
"""The least rank of the margin that exemplars may set as threshold where topics can set it.

The smallest of a few margins may be anywhere. On the training part of Banking77, with 12 to 40
exemplars, it took in 1.2 to 3.2 times as many records as a threshold by other topics.
"""
_APART, _ALONE = 0.0, 0.3  # nearer to it than to all else; a cosine that most of a topic reach

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Concept:
    """What is asked for: a query, and exemplars of which some are it and some aren't.

    The last code is the query, which is one exemplar more inside.

    Attributes:
        names: (m,) of the exemplars.
        labels: (m,) their topics; None for those that the caller marked.
        codes: (m + 1, d), in whole numbers.
        inside, outside: (m,) which are what is meant, and which are something else.
        topics: what the query is taken to mean; empty for something new.
    """

    names: tuple[str, ...]
    labels: tuple[str | None, ...] = field(repr=False)
    codes: Whole = field(repr=False)
    inside: Mask = field(repr=False)
    outside: Mask = field(repr=False)
    topics: tuple[str, ...] = field(default=(), repr=False)

    @property
    def field(self) -> Field:
        """What margins are measured against."""
        inside, outside = np.append(self.inside, True), np.append(self.outside, False)
        return Field(self.codes, inside, outside, 1.0 if self.topics else _NEW_WEIGHT)


@dataclass(frozen=True, slots=True)
class Cut:
    """From which margin on a record is in, how that was found, and what it misses.

    Attributes:
        threshold: margins equal to it or larger are in.
        method: ``exemplars``, ``topics``, ``uncalibrated`` or ``everything``.
        miss: None where it isn't calibrated.
    """

    threshold: float
    method: Method
    miss: Miss | None = None


def plain_name(topic: str) -> str:
    """Return the last name of a topic path as words."""
    return " ".join(topic.rpartition("/")[2].replace("_", " ").replace("-", " ").split())


def _folded(text: str) -> str:
    return " ".join(text.replace("_", " ").replace("-", " ").casefold().split())


def meant(query: Floats, text: str | None, known: Exemplars) -> tuple[str, ...]:
    """Return the topics that a query means; none if it seems to be something new.

    Those that are called so; else the deepest one that the query itself is linked to, if its
    margin there is one that 95 % of the topic's own exemplars have.

    Args:
        query: (d,) unit vector.
        text: of the query, if it was one.
        known: the labelled exemplars.
    """
    if text is not None:
        wanted = _folded(text)
        called = [t for t in known.concepts if wanted in {_folded(t), _folded(plain_name(t))}]
        if called:
            return tuple(t for t in called if not any(t.startswith(f"{o}/") for o in called))
    links = list(Linker().link(["query"], query[None], known))
    if not links:
        return ()
    topic = max((link.topic for link in links), key=lambda path: (path.count("/"), path))
    inside = known.inside(topic)
    if inside.all():
        return ()
    against = Field(known.codes, inside, ~inside)
    own = np.flatnonzero(inside)
    usual = np.sort(margins(known.codes[own] * _STEP, against, own))
    least = usual[(len(usual) + 1) * _MEMBERSHIP // MILLION]
    return (topic,) if margins(query[None], against)[0] >= least else ()


def cut(concept: Concept, recall: int, named: Named | None) -> Cut:
    """Choose the threshold.

    Args:
        concept: what is asked for.
        recall: parts per million, from 1 to a million.
        named: embeds names of topics; None where nothing can.
    """
    alpha = MILLION - recall
    if alpha == 0:
        return Cut(-np.inf, "everything", Miss(0, 0, 0, 0))
    shift = min(_SHIFT, alpha // 2)
    own = np.flatnonzero(concept.inside)
    if (len(own) + 1) * (alpha - shift) >= _ORDER * MILLION:
        return _by_exemplars(concept, own, alpha, shift)
    others = _others(concept)
    if named is not None and enough(len(others), alpha):
        vectors = whole(named([plain_name(topic) for topic in others]))
        units = list(_as_new(concept, others, vectors))
        threshold, miss = control(units, alpha, min(shift, _share(len(units), alpha)))
        return Cut(threshold, "topics", miss)
    if enough(len(own), alpha):
        return _by_exemplars(concept, own, alpha, min(shift, _share(len(own), alpha)))
    return Cut(_APART if concept.outside.any() else _ALONE, "uncalibrated")


def _share(units: int, alpha: int) -> int:
    """Return half of the largest margin for which there are units enough.

    The whole would leave nothing of alpha, and the smallest margin of all would decide alone.
    """
    return (alpha - -(-MILLION // (units + 1))) // 2


def _by_exemplars(concept: Concept, own: Ints, alpha: int, shift: int) -> Cut:
    """Choose the threshold by what is meant itself, each exemplar scored without itself."""
    found = margins(concept.codes[own] * _STEP, concept.field, own)
    threshold, miss = control([np.array([one]) for one in found], alpha, shift)
    return Cut(threshold, "exemplars", miss)


def _others(concept: Concept) -> dict[str, Mask]:
    """Return topics that can be asked for as if they were new, and which exemplars are theirs."""
    shown = int(concept.inside.sum())
    labels = np.array(concept.labels, object)
    positions: dict[str, list[int]] = {}
    for at, label in enumerate(concept.labels):
        if label is not None:
            positions.setdefault(label, []).append(at)
    found: dict[str, Mask] = {}
    for topic in sorted({*labels[concept.outside].tolist()} - {None}, key=id_hash):
        members = np.zeros(len(labels), np.bool_)
        for label, some in positions.items():
            if f"{label}/".startswith(f"{topic}/"):
                members[some] = True
        theirs = members & concept.outside
        if theirs.sum() > bool(shown) and not (members & concept.inside).any():
            found[topic] = theirs
        if len(found) == _TOPICS:
            break
    return found


def _as_new(
    concept: Concept, others: Mapping[str, Mask], names: Whole
) -> Iterator[npt.NDArray[np.float64]]:
    """Iterate over the margins of topics' exemplars, each topic asked for as if it were new.

    Args:
        concept: what is asked for; it says how many exemplars a topic may show.
        others: the topics, and which exemplars are theirs.
        names: (t, d) codes of their names, in place of the query.
    """
    shown = int(concept.inside.sum())
    across = np.ascontiguousarray(concept.codes[:-1].T)
    orders = [
        sorted(np.flatnonzero(members).tolist(), key=lambda i: id_hash(concept.names[i]))[
            : max(_MEMBERS, shown + 1)
        ]
        for members in others.values()
    ]
    masks = list(others.values())
    for start in range(0, len(orders), _AT_ONCE):  # one product for several topics: it is quicker
        some = orders[start : start + _AT_ONCE]
        every = concept.codes[np.concatenate(some)] @ across
        starts = np.cumsum([0, *map(len, some)])
        for at, order in enumerate(some):
            scores = every[starts[at] : starts[at + 1]]
            named = concept.codes[order] @ names[start + at]
            yield _of_topic(
                np.column_stack([scores, named]), concept, masks[start + at], order, shown
            )


def _of_topic(
    scores: Whole, concept: Concept, members: Mask, order: Sequence[int], shown: int
) -> npt.NDArray[np.float64]:
    """Return the margins of a topic's exemplars, by their scores to all and to its name."""
    outside = np.append(concept.outside & ~members, False)
    found = []
    # Those that are shown are scored by the others of them: one more, so that others are as many.
    for asked, inside in (
        (slice(shown + 1), order[: shown + 1] if shown else []),
        (slice(shown + 1, None), order[:shown]),
    ):
        mask = np.zeros(len(outside), np.bool_)
        mask[[*inside, -1]] = True
        against = Field(concept.codes, mask, outside, concept.field.weight)
        found.append(of_scores(scores[asked], against, np.array(order[asked], np.int64)))
    return np.concatenate(found)
