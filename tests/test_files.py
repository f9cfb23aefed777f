"""Bytes reach the disk whole or not at all, and leave it overwritten."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from forgetnet import StoreError, files
from forgetnet.files import (
    append_durable,
    check_trusted,
    claim,
    doubts,
    is_full,
    make_dir,
    rewrite_durable,
    shred,
    shred_abandoned,
    shred_tree,
    sync_dir,
    sync_inside,
    truncate_durable,
    trust,
    write_durable,
)

BIG = b"secret" * 500_000


def failing(number: int = errno.ENOSPC) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def after(n: int, real: Callable[..., int]) -> Callable[..., int]:
    """Let the first n calls through, half of the next one, and no more."""
    calls = [0]

    def limited(fd: int, data: bytes, *rest: int) -> int:
        calls[0] += 1
        if calls[0] > n + 1:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(fd, data[: max(len(data) // 2, 1)] if calls[0] > n else data, *rest)

    return limited


def test_every_folder_that_is_made_is_synced_into_the_one_above(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(files, "sync_dir", synced.append)
    path = tmp_path / "a" / "b" / "c"
    make_dir(path, 0o700)
    assert path.stat().st_mode & 0o777 == 0o700
    assert sorted(synced) == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    make_dir(path)  # whoever made it may not have come so far
    assert synced[3:] == [path.parent]


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_durable(path, b"old")
    assert path.stat().st_mode & 0o777 == 0o600
    write_durable(path, BIG, 0o644)
    assert path.read_bytes() == BIG
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("fault", ["write", "fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    path = tmp_path / "file"
    write_durable(path, b"old")
    with monkeypatch.context() as patch:
        if fault == "replace":
            patch.setattr(Path, "replace", failing())
        elif fault == "write":
            patch.setattr(os, "write", after(0, os.write))
        else:
            patch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(OSError, match=r"No space|Input/output"):
            write_durable(path, BIG)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_durable(tmp_path / "file", b"new")
    assert list(tmp_path.iterdir()) == []


def test_writing_goes_on_where_the_system_stops_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:7]))
    write_durable(tmp_path / "file", b"0123456789" * 5)
    append_durable(tmp_path / "file", b"abcdefghij")
    assert (tmp_path / "file").read_bytes() == b"0123456789" * 5 + b"abcdefghij"


def test_appending_returns_the_size_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert append_durable(path, b"one") == 0
    assert append_durable(path, b"two") == 3
    assert path.read_bytes() == b"onetwo"


def test_an_append_that_finds_no_room_is_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    append_durable(path, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", after(0, os.write))
        with pytest.raises(OSError, match="No space"):
            append_durable(path, BIG)
    assert path.read_bytes() == b"one"
    check_trusted(tmp_path)


def test_after_an_fsync_that_failed_a_file_is_left_alone_and_its_folder_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    append_durable(path, b"one")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            append_durable(path, b" two")
        patch.setattr(os, "write", failing(errno.EROFS))
    assert path.read_bytes() == b"one two"
    with pytest.raises(StoreError, match="open"):
        check_trusted(tmp_path)
    check_trusted(tmp_path / "elsewhere")
    trust(doubts(tmp_path))
    check_trusted(tmp_path)


def test_what_is_written_again_is_the_same_and_reaches_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    append_durable(path, b"sealed, " + BIG)
    wrote: list[tuple[int, int]] = []
    real = os.pwrite

    def pwrite(fd: int, data: bytes, at: int) -> int:
        wrote.append((at, len(data)))
        return real(fd, data, at)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", pwrite)
        rewrite_durable(path, 8)
    assert path.read_bytes() == b"sealed, " + BIG
    assert wrote[0][0] == 8 and sum(n for _, n in wrote) == len(BIG)


def test_what_nobody_claims_any_more_is_shredded(tmp_path: Path) -> None:
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    mine.write_bytes(b"secret")
    theirs.mkdir()
    (theirs / "file").write_bytes(b"secret")
    fd = os.open(mine, os.O_RDONLY)
    claim(fd)
    shred_abandoned([mine, theirs, tmp_path / "gone"])
    assert mine.read_bytes() == b"secret" and not theirs.exists()
    os.close(fd)
    shred_abandoned([mine])
    assert not mine.exists()


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 5000, len(BIG) - 1, len(BIG)])
def test_what_is_cut_off_was_zeroed_from_its_front(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    path = tmp_path / "file"
    path.write_bytes(BIG)
    seen: list[bytes] = []
    real = os.fsync
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: (seen.append(path.read_bytes()), real(fd)))
        truncate_durable(path, size)
    assert path.read_bytes() == BIG[:size]
    for state in seen[:-1]:
        end = state[size:]
        assert state[:size] == BIG[:size]
        assert not any(end[:4096])
    assert not any(seen[-2][size:])


def test_shredding_overwrites_and_unlinks(tmp_path: Path) -> None:
    path, witness = tmp_path / "file", tmp_path / "witness"
    path.write_bytes(BIG)
    witness.hardlink_to(path)
    shred(path)
    assert not path.exists()
    assert witness.read_bytes() == bytes(len(BIG))
    shred(path)


def test_a_tree_is_shredded_and_what_links_point_to_is_not(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "letter").write_bytes(b"keep me")
    tree = tmp_path / "tree"
    (tree / "a" / "b").mkdir(parents=True)
    for name in ("one", "a/two", "a/b/three"):
        (tree / name).write_bytes(BIG[:100])
        (tmp_path / name.replace("/", "-")).hardlink_to(tree / name)
    (tree / "a" / "folder").symlink_to(mine)
    (tree / "letter").symlink_to(mine / "letter")
    (tree / "nowhere").symlink_to(tmp_path / "nowhere")
    shred_tree(tree)
    assert not tree.exists()
    assert (mine / "letter").read_bytes() == b"keep me"
    for name in ("one", "a-two", "a-b-three"):
        assert (tmp_path / name).read_bytes() == bytes(100)
    shred_tree(tree)
    (tmp_path / "link").symlink_to(mine)
    shred_tree(tmp_path / "link")
    assert (mine / "letter").read_bytes() == b"keep me"
    assert not (tmp_path / "link").is_symlink()


def test_a_file_that_can_not_be_overwritten_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"secret")
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", failing(errno.EIO))
        with pytest.raises(OSError, match="Input/output"):
            shred(path)
    assert path.read_bytes() == b"secret"


def test_every_file_and_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "one").write_bytes(b"1")
    (tree / "two").write_bytes(b"2")
    synced: list[str] = []
    real = os.fsync

    def note(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        real(fd)

    monkeypatch.setattr(os, "fsync", note)
    sync_inside(tree)
    assert set(synced) == {str(p) for p in (tree, tree / "a", tree / "a/one", tree / "two")}
    assert synced.index(str(tree / "a" / "one")) < synced.index(str(tree / "a"))
    assert synced[-1] == str(tree)
    synced.clear()
    write_durable(tmp_path / "file", b"x")
    assert synced[-1] == str(tmp_path) and len(synced) == 2
    synced.clear()
    append_durable(tmp_path / "new", b"x")
    append_durable(tmp_path / "new", b"y")
    assert synced == [str(tmp_path / "new"), str(tmp_path), str(tmp_path / "new")]
    with pytest.raises(FileNotFoundError):
        sync_dir(tmp_path / "nowhere")
    assert files.__all__ == sorted(files.__all__)


def test_a_file_that_was_cut_is_synced_after_the_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, done = tmp_path / "file", []
    append_durable(path, b"one two")
    for name in ("ftruncate", "fsync"):
        real = getattr(os, name)

        def call(*given: int, real: Callable[..., None] = real, name: str = name) -> None:
            done.append(name)
            real(*given)

        monkeypatch.setattr(os, name, call)
    truncate_durable(path, 3)
    assert path.read_bytes() == b"one" and done[-2:] == ["ftruncate", "fsync"]


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EIO, "x"), False),
        (OSError("LanceError(IO): File too large (os error 27), writer.rs"), True),
        (OSError("LanceError(IO): Read-only file system (os error 30)"), False),
        (OSError("LanceError(IO): No space left on device"), True),
        (ValueError("(os error 28)"), False),
        (None, False),
    ],
)
def test_a_full_disk_is_told_from_other_errors(error: Exception | None, full: bool) -> None:
    assert is_full(error) is full
    outer = StoreError("outer")
    outer.__cause__ = error
    assert is_full(outer) is full
