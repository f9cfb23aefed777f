"""The ridge head: what it learns from a user is undone bit for bit, in any order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.exact import quantise
from forgetnet.experts.expert import State, View, make_view
from forgetnet.heads import RidgeHead
from forgetnet.heads.tangents import LIMIT
from tests.heads.kinship import WIDTH, Words, head

LABELS = ["animal", "plant", "tool"]
RIDGE = RidgeHead(head(), dict(zip(LABELS, Words().encode(LABELS), strict=True)), prior=2.0)


def records(places: list[int]) -> View:
    """Return some of an endless list of records; each is a function of its number."""
    vectors, labels = [], []
    for place in places:
        rng = np.random.default_rng(place)
        row = rng.normal(size=WIDTH)
        vectors.append(row / np.linalg.norm(row))
        labels.append(LABELS[place % 3])
    codes = quantise(np.array(vectors).reshape(len(places), WIDTH))
    return make_view([f"r{place}" for place in places], codes, labels, ["0" * 64] * len(places))


def learnt(places: list[int]) -> State:
    return RIDGE.absorb(RIDGE.empty(), records(places))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(0, 200), unique=True, max_size=25),
    st.lists(st.integers(201, 400), unique=True, max_size=15),
    st.randoms(use_true_random=False),
)
def test_whatever_was_learnt_and_forgotten_the_bits_are_the_twins(kept, gone, random) -> None:
    steps = [(1, place) for place in kept + gone]
    random.shuffle(steps)
    for place in gone:  # each is forgotten at some time after it was learnt
        earliest = steps.index((1, place)) + 1
        steps.insert(random.randint(earliest, len(steps)), (-1, place))
    state = RIDGE.empty()
    for sign, place in steps:
        change = RIDGE.absorb if sign > 0 else RIDGE.expel
        state = change(state, records([place]))
    twin = learnt(sorted(kept))
    assert state.to_bytes() == twin.to_bytes()
    ours, theirs = RIDGE.prepare(state), RIDGE.prepare(twin)
    assert ours.weight.tobytes() == theirs.weight.tobytes()
    assert ours.bias.tobytes() == theirs.bias.tobytes()


def test_the_weights_are_those_of_the_formula() -> None:
    some = records(list(range(40)))
    vectors = np.concatenate([some.codes / 4096.0, np.ones((40, 1))], axis=1)
    aims = np.stack([RIDGE._aims[label] for label in some.labels])
    start = np.concatenate([head().map.weight.T, head().map.bias[None]]).astype(np.float64)
    system = vectors.T @ vectors + 2.0 * np.eye(WIDTH + 1)
    right = np.linalg.solve(system, vectors.T @ aims + 2.0 * start)
    found = RIDGE.prepare(learnt(list(range(40))))
    assert found.weight == pytest.approx(right[:-1].T, abs=1e-5)
    assert found.bias == pytest.approx(right[-1], abs=1e-5)


def test_an_aim_is_pulled_to_where_the_public_head_puts_the_name() -> None:
    for label in LABELS:
        aim = RIDGE._aims[label]
        radius = np.linalg.norm(aim)
        pulled = aim * (LIMIT * np.tanh(radius / LIMIT) / radius)
        assert pulled == pytest.approx(head().tangents(RIDGE.targets[label])[0], abs=1e-5)


def test_records_come_to_lie_nearer_to_their_labels() -> None:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, WIDTH))
    rows = centres[np.arange(150) % 3] + 0.3 * rng.normal(size=(150, WIDTH))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    labels = [LABELS[i % 3] for i in range(150)]
    ids = [f"r{i}" for i in range(150)]
    some = make_view(ids, quantise(rows), labels, ["0" * 64] * 150)
    found = RIDGE.prepare(RIDGE.absorb(RIDGE.empty(), some))

    def right(tangents: np.ndarray) -> float:
        aims = np.stack([head().tangents(RIDGE.targets[label])[0] for label in LABELS])
        away = np.linalg.norm(tangents[:, None] - aims[None], axis=2)
        return float((away.argmin(axis=1) == np.arange(150) % 3).mean())

    assert right(head().tangents(rows)) < 0.9
    assert right(found.tangents(rows)) > 0.95


def test_without_records_it_is_the_public_head() -> None:
    assert RIDGE.prepare(RIDGE.empty()) is head().map
    state = RIDGE.expel(learnt([1, 2, 3]), records([1, 2, 3]))
    assert state.to_bytes() == RIDGE.empty().to_bytes()
    assert RIDGE.influence is Influence.ADDITIVE


def test_what_was_never_learnt_cannot_be_forgotten() -> None:
    with pytest.raises(InvalidRecord, match="can't have been absorbed"):
        RIDGE.expel(learnt([1, 2]), records([3]))


def test_what_it_cannot_learn_from_is_refused() -> None:
    some = records([1, 2, 4])
    other = View(some.ids, some.codes, ("rock", *some.labels[1:]), some.keys, some.hashes)
    with pytest.raises(InvalidRecord, match="1 labels have no target"):
        RIDGE.absorb(RIDGE.empty(), other)
    narrow = View(some.ids, some.codes[:, :5], some.labels, some.keys, some.hashes)
    with pytest.raises(InvalidRecord, match=f"takes vectors of {WIDTH} numbers"):
        RIDGE.absorb(RIDGE.empty(), narrow)
    for prior in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(InvalidRecord, match="prior="):
            RidgeHead(head(), RIDGE.targets, prior)
    with pytest.raises(InvalidRecord, match="at least one"):
        RidgeHead(head(), {})
    for public, targets, prior, says in (
        (3, RIDGE.targets, 1.0, "public= is a PublicHead"),
        (head(), 3, 1.0, "targets= is a Mapping"),
        (head(), {"a": "x"}, 1.0, "a vector for each label"),
        (head(), {"a": [1.0], "b": [[1.0]]}, 1.0, "a vector for each label"),
        (head(), {3: [1.0]}, 1.0, "must be a string, not int"),
        (head(), RIDGE.targets, "x", "prior= must be a finite number"),
    ):
        with pytest.raises(InvalidRecord, match=says):
            RidgeHead(public, targets, prior)
    with pytest.raises(InvalidRecord, match="takes vectors"):
        RidgeHead(head(), {"a": np.ones(3) / np.sqrt(3.0)})
    broken = learnt([1, 2, 3, 4])
    broken.tensors["gram"][:] = -(2**40)
    with pytest.raises(StoreCorrupt, match="no sums of squares"):
        RIDGE.prepare(broken)
