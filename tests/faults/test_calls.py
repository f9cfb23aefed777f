"""A sample of ``make faults``: kills and errors at system calls, and what is left of each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.notify import may_hold

HOUSE = Path(__file__).resolve().parents[2]


def ran(*words: str) -> str:
    """Run cases in a process of their own: what forks must not have used Lance before."""
    env = {**os.environ, "PYTHONPATH": f"{HOUSE / 'stores'}{os.pathsep}{HOUSE}"}
    command = [sys.executable, "-W", "ignore", "-m", "tests.faults.calls", *words]
    done = subprocess.run(
        command, cwd=HOUSE, env=env, capture_output=True, text=True, check=False
    )
    assert not done.returncode, done.stdout + done.stderr
    return done.stdout


@pytest.mark.faults
@pytest.mark.parametrize(
    "words",
    [
        ["--only", "add", "forget", "hold, forget, lift", "--most", "3"],
        ["--only", "backup", "restore", "--kinds", "kill", "dead", "--most", "6"],
    ],
    ids=["verbs", "copies"],
)
def test_struck_calls_leave_nothing_that_was_not_promised(words: list[str]) -> None:
    if why := may_hold():
        pytest.skip(why)
    assert " 0 violated" in ran(*words)
