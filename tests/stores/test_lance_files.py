"""The files that a purge will write anew are known before it, so that the others can be held to."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from forgetnet import Memory, Record


def test_a_purge_that_merges_leaves_touches_no_file_but_those_named(tmp_path: Path):
    rng = np.random.default_rng(0)
    with Memory.open(tmp_path / "kb", encoder="vectors:8", key=bytes(range(32))) as memory:
        for subject in ("s1", "s2", "s3"):
            records = [Record(f"{subject} {i}", subject=subject) for i in range(1500)]
            memory.add(records, vectors=rng.standard_normal((1500, 8)))
        store = memory._store
        leaves = set(store._state.manifest.leaves)
        assert len(leaves) > 1
        victims = [r.id for r in memory.get_all({"subject": "s1"})]
        named = set(store.files(victims))
        others = set(store.files()) - named
        receipt = memory.forget(subject="s1", verify="touched")
        assert receipt.status == "erased"
        assert set(store._state.manifest.leaves) == {""}
        assert others <= set(store.files())
        assert not named & set(store.files())


def test_a_copy_without_its_empty_folders_is_read(tmp_path: Path):
    with Memory.open(tmp_path / "kb", encoder="hash:8") as memory:
        memory.add(["one", "two"], ids=["a", "b"])
        memory.forget(ids="b")
        files = memory.stats().files
    (tmp_path / "kb" / "store" / "tails").rmdir()
    with Memory.open(tmp_path / "kb", readonly=True) as reader:
        assert reader.stats().files == files > 0
