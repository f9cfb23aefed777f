"""Any history of verbs ends in the state of a memory that only ever saw the survivors."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

from tests.property.twin import TwinMachine

TestTwin = TwinMachine.TestCase
TestTwin.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
