"""A few lines that keep promises are taken out, and it is seen; all of them by a command.

``python -m tests.faults.mutants`` tries every line of ``missing.py``.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.faults.missing import MUTANTS
from tests.faults.mutants import HOUSE

QUICK = ("journal's intent", "fsync of an append", "zeros before a cut")


@pytest.mark.faults
def test_lines_that_keep_a_promise_are_missed() -> None:
    env = {**os.environ, "PYTHONPATH": f"{HOUSE / 'stores'}{os.pathsep}{HOUSE}"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.mutants", *QUICK]
    done = subprocess.run(command, cwd=HOUSE, env=env, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stdout + done.stderr
    assert done.stdout.count("\n") == len(QUICK) + 1


def test_every_line_that_is_taken_out_stands_once() -> None:
    for mutant in MUTANTS:
        assert (HOUSE / mutant.path).read_text(encoding="utf-8").count(mutant.old) == 1, mutant.name
