"""An entry that is put in the place of another: nothing is lost, and no block names the ids."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from forgetnet.forget import journal
from forgetnet.forget.journal import Entry, Journal
from forgetnet.forget.openings import Openings
from forgetnet.forget.plan import Plan


def entry() -> Entry:
    told = Openings.draw("ab" * 16, ("somebody-1",), (), "somebody", "")
    return Entry("ef" * 8, Plan("ids", ("somebody-1",)), told.commit(), {}, "2026-01-01T00:00:00")


def test_what_a_later_entry_replaces_is_overwritten(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.open(entry())
    os.link(tmp_path / f"{'ef' * 8}.json", tmp_path / "witness")
    kept.open(replace(entry(), look={"scanned": True}))
    assert not any((tmp_path / "witness").read_bytes())
    (tmp_path / "witness").unlink()
    assert [found.look for found in kept.pending()] == [{"scanned": True}]
    assert [path.name for path in tmp_path.iterdir()] == [f"{'ef' * 8}.json"]


@pytest.mark.parametrize("verb", ["write_durable", "shred"])
def test_cut_while_it_is_replaced_one_of_the_two_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    kept = Journal(tmp_path)
    kept.open(entry())
    later = replace(entry(), look={"scanned": True})
    with monkeypatch.context() as patch:
        patch.setattr(journal, verb, cut)
        with pytest.raises(KeyboardInterrupt):
            kept.open(later)
    (found,) = Journal(tmp_path).pending()
    assert found.look == ({} if verb == "write_durable" else {"scanned": True})
    assert [path.name for path in tmp_path.iterdir()] == [f"{'ef' * 8}.json"]
    assert [again.plan.direct for again in Journal(tmp_path).pending()] == [("somebody-1",)]
