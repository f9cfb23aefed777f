"""A tail tells a crash from damage: bit by bit, and cut by cut."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from forgetnet.errors import StoreCorrupt
from forgetnet_stores.lance.tail import HEADER, MAGIC, encode_frame, read_frames


def a_tail(path: Path) -> tuple[bytes, list[int]]:
    """Write a tail of three frames, and say where they end."""
    table = pa.table({"dead": pa.array([1, 2, 3], pa.uint64())})
    text = pa.table({"text": pa.array(["hello", MAGIC.decode() * 9])})
    frames = [encode_frame(t, n + 1, 0, 1) for n, t in enumerate((table, text, table))]
    path.write_bytes(b"".join(frames))
    ends = [len(b"".join(frames[: n + 1])) for n in range(3)]
    assert [f.end for f in read_frames(path)] == ends
    return path.read_bytes(), ends


def test_every_flipped_bit_of_a_tail_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.tail"
    data, _ = a_tail(path)
    for spot in range(len(data)):
        bad = bytearray(data)
        bad[spot] ^= 1 << (spot % 8)
        path.write_bytes(bad)
        with pytest.raises(StoreCorrupt):
            list(read_frames(path))


def test_a_tail_cut_anywhere_loses_only_its_torn_frame(tmp_path: Path) -> None:
    path = tmp_path / "x.tail"
    data, ends = a_tail(path)
    for size in range(len(data)):
        path.write_bytes(data[:size])
        whole = [end for end in ends if end <= size]
        assert [f.end for f in read_frames(path)] == whole
        if whole:
            assert len(list(read_frames(path, start=ends[0]))) == len(whole) - 1
        with pytest.raises(StoreCorrupt):
            list(read_frames(path, least=size + 1))
    path.unlink()
    assert list(read_frames(path)) == []
    with pytest.raises(StoreCorrupt):
        list(read_frames(path, least=1))


def test_a_frame_that_never_reached_the_disk_or_was_taken_back_is_torn(tmp_path: Path) -> None:
    path = tmp_path / "x.tail"
    data, ends = a_tail(path)
    last = data[ends[1] :]
    for torn in (
        last[:-8] + bytes(8),  # its last blocks are missing
        last[: HEADER.size] + bytes(len(last) - HEADER.size),
        bytes(len(last)),
        bytes(HEADER.size) + last[HEADER.size :],  # zeroed from its header on
        bytes(5),
    ):
        path.write_bytes(data[: ends[1]] + torn)
        assert [f.end for f in read_frames(path)] == ends[:2]
        with pytest.raises(StoreCorrupt):
            list(read_frames(path, least=len(data)))
