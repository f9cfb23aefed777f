"""Copies, models opened from their folder alone, explanations, and experts of other people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord, StoreError, Unsupported
from forgetnet.exact import Codes
from forgetnet.experts import State, View
from forgetnet.experts.expert import AdditiveExpert, Expert, Label, class_order
from forgetnet.experts.ridge import RidgeTrunk
from forgetnet.model import ForgetNet
from tests.experts.leaves import wide
from tests.model.house import DIM, KEY, Watched, opened, router, same, torch_expert, twin, world

SEEN = world(24, subjects=6)
ASKED = np.random.default_rng(5).normal(size=(7, DIM)).astype(np.float32)


@pytest.mark.parametrize("kind", ["sums", "torch", "slices", "leaves", "memory"])
@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_saved_copy_is_the_same_model_and_another(tmp_path: Path, kind: str, task: Any) -> None:
    for place in ("memory://", tmp_path / "made"):
        net = opened(place, kind, task=task)
        SEEN.learn(net, range(24))
        target = tmp_path / f"copy of {Path(str(place)).name}"
        net.save(target)
        with ForgetNet.load(target, key=KEY, progress=False) as copy:
            same(net, copy, ASKED)
            assert copy.forget(subject="s2").status == "erased"
            same(copy, twin(SEEN, SEEN.but("s2"), kind, task=task), ASKED)
        same(net, twin(SEEN, range(24), kind, task=task), ASKED)
        with pytest.raises(StoreError, match="holds something"):
            net.save(target)
        net.close()


def test_a_model_that_holds_code_asks_for_it(tmp_path: Path) -> None:
    experts = [RidgeTrunk(features=16), torch_expert(module=wide)]
    with opened(tmp_path / "m", experts=experts) as net:
        SEEN.learn(net, range(24))
        digest = net.digest()
    with pytest.raises(Unsupported, match="give the same experts"):
        ForgetNet.load(tmp_path / "m", key=KEY)
    with opened(tmp_path / "m", experts=experts) as net:
        assert net.digest() == digest
    weighed = [torch_expert(class_weight={"a": 2.0, "b": 1.0})]
    with opened(tmp_path / "w", experts=weighed) as net:
        digest = net.digest()
    with ForgetNet.load(tmp_path / "w", key=KEY) as net:
        assert net.digest() == digest
    with opened(tmp_path / "t", "torch", router=router("topic-record")) as net:
        digest = net.digest()
    with pytest.raises(Unsupported, match="give the same experts"):
        ForgetNet.load(tmp_path / "t", key=KEY)


def test_settings_that_json_would_change_come_back_or_are_asked_for(tmp_path: Path) -> None:
    experts = [torch_expert(class_weight={1: 2.0, 2: 1.0})]
    with opened(tmp_path / "m", experts=experts) as net:
        net.fit(SEEN.vectors[:4], [1, 2, 2, 1], ids=list("abcd"))
        digest = net.digest()
    try:
        with ForgetNet.load(tmp_path / "m", key=KEY) as net:
            assert net.digest() == digest
    except Unsupported as error:
        asked = "give the same experts" in str(error)
        if not asked:
            raise


@pytest.mark.parametrize("kind", ["sums", "torch", "slices", "leaves", "tree", "memory"])
@pytest.mark.parametrize("by", ["subject", "topic-record"])
@pytest.mark.parametrize("masked", [False, True])
def test_an_explanation_sums_to_the_answer(kind: str, by: str, masked: bool) -> None:
    trainer = Watched()
    net = opened(kind=kind, router=router(by), trainer=trainer)
    SEEN.learn(net, range(24))
    pending = None
    if masked and kind not in {"sums", "memory", "leaves"}:
        trainer.hold()
        pending = net.request(subject="s1")
        assert trainer.at.wait(60)
    for asked in ASKED:
        told = net.explain(asked)
        assert sum(share.weight for share in told.shares) == pytest.approx(1.0, abs=1e-12)
        summed = sum(share.weight * share.answer for share in told.shares)
        np.testing.assert_allclose(summed, net.predict_proba(asked)[0], rtol=0, atol=1e-12)
        assert told.answer == net.predict(asked)[0]
        assert told.confidence == pytest.approx(float(np.max(summed)))
        assert told.exact is (pending is None)
        if told.neighbours:
            assert sum(weight for _, _, weight in told.neighbours) == pytest.approx(1.0)
    trainer.may.set()
    if pending is not None:
        pending.receipt(60)
    with pytest.raises(InvalidRecord, match="one query"):
        net.explain(ASKED)


def test_what_a_masked_leaf_would_say_the_memory_says() -> None:
    trainer = Watched()
    net = opened(trainer=trainer)
    SEEN.learn(net, range(24))

    def weights() -> dict[str, float]:
        found: dict[str, float] = {}
        for share in net.explain(ASKED[0]).shares:
            found[share.part] = found.get(share.part, 0.0) + share.weight
        return found

    whole = weights()
    trainer.hold()
    pending = net.request(subject="s1")
    assert trainer.at.wait(60)
    less = weights()
    assert less["ridge"] == pytest.approx(whole["ridge"])
    lost = whole["torch"] - less["torch"]
    assert lost > 0.0
    assert less["memory"] - whole["memory"] == pytest.approx(lost)
    trainer.may.set()
    pending.receipt(60)


def test_teachers_are_the_live_records_of_a_part_and_of_a_leaf() -> None:
    net = opened(kind="torch")
    SEEN.learn(net, range(24))
    net.forget(subject="s1")
    live = sorted(SEEN.ids[i] for i in SEEN.but("s1"))
    assert net.teachers("ridge") == live
    leaves = [leaf for part, leaf in net._core.shelf.slots if part == "torch"]
    assert sorted(i for leaf in leaves for i in net.teachers("torch", leaf)) == live
    with pytest.raises(InvalidRecord):
        net.teachers("nobody")


# -- an expert that the library has never heard of


@dataclass(frozen=True)
class Majority:
    """Answers how often each class was seen: the least that can be summed and taken back."""

    task: Any = "classification"
    name: str = "majority"
    influence: Influence = field(default=Influence.ADDITIVE)

    def config(self) -> Mapping[str, Any]:
        return {}

    def empty(self) -> State:
        return State({"counts": np.zeros(0, np.int64)}, {"classes": []})

    def fit(self, view: View, seed: int, start: Any = None, stage: Any = None) -> State:
        return self.absorb(self.empty(), view)

    def absorb(self, state: State, view: View) -> State:
        return self._changed(state, view, 1)

    def expel(self, state: State, view: View) -> State:
        return self._changed(state, view, -1)

    def _changed(self, state: State, view: View, sign: int) -> State:
        told = dict(zip(state.meta["classes"], state.tensors["counts"].tolist(), strict=True))
        for label in view.labels:
            told[label] = told.get(label, 0) + sign
        classes: tuple[Label, ...] = class_order([c for c in told if told[c]])
        counts = np.array([told[c] for c in classes], np.int64)
        return State({"counts": counts}, {"classes": list(classes)})

    def bridge(self, before: Any, view: View) -> None:
        return None

    def prepare(self, state: State) -> Any:
        return Counted(tuple(state.meta["classes"]), state.tensors["counts"])


@dataclass(frozen=True)
class Counted:
    classes: tuple[Label, ...]
    counts: Any
    exact: bool = True

    def __call__(self, codes: Codes) -> Any:
        return np.tile(self.counts / self.counts.sum(), (len(codes), 1))


def test_an_expert_of_somebody_else_works_in_a_model(tmp_path: Path) -> None:
    mine = Majority()
    assert isinstance(mine, AdditiveExpert) and isinstance(mine, Expert)
    experts = [mine, torch_expert(2)]
    with opened(tmp_path / "m", experts=experts) as net:
        SEEN.learn(net, range(24))
        receipt = net.forget(subject="s3", verify="full")
        assert receipt.status == "erased"
        assert "majority" in {surface.name for surface in receipt.surfaces}
        same(net, twin(SEEN, SEEN.but("s3"), experts=experts), ASKED)
        digest = net.digest()
    with pytest.raises(Unsupported, match="give the same experts"):
        ForgetNet.load(tmp_path / "m", key=KEY)
    with opened(tmp_path / "m", experts=experts) as net:
        assert net.digest() == digest
