"""Concepts, what they are made of, and an order in which those above come first."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from forgetnet.errors import InvalidRecord
from forgetnet.given import names_of
from forgetnet.taxonomy.paths import MAX_LEVELS, SEPARATOR, check_name

__all__ = ["Concept", "glosses_of", "of_edges", "of_paths", "sorted_out"]


class Concept(NamedTuple):
    """One concept.

    Attributes:
        name: part of its paths.
        parents: positions of the concepts right above it; none for one at the top.
        gloss: a sentence on what it means.
        key: another name for it where it was read, unique if it isn't empty.
    """

    name: str
    parents: tuple[int, ...] = ()
    gloss: str = ""
    key: str = ""


def glosses_of(given: object) -> Mapping[str, str]:
    """Return glosses by path or name; what each says is looked at in its concept.

    Raises:
        InvalidRecord: it is no mapping.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InvalidRecord(f"glosses= must map names to sentences, not {type(given).__name__}")
    return given


def of_paths(paths: Iterable[str], glosses: Mapping[str, str]) -> tuple[Concept, ...]:
    """Return the concepts of some paths, and of all above them.

    Raises:
        InvalidRecord: a path is no string, or has too many levels.
    """
    given = names_of(list(paths) if isinstance(paths, Mapping) else paths, "paths", InvalidRecord)
    numbers: dict[str, int] = {}
    concepts: list[Concept] = []
    for path in sorted(set(given)):
        if path.count(SEPARATOR) >= MAX_LEVELS:
            raise InvalidRecord(
                f"a topic path has {path.count(SEPARATOR) + 1} levels, and at most "
                f"{MAX_LEVELS} are read; join the deepest names into one"
            )
        parent, at = -1, 0
        while at >= 0:
            end = path.find(SEPARATOR, at)
            head = path if end < 0 else path[:end]
            if head not in numbers:
                numbers[head] = len(concepts)
                above = () if parent < 0 else (parent,)
                concepts.append(Concept(head[at:], above, glosses.get(head, "")))
            parent, at = numbers[head], -1 if end < 0 else end + 1
    return tuple(concepts)


def of_edges(pairs: Iterable[tuple[str, str]], glosses: Mapping[str, str]) -> tuple[Concept, ...]:
    """Return the concepts of (parent, child) pairs of names.

    Raises:
        InvalidRecord: something is no pair, or a name is none.
    """
    parents: dict[str, dict[str, None]] = {}
    for parent, child in _pairs(pairs):
        parents.setdefault(check_name(child), {})
        if parent is None or (isinstance(parent, str) and not parent):
            continue  # at the top
        parents.setdefault(check_name(parent), {})
        parents[child][parent] = None
    number = {name: i for i, name in enumerate(sorted(parents))}
    return tuple(
        Concept(name, tuple(sorted(number[p] for p in parents[name])), glosses.get(name, ""), name)
        for name in number
    )


def _pairs(given: object) -> Iterator[tuple[Any, Any]]:
    wrong = InvalidRecord("pairs must be (parent, child) pairs of names, an empty parent for a top")
    if not isinstance(given, Iterable) or getattr(given, "ndim", 1) == 0:
        raise wrong
    for pair in given:
        if not isinstance(pair, Sequence) or isinstance(pair, str) or len(pair) != 2:
            raise wrong
        yield pair[0], pair[1]


def sorted_out(concepts: Sequence[Concept], below: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Return positions, those above first.

    Raises:
        InvalidRecord: there is a cycle; the message names it.
    """
    waits = [len(concept.parents) for concept in concepts]
    queue = deque(i for i, count in enumerate(waits) if not count)
    order = []
    while queue:
        order.append(i := queue.popleft())
        for child in below[i]:
            waits[child] -= 1
            if not waits[child]:
                queue.append(child)
    if len(order) < len(concepts):
        raise InvalidRecord(
            f"concepts lie under themselves: {_cycle(concepts, waits)}; cut one edge"
        )
    return tuple(order)


def _cycle(concepts: Sequence[Concept], waits: Sequence[int]) -> str:
    """Name a cycle among the concepts that still wait for what is above them."""
    at = next(i for i, count in enumerate(waits) if count)
    seen: dict[int, None] = {}
    while at not in seen:
        seen[at] = None
        at = next(parent for parent in concepts[at].parents if waits[parent])
    walk = list(seen)[list(seen).index(at) :]
    names = [concepts[i].name[:40] for i in [at, *reversed(walk)]]
    shown = names if len(names) <= 10 else [*names[:5], "...", *names[-4:]]
    return " > ".join(shown)
