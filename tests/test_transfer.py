"""An import takes a whole file or nothing of it, and one that was cut short goes on."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet import InvalidRecord, Memory, Record, StoreError, VectorsOnly
from forgetnet.encode import HashEncoder
from forgetnet.exchange import check_memory, encode_line
from tests.faults.disks import disk

KEY = bytes(range(32))
ROWS = 1200  # three batches


def open_(where: Path | str, encoder: str = "hash:16") -> Memory:
    return Memory.open(where, encoder=encoder, key=KEY)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An export, and the digest of the memory it came from."""
    path = tmp_path_factory.mktemp("source") / "all.jsonl"
    with open_("memory://") as memory:
        memory.add(
            [
                Record(f"text {n}", id=f"m{n}", subject=f"s{n % 7}", metadata={"n": n})
                for n in range(ROWS)
            ]
        )
        memory.export(path)
        return path, memory.digest()


def line(**fields: Any) -> str:
    return json.dumps({"id": "new", "text": "a secret", **fields})


def content(*values: float) -> Any:
    vector = np.asarray(values, np.float32)
    return json.loads(encode_line(Record(id="x", vector=vector)))["content"]


BROKEN: dict[str, Callable[[list[str]], str]] = {
    "not JSON": lambda lines: lines[-1][:-5],
    "a twin of the first": lambda lines: lines[1],
    "the id of the first": lambda lines: line(id=json.loads(lines[1])["id"]),
    "an id of the memory": lambda _: line(id="taken"),
    "a short vector": lambda _: line(content=content(1.0, 0.0)),
    "a vector of zeros": lambda _: line(content=content(*[0.0] * 16)),
    "a malformed topic": lambda _: line(topic="a//b"),
    "metadata that change": lambda _: line(metadata={"n": float("nan")}),
    "nothing": lambda _: "",
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_file_with_one_bad_line_at_its_end_stores_nothing(fault, source, tmp_path) -> None:
    lines = source[0].read_text(encoding="utf-8").splitlines()
    lines[-1] = BROKEN[fault](lines)
    path = tmp_path / "bad.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    with open_("memory://") as memory:
        memory.add("was here before", ids="taken")
        before = memory.digest()
        with pytest.raises(InvalidRecord) as refused:
            memory.import_(path)
        assert memory.digest() == before
    assert "secret" not in str(refused.value)


def test_a_vector_of_another_length_is_refused_though_the_header_names_none(tmp_path) -> None:
    path = tmp_path / "bad.jsonl"
    head = json.dumps({"forgetnet": 1, "encoder": HashEncoder(16).digest})
    path.write_text(f"{head}\n{line(content=content(1.0, 0.0))}\n", encoding="utf-8")
    with pytest.raises(InvalidRecord, match="a vector of 2 numbers, not 16"):
        check_memory(path, HashEncoder(16))
    path.write_text(f"{json.dumps({'forgetnet': 1})}\n{line()}\n", encoding="utf-8")
    with pytest.raises(InvalidRecord, match="no encoder"):
        check_memory(path, VectorsOnly(16))


def test_ids_that_come_twice_far_apart_are_named(tmp_path) -> None:
    path = tmp_path / "twice.jsonl"
    ids = [f"m{n}" for n in range(2000)]
    ids += ["m3", "m7", "m7"]
    text = "\n".join([json.dumps({"forgetnet": 1}), *(line(id=i) for i in ids)])
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InvalidRecord, match="'m3', 'm7'; nothing"):
        check_memory(path, HashEncoder(16))


def test_what_is_stored_already_is_passed_over_and_what_was_changed_is_refused(
    source, tmp_path
) -> None:
    path, digest = source
    with open_(tmp_path / "kb") as memory:
        ids = memory.import_(path)
        assert memory.import_(path) == ids
        assert memory.digest() == digest
        for change in ({"text": "other"}, {"metadata": {"n": False}}, {"vector": np.ones(16)}):
            memory.update("m0", **change)  # False is not 0
            before = memory.digest()
            with pytest.raises(InvalidRecord, match="'m0'"):
                memory.import_(path)
            assert memory.digest() == before
            memory.delete("m0")
            memory.import_(path)
            assert memory.digest() == digest


def test_a_full_disk_says_how_far_it_came_and_the_same_file_goes_on(
    source, tmp_path, monkeypatch
) -> None:
    path, digest = source
    with disk("limit", tmp_path / "disk") as small, open_(small.path / "kb") as memory:
        real = Memory.add

        def add(self: Memory, *args: Any, **options: Any) -> list[str]:
            stored = real(self, *args, **options)
            small.fill_up()
            return stored

        with monkeypatch.context() as patch:
            patch.setattr(Memory, "add", add)
            with pytest.raises(StoreError, match=r"the first 512 records .* go on") as refused:
                memory.import_(path)
        small.free()
        assert memory.count() == 512
        names = [json.loads(told)["id"] for told in path.read_text().splitlines()[1:]]
        assert all(memory.get(i) for i in names[:512])
        assert repr(names[511]) in str(refused.value)
        assert memory.import_(path) == names
        assert memory.digest() == digest


class PowerCutError(BaseException):
    """Not an error that any handler may swallow."""


def test_after_a_crash_in_the_middle_the_same_file_goes_on(source, tmp_path, monkeypatch) -> None:
    path, digest = source
    calls: Iterator[int] = iter(range(9))
    real = Memory.add

    def add(self: Memory, *args: Any, **options: Any) -> list[str]:
        if next(calls) == 2:
            raise PowerCutError
        return real(self, *args, **options)

    with monkeypatch.context() as patch, open_(tmp_path / "kb") as memory:
        patch.setattr(Memory, "add", add)
        with pytest.raises(PowerCutError):
            memory.import_(path)
    with open_(tmp_path / "kb") as memory:
        assert memory.count() == 1024
        assert len(memory.import_(path)) == ROWS
        assert memory.digest() == digest


def test_checking_holds_a_batch_and_not_the_file(tmp_path) -> None:
    peaks = []
    for rows in (1_500, 6_000):
        path = tmp_path / f"{rows}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            file.write('{"forgetnet":1}\n')
            file.writelines(line(id=f"m{n}", text="word " * 400) + "\n" for n in range(rows))
        tracemalloc.start()
        check_memory(path, HashEncoder(16))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100 * 4_500  # an id's worth, where a text is 2,000 bytes
