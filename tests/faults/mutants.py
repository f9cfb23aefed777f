"""Does a test fail when a line that keeps a promise is taken out?

``python -m tests.faults.mutants`` tries them all, or those whose name holds one of its words.

Each mutant is a copy of the packages with one line changed; a child looks for something that fails
with it, by the simulator of power cuts or by a named test. Knows nothing of why a line is there.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.missing import FILES, MUTANTS, Mutant

__all__ = ["main", "survives"]

HOUSE = Path(__file__).resolve().parents[2]
_HEAVY = ("numpy", "pyarrow.compute", "lance", "lance.file", "lancedb", "faiss", "rich.progress",
          "cryptography.hazmat.primitives.asymmetric.ed25519", "safetensors.numpy")  # fmt: skip
def _fails(hunt: str, folder: Path, most: int) -> bool:
    """Tell whether something fails; in a child, with the mutant first on the path."""
    kind, _, what = hunt.partition(" ")
    if kind == "test":
        import pytest

        loaded = "ignore::pytest.PytestAssertRewriteWarning"
        quiet = ["-q", "-x", "-p", "no:cacheprovider", "-W", loaded]
        ended = int(pytest.main([*quiet, *what.split()]))
        if ended not in {0, 1}:
            raise RuntimeError(what)
        return bool(ended)
    from tests.faults.simulate import states
    from tests.faults.story import OPERATIONS
    from tests.faults.test_simulator import Simulator, twice

    if kind == "struck":
        return _struck(folder, what)
    simulator, operation = Simulator(folder), OPERATIONS[what]
    if kind == "cut":
        found = list(states(simulator.record(operation)))
    else:
        found = [state for _, state in twice(simulator, operation, 8 if kind == "twice" else 48)]
        most *= 1 if kind == "twice" else 10  # some are seen by few
    chosen = random.Random(3).sample(found, min(len(found), most))
    chosen.sort(key=lambda state: state.done == 0)  # what was acknowledged is lost first
    return any(simulator.judge(operation, state) for state in chosen)


def _struck(folder: Path, what: str) -> bool:
    from tests.faults.calls import Bench, cases
    from tests.faults.story import OPERATIONS

    folder.mkdir()
    bench, operation = Bench(folder), OPERATIONS[what]
    chosen = cases(bench.count(operation), ("kill",), 12)
    return any(bench.case(operation, kind, at).wrong for kind, at in chosen)


def survives(mutant: Mutant, most: int = 40) -> str:
    """Return what failed with the mutant; nothing if nothing did.

    Raises:
        ValueError: the line isn't there any more.
    """
    with tempfile.TemporaryDirectory() as made:
        copy = Path(made).resolve() / "copy"
        copy.mkdir()
        for name in ("forgetnet", "stores", "tests", "docs", "pyproject.toml"):
            one = HOUSE / name
            if one.is_dir():
                shutil.copytree(one, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(one, copy)
        path = copy / mutant.path
        text = path.read_text()
        if text.count(mutant.old) != 1:
            raise ValueError(f"{mutant.name}: its line stands {text.count(mutant.old)} times")
        path.write_text(text.replace(mutant.old, mutant.new))
        for number, hunt in enumerate(mutant.hunts):
            work = Path(made).resolve() / f"work{number}"
            pid = os.fork()
            if not pid:
                code = 2
                with contextlib.suppress(BaseException):
                    out = os.open(Path(made) / "out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                    os.dup2(out, 1)
                    os.dup2(out, 2)
                    os.chdir(copy)
                    sys.path[:] = [str(copy), str(copy / "stores"),
                                   *(p for p in sys.path if not p.startswith(str(HOUSE) + "/stores")
                                     and p not in {str(HOUSE), ""})]  # fmt: skip
                    for loaded in [m for m in sys.modules if m.startswith(("forgetnet", "tests"))]:
                        del sys.modules[loaded]
                    import tests.faults.test_simulator  # noqa: F401 # a slip here isn't a failure

                    code = 1  # an error is a failure, too
                    try:
                        code = int(_fails(hunt, work, most))
                    except RuntimeError:
                        code = 2
                os._exit(code)
            ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if ended not in {0, 1}:
                raise RuntimeError((Path(made) / "out").read_text()[-2000:])
            if ended:
                return hunt
    return ""


def main(names: Sequence[str]) -> int:
    """Try every mutant, or those of which a name holds one of the words; print what failed."""
    for name in _HEAVY:
        importlib.import_module(name)
    say, alive = sys.stdout.write, 0
    control = Mutant("nothing (the control)", FILES, "_HEAD = 4096\n", "_HEAD = 4096\n",
                     tuple(dict.fromkeys(h for m in MUTANTS for h in m.hunts)))  # fmt: skip
    if not names:
        if found := survives(control):
            say(f"{found} fails by itself\n")
            return 1
        say(f"{len(control.hunts)} ways to fail, and none does where nothing is missing\n")
    for mutant in MUTANTS:
        if names and not any(name in mutant.name for name in names):
            continue
        began = time.monotonic()
        found = survives(mutant)
        alive += not found
        say(f"{mutant.name:32}{found or 'NOTHING FAILED':48}{time.monotonic() - began:5.0f} s\n")
        sys.stdout.flush()
    say(f"{alive} survived\n")
    return bool(alive)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
