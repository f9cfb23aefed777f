"""What keys by subject cost: the same memory sealed and plain, in one run, as ratios.

    python benchmarks/encryption.py [--rows 20000] [--markdown docs/benchmarks.md]

Medians of repeats; both take turns. Vectors are given, so that no encoder's time is in it.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from page import put, table
from timing import is_one_thread, machine, one_thread

from forgetnet import Memory

PACKAGES = ("numpy", "pyarrow", "pylance", "cryptography")
DIM = 384
EACH = 50
KEY = bytes(range(32))
REPEATS = 5


def opened(path: Path, *, sealed: bool) -> Memory:
    mode = "subject" if sealed else None
    return Memory.open(path, encoder=f"vectors:{DIM}", key=KEY, encryption=mode)


def fill(path: Path, rows: int, *, sealed: bool) -> None:
    """Add rows of subjects of fifty, in batches of five thousand."""
    draw = np.random.default_rng(0)
    with opened(path, sealed=sealed) as memory:
        for start in range(0, rows, 5000):
            vectors = draw.standard_normal((min(5000, rows - start), DIM)).astype(np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            for first in range(0, len(vectors), EACH):
                number = start + first
                part = vectors[first : first + EACH]
                texts = [
                    f"a sentence of some eighty characters, number {number + i}"
                    for i in range(len(part))
                ]
                memory.add(texts, subject=f"subject {number // EACH}", vectors=part)


def clock(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(folder: Path, rows: int) -> list[list[str]]:
    """Return rows of a table: what, sealed, plain, ratio."""
    times: dict[str, dict[bool, list[float]]] = {}

    def note(what: str, seconds: float, *, sealed: bool) -> None:
        times.setdefault(what, {True: [], False: []})[sealed].append(seconds)

    sizes = {}
    for sealed in (True, False):
        path = folder / f"kb-{sealed}"
        taken = clock(lambda p=path, s=sealed: fill(p, rows, sealed=s))
        note("add, a row", taken / rows, sealed=sealed)
        with opened(path, sealed=sealed) as memory:
            memory.purge()
        sizes[sealed] = sum(p.stat().st_size for p in path.rglob("*") if p.is_file())
    query = np.eye(1, DIM, dtype=np.float32)[0]
    for turn in range(REPEATS):
        for sealed in (True, False):
            path = folder / f"kb-{sealed}"
            start = time.perf_counter()
            with opened(path, sealed=sealed) as memory:
                note("open, a row", (time.perf_counter() - start) / rows, sealed=sealed)
                searches = [clock(lambda m=memory: m.search(query)) for _ in range(20)]
                note("search", statistics.median(searches), sealed=sealed)
                who = f"subject {turn}"
                taken = clock(lambda m=memory, w=who: m.forget(subject=w, verify="touched"))
                note("forget a subject of 50", taken, sealed=sealed)
    found = []
    for what, both in times.items():
        ours, plain = statistics.median(both[True]), statistics.median(both[False])
        found.append(
            [what, f"{1000 * ours:.3f} ms", f"{1000 * plain:.3f} ms", f"{ours / plain:.2f}"]
        )
    found.append(
        [
            "size on disk",
            *(f"{sizes[s] / 1e6:.1f} MB" for s in (True, False)),
            f"{sizes[True] / sizes[False]:.3f}",
        ]
    )
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--markdown", type=Path, help="a page that the table is put into")
    options = parser.parse_args(arguments)
    folder = Path(tempfile.mkdtemp())
    try:
        rows = measure(folder, options.rows)
    finally:
        shutil.rmtree(folder)
    text = "\n".join(
        [
            f"`python benchmarks/encryption.py --rows {options.rows}`",
            "",
            table([f"{options.rows:,} rows x {DIM}", "sealed", "plain", "ratio"], rows),
            "",
            machine(PACKAGES),
        ]
    )
    print(text)
    if options.markdown is not None:
        put(options.markdown, "encryption.py", text)
    return 0


if __name__ == "__main__":
    if is_one_thread():
        sys.exit(main(sys.argv[1:]))
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=one_thread(), check=False).returncode)
