"""Bad input, bad folders and the edges of what can be learnt: refused by name, or handled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet import Memory
from forgetnet.encode import VectorsOnly
from forgetnet.errors import (
    EncoderMismatch,
    ForgetNetError,
    InvalidRecord,
    InvalidScope,
    StoreCorrupt,
    StoreError,
)
from forgetnet.model import ForgetNet
from tests.model.house import DIM, KEY, opened, router, same, stack, twin, world

SEEN = world(16, subjects=4)
ASKED = SEEN.vectors[:3]
BAD = np.ones((2, DIM), np.float32)
BAD[1, 3] = np.nan
HUGE = np.ones((2, DIM), np.float32)
HUGE[0, 0] = np.inf

REFUSED: dict[str, Any] = {
    "labels of two kinds": (SEEN.vectors[:2], ["a", 1]),
    "a number among strings that are there": (SEEN.vectors[:1], [1]),
    "truth values and numbers": (SEEN.vectors[:2], [True, 1]),
    "a label that is not finite": (SEEN.vectors[:1], [float("nan")]),
    "a label beyond all numbers": (SEEN.vectors[:1], [10**400]),
    "a list as a label": (SEEN.vectors[:1], [["a", "b"]]),
    "too many labels": (SEEN.vectors[:2], ["a", "b", "c"]),
    "too few labels": (SEEN.vectors[:2], ["a"]),
    "nan": (BAD, ["a", "b"]),
    "infinity": (HUGE, ["a", "b"]),
    "another dimension": (np.ones((2, DIM + 1)), ["a", "b"]),
    "three dimensions": (np.ones((2, DIM, 1)), ["a", "b"]),
    "a vector of nothing": (np.zeros((1, DIM)), ["a"]),
    "text for an encoder of vectors": (["a text"], ["a"]),
    "nothing at all": (None, ["a"]),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_learnt_is_refused_and_nothing_is_stored(why: str) -> None:
    net = opened()
    SEEN.learn(net, range(16))
    before = net.digest(), net.memory.digest()
    X, y = REFUSED[why]
    with pytest.raises(InvalidRecord):
        net.partial_fit(X, y)
    assert (net.digest(), net.memory.digest()) == before


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_record_without_a_label_is_stored_and_searched_and_teaches_nothing(task: Any) -> None:
    net, twin = opened(task=task), opened(task=task)
    with pytest.raises(InvalidRecord, match="label"):
        net.fit(SEEN.vectors[:2], [None, None])
    SEEN.learn(net, range(16))
    SEEN.learn(twin, range(16))
    (one,) = net.partial_fit(-SEEN.vectors[:1], [None], subjects=["new"])
    assert net.digest() == twin.digest()
    assert net.memory.search(-SEEN.vectors[0], k=1)[0].id == one
    assert net.forget(subject="new").status == "erased"


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400, "a", [], [1.0, "b"]])
def test_targets_of_a_regression_are_finite_numbers(value: Any) -> None:
    net = opened(task="regression")
    SEEN.learn(net, range(16))
    before = net.digest()
    with pytest.raises(InvalidRecord):
        net.partial_fit(SEEN.vectors[:1], [value])
    with pytest.raises(InvalidRecord):
        net.partial_fit(SEEN.vectors[:1], [[1.0, 2.0, 3.0]])
    assert net.digest() == before


@pytest.mark.parametrize("kind", ["torch", "tree", "sums"])
def test_enormous_targets_are_learnt_or_refused_but_never_in_the_way(kind: str) -> None:
    for value in (1e38, 1e300, -1.7e308, 5e-324):
        net = opened(kind=kind, task="regression", cap=100)
        SEEN.learn(net, range(16))
        try:
            net.partial_fit(SEEN.vectors[:1], [[value, 0.0]], ids=["big"], subjects=["giant"])
        except InvalidRecord:
            assert net.memory.get("big") is None
        else:
            assert net.forget(subject="giant").status == "erased"
        same(net, twin(SEEN, range(16), kind, task="regression", cap=100), ASKED)


def test_ids_come_once() -> None:
    net = opened()
    with pytest.raises(InvalidRecord):
        net.fit(SEEN.vectors[:2], ["a", "b"], ids=["x", "x"])
    net.fit(SEEN.vectors[:1], ["a"], ids=["x"])
    with pytest.raises(InvalidRecord):
        net.partial_fit(SEEN.vectors[:1], ["a"], ids=["x"])
    assert net.count() == 1


def test_one_string_is_the_label_of_all() -> None:
    net = opened()
    net.fit(SEEN.vectors[:3], "cat")
    assert net.predict(ASKED).tolist() == ["cat"] * 3


def test_whole_numbers_and_fractions_are_two_kinds_of_label() -> None:
    net = opened(kind="slices")
    with pytest.raises(InvalidRecord, match="kinds"):
        net.fit(SEEN.vectors[:4], [1, 2.0, 0.5, 1.0])
    net.fit(SEEN.vectors[:4], [0.0, 1.0, 0.5, -0.0], ids=list("abcd"), subjects=list("abcd"))
    assert str(net.classes_.tolist()) == "[0.0, 0.5, 1.0]"
    net.forget(ids="a")
    other = opened(kind="slices")
    other.fit(SEEN.vectors[1:4], [1.0, 0.5, 0.0], ids=list("bcd"), subjects=list("bcd"))
    assert net.classes_.tolist() == other.classes_.tolist()
    with pytest.raises(InvalidRecord, match="kinds"):
        net.partial_fit(SEEN.vectors[:1], [1])


def test_a_new_label_is_a_new_class() -> None:
    net = opened()
    SEEN.learn(net, range(16))
    net.partial_fit(SEEN.vectors[:2] + 9.0, ["zebra", "zebra"], subjects="zoo")
    assert net.classes_.tolist()[-1] == "zebra"
    assert net.forget(subject="zoo").status == "erased"
    same(net, twin(SEEN, range(16)), ASKED)


def test_what_is_not_there_is_not_found() -> None:
    net = opened()
    SEEN.learn(net, range(16))
    before = net.digest()
    assert net.forget(subject="nobody").status == "not_found"
    assert net.request(ids=["no", "such"]).receipt(60).status == "not_found"
    assert net.digest() == before
    for wrong in ({}, {"subject": "a", "ids": ["b"]}, {"subject": "s1", "verify": "a bit"}):
        with pytest.raises(InvalidScope):
            net.forget(**wrong)
    with pytest.raises(InvalidScope):
        net.request(subject="s1", reason=3)  # on purpose
    assert net.digest() == before


@pytest.mark.parametrize("kind", ["sums", "torch", "slices", "leaves", "tree", "memory"])
def test_all_is_forgotten_and_learnt_again(kind: str, tmp_path: Path) -> None:
    net = opened(tmp_path / "m", kind)
    with pytest.raises(InvalidRecord, match="learnt nothing"):
        net.predict(ASKED)
    SEEN.learn(net, range(16))
    with pytest.raises(InvalidRecord, match="partial_fit"):
        net.fit(ASKED, ["a", "b", "c"])
    assert net.forget(filter={"metadata.label": {"$in": list("abc")}}).status == "erased"
    for ask in (net.predict, net.predict_proba, net.explain):
        with pytest.raises(InvalidRecord, match="learnt nothing"):
            ask(ASKED[:1])
    assert net.count() == 0 and net.classes_.tolist() == []
    SEEN.learn(net, range(4))
    same(net, twin(SEEN, range(4), kind), ASKED)
    net.close()
    assert {p.suffix for p in (tmp_path / "m" / "experts").iterdir()} <= {".json", ".safetensors"}


@pytest.mark.parametrize("kind", ["torch", "slices", "tree"])
def test_a_leaf_of_one_class_and_then_of_none(kind: str) -> None:
    net = opened(kind=kind, cap=1)
    rows = [i for i in range(16) if SEEN.labels[i] == "a"]
    SEEN.learn(net, rows)
    assert set(net.predict(ASKED)) == {"a"}
    for i in rows[:-1]:
        assert net.forget(ids=SEEN.ids[i]).status == "erased"
    same(net, twin(SEEN, rows[-1:], kind, cap=1), ASKED)


# -- folders


def filled(path: Path, kind: str = "slices") -> str:
    with opened(path, kind) as net:
        SEEN.learn(net, range(16))
        return net.digest()


def test_other_settings_are_refused_and_none_are_taken_from_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "m"
    digest = filled(path)
    for other in (
        {"kind": "torch"},
        {"cap": 7},
        {"weights": {"ridge": 3.0}},
        {"router": router("topic-record")},
    ):
        with pytest.raises(StoreError, match="other experts"):
            opened(path, **{"kind": "slices", **other})
    with pytest.raises(EncoderMismatch):
        opened(path, "slices", encoder=VectorsOnly(DIM + 1))
    with pytest.raises(StoreError, match="another key"):
        opened(path, "slices", key=bytes(32))
    with ForgetNet.load(path, key=KEY, progress=False) as net:
        assert net.digest() == digest
    with pytest.raises(StoreCorrupt, match="holds no model"):
        ForgetNet.load(tmp_path / "nothing", key=KEY)


def files_of(path: Path) -> list[Path]:
    return sorted((path / "experts").glob("*.safetensors"))


def change(files: list[Path], n: int, how: str) -> None:
    data = files[n].read_bytes()
    flipped = bytearray(data)
    flipped[-1 - n % 7] ^= 4
    other = files[n - 1].read_bytes()
    files[n].write_bytes({"cut": data[:-5], "flip": flipped, "empty": b"", "swap": other}[how])


@pytest.mark.parametrize("how", ["cut", "flip", "empty", "swap"])
def test_a_changed_file_never_answers(tmp_path: Path, how: str) -> None:
    digest = filled(tmp_path / "made")
    refused = resumed = 0
    for n in range(len(files_of(tmp_path / "made"))):
        path = tmp_path / str(n)
        shutil.copytree(tmp_path / "made", path)
        change(files_of(path), n, how)
        try:
            net = opened(path, "slices")
        except StoreCorrupt as error:
            refused += "learnt anew" in str(error)
            file = Path(str(error).split(" ")[0])
            file.unlink()
            net = opened(path, "slices")
        else:
            resumed += 1  # a checkpoint that nothing goes on from yet
        assert net.digest() == digest
        net.forget(subject=f"s{n % 4}")
        same(net, twin(SEEN, SEEN.but(f"s{n % 4}"), "slices"), ASKED)
        net.close()
    assert refused and resumed


def test_a_missing_file_is_learnt_anew(tmp_path: Path) -> None:
    digest = filled(tmp_path / "made")
    for n, file in enumerate(files_of(tmp_path / "made")):
        path = tmp_path / str(n)
        shutil.copytree(tmp_path / "made", path)
        (path / "experts" / file.name).unlink()
        with opened(path, "slices") as net:
            assert net.digest() == digest
    shutil.rmtree(tmp_path / "made" / "experts")
    with pytest.raises(StoreError, match="adopt"):
        opened(tmp_path / "made", "slices")
    with opened(tmp_path / "made", "slices", adopt=True) as net:
        assert net.digest() == digest


def test_a_manifest_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m"
    filled(path)
    manifest = path / "experts" / "manifest.json"
    good = json.loads(manifest.read_text())
    row = good["states"][0]
    for wrong in (
        [],
        {},
        {**good, "format": 2},
        {**good, "states": [{}]},
        {**good, "states": [{**row, "file": "../key"}]},
        {**good, "states": [{**row, "file": 3}]},
        {**good, "model": []},
    ):
        manifest.write_text(json.dumps(wrong))
        with pytest.raises(StoreCorrupt):
            opened(path, "slices")
    manifest.write_bytes(b"\xff{")
    with pytest.raises(StoreCorrupt):
        opened(path, "slices")


def test_strays_are_shredded_and_folders_are_named(tmp_path: Path) -> None:
    path = tmp_path / "m"
    digest = filled(path)
    (path / "experts" / "copy.safetensors").write_bytes(files_of(path)[0].read_bytes())
    (path / "experts" / ".manifest.json.00.tmp").write_bytes(b"{")
    with opened(path, "slices") as net:
        assert net.digest() == digest
        assert not (path / "experts" / "copy.safetensors").exists()
    (path / "experts" / "folder").mkdir()
    with pytest.raises(StoreError, match="remove it"):
        opened(path, "slices")


def test_the_memory_of_a_model_is_read_and_not_changed_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "m"
    filled(path)
    with pytest.raises(StoreError, match=r"ForgetNet\.open"):
        Memory.open(path, key=KEY)
    with Memory.open(path, key=KEY, readonly=True) as memory:
        assert memory.count() == 16
        with pytest.raises(StoreError):
            memory.forget(subject="s1")


def test_a_closed_model_says_so(tmp_path: Path) -> None:
    for place in ("memory://", tmp_path / "m"):
        for kind in ("sums", "torch"):
            net = opened(place if place == "memory://" else tmp_path / kind, kind)
            SEEN.learn(net, range(16))
            net.close()
            net.close()
            asks = (
                lambda net=net: net.predict(ASKED),
                lambda net=net: net.explain(ASKED[0]),
                lambda net=net: SEEN.learn(net, [1]),
                lambda net=net: net.forget(subject="s1"),
                lambda net=net: net.request(subject="s1"),
                lambda net=net: net.digest(),
                lambda net=net: net.sweep(),
                lambda net=net: net.save(tmp_path / "copy"),
            )
            for ask in asks:
                with pytest.raises(StoreError, match="closed"):
                    ask()


def test_settings_that_make_no_sense() -> None:
    for wrong in (
        {"experts": []},
        {"experts": [*stack("sums"), *stack("sums")]},
        {"experts": stack("sums", "regression")[:1]},
        {"weights": {"nobody": 1.0}},
        {"weights": {"ridge": -1.0}},
        {"weights": {"ridge": float("nan")}},
        {"weights": {"ridge": 0.0, "torch": 0.0, "memory": 0.0}},
        {"cap": 0},
    ):
        with pytest.raises(ForgetNetError):
            opened(**wrong)


def test_the_kinds_used_here_are_those_of_the_house() -> None:
    assert {e.name for e in stack("slices")} == {"ridge", "prototype", "torch", "memory"}
