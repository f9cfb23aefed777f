"""Searching and forgetting among many vectors, beside FAISS and hnswlib, in one run, as ratios.

    python benchmarks/scale.py [--rows 100000 1000000] [--texts PATH] [--cache FILE]
                               [--hnswlib ROWS] [--markdown docs/benchmarks.md]

Held-out queries, one at a time, k = 10, one thread; times of searches are processor time. With
``--texts`` the same on the texts of a folder, encoded by MiniLM: values of ``text`` in its .jsonl,
.jsonl.gz, .csv and .csv.gz files; ``--cache`` keeps their vectors for the next run. Prints a
Markdown table. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import csv
import gc
import gzip
import importlib.util
import json
import math
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from bench import K, Row, at_least, at_most
from material import DIM, PER_SUBJECT, Floats, material, queries
from page import put, table
from peers import Flat
from timing import cost, in_turn, is_one_thread, machine, memory_bytes, one_thread, spread, tell

from forgetnet.encode import minilm
from forgetnet.index import Index
from forgetnet.store import PLACE_DIM

PACKAGES = ("numpy", "faiss-cpu", "hnswlib", "sentence-transformers")
HEAD = ["what", "ForgetNet", "beside it", "ratio", "target", ""]
SALT = bytes(range(32))
ASKED = 200
MANY = 1_000_000
HIDDEN = 1_000
TARGET = 0.99
# hnswlib is built a second time, without what is forgotten, up to so many rows.
TWIN_ROWS = 200_000
EFFORTS = (16, 32, 64, 128, 256, 512, 1024)
Answers = list[list[int]]


@dataclass
class Case:
    """Vectors, and queries that are none of them; what is compared comes from here."""

    name: str
    vectors: Floats
    asked: Floats
    groups: list[list[int]]
    hnswlib: bool = False

    def __len__(self) -> int:
        return len(self.vectors)


class Ours:
    """ForgetNet's index over some of the rows of a case, by codes whatever their number."""

    def __init__(self, case: Case, *, split: bool, without: Sequence[int] = ()) -> None:
        rows = np.delete(np.arange(len(case)), without)
        self.index = Index(DIM, SALT, scan=1, split=1 if split else math.inf)
        before = memory_bytes("VmRSS")
        places = np.zeros((len(rows), PLACE_DIM), np.float32)
        ids = [f"{i}" for i in rows.tolist()]
        content = case.vectors[rows] if len(without) else case.vectors
        self.index.add(ids, content, places)
        self.built = cost(self.index.settle)[1]
        self.grown = memory_bytes("VmRSS") - before

    def search(self, vector: Floats) -> list[int]:
        """Return row numbers, of the recall that is served."""
        return [int(i) for i, _ in self.index.by_codes(vector, K)]

    def answer(self, vector: Floats, **how: Any) -> list[int]:
        """Return row numbers, as served where a search says ``recall_target``, ``only`` or so."""
        return [int(i) for i, _ in self.index.search(vector, K, **how)]

    def forget(self, rows: Sequence[int]) -> None:
        """Remove rows."""
        self.index.remove([f"{i}" for i in rows])


class Hnsw:
    """An hnswlib index of inner products over some of the rows of a case."""

    def __init__(self, case: Case, without: Sequence[int] = ()) -> None:
        import hnswlib

        rows = np.delete(np.arange(len(case)), without)
        self._index: Any = hnswlib.Index("ip", DIM)
        self._index.init_index(len(rows), ef_construction=100, M=16)
        self._index.set_num_threads(1)
        # By one thread where a twin is to be comparable: its graph follows the order of arrival.
        threads = 1 if len(rows) <= TWIN_ROWS else 4
        self.built = cost(partial(self._index.add_items, case.vectors[rows], rows, threads))[1]

    def search(self, vector: Floats, effort: int) -> list[int]:
        """Return row numbers."""
        self._index.set_ef(effort)
        found: list[int] = self._index.knn_query(vector, K, 1)[0][0].tolist()
        return found

    def forget(self, rows: Sequence[int]) -> None:
        """Mark rows as deleted: all that hnswlib has for it."""
        for row in rows:
            self._index.mark_deleted(row)


def has_hnsw() -> bool:
    """Tell whether hnswlib is installed."""
    return importlib.util.find_spec("hnswlib") is not None


def recall(found: Answers, exact: Answers) -> float:
    """Return the share of exact hits among the found."""
    return sum(len(set(a) & set(b)) for a, b in zip(found, exact, strict=True)) / (K * len(exact))


def differ(one: Answers, other: Answers) -> str:
    """Say how many lists of hits differ."""
    return f"{sum(a != b for a, b in zip(one, other, strict=True))} of {len(one)} answers"


# -- searching


def compare(case: Case) -> Iterator[Row]:
    """Search, then forget, in a case."""
    tell(f"{case.name}: build")
    flat, scan, pivots = Flat(case.vectors), Ours(case, split=False), Ours(case, split=True)
    beside = ""
    hnsw = None
    if case.hnswlib:
        tell(f"{case.name}: build hnswlib")
        hnsw = Hnsw(case)
        beside = f"hnswlib {hnsw.built:,.0f} s"
    ours = f"scan {scan.built:,.1f} s, pivots {pivots.built:,.1f} s"
    yield Row(f"{case.name}: build; processor", ours, beside)
    yield from _speed(case, flat, (scan, pivots), hnsw)
    size = case.vectors.nbytes * (1 + 1 / 32)
    what = f"{case.name}: memory over vectors and codes, pivots"
    yield at_most(what, f"{pivots.grown / 1e6:,.0f} MB", f"{size / 1e6:,.0f} MB",
                  pivots.grown / size, 1.3)  # fmt: skip
    del flat, scan
    gc.collect()
    if case.groups:
        yield from forgetting(case, pivots, hnsw)


def _speed(case: Case, flat: Flat, ours: tuple[Ours, Ours], hnsw: Hnsw | None) -> Iterator[Row]:
    tell(f"{case.name}: search")
    scan, pivots = ours
    _, best = faiss.knn(case.asked, case.vectors, K, metric=faiss.METRIC_INNER_PRODUCT)
    exact: Answers = best.tolist()
    reached = recall([scan.search(query) for query in case.asked], exact)
    near = recall([pivots.search(query) for query in case.asked], exact)
    told = recall([pivots.answer(query, recall_target=TARGET) for query in case.asked], exact)
    actions: list[Callable[[int], object]] = [
        lambda i: flat.search(case.asked[i], K),
        lambda i: scan.search(case.asked[i]),
        lambda i: pivots.search(case.asked[i]),
    ]
    if hnsw is not None:
        for effort in EFFORTS:
            same = recall([hnsw.search(query, effort) for query in case.asked], exact)
            if same >= 0.99:
                break
        actions.append(lambda i: hnsw.search(case.asked[i], effort))
    every = [f"{i}" for i in range(len(case))]
    hidden, few = every[:HIDDEN], every[::100]
    actions.append(lambda i: pivots.answer(case.asked[i], recall_target=TARGET))
    actions.append(lambda i: pivots.answer(case.asked[i], without=hidden))
    actions.append(lambda i: pivots.answer(case.asked[i], only=few))
    times = in_turn(actions, len(case.asked), clock=time.thread_time)
    middle = [statistics.median(part) for part in times]
    beside = f"FAISS IndexFlatIP {spread(times[0])}"
    shown = [f"{spread(part)}, mean {statistics.mean(part) * 1e3:.3g} ms" for part in times]
    many = len(case) >= MANY

    def row(what: str, which: int, found: float, least: float) -> Row:
        what = f"{case.name}: {what}, recall@10 {found:.4f}"
        if many:
            return at_least(what, shown[which], beside, middle[0] / middle[which], least)
        return Row(what, shown[which], beside, f"{middle[0] / middle[which]:.2f}")

    yield row("scan", 1, reached, 8.0)
    yield row("pivots", 2, near, 30.0)
    yield row(f"pivots, recall_target={TARGET}", -3, told, 30.0)
    for at, what in ((-2, f"{HIDDEN:,} hidden, pivots"), (-1, f"{len(few):,} chosen by a filter")):
        ratio = f"{middle[0] / middle[at]:.2f}"
        yield Row(f"{case.name}: {what}", shown[at], beside, ratio)
    if many:
        for what, found, least in (("scan", reached, 0.999), ("pivots", near, 0.99)):
            yield Row(f"{case.name}: {what}, recall@10", f"{found:.4f}", "", "",
                      f"at least {least:g}", found >= least)  # fmt: skip
    if hnsw is not None:
        what = f"{case.name}: pivots, recall {near:.4f}; hnswlib M 16, ef {effort}, {same:.4f}"
        yield at_most(what, shown[2], f"hnswlib {shown[3]}", middle[2] / middle[3], 2.0)


# -- forgetting


def forgetting(case: Case, pivots: Ours, hnsw: Hnsw | None) -> Iterator[Row]:
    """Forget subjects of 50 one by one, and compare with indexes that never had them."""
    tell(f"{case.name}: forget")
    seconds = [cost(partial(pivots.forget, group)) for group in case.groups]
    ours = spread([wall for wall, _ in seconds])
    most = spread([max(wall for wall, _ in seconds)])
    beside = ""
    if hnsw is not None:
        marked = [cost(partial(hnsw.forget, group))[0] for group in case.groups]
        beside = f"hnswlib marks in {spread(marked)}, and keeps the bytes"
    what = f"{case.name}: {len(case.groups)} times forget 50, index only; median, most"
    yield Row(what, f"{ours}; {most}", beside)
    gone = sorted(row for group in case.groups for row in group)
    asked = np.concatenate([case.asked, case.vectors[gone[:ASKED]]])
    found = [pivots.search(query) for query in asked]
    ghosts = {row for answer in found for row in answer} & set(gone)
    tell(f"{case.name}: twin")
    twin = Ours(case, split=True, without=gone)
    never = [twin.search(query) for query in asked]
    same = pivots.index.digest() == twin.index.digest()
    what = f"{case.name}: {len(gone):,} forgotten, answers unlike those of a twin without them"
    ours = f"{differ(found, never)}; digests {'equal' if same else 'differ'}"
    ok = same and found == never and not ghosts
    if hnsw is None or len(case) > TWIN_ROWS:
        yield Row(what, ours, "", "", "none", ok)
        return
    tell(f"{case.name}: twin of hnswlib")
    other = Hnsw(case, without=gone)
    for effort in EFFORTS[:3]:
        steered = differ(*([part.search(q, effort) for q in asked] for part in (hnsw, other)))
        yield Row(what, ours, f"hnswlib, ef {effort}: {steered}", "", "none", ok)


# -- material


def made_up(rows: int) -> Case:
    """Make clustered unit vectors of ``material.py``, and 20 subjects to forget."""
    data = material(rows)
    of: dict[str, list[int]] = {}
    for row, subject in enumerate(data.subjects):
        of.setdefault(subject, []).append(row)
    groups = [of[subject] for subject in sorted(of)[:20]]
    assert all(len(group) == PER_SUBJECT for group in groups)
    return Case(f"{rows:,}", data.vectors, queries(rows, ASKED), groups)


def texts(folder: Path) -> list[str]:
    """Read the distinct texts of a folder, shuffled."""
    found: dict[str, None] = {}
    for path in sorted(folder.rglob("*")):
        name = path.name.removesuffix(".gz")
        if not name.endswith((".jsonl", ".csv")):
            continue
        with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
            lines: Any = csv.DictReader(file) if name.endswith(".csv") else map(json.loads, file)
            given = (line.get("text") for line in lines)
            found |= dict.fromkeys(text for text in given if isinstance(text, str) and text)
    drawn = sorted(found)
    random.Random(7).shuffle(drawn)
    return drawn


def real(folder: Path, cache: Path | None) -> Case:
    """Encode the texts of a folder; the first are the queries, some others will be forgotten."""
    drawn = texts(folder)
    if cache is not None and cache.exists():
        rows = np.load(cache)
        assert len(rows) == len(drawn), "the cache is of other texts"
    else:
        tell(f"encode {len(drawn):,} texts")
        rows = minilm().encode(drawn)
        if cache is not None:
            np.save(cache, rows)
    kept = np.ascontiguousarray(rows[ASKED:])
    groups = np.random.default_rng(7).permutation(len(kept))[:1000].reshape(20, 50).tolist()
    return Case(f"{len(kept):,} texts", kept, np.ascontiguousarray(rows[:ASKED]), groups)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, MANY])
    parser.add_argument("--texts", type=Path, help="a folder of texts, to do the same with")
    parser.add_argument("--cache", type=Path, help="where the vectors of the texts are kept, .npy")
    parser.add_argument(
        "--hnswlib", type=int, default=MANY, help="hnswlib is built up to so many rows; it is slow"
    )
    parser.add_argument("--markdown", type=Path, help="a page that the table is put into")
    options = parser.parse_args(arguments)
    cases = [partial(made_up, rows) for rows in sorted(options.rows)]
    rows: list[Row] = []
    for case in [*([partial(real, options.texts, options.cache)] if options.texts else []), *cases]:
        found = case()
        found.hnswlib = has_hnsw() and len(found) <= options.hnswlib
        for row in compare(found):
            tell(" | ".join(row.cells()))
            rows.append(row)
        gc.collect()
    promised = [row.ok for row in rows if row.ok is not None]
    command = f"`{' '.join(['python benchmarks/scale.py', *arguments])}`"
    met = f"{sum(promised)} of {len(promised)} targets met. {machine(PACKAGES)}"
    text = "\n".join([command, "", table(HEAD, [row.cells() for row in rows]), "", met])
    print(text)
    if options.markdown:
        put(options.markdown, "scale.py --texts" if options.texts else "scale.py", text)
    return int(not all(promised))


if __name__ == "__main__":
    if is_one_thread():
        sys.exit(main(sys.argv[1:]))
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=one_thread(), check=False).returncode)
