"""Forgetting one subject: how long it takes, and what is left, beside other engines' deletes.

Uses the stores that ``speed.search`` made.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from functools import partial
from typing import Literal

from bench import Bench, K, Row, at_most
from leftovers import left
from material import PER_SUBJECT, Material, material, queries
from peers import CHROMA_BATCH, Chroma, Lance, arrow, has_chroma
from timing import in_turn, parts, seconds, spread, tell

from forgetnet import Memory

Level = Literal["touched", "full"]
LEVELS: tuple[Level, ...] = ("touched", "full")


def _forget(memory: Memory, subject: str, level: Level) -> str:
    receipt = memory.forget(subject=subject, verify=level)
    assert memory.count({"subject": subject}) == 0
    return str(receipt.status.value)


def forget(bench: Bench) -> Iterator[Row]:
    """Forget subjects of 50 records, gone and looked for, in small and large memories in turn."""
    memories = {n: bench.memory(f"memory-{n}") for n in bench.sizes}
    for level in LEVELS:
        yield from _timed(bench, memories, level)
    for memory in memories.values():
        memory.close()


def _timed(bench: Bench, memories: dict[int, Memory], level: Level) -> Iterator[Row]:
    tell(f"forget, verify={level}")
    names = {n: sorted(memory.subjects()) for n, memory in memories.items()}
    statuses: list[str] = []

    def one(n: int, _: int) -> None:
        statuses.append(_forget(memories[n], names[n].pop(), level))

    rounds = bench.some(9, 3) if level == "touched" else bench.some(3, 1)
    taken = in_turn([partial(one, n) for n in bench.sizes], rounds)
    base = statistics.median(taken[0])
    for n, values in zip(bench.sizes, taken, strict=True):
        what = f"forget {PER_SUBJECT} of {n:,}, bytes gone, verify={level!r}"
        if n == bench.sizes[0] or level == "full":
            yield Row(what, spread(values))
            continue
        beside = f"{spread([base])} at {bench.sizes[0]:,}"
        yield at_most(what, spread(values), beside, statistics.median(values) / base, 2.0)
    good = statuses.count("erased")
    ours = f"{good} of {len(statuses)} say erased"
    yield Row(f"their receipts, verify={level!r}", ours, "", "", "all", good == len(statuses))


def remains(bench: Bench) -> Iterator[Row]:
    """What is in the files after forgetting one subject, by each engine's own means."""
    for n in bench.sizes:
        tell(f"bytes left, {n}")
        data = material(n)
        wanted = _of(data, min(data.subjects))
        yield _ours(bench, n, wanted)
        yield _lance(bench, data, wanted)
        if n == bench.sizes[0] and has_chroma():
            yield from _chroma(bench, data, wanted)


def _ours(bench: Bench, n: int, wanted: Material) -> Row:
    root = bench.folder / f"memory-{n}"
    before = left(root, wanted)
    with bench.memory(f"memory-{n}") as memory:
        taken = seconds(partial(_forget, memory, wanted.subjects[0], "touched"))
        after = left(root, wanted)
    found = len(before.texts) == len(before.vectors) == len(wanted)
    return Row(
        f"left of {len(wanted)} of {n:,} after `forget(subject=)` ({spread([taken])})",
        str(after),
        f"before: {before}",
        "",
        "none, all before",
        found and not after.texts and not after.vectors,
    )


def _of(data: Material, subject: str) -> Material:
    at = [i for i, name in enumerate(data.subjects) if name == subject]
    return Material(
        [data.ids[i] for i in at],
        [data.texts[i] for i in at],
        [data.subjects[i] for i in at],
        [data.topics[i] for i in at],
        data.vectors[at],
    )


def _lance(bench: Bench, data: Material, wanted: Material) -> Row:
    root = bench.fresh("lance-left")
    table = Lance(root)
    table.add(arrow(data))
    before = left(root, wanted)
    taken = seconds(lambda: table.forget(wanted.subjects[0]))
    what = (
        "same, after LanceDB's `delete` and `optimize(cleanup_older_than=timedelta(0), "
        f"delete_unverified=True)` ({spread([taken])})"
    )
    return Row(what, "", f"{left(root, wanted)} (before: {before})")


def _chroma(bench: Bench, data: Material, wanted: Material) -> Iterator[Row]:
    tell(f"chroma, {len(data)}")
    root = bench.fresh("chroma")
    chroma = Chroma(root)
    built = sum(
        seconds(partial(chroma.add, data.part(start, stop)))
        for start, stop in parts(len(data), CHROMA_BATCH)
    )
    asked = queries(len(data), bench.some(100, 20))
    (times,) = in_turn([lambda i: chroma.search(asked[i], K)], len(asked))
    before = left(root, wanted)
    taken = seconds(lambda: chroma.forget(wanted.subjects[0]))
    chroma.close()
    what = f"same, after Chroma's `delete` ({spread([taken])})"
    yield Row(what, "", f"{left(root, wanted)} (before: {before})")
    yield Row(
        f"Chroma, {len(data):,}: add; one query, k = {K}, approximate",
        "",
        f"{len(data) / built:,.0f} records/s; {spread(times)}",
    )
