"""Speed and memory of ForgetNet beside LanceDB, FAISS and Chroma, in one run, as ratios.

    python benchmarks/memory.py [--rows 10000 100000] [--quick] [--only add search ...]
                                [--folder DIR] [--markdown docs/benchmarks.md]

Prints a Markdown table. Medians of repeats; engines that are compared take turns, so that a
drift of the machine meets both. Exit code 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import forgetting
import speed
from bench import Bench, Row
from page import put, table
from timing import is_one_thread, machine, one_thread, tell

PACKAGES = (
    *("numpy", "faiss-cpu", "lancedb", "pylance", "chromadb"),
    *("sentence-transformers", "torch"),
)
SECTIONS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    "add": speed.add,
    "search": speed.search,
    "opening": speed.opening,
    "forget": forgetting.forget,
    "remains": forgetting.remains,
    "single": speed.single,
    "encoding": speed.encoding,
}
NEEDS_STORES = ("opening", "forget", "remains")
HEAD = ["what", "ForgetNet", "beside it", "ratio", "target", ""]


def report(rows: Sequence[Row], command: str) -> str:
    """Write the section of the page: command, table, machine."""
    promised = [row.ok for row in rows if row.ok is not None]
    return "\n".join(
        [
            f"`{command}`",
            "",
            table(HEAD, [row.cells() for row in rows]),
            "",
            f"{sum(promised)} of {len(promised)} targets met. {machine(PACKAGES)}",
        ]
    )


def measure(bench: Bench, names: Sequence[str]) -> list[Row]:
    """Run sections one after the other."""
    rows = []
    for name in names:
        for row in SECTIONS[name](bench):
            tell(" | ".join(row.cells()))
            rows.append(row)
    return rows


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--quick", action="store_true", help="fewer repeats: for a first look")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--folder", type=Path, help="where the stores are made, and removed again")
    parser.add_argument("--markdown", type=Path, help="a page that the table is put into")
    options = parser.parse_args(arguments)
    names = [n for n in SECTIONS if n in options.only]
    if "search" not in names and any(name in NEEDS_STORES for name in names):
        names.insert(0, "search")  # it makes the stores
    with tempfile.TemporaryDirectory(prefix="forgetnet-", dir=options.folder) as folder:
        rows = measure(Bench(Path(folder), sorted(options.rows), options.quick), names)
    text = report(rows, " ".join(["python benchmarks/memory.py", *arguments]))
    print(text)
    if options.markdown:
        put(options.markdown, "memory.py", text)
    return int(any(row.ok is False for row in rows))


if __name__ == "__main__":
    if is_one_thread():
        sys.exit(main(sys.argv[1:]))
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=one_thread(), check=False).returncode)
