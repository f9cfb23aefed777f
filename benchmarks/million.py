"""Forgetting in a whole memory of a million records, beside the same in one of 100,000.

    python benchmarks/million.py [--rows 100000 1000000] [--folder PATH]
                                 [--markdown docs/benchmarks.md]

How long until a subject's 50 records are unreachable, in fsyncs of the same disk; until their bytes
are gone, in rewritings of one piece by Lance alone; the whole `forget`; 1,000 subjects at once; and
the memory that an open store takes. Prints a Markdown table. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import lance
from bench import Bench, Row, at_most
from material import PER_SUBJECT, material, queries
from page import put, table
from timing import cost, is_one_thread, machine, one_thread, parts, seconds, spread, tell

from forgetnet import Memory
from forgetnet.files import write_durable
from forgetnet_stores.lance.engine import LanceStore

HEAD = ["what", "ForgetNet", "beside it", "ratio", "target", ""]
PACKAGES = ("numpy", "faiss-cpu", "lancedb", "pylance")
SUBJECTS = 1000
_BLOCK = 1 << 20


@dataclass
class Clock:
    """When the parts of a forget came to their end, and how many fsyncs there were until then."""

    begun: float = 0.0
    syncs: int = 0
    ended: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def following(self, engine: type, *names: str) -> Iterator[None]:
        """Note when methods of an engine begin and end, and count fsyncs, inside of the block."""
        real = {name: getattr(engine, name) for name in names}
        sync = os.fsync

        def timed(name: str, *given: Any, **more: Any) -> Any:
            before = time.perf_counter()
            done = real[name](*given, **more)
            self.ended[name] = [before - self.begun, time.perf_counter() - self.begun]
            self.counts.setdefault(name, self.syncs)
            return done

        def fsync(handle: int) -> None:
            sync(handle)
            self.syncs += 1

        for name in names:
            setattr(engine, name, lambda *given, _name=name, **more: timed(_name, *given, **more))
        os.fsync = fsync
        try:
            yield
        finally:
            os.fsync = sync
            for name, method in real.items():
                setattr(engine, name, method)

    def start(self) -> None:
        """Begin."""
        self.begun, self.syncs = time.perf_counter(), 0
        self.ended.clear()
        self.counts.clear()


def fsync_seconds(folder: Path, rounds: int = 50) -> float:
    """Return the median of an fsync: of a new file of 4 KiB, and of its folder."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        write_durable(folder / "probe", bytes(4096))
        times.append((time.perf_counter() - start) / 2)
    (folder / "probe").unlink()
    return statistics.median(times)


def rewrite(piece: Path, beside: Path) -> None:
    """Read a piece, write it anew and sync it, overwrite the old bytes and sync them: Lance alone.

    The old piece is left in its place, zeroed copies of it are made beside.
    """
    rows = lance.dataset(str(piece)).to_table()
    new = beside / "new.lance"
    lance.write_dataset(rows, str(new), mode="create", max_rows_per_file=max(1, len(rows)))
    for path in [*new.rglob("*"), new]:
        handle = os.open(path, os.O_RDONLY)
        os.fsync(handle)
        os.close(handle)
    for old in piece.rglob("*"):
        if old.is_file():
            with (beside / "old").open("wb") as file:
                for start, stop in parts(old.stat().st_size, _BLOCK):
                    file.write(bytes(stop - start))
                file.flush()
                os.fsync(file.fileno())
    (beside / "old").unlink()
    for path in sorted(new.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    new.rmdir()


def pieces(root: Path) -> list[Path]:
    """Return the pieces of a memory, the largest first."""

    def size(piece: Path) -> int:
        return sum(path.stat().st_size for path in piece.rglob("*") if path.is_file())

    return sorted((root / "store" / "pieces").glob("*.lance"), key=size, reverse=True)


def fill(bench: Bench, n: int) -> Row:
    """Store n records in batches of 100,000."""
    tell(f"{n:,}: fill")
    data = material(n)
    with bench.memory(f"{n}") as memory:
        batches = [data.part(*cut).records() for cut in parts(n, 100_000)]
        taken = seconds(lambda: [memory.add(batch, progress=False) for batch in batches])
    return Row(f"{n:,}: add in batches of 100,000, durable", f"{n / taken:,.0f} records/s")


def opening(bench: Bench, n: int) -> Iterator[Row]:
    """Open it in a new process: seconds, and memory against codes and vectors; so on disk."""
    script, told = Path(__file__).with_name("open_one.py"), {}
    for where in ("ram", "disk"):
        tell(f"{n:,}: open, vectors={where!r}")
        done = subprocess.run(
            [sys.executable, str(script), str(bench.folder / f"{n}"), where],
            env=one_thread(), check=True, capture_output=True, text=True,
        )  # fmt: skip
        told[where] = json.loads(done.stdout)
    ram, disk = told["ram"], told["disk"]

    def side_by_side(what: str, name: str) -> Row:
        beside = f"vectors on disk {spread([disk[name]])}"
        return Row(f"{n:,}: {what}", spread([ram[name]]), beside, f"{disk[name] / ram[name]:.2f}")

    yield side_by_side("open, new process", "seconds")
    yield side_by_side("first search, which makes the index", "first")
    yield side_by_side("each search after it, on average", "search")
    size = ram["vectors"] * (1 + 1 / 32)
    what = f"{n:,}: memory over vectors and codes, open"
    beside = f"{size / 1e6:,.0f} MB; {_more(ram)}"
    yield at_most(what, f"{ram['held'] / 1e6:,.0f} MB", beside, ram["held"] / size, 1.3)
    what, most = f"{n:,}: memory with vectors on disk, open", 400.0 * n
    beside = f"{most / 1e6:,.0f} MB; {_more(disk)}"
    yield at_most(what, f"{disk['held'] / 1e6:,.0f} MB", beside, disk["held"] / most, 1.0)


def _more(told: dict[str, float]) -> str:
    peak, served = told["grown"] / 1e6, told["served"] / 1e6
    return f"at the peak {peak:,.0f} MB, once it has searched {served:,.0f} MB"


def one_by_one(bench: Bench, n: int, whole: list[float]) -> Iterator[Row]:
    """Forget subjects of 50, one after the other."""
    root = bench.folder / f"{n}"
    with bench.memory(f"{n}") as memory:
        memory.search(queries(n, 1)[0])  # makes the index
        clock = Clock()
        with clock.following(LanceStore, "delete", "purge"):
            tell(f"{n:,}: forget one by one")
            rounds, gone, purged, waits, counts = bench.some(9, 3), [], [], [], []
            totals, alone = list[float](), list[float]()
            names = sorted(memory.subjects())[: rounds + 1]
            for i, name in enumerate(names):
                waits.append(fsync_seconds(root))
                if i:
                    with tempfile.TemporaryDirectory(dir=bench.folder) as beside:
                        some = pieces(root)
                        middle = some[len(some) // 2]
                        alone.append(seconds(partial(rewrite, middle, Path(beside))))
                clock.start()
                taken = seconds(partial(_forget, memory, name))
                if i:
                    totals.append(taken)
                    gone.append(clock.ended["delete"][1])
                    purged.append(clock.ended["purge"][1] - clock.ended["purge"][0])
                    counts.append(clock.counts["delete"])
    sync = statistics.median(waits)
    what = f"{n:,}: forget {PER_SUBJECT}: unreachable and durable, from the call on"
    beside = f"one fsync {spread([sync])}; it makes {statistics.median(counts):g}"
    yield at_most(what, spread(gone), beside, statistics.median(gone) / sync, 10)
    what = f"{n:,}: bytes gone, from then on"
    beside = f"one piece rewritten by Lance alone {spread(alone)}"
    ratio = statistics.median(purged) / statistics.median(alone)
    yield at_most(what, spread(purged), beside, ratio, 1.5)
    if whole:
        what, beside = f"{n:,}: the whole, look and receipt too", f"{spread(whole)} with fewer"
        ratio = statistics.median(totals) / statistics.median(whole)
        yield at_most(what, spread(totals), beside, ratio, 1.5)
    else:
        yield Row(f"{n:,}: the whole, look and receipt too", spread(totals))
    whole[:] = totals


def in_one(bench: Bench, n: int) -> Iterator[Row]:
    """Forget 1,000 subjects in one call."""
    with bench.memory(f"{n}") as memory:
        memory.search(queries(n, 1)[0])  # makes the index
        names = sorted(memory.subjects())[-SUBJECTS:]
        records = memory.count({"subject": {"$in": names}})
        plan = memory.forget(filter={"subject": {"$in": names}}, dry_run=True)
        touched = pieces(bench.folder / f"{n}")[: plan.steps[0].files]
        tell(f"{n:,}: {len(touched)} pieces rewritten by Lance alone")
        with tempfile.TemporaryDirectory(dir=bench.folder) as beside:
            alone = sum(seconds(partial(rewrite, path, Path(beside))) for path in touched)
        tell(f"{n:,}: forget {len(names)} subjects")
        wall, used = cost(lambda: memory.forget(filter={"subject": {"$in": names}}))
        assert not memory.count({"subject": {"$in": names}})
    what = f"{n:,}: forget {len(names):,} subjects, {records:,} records, at once"
    beside = f"{len(touched)} pieces rewritten by Lance alone {spread([alone])}"
    yield at_most(what, f"{spread([wall])}; processor {spread([used])}", beside, wall / alone, 3.0)


def _forget(memory: Memory, name: str) -> None:
    receipt = memory.forget(subject=name)
    assert receipt.status == "erased", receipt.status


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--quick", action="store_true", help="fewer repeats: for a first look")
    parser.add_argument("--folder", type=Path, help="where the memories are made, and removed")
    parser.add_argument("--markdown", type=Path, help="a page that the table is put into")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    whole: list[float] = []
    with tempfile.TemporaryDirectory(prefix="forgetnet-", dir=options.folder) as folder:
        bench = Bench(Path(folder), sorted(options.rows), options.quick)
        for n in bench.sizes:
            rows.append(fill(bench, n))
            sections = [opening(bench, n), one_by_one(bench, n, whole)]
            if n == bench.sizes[-1]:
                sections.append(in_one(bench, n))
            for section in sections:
                for row in section:
                    tell(" | ".join(row.cells()))
                    rows.append(row)
    promised = [row.ok for row in rows if row.ok is not None]
    met = f"{sum(promised)} of {len(promised)} targets met. {machine(PACKAGES)}"
    command = f"`{' '.join(['python benchmarks/million.py', *arguments])}`"
    text = "\n".join([command, "", table(HEAD, [row.cells() for row in rows]), "", met])
    print(text)
    if options.markdown:
        put(options.markdown, "million.py", text)
    return int(not all(promised))


if __name__ == "__main__":
    if is_one_thread():
        sys.exit(main(sys.argv[1:]))
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=one_thread(), check=False).returncode)
