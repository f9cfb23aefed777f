"""Whatever came and went, the index holds and answers what one built of the survivors would."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.index import FlatIndex, Index, contents, flat, pivots, tiers
from forgetnet.index.codes import sign_codes, whole
from forgetnet.index.tiers import Rung
from forgetnet.store import PLACE_DIM, Floats, Near
from tests.contract.kit import places, some_cone, unit


@pytest.fixture(autouse=True)
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let few rows do what takes many: need codes, lists and several blocks."""
    monkeypatch.setattr(contents, "_BLOCK", 64)
    monkeypatch.setattr(contents, "_READ", 24)
    monkeypatch.setattr(flat, "_SPARE", 2)
    monkeypatch.setattr(flat, "_FEW", 4)
    monkeypatch.setattr(flat, "_SPARSE", 4)
    monkeypatch.setattr(flat, "_CHUNK", 16)
    monkeypatch.setattr(tiers, "_FEWEST", 0)
    monkeypatch.setattr(pivots, "PIVOTS", 6)
    monkeypatch.setattr(pivots, "_CHUNK", 48)


def clusters(n: int, dim: int, seed: int) -> Floats:
    """Draw unit vectors in clusters, some of them equal, also to those of other draws."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((max(1, n // 9), dim))
    found = unit(centres[rng.integers(len(centres), size=n)] + 0.4 * rng.standard_normal((n, dim)))
    common = unit(np.random.default_rng(0).standard_normal((3, dim)))
    return np.where(rng.random((n, 1)) < 0.3, common[rng.integers(3, size=n)], found)


def made(dim: int, salt: bytes = b"salt") -> Index:
    return Index(dim, salt, scan=40, split=80)


class History:
    """An index, and what should be in it."""

    def __init__(self, dim: int) -> None:
        self.dim, self.index = dim, made(dim)
        self.live: dict[str, tuple[Floats, Floats]] = {}
        self.names = (f"{i:04}" for i in itertools.count())

    def add(self, n: int, seed: int) -> None:
        ids = list(itertools.islice(self.names, n))
        content, place = clusters(n, self.dim, seed), places(n, seed)
        self.index.add(ids, content, place)
        self.live |= {i: (content[j], place[j]) for j, i in enumerate(ids)}

    def remove(self, ids: list[str]) -> None:
        self.index.remove(ids)
        for i in ids:
            del self.live[i]

    def fresh(self, kind: Any = Index) -> Any:
        """Build an index of the survivors, in another order."""
        found = made(self.dim) if kind is Index else kind(self.dim)
        ids = sorted(self.live, reverse=True)
        if ids:
            found.add(ids, *(np.stack(m) for m in zip(*(self.live[i] for i in ids), strict=True)))
        return found


STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "some", "pivots", "most"]), st.integers(1, 70)),
    min_size=1,
    max_size=7,
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, dim=st.sampled_from([8, 33]), seed=st.integers(0, 99))
def test_any_history_ends_as_a_fresh_index(steps: Any, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    history = History(dim)
    for number, (verb, n) in enumerate(steps):
        coded = history.index._coded
        if verb == "add":
            history.add(n, seed + number)
        elif verb == "pivots":
            history.remove([] if coded is None else coded._names[: n // 8])
        else:
            live = rng.permutation(sorted(history.live)).tolist()
            history.remove(live[: n if verb == "some" else len(live) * n // 80])
        if (seed + number) % 2:  # otherwise rows wait, also for a removal
            check_is_as_it_should(history)
    check_is_as_it_should(history)
    kept, fresh, exact = history.index, history.fresh(), history.fresh(FlatIndex)
    assert (kept.tier, kept.digest()) == (fresh.tier, fresh.digest())
    for query in clusters(4, dim, seed + 1000):
        for k in (1, 5, 30, 200):
            for target in (None, 0.5, 0.9):
                found = kept.search(query, k, recall_target=target)
                assert found == fresh.search(query, k, recall_target=target)
                assert len(found) == min(k, len(kept))
            assert kept.search(query, k, recall_target=1.0) == exact.search(query, k)


def check_is_as_it_should(history: History) -> None:
    """Every row is in the list of its nearest pivot, with its own code, and nothing else is."""
    index = history.index
    index.settle()
    coded = index._coded
    assert set(index._ids) == set(history.live)
    assert (coded is None) == (index.tier == "flat")
    if coded is None:
        return
    ids = sorted(history.live)
    content = np.stack([history.live[i][0] for i in ids])
    keys = {i: coded._hash(i) for i in ids} if coded.split else {}
    chosen = sorted((i for i in keys if keys[i] < 2**64 // pivots.PIVOTS), key=keys.__getitem__)
    assert coded._names == chosen
    codes = {i: code.tobytes() for i, code in zip(ids, sign_codes(content), strict=True)}
    home = dict.fromkeys(ids, "")
    if chosen:
        rows = whole(content).astype(np.int64)
        products = rows @ rows[[ids.index(i) for i in chosen]].T
        home = {i: chosen[best] for i, best in zip(ids, products.argmax(axis=1), strict=True)}
    held = {}
    for name, number in [("", 1), *zip(coded._names, coded._lists.tolist(), strict=True)]:
        labels = coded._codes.labels(number)
        found = coded._codes.read(number, np.arange(len(labels)))
        for i, code in zip(index.names(labels), found, strict=True):
            assert home[i] == name
            held[i] = code.tobytes()
    assert held == codes
    check_holds_nothing_else(history, coded)


def check_holds_nothing_else(history: History, coded: pivots.Coded) -> None:
    n, named = len(history.live), {1, *coded._lists.tolist()}
    for array in (coded._home, coded._spot, coded._near):
        assert not array[n:].any()
    for number in range(2, coded._codes.lists):
        assert number in named or not coded._codes.size(number)
        assert number in named or not coded._key[number]
    assert coded._codes.size(0) == len(coded._names) == len(coded._matrix)
    assert sorted(coded._codes.labels(0).tolist()) == sorted(coded._lists.tolist())


@settings(max_examples=25, deadline=None)
@given(n=st.integers(30, 150), k=st.integers(1, 60), seed=st.integers(0, 99))
def test_filters_and_pulls_are_exact_and_never_short(n: int, k: int, seed: int) -> None:
    history = History(8)
    history.add(n, seed)
    index, exact = history.index, history.fresh(FlatIndex)
    rng = np.random.default_rng(seed)
    ids = rng.permutation(sorted(history.live)).tolist()
    query, cone = clusters(1, 8, seed + 7)[0], some_cone(seed, places(n, seed))
    near = Near(lambda place: np.abs(place).sum(axis=1).astype(np.float64), 0.2)
    for asked in (
        {"only": ids[: n // 2]},
        {"cone": cone},
        {"near": near},
        {"only": ids[::2], "without": ids[::3]},
        {"only": ids[: n // 5]},
        {"only": ids[: n // 5], "near": near},
    ):
        assert index.search(query, k, **asked) == exact.search(query, k, **asked)
    everything = history.live
    for out in (ids[:k], ids[: n // 7], [ids[0], ids[0], "nobody"]):
        history.live = {i: row for i, row in everything.items() if i not in out}
        rest = history.fresh(partial(Index, scan=40, split=math.inf))
        found = index.search(query, k, without=out)
        assert found == rest.search(query, k)
        assert len(found) == min(k, len(rest))


@settings(max_examples=15, deadline=None)
@given(n=st.integers(40, 200), seed=st.integers(0, 99))
def test_a_hit_s_distance_is_exact_whatever_the_way(n: int, seed: int) -> None:
    history = History(33)
    history.add(n, seed)
    exact = history.fresh(FlatIndex)
    query = clusters(1, 33, seed + 7)[0]
    true = dict(exact.search(query, n))
    for target in (None, 0.3, 0.99):
        found = history.index.search(query, 10, recall_target=target)
        assert all(true[i] == distance for i, distance in found)
        assert found == sorted(found, key=lambda hit: (hit[1], hit[0]))


def test_a_recall_that_is_asked_for_is_reached_on_the_sample(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ladder = (Rung(0.0, 1, 1), Rung(0.1, 1, 1), Rung(0.3, 2, 4), Rung(2.0, 2, 16))
    monkeypatch.setattr(tiers, "LADDER", ladder)
    history = History(33)
    history.add(400, 1)
    index = history.index
    figures = [index.recall(rung) for rung in ladder]
    assert figures == sorted(figures)
    assert figures[0] < 0.9 < figures[-1]
    assert len(set(figures)) > 2
    for target in (*figures, 0.01, 0.5, 0.9, 0.999):
        reached = [rung for rung, figure in zip(ladder, figures, strict=True) if figure >= target]
        assert index.rung(target) == (reached[0] if reached and target < 1.0 else None)
    # the measure follows the rows
    history.remove(sorted(history.live)[:200])
    assert index._rungs == {}
    assert [index.recall(rung) for rung in ladder] == [
        history.fresh().recall(rung) for rung in ladder
    ]


def test_equal_rows_are_all_found_or_made_up_for() -> None:
    history = History(33)
    index, row = history.index, clusters(1, 33, 0)
    ids = [f"{i:03}" for i in range(150)]
    index.add(ids, np.repeat(row, 150, axis=0), np.zeros((150, PLACE_DIM), np.float32))
    assert index.tier == "pivots"
    assert [i for i, _ in index.search(row[0], 7)] == ids[:7]
    # nothing is as far as from the opposite, which no sign agrees with
    assert [i for i, _ in index.search(-row[0], 7)] == ids[:7]
    index.remove(ids[:100])
    assert [i for i, _ in index.search(row[0], 7)] == ids[100:107]


def test_the_order_of_equal_pivots_doesn_t_matter() -> None:
    row, ids = clusters(1, 33, 0), [f"{i:03}" for i in range(240)]
    digests = set()
    for halves in ((ids[:120], ids[120:]), (ids[120:], ids[:120]), (ids, [])):
        index = made(33)
        for half in halves:
            n = len(half)
            index.add(half, np.repeat(row, n, axis=0), np.zeros((n, PLACE_DIM), np.float32))
        digests.add(index.digest())
    assert len(digests) == 1


def test_the_salt_decides_who_is_a_pivot() -> None:
    content = clusters(200, 8, 0)
    ids, place = [f"{i}" for i in range(200)], places(200)
    chosen = set()
    for salt in (b"one", b"other"):
        index = made(8, salt)
        index.add(ids, content, place)
        index.settle()
        assert index._coded is not None
        chosen.add(tuple(index._coded._names))
    assert len(chosen) == 2


def test_who_asks_for_many_gets_the_exact_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "_FEWEST", 16)
    history = History(33)
    history.add(150, 0)
    exact = history.fresh(FlatIndex)
    for query in clusters(9, 33, 5):
        assert history.index.search(query, 2, recall_target=0.01) == exact.search(query, 2)


def test_how_many_are_hidden_decides_nothing_at_the_borders_of_sizes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tiers, "_FEWEST", 16)
    monkeypatch.setattr(tiers, "DEFAULT", Rung(0.0, 0.5, 1))
    history = History(33)
    history.add(330, 0)
    ids, everything = sorted(history.live), history.live
    for scan, hidden in itertools.product((290, 310, 331), (1, 10, 15, 25, 39, 41, 60)):
        index = history.fresh(partial(Index, salt=b"salt", scan=scan, split=320))
        history.live = {i: everything[i] for i in ids[hidden:]}
        rest = history.fresh(partial(Index, scan=scan, split=math.inf))
        history.live = everything
        for query, k in itertools.product(clusters(9, 33, 5), (1, 9, 11, 12, 13)):
            assert index.search(query, k, without=ids[:hidden]) == rest.search(query, k)


@pytest.mark.parametrize(("scan", "split"), [(1, 1), (1, 2), (3, 6)])
def test_a_handful_of_rows_is_answered_in_full_by_any_way(scan: int, split: int) -> None:
    for n in range(1, 9):
        index = Index(2, b"salt", scan=scan, split=split)
        exact: Any = FlatIndex(2)
        for each in (index, exact):
            each.add([f"{i}" for i in range(n)], clusters(n, 2, n), places(n))
        assert 0.0 <= index.recall() <= 1.0
        for out in ([], ["0"], ["0", "0", "nobody"]):  # one may be both restricted and expired
            for target in (None, 0.0, 0.9, 1.0):
                for query in clusters(3, 2, 7):
                    found = index.search(query, 9, without=out, recall_target=target)
                    assert found == exact.search(query, 9, without=out)
        index.remove([f"{i}" for i in range(n)])
        assert index.digest() == Index(2, b"salt", scan=scan, split=split).digest()


@pytest.mark.parametrize("verb", ["search", "remove"])
@pytest.mark.parametrize("at", range(4))
def test_codes_whose_making_was_cut_short_are_made_anew(
    verb: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C while the first search after an opening makes them."""
    history = History(8)
    history.add(100, 1)
    history.index.settle()
    history.add(100, 2)  # these wait for their codes
    real, calls = pivots.Coded._put, itertools.count()

    def cut(self: pivots.Coded, *args: Any) -> None:
        if next(calls) == at:
            raise KeyboardInterrupt
        real(self, *args)

    monkeypatch.setattr(pivots.Coded, "_put", cut)
    gone = sorted(history.live)[:50]
    for _ in range(2):
        try:
            if verb == "search":
                history.index.search(clusters(1, 8, 3)[0], 5)
            else:
                history.index.remove(gone)
                history.live = {i: row for i, row in history.live.items() if i not in gone}
            break
        except KeyboardInterrupt:
            pass
    monkeypatch.setattr(pivots.Coded, "_put", real)
    check_is_as_it_should(history)
    assert history.index.digest() == history.fresh().digest()


def test_who_asks_while_codes_are_made_gets_what_all_get() -> None:
    history = History(33)
    history.add(2_000, 1)
    index, asked = history.index, clusters(8, 33, 3)
    wanted = [history.fresh().search(query, 5) for query in asked]
    with ThreadPoolExecutor(8) as pool:  # none has been asked for before
        found = list(pool.map(lambda query: index.search(query, 5), asked))
    assert found == wanted
    assert any(
        index.search(query, 5, recall_target=1.0) != hits
        for query, hits in zip(asked, wanted, strict=True)
    )
    check_is_as_it_should(history)
