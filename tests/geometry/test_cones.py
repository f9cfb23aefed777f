"""Half-spaces: a subtree, whole and nothing but, in NumPy, FAISS and LanceDB."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from itertools import pairwise

import faiss
import lancedb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import codes

SALT = bytes(range(100, 132))
UNIT = 2.0**-24
LARGEST = 12_000
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Bits = npt.NDArray[np.bool_]


def fixed(examples: int) -> settings:
    """Settings without shrinking: a smaller tree takes minutes to find and tells no more."""
    return settings(
        derandomize=True,
        max_examples=examples,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow],
    )


class Tree:
    """A random tree: up to 3 children a node, and up to 1,000 on the levels that are wide."""

    def __init__(self, seed: int, wide: frozenset[int], salt: bytes) -> None:
        self.random = random.Random(seed)
        self.wide = wide
        self.salt = salt
        self.paths: list[codes.Path] = []
        self.end: list[int] = []
        self._grow(())
        self.rows = codes.places(self.paths, salt)

    def _grow(self, path: codes.Path) -> None:
        row = len(self.paths)
        self.paths.append(path)
        self.end.append(0)
        fan_out = 0
        if len(path) < codes.MAX_DEPTH:
            most = 1000 if len(path) in self.wide else 3
            fan_out = self.random.randint(most // 2, most)
        for child in range(fan_out):
            if len(self.paths) < LARGEST:
                self._grow((*path, f"topic {child}"))
        self.end[row] = len(self.paths)

    def subtree(self, row: int) -> Bits:
        """The truth: rows are in preorder, so a subtree is a range of them."""
        return (np.arange(len(self.paths)) >= row) & (np.arange(len(self.paths)) < self.end[row])

    def topics(self, count: int) -> Iterator[tuple[int, codes.Path]]:
        """Rows of every depth, the root's first."""
        by_depth = [
            [i for i, path in enumerate(self.paths) if len(path) == depth] for depth in range(7)
        ]
        for rows in by_depth:
            for row in self.random.sample(rows, min(count, len(rows))):
                yield row, self.paths[row]


TREES = st.builds(
    Tree,
    st.integers(0, 2**32),
    st.frozensets(st.integers(0, 5), min_size=1, max_size=2),
    st.binary(min_size=32, max_size=32),
)


@fixed(12)
@given(TREES)
def test_a_float32_product_gives_exactly_the_subtree(tree: Tree) -> None:
    for row, path in tree.topics(20):
        query, threshold = codes.cone(path, tree.salt)
        inside = tree.rows @ query.astype(np.float32) > threshold
        own = (tree.rows == tree.rows[row]).all(axis=1)
        expected = tree.subtree(row)
        if len(path) == codes.MAX_DEPTH:
            assert not inside.any()
        else:
            assert (inside == expected).all()
        assert (inside | own == expected).all()
        assert (codes.subtree_mask(tree.rows, path, tree.salt) == expected).all()


@fixed(8)
@given(TREES)
def test_a_faiss_range_search_gives_exactly_the_subtree(tree: Tree) -> None:
    index = faiss.IndexFlatIP(codes.DIMENSION + 1)
    index.add(tree.rows)
    topics = [(row, path) for row, path in tree.topics(20) if len(path) < codes.MAX_DEPTH]
    queries = [codes.cone(path, tree.salt) for _, path in topics]
    assert {threshold for _, threshold in queries} == {0.0}
    block = np.stack([query for query, _ in queries]).astype(np.float32)
    for size in (1, len(block)):  # FAISS sums one query in another order than many
        for start in range(0, len(block), size):
            ends, _, found = index.range_search(block[start : start + size], 0.0)
            for (row, _), (low, high) in zip(topics[start:], pairwise(ends), strict=False):
                expected = np.flatnonzero(tree.subtree(row))
                assert np.array_equal(np.sort(found[low:high]), expected)


@fixed(4)
@given(TREES)
def test_a_lancedb_range_query_gives_exactly_the_subtree(tree: Tree) -> None:
    width = codes.DIMENSION + 1
    place = pa.FixedSizeListArray.from_arrays(pa.array(tree.rows.ravel()), width)
    columns = pa.table({"row": np.arange(len(tree.rows)), "place": place})
    table = lancedb.connect("memory://").create_table("places", columns)
    for row, path in tree.topics(6):
        query, threshold = codes.cone(path, tree.salt)
        search = table.search(query.astype(np.float32), vector_column_name="place")
        found = (
            search.distance_type("dot")
            .distance_range(None, 1.0 - threshold)
            .select(["row"])
            .limit(len(tree.rows))
            .to_arrow()
        )
        expected = np.flatnonzero(tree.subtree(row)) if len(path) < codes.MAX_DEPTH else []
        assert np.array_equal(np.sort(found["row"].to_numpy()), expected)


def sums(a: Floats, b: Floats) -> Iterator[np.float32]:
    """The product of two vectors in float32, summed in orders that engines use."""
    terms = a * b
    for order in (terms, terms[::-1], np.sort(terms), np.sort(terms)[::-1], np.roll(terms, -1)):
        total = np.float32(0.0)
        for term in order:
            total += term
        yield total
    yield terms.sum()


def outward(rng: np.random.Generator, path: list[Doubles], apex: Doubles) -> Doubles:
    """Turn one level further by the draw, of many, that leads farthest from ``apex``."""
    parent, grandparent = path[-1], path[-2]
    away = apex - parent * (parent * apex).sum()
    lean = grandparent - parent * (parent * grandparent).sum()
    lean /= max(np.linalg.norm(lean), 1e-300)
    straight = -away - lean * min(0.0, -float((away * lean).sum()))  # as far as the lean allows
    noise = rng.normal(size=(codes.DIMENSION, 64))
    draws = np.c_[noise, 1e-9 * noise - away, straight + 1e-12 * noise, straight + 0.3 * noise]
    turned = codes._turn(draws, parent, grandparent, len(path))
    return turned[:, [int(np.argmin((turned * apex).sum(axis=0)))]]


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_the_worst_path_that_a_hash_could_draw_is_not_missed(depth: int) -> None:
    """Not by luck: descendants that leave the axis as fast as they may are inside by the margin."""
    rng = np.random.default_rng(depth)
    least = np.inf
    for _ in range(40):
        first = rng.normal(size=(codes.DIMENSION, 1))
        path = [np.zeros((codes.DIMENSION, 1)), first / np.linalg.norm(first)]
        while len(path) <= codes.MAX_DEPTH:
            path.append(outward(rng, path, path[min(depth, len(path) - 1)]))
        normal = codes._normal(depth, path[depth][:, 0], codes._MARGIN)
        query = normal.astype(np.float32)
        for below in range(depth, codes.MAX_DEPTH + 1):
            cosh, sinh = codes._COSH[below], codes._SINH[below]
            exact = np.r_[cosh, sinh * path[below][:, 0]]
            slack = float(normal @ exact) / cosh / UNIT
            assert slack > 23.99
            least = min(least, slack)
            for total in sums(query, exact.astype(np.float32)):
                assert total > 0.0
                assert abs(float(total) - float(normal @ exact)) <= 22 * UNIT * cosh
    height = (1.0 - codes._reach(depth)) / UNIT
    assert least < 24.0 + 0.05 * height  # no room is wasted: the worst path comes this near


def test_the_margin_is_twice_the_rounding_seen() -> None:
    rng = np.random.default_rng(0)
    paths = [tuple(str(n) for n in rng.integers(0, 9, 6)) for _ in range(800)]
    rows = codes.places(paths, SALT)
    worst = 0.0
    for path, row in zip(paths, rows, strict=True):
        query = codes.cone(path[: rng.integers(1, 6)], SALT).query
        exact = float((row.astype(np.float64) * query).sum())
        for total in sums(query.astype(np.float32), row):
            worst = max(worst, abs(float(total) - exact) / float(row[0]) / UNIT)
    assert 0.5 < worst < 12.0


@fixed(30)
@given(st.integers(0, 2**32), st.integers(0, 6))
def test_a_mask_is_the_same_in_any_company(seed: int, depth: int) -> None:
    rng = random.Random(seed)
    paths = [tuple(rng.choices("abc", k=rng.randint(0, 6))) for _ in range(200)]
    topic = tuple(rng.choices("abc", k=depth))
    rows = codes.places(paths, SALT)
    expected = np.array([path[:depth] == topic for path in paths])
    assert (codes.subtree_mask(rows, topic, SALT) == expected).all()
    for i in (0, 17, 199):
        assert codes.subtree_mask(rows[i : i + 1], topic, SALT) == expected[i]
    half = np.asfortranarray(rows)[::2]
    assert (codes.subtree_mask(half, topic, SALT) == expected[::2]).all()


def test_the_mask_decides_in_float64_what_float32_leaves_open() -> None:
    """Sisters at depth 5 so close that the bare half-space takes one for the other."""
    parent = ("a", "b", "c", "d")
    sisters = [(*parent, str(i)) for i in range(30_000)]
    rows = codes.places(sisters, SALT)
    captured = {
        path: np.flatnonzero(rows @ codes.cone(path, SALT).query.astype(np.float32) > 0.0)
        for path in sisters[:300]
    }
    crowded = {path: found for path, found in captured.items() if len(found) > 1}
    assert all(i in found for i, found in enumerate(captured.values()))
    for path, found in crowded.items():
        assert codes.subtree_mask(rows[found], path, SALT).sum() == 1


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_the_mask_stands_on_the_exact_side_of_its_border(depth: int) -> None:
    """Points within two units of the border, where a float32 product tosses a coin."""
    rng = np.random.default_rng(depth)
    topic = tuple("abcde")[:depth]
    axis = codes._axes([topic], SALT)[:, 0]
    normal = codes._normal(depth, axis, codes._STORED)
    side = rng.normal(size=(2000, codes.DIMENSION))
    side -= (side @ axis)[:, None] * axis
    side /= np.linalg.norm(side, axis=1, keepdims=True)
    cosh, sinh = codes._COSH[6], codes._SINH[6]
    cosine = (-normal[0] + UNIT * rng.uniform(-2.0, 2.0, 2000)) * cosh / sinh
    directions = cosine[:, None] * axis + np.sqrt(1.0 - cosine**2)[:, None] * side
    rows = np.c_[np.full(2000, cosh), sinh * directions].astype(np.float32)
    exact = [math.fsum(np.multiply(row, normal, dtype=np.float64)) > 0.0 for row in rows]
    assert 500 < sum(exact) < 1500
    assert codes.subtree_mask(rows, topic, SALT).tolist() == exact
    rough = rows @ normal.astype(np.float32) > 0.0
    assert (rough != np.array(exact)).any()


def test_damaged_places_neither_stop_the_mask_nor_pass_for_others() -> None:
    rows = np.repeat(codes.place(("a", "b"), SALT)[None], 5, axis=0)
    rows[0] = np.nan
    rows[1] = np.inf
    rows[2, 3] = np.nan
    rows[3] = 3e38
    assert codes.subtree_mask(rows, ("a", "b"), SALT).tolist()[4] is True
    assert codes.subtree_mask(rows, tuple("abcdef"), SALT).tolist() == [False] * 5
    assert codes.intact_mask(rows, [("a", "b")] * 5, SALT).tolist() == [False] * 4 + [True]
    for wrong in (rows[0], rows[:, :16], rows.astype(np.float64)):
        with pytest.raises(InvalidRecord, match="float32"):
            codes.subtree_mask(wrong, ("a",), SALT)


def test_everything_is_under_the_root() -> None:
    rows = codes.places([(), ("a",), tuple("abcdef")], SALT)
    query, threshold = codes.cone((), SALT)
    assert (rows @ query.astype(np.float32) > threshold).all()
    assert codes.subtree_mask(rows, (), SALT).all()
