"""The nouns of WordNet as a taxonomy, from files of others; nothing of it is in this package.

Three forms, by ending: ``.jsonl`` with a synset a line (``id``, ``words``, ``hyper``, ``inst``,
``def``), as Open English WordNet converts to; ``.json``, a node-link graph of the transitive
closure (``source`` lies above ``target``); ``.tsv``, lines of a synset and one above it. The last
two are known from work on hyperbolic embeddings; only the direct edges of a closure are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from forgetnet.errors import InvalidRecord
from forgetnet.given import path_of
from forgetnet.taxonomy.concepts import Concept, sorted_out
from forgetnet.taxonomy.files import read_lines, read_text
from forgetnet.taxonomy.graph import Taxonomy
from forgetnet.taxonomy.paths import SEPARATOR

__all__ = ["wordnet"]

_NEEDED = {"id", "words", "hyper", "inst", "def"}


class _Synset:
    """A synset that is being read: what it is called, what it means, and what is above it."""

    def __init__(self, name: str, gloss: str = "", above: Iterable[str] = ()) -> None:
        self.name = name.replace(SEPARATOR, "-")
        self.gloss = gloss
        self.above = set(above)


def wordnet(path: str | Path) -> Taxonomy:
    """See :meth:`Taxonomy.wordnet`."""
    where = path_of(path, "path", InvalidRecord)
    kind = where.with_suffix("").suffix if where.suffix == ".gz" else where.suffix
    if kind == ".jsonl":
        return _taxonomy(_synsets(where))
    if kind == ".json":
        return _taxonomy(_direct(_graph(where)))
    if kind == ".tsv":
        return _taxonomy(_direct(_closure(where)))
    raise InvalidRecord(
        f"{where.name!r} is no WordNet that is known by its ending; give synsets as .jsonl, or a "
        "closure as .json or .tsv; each may be packed as .gz"
    )


def _synsets(path: Path) -> dict[str, _Synset]:
    found = {}
    for where, line in read_lines(path):
        try:
            told = json.loads(line)
            if not isinstance(told, Mapping) or not told.keys() >= _NEEDED:
                raise ValueError
            above = [*map(str, told["hyper"]), *map(str, told["inst"])]
            found[str(told["id"])] = _Synset(str(told["words"][0]), str(told["def"]), above)
        except (ValueError, TypeError, IndexError, KeyError, RecursionError):
            needed = ", ".join(sorted(_NEEDED))
            raise InvalidRecord(f"{where} is no synset; it needs {needed}") from None
    return found


def _graph(path: Path) -> dict[str, _Synset]:
    try:
        told: Any = json.loads(read_text(path))
        found = {str(n["id"]): _Synset(str(n.get("label") or n["id"])) for n in told["nodes"]}
        for link in told["links"]:
            found[str(link["target"])].above.add(str(link["source"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise InvalidRecord(f"{path.name!r} is no node-link graph of nodes and links") from None
    return found


def _closure(path: Path) -> dict[str, _Synset]:
    found: dict[str, _Synset] = {}
    for where, line in read_lines(path):
        pair = line.split("\t")
        if len(pair) != 2 or not all(pair):
            raise InvalidRecord(f"{where}: write a synset, a tab, and one above it")
        for name in pair:
            found.setdefault(name, _Synset(name))
        found[pair[0]].above.add(pair[1])
    return found


def _direct(found: dict[str, _Synset]) -> dict[str, _Synset]:
    """Keep the edges of a transitive closure that no other path explains.

    Raises:
        InvalidRecord: there is a cycle, whose edges would all explain each other.
    """
    above = {name: synset.above - {name} for name, synset in found.items()}
    _check_order(above)
    for name, synset in found.items():
        further = set().union(*(above[each] for each in above[name] if each in above))
        synset.above = above[name] - further
    return found


def _check_order(above: Mapping[str, set[str]]) -> None:
    """Refuse cycles.

    Raises:
        InvalidRecord: with the names of one.
    """
    number = {name: i for i, name in enumerate(sorted(above))}
    below: list[list[int]] = [[] for _ in number]
    concepts = []
    for name, i in number.items():
        parents = tuple(sorted(number[each] for each in above[name] if each in number))
        concepts.append(Concept(name, parents))
        for parent in parents:
            below[parent].append(i)
    sorted_out(concepts, below)


def _taxonomy(found: Mapping[str, _Synset]) -> Taxonomy:
    """Number the synsets; of two that share a name and lie side by side, the later gets its id."""
    if not found:
        raise InvalidRecord("there is no synset in it")
    ids = sorted(found)
    number = {synset: i for i, synset in enumerate(ids)}
    parents = {i: tuple(sorted(number[p] for p in found[i].above if p in number)) for i in ids}
    taken: Counter[tuple[int, str]] = Counter()
    concepts = []
    for synset in ids:
        name, spots = found[synset].name, parents[synset] or (-1,)
        if any(taken[spot, name] for spot in spots):
            name = f"{name} ({synset.replace(SEPARATOR, '-')})"
        taken.update((spot, name) for spot in spots)
        concepts.append(Concept(name, parents[synset], found[synset].gloss, synset))
    return Taxonomy(tuple(concepts))
