"""What a certificate has spent is told by the file, to the last entry, and by nothing else."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.removal_ledger import Entry, RemovalLedger, allowance

ENTRIES = st.lists(
    st.builds(
        Entry,
        st.sampled_from(["head a", "head b"]),
        st.sampled_from(["set a", "set b"]),
        st.floats(0.0, 1e6),
        st.integers(0, 99),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(ENTRIES, st.floats(1e-6, 1e6), st.floats(1e-6, 1e6))
def test_each_head_and_set_has_its_newest_entry_and_settings_stay(
    tmp_path_factory: pytest.TempPathFactory, entries: list[Entry], noise: float, ridge: float
) -> None:
    path = tmp_path_factory.mktemp("book") / "inner" / "ledger.json"
    RemovalLedger(path).open_new(noise, ridge, entries[0])
    for entry in entries[1:]:
        RemovalLedger(path).append(entry)
    book = RemovalLedger(path)
    assert book.settings() == (noise, ridge)
    newest = {(entry.head, entry.data): entry for entry in entries}
    for head in ("head a", "head b"):
        for data in ("set a", "set b"):
            if (head, data) in newest:
                assert book.find(head, data) == newest[head, data]
            else:
                known = any(entry.head == head for entry in entries)
                with pytest.raises(InvalidRecord, match="examples" if known else "another head"):
                    book.find(head, data)


def test_a_head_that_is_solved_for_anew_begins_anew(tmp_path: Path) -> None:
    book = RemovalLedger(tmp_path / "ledger.json")
    book.open_new(1.0, 2.0, Entry("head", "set", 0.5, 3))
    book.open_new(3.0, 4.0, Entry("other", "set", 0.0, 0))
    assert book.settings() == (3.0, 4.0)
    with pytest.raises(InvalidRecord, match="another head"):
        book.find("head", "set")


@pytest.mark.parametrize(("noise", "epsilon", "delta"), [(2.0, 0.5, 1e-5), (1.0, 3.0, 1e-2)])
def test_the_allowance_is_counted_by_hand(noise: float, epsilon: float, delta: float) -> None:
    # delta = 1.5 exp(-c^2 / 2), and the gradient may be as long as sigma epsilon / c
    found = allowance(noise, epsilon, delta)
    c = noise * epsilon / found
    assert 1.5 * math.exp(-(c**2) / 2.0) == pytest.approx(delta)
