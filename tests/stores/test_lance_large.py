"""More text than one Arrow array holds, and one person's large leaf: neither stops the store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forgetnet import Memory, Record
from forgetnet_stores.lance import columns


def texts(n: int) -> list[Record]:
    kinds = ["", "a", "päärynä " * 40, "x" * 700]
    return [
        Record(f"{kinds[i % 4]}{i}", f"r{i}", f"s{i % 5}", metadata={"n": "y" * (i % 90)})
        for i in range(n)
    ]


@pytest.mark.parametrize("size", [40, 600])
def test_text_beyond_one_array_is_kept_and_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    key = bytes(32)
    with Memory.open(tmp_path / "whole", encoder="hash:16", key=key) as twin:
        twin.add(texts(size))
        wanted = {r.id: (r.text, dict(r.metadata)) for r in twin.get_all()}
        digest = len(twin.digest())
    monkeypatch.setattr(columns, "_ARRAY_BYTES", 2000)
    with Memory.open(tmp_path / "cut", encoder="hash:16", key=key) as memory:
        for start in range(0, size, 300):
            memory.add(texts(size)[start : start + 300])
        memory.delete("r3")
        memory.purge()
    with Memory.open(tmp_path / "cut", encoder="hash:16", key=key) as memory:
        found = {r.id: (r.text, dict(r.metadata)) for r in memory.get_all()}
        assert found == {i: told for i, told in wanted.items() if i != "r3"}
        assert memory.forget(subject="s1").status == "erased"
        assert len(memory.digest()) == digest


def test_rows_are_gathered_as_they_would_be_from_one_array(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = texts(50)
    table = columns.to_arrow(
        columns.Rows(
            np.arange(50, dtype=np.uint64),
            _normal(rows),
            np.eye(50, 16, dtype=np.float32),
            np.zeros((50, 17), np.float32),
        )
    )
    order = np.random.default_rng(0).permutation(50)
    whole = columns.gather(table, order)
    monkeypatch.setattr(columns, "_ARRAY_BYTES", 1000)
    cut = columns.gather(table, order)
    assert cut.column("text").num_chunks > 1
    assert cut.combine_chunks().equals(whole.combine_chunks())


def _normal(rows: list[Record]) -> list[Record]:
    from datetime import UTC, datetime

    from forgetnet.record import normalise

    return [normalise(row, datetime(2026, 1, 1, tzinfo=UTC)) for row in rows]
