"""What a plan says a forget will cost is what it then costs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forgetnet.experts import Job
from forgetnet.experts.slices import prefixes
from forgetnet.experts.train import stages_of
from tests.model.house import Watched, opened, router, world

SEEN = world(30, subjects=9)


def work(jobs: list[Job]) -> int:
    """Count what was learnt from: a record once for each stage that sees it."""
    return sum(
        len(prefix)
        for job in jobs
        for prefix in prefixes(job.view, stages_of(job.expert))[job.start_stage :]
    )


SCOPES = st.one_of(
    st.builds(lambda s: {"subject": f"s{s}"}, st.integers(0, 9)),
    st.builds(
        lambda rows: {"ids": [f"r{i}" for i in rows]},
        st.lists(st.integers(0, 29), min_size=1, max_size=6, unique=True),
    ),
    st.builds(lambda t: {"topic": t}, st.sampled_from(["work", "home"])),
)


@pytest.mark.parametrize("kind", ["torch", "slices", "leaves", "tree"])
@pytest.mark.parametrize("by", ["subject", "topic-record", "topic-subject"])
@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(scope=SCOPES, cap=st.sampled_from([1, 4, 8, 12, 100]), n=st.integers(6, 30))
def test_the_share_of_a_plan_is_the_work_that_is_done(
    kind: str, by: str, scope: dict[str, Any], cap: int, n: int
) -> None:
    trainer = Watched()
    net = opened(kind=kind, router=router(by), cap=cap, trainer=trainer)
    SEEN.learn(net, range(n))
    plan = {step.component: step for step in net.plan(**scope).steps}
    before = net.digest()
    trainer.jobs.clear()
    net.forget(**scope)
    left = [i for i in range(n) if net.memory.get(SEEN.ids[i]) is not None]
    assert len(left) < n or net.digest() == before
    (name,) = (part.name for part in net._core.leaves)
    whole = Watched()
    fresh = opened(kind=kind, router=router(by), cap=cap, trainer=whole)
    if left:
        SEEN.learn(fresh, left)
    done, all_of = work(trainer.jobs), work(whole.jobs)
    assert plan[name].share == pytest.approx(done / all_of if all_of else 0.0)
    assert plan[name].retrained == sum(len(job.view) for job in trainer.jobs)
    assert plan[name].records == n - len(left)
