"""What experts that forget cost, and what they give up, beside retraining, SISA and others.

    python benchmarks/experts.py DATA [--only accuracy leaves ...] [--cache DIR] [--million]
                                 [--markdown docs/benchmarks.md]

DATA is a folder with the public sets ``clinc150`` and ``banking77``; without them their rows are
left out. Prints a Markdown table; times are processor time of one thread, in one run. Exit code 1
if a target is missed.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import experts_accuracy
import experts_cost
import experts_ridge
from bench import Row
from page import put, table
from tasks import tasks
from timing import is_one_thread, machine, one_thread, tell

from forgetnet.exact import quantise

PACKAGES = ("numpy", "torch", "scikit-learn", "sentence-transformers", "lancedb")
HEAD = ["what", "ForgetNet", "beside it", "ratio", "target", ""]
_LEAST = 0.7
_GONE = 1.1


@dataclass(frozen=True)
class Run:
    """What one run works with: the data, a folder for vectors, and how far it goes."""

    data: Path
    cache: Path | None
    million: bool


def accuracy(run: Run) -> Iterator[Row]:
    """Accuracy of the stack and of its peers; selection saw none of it but the ridge's defaults."""
    for task in tasks(run.data, run.cache):
        found = experts_accuracy.accuracy(task)
        size = f"{found.pop('records'):,.0f} records of {found.pop('people'):,.0f} people"
        one = found["one network on everything"]
        for name, value in found.items():
            behind, row = one - value, partial(Row, f"{task.name}, {size}: {name}", f"{value:.2f}%")
            if name == "trunk + 32 leaves":
                told = f"at most {_LEAST} points below one network"
                yield row(f"{one:.2f}%", f"{-behind:+.2f}", told, behind <= _LEAST)
            elif name == "the same, 4 of them gone":
                whole = found["16 leaves by subject"]
                told = f"at most {_GONE} points"
                yield row(f"{whole:.2f}%", f"{value - whole:+.2f}", told, whole - value <= _GONE)
            else:
                yield row("", f"{-behind:+.2f}")


def trunk(run: Run) -> Iterator[Row]:
    """Forget from the sums, beside summing anew and retraining a network."""
    for task in tasks(run.data, run.cache):
        if task.name != "CLINC150":
            continue
        known = experts_ridge.view_of(quantise(task.train), list(task.train_labels))
        asked = quantise(task.test)
        whole = experts_ridge.Task(task.name, known, asked, list(task.test_labels))
        yield from experts_ridge.forgetting(whole)
        yield from experts_ridge.quality([whole])


def growth(run: Run) -> Iterator[Row]:
    """The same by size: what grows with the records, and what doesn't."""
    sizes = [10_000, 100_000, *([1_000_000] if run.million else [])]
    yield from experts_ridge.growth(sizes)
    yield from experts_ridge.throughput()


def leaves(_: Run) -> Iterator[Row]:
    """What a request costs the experts of leaves, counted and for real."""
    yield from experts_cost.counted()
    yield from experts_cost.trained()


def served(_: Run) -> Iterator[Row]:
    """How soon nothing is served with the subject."""
    yield from experts_cost.served([10_000, 100_000])


SECTIONS: dict[str, Callable[[Run], Iterator[Row]]] = {
    "accuracy": accuracy,
    "trunk": trunk,
    "growth": growth,
    "leaves": leaves,
    "served": served,
}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder with the public data sets")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--cache", type=Path, help="folder that keeps the vectors of the texts")
    parser.add_argument("--million", action="store_true", help="also 1,000,000 records; minutes")
    parser.add_argument("--markdown", type=Path, help="a page that the table is put into")
    options = parser.parse_args(arguments)
    run = Run(options.data, options.cache, options.million)
    rows = []
    for name in (name for name in SECTIONS if name in options.only):
        for row in SECTIONS[name](run):
            tell(" | ".join(row.cells()))
            rows.append(row)
    promised = [row.ok for row in rows if row.ok is not None]
    command = f"python benchmarks/experts.py DATA{' --million' if run.million else ''}"
    ending = f"{sum(promised)} of {len(promised)} targets met. {machine(PACKAGES)}"
    text = "\n".join(
        [f"`{command}`", "", table(HEAD, [row.cells() for row in rows]), "", ending]
    )
    print(text)
    if options.markdown:
        put(options.markdown, "experts.py", text)
    return int(not all(promised))


if __name__ == "__main__":
    if is_one_thread():
        sys.exit(main(sys.argv[1:]))
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=one_thread(), check=False).returncode)
