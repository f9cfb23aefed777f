"""A taxonomy: named concepts, each under others or at the top, as a graph without cycles.

A value: every change returns another taxonomy, and says where each path has gone. A concept under
two others has two paths, and so two places. Knows nothing of records, files or stores.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import codes
from forgetnet.given import text_of
from forgetnet.taxonomy.concepts import Concept, glosses_of, of_edges, of_paths, sorted_out
from forgetnet.taxonomy.paths import MAX_LEVELS, MAX_WRITTEN, SEPARATOR, check_gloss, check_name

__all__ = ["MAX_CONCEPTS", "Change", "Concept", "Taxonomy"]

MAX_CONCEPTS = 1_000_000
_MAX_PATHS = 1_000_000


class Change(NamedTuple):
    """A changed taxonomy.

    Attributes:
        taxonomy: the new one.
        moved: new path by old path, for every path that is another one now.
    """

    taxonomy: Taxonomy
    moved: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Taxonomy:
    """Concepts and what lies under what; make one with :meth:`of`, :meth:`load` and their like.

    Where a verb asks for a concept, any of its paths will do, or its key where it has one (the
    name in a list of edges, the id of a synset).

    Attributes:
        concepts: in any order.
        order: positions of all, those above first.
        below: positions of what lies right below each.

    Raises:
        InvalidRecord: a name or a gloss is none, a parent isn't there, a concept lies under itself
            (the message names the cycle), or two of a name lie side by side.
    """

    concepts: tuple[Concept, ...]
    order: tuple[int, ...] = field(init=False, repr=False)
    below: tuple[tuple[int, ...], ...] = field(init=False, repr=False)
    _found: dict[tuple[int, str], int] = field(init=False, repr=False)
    _keys: dict[str, int] = field(init=False, repr=False)
    _paths: dict[int, tuple[str, ...]] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.concepts) > MAX_CONCEPTS:
            raise InvalidRecord(
                f"a taxonomy has {len(self.concepts)} concepts and at most {MAX_CONCEPTS} are kept"
            )
        below: list[list[int]] = [[] for _ in self.concepts]
        found: dict[tuple[int, str], int] = {}
        for i, concept in enumerate(self.concepts):
            check_name(concept.name)
            check_gloss(concept.gloss)
            for parent in concept.parents:
                if not 0 <= parent < len(self.concepts):
                    raise InvalidRecord(
                        f"a concept lies under number {parent}, and there are "
                        f"{len(self.concepts)}, from 0 on; make taxonomies with Taxonomy.of or "
                        "Taxonomy.edges"
                    )
                below[parent].append(i)
            for parent in concept.parents or (-1,):
                if found.setdefault((parent, concept.name), i) != i:
                    raise InvalidRecord(
                        f"two concepts called {concept.name[:80]!r} lie side by side; name one of "
                        "them otherwise, or merge them"
                    )
        keys = {concept.key: i for i, concept in enumerate(self.concepts) if concept.key}
        if len(keys) < sum(bool(concept.key) for concept in self.concepts):
            raise InvalidRecord("two concepts have the same key; give each one of its own")
        told = {
            "below": tuple(map(tuple, below)), "_found": found, "_keys": keys, "_paths": {},
            "order": sorted_out(self.concepts, below),
        }  # fmt: skip
        for name, value in told.items():
            object.__setattr__(self, name, value)

    # -- making one

    @classmethod
    def of(cls, paths: Iterable[str], glosses: Mapping[str, str] | None = None) -> Taxonomy:
        """Make a tree of topic paths, such as ``memory.topics()``; what lies above them is there.

        Args:
            paths: in any order; each once or more.
            glosses: by path, for some of them.

        Raises:
            InvalidRecord: a path is no string or has an empty name, or a gloss is no string.
        """
        return cls(of_paths(paths, glosses_of(glosses)))

    @classmethod
    def edges(
        cls, pairs: Iterable[tuple[str, str]], glosses: Mapping[str, str] | None = None
    ) -> Taxonomy:
        """Make a graph of (parent, child) pairs of names; an empty parent puts a child at the top.

        A name means one concept wherever it stands, and a pair that comes twice counts once. What
        is nobody's child is at the top; there may be several.

        Raises:
            InvalidRecord: something is no pair of names, a concept lies under itself, or a gloss is
                no string.
        """
        return cls(of_edges(pairs, glosses_of(glosses)))

    @classmethod
    def load(cls, path: str | FilePath) -> Taxonomy:
        """Read one from a file: edges as TSV, CSV or JSONL, nested JSON or YAML; ``.gz`` unpacks.

        See ``docs/taxonomy.md`` for what each looks like.

        Raises:
            InvalidRecord: the file is none of these, or holds no taxonomy; the message says where.
            Unsupported: YAML needs PyYAML, which isn't installed.
        """
        from forgetnet.taxonomy.files import load

        return load(path)

    @classmethod
    def wordnet(cls, path: str | FilePath) -> Taxonomy:
        """Read the nouns of WordNet, or a part of them, from a file; see ``docs/taxonomy.md``.

        Raises:
            InvalidRecord: the file is none of the forms that are known.
        """
        from forgetnet.taxonomy.wordnet import wordnet

        return wordnet(path)

    @classmethod
    def everyday(cls) -> Taxonomy:
        """Return the topics of a personal memory: a small public taxonomy, with glosses."""
        from forgetnet.taxonomy.files import everyday

        return everyday()

    # -- asking

    def __len__(self) -> int:
        return len(self.concepts)

    @property
    def depth(self) -> int:
        """How many levels the longest path has."""
        return max(self.levels(), default=0)

    def levels(self) -> list[int]:
        """Return the level of each of ``concepts``, by its longest path; 1 is the top."""
        levels = [0] * len(self)
        for i in self.order:
            levels[i] = 1 + max((levels[p] for p in self.concepts[i].parents), default=0)
        return levels

    def find(self, concept: str) -> int:
        """Return the position of a concept in ``concepts``, by path or key.

        Raises:
            InvalidRecord: there is none.
        """
        at = -1
        for name in text_of(concept, "a concept", InvalidRecord).split(SEPARATOR):
            at = self._found.get((at, name), -2)
            if at < 0:
                break
        if at < 0:
            at = self._keys.get(concept, -1)
        if at < 0:
            raise InvalidRecord(f"no concept is called {concept[:80]!r}; see topics()")
        return at

    def __contains__(self, concept: object) -> bool:
        try:
            return isinstance(concept, str) and self.find(concept) >= 0
        except InvalidRecord:
            return False

    def paths(self, concept: str) -> tuple[str, ...]:
        """Return the paths of a concept, ascending: one for each way from the top.

        Raises:
            InvalidRecord: there is no such concept, or the taxonomy is too deep to be written out.
        """
        return self.written()[self.find(concept)]

    def topics(self) -> tuple[str, ...]:
        """Return every path of every concept, ascending."""
        return tuple(sorted(path for paths in self.written().values() for path in paths))

    def under(self, concept: str) -> tuple[str, ...]:
        """Return every path that lies at or under a concept, ascending."""
        written = self.written()
        roots = written[self.find(concept)]
        heads = [f"{root}{SEPARATOR}" for root in roots]
        below = (written[i] for i in self._reach([self.find(concept)], self.below))
        found = (path for paths in below for path in paths)
        return tuple(
            sorted(p for p in found if p in roots or any(p.startswith(head) for head in heads))
        )

    def closure(self, concept: str) -> tuple[str, ...]:
        """Return the paths of a concept and of every concept above it, ascending."""
        written = self.written()
        reached = self._reach([self.find(concept)], [c.parents for c in self.concepts])
        return tuple(sorted(path for i in reached for path in written[i]))

    def _reach(self, start: Iterable[int], step: Sequence[Sequence[int]]) -> set[int]:
        reached, queue = set(start), deque(start)
        while queue:
            for i in step[queue.popleft()]:
                if i not in reached:
                    reached.add(i)
                    queue.append(i)
        return reached

    def written(self) -> dict[int, tuple[str, ...]]:
        """Return the paths of each concept, by position, written out once.

        Raises:
            InvalidRecord: there are too many, or they are too long.
        """
        if len(self._paths) < len(self):
            ways, length, levels = [0] * len(self), [0] * len(self), self.levels()
            for i in self.order:
                name, parents = self.concepts[i].name, self.concepts[i].parents
                ways[i] = sum(ways[p] for p in parents) or 1
                length[i] = sum(length[p] for p in parents) + ways[i] * (len(name) + 1)
            if max(levels) > MAX_LEVELS or sum(ways) > _MAX_PATHS or sum(length) > MAX_WRITTEN:
                raise InvalidRecord(
                    f"a taxonomy of {max(levels)} levels has {sum(ways)} paths of {sum(length)} "
                    f"characters; at most {MAX_LEVELS} levels, {_MAX_PATHS} paths and "
                    f"{MAX_WRITTEN} characters are written out. Use fold() to take levels out, "
                    "leave out parents, or shorten names"
                )
            for i in self.order:
                name, parents = self.concepts[i].name, self.concepts[i].parents
                heads = [path for p in parents for path in self._paths[p]]
                full = (f"{head}{SEPARATOR}{name}" for head in heads)
                self._paths[i] = tuple(sorted(full)) if parents else (name,)
        return self._paths

    def places(self, salt: bytes) -> tuple[tuple[str, ...], npt.NDArray[np.float32]]:
        """Return every path, and its place (n, 17): the one that records filed there have.

        Raises:
            InvalidRecord: a path is deeper than places can tell apart; the message says how many
                are. Or the salt is too short, or no bytes.
        """
        if not isinstance(salt, bytes):
            raise InvalidRecord(f"salt must be bytes, not {type(salt).__name__}")
        if self.depth > codes.MAX_DEPTH:
            levels = self.levels()
            deep = sum(level > codes.MAX_DEPTH for level in levels)
            raise InvalidRecord(
                f"the taxonomy has {self.depth} levels and places tell {codes.MAX_DEPTH} apart: "
                f"{deep} of {len(self)} concepts lie too deep. fold({codes.MAX_DEPTH}) hangs all "
                f"of levels {codes.MAX_DEPTH} to {self.depth} on level {codes.MAX_DEPTH - 1}; or "
                "move subtrees higher up"
            )
        topics = self.topics()
        return topics, codes.places([tuple(topic.split(SEPARATOR)) for topic in topics], salt)

    def digest(self) -> str:
        """Hash names, glosses and what lies under what: equal however a taxonomy came to be."""
        addresses: list[bytes] = [b""] * len(self)
        told = []
        for i in self.order:
            concept = self.concepts[i]
            parents = sorted(addresses[p] for p in concept.parents)
            name = concept.name.encode()
            head = len(parents).to_bytes(8, "big")
            addresses[i] = hashlib.sha256(b"".join([head, *parents, name])).digest()
            told.append(addresses[i] + hashlib.sha256(concept.gloss.encode()).digest())
        return hashlib.sha256(b"".join(sorted(told))).hexdigest()

    # -- changing

    def add(self, name: str, under: str | None = None, *, gloss: str = "") -> Change:
        """Add a concept, at the top or under another.

        Raises:
            InvalidRecord: there is one of this name, or the name is none.
        """
        from forgetnet.taxonomy.change import added

        return added(self, name, under, gloss)

    def rename(self, concept: str, name: str) -> Change:
        """Give a concept another name.

        Raises:
            InvalidRecord: one of this name lies beside it, so merge them; or the name is none.
        """
        from forgetnet.taxonomy.change import renamed_to

        return renamed_to(self, concept, name)

    def move(self, concept: str, under: str | None, *, out_of: str | None = None) -> Change:
        """Put a concept, and all below it, under another, or at the top.

        Args:
            concept: what moves.
            under: where to; None for the top.
            out_of: the parent that it leaves, where it has several; None to leave all of them.

        Raises:
            InvalidRecord: ``under`` lies under it, or has a concept of its name; merge them then.
        """
        from forgetnet.taxonomy.change import moved_under

        return moved_under(self, concept, under, out_of)

    def merge(self, concept: str, into: str) -> Change:
        """Make one concept of two: what is under the first is under the second then.

        Concepts of a name that would lie side by side are merged likewise. The second one's name
        and gloss stay.

        Raises:
            InvalidRecord: the second lies under the first.
        """
        from forgetnet.taxonomy.change import merged

        return merged(self, concept, into)

    def fold(self, levels: int) -> Change:
        """Keep so many levels: everything from the last of them down hangs on the one above it.

        Levels are counted by the longest path. No concept goes, but of those from the last level
        on none lies under another any more. Where two of a name would then lie side by side, the
        second is called ``name (2)``, and so on, in the order of their old paths.

        Args:
            levels: how many to keep, 2 at least.

        Raises:
            InvalidRecord: fewer than 2 levels.
        """
        from forgetnet.taxonomy.change import folded

        return folded(self, levels)
