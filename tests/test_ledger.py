"""The Merkle log: agrees with the RFC, proves only what is true, survives what a crash leaves."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet import files
from forgetnet import ledger as log
from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError, StoreLocked
from forgetnet.ledger import Ledger

# Inputs that every implementation of RFC 6962 is tried on, and the roots of the first n of them.
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def entry(number: int) -> bytes:
    return sha(number.to_bytes(8, "big"))


def split(count: int) -> int:
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def tree(data: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word."""
    if not data:
        return sha(b"")
    if len(data) == 1:
        return sha(b"\x00", data[0])
    k = split(len(data))
    return sha(b"\x01", tree(data[:k]), tree(data[k:]))


def path(m: int, data: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962, 2.1.1, word for word."""
    if len(data) == 1:
        return []
    k = split(len(data))
    if m < k:
        return [*path(m, data[:k]), tree(data[k:])]
    return [*path(m - k, data[k:]), tree(data[:k])]


def subproof(m: int, data: list[bytes], whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, 2.1.2, word for word."""
    if m == len(data):
        return [] if whole else [tree(data)]
    k = split(len(data))
    if m <= k:
        return [*subproof(m, data[:k], whole), tree(data[k:])]
    return [*subproof(m - k, data[k:], False), tree(data[:k])]


def hashed(data: list[bytes]) -> list[bytes]:
    return [log.leaf_hash(item) for item in data]


blobs = st.lists(st.binary(max_size=40), max_size=70)


def test_roots_are_those_of_the_rfc() -> None:
    assert log.root([]).hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for count, expected in enumerate(ROOTS, 1):
        assert log.root(hashed(INPUTS[:count])).hex() == expected


def test_proofs_by_hand_for_seven_leaves() -> None:
    # The figure of RFC 6962, 2.1.3: d0..d6 with nodes g=ab, h=cd, i=ef, k=gh, l=ij.
    a, b, c, d, e, f, j = leaves = hashed(INPUTS[:7])
    g, h, i = (sha(b"\x01", x, y) for x, y in ((a, b), (c, d), (e, f)))
    k, below = sha(b"\x01", g, h), sha(b"\x01", i, j)
    assert log.root(leaves) == sha(b"\x01", k, below)
    assert log.inclusion_proof(leaves, 0) == [b, h, below]
    assert log.inclusion_proof(leaves, 3) == [c, g, below]
    assert log.inclusion_proof(leaves, 4) == [f, j, k]
    assert log.inclusion_proof(leaves, 6) == [i, k]
    assert log.consistency_proof(leaves, 3) == [c, d, g, below]
    assert log.consistency_proof(leaves, 4) == [below]
    assert log.consistency_proof(leaves, 6) == [i, j, k]


@given(blobs)
def test_root_and_inclusion_agree_with_the_definition(data: list[bytes]) -> None:
    leaves, root = hashed(data), tree(data)
    assert log.root(leaves) == root
    for index in range(len(data)):
        proof = log.inclusion_proof(leaves, index)
        assert proof == path(index, data)
        assert log.verify_inclusion(leaves[index], index, len(data), proof, root)


@given(blobs)
def test_consistency_agrees_with_the_definition(data: list[bytes]) -> None:
    leaves, root = hashed(data), tree(data)
    for old in range(len(data) + 1):
        proof = log.consistency_proof(leaves, old)
        if old:
            assert proof == subproof(old, data, whole=True)
        assert log.verify_consistency(old, len(data), tree(data[:old]), root, proof)


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40, unique=True), st.data())
def test_no_inclusion_of_anything_else(data: list[bytes], draw: st.DataObject) -> None:
    leaves, root = hashed(data), tree(data)
    index = draw.draw(st.integers(0, len(data) - 1))
    proof = log.inclusion_proof(leaves, index)
    for other in set(range(len(data))) - {index}:
        assert not log.verify_inclusion(leaves[other], index, len(data), proof, root)
        assert not log.verify_inclusion(leaves[index], other, len(data), proof, root)
    assert not log.verify_inclusion(leaves[index], index, len(data), [*proof, root], root)
    assert not log.verify_inclusion(leaves[index], len(data), len(data), proof, root)
    assert not log.verify_inclusion(leaves[index], -1, len(data), proof, root)
    assert not log.verify_inclusion(leaves[index], index, len(data), proof, sha(root))
    if proof:
        assert not log.verify_inclusion(leaves[index], index, len(data), proof[:-1], root)
        assert not log.verify_inclusion(root, 0, len(data), [], root)  # a node is no leaf
        short = [proof[0][:-1], *proof[1:]]
        assert not log.verify_inclusion(leaves[index], index, len(data), short, root)


@given(st.integers(2, 40), st.data())
def test_no_consistency_with_a_rewritten_past(size: int, draw: st.DataObject) -> None:
    data = [entry(number) for number in range(size)]
    old = draw.draw(st.integers(1, size))
    changed = draw.draw(st.integers(0, old - 1))
    rewritten = [*data[:changed], sha(data[changed]), *data[changed + 1 :]]
    leaves = hashed(rewritten)
    proof = log.consistency_proof(leaves, old)
    was, now = tree(data[:old]), tree(rewritten)
    assert not log.verify_consistency(old, size, was, now, proof)
    honest = log.consistency_proof(hashed(data), old)
    assert not log.verify_consistency(old, size, was, now, honest)
    assert not log.verify_consistency(old, size, was, tree(data), [*honest, now])
    assert not log.verify_consistency(size + 1, size, was, tree(data), honest)
    if honest:
        assert not log.verify_consistency(old, size, was, tree(data), honest[:-1])
        assert not log.verify_consistency(old, size, was, tree(data), [])
    assert not log.verify_consistency(0, size, was, now, [])


def test_bytes_cannot_wander_between_a_node_and_its_sibling() -> None:
    a, b, c = hashed(INPUTS[:3])
    root, root3 = log.root([a, b]), log.root([a, b, c])
    assert log.verify_inclusion(a, 0, 2, [b], root)
    assert not log.verify_inclusion(a[:-1], 0, 2, [a[-1:] + b], root)
    assert not log.verify_inclusion(a + b[:1], 0, 2, [b[1:]], root)
    assert log.verify_consistency(2, 3, root, root3, [c])
    assert not log.verify_consistency(2, 3, root, root3, [c, b""])
    assert not log.verify_consistency(1, 2, a[:-1], root, [a[-1:] + b])


def test_asking_for_what_is_not_there_is_refused() -> None:
    for call in (
        lambda: log.inclusion_proof([], 0),
        lambda: log.inclusion_proof(hashed(INPUTS), -1),
        lambda: log.consistency_proof(hashed(INPUTS), 9),
        lambda: Ledger().prove(0),
        lambda: Ledger().root(1),
    ):
        with pytest.raises(StoreError, match="the ledger has"):
            call()


@given(st.integers(0, 30), st.booleans())
def test_memory_and_file_hold_the_same(
    tmp_path_factory: pytest.TempPathFactory, count: int, often: bool
) -> None:
    file = tmp_path_factory.mktemp("ledger") / "ledger.jsonl"
    memory, kept = Ledger(), Ledger(file)
    roots = [memory.root()]
    for number in range(count):
        assert memory.append(entry(number)) == kept.append(entry(number)) == number
        kept = Ledger(file) if often else kept
        roots.append(kept.root())
    again = Ledger(file, read_only=True)
    assert again.entries == memory.entries == tuple(map(entry, range(count)))
    assert len(again) == again.size == count
    assert roots == [again.root(size) for size in range(count + 1)]
    for index in range(count):
        assert again.find(entry(index)) == index
        assert again.prove(index).holds(entry(index))
        assert not again.prove(index).holds(entry(count))
    for old in range(count + 1):
        proof = again.prove_consistency(old)
        assert log.verify_consistency(old, count, roots[old], roots[-1], proof)
    assert again.find(entry(count)) is None


def filled(file: Path, count: int = 5) -> bytes:
    ledger = Ledger(file)
    for number in range(count):
        ledger.append(entry(number))
    return file.read_bytes()


def test_the_file_holds_hex_and_nothing_else(tmp_path: Path) -> None:
    data = filled(tmp_path / "log", 1)
    expected = f'{{"entry":"{entry(0).hex()}","root":"{tree([entry(0)]).hex()}"}}\n'
    assert data == expected.encode()
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0
    assert entry(0).hex() not in repr(Ledger(tmp_path / "log"))


def test_every_torn_end_is_cut_off_and_appending_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "log"
    data = filled(file, 3)
    line = len(data) // 3
    for kept in range(2 * line, 3 * line):
        for end in (b"", b"\x00" * 7, b"\x00" * (3 * line - kept - 1) + b"\n"):
            file.write_bytes(data[:kept] + end)
            if kept + len(end) == len(data) and b"\x00" not in end:
                continue  # whole again
            seen = Ledger(file, read_only=True)
            assert seen.entries == tuple(map(entry, range(2)))
            assert file.read_bytes() == data[:kept] + end
            ledger = Ledger(file)
            assert file.read_bytes() == data[: 2 * line]
            assert ledger.append(entry(2)) == 2
            assert file.read_bytes() == data


def test_every_flipped_byte_is_seen(tmp_path: Path) -> None:
    file = tmp_path / "log"
    data = filled(file, 3)
    for position in range(len(data) - 1):  # without the last newline the end is torn
        for flip in (1, 4, 0x20, 0x80):
            file.write_bytes(
                data[:position] + bytes([data[position] ^ flip]) + data[position + 1 :]
            )
            with pytest.raises(StoreCorrupt, match=r"entry [012] of the ledger"):
                Ledger(file)


def test_lines_cut_out_or_swapped_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "log"
    lines = filled(file).splitlines(keepends=True)
    for order in ([0, 2, 3, 4], [1, 0, 2, 3, 4], [0, 1, 1, 2, 3, 4], [1, 2, 3, 4]):
        file.write_bytes(b"".join(lines[i] for i in order))
        with pytest.raises(StoreCorrupt):
            Ledger(file)


@pytest.mark.parametrize("wrong", [b"", b"x", entry(0) + b"x", entry(0).hex().encode()])
def test_only_digests_go_in(tmp_path: Path, wrong: bytes) -> None:
    ledger = Ledger(tmp_path / "log")
    with pytest.raises(InvalidRecord, match="32 bytes"):
        ledger.append(wrong)
    assert ledger.size == 0 and not (tmp_path / "log").exists()


def test_two_writers_do_not_overwrite_each_other(tmp_path: Path) -> None:
    file = tmp_path / "log"
    first, second = Ledger(file), Ledger(file)
    first.append(entry(0))
    with pytest.raises(StoreLocked, match="open it again"):
        second.append(entry(1))
    assert Ledger(file).entries == (entry(0),)


def test_reading_only_never_writes(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="reading only"):
        Ledger(tmp_path / "log", read_only=True).append(entry(0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("broken", ["write", "fsync"])
def test_a_failed_append_counts_for_nothing_and_stops_writing_unless_it_was_taken_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = tmp_path / "log"
    ledger = Ledger(file)
    ledger.append(entry(0))
    root = ledger.root()
    with monkeypatch.context() as patch:
        patch.setattr(files.os, broken, fail)
        with pytest.raises(StoreError, match="No space left"):
            ledger.append(entry(1))
    assert ledger.entries == (entry(0),) and ledger.root() == root
    again = Ledger(file)
    if broken == "fsync":  # what the disk holds isn't known
        with pytest.raises(StoreError, match="open it again"):
            ledger.append(entry(1))
        assert again.entries in ((entry(0),), (entry(0), entry(1)))
    else:
        assert again.entries == (entry(0),)
        assert ledger.append(entry(1)) == 1
    assert Ledger(file).append(entry(2)) == 2


def test_an_append_is_synced_before_it_is_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    real: Callable[[int], None] = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.fstat(fd).st_size)
        real(fd)

    file = tmp_path / "log"
    ledger = Ledger(file)
    monkeypatch.setattr(files.os, "fsync", fsync)
    ledger.append(entry(0))
    assert file.stat().st_size in synced
