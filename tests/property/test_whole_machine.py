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

from tests.property.small import small
from tests.property.whole import WholeMachine

HISTORIES = int(os.environ.get("FORGETNET_HISTORIES", "3000"))
SEED = int(os.environ.get("FORGETNET_SEED", "0"))
CHUNK = 50


def histories(count: int, start: int) -> None:
    """Live so many histories of a seed."""
    WholeMachine.seen.clear()
    chosen = settings(
        max_examples=count,
        stateful_step_count=25,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    with small():
        run_state_machine_as_test(seed(start)(WholeMachine), settings=chosen)


@pytest.mark.parametrize("kind", ["memory", "lance", "filed", "sealed"])
def test_any_history_of_everything_ends_as_if_what_is_gone_had_never_been(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(WholeMachine, "only", kind)
    histories(12, 2)
    wanted = ["flat to scan", "pivots gone", *(["crashes", "restored"] if kind != "memory" else [])]
    wanted += ["vectors on disk"] if kind == "filed" else []
    assert not [name for name in wanted if not WholeMachine.seen[name]]


@pytest.mark.nightly
def test_many_histories_of_everything_end_so(capsys: pytest.CaptureFixture[str]) -> None:
    """Say after each chunk how many histories ran and failed, and go on with the next seed."""
    ran, failed, start = 0, 0, SEED
    while ran < HISTORIES:
        wrong, count = "", min(CHUNK, HISTORIES - ran)
        try:
            histories(count, start)
        except (Exception, pytest.fail.Exception):  # noqa: BLE001 - whatever it is, it is told and counted
            failed, wrong = failed + 1, traceback.format_exc()
            count = min(count, WholeMachine.seen["histories"])
        ran += count
        with capsys.disabled():
            print(f"seed {start}: {ran} histories, {failed} failed {wrong}")  # noqa: T201 - it runs for hours
            print("   ", dict(sorted(WholeMachine.seen.items())), flush=True)  # noqa: T201 - likewise
        start += 1
    assert failed == 0
