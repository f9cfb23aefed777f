"""Adding, searching, opening and encoding: ForgetNet and its peers, in turn."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from bench import KEY, Bench, K, Row, at_least, at_most
from material import Floats, Material, material, queries
from peers import Flat, Lance, arrow, dictionaries
from timing import (
    cost,
    folder_files,
    in_turn,
    one_thread,
    parts,
    percentile,
    seconds,
    spread,
    sync_new,
    tell,
)

from forgetnet import Memory, Record
from forgetnet.encode import Encoder, minilm

_MICRO = 1e6

# -- adding


def _add_ours(bench: Bench, data: list[Record], size: int) -> tuple[float, float]:
    bench.fresh("add-ours")
    with bench.memory("add-ours") as memory:
        costs = [
            cost(partial(memory.add, data[start:stop], progress=False))
            for start, stop in parts(len(data), size)
        ]
    return sum(wall for wall, _ in costs), sum(used for _, used in costs)


def _add_lance(
    bench: Bench, data: Material, size: int, *, plain: bool
) -> tuple[float, float, float]:
    """Return the seconds of adding, of the processor, and of then fsyncing what each call wrote."""
    root = bench.fresh("add-lance")
    table = Lance(root)
    seen: set[Path] = set()
    taken = used = synced = 0.0
    for start, stop in parts(len(data), size):
        part = data.part(start, stop)
        rows = dictionaries(part) if plain else arrow(part)
        wall, processor = cost(partial(table.add, rows))
        taken, used = taken + wall, used + processor
        synced += sync_new(root, seen)
    return taken, used, synced


def _add_row(bench: Bench, data: Material, records: list[Record], size: int) -> Row:
    n = len(data)
    rounds = [
        (
            _add_ours(bench, records, size),
            _add_lance(bench, data, size, plain=False),
            _add_lance(bench, data, size, plain=True),
        )
        for _ in range(bench.some(3, 1))
    ]
    ours = statistics.median(mine[0] for mine, _, _ in rounds)
    lance = statistics.median(table[0] for _, table, _ in rounds)
    synced = statistics.median(table[0] + table[2] for _, table, _ in rounds)
    plain = statistics.median(rows[0] for _, _, rows in rounds)
    used = [statistics.median(run[i][1] for run in rounds) / n * _MICRO for i in range(3)]
    what = f"add {n:,} in batches of {size:,}, durable"
    speed = f"{n / ours:,.0f} records/s; processor {used[0]:.1f} µs a record"
    beside = (
        f"LanceDB from Arrow {n / lance:,.0f} ({used[1]:.1f} µs), fsynced {n / synced:,.0f}, "
        f"from dictionaries {n / plain:,.0f} ({used[2]:.1f} µs)"
    )
    ratio = f"{lance / ours:.2f} ({synced / ours:.2f} fsynced, {plain / ours:.2f} dictionaries)"
    return Row(what, speed, beside, ratio, "at least 0.5", lance / ours >= 0.5)


def add(bench: Bench) -> Iterator[Row]:
    """Throughput of adding records with vectors, fsynced, in batches of several sizes."""
    for n in bench.sizes:
        data = material(n)
        records = data.records()
        for size in sorted({n, 10_000, 1_000}, reverse=True):
            if size <= n:
                tell(f"add {n} in batches of {size}")
                yield _add_row(bench, data, records, size)


# -- searching


def search(bench: Bench) -> Iterator[Row]:
    """One query at a time, k = 10, one thread, against FAISS and LanceDB; the same answers."""
    for n in bench.sizes:
        yield from _search(bench, n)


def _search(bench: Bench, n: int) -> Iterator[Row]:
    tell(f"search {n}")
    data = material(n)
    asked = queries(n, bench.some(300, 60))
    flat = Flat(data.vectors)
    table = Lance(bench.fresh(f"lance-{n}"))
    table.add(arrow(data))
    bench.fresh(f"memory-{n}")
    with bench.memory(f"memory-{n}") as memory:
        memory.add(data.records(), progress=False)
        exact = partial(memory.search, k=K, recall_target=1.0)  # as both others search
        for query in asked[:20]:
            found = [hit.id for hit in exact(query)]
            assert found == [data.ids[i] for i in flat.search(query, K)]
            assert found == table.search(query, K)
        ours, faiss = in_turn(
            [lambda i: exact(asked[i]), lambda i: flat.search(asked[i], K)],
            len(asked),
            clock=time.thread_time,
        )
        again, lance = in_turn(
            [lambda i: exact(asked[i]), lambda i: table.search(asked[i], K)],
            bench.some(40, 10),
        )
    ratio = statistics.median(ours) / statistics.median(faiss)
    what = f"search {n:,}, one query, k = {K}, exact"
    beside = f"FAISS flat {spread(faiss)}"
    yield at_most(f"{what}; processor", spread(ours), beside, ratio, 1.3)
    ratio = statistics.median(lance) / statistics.median(again)
    yield at_least(what, spread(again), f"LanceDB flat {spread(lance)}", ratio, 20.0)


# -- one at a time


def single(bench: Bench) -> Iterator[Row]:
    """Add one record at a time, as chat applications do."""
    count = bench.some(10_000, 1_000)
    edge = count // 20
    tell(f"{count} adds of one record")
    data = material(count, seed=11)
    root = bench.fresh("single")
    with bench.memory("single") as memory:
        taken = [seconds(partial(memory.add, record)) for record in data.records()]
        files = len(folder_files(root))
    tell("one at a time into LanceDB")
    table = Lance(bench.fresh("single-lance"))
    some = bench.some(500, 100)
    rows = [arrow(data.part(i, i + 1)) for i in range(some)]
    beside = [seconds(partial(table.add, row)) for row in rows]
    heap = len(folder_files(bench.folder / "single-lance"))
    first, last = statistics.median(taken[:edge]), statistics.median(taken[-edge:])
    middle = statistics.median(taken)
    yield Row(
        f"{count:,} adds of one record, durable: median; 99 %",
        f"{spread([middle])}; {spread([percentile(taken, 0.99)])}",
        f"LanceDB, not durable, {some} adds: {spread([statistics.median(beside)])}; "
        f"{spread([percentile(beside, 0.99)])}",
        "",
        "median at most 20 ms",
        middle <= 0.020,
    )
    what = f"their last {edge:,} against their first {edge:,}"
    yield at_most(what, spread([last]), f"at first {spread([first])}", last / first, 1.25)
    yield Row(f"files after {count:,} adds", f"{files:,}", f"LanceDB after {some:,}: {heap:,}")


# -- opening


def opening(bench: Bench) -> Iterator[Row]:
    """Open the stores that :func:`search` left, each time in a new process."""
    for n in bench.sizes:
        tell(f"open {n}")
        runs = [_opened(bench.folder / f"memory-{n}") for _ in range(bench.some(5, 2))]
        taken = [run["seconds"] for run in runs]
        grown = statistics.median(run["grown"] for run in runs) / runs[0]["vectors"]
        held = statistics.median(run["held"] for run in runs) / runs[0]["vectors"]
        ok = statistics.median(taken) <= 3.0
        used = spread([statistics.median(run["used"] for run in runs)])
        ours = f"{spread(taken)}; processor {used}"
        yield Row(f"open {n:,}, new process", ours, "", "", "at most 3 s", ok)
        what = f"memory of {n:,} over the bytes of its vectors, largest while opening"
        ratio = f"{grown:.2f} ({held:.2f} afterwards)"
        size = f"{grown * runs[0]['vectors'] / 1e6:,.0f} MB"
        beside = f"vectors {runs[0]['vectors'] / 1e6:,.0f} MB"
        if n < max(bench.sizes):
            yield Row(what, size, beside, ratio)
        else:
            yield Row(what, size, beside, ratio, "at most 2", grown <= 2.0)


def _opened(path: Path) -> dict[str, float]:
    script = Path(__file__).with_name("open_one.py")
    done = subprocess.run(
        [sys.executable, str(script), str(path)],
        env=one_thread(),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


# -- encoding


class _Timed:
    """An encoder that counts the seconds it takes."""

    def __init__(self, inner: Encoder) -> None:
        self._inner = inner
        self.name, self.dim, self.digest = inner.name, inner.dim, inner.digest
        self.taken: list[float] = []

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Floats:
        start = time.perf_counter()
        rows = self._inner.encode(texts, progress=progress)
        self.taken.append(time.perf_counter() - start)
        return rows


def encoding(bench: Bench) -> Iterator[Row]:
    """Add texts with the default encoder, against the same model's own ``encode`` alone."""
    from sentence_transformers import SentenceTransformer

    texts = messages(bench.some(2_000, 300))
    tell(f"encode {len(texts)} texts")
    encoder = _Timed(minilm())
    alone = SentenceTransformer(str(minilm().folder), device="cpu")
    mine = encoder.encode(texts[:64])
    theirs = alone.encode(texts[:64], normalize_embeddings=True, show_progress_bar=False)
    assert np.abs(mine - theirs).max() < 1e-5
    encoder.taken.clear()
    bench.fresh("encode")
    with Memory.open(bench.folder / "encode", encoder=encoder, key=KEY) as memory:
        ours, peer = in_turn(
            [
                lambda _: memory.add(texts, progress=False),
                lambda _: alone.encode(texts, normalize_embeddings=True, show_progress_bar=False),
            ],
            bench.some(3, 2),
            warm=0,
        )
    ratio = statistics.median(ours) / statistics.median(peer)
    inside = statistics.median(encoder.taken)
    rest = statistics.median(whole - part for whole, part in zip(ours, encoder.taken, strict=True))
    yield at_most(
        f"add {len(texts):,} texts with MiniLM, durable",
        f"{spread(ours)}: encoding {inside:.3g} s, the rest {rest:.2g} s",
        f"`SentenceTransformer.encode` alone {spread(peer)}",
        ratio,
        1.05,
    )


def messages(count: int) -> list[str]:
    """Make texts like those of a chat: the demo's messages, joined in other ways."""
    from forgetnet.demo import load_messages

    own = [str(message["text"]) for message in load_messages()]
    rng = np.random.default_rng(5)
    made = []
    for i in range(count):
        some = rng.integers(len(own), size=rng.integers(1, 4))
        sentences = " ".join(own[j] for j in some).split(". ")
        start = int(rng.integers(len(sentences)))
        made.append(". ".join(sentences[start : start + int(rng.integers(1, 4))]) + f" [{i}]")
    return made
