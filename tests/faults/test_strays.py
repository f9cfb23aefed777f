"""A stray file in a memory's folder stops a forget before it begins, not after."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetnet import Memory, StoreError


@pytest.mark.parametrize("name", [".DS_Store", "notes.txt", "export.jsonl"])
def test_a_stray_file_is_named_before_anything_is_deleted(tmp_path: Path, name: str) -> None:
    with Memory.open(tmp_path / "kb", encoder="hash:16") as memory:
        memory.add(["one", "two"], subject="Ann")
        (tmp_path / "kb" / name).write_text("tea", encoding="utf-8")
        with pytest.raises(StoreError, match="Nothing was deleted") as error:
            memory.forget(subject="Ann")
        assert name in str(error.value) and memory.count() == 2
        (tmp_path / "kb" / name).unlink()
        assert memory.forget(subject="Ann").status == "erased"
