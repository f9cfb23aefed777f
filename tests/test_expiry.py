"""What has expired is found without a look at what hasn't, and leaves nothing behind."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet import table
from forgetnet.record import Record
from forgetnet.store import Query
from forgetnet.table import Table
from tests.contract.kit import NOW, places, record, vectors

STEPS = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "all"]), st.integers(1, 9)), max_size=9
)


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, few=st.sampled_from([0, 3, 64]), seed=st.integers(0, 99))
def test_exactly_what_has_expired_is_left_out_after_any_history(
    steps: Any, few: int, seed: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table, "_FEW", few)
        held = Table(8)
        live: dict[str, Record] = {}
        for number, (verb, n) in enumerate(steps):
            if verb == "add":
                hours = [(seed + 7 * i * n) % 12 for i in range(n)]
                fresh = [
                    record(f"{number}-{i}", expires_at=NOW + timedelta(hours=h) if h % 4 else None)
                    for i, h in enumerate(hours)
                ]
                held.add(fresh, vectors(n, seed), places(n))
                live |= {r.id: r for r in fresh}
            else:
                gone = sorted(live)[: n if verb == "remove" else None]
                held.remove(gone)
                live = {i: r for i, r in live.items() if i not in gone}
        for hour in (-1, 0, 3, 11, 12):
            at = NOW + timedelta(hours=hour)
            here = {i for i, r in live.items() if r.expires_at is None or r.expires_at > at}
            assert {i for i, _ in held.search(Query(vectors(1)[0], 99, at=at))} == here
        assert len(held.search(Query(vectors(1)[0], 99))) == len(live)
        assert len(held._ends._order) == sum(r.expires_at is not None for r in live.values())
        held.remove(list(live))
        assert not held._ends._order


def test_a_search_looks_at_no_record_that_has_yet_to_expire() -> None:
    held, looked = Table(8), []

    class Watched(dict[str, Record]):
        def __getitem__(self, name: str) -> Record:
            looked.append(name)
            return super().__getitem__(name)

    later = [record(f"{i}", expires_at=NOW + timedelta(hours=i)) for i in range(200)]
    held.add(later, vectors(200), places(200))
    held.records = Watched(held.records)
    assert len(held.search(Query(vectors(1)[0], 300, at=NOW + timedelta(hours=5)))) == 194
    assert not looked
