"""Where topics lie on the disk: a place for each path, whatever else there is.

A topic stands in a half-plane of its own, orthogonal to the way from the topic above, and what
hangs under it stands inside that. Its direction comes from HMAC-SHA256(key, path), or from its turn
in a taxonomy that the caller gives; never from what is stored. So nothing moves when something is
forgotten, and the twin has the same picture. The price: directions that are hashed may fall near
one another, so that half-planes of sisters overlap. A taxonomy gives each a sector of its own.

From each topic the world looks the same: its records within ``REACH``, its children's half-planes
beyond that, and the border of its own ``_GAP`` behind. Knows nothing of records but their ids.
"""

from __future__ import annotations

import functools
import hmac
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.atlas.disk import ORIGIN, Arc, Complexes, Doubles, move
from forgetnet.errors import InvalidRecord, InvalidScope
from forgetnet.record import canonical_json, split_topic

__all__ = ["REACH", "Layout", "Path", "Tree", "lay_out", "planted", "scatter", "spots"]

Path = tuple[str, ...]
Tree = dict[str, "Tree"]
"""A taxonomy: by name, in order, what hangs under it."""
Ints = npt.NDArray[np.intp]
Shorts = npt.NDArray[np.uint16]

REACH = 0.45
"""Radius of the disk of a topic's own records around it."""

_GAP = 0.5  # from a topic back to its border: its records are inside
_BACK = math.acos(math.tanh(_GAP))  # half of what is behind the border, seen from the topic
_BEAM = math.radians(9.0)  # half of what a hashed child has of the rim, seen from the topic above
_WIDEST = math.radians(55.0)  # so that no child's half-plane meets its parent's records
_FILLED = 0.92  # of a sector; the rest keeps neighbours apart
_FARTHEST = 22.0  # radius to which float64 draws: seen from there it is right to 1e-6
_TOPIC = b"forgetnet map topic 1"
_RECORD = b"forgetnet map record 1"


@dataclass(frozen=True)
class Layout:
    """Topics on the disk, those above always before those below; number 0 is the root.

    Attributes:
        paths: of each topic.
        parent: number of the topic above, (n,); the root's is its own.
        depth: (n,).
        place: (n,) points of the disk.
        rim: (n, 3) points of the rim, the half-plane of each; the root has none.
        number: of each path.
    """

    paths: list[Path] = field(repr=False)
    parent: Ints
    depth: Ints
    place: Complexes
    rim: Complexes
    number: dict[Path, int] = field(repr=False)

    def arc(self, topic: int) -> Arc:
        """Return the half-plane of a topic, by number."""
        return Arc(*(complex(end) for end in self.rim[topic]))

    def under(self, topic: int) -> npt.NDArray[np.bool_]:
        """Tell which topics are this one or hang under it, (n,)."""
        inside: npt.NDArray[np.bool_] = np.arange(len(self.paths)) == topic
        for _ in range(int(self.depth[-1])):
            inside = inside | inside[self.parent]
        return inside


@dataclass(frozen=True)
class _Sector:
    """A part of what is seen from a topic: its middle and half of its width, in radians."""

    middle: float
    half: float


def planted(taxonomy: Iterable[str] | None) -> Tree:
    """Return the tree of topic paths in the order given; those above come by themselves.

    Raises:
        InvalidScope: one is no topic path.
    """
    tree: Tree = {}
    for topic in taxonomy or ():
        try:
            path = split_topic(topic)
        except InvalidRecord as error:
            raise InvalidScope(f"taxonomy= holds what is no topic: {error}") from None
        here = tree
        for name in path:
            here = here.setdefault(name, {})
    return tree


def lay_out(paths: Iterable[Path], key: bytes, taxonomy: Tree) -> Layout:
    """Place topics, and all that are above them.

    A topic's place, and its half-plane, depend on its path, the key and the taxonomy alone.

    Raises:
        InvalidScope: the taxonomy is too wide, in too many levels, to be drawn.
    """
    wanted = {path[:depth] for path in paths for depth in range(1, len(path) + 1)}
    ordered: list[Path] = [(), *sorted(wanted, key=lambda path: (len(path), path))]
    number = {path: i for i, path in enumerate(ordered)}
    depth = np.array([len(path) for path in ordered], np.intp)
    parent = np.array([number[path[:-1]] for path in ordered], np.intp)
    frames, rim = [ORIGIN], np.zeros((len(ordered), 3), np.complex128)
    for i, sector in enumerate(_sectors(ordered, key, taxonomy), 1):
        above = frames[parent[i]]
        ends = (sector.middle - sector.half, sector.middle, sector.middle + sector.half)
        rim[i] = [above.rim(angle) for angle in ends]
        # the border is met at tanh(r) = cos(half), and the topic stands behind it
        length = math.atanh(math.cos(sector.half)) + _GAP
        frames.append(above.walk(sector.middle, length))
    if (far := max(frame.radius for frame in frames)) > _FARTHEST:
        raise InvalidScope(
            f"taxonomy= puts a topic {far:.0f} away from the middle, and {_FARTHEST:.0f} can be "
            "drawn; name fewer topics in it on the widest levels, and the others find a place"
        )
    place = np.array([frame.place for frame in frames], np.complex128)
    return Layout(ordered, parent, depth, place, rim, number)


def _sectors(ordered: Sequence[Path], key: bytes, taxonomy: Tree) -> Iterator[_Sector]:
    """Give out, for each topic but the root, what it has of all that the one above sees."""
    known: dict[Path, tuple[dict[str, _Sector], _Sector]] = {}
    trees: dict[Path, Tree] = {(): taxonomy}
    for path in ordered[1:]:
        above, name = path[:-1], path[-1]
        if above not in known:
            known[above] = _divided(trees[above], whole=not above)
        given, rest = known[above]
        trees[path] = trees[above].get(name, {})
        yield given.get(name) or _hashed(path, key, rest)


def _divided(tree: Tree, *, whole: bool) -> tuple[dict[str, _Sector], _Sector]:
    """Give each name of a taxonomy a sector, by the root of its leaves; and the rest one more."""
    open_half = math.pi if whole else math.pi - _BACK
    if not tree:
        return {}, _Sector(0.0, open_half)
    weights = {name: math.sqrt(_leaves(below)) for name, below in tree.items()}
    unit = 2.0 * open_half / (math.fsum(weights.values()) + 1.0)
    sectors, start = {}, (math.pi / 2.0 if whole else open_half)  # clockwise, the root's from noon
    for name, weight in weights.items():
        width = weight * unit
        half = min(_FILLED * width / 2.0, _WIDEST)
        sectors[name] = _Sector(start - width / 2.0, half)
        start -= width
    return sectors, _Sector(start - unit / 2.0, unit / 2.0)


def _leaves(tree: Tree) -> int:
    return sum(map(_leaves, tree.values())) if tree else 1


def _hashed(path: Path, key: bytes, rest: _Sector) -> _Sector:
    """Take a direction from the hash of a path."""
    told = canonical_json(list(path)).encode("utf-8", "surrogatepass")
    drawn = int.from_bytes(hmac.digest(key, _TOPIC + told, "sha256")[:8], "big") >> 11
    share = drawn / 2.0**52 - 1.0  # from -1 to 1
    if rest.half >= math.pi:
        return _Sector(math.pi * share, _BEAM)
    half = min(_BEAM, rest.half / 6.0)
    return _Sector(rest.middle + share * (_FILLED * rest.half - half), half)


def spots(ids: Iterable[str], key: bytes) -> Shorts:
    """Hash ids to where records lie around their topics: (n, 2), share of the area and of a turn.

    32 bits of a keyed hash, so that nobody without the key learns from them which id it is.
    """
    drawn = b"".join(
        hmac.digest(key, _RECORD + i.encode("utf-8", "surrogatepass"), "sha256")[:4] for i in ids
    )
    numbers: Shorts = np.frombuffer(drawn, ">u2").reshape(-1, 2).astype(np.uint16)
    return numbers


def scatter(places: Complexes, drawn: Shorts) -> Complexes:
    """Return where records lie, (n,): evenly in the disk of radius ``REACH`` around their topics.

    Args:
        places: (n,) of their topics.
        drawn: (n, 2) of :func:`spots`.
    """
    radii, turns = _local()
    return move(radii[drawn[:, 0]] * turns[drawn[:, 1]], places)


@functools.cache
def _local() -> tuple[Doubles, Complexes]:
    """Return radius and direction for each of 65,536 shares: tables, so of equal bits always."""
    share = np.arange(65536)
    radius = np.arccosh(1.0 + (share + 0.5) / 65536.0 * (math.cosh(REACH) - 1.0))
    return np.tanh(radius / 2.0), np.exp(2j * np.pi * share / 65536.0)
