"""Subtrees of a million places beside prefix filters of LanceDB and SQLite, and linking.

Each answer is compared with the paths themselves. Processor time, all threads counted; in turn, so
that a drift of the machine meets all.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import lancedb
import numpy as np
import pyarrow as pa
from bench import Row, at_most
from lancedb.index import BTree
from timing import in_turn, tell

from forgetnet.geometry.codes import Path, places, subtree_mask
from forgetnet.linking import Exemplars, Linker

SALT = b"salt of the geometry benchmark 1"
FAN = 100  # on each of three levels
MOST_MS = 10.0
Ask = Callable[[Path], set[int]]


@dataclass(frozen=True)
class Tree:
    """Paths, a leaf each, and their places."""

    paths: list[Path]
    texts: list[str]

    @classmethod
    def made(cls, fan: int) -> Tree:
        """Make a tree of three levels."""
        names = range(fan)
        paths = [(f"a{i}", f"b{j}", f"c{k}") for i in names for j in names for k in names]
        return cls(paths, ["/".join(path) + "/" for path in paths])


def ours(tree: Tree) -> Ask:
    """Ask the half-space of a topic."""
    points = places(tree.paths, SALT)
    return lambda path: set(np.flatnonzero(subtree_mask(points, path, SALT)).tolist())


def sqlite(tree: Tree) -> Ask:
    """Ask SQLite by a range of an indexed column of paths, in memory."""
    base = sqlite3.connect(":memory:")
    base.execute("create table records (id integer primary key, path text)")
    base.executemany("insert into records values (?, ?)", enumerate(tree.texts))
    base.execute("create index by_path on records (path)")
    asked = "select id from records where path >= ? and path < ?"

    def ask(path: Path) -> set[int]:
        head = "/".join(path)
        return {row[0] for row in base.execute(asked, (f"{head}/", f"{head}0"))}  # 0 follows /

    return ask


def lance(tree: Tree, folder: str, *, index: bool) -> Ask:
    """Ask LanceDB by a prefix of a column of paths, with a B-tree of it or without."""
    table = pa.table({"id": np.arange(len(tree.paths)), "path": tree.texts})
    base = lancedb.connect(f"{folder}/{'indexed' if index else 'plain'}").create_table("t", table)
    if index:
        base.create_index("path", config=BTree())

    def ask(path: Path) -> set[int]:
        where = f"starts_with(path, '{'/'.join(path)}/')"
        found = base.search().where(where).select(["id"]).limit(len(tree.paths)).to_arrow()
        return set(found["id"].to_pylist())

    return ask


def subtrees(rounds: int, fan: int = FAN) -> tuple[list[Row], bool]:
    """Time subtree queries, and compare every answer with the paths; False if one is wrong."""
    tree = Tree.made(fan)
    tell(f"{len(tree.paths):,} places")
    points = places(tree.paths, SALT)
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, fan, (rounds, 2))
    topics: list[Path] = [
        (f"a{a}",) if number % 2 else (f"a{a}", f"b{b}") for number, (a, b) in enumerate(drawn)
    ]
    with tempfile.TemporaryDirectory(prefix="forgetnet-places-") as folder:
        asks = {
            "half-space, ids of the subtree": ours(tree),
            "SQLite, range of an index": sqlite(tree),
            "LanceDB, prefix, B-tree": lance(tree, folder, index=True),
            "LanceDB, prefix, no index": lance(tree, folder, index=False),
        }
        wrong = sum(ask(topic) != _right(tree, topic) for topic in topics for ask in asks.values())
        bare = [lambda n: subtree_mask(points, topics[n], SALT)]
        actions = [*bare, *(_asking(ask, topics) for ask in asks.values())]
        times = in_turn(actions, rounds, clock=time.process_time)
    shown = [f"{1e3 * statistics.median(each):.1f} ms" for each in times]
    ratio = 1e3 * statistics.median(times[0]) / MOST_MS
    what = f"subtree of {len(tree.paths):,} places, as a mask"
    rows = [at_most(what, shown[0], f"{MOST_MS:g} ms", ratio, 1.0)]
    rows += [Row(name, told) for name, told in zip(asks, shown[1:], strict=True)]
    rows.append(Row("wrong answers of all four", str(wrong), "", "", "0", wrong == 0))
    return rows, wrong == 0


def _asking(ask: Ask, topics: Sequence[Path]) -> Callable[[int], object]:
    return lambda number: ask(topics[number])


def _right(tree: Tree, path: Path) -> set[int]:
    head = "/".join(path) + "/"
    return {place for place, text in enumerate(tree.texts) if text.startswith(head)}


def linking(records: int, topics: int, rounds: int, dim: int = 384) -> list[Row]:
    """Time linking to topics beside one matrix product of that size."""
    rng = np.random.default_rng(0)

    def units(count: int) -> np.ndarray:
        drawn = rng.normal(size=(count, dim)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)

    vectors, known = units(records), units(topics)
    names = [f"t{number:04d}" for number in range(topics)]
    exemplars = Exemplars.of(names, known, [f"{name[:3]}/{name}" for name in names])
    ids = [f"r{number:06d}" for number in range(records)]
    linker = Linker(method="centroid")
    across = np.ascontiguousarray(known.T)
    times = in_turn(
        [lambda _: linker.link(ids, vectors, exemplars), lambda _: vectors @ across],
        rounds,
        clock=time.process_time,
    )
    link, product = (statistics.median(each) for each in times)
    what = f"linking {records:,} records to {topics:,} topics"
    return [at_most(what, f"{link:.2f} s", f"{product:.2f} s, one product", link / product, 1.2)]
