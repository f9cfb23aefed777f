"""With everything in it, any history ends in the state of a memory that only saw the survivors.

Histories of the long test: ``FORGETNET_HISTORIES``, 3,000 unless it is set, from the seed
``FORGETNET_SEED`` on, 0 unless it is set.
"""

from __future__ import annotations

import os
import traceback

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.property.whole import WholeMachine, small

HISTORIES = int(os.environ.get("FORGETNET_HISTORIES", "3000"))
SEED = int(os.environ.get("FORGETNET_SEED", "0"))
CHUNK = 50


def histories(count: int, *, start: int | None = None) -> None:
    """Live so many histories; the same ones each time, or those of a seed."""
    WholeMachine.seen.clear()
    chosen = settings(
        max_examples=count,
        stateful_step_count=25,
        deadline=None,
        derandomize=start is None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with small():
        run_state_machine_as_test(
            WholeMachine if start is None else seed(start)(WholeMachine), settings=chosen
        )


def test_any_history_of_everything_ends_as_if_what_is_gone_had_never_been() -> None:
    histories(30)
    told = WholeMachine.seen
    assert told["histories"] >= 30
    # Else the test would hold much less than its name says.
    wanted = ["lance", "sealed", "memory", "crashes", "restored", "flat to scan", "scan to flat",
              "scan to pivots", "pivots to scan", "pivots gone"]  # fmt: skip
    assert not [name for name in wanted if not told[name]]


@pytest.mark.nightly
def test_many_histories_of_everything_end_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Say after each chunk how many histories ran and failed, and go on with the next seed."""
    ran, failed, start = 0, 0, SEED
    while ran < HISTORIES:
        wrong, count = "", min(CHUNK, HISTORIES - ran)
        try:
            histories(count, start=start)
        except Exception:  # noqa: BLE001 - whatever it is, it is told and counted
            failed, wrong = failed + 1, traceback.format_exc()
            count = min(count, WholeMachine.seen["histories"])
        ran += count
        with capsys.disabled():
            print(f"seed {start}: {ran} histories, {failed} failed {wrong}")  # noqa: T201 - it runs for hours
            print("   ", dict(sorted(WholeMachine.seen.items())), flush=True)  # noqa: T201 - likewise
        start += 1
    assert failed == 0
