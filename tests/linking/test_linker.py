"""What is linked: exact scores, votes that are closed upward, and nothing that company changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet import InvalidRecord
from forgetnet.linking import Exemplars, Linker, cosines_of, nearest
from forgetnet.linking.nearest import whole
from tests.test_given import ODD, works_or_refuses

TOPICS = ["health", "health/allergies", "health/allergies/nuts", "work", "work/acme", "travel"]
METHODS = ["knn", "centroid"]


def units(rng: np.random.Generator, n: int, d: int = 12, pool: int = 0) -> np.ndarray:
    """Draw n unit vectors; from a pool of a few, so that many are equal."""
    drawn = rng.normal(size=(pool or n, d))
    rows = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return rows[rng.integers(0, pool, n)] if pool else rows


def world(seed: int, n: int = 40, m: int = 15, pool: int = 0) -> tuple[Any, ...]:
    rng = np.random.default_rng(seed)
    names = [f"e{i}" for i in rng.permutation(m)]
    topics = [TOPICS[i] for i in rng.integers(0, len(TOPICS), m)]
    ids = [f"r{i}" for i in rng.permutation(n)]
    return ids, units(rng, n, pool=pool), names, units(rng, m, pool=pool), topics


@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.sampled_from([0, 3]))
def test_the_nearest_are_those_of_whole_numbers_and_equals_go_by_position(seed, k, pool):
    _, rows, _, exemplars, _ = world(seed, pool=pool)
    codes = whole(exemplars)
    slots, scores = nearest(rows, codes, k)
    true = whole(rows).astype(np.int64) @ codes.astype(np.int64).T
    order = np.argsort(-true, axis=1, kind="stable")[:, :k]
    assert (slots == order).all()
    assert (scores == np.take_along_axis(true, order, axis=1)).all()
    assert np.abs(cosines_of(true) - rows.astype(float) @ exemplars.T.astype(float)).max() < 4e-3


@pytest.mark.parametrize("d", [2, 384, 1536])
def test_a_score_has_the_same_bits_in_any_company_and_any_order_of_summation(d):
    rng = np.random.default_rng(d)
    rows, exemplars = units(rng, 700, d), units(rng, 300, d)
    exemplars[:150] = rows[:150]  # products close to 1 are the largest sums
    slots, scores = nearest(rows, whole(exemplars), 4)
    turn = rng.permutation(d)
    assert (nearest(rows[:, turn], whole(exemplars[:, turn]), 4)[1] == scores).all()
    for i in (0, 149, 699):
        alone = nearest(rows[i : i + 1], whole(exemplars), 4)
        assert (alone[0] == slots[i]).all() and (alone[1] == scores[i]).all()
    true = whole(rows).astype(np.int64) @ whole(exemplars).astype(np.int64).T
    assert (np.take_along_axis(true, slots, axis=1) == scores).all()


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.sampled_from([0, 4]))
def test_links_depend_on_the_sets_alone_and_not_on_who_stands_beside_or_in_what_order(
    seed, method, pool
):
    ids, rows, names, vectors, topics = world(seed, pool=pool)
    linker = Linker(method=method)
    links = linker.link(ids, rows, Exemplars.of(names, vectors, topics))
    rng = np.random.default_rng(seed)
    a, b = rng.permutation(len(ids)), rng.permutation(len(names))
    known = Exemplars.of([names[i] for i in b], vectors[b], [topics[i] for i in b])
    again = linker.link([ids[i] for i in a], rows[a], known)
    assert again.digest() == links.digest()
    some = linker.link(ids[:7], rows[:7], known)
    assert all(some.of(i) == links.of(i) for i in ids[:7])


@given(st.integers(0, 2**32 - 1), st.sampled_from(METHODS), st.integers(1, 9))
def test_links_are_closed_upward_and_one_path_from_the_top_that_grows_less_sure(seed, method, k):
    ids, rows, names, vectors, topics = world(seed)
    links = Linker(k, method=method).link(ids, rows, Exemplars.of(names, vectors, topics))
    for i in ids:
        told = {link.topic: link.margin for link in links.of(i)}
        for topic, margin in told.items():
            assert 0.0 < margin <= 1.0
            above = topic.rpartition("/")[0]
            assert not above or told[above] >= margin
        assert sorted(told, key=len) == sorted(told)  # each is a prefix of the next
        assert len({topic.count("/") for topic in told}) == len(told)


def test_votes_are_counted_by_the_square_of_the_lead_over_the_next_nearest():
    known = Exemplars.of(
        ["a", "b", "c", "d"],
        np.array([[1, 0, 0], [0.8, 0.6, 0], [0.7, 0.714142842, 0], [0, 0, 1]], np.float32),
        ["health/nuts", "health/sport", "work", "travel"],
    )
    links = Linker(3).link(["r"], np.array([[1, 0, 0]], np.float32), known)
    lead = np.array([2048, round(0.8 * 2048), round(0.7 * 2048)]) * 2048.0
    votes = lead**2
    health, nuts = votes[:2].sum(), votes[0]
    against = votes.sum() - health, votes.sum() - nuts
    wanted = [(health - against[0]) / votes.sum(), (nuts - against[1]) / votes.sum()]
    assert [link.topic for link in links] == ["health"]  # nuts has less than half
    assert [link.margin for link in links] == wanted[:1] and wanted[1] < 0.0
    assert not len(Linker(3, min_margin=wanted[0]).link(["r"], np.eye(3)[:1], known))
    assert links.linked == ("r",) and len(links.under("health")) == 1
    assert not len(links.under("work")) and links.of("nobody") == ()


def test_those_that_are_all_equally_near_have_one_vote_each():
    same = np.tile(np.array([[0.6, 0.8]], np.float32), (6, 1))
    known = Exemplars.of(list("abcdef"), same, ["x", "x", "x", "y", "y", "x"])
    (link,) = Linker(5).link(["r"], same[:1], known)
    assert (link.topic, link.margin) == ("x", 0.2)  # a to e vote, and 3 of 5 for x


@given(st.integers(0, 2**32 - 1))
def test_what_is_taken_out_of_the_sums_leaves_the_centroids_of_the_twin(seed):
    _, _, names, vectors, topics = world(seed)
    known = Exemplars.of(names, vectors, topics)
    gone = set(names[::2])
    left = [i for i, name in enumerate(names) if name not in gone]
    twin = Exemplars.of([names[i] for i in left], vectors[left], [topics[i] for i in left])
    told, sums = known.sums()
    at = {topic: i for i, topic in enumerate(told)}
    for i, name in enumerate(names):
        if name in gone:
            sums[at[topics[i]]] -= whole(vectors[i : i + 1])[0].astype(np.int64)
    kept = [at[topic] for topic in twin.sums()[0]]
    assert (sums[kept] == twin.sums()[1]).all()
    assert not sums[[i for i in range(len(told)) if i not in kept]].any()


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6))
def test_margins_rank_every_record_by_what_is_inside_and_outside_of_a_topic(seed, k):
    _, rows, names, vectors, topics = world(seed)
    known = Exemplars.of(names, vectors, topics)
    topic = topics[0].partition("/")[0]
    if all(each.startswith(topic) for each in topics):
        return
    found = Linker(k).margins(rows, known, topic)
    scores = whole(rows).astype(np.int64) @ known.codes.astype(np.int64).T
    inside = np.array([f"{each}/".startswith(f"{topic}/") for each in known.topics])
    for i in range(len(rows)):
        best = [np.sort(scores[i, mask])[::-1][:k].mean() for mask in (inside, ~inside)]
        assert found[i] == pytest.approx((best[0] - best[1]) * 2.0**-22, abs=1e-12)
    assert (Linker(k).margins(rows[5:6], known, topic) == found[5:6]).all()


KNOWN = Exemplars.of(["a", "b"], np.eye(2, dtype=np.float32), ["x", "y/z"])


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Linker(0), "k must be at least 1"),
        (lambda: Linker(65), "k must be at most 64"),
        (lambda: Linker(min_margin=1.0), "below 1"),
        (lambda: Linker(min_margin=float("nan")), "finite number"),
        (lambda: Linker(method="magic"), "'knn' or 'centroid'"),
        (lambda: Exemplars.of(["a", "a"], np.eye(2), ["x", "y"]), "comes twice"),
        (lambda: Exemplars.of(["a"], np.eye(2), ["x", "y"]), "give one of each"),
        (lambda: Exemplars.of(["a"], np.zeros((1, 2)), ["x"]), "length 1"),
        (lambda: Exemplars.of(["a"], np.full((1, 2), np.nan), ["x"]), "length 1"),
        (lambda: Exemplars.of(["a"], np.eye(1), ["x//y"]), "empty name"),
        (lambda: Linker().link(["r"], np.eye(3, dtype=np.float32)[:1], KNOWN), "can't be linked"),
        (lambda: Linker().margins(np.eye(2, dtype=np.float32), KNOWN, "y/none"), "no exemplar"),
        (
            lambda: Linker().contrast(np.eye(2, dtype=np.float32), KNOWN.codes, KNOWN.codes[:0]),
            "of both kinds",
        ),
    ],
)
def test_what_can_not_be_linked_is_refused_in_our_own_words(call, says):
    with pytest.raises(InvalidRecord, match=says):
        call()


def test_a_single_topic_tells_nothing_apart_so_nothing_is_linked():
    known = Exemplars.of(["a", "b"], np.eye(2, dtype=np.float32), ["x", "x"])
    assert not len(Linker().link(["r"], np.eye(2, dtype=np.float32)[:1], known))
    assert not len(Linker().link([], np.zeros((0, 2), np.float32), KNOWN))


EYE = np.eye(4, dtype=np.float32)
TWO = Exemplars.of(["x", "y"], EYE[:2], ["a", "b"])
CALLS = {
    "names": lambda odd: Exemplars.of(odd, EYE[:1], ["a"]),
    "vectors": lambda odd: Exemplars.of(["x"], odd, ["a"]),
    "topics": lambda odd: Exemplars.of(["x"], EYE[:1], odd),
    "ids": lambda odd: list(Linker().link(odd, EYE, TWO)),
    "rows": lambda odd: list(Linker().link(["p"], odd, TWO)),
    "exemplars": lambda odd: list(Linker().link(["p"], EYE[:1], odd)),
    "margins": lambda odd: Linker().margins(odd, TWO, "a"),
    "margins exemplars": lambda odd: Linker().margins(EYE, odd, "a"),
    "margins topic": lambda odd: Linker().margins(EYE, TWO, odd),
    "links of": lambda odd: Linker().link(list("pqrs"), EYE, TWO).of(odd),
    "links under": lambda odd: Linker().link(list("pqrs"), EYE, TWO).under(odd),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_odd_value_works_or_is_refused_in_our_own_words(call):
    for odd in ODD.values():
        works_or_refuses(lambda odd=odd: call(odd))


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: Linker().link(["p"], EYE, TWO), "1 ids, 1 of them distinct, came with 4 vectors"),
        (lambda: Linker().link(["p"] * 4, EYE, TWO), "4 ids, 1 of them distinct, came with 4"),
        (lambda: Linker().link(list("pqrs"), EYE * 9, TWO), "doesn't have length 1"),
        (lambda: Linker().link(list("pqrs"), EYE * np.nan, TWO), "doesn't have length 1"),
        (lambda: Linker().margins(EYE * 3, TWO, "a"), "doesn't have length 1"),
        (lambda: Exemplars.of(["x"], ["q"], ["a"]), "is a row of numbers"),
        (lambda: Exemplars.of({"x"}, EYE[:1], ["a"]), "names= must be .* not set"),
        (lambda: nearest(EYE, whole(EYE), 5), "k must be at most 4"),
        (lambda: nearest(EYE, whole(EYE), 0), "k must be at least 1"),
    ],
)
def test_what_would_be_linked_wrongly_is_refused(call, says):
    """Longer vectors leave the whole numbers that float32 holds; the rest has no row of its own."""
    with pytest.raises(InvalidRecord, match=says):
        call()
