"""Killed at any moment, the store comes back with every acknowledged change and no half of one."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
import zlib
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from forgetnet.record import Record
from forgetnet.store import Floats, StoreConfig
from forgetnet_stores.lance import LanceStore
from forgetnet_stores.memory import MemoryStore
from tests.contract.kit import config, places, record, rows_on_disk, strays, vectors

KILLS = 30
CONFIG = config(8)
Model = dict[str, str]
Op = tuple[str, Any]


def made(texts: Model) -> tuple[list[Record], Floats, Floats]:
    """Make records whose vectors follow from their texts."""
    records = [record(i, text, subject=f"s{i.split('-')[0]}") for i, text in texts.items()]
    seed = zlib.crc32(repr(sorted(texts.items())).encode())
    return records, vectors(len(records), seed), places(len(records), seed)


def choose(rng: random.Random, live: list[str], n: int) -> Op:
    kind = rng.choices(["add", "many", "delete", "replace", "purge"], [8, 1, 6, 3, 3])[0]
    if kind == "many":
        return "add", {f"{n}-{i}": f"many {n}" for i in range(260)}
    if kind == "add" or not live:
        return "add", {f"{n}-{i}-{rng.random()}": f"text {n}" for i in range(rng.randint(1, 9))}
    if kind == "delete":
        return "delete", rng.sample(live, min(len(live), rng.choice([1, 5, 200])))
    if kind == "replace":
        return "replace", dict.fromkeys(rng.sample(live, min(len(live), 4)), f"again {n}")
    return "purge", None


def apply(store: LanceStore, op: Op) -> None:
    kind, what = op
    if kind == "delete":
        store.delete(what)
    elif kind == "purge":
        store.purge()
    else:
        store.add(*made(what), replace=kind == "replace")


def after(model: Model, op: Op) -> Model:
    kind, what = op
    if kind == "delete":
        return {i: text for i, text in model.items() if i not in what}
    return model if kind == "purge" else model | what


def work(path: Path, settings: StoreConfig, seed: int, pipe: Connection) -> None:
    """Change the store until killed, saying what is begun and what is done."""
    rng = random.Random(seed)
    store = LanceStore(path, settings)
    for n in itertools.count(seed * 10_000):
        op = choose(rng, sorted(r.id for r in store.scan()), n)
        pipe.send(("begun", op))
        apply(store, op)
        pipe.send(("done", op))


def heard(pipe: Connection) -> list[tuple[str, Op]]:
    said = []
    while True:
        try:
            said.append(pipe.recv())
        except (EOFError, OSError):  # a kill may come in the middle of a word
            return said


def test_thirty_kills_lose_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "store"
    LanceStore(path, CONFIG).close()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.test_lance_crash"])
    model: Model = {}
    rng = random.Random(1)
    halfway = done = 0
    for seed in range(KILLS):
        pipe, there = context.Pipe(duplex=False)
        child = context.Process(target=work, args=(path, CONFIG, seed, there))
        child.start()
        there.close()
        assert pipe.poll(60)  # it has opened the store
        time.sleep(rng.random() * 0.2)
        child.kill()
        said = heard(pipe)
        child.join()
        for status, op in said:
            if status == "done":
                model = after(model, op)
        begun = said[-1][1] if said[-1][0] == "begun" else ("purge", None)
        halfway += said[-1][0] == "begun"
        done += len(said) // 2
        store = LanceStore(path, CONFIG)
        found = {r.id: r.text for r in store.scan()}
        assert found in (model, after(model, begun)), (seed, begun[0])
        model = {i: str(text) for i, text in found.items()}
        assert not strays(path)
        if said[-1] == ("done", ("purge", None)):
            assert {row["id"] for row in rows_on_disk(path)} == set(found)
        twin = MemoryStore(Path(), CONFIG)
        ids = list(found)
        twin.add(list(store.get(ids).values()), *store.vectors(ids))
        assert store.digest() == twin.digest()
        if seed % 7 == 6:
            store.purge()
            assert {row["id"] for row in rows_on_disk(path)} == set(found)
        store.close()
    assert halfway > KILLS // 3
    assert done > KILLS
