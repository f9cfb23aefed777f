"""A taxonomy is its paths: closures, changes and places agree with plain path prefixes."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet import InvalidRecord
from forgetnet.geometry import codes
from forgetnet.taxonomy import Change, Concept, Taxonomy, above, renamed

SALT = bytes(range(32))
NAMES = st.sampled_from(["a", "b", "c", "Ü", "x y", "0", "a" * 40])
PATHS = st.lists(NAMES, min_size=1, max_size=4).map("/".join)
TREES = st.sets(PATHS, min_size=1, max_size=12)


def closed(paths: set[str]) -> set[str]:
    return {head for path in paths for head in (path, *above(path))}


def is_under(path: str, head: str) -> bool:
    return f"{path}/".startswith(f"{head}/")


def graph(seed: int, n: int = 12) -> Taxonomy:
    """Draw a graph in which a concept may have several parents; names are distinct."""
    chance = random.Random(seed)
    pairs = [
        (f"n{p}" if p >= 0 else "", f"n{i}")
        for i in range(n)
        for p in chance.sample(range(-1, i), min(i + 1, chance.choice([1, 1, 2])))
    ]
    chance.shuffle(pairs)
    return Taxonomy.edges(pairs)


@given(TREES)
def test_a_tree_of_paths_has_these_paths_and_those_above_them(paths):
    tree = Taxonomy.of(paths)
    assert set(tree.topics()) == closed(paths) and len(tree) == len(tree.topics())
    for path in tree.topics():
        assert tree.paths(path) == (path,)
        assert set(tree.closure(path)) == {path, *above(path)}
        assert set(tree.under(path)) == {p for p in tree.topics() if is_under(p, path)}
    again = Taxonomy.of(sorted(paths, reverse=True))
    assert (again.digest(), again.topics()) == (tree.digest(), tree.topics())


@given(st.integers(0, 2**32 - 1))
def test_in_a_graph_every_way_from_the_top_is_a_path_and_closures_turn_round(seed):
    told = graph(seed)
    for i, concept in enumerate(told.concepts):
        paths = told.paths(concept.key)
        ways = sum(len(told.paths(told.concepts[p].key)) for p in concept.parents) or 1
        assert len(paths) == ways and all(told.find(path) == i for path in paths)
        for other in told.concepts:
            inside = set(told.paths(other.key)) & set(told.under(concept.key))
            assert bool(inside) == (paths[0] in told.closure(other.key))
    shuffled = list(range(len(told)))
    random.Random(seed).shuffle(shuffled)
    number = {old: new for new, old in enumerate(shuffled)}
    turned = Taxonomy(
        tuple(
            told.concepts[i]._replace(
                parents=tuple(number[p] for p in reversed(told.concepts[i].parents))
            )
            for i in shuffled
        )
    )
    assert turned.digest() == told.digest() and turned.topics() == told.topics()


def change_of(tree: Taxonomy, data: st.DataObject) -> tuple[Change | None, bool]:
    """Draw a change of a tree, and tell whether it must be refused."""
    topics = tree.topics()
    concept, other = data.draw(st.sampled_from(topics)), data.draw(st.sampled_from(topics))
    head, name = concept.rpartition("/")[0], data.draw(NAMES)
    kind = data.draw(st.sampled_from(["rename", "move", "top", "merge", "add"]))
    calls = {
        "rename": lambda: tree.rename(concept, name),
        "move": lambda: tree.move(concept, other),
        "top": lambda: tree.move(concept, None),
        "merge": lambda: tree.merge(concept, other),
        "add": lambda: tree.add(name, concept),
    }
    here = concept.rpartition("/")[2]
    lands = {
        "rename": f"{head}/{name}".lstrip("/"), "move": f"{other}/{here}", "top": here,
        "add": f"{concept}/{name}",
    }  # fmt: skip
    refused = kind in {"move", "merge"} and is_under(other, concept)
    if kind != "merge":
        refused |= lands[kind] in topics and (kind == "add" or lands[kind] != concept)
    try:
        return calls[kind](), refused
    except InvalidRecord:
        return None, refused


@given(TREES, st.data())
def test_a_changed_tree_is_the_one_that_was_written_so_from_the_start(paths, data):
    tree = Taxonomy.of(paths)
    change, refused = change_of(tree, data)
    assert refused == (change is None)
    if change is None:
        return
    wanted = {change.moved.get(path, path) for path in tree.topics()}
    if len(change.taxonomy) > len(tree):  # one was added
        wanted |= set(change.taxonomy.topics())
    assert change.taxonomy.digest() == Taxonomy.of(wanted).digest()
    assert all(renamed(path, change.moved) == new for path, new in change.moved.items())
    assert all(old != new for old, new in change.moved.items())
    assert tree.digest() == Taxonomy.of(paths).digest()  # the old one is as it was


def test_merging_joins_what_would_lie_side_by_side_and_what_else_it_lay_under():
    change = Taxonomy.of(["a/x/1/p", "a/x/2", "b/x/1/q", "b/y"]).merge("a", "b")
    assert change.taxonomy.topics() == (
        "b", "b/x", "b/x/1", "b/x/1/p", "b/x/1/q", "b/x/2", "b/y",
    )  # fmt: skip
    names = [("a", ()), ("b", ()), ("w", ()), ("x", (0, 2)), ("x", (1,)), ("z", (3,))]
    told = Taxonomy(tuple(Concept(name, parents) for name, parents in names))
    change = told.merge("a", "b")
    assert change.taxonomy.topics() == ("b", "b/x", "b/x/z", "w", "w/x", "w/x/z")
    assert change.moved == {"a": "b", "a/x": "b/x", "a/x/z": "b/x/z"}


@settings(max_examples=200)
@given(st.integers(0, 2**32 - 1), st.data())
def test_after_a_change_of_a_graph_every_old_path_leads_where_it_says(seed, data):
    told = graph(seed)
    keys = sorted(concept.key for concept in told.concepts)
    one, other = data.draw(st.sampled_from(keys)), data.draw(st.sampled_from(keys))
    kind = data.draw(st.sampled_from(["rename", "move", "leave", "merge"]))
    try:
        if kind == "rename":
            change = told.rename(one, "new")
        elif kind == "move":
            change = told.move(one, other)
        elif kind == "leave":
            parents = told.concepts[told.find(one)].parents
            out_of = None if not parents else told.concepts[parents[-1]].key
            change = told.move(one, other, out_of=out_of)
        else:
            change = told.merge(one, other)
    except InvalidRecord:
        return
    new = change.taxonomy
    for concept in told.concepts:
        for path in told.paths(concept.key):
            there = new.concepts[new.find(change.moved.get(path, path))]
            if kind == "merge" and concept.key == one:
                assert there.key == other
            elif kind == "rename" and concept.key == one:
                assert there.name == there.key == "new"
            else:
                assert there.key == concept.key
    assert len(new) == len(told) - (kind == "merge")


@given(st.integers(0, 2**32 - 1), st.integers(2, 4))
def test_a_folded_taxonomy_keeps_every_concept_and_has_no_more_levels(seed, levels):
    told = graph(seed)
    change = told.fold(levels)
    assert change.taxonomy.depth <= levels and len(change.taxonomy) == len(told)
    for concept in told.concepts:
        for path in told.paths(concept.key):
            new = change.taxonomy
            assert new.concepts[new.find(change.moved.get(path, path))].key == concept.key
    if told.depth <= levels:
        assert change.taxonomy.digest() == told.digest() and not change.moved


def test_folding_tells_names_apart_that_would_lie_side_by_side():
    change = Taxonomy.of(["a/b/x", "a/c/x", "a/d"]).fold(2)
    assert change.taxonomy.topics() == ("a", "a/b", "a/c", "a/d", "a/x", "a/x (2)")
    assert change.moved == {"a/b/x": "a/x", "a/c/x": "a/x (2)"}


@settings(max_examples=50)
@given(TREES, TREES)
def test_places_are_those_of_the_paths_whatever_else_is_there(paths, others):
    topics, places = Taxonomy.of(paths).places(SALT)
    for topic, row in zip(topics, places, strict=True):
        assert row.tobytes() == codes.place(tuple(topic.split("/")), SALT).tobytes()
    told, more = Taxonomy.of(paths | others).places(SALT)
    found = dict(zip(told, more, strict=True))
    assert all(found[t].tobytes() == row.tobytes() for t, row in zip(topics, places, strict=True))


def test_a_concept_with_two_parents_has_two_places():
    told = Taxonomy.edges([("food", "peanut"), ("allergens", "peanut"), ("peanut", "butter")])
    assert told.paths("butter") == ("allergens/peanut/butter", "food/peanut/butter")
    topics, places = told.places(SALT)
    rows = [places[topics.index(path)].tobytes() for path in told.paths("peanut")]
    assert len(set(rows)) == 2
    assert told.closure("food/peanut") == (
        "allergens", "allergens/peanut", "food", "food/peanut",
    )  # fmt: skip
    assert told.under("food") == ("food", "food/peanut", "food/peanut/butter")


@pytest.mark.parametrize(
    "paths",
    [
        [f"top/{i}" for i in range(20_000)],
        [f"{i % 2}/{i % 3}/{i % 5}/{i % 7}/{i % 11}/{i}" for i in range(2_000)],
    ],
    ids=["wide", "deep"],
)
def test_wide_and_deep_trees_stay_exact(paths):
    topics, places = Taxonomy.of(paths).places(SALT)
    chance = random.Random(3)
    for head in [*chance.sample(topics, 20), topics[0]]:
        inside = codes.subtree_mask(places, tuple(head.split("/")), SALT)
        path = np.array([is_under(topic, head) for topic in topics])
        missed, strangers = path & ~inside, np.flatnonzero(inside & ~path)
        assert not missed.any()
        assert len(strangers) <= 1  # by chance, about one in 1e8 pairs
        intact = codes.intact_mask(
            places[strangers], [tuple(topics[i].split("/")) for i in strangers], SALT
        )
        assert intact.all()


@pytest.mark.parametrize("n", [50_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_long_chain_overflows_no_stack_and_is_refused_where_levels_can_not_be_told_apart(n):
    edges = [(str(i), str(i + 1)) for i in range(n - 1)]
    chain = Taxonomy.edges(edges)
    assert chain.depth == len(chain) == n
    assert chain.digest() == Taxonomy.edges(edges[::-1]).digest()
    with pytest.raises(InvalidRecord, match=f"places tell 6 apart: {n - 6} of .* fold"):
        chain.places(SALT)
    with pytest.raises(InvalidRecord, match="at most 64 levels"):
        chain.paths("7")
    with pytest.raises(InvalidRecord, match=r"0 > 1 > 2 > 3 > 4 > \.\.\. > .* > 0"):
        Taxonomy.edges([*edges, (str(n - 1), "0")])


def test_names_of_ten_thousand_characters_are_names():
    long = "ä" * 10_000
    tree = Taxonomy.of([f"a/{long}", f"a/{long}b"])
    change = tree.rename(f"a/{long}", "short")
    assert change.moved == {f"a/{long}": "a/short"}
    assert len(tree.places(SALT)[1]) == 3


def test_two_tops_are_two_topics():
    assert Taxonomy.edges([("a", "b"), ("c", "d")]).topics() == ("a", "a/b", "c", "c/d")
    assert Taxonomy.edges([("", "a"), ("a", "b"), ("a", "b")]).topics() == ("a", "a/b")


TREE = Taxonomy.of(["a/b", "a/c", "d/b/x"])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Taxonomy.edges([("a", "b"), ("b", "c"), ("c", "a")]), "a > b > c > a|b > c > a"),
        (lambda: Taxonomy.edges([("a", "a")]), "under themselves: a > a"),
        (lambda: Taxonomy.edges([("a", "")]), "name is empty"),
        (lambda: Taxonomy.edges([("a", "b/c")]), "slash in its name"),
        (lambda: Taxonomy.edges([("a", 3)]), "must be a string, not int"),
        (lambda: Taxonomy.edges([("a", "x\ud800")]), "half of a surrogate pair"),
        (lambda: Taxonomy.of(["a//b"]), "name is empty"),
        (lambda: Taxonomy.of(["/".join("a" * 100)]), "at most 64 are read"),
        (lambda: Taxonomy((Concept("a"), Concept("a"))), "side by side"),
        (lambda: Taxonomy((Concept("a", (), "", "k"), Concept("b", (), "", "k"))), "same key"),
        (lambda: TREE.find("nowhere"), "no concept is called 'nowhere'"),
        (lambda: TREE.find(7), "must be a string, not int"),
        (lambda: TREE.add("b", "a"), "side by side"),
        (lambda: TREE.add("x/y"), "slash"),
        (lambda: TREE.rename("a/b", "c"), "side by side"),
        (lambda: TREE.rename("a/b", ""), "empty"),
        (lambda: TREE.move("a/b", "d"), "side by side"),
        (lambda: TREE.move("d", "d/b"), "under itself"),
        (lambda: TREE.move("d", "d"), "under itself"),
        (lambda: TREE.move("a/b", "d", out_of="d"), "isn't right above"),
        (lambda: TREE.merge("d", "d/b"), "merge the other way round"),
        (lambda: TREE.merge("a", "a"), "itself"),
        (lambda: TREE.fold(1), "at least 2 levels"),
        (lambda: TREE.fold("6"), "levels must be a whole number"),
        (lambda: TREE.places(b"short"), "at least 16 bytes"),
    ],
)
def test_what_is_no_taxonomy_is_refused_in_our_own_words(call, says):
    with pytest.raises(InvalidRecord, match=says):
        call()
    assert TREE.topics() == ("a", "a/b", "a/c", "d", "d/b", "d/b/x")
