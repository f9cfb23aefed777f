"""Timing for the benchmarks: engines in turn, so that a drift of the machine meets all of them.

Knows nothing of what is timed.
"""

from __future__ import annotations

import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

_QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "LANCE_LOG": "error",
    "RUST_LOG": "error",
}


def one_thread() -> dict[str, str]:
    """Return the environment in which numpy, FAISS and torch use one thread."""
    return {**os.environ, **_QUIET}


def is_one_thread() -> bool:
    """Tell whether this process runs in that environment."""
    return all(os.environ.get(name) == value for name, value in _QUIET.items())


def seconds(action: Callable[[], object]) -> float:
    """Return how long an action takes."""
    return cost(action)[0]


def cost(action: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds that an action takes, and those of all processors that it uses."""
    start, used = time.perf_counter(), time.process_time()
    action()
    return time.perf_counter() - start, time.process_time() - used


def in_turn(
    actions: Sequence[Callable[[int], object]],
    rounds: int,
    *,
    warm: int = 1,
    clock: Callable[[], float] = time.perf_counter,
) -> list[list[float]]:
    """Time actions one after the other, round by round, each round beginning with the next one.

    Args:
        actions: each is called with the number of the round.
        rounds: how many rounds.
        warm: rounds that are run before, as number 0, and not counted.
        clock: what gives the seconds.

    Returns:
        for each action its seconds by round.
    """
    times: list[list[float]] = [[] for _ in actions]
    for number in range(-warm, rounds):
        for step in range(len(actions)):
            which = (step + number) % len(actions)
            action = actions[which]
            start = clock()
            action(max(number, 0))
            taken = clock() - start
            if number >= 0:
                times[which].append(taken)
    return times


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value below which a share of the values lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def spread(values: Sequence[float]) -> str:
    """Write a median in the unit that fits, with least and most of few values."""
    middle = statistics.median(values)
    scale, name = (1.0, "s") if middle >= 1.0 else (1e3, "ms")
    text = f"{_short(middle * scale)} {name}"
    if 1 < len(values) <= 10:
        text += f" ({_short(min(values) * scale)} to {_short(max(values) * scale)})"
    return text


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def machine(packages: Iterable[str]) -> str:
    """Name the machine and the versions that a table was made with."""
    names = []
    for package in packages:
        try:
            names.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            names.append(f"{package} not installed")
    processor = platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        if models:
            processor = models[0].partition(":")[2].strip()
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    threads = "one thread for numpy, FAISS and torch, " if is_one_thread() else ""
    return (
        f"{os.cpu_count()} cores ({processor}), {threads}{platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, "
        f"{', '.join(names)}; load average at the end {load}."
    )


def tell(line: str) -> None:
    """Say on stderr what is going on."""
    print(f"[{time.strftime('%H:%M:%S')}] {line}", file=sys.stderr, flush=True)


def parts(total: int, size: int) -> Iterator[tuple[int, int]]:
    """Cut ``total`` things into ranges of at most ``size``."""
    for start in range(0, total, size):
        yield start, min(total, start + size)


def memory_bytes(name: str) -> int:
    """Read a figure of this process's memory, as ``VmRSS`` or its peak ``VmHWM``, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"the system names no {name}")


def folder_files(root: Path) -> list[Path]:
    """List every file below a folder."""
    return sorted(path for path in root.rglob("*") if path.is_file())


def folder_bytes(root: Path) -> int:
    """Add up the sizes of every file below a folder."""
    return sum(path.stat().st_size for path in folder_files(root))


def sync_new(root: Path, seen: set[Path]) -> float:
    """Fsync the files of a folder that weren't seen before; return the seconds it takes."""
    start = time.perf_counter()
    for path in folder_files(root):
        if path not in seen:
            seen.add(path)
            handle: Any = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
    return time.perf_counter() - start
