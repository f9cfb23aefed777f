"""The power is cut right after an acknowledgement, on a disk that keeps only what was synced.

Runs of the long test: ``FORGETNET_CUTS``, 12 unless it is set.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from forgetnet import ForgetNetError, Memory, opening
from forgetnet.audit.layout import check_layout
from forgetnet.ledger import Ledger
from forgetnet.store import StoreConfig
from forgetnet_stores.lance import engine
from tests.faults.life import Life
from tests.faults.power import Plug, plugged
from tests.model.house import DIM, opened, same, twin, world

CUTS = int(os.environ.get("FORGETNET_CUTS", "12"))


@pytest.fixture(scope="module")
def plug(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plug]:
    with plugged(tmp_path_factory.mktemp("power") / "disk") as found:
        yield found


@pytest.fixture(autouse=True)
def small_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have leaves split and merge within a few records, and 20 records be many."""
    monkeypatch.setattr(opening, "StoreConfig", partial(StoreConfig, cap=12))
    monkeypatch.setattr(engine, "_LARGE", 20)


def abandon(memory: Memory) -> None:
    """Let go of a memory whose disk is gone."""
    with contextlib.suppress(OSError, ForgetNetError):
        memory.close()


def live_and_cut(plug: Plug, seed: int) -> Life:
    """Live a random life with two cuts of the power, and check it after each."""
    plug.renew()
    life = Life(plug.path, random.Random(seed))
    for again in range(2):
        memory = life.open()
        for _ in range(life.chance.randint(1, 6)):
            memory = life.go_on(memory)
        # Either nothing that wasn't synced is there, or any part of it.
        plug.cut(None if (seed + again) % 2 else seed)
        abandon(memory)
        with life.open() as memory:
            life.check(memory)
    life.check_backups()
    return life


@pytest.mark.parametrize("seed", range(4))
def test_what_was_acknowledged_outlives_a_power_cut(plug: Plug, seed: int) -> None:
    assert live_and_cut(plug, seed).told


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 100 + CUTS))
def test_many_lives_with_power_cuts(plug: Plug, seed: int) -> None:
    assert live_and_cut(plug, seed).told


@pytest.mark.parametrize("verb", ["add", "delete", "forget"])
def test_without_a_sync_the_cut_takes_what_was_acknowledged(
    plug: Plug, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """Else the others would show nothing."""
    plug.renew()
    life = Life(plug.path, random.Random(1))
    with life.open() as memory:
        for _ in range(3):
            life.add(memory)
    memory = life.open()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: None)
        getattr(life, verb)(memory)
        plug.cut()
    abandon(memory)
    with pytest.raises((AssertionError, ForgetNetError)), life.open() as memory:
        life.check(memory)


def test_a_memory_that_was_just_made_outlives_a_power_cut(plug: Plug) -> None:
    plug.renew()
    path = Path(plug.path / "a" / "b" / "kb")
    memory = Memory.open(path, encoder="hash:16")
    memory.add("one", ids="one")
    public = memory.public_key
    plug.cut()
    abandon(memory)
    with Memory.open(path) as memory:
        assert memory.public_key == public
        assert [record.id for record in memory.get_all()] == ["one"]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 9))]
)
def test_what_a_model_forgot_outlives_a_power_cut(plug: Plug, seed: int) -> None:
    plug.renew()
    chance, seen = random.Random(seed), world(30, seed=seed)
    kind = chance.choice(["sums", "slices", "torch", "tree"])
    net = opened(plug.path / "kb", kind)
    seen.learn(net, range(20))
    gone, learnt = chance.sample([f"s{n}" for n in range(8)], 2), 20
    receipts = [net.forget(subject=gone[0])]
    if chance.random() < 0.5:
        learnt = 30
        seen.learn(net, [i for i in range(20, 30) if seen.subjects[i] != gone[0]])
    receipts.append(net.forget(subject=gone[1]))
    plug.cut(None if seed % 2 else seed)
    with contextlib.suppress(OSError, ForgetNetError):
        net.close()
    net = opened(plug.path / "kb", kind)
    rest = [i for i in seen.but(*gone) if i < learnt]
    same(net, twin(seen, rest, kind), np.eye(5, DIM, dtype=np.float32))
    net.close()
    assert not check_layout(plug.path / "kb") and not list((plug.path / "kb/journal").iterdir())
    ledger = Ledger(plug.path / "kb" / "ledger.jsonl", read_only=True)
    for receipt in receipts:
        assert receipt.status == "erased" and ledger.find(receipt.entry) is not None
