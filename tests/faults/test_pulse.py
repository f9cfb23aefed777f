"""A commit that its writer didn't live to announce is announced by the next one."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetnet_stores.lance import LanceStore
from forgetnet_stores.lance.catalogue import Pulse
from tests.contract.kit import config, fill, record
from tests.faults.cuts import PowerCutError


def test_a_reader_hears_of_a_commit_whose_writer_was_killed_before_it_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LanceStore(tmp_path / "store", config())
    fill(store, [record(f"r{n}") for n in range(5)])
    reader = LanceStore(tmp_path / "store", config(readonly=True))
    assert reader.count() == 5

    def killed(_self: Pulse) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(Pulse, "beat", killed)
        with pytest.raises(PowerCutError):
            store.delete(["r1"])
    assert store._lock is not None
    store._lock.release()  # as the end of a process would
    store._lock = None
    again = LanceStore(tmp_path / "store", config())
    assert again.count() == reader.count() == 4
    assert reader.get(["r1"]) == {}
    for one in (again, reader, store):
        one.close()
