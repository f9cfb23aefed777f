"""The shard map is a function of the live set, and bounded."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.shards import KEY_BITS, find, internal, leaves, regions, shard_key

SALT = b"salt"
SHORT = st.text("01", min_size=8, max_size=8)
COUNTS = st.dictionaries(SHORT, st.integers(1, 9), max_size=24)
CAPS = st.integers(1, 12)


def naive(counts: dict[str, int], cap: int) -> list[str]:
    """The definition: a node is a leaf if it fits or has one subject, and nothing above it is."""

    def is_leaf(node: str) -> bool:
        below = [n for key, n in counts.items() if key.startswith(node)]
        return bool(below) and (sum(below) <= cap or len(below) == 1)

    nodes = {key[:i] for key in counts for i in range(9)}
    return sorted(n for n in nodes if is_leaf(n) and not any(map(is_leaf, _above(n))))


def _above(node: str) -> list[str]:
    return [node[:i] for i in range(len(node))]


class Map:
    """A shard map kept up by folding only what a change touched, as an engine does."""

    def __init__(self, cap: int) -> None:
        self.cap = cap
        self.leaves: dict[str, dict[str, int]] = {}

    def change(self, key: str, n: int) -> None:
        leaf = find(internal(self.leaves), key)
        counts = self.leaves.setdefault(leaf, {})
        counts[key] = counts.get(key, 0) + n
        if counts[key] <= 0:
            del counts[key]
        self.fold([leaf])

    def fold(self, touched: list[str]) -> None:
        for node in regions(self.leaves, touched, self.cap):
            below = {
                key: n
                for prefix, counts in self.leaves.items()
                if prefix.startswith(node)
                for key, n in counts.items()
            }
            self.leaves = {p: c for p, c in self.leaves.items() if not p.startswith(node)}
            for leaf in leaves(below, self.cap, node):
                self.leaves[leaf] = {k: n for k, n in below.items() if k.startswith(leaf)}


@given(COUNTS, CAPS)
def test_leaves_are_those_of_the_definition(counts: dict[str, int], cap: int) -> None:
    assert leaves(counts, cap) == naive(counts, cap)


@given(COUNTS, CAPS)
def test_each_key_has_one_leaf_and_no_leaf_is_too_big(counts: dict[str, int], cap: int) -> None:
    found = leaves(counts, cap)
    inner = internal(found)
    homes = Counter(dict.fromkeys(counts, 0))
    for leaf in found:
        held = {key: n for key, n in counts.items() if key.startswith(leaf)}
        assert held
        assert len(held) == 1 or sum(held.values()) <= cap
        for key in held:
            homes[key] += 1
            assert find(inner, key) == leaf
    assert set(homes.values()) <= {1}


@given(st.lists(st.tuples(SHORT, st.integers(-3, 5)), max_size=40), CAPS)
def test_any_history_gives_the_map_of_what_is_left(
    history: list[tuple[str, int]], cap: int
) -> None:
    kept = Map(cap)
    live: Counter[str] = Counter()
    for key, change in history:
        change = max(change, -live[key])
        if change:
            live[key] += change
            kept.change(key, change)
        live = +live
        assert sorted(kept.leaves) == leaves(live, cap)
        assert {k: n for counts in kept.leaves.values() for k, n in counts.items()} == live


@given(st.lists(st.tuples(SHORT, st.integers(-3, 5)), max_size=30), CAPS, st.data())
def test_changes_may_be_folded_together_later(
    history: list[tuple[str, int]], cap: int, data: st.DataObject
) -> None:
    kept = Map(cap)
    touched: set[str] = set()
    live: Counter[str] = Counter()
    for key, change in history:
        change = max(change, -live[key])
        live[key] += change
        leaf = find(internal(kept.leaves), key)
        counts = kept.leaves.setdefault(leaf, {})
        counts[key] = live[key]
        if not live[key]:
            del counts[key]
        touched.add(leaf)
        if data.draw(st.booleans()):
            kept.fold(sorted(touched))
            touched = set()
    kept.fold(sorted(touched))
    assert sorted(kept.leaves) == leaves(+live, cap)


@given(COUNTS, st.lists(SHORT, max_size=6), CAPS)
def test_regions_never_overlap_and_cover_what_was_touched(
    counts: dict[str, int], keys: list[str], cap: int
) -> None:
    found = leaves(counts, cap)
    live = {leaf: {k: n for k, n in counts.items() if k.startswith(leaf)} for leaf in found}
    touched = [find(internal(found), key) for key in keys]
    nodes = regions(live, touched, cap)
    assert not [(a, b) for a in nodes for b in nodes if a != b and b.startswith(a)]
    assert all(any(leaf.startswith(node) for node in nodes) for leaf in touched)


def test_a_lone_subject_climbs_back_up() -> None:
    kept = Map(4)
    alone, other = "01100000", "01110000"
    kept.change(alone, 9)
    assert list(kept.leaves) == [""]
    kept.change(other, 1)
    assert sorted(kept.leaves) == ["0110", "0111"]
    kept.change(other, -1)
    assert list(kept.leaves) == [""]


def test_keys_are_keyed_and_spread() -> None:
    names = [f"subject {i}" for i in range(4_000)]
    keys = [shard_key(SALT, name) for name in names]
    assert set(map(len, keys)) == {KEY_BITS}
    assert len(set(keys)) == len(names)
    assert keys[0] == shard_key(SALT, names[0]) != shard_key(b"other", names[0])
    ones = np.array([[bit == "1" for bit in key] for key in keys]).mean(axis=0)
    assert np.abs(ones - 0.5).max() < 0.04
    for hostile in ("", "\0", "é", "e\u0301", "x" * 10_000):
        assert len(shard_key(SALT, hostile)) == KEY_BITS


def test_leaves_are_bounded_at_scale() -> None:
    rng = np.random.default_rng(0)
    counts = {
        shard_key(SALT, f"s{i}"): int(n) for i, n in enumerate(rng.zipf(1.8, 5_000) % 300 + 1)
    }
    cap = 500
    found = leaves(counts, cap)
    sizes = [sum(n for key, n in counts.items() if key.startswith(leaf)) for leaf in found]
    assert max(sizes) <= cap
    assert sum(sizes) == sum(counts.values())
    assert len(found) < 4 * sum(sizes) / cap
