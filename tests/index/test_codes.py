"""Codes depend on their row alone, lists hold what was put there and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.index import codes
from forgetnet.index.codes import Codes, rotation, sign_codes, turned, whole
from forgetnet.store import Floats
from tests.contract.kit import unit

DIMS = st.sampled_from([1, 2, 7, 8, 33, 384])


def rows(n: int, dim: int, seed: int) -> Floats:
    """Draw unit vectors of which some are equal."""
    rng = np.random.default_rng(seed)
    return unit(rng.standard_normal((n, dim)))[rng.integers(n, size=n)]


@pytest.mark.parametrize("dim", [1, 8, 100, 384, 1024])
def test_the_way_to_a_code_is_exact_in_float32(dim: int) -> None:
    turn = rotation(dim).astype(np.float64)
    assert (turn == np.rint(turn)).all()
    # any partial sum of a product is at most the product of the lengths
    longest = np.linalg.norm(whole(np.array([unit(np.ones(dim))])).astype(np.float64)) * 1.002
    assert np.linalg.norm(turn, axis=1).max() * longest < 2**24
    square = turn[:dim] @ turn[:dim].T / 4000**2
    assert abs(square - np.eye(dim)).max() < 0.01


@settings(max_examples=60)
@given(dim=DIMS, seed=st.integers(0, 999))
def test_a_code_is_its_rows_own(dim: int, seed: int) -> None:
    content = rows(40, dim, seed)
    found = sign_codes(content)
    alone = [sign_codes(content[i : i + 1]) for i in range(len(content))]
    assert (found == np.concatenate(alone)).all()
    exact = whole(content).astype(np.int64) @ rotation(dim).astype(np.int64).T
    assert (np.unpackbits(found, axis=1, bitorder="little") == (exact > 0)).all()


STEPS = st.lists(
    st.tuples(st.booleans(), st.integers(0, 2), st.integers(0, 150)), min_size=1, max_size=12
)


@settings(max_examples=80)
@given(steps=STEPS, dim=DIMS, seed=st.integers(0, 99))
def test_lists_hold_what_was_put_there_and_nothing_else(steps: Any, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lists = Codes(dim, 3)
    model: list[dict[int, bytes]] = [{}, {}, {}]
    label = 0
    for is_add, number, n in steps:
        held = model[number]
        if is_add:
            fresh = rng.integers(0, 256, (n, lists.width), np.uint8)
            names = np.arange(label, label + n)
            assert lists.append(number, names, fresh) == len(held)
            held |= {int(i): code.tobytes() for i, code in zip(names, fresh, strict=True)}
            label += n
        else:
            spots = rng.permutation(lists.size(number))[:n]
            for name in lists.labels(number)[spots].tolist():
                del held[name]
            moved, where = lists.remove(number, spots)
            assert (lists.labels(number)[where] == moved).all()
        if n == 150:
            lists = lists.grown(3)
        for i, wanted in enumerate(model):
            check(lists, i, wanted)
    lists.wipe()
    assert [lists.size(i) for i in range(3)] == [0, 0, 0]


def check(lists: Codes, number: int, wanted: dict[int, bytes]) -> None:
    size = lists.size(number)
    held = lists.read(number, np.arange(size))
    labels = lists.labels(number).tolist()
    assert {i: code.tobytes() for i, code in zip(labels, held, strict=True)} == wanted
    assert len(labels) == size
    room = lists._blocks(number).shape[0] * 32
    assert not lists.read(number, np.arange(size, room)).any()


@settings(max_examples=60)
@given(
    dim=DIMS, n=st.integers(1, 300), want=st.integers(1, 120), hidden=st.integers(0, 60),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_the_best_depend_neither_on_where_they_lie_nor_on_what_is_left_out(
    dim: int, n: int, want: int, hidden: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    content = rows(n, dim, seed)
    found = sign_codes(content)
    query = turned(unit(rng.standard_normal(dim)))
    more = rows(hidden, dim, seed)  # some of them equal to others
    answers = []
    for out in (np.zeros(0, np.int64), np.arange(n, n + hidden)):
        lists = Codes(dim, 5)
        codes = np.concatenate([found, sign_codes(more)])[: n + len(out)]
        home = rng.integers(0, 5, len(codes))
        for i in rng.permutation(len(codes)).tolist():
            lists.append(int(home[i]), np.array([i]), codes[i : i + 1])
        answers.append(lists.best(query, np.arange(5), want, 1, out).tolist())
    assert sorted(answers[0]) == sorted(answers[1])
    assert len(set(answers[0])) == len(answers[0])
    # equal codes come together or not at all
    taken = {found[i].tobytes() for i in answers[0]}
    assert sorted(answers[0]) == [i for i in range(n) if found[i].tobytes() in taken]
    # none left out is better than one taken, but for how finely FAISS scores
    score = (np.unpackbits(found, axis=1, bitorder="little") * 2.0 - 1.0) @ query
    out = np.delete(score, answers[0])
    slack = np.abs(query).sum() * 2 / 255 + len(query) / 4
    assert not len(out) or not answers[0] or out.max() <= score[answers[0]].min() + slack


def test_a_list_that_grows_leaves_no_code_in_the_memory_that_it_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[Any] = []
    lists = Codes(384, 1)
    real = lists._lists.resize

    class Watched:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def resize(self, number: int, size: int) -> None:
            view = lists._blocks(number)
            start = int(inner.get_codes(number)) if view.size else 0
            before = view.copy()
            real(number, size)
            if start and lists.size(number) and int(inner.get_codes(number)) != start:
                left.append(before)

    inner = lists._lists
    monkeypatch.setattr(lists, "_lists", Watched())
    rng = np.random.default_rng(0)
    for step in range(60):
        fresh = rng.integers(1, 256, (37, lists.width), np.uint8)
        lists.append(0, np.arange(37 * step, 37 * step + 37), fresh)
    while lists.size(0):
        lists.remove(0, np.arange(min(37, lists.size(0))))
    assert len(left) > 8
    assert not any(view.any() for view in left)
    assert codes.GRID == 4000


@settings(max_examples=40)
@given(n=st.integers(1, 600), window=st.sampled_from([0.0, 0.1, 0.4, 2.0]), seed=st.integers(0, 99))
def test_a_window_takes_all_that_seem_as_near(n: int, window: float, seed: int) -> None:
    dim = 384
    content = rows(n, dim, seed)
    query = turned(unit(np.random.default_rng(seed).standard_normal(dim)))
    lists = Codes(dim, 1)
    found = sign_codes(content)
    lists.append(0, np.arange(n), found)
    taken = lists.within(query, 0, window)
    score = (np.unpackbits(found, axis=1, bitorder="little") * 2.0 - 1.0) @ query
    seems = score / (4000.0**2 * (2 * dim / np.pi) ** 0.5)
    out = np.delete(seems, taken)
    assert len(taken)
    assert seems[taken].min() >= seems.max() - window - 0.01
    assert not len(out) or out.max() <= seems.max() - window + 0.01
