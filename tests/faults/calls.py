"""A kill or an error at every mutating system call of every operation; ``make faults`` runs it.

Each case copies a folder, runs one operation in a child whose n-th call is struck, and has another
child open what is left and judge it. Knows nothing of what a memory is.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import mmap
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import story
from tests.faults.notify import Call, Held, guarded, may_hold
from tests.faults.story import OPERATIONS, Operation, Step

__all__ = ["KINDS", "Bench", "Outcome", "main"]

KINDS = ("kill", "EIO", "ENOSPC", "full", "dead")
"""Killed; one error; and, from that call on, a disk without room or one that fails for good."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one case."""

    operation: str
    kind: str
    at: int
    call: str
    said: tuple[str, ...]
    wrong: tuple[str, ...]


def _verdict(kind: str, call: Call, *, struck: bool) -> int | None:
    """Say what the disk answers: 0 is done, None a kill."""
    if kind == "kill":
        return None if struck else 0
    number = errno.EIO if kind in {"EIO", "dead"} else errno.ENOSPC
    return number if struck and (kind != "full" or call.grows) else 0


def _away(work: Callable[[], object]) -> object:
    """Run something in a child of its own and return what it returns, as JSON."""
    out, into = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # lance asks not to be forked; the parent never uses it
        pid = os.fork()
    if not pid:
        try:
            os.close(out)
            told = work()
        except BaseException:  # noqa: BLE001 # said, and then the child ends
            told = ["the judge failed", traceback.format_exc()]
        with contextlib.suppress(BaseException):
            os.write(into, json.dumps(told).encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out, "rb") as stream:
        data = stream.read()
    os.waitpid(pid, 0)
    return json.loads(data) if data else ["the judge died"]


class Bench:
    """Runs cases below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._numbers = iter(range(1 << 30))
        self._templates: dict[str, Path] = {}
        _away(_warm)  # so that a first child finds its files in the cache

    def _template(self, name: str) -> Path:
        if name not in self._templates:
            root, path = self._folder / "root", self._folder / f"template {name}"
            _away(lambda: story.make(name, root))
            self._templates[name] = root.rename(path)
        return self._templates[name]

    @contextlib.contextmanager
    def _copy(self, operation: Operation) -> Iterator[Path]:
        # Always under the same name: what is written says where it is.
        root = self._folder / "root"
        shutil.copytree(self._template(operation.template), root)
        try:
            yield root
        finally:
            shutil.rmtree(root)

    def _play(
        self, operation: Operation, root: Path, kind: str = "", at: int = 0
    ) -> tuple[list[str], list[Call], Held]:
        """Tell a story; return what was said, and its calls from the beginning on."""
        begun, counted = mmap.mmap(-1, 1), list[Call]()
        out, into = os.pipe()

        def told(word: str) -> None:
            if word == "begin":
                begun[0] = 1
            os.write(into, word.encode("utf-8", "replace") + b"\n")

        def work() -> None:
            log = os.open(self._folder / "stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 2)
            story.play(operation, root, told)

        def judge(call: Call) -> int | None:
            if not begun[0]:
                return 0
            counted.append(call)
            sticky = kind in {"full", "dead"}
            struck = bool(at) and (len(counted) == at or (sticky and len(counted) > at))
            return _verdict(kind, call, struck=struck)

        held = guarded(work, root, judge)
        os.close(into)
        with os.fdopen(out, encoding="utf-8") as stream:
            said = stream.read().splitlines()
        return said, counted, held

    def count(self, operation: Operation) -> list[Call]:
        """Return the calls of an operation on a sound disk."""
        with self._copy(operation) as root:
            said, calls, _ = self._play(operation, root)
            wrong = _away(lambda: story.judge(operation, root, len(operation.steps)))
        if wrong or said[-1:] != ["closed"] or any(word.startswith("raw") for word in said):
            raise AssertionError(f"{operation.name} fails on a sound disk: {said} {wrong}")
        return calls

    def case(self, operation: Operation, kind: str, at: int) -> Outcome:
        """Strike the ``at``-th call, from 1, and judge what is left."""
        with self._copy(operation) as root:
            said, calls, held = self._play(operation, root, kind, at)
            done = said.count("done")
            found = _away(lambda: story.judge(operation, root, done))
        wrong = [str(one) for one in found] if isinstance(found, list) else [str(found)]
        wrong += [word for word in said if word.startswith("raw")]
        if kind != "kill" and (held.status or said[-1:] != ["closed"]):
            wrong.append(f"the process ended with status {held.status}")
        if kind != "kill" and done < len(operation.steps) and len(said) == done + 2:
            wrong.append("an operation failed and said nothing")
        call = calls[at - 1] if at <= len(calls) else None
        shown = "none" if call is None else f"{call.name} {call.target.relative_to(root)}"
        return Outcome(operation.name, kind, at, shown, tuple(said), tuple(wrong))

    def cut(self, operation: Operation, at: int) -> Operation:
        """Return the recovery from a kill at the ``at``-th call as an operation of its own."""
        name = f"recovery from {operation.name} at call {at}"
        with self._copy(operation) as root:
            self._play(operation, root, "kill", at)
            self._templates[name] = self._folder / f"template {name}"
            shutil.copytree(root, self._templates[name])
        step = operation.steps[-1]
        again = Step(story.OPERATIONS["open"].steps[0].verb, step.after, 0, step.status, step.gone)
        return Operation(name, (again,), name, operation.before, opened=False)


def _warm() -> list[str]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        story.make("to restore", root)
        story.play(OPERATIONS["restore"], root, lambda _: None)
    return sorted(sys.modules)


def preload() -> None:
    """Import, here, all that a child would import: a fork is quick, an import isn't."""
    import importlib

    names = _away(_warm)
    for name in names if isinstance(names, list) else []:
        if name not in sys.modules and name.partition(".")[0] not in {"__main__", "__mp_main__"}:
            with contextlib.suppress(ImportError, ValueError):
                importlib.import_module(name)


def cases(calls: Sequence[Call], kinds: Sequence[str], most: int) -> Iterator[tuple[str, int]]:
    """Iterate over kind and number of the call, at most so many numbers of each kind."""
    for kind in kinds:
        number = errno.EIO if kind in {"kill", "EIO", "dead"} else errno.ENOSPC
        fits = [n for n, call in enumerate(calls, 1) if call.may_fail(number)]
        if kind == "full":
            fits = [n for n, call in enumerate(calls, 1) if call.grows]
        step = max(1.0, len(fits) / most)
        yield from ((kind, fits[int(i * step)]) for i in range(min(len(fits), most)))


def run(
    bench: Bench, kinds: Sequence[str], most: int, cuts: int, names: Sequence[str]
) -> Iterator[Outcome]:
    """Run every case of every operation, and of the recoveries from crashes of a forget."""
    for operation in OPERATIONS.values():
        calls = bench.count(operation)
        if operation.name in names:
            for kind, at in cases(calls, kinds, most):
                yield bench.case(operation, kind, at)
        if operation.name == "forget, backed up" and "recovery" in names:
            owed = next(n for n, c in enumerate(calls, 1) if c.name == "rename") + 1
            for i in range(cuts):
                again = bench.cut(operation, owed + i * (len(calls) - owed) // cuts)
                with bench._copy(again) as root:
                    _, second, _ = bench._play(again, root)
                for kind, at in cases(second, kinds, most):
                    yield bench.case(again, kind, at)


def main(words: Sequence[str] | None = None) -> int:
    """Run the cases, print how many there were of each kind and what was violated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1 << 30, help="calls of one operation")
    parser.add_argument("--cuts", type=int, default=8, help="crashes of a forget to recover from")
    parser.add_argument("--kinds", nargs="+", default=KINDS, choices=KINDS)
    parser.add_argument("--only", nargs="+", default=[*OPERATIONS, "recovery"])
    parser.add_argument("--folder", help="where to work; in memory by default")
    given = parser.parse_args(words)
    say = sys.stdout.write
    if why := may_hold():
        say(f"skipped: {why}\n")
        return 0
    preload()
    began, tally, bad = time.monotonic(), Counter[tuple[str, str]](), list[Outcome]()
    shared = Path("/dev/shm")  # in memory, so that only the faults take time
    home = given.folder or (shared if shared.is_dir() else None)
    with tempfile.TemporaryDirectory(dir=home, prefix="faults-") as folder:
        for one in run(Bench(Path(folder)), given.kinds, given.most, given.cuts, given.only):
            name = "recovery" if one.operation.startswith("recovery") else one.operation
            tally[name, one.kind] += 1
            if one.wrong:
                bad.append(one)
                say(f"VIOLATED {one.operation}, {one.kind} at {one.at} ({one.call}): "
                    f"{'; '.join(one.wrong)[:600]} [{' | '.join(one.said)[:300]}]\n")  # fmt: skip
                sys.stdout.flush()
    took = time.monotonic() - began
    say(f"{'operation':24}" + "".join(f"{kind:>8}" for kind in given.kinds) + "\n")
    for name in dict.fromkeys(name for name, _ in tally):
        say(f"{name:24}" + "".join(f"{tally[name, kind]:8}" for kind in given.kinds) + "\n")
    total = sum(tally.values())
    say(f"{total} cases, {len(bad)} violated, {took:.0f} s, {took / max(1, total):.3f} s a case\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
