"""What crashes leave behind is repaired; what others changed is refused, never served."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import zlib
from pathlib import Path
from typing import Any

import pytest

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.shards import shard_key
from forgetnet.store import Query
from forgetnet_stores.lance import LanceStore, engine
from forgetnet_stores.lance.catalogue import Manifest
from forgetnet_stores.lance.tail import HEADER, MAGIC, Frame, read_frames
from tests.contract import kit
from tests.contract.kit import config, fill, record, rows_on_disk, strays, vectors

CAP = 6


def opened(path: Path, *, readonly: bool = False) -> LanceStore:
    return LanceStore(path, config(CAP, readonly=readonly))


def content_of(path: Path) -> tuple[str, list[str]]:
    store = opened(path)
    found = store.digest(), sorted(r.id for r in store.scan())
    store.close()
    return found


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A store with pieces, tails, dead rows and a batch over several leaves; properly closed."""
    path = tmp_path / "store"
    store = opened(path)
    fill(store, [record(f"r{i}", subject=f"s{i}") for i in range(14)])
    store.delete(["r1"])
    store.purge()
    fill(store, [record(f"t{i}", subject=f"s{i}") for i in range(3)], seed=1)
    store.delete(["r2", "r3"])
    store.close()
    assert len(list(path.glob("pieces/*"))) > 1
    assert len(list(path.glob("tails/*"))) > 1
    return path


def crashed(home: Path, batches: int = 1) -> None:
    """Add a batch with a part in each of the three leaves, others in one, and never close."""
    store = opened(home)
    before = {leaf.name for leaf in store._state.manifest.leaves.values()}
    for n in range(batches):
        subjects = ["s0"] if n else ["s0", "s1", "s2"]
        fill(store, [record(f"c{n}-{s}", subject=s) for s in subjects], seed=2 + n)
    assert {leaf.name for leaf in store._state.manifest.leaves.values()} == before
    leave(store)


def leave(store: LanceStore) -> None:
    """Let go of the files as a dying process does."""
    store._pulse.close()
    store._lock.release()


def tails_with(home: Path, sequence: int) -> list[tuple[Path, Frame]]:
    found = ((path, f) for path in sorted(home.glob("tails/*")) for f in read_frames(path))
    return [(path, frame) for path, frame in found if frame.sequence == sequence]


def is_refused(home: Path) -> bool:
    for readonly in (False, True):
        with pytest.raises(StoreCorrupt):
            opened(home, readonly=readonly)
    return True


def test_no_flipped_bit_passes_for_truth(home: Path) -> None:
    wanted = content_of(home)
    rng = random.Random(0)
    files = [p for p in sorted(home.rglob("*")) if p.is_file() and p.name not in ("lock", "pulse")]
    assert {p.suffix for p in files} >= {".lance", ".tail", ".json", ".manifest", ".txn"}
    for path in files:
        good = path.read_bytes()
        spots = {0, len(good) - 1, *(rng.randrange(len(good)) for _ in range(6))}
        for spot in sorted(spots):
            bad = bytearray(good)
            bad[spot] ^= 1 << rng.randrange(8)
            path.write_bytes(bad)
            assert is_refused(home), (path, spot)
        path.write_bytes(good)
    assert content_of(home) == wanted


def test_a_torn_last_frame_is_dropped_and_shredded(home: Path) -> None:
    before = content_of(home)
    sequence = Manifest.load(home).sequence
    crashed(home)
    parts = tails_with(home, sequence + 1)
    assert len(parts) == 3
    path, frame = parts[1]
    data = path.read_bytes()
    for size in (frame.start + 1, frame.start + HEADER.size, frame.end - 1):
        path.write_bytes(data[:size])
        copy = home.with_name("copy")
        shutil.copytree(home, copy)
        reader = opened(copy, readonly=True)
        assert (reader.digest(), sorted(r.id for r in reader.scan())) == before
        reader.close()
        assert content_of(copy) == before
        assert not tails_with(copy, sequence + 1)
        assert not any(b"c0-s%d" % s in kit.bytes_below(copy) for s in range(3))
        shutil.rmtree(copy)
    path.write_bytes(data)
    assert len(content_of(home)[1]) == len(before[1]) + 3


def test_a_batch_with_a_missing_part_is_no_batch(home: Path) -> None:
    before = content_of(home)
    sequence = Manifest.load(home).sequence
    crashed(home)
    for path, frame in tails_with(home, sequence + 1)[:-1]:
        path.write_bytes(path.read_bytes()[: frame.start])
    assert tails_with(home, sequence + 1)
    assert content_of(home) == before
    assert "c0-" not in {row.get("id", "")[:3] for row in rows_on_disk(home)}
    store = opened(home)
    fill(store, [record("again")], seed=9)
    store.close()
    assert content_of(home)[1] == sorted([*before[1], "again"])


def test_a_batch_before_the_manifests_number_counts_part_by_part(home: Path) -> None:
    sequence = Manifest.load(home).sequence
    crashed(home)
    ids = content_of(home)[1]  # closing seals the manifest
    assert Manifest.load(home).sequence == sequence + 1
    store = opened(home)
    leaf = max(store._state.manifest.leaves.values(), key=lambda leaf: len(leaf.members))
    store.delete([next(iter(leaf.members))])
    store.purge()  # folds one leaf: its parts of all batches are in its piece now
    gone = set(ids) - {r.id for r in store.scan()}
    assert len(gone) == 1
    assert not (home / "tails" / f"{leaf.name}.tail").exists()
    store.close()
    assert set(content_of(home)[1]) == set(ids) - gone


def test_a_lost_batch_is_noticed(home: Path) -> None:
    sequence = Manifest.load(home).sequence
    crashed(home, batches=2)
    for path, frame in reversed(tails_with(home, sequence + 1)):
        later = [f for f in read_frames(path) if f.start > frame.start]
        data = path.read_bytes()
        path.write_bytes(data[: frame.start] + b"".join(data[f.start : f.end] for f in later))
    with pytest.raises(StoreCorrupt, match="missing"):
        opened(home)


@pytest.mark.parametrize("what", ["a tail", "a piece", "a file of a piece", "a file too many"])
def test_files_that_went_or_came_are_noticed(home: Path, what: str) -> None:
    crashed(home)
    (home / "tails" / "feedfeedfeedfeed.tail").write_bytes(b"orphan")
    last = max(home.glob("tails/*"), key=lambda p: p.stat().st_size)
    with last.open("ab") as file:
        file.write(MAGIC)  # torn
    piece = min(home.glob("pieces/*"))
    if what == "a tail":
        last.unlink()
    elif what == "a piece":
        shutil.rmtree(piece)
    elif what == "a file of a piece":
        next(piece.glob("_transactions/*")).unlink()
    else:
        (piece / "data" / "notes.txt").write_text("mine")
    before = {p: p.read_bytes() for p in home.glob("*/*.tail")}
    assert is_refused(home)
    assert {p: p.read_bytes() for p in home.glob("*/*.tail")} == before  # left as it is


def test_a_renamed_leaf_is_refused_and_nothing_is_shredded(home: Path) -> None:
    path = home / "manifest.json"
    body = json.loads(path.read_bytes())
    leaf = next(iter(body["leaves"].values()))
    leaf["name"] = "0" * 16
    path.write_text(json.dumps(body))
    before = sorted(home.rglob("*"))
    assert is_refused(home)
    assert sorted(home.rglob("*")) == before


def test_a_newer_format_is_named(home: Path) -> None:
    path = home / "manifest.json"
    path.write_text(json.dumps({"format": 7, "whatever": [1]}))
    for readonly in (False, True):
        with pytest.raises(StoreCorrupt, match=r"format 7 .* up to 1"):
            opened(home, readonly=readonly)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "7",
        "[" * 100_000,
        "\ud800".encode("utf-8", "surrogatepass"),
        '{"format": "1"}',
        '{"format": 0}',
        '{"format": 1}',
        '{"format": true, "dim": 8, "cap": 6, "sequence": 0, "leaves": {}}',
    ],
    ids=range(11),
)
def test_what_is_no_manifest_is_refused(home: Path, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (home / "manifest.json").write_bytes(data)
    assert is_refused(home)


def _resealed(body: dict[str, Any]) -> bytes:
    """Give a changed manifest the check it needs to be believed."""
    body.pop("check")
    plain = json.dumps(body, sort_keys=True, separators=(",", ":"))
    return json.dumps({**body, "check": hashlib.sha256(plain.encode()).hexdigest()}).encode()


@pytest.mark.parametrize(
    "field, value",
    [
        ("name", "../../elsewhere"),
        ("name", "a/b"),
        ("rows", -1),
        ("rows", True),
        ("rows", 1),
        ("rows", 1.0),
        ("digest", "x"),
        ("tail", 10**9),
        ("bytes", "7"),
    ],
)
def test_a_manifest_that_lies_is_refused(home: Path, field: str, value: Any) -> None:
    path = home / "manifest.json"
    body = json.loads(path.read_bytes())
    for leaf in body["leaves"].values():
        leaf[field] = value
    path.write_bytes(_resealed(body))
    assert is_refused(home)


def test_leaves_that_overlap_are_refused(home: Path) -> None:
    path = home / "manifest.json"
    body = json.loads(path.read_bytes())
    prefix = next(iter(body["leaves"]))
    body["leaves"][prefix + "0"] = {**body["leaves"][prefix], "name": "0" * 16}
    path.write_bytes(_resealed(body))
    assert is_refused(home)


def test_what_no_leaf_names_is_shredded_at_open(home: Path, tmp_path: Path) -> None:
    before = content_of(home)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter.txt").write_text("keep me")
    shutil.copytree(next(home.glob("pieces/*")), home / "pieces" / "feedfeedfeedfeed.lance")
    (home / "tails" / "feedfeedfeedfeed.tail").write_bytes(b"orphan")
    (home / ".manifest.json.12345678.tmp").write_bytes(b"half a manifest")
    (home / "pieces" / "link.lance").symlink_to(mine)
    (home / "tails" / "link.tail").symlink_to(mine / "letter.txt")
    assert strays(home)
    assert content_of(home) == before
    assert not strays(home)
    assert (mine / "letter.txt").read_text() == "keep me"


def test_orphans_are_zeroed_before_they_are_unlinked(home: Path, tmp_path: Path) -> None:
    orphan = home / "tails" / "feedfeedfeedfeed.tail"
    orphan.write_bytes(b"secret" * 1000)
    (tmp_path / "witness").hardlink_to(orphan)
    opened(home).close()
    assert not orphan.exists()
    assert (tmp_path / "witness").read_bytes() == bytes(6000)


class PowerCutError(BaseException):
    """Nothing catches this."""


def test_a_leaf_whose_first_batch_never_came_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "store"
    keys = {name: shard_key(kit.SALT, name) for name in (f"n{n}" for n in range(200))}
    left = [record(name, subject=name) for name, key in keys.items() if key[:2] == "00"]
    right = next(record(name, subject=name) for name, key in keys.items() if key[0] == "1")
    store = opened(home)
    fill(store, left[: CAP + 1])
    leaves = set(store._state.manifest.leaves)
    assert all(prefix.startswith("00") for prefix in leaves) and len(leaves) > 1
    store.close()
    before = content_of(home)
    store = opened(home)

    def cut(*_: object) -> None:
        raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(engine, "append_durable", cut)
        with pytest.raises(PowerCutError):
            fill(store, [right])
    with pytest.raises(StoreError, match="midway"):
        store.count()
    leave(store)
    assert set(Manifest.load(home).leaves) == {*leaves, "1"}
    assert content_of(home) == before
    store = opened(home)
    assert set(store._state.manifest.leaves) == leaves
    fill(store, [left[CAP + 1]], seed=7)
    store.close()
    assert set(Manifest.load(home).leaves) == leaves
    assert not strays(home)
    store = opened(home)
    fill(store, [right], seed=8)
    store.close()
    assert set(Manifest.load(home).leaves) == {*leaves, "1"}


def test_a_checksum_of_the_payload_alone_is_not_enough(home: Path) -> None:
    leaf_tail = min(home.glob("tails/*"))
    data = bytearray(leaf_tail.read_bytes())
    length = int.from_bytes(data[20:28], "little")
    data[28:32] = zlib.crc32(data[32 : 32 + length]).to_bytes(4, "little")
    leaf_tail.write_bytes(data)
    with pytest.raises(StoreCorrupt):
        list(read_frames(leaf_tail))


def test_the_other_path_refuses_what_it_can_not_read(home: Path) -> None:
    store = opened(home)
    manifest = next(home.glob("pieces/*/_versions/*.manifest"))
    manifest.write_bytes(b"nonsense")
    with pytest.raises(StoreCorrupt, match="LanceDB"):
        store.search(Query(vectors(1)[0]), "lancedb")
    store.close()
