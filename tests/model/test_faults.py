"""A model killed at any moment, or on a disk that fails at any write, ends as its twin."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet import Receipt
from forgetnet.errors import ForgetIncomplete, ForgetNetError, StoreError
from forgetnet.model import ForgetNet
from tests.faults.cuts import PowerCutError, failing
from tests.model.house import DIM, opened, same, twin, world

ASKED = np.random.default_rng(5).normal(size=(5, DIM)).astype(np.float32)
N, MORE = 14, 18
"""Rows that a model has, and those that it has when it has learnt more."""
SEEN = world(MORE, subjects=6)
# On disk, after one step is before the next: what a cut leaves is the same.
LATE = pytest.mark.parametrize(
    "late", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["before", "after"]
)
KINDS = ["slices", pytest.param("torch", marks=pytest.mark.slow)]


@cache
def twins(rows: tuple[int, ...], kind: str) -> ForgetNet:
    return twin(SEEN, rows, kind)


def check(path: Path, kind: str, *expected: list[int]) -> None:
    """Open the model again: it is a twin, owes nothing, and lies about nothing."""
    with opened(path, kind) as net:
        others = [twins(tuple(rows), kind) for rows in expected]
        (other,) = [one for one in others if one.memory.digest() == net.memory.digest()]
        same(net, other, ASKED)
        named = {slot.file for row in net._core.shelf.slots.values() for slot in row}
        public = net._memory.public_key
        assert {file.name for file in (path / "experts").iterdir()} == named | {"manifest.json"}
    assert not list((path / "journal").iterdir())
    for file in (path / "receipts").iterdir():
        assert Receipt.load(file).verify(public).status == "erased"


def let_go(net: ForgetNet) -> None:
    """Let go of what a process that is gone would have let go of."""
    lock = net._parts.store._lock
    if lock is not None:
        lock.release()
        net._parts.store._lock = None


@pytest.fixture(scope="module")
def templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], None]:
    """Makes copies of a model that has learnt some rows."""
    root = tmp_path_factory.mktemp("made")

    def make(path: Path, kind: str) -> None:
        if not (root / kind).exists():
            with opened(root / kind, kind) as net:
                SEEN.learn(net, range(N))
        shutil.copytree(root / kind, path)

    return make


def steps_of(
    made: Callable[[Path, str], None], tmp_path: Path, kind: str, work: Callable[[ForgetNet], None]
) -> int:
    path = tmp_path / "counted"
    made(path, kind)
    with opened(path, kind) as net, failing(10**9, PowerCutError, after=False) as calls:
        work(net)
    return len(calls)


def but(subject: str, end: int) -> list[int]:
    return [i for i in SEEN.but(subject) if i < end]


def forget(net: ForgetNet) -> None:
    net._memory.forget(subject="s1")  # in this thread, so that the cut ends it


def more(net: ForgetNet) -> None:
    SEEN.learn(net, range(N, MORE))


@pytest.mark.parametrize("kind", KINDS)
@LATE
def test_a_cut_at_any_durable_step_of_a_forget(
    templates: Any, tmp_path: Path, kind: str, late: bool
) -> None:
    count = steps_of(templates, tmp_path, kind, forget)
    assert count > 8
    for n in range(1, count + 1):
        path = tmp_path / f"m{n}"
        templates(path, kind)
        net = opened(path, kind)
        with failing(n, PowerCutError, after=late), pytest.raises(PowerCutError):
            forget(net)
        let_go(net)
        check(path, kind, list(range(N)), but("s1", N))


@LATE
def test_a_cut_at_any_durable_step_of_learning(
    templates: Any, tmp_path: Path, late: bool
) -> None:
    kind = "slices"
    count = steps_of(templates, tmp_path, kind, more)
    for n in range(1, count + 1):
        path = tmp_path / f"m{n}"
        templates(path, kind)
        net = opened(path, kind)
        with failing(n, PowerCutError, after=late), pytest.raises(PowerCutError):
            more(net)
        let_go(net)
        with opened(path, kind) as net:
            assert net.count() in {N, MORE}
            same(net, twins(tuple(range(net.count())), kind), ASKED)


def forget_well(net: ForgetNet) -> None:
    receipt = net.forget(subject="s2")
    assert receipt.status == "erased", receipt.explain()


def full() -> OSError:
    return OSError(28, "No space left on device")


@LATE
@pytest.mark.parametrize("kind", KINDS)
def test_a_disk_that_fills_up_at_any_step_shows_the_subject_never_again(
    templates: Any, tmp_path: Path, kind: str, late: bool
) -> None:
    count = steps_of(templates, tmp_path, kind, forget)
    for n in range(1, count + 1):
        path = tmp_path / f"m{n}"
        templates(path, kind)
        net = opened(path, kind)
        gone = {SEEN.ids[i] for i in SEEN.of("s1")}
        with failing(n, full, after=late):
            accepted = attempt(net)
            if accepted:
                assert gone.isdisjoint(net._core.roster.targets)
                with contextlib.suppress(StoreError):  # no answer is no answer of the subject's
                    told = net.explain(SEEN.vectors[SEEN.of("s1")[0]])
                    assert gone.isdisjoint(i for i, _, _ in told.neighbours)
        # The disk is free again: the next change finishes what is owed, in the same process,
        # unless the store says that it must be opened again.
        net = changed(net, path, kind, more)
        left = but("s1", MORE)
        if net.count() > len(left):
            assert not accepted
            left = list(range(MORE))
        same(net, twins(tuple(left), kind), ASKED)
        net.close()
        with opened(path, kind) as again:
            same(again, twins(tuple(left), kind), ASKED)
        assert not list((path / "journal").iterdir())


def attempt(net: ForgetNet) -> bool:
    """Forget a subject, and tell whether the request was accepted."""
    try:
        assert net.forget(subject="s1").status == "erased"
    except ForgetIncomplete as error:
        return "records are still there" not in str(error)
    except StoreError as error:
        if "nothing was deleted" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
def test_an_error_at_any_step_and_a_kill_after_it(
    templates: Any, tmp_path: Path, late: bool
) -> None:
    kind = "slices"
    count = steps_of(templates, tmp_path, kind, forget)
    for n in range(1, count + 1):
        path = tmp_path / f"m{n}"
        templates(path, kind)
        net = opened(path, kind)
        with failing(n, full, after=late, once=True), contextlib.suppress(ForgetNetError):
            net.forget(subject="s1")
        net._queue.close(wait=False)
        let_go(net)
        check(path, kind, list(range(N)), but("s1", N))


def changed(net: ForgetNet, path: Path, kind: str, work: Callable[[ForgetNet], None]) -> ForgetNet:
    try:
        work(net)
    except ForgetNetError as error:
        if "open" not in str(error):
            raise
        net.close(wait=False)
        net = opened(path, kind)
        work(net)
    return net


@LATE
def test_a_disk_that_fills_up_while_learning_loses_no_record_from_the_sums(
    templates: Any, tmp_path: Path, late: bool
) -> None:
    kind = "slices"
    count = steps_of(templates, tmp_path, kind, more)
    for n in range(1, count + 1):
        path = tmp_path / f"m{n}"
        templates(path, kind)
        net = opened(path, kind)
        with failing(n, full, after=late), contextlib.suppress(ForgetNetError):
            more(net)
        net = changed(net, path, kind, forget_well)
        assert net.count() in {len(but("s2", N)), len(but("s2", MORE))}
        left = but("s2", N if net.count() == len(but("s2", N)) else MORE)
        same(net, twins(tuple(left), kind), ASKED)
        net.close()
        with opened(path, kind) as again:
            same(again, twins(tuple(left), kind), ASKED)


WORKER = """
import sys
from pathlib import Path
from tests.model.house import opened
from tests.model.test_faults import MORE, N, SEEN
net = opened(Path(sys.argv[1]), sys.argv[2])
print("ready", flush=True)
SEEN.learn(net, range(N, MORE))
print("learnt", flush=True)
pending = [net.request(subject=s) for s in ("s1", "s4")]
print("accepted", flush=True)
for one in pending:
    one.receipt()
print("done", flush=True)
"""


def killed(path: Path, kind: str, word: str, wait: float) -> list[str]:
    """Have a process work on a model, and kill it some time after it said a word."""
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'stores'}"}
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, str(path), kind],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        cwd=root,
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline().strip()]
        while said[-1] != word:
            said.append(child.stdout.readline().strip())
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        return [*said, *child.stdout.read().split()]


def hold(path: Path, kind: str, said: list[str]) -> None:
    """What was said to be done is, nothing is half done, and the rest is as never seen."""
    with opened(path, kind) as net:
        records = {record.id for record in net.memory.get_all()}
        live = {i for i in range(MORE) if SEEN.ids[i] in records}
        late = set(range(N, MORE))
        for subject in ("s1", "s4"):
            own = set(SEEN.of(subject))
            assert not own & live or "accepted" not in said
            assert own & live in (set(), own, own - late)
        others = set(SEEN.but("s1", "s4"))
        assert others & live in ((others,) if "learnt" in said else (others, others - late))
        same(net, twin(SEEN, sorted(live), kind), ASKED)
        public = net._memory.public_key
    assert not list((path / "journal").iterdir())
    receipts = [Receipt.load(file) for file in (path / "receipts").iterdir()]
    assert len(receipts) == len({"s1", "s4"} - {SEEN.subjects[i] for i in live})
    assert all(receipt.verify(public).status == "erased" for receipt in receipts)


def kill_at(templates: Any, tmp_path: Path, count: int, seed: int) -> None:
    chance = random.Random(seed)
    for n in range(count):
        path, kind = tmp_path / f"m{n}", ("slices", "torch")[n % 2]
        templates(path, kind)
        word = ("ready", "learnt", "accepted")[n % 3]
        longest = {"ready": 1.2, "learnt": 0.05, "accepted": 0.3}[word]
        hold(path, kind, killed(path, kind, word, chance.random() * longest))


def test_real_kills_at_random_moments(templates: Any, tmp_path: Path) -> None:
    kill_at(templates, tmp_path, 6, 3)


@pytest.mark.slow
def test_fifty_real_kills_at_random_moments(templates: Any, tmp_path: Path) -> None:
    kill_at(templates, tmp_path, 50, 4)
