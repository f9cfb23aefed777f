"""A forget in shared weights that is cut short anywhere ends as its twin, and never lies."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from forgetnet import Memory, Receipt
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import ForgetNetError
from forgetnet.fallback import Entangled, Ladder
from tests.fallback.house import LIGHT, PEOPLE, RETRAIN, opened, part, records
from tests.faults.cuts import PowerCutError, failing


def let_go(memory: Memory) -> None:
    """Let go of what a process that is gone would have let go of."""
    lock = memory._store._lock
    if lock is not None:
        lock.release()
        memory._store._lock = None


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], tuple[Memory, Entangled]]:
    root = tmp_path_factory.mktemp("made")
    model = part(root / "w")
    with opened(root / "m", model) as memory:
        memory.add(records(PEOPLE[:3]))
        model.fit()

    def copy(path: Path) -> tuple[Memory, Entangled]:
        shutil.copytree(root, path)
        return again(path)

    return copy


def again(path: Path) -> tuple[Memory, Entangled]:
    # The first rung is too weak: each cut may fall into either, or into the audit between them.
    model = part(path / "w", LIGHT, RETRAIN)
    return opened(path / "m", model), model


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> str:
    model = part(None)
    with opened(tmp_path_factory.mktemp("twin") / "m", model) as memory:
        memory.add(records(PEOPLE[1:3]))
        model.fit()
        return model.digest()


def check(path: Path, twin: str, untouched: str) -> None:
    """Open it again: all of it has happened, or nothing."""
    memory, model = again(path)
    with memory:
        gone = not memory.count({"subject": "ann"})
        if gone and model.behind:  # cut before the journal knew: nothing was promised
            pytest.fail("records are gone that the model still holds, and no forget is owed")
        assert model.digest() == (twin if gone else untouched)
        memory.forget(subject="ann")
        assert model.digest() == twin
        public = memory.public_key
    files = sorted(p.suffix for p in (path / "w").rglob("*"))
    assert files == [".json", ".safetensors"]
    assert not list((path / "m" / "journal").iterdir())
    for file in (path / "m" / "receipts").iterdir():
        assert Receipt.load(file).verify(public).status in {"erased", "not_found"}
    for file in (path / "w").iterdir():
        assert b"ann-" not in file.read_bytes()


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_a_cut_at_any_durable_step(
    make: Callable[[Path], tuple[Memory, Entangled]], tmp_path: Path, twin: str, late: bool
) -> None:
    memory, model = make(tmp_path / "counted")
    untouched = model.digest()
    with memory, failing(10**9, PowerCutError, after=False) as calls:
        memory.forget(subject="ann")
    assert len(calls) > 20
    for n in range(1, len(calls) + 1):
        memory, _ = make(tmp_path / f"{n}")
        with failing(n, PowerCutError, after=late), pytest.raises(PowerCutError):
            memory.forget(subject="ann")
        let_go(memory)
        check(tmp_path / f"{n}", twin, untouched)
        shutil.rmtree(tmp_path / f"{n}")


def test_a_disk_that_fails_at_any_step_claims_nothing_and_goes_on(
    make: Callable[[Path], tuple[Memory, Entangled]], tmp_path: Path, twin: str
) -> None:
    memory, model = make(tmp_path / "counted")
    untouched = model.digest()
    with memory, failing(10**9, OSError, after=False) as calls:
        memory.forget(subject="ann")
    for n in range(1, len(calls) + 1, 2):
        memory, _ = make(tmp_path / f"{n}")
        full = failing(n, lambda: OSError(28, "no space"), after=False, once=True)
        with memory, full, contextlib.suppress(ForgetNetError, OSError):
            memory.forget(subject="ann")
        check(tmp_path / f"{n}", twin, untouched)
        shutil.rmtree(tmp_path / f"{n}")


def test_an_unlearner_that_needs_the_records_still_has_them_after_a_cut(
    make: Callable[[Path], tuple[Memory, Entangled]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By then no byte of them is left in the memory."""
    every = frozenset(Verdict) - {Verdict.INCONSISTENT}
    ladder = Ladder((LIGHT,), accept=every, skip=False)
    make(tmp_path / "a")[0].close()
    model = part(tmp_path / "a/w", ladder=ladder)
    memory = opened(tmp_path / "a/m", model)
    with monkeypatch.context() as patch:

        def cut(*_: object) -> None:
            raise PowerCutError

        patch.setattr(Entangled, "_unlearnt", cut)
        with pytest.raises(PowerCutError):
            memory.forget(subject="ann")
    let_go(memory)
    assert any(b"ann-" in file.read_bytes() for file in (tmp_path / "a/w").iterdir())
    model = part(tmp_path / "a/w", ladder=ladder)
    with opened(tmp_path / "a/m", model) as memory:
        assert [a["method"] for a in model.attempts] == ["nothing", "gradient_difference"]
        assert model.attempts[1]["accepted"]
        assert not any(b"ann-" in file.read_bytes() for file in (tmp_path / "a/w").iterdir())
        (receipt,) = [Receipt.load(file) for file in (tmp_path / "a/m/receipts").iterdir()]
        assert receipt.verify(memory.public_key).status == "unsupported"
