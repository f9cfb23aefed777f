"""Whatever a taxonomy is made of or asked, it works or says in ForgetNet's own words why not."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from forgetnet import InvalidRecord
from forgetnet.taxonomy import Concept, Taxonomy
from tests.test_given import ODD, works_or_refuses

TREE = Taxonomy.of(["a/b", "c"])
CALLS: dict[str, Callable[[Any], object]] = {
    "of": lambda odd: Taxonomy.of(odd).digest(),
    "of glosses": lambda odd: Taxonomy.of(["a"], odd).digest(),
    "of a gloss": lambda odd: Taxonomy.of(["a"], {"a": odd}).digest(),
    "edges": lambda odd: Taxonomy.edges(odd).digest(),
    "edges pair": lambda odd: Taxonomy.edges([odd]).digest(),
    "edges parent": lambda odd: Taxonomy.edges([(odd, "a")]).digest(),
    "edges child": lambda odd: Taxonomy.edges([("", odd)]).digest(),
    "edges glosses": lambda odd: Taxonomy.edges([("", "a")], odd).digest(),
    "concept": lambda odd: Taxonomy((Concept(odd),)).digest(),
    "gloss": lambda odd: Taxonomy((Concept("a", (), odd),)).digest(),
    "load": Taxonomy.load,
    "wordnet": Taxonomy.wordnet,
    "add": lambda odd: TREE.add(odd).taxonomy.digest(),
    "add under": lambda odd: TREE.add("x", odd).taxonomy.digest(),
    "add gloss": lambda odd: TREE.add("x", gloss=odd).taxonomy.digest(),
    "rename": lambda odd: TREE.rename(odd, "x"),
    "rename to": lambda odd: TREE.rename("a", odd),
    "move": lambda odd: TREE.move(odd, "c"),
    "move under": lambda odd: TREE.move("a/b", odd),
    "move out of": lambda odd: TREE.move("a/b", "c", out_of=odd),
    "merge": lambda odd: TREE.merge(odd, "c"),
    "merge into": lambda odd: TREE.merge("c", odd),
    "fold": TREE.fold,
    "under": TREE.under,
    "closure": TREE.closure,
    "paths": TREE.paths,
    "places": TREE.places,
    "in": lambda odd: odd in TREE,
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_odd_value_works_or_is_refused_in_our_own_words(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    before = TREE.digest()
    for odd in ODD.values():
        works_or_refuses(lambda odd=odd: call(odd))
    assert TREE.digest() == before


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Taxonomy.of([3]), "paths= holds something that must be a string, not int"),
        (lambda: Taxonomy.of(["a"], ["b"]), "glosses= must map names to sentences, not list"),
        (lambda: Taxonomy.of(["a"], {"a": 3}), "a gloss must be a string, not int"),
        (lambda: TREE.add("x", gloss="\ud800"), "gloss holds half of a surrogate pair"),
        (lambda: TREE.add("x" * 65_537), "has 65537 characters, and at most 65536 are kept"),
        (lambda: Taxonomy.edges(["ab"]), "must be .parent, child. pairs of names"),
        (lambda: Taxonomy.edges([("a", "b", "c")]), "must be .parent, child. pairs of names"),
        (lambda: Taxonomy((Concept("a", (5,)),)), "lies under number 5, and there are 1"),
        (lambda: Taxonomy((Concept("a", (-1,)),)), "lies under number -1"),
        (lambda: TREE.places("salt"), "salt must be bytes, not str"),
    ],
)
def test_a_refusal_says_what_is_wrong(call, says):
    with pytest.raises(InvalidRecord, match=says):
        call()


def test_one_path_is_a_path_and_no_list_of_letters():
    assert Taxonomy.of("health/sport").topics() == ("health", "health/sport")
    assert Taxonomy.of({"a/b": 3, "c": 1}).topics() == TREE.topics()


def test_a_gloss_that_can_not_be_written_is_refused_where_it_is_read(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps([{"name": "a", "gloss": "\ud800"}]))
    with pytest.raises(InvalidRecord, match="a: a concept's gloss holds half"):
        Taxonomy.load(tmp_path / "x.json")


@pytest.mark.parametrize(
    "edges",
    [
        [(a, b) for a in "abc" for b in "abc"],
        [(f"n{i}", f"n{(i + j) % 7}") for i in range(7) for j in (1, 2, 4)],
    ],
    ids=["of three", "without two that lie above each other"],
)
def test_a_cycle_in_a_closure_is_refused_although_its_edges_explain_each_other(tmp_path, edges):
    """Each would be left out for the sake of the others, and the cycle with them."""
    (tmp_path / "x.tsv").write_text("\n".join(f"{child}\t{above}" for child, above in edges))
    with pytest.raises(InvalidRecord, match="lie under themselves"):
        Taxonomy.wordnet(tmp_path / "x.tsv")


def test_one_long_name_with_much_below_it_is_refused_before_memory_is_full(tmp_path):
    """A file of 200 KB would be 600 MB of paths."""
    top, below = "a" * 60_000, [f"n{i}" for i in range(10_000)]
    wide = Taxonomy.edges((top, name) for name in below)
    with pytest.raises(InvalidRecord, match="characters are written out"):
        wide.topics()
    (tmp_path / "x.json").write_text(json.dumps({top: below}))
    with pytest.raises(InvalidRecord, match="268435456 characters in all; shorten"):
        Taxonomy.load(tmp_path / "x.json")
    assert len(Taxonomy.edges((top, name) for name in below[:1_000]).topics()) == 1_001
