"""Hierarchies: who stands above whom, and what is no hierarchy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.heads import Hierarchy


@st.composite
def graphs(draw) -> Hierarchy:
    """Any graph whose edges lead to smaller numbers, then shuffled."""
    n = draw(st.integers(1, 12))
    parents = [
        draw(st.sets(st.integers(0, place - 1), max_size=3)) if place else set()
        for place in range(n)
    ]
    order = draw(st.permutations(range(n)))
    at = {place: i for i, place in enumerate(order)}
    shuffled = [tuple(sorted(at[p] for p in parents[place])) for place in order]
    names = tuple(f"n{i}" for i in range(n))
    return Hierarchy(names, names, tuple(shuffled))


def above(hierarchy: Hierarchy, place: int) -> set[int]:
    found: set[int] = set()
    for parent in hierarchy.parents[place]:
        found |= {parent} | above(hierarchy, parent)
    return found


@given(graphs())
def test_ancestors_are_all_that_can_be_reached_upwards(hierarchy: Hierarchy) -> None:
    for place in range(len(hierarchy)):
        assert set(hierarchy.ancestors[place].tolist()) == above(hierarchy, place)
    pairs = {(a, x) for x in range(len(hierarchy)) for a in above(hierarchy, x)}
    assert {tuple(pair) for pair in hierarchy.pairs().tolist()} == pairs
    both = np.concatenate([hierarchy.inner, hierarchy.leaves])
    assert sorted(both.tolist()) == list(range(len(hierarchy)))


def test_equal_sets_make_equal_hierarchies() -> None:
    names = {"b": "bird", "a": "animal", "c": "crow"}
    edges = [("b", "a"), ("c", "b")]
    one = Hierarchy.of(names, edges, {"c": "a black bird"})
    two = Hierarchy.of(dict(sorted(names.items())), edges[::-1], {"c": "a black bird"})
    assert one.digest() == two.digest()
    assert one.glosses == ("animal", "bird", "a black bird")
    assert Hierarchy.of(names, edges, {}).digest() != one.digest()


@pytest.mark.parametrize(
    ("names", "parents", "says"),
    [
        (("a", " "), ((), (0,)), "concept 1 has an empty name"),
        (("a", "b"), ((1,), (0,)), "2 concepts stand in a circle"),
        (("a",), ((0,),), "1 concepts stand in a circle"),
        (("a", "b"), ((), (2,)), "a parent is none of the 2 concepts"),
        (("a", "b"), ((), (-1,)), "a parent is none of the 2 concepts"),
        (("a", "b"), ((),), "2 names came with"),
    ],
)
def test_what_is_no_hierarchy_is_refused(names, parents, says: str) -> None:
    with pytest.raises(InvalidRecord, match=says):
        Hierarchy(names, names, parents)
    with pytest.raises(InvalidRecord, match="isn't there"):
        Hierarchy.of({"a": "a"}, [("a", "z")], {})


def test_a_deep_chain_is_no_trouble() -> None:
    n = 3_000
    names = tuple(map(str, range(n)))
    chain = Hierarchy(names, names, tuple((i - 1,) if i else () for i in range(n)))
    assert len(chain.ancestors[n - 1]) == n - 1
