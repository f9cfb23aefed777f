"""Forgetting by design: models of :class:`forgetnet.ForgetNet`, told to forget by a request.

Each is held against its twin, a model of the same settings and key that never saw the forget set:
their digests are computed and compared, never assumed equal. Knows nothing of unlearners.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np

from forgetnet.compare.answers import Ask, Known
from forgetnet.compare.contestants import DESIGN, Entry
from forgetnet.compare.settings import Material, Records
from forgetnet.compare.worlds import World
from forgetnet.experts import NeighbourExpert, RidgeTrunk, TorchExpert
from forgetnet.model import ForgetNet

__all__ = ["DESIGNS", "designed"]

_BELIEF = 0.02
"""Weight of the fallback in an answer, so that no right answer has probability 0."""
_FEATURES = 512

Experts = Sequence[Any]
DESIGNS: dict[str, Callable[[], Experts]] = {
    "memory": lambda: [NeighbourExpert()],
    "ridge trunk": lambda: [RidgeTrunk(features=_FEATURES)],
    "experts": lambda: [
        RidgeTrunk(features=_FEATURES),
        TorchExpert(min_steps=100),
        NeighbourExpert(),
    ],
}
"""Parts of models by name: the rows alone; sums over all rows; both, with a network a leaf."""


def designed(world: World, name: str) -> Entry:
    """Teach a model everything, make it forget, and hold it against its twin."""
    material, setting = world.material, world.setting
    sides = {side: material.records[side] for side in ("retain", "forget")}

    def fresh() -> ForgetNet:
        return ForgetNet.open(
            encoder=setting.encoder,
            experts=DESIGNS[name](),
            cap=setting.cap,
            key=bytes(32),
            progress=False,
        )

    with ExitStack() as stack:
        net, twin = stack.enter_context(fresh()), stack.enter_context(fresh())
        for side, records in sides.items():
            _learn(net, side, records)
        _learn(twin, "retain", sides["retain"])
        before = _all(net, material)
        ids = _ids("forget", sides["forget"])
        plan = net.plan(ids=ids)
        began = time.process_time()
        net.forget(ids=ids, verify="touched")
        seconds = time.process_time() - began
        after, never = _all(net, material), _all(twin, material)
        equal = net.digest() == twin.digest()
    steps = [step for step in plan.steps if step.component not in {"store", "index", "encoder"}]
    return Entry(
        name,
        DESIGN,
        ask=after,
        twins=(never,),
        never=never,
        before=before,
        guarantee="exact",
        equal=equal,
        share=max((step.share for step in steps), default=0.0),
        clock=seconds / world.seconds,
    )


def _ids(side: str, records: Records) -> list[str]:
    return [f"{side} {number}" for number in range(len(records.answers))]


def _learn(net: ForgetNet, side: str, records: Records) -> None:
    answers, people = list(records.answers), list(records.people)
    net.partial_fit(records.inputs, answers, subjects=people, ids=_ids(side, records))


def _all(net: ForgetNet, material: Material) -> Ask:
    """Ask a model about all sides now; what it answers later is another matter."""
    known = {side: _known(net, records) for side, records in material.records.items()}
    return known.__getitem__


def _known(net: ForgetNet, records: Records) -> Known:
    """Return what a model knows, a fallback that never saw private data mixed in."""
    shares = net.predict_proba(records.inputs)
    column = {str(label): place for place, label in enumerate(net.classes_.tolist())}
    places = [column.get(answer, -1) for answer in records.answers]
    rows = np.arange(len(places))
    right = np.where(np.array(places) >= 0, shares[rows, places], 0.0)
    likely = (1.0 - _BELIEF) * right + _BELIEF * records.fallback
    correct = np.array(places) == shares.argmax(axis=1)
    return Known(-np.log(likely) / records.tokens, correct, records.tokens)
