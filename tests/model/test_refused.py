"""Leaves that an expert can't learn from: no forget waits for them, and no model stays shut."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.experts.expert import Stage, State, View
from forgetnet.experts.neighbour import NeighbourExpert
from forgetnet.experts.torch_expert import TorchExpert
from forgetnet.experts.train import Local
from tests.model.house import opened, same, world

SEEN = world(24)
FEW = 4
WHOLE = Stage()


@dataclass(frozen=True, eq=False)
class Choosy(TorchExpert):
    """Refuses a leaf of fewer records than it likes, as an early stopping does that splits them."""

    least: int = FEW

    def fit(
        self, view: View, seed: int, start: State | None = None, stage: Stage = WHOLE
    ) -> State:
        if len(view) < self.least and stage.index == stage.count - 1:
            raise InvalidRecord("too few records")
        return super().fit(view, seed, start, stage)


def experts(slices: int) -> list[Any]:
    return [Choosy(epochs=1, min_steps=0, hidden=4, slices=slices), NeighbourExpert(k=3)]


def learnt(path: str | Path, rows: Sequence[int], slices: int) -> Any:
    net = opened(path, experts=experts(slices))
    with contextlib.suppress(InvalidRecord):  # which says that some leaf was refused
        SEEN.learn(net, rows)
    assert net.count() == len(rows)
    return net


@pytest.mark.parametrize("slices", [1, 3])
def test_a_forget_that_leaves_too_little_to_learn_from_ends_as_the_twin(
    tmp_path: Path, slices: int
) -> None:
    net = learnt(tmp_path / "net", range(24), slices)
    gone: list[str] = []
    refused = 0
    for subject in sorted({s for s in SEEN.subjects if s is not None}):
        assert net.forget(subject=subject, verify="full").status == "erased"
        gone.append(subject)
        with learnt("memory://", sorted(SEEN.but(*gone), reverse=True), slices) as twin:
            same(net, twin, SEEN.vectors[:5])
            refused += len(twin._core.leaves[0].refused)
    digest = net.digest()
    net.close()
    assert refused > 0
    with opened(tmp_path / "net", experts=experts(slices)) as net:
        assert net.digest() == digest
        assert net.predict(SEEN.vectors[:2]).shape == (2,)


class Elsewhere(Local):
    """Says that it trained on another kind of machine."""

    def run(self, jobs: Any, progress: Any = None, stop: Any = None) -> Any:
        def told(number: int, done: Any) -> None:
            progress(number, replace(done, environment="another processor, threads 1"))

        return super().run(jobs, told, stop)


def test_leaves_that_were_trained_on_another_kind_of_machine_are_refused() -> None:
    with opened(trainer=Elsewhere()) as net, pytest.raises(Unsupported, match="another processor"):
        SEEN.learn(net, range(24))
