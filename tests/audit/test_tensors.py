"""A damaged file of arrays is opaque, or still tells what is in it; never silently clean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetnet.audit.layout import check_layout
from forgetnet.audit.residue import Kind
from forgetnet.audit.tensors import tensors
from forgetnet.errors import StoreCorrupt

REFUSED = (StoreCorrupt, ValueError, KeyError, TypeError)


def planted(house: Any) -> bytes:
    """A file of arrays with an id in its header and vectors in an array."""
    arrays = {"a/first": np.arange(6, dtype=np.int64), "rows": house.content[:3].copy()}
    arrays["z"] = np.ones((2, 3), np.float16)
    return bytes(safetensors.numpy.save(arrays, {"meta": f'{{"note": "{house.ids[3]}"}}'}))


def put(house: Any, data: bytes) -> Path:
    folder = house.root / "experts"
    folder.mkdir(exist_ok=True)
    path: Path = folder / "planted.safetensors"
    path.write_bytes(data)
    return path


def test_what_is_planted_in_a_file_of_arrays_is_found(clean: Any) -> None:
    put(clean, planted(clean))
    found = clean.look(raw=False)
    assert found.traces[Kind.ID] == 1 and found.traces[Kind.VECTOR] == 3
    assert not found.opaque


def test_any_cut_is_opaque(clean: Any) -> None:
    data = planted(clean)
    for end in range(len(data)):
        path = put(clean, data[:end])
        with pytest.raises(REFUSED):
            list(tensors(path))
    for end in (*range(1, len(data), 61), len(data) - 1):
        assert clean.look(put(clean, data[:end]), raw=False).opaque
    assert clean.look(put(clean, data + b"\0"), raw=False).opaque


@settings(max_examples=150, suppress_health_check=list(HealthCheck))
@given(place=st.integers(0, 10**6), change=st.integers(1, 255))
def test_any_changed_byte_is_opaque_or_the_rest_is_found(
    clean: Any, place: int, change: int
) -> None:
    data = bytearray(planted(clean))
    data[place % len(data)] ^= change
    found = clean.look(put(clean, bytes(data)), raw=False)
    assert found.opaque or found.traces[Kind.ID] or found.traces[Kind.VECTOR]


@settings(max_examples=100, suppress_health_check=list(HealthCheck))
@given(data=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_arrays_or_opaque(clean: Any, data: bytes) -> None:
    path = put(clean, data)
    with pytest.raises(REFUSED):
        list(tensors(path))
    assert clean.look(path, raw=False).opaque


def test_experts_that_the_manifest_does_not_name_are_named(clean: Any) -> None:
    """``clean`` is a store alone; a memory's folder has it in ``store``."""
    home = clean.root.with_name("home")
    home.mkdir()
    clean.store.close()
    clean.root.rename(home / "store")
    assert check_layout(home) == []
    folder = home / "experts"
    folder.mkdir()
    name = f"{'0' * 32}.safetensors"
    (folder / "manifest.json").write_text(
        f'{{"format": 1, "model": {{}}, "states": [{{"file": "{name}"}}]}}'
    )
    assert any("missing" in reason for reason in check_layout(home))
    (folder / name).write_bytes(b"")
    assert check_layout(home) == []
    (folder / "notes.txt").write_bytes(b"")
    assert any("notes.txt" in reason for reason in check_layout(home))
    (folder / "notes.txt").unlink()
    (folder / name).unlink()
    (folder / name).symlink_to(home / "store" / "manifest.json")
    assert any("not a part" in reason for reason in check_layout(home))
    for wrong in (b"", b"[]", b"{}", b'{"format": 2, "model": {}, "states": []}', b"\xff"):
        (folder / "manifest.json").write_bytes(wrong)
        assert check_layout(home) != []
