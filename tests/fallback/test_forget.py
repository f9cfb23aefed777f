"""Shared weights in the path of a forget: what is claimed of them, and what is left."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from forgetnet import Memory, Receipt, Record
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import StoreError
from forgetnet.fallback import Entangled, Ladder, Rows
from forgetnet.forget.surfaces import Surface
from forgetnet.unlearn import NPO, Budget, FineTune, GradientDifference, StopRule
from forgetnet.unlearn.private import for_several, train_private
from tests.fallback import house
from tests.fallback.house import LIGHT, PEOPLE, RETRAIN, opened, part, records

ANN = [f"ann-{n}" for n in range(house.EACH)]
STRONG = GradientDifference(
    lr=3e-3, epochs=40, retain_weight=3.0, stop=StopRule(forget_loss=1.0, retain_increase=None)
)


def taught(path: Path, model: Entangled, people: tuple[str, ...] = PEOPLE) -> Memory:
    memory = opened(path, model)
    memory.add(records(people))
    model.fit()
    return memory


def surface(receipt: Receipt, name: str = "head") -> Surface:
    (found,) = [s for s in receipt.erasure.surfaces if s.name == name]
    return found


def guarantee(receipt: Receipt) -> str:
    (found,) = [c.guarantee for c in receipt.erasure.components if c.name == "head"]
    return found


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The digest of the model that never saw Ann."""
    model = part(None)
    with taught(tmp_path_factory.mktemp("twin") / "m", model, PEOPLE[1:]):
        return model.digest()


# ------------------------------------------------------------------------------------ exact


def test_retraining_ends_as_the_twin_and_is_called_erased(tmp_path: Path, twin: str) -> None:
    model = part(tmp_path / "w")
    with taught(tmp_path / "m", model) as memory:
        before = model.digest()
        receipt = memory.forget(subject="ann", verify="full")
        assert receipt.status == "erased"
        assert guarantee(receipt) == "exact"
        assert surface(receipt).count == house.EACH
        assert model.digest() == twin != before
        assert b"ann-" not in everything(tmp_path / "w")
        assert {p.suffix for p in (tmp_path / "w").iterdir()} == {".json", ".safetensors"}
        assert memory.forget(subject="ann").status == "not_found"


def test_the_look_finds_weights_that_still_saw_it(tmp_path: Path, monkeypatch: Any) -> None:
    """The look trains once more: a retraining that kept what it knew is no erasure."""
    model = part(tmp_path / "w")
    with taught(tmp_path / "m", model) as memory:
        real = Entangled._unlearnt

        def cheat(self: Entangled, *given: Any) -> Any:
            outcome = real(self, *given)
            return replace(outcome, tensors={n: t + 1e-7 for n, t in outcome.tensors.items()})

        monkeypatch.setattr(Entangled, "_unlearnt", cheat)
        receipt = memory.forget(subject="ann", verify="full")
        assert surface(receipt).status == "failed"


def test_the_look_finds_old_weights_that_were_kept(tmp_path: Path, monkeypatch: Any) -> None:
    model = part(tmp_path / "w")
    with taught(tmp_path / "m", model) as memory:
        monkeypatch.setattr("forgetnet.fallback.rack.shred", lambda path: None)
        assert surface(memory.forget(subject="ann")).status == "failed"


def test_who_leaves_last_takes_the_weights_along(tmp_path: Path) -> None:
    model = part(tmp_path / "w", LIGHT)
    with taught(tmp_path / "m", model, ("ann",)) as memory:
        receipt = memory.forget(subject="ann")
        assert (receipt.status, guarantee(receipt)) == ("erased", "exact")
        assert [p.name for p in (tmp_path / "w").iterdir()] == ["manifest.json"]
        with pytest.raises(StoreError, match="learnt nothing"):
            model.module  # noqa: B018 - it raises


# ------------------------------------------------------------------------------------ audited


def test_what_an_audit_accepts_is_called_audited_and_never_erased(tmp_path: Path) -> None:
    """A method that proves nothing, good enough by the policy: the receipt says what that is."""
    every = frozenset(Verdict) - {Verdict.INCONSISTENT}
    model = part(tmp_path / "w", ladder=Ladder((STRONG, RETRAIN), accept=every, skip=False))
    with taught(tmp_path / "m", model) as memory:
        plan = memory.forget(subject="ann", dry_run=True)
        (step,) = [s for s in plan.steps if s.component == "head"]
        assert step.guarantee == "audited" and step.passes > 100
        assert "gradient_difference, then retrain" in step.action
        before = model.digest()
        receipt = memory.forget(subject="ann")
        assert [a["method"] for a in model.attempts] == ["nothing", "gradient_difference"]
        assert receipt.status == surface(receipt).status == "unsupported"
        assert guarantee(receipt) == "audited"
        assert "proves nothing" in surface(receipt).detail
        said = "erased from rows and vectors and index, and that this can't be said of head (its"
        assert said in receipt.explain()
        assert model.digest() != before
        assert not model.module.training
        assert b"ann-" not in everything(tmp_path / "w")
        # Once touched so, only a full retraining gives the exact word back.
        assert memory.forget(subject="bo").status == "unsupported"
    again = part(tmp_path / "w", RETRAIN)
    with opened(tmp_path / "m", again) as memory:
        assert memory.forget(subject="cy").status == "erased"
        assert again.standing.guarantee == "exact"


def test_a_rung_that_is_too_weak_leads_to_the_next(tmp_path: Path, twin: str) -> None:
    model = part(tmp_path / "w", ladder=Ladder.escalate(LIGHT, NPO(epochs=0.1), RETRAIN, times=1))
    with taught(tmp_path / "m", model) as memory:
        assert memory.forget(subject="ann").status == "erased"
        tried = [a["method"] for a in model.attempts]
        assert tried == ["nothing", "gradient_difference", "gradient_difference", "npo", "retrain"]
        assert [a["accepted"] for a in model.attempts] == [False] * 4 + [True]
        assert model.digest() == twin  # each rung began from the weights as they were


def test_what_no_rung_can_do_is_withheld_and_failed(tmp_path: Path, twin: str) -> None:
    model = part(tmp_path / "w", LIGHT)
    with taught(tmp_path / "m", model) as memory:
        receipt = memory.forget(subject="ann")
        assert receipt.status == surface(receipt).status == "failed"
        assert surface(receipt, "rows").status == "erased"
        with pytest.raises(StoreError, match="still holds 30 records"):
            model.module  # noqa: B018 - it raises
        assert model.holds(ANN) == len(ANN)
        memory.add(["the memory goes on"], vectors=np.eye(1, house.DIM, dtype=np.float32))
        assert not list((tmp_path / "w").glob("leaving*"))
    with opened(tmp_path / "m", model):
        with pytest.raises(StoreError, match="still holds 30 records"):
            model.module  # noqa: B018 - it raises
        assert model.retry().withheld
        assert model.retry(Ladder((RETRAIN,))).guarantee == "exact"
        assert model.digest() == twin


def test_dropped_weights_are_gone(tmp_path: Path) -> None:
    model = part(tmp_path / "w", ladder=Ladder((LIGHT,), otherwise="drop"))
    with taught(tmp_path / "m", model) as memory:
        receipt = memory.forget(subject="ann")
        assert receipt.status == "erased"
        assert surface(receipt).method == "dropped the weights"
        assert [p.name for p in (tmp_path / "w").iterdir()] == ["manifest.json"]


def test_weights_that_tell_nothing_are_left_alone(tmp_path: Path) -> None:
    """Only where the audit has the power to show that: with three records it has not."""

    def hardly(module: nn.Module, data: Any, seed: int) -> None:
        torch.nn.init.zeros_(module[-1].weight)

    model = Entangled(
        "head",
        tmp_path / "w",
        build=house.build,
        train=hardly,
        examples=house.examples,
        ladder=Ladder((RETRAIN,), margin=0.2),
        holdout=house.holdout(),
    )
    with taught(tmp_path / "m", model) as memory:
        before = model.digest()
        receipt = memory.forget(filter={"subject": {"$in": ["ann", "bo", "cy"]}})
        assert [a["method"] for a in model.attempts] == ["nothing"]
        assert (receipt.status, guarantee(receipt)) == ("unsupported", "audited")
        assert "left as they are; an attack" in surface(receipt).detail
        assert model.digest() != before  # it says whom the weights saw, and is no twin
        assert memory.forget(ids=["di-0", "di-1", "di-2"]).status == "erased"
        assert [a["verdict"] for a in model.attempts] == ["not checked", "proven"]


@pytest.mark.filterwarnings("ignore:Optimal order")
def test_private_weights_are_left_alone_while_their_epsilon_allows_it(tmp_path: Path) -> None:
    """Together with all that was forgotten since the training: k records have k times epsilon."""
    pytest.importorskip("opacus")
    model = part(tmp_path / "w", ladder=Ladder((RETRAIN,), epsilon=2.5, delta=0.02))
    with opened(tmp_path / "m", model) as memory:
        ids = memory.add(records())
        inputs = torch.from_numpy(np.stack([r.vector for r in records() if r.vector is not None]))
        labels = torch.tensor([r.metadata["label"] for r in records()])
        done = train_private(
            house.build(), (inputs, labels), epsilon=1.0, delta=1e-4, epochs=1, batch_size=32
        )
        model.adopt(ids, done.model, private=done)
        plan = memory.forget(ids=["ann-0"], dry_run=True)
        (step,) = [s for s in plan.steps if s.component == "head"]
        assert (step.guarantee, step.passes) == ("certified", 0)
        assert f"epsilon {done.epsilon:.4g}" in step.action
        receipt = memory.forget(ids=["ann-0"])
        assert (surface(receipt).status, guarantee(receipt)) == ("unsupported", "certified")
        assert memory.forget(ids=["ann-1"]).status == "unsupported"
        assert [a["method"] for a in model.attempts] == ["nothing"]
        assert memory.forget(ids=["ann-2"]).status == "erased"  # three times 1.0 is too much
        assert [a["method"] for a in model.attempts] == ["nothing", "nothing", "retrain"]
        assert not model._rack.read().account


def test_several_examples_have_several_times_epsilon() -> None:
    """k epsilon; and delta times 1 + e^eps + ..., which k e^((k-1) eps) is above."""
    assert for_several(0.5, 1e-6, 1) == pytest.approx((0.5, 1e-6))
    epsilon, delta = for_several(0.5, 1e-6, 3)
    assert epsilon == pytest.approx(1.5)
    assert delta == pytest.approx(3 * np.exp(1.0) * 1e-6)
    assert delta >= 1e-6 * (1 + np.exp(0.5) + np.exp(1.0))
    assert for_several(2.0, 1e-5, 400)[1] == 1.0
    assert for_several(2.0, 0.0, 4) == (8.0, 0.0)
    assert for_several(2.0, 0.1, 0) == (0.0, 0.0)


def test_without_a_holdout_nothing_is_accepted_by_looks(tmp_path: Path) -> None:
    model = part(tmp_path / "w", LIGHT, RETRAIN, holdout=None)
    with taught(tmp_path / "m", model) as memory:
        assert memory.forget(subject="ann").status == "erased"
        assert [a["verdict"] for a in model.attempts] == ["not checked", "not checked", "proven"]


def test_a_rung_that_does_not_fit_says_why_and_is_passed_over(tmp_path: Path) -> None:
    model = part(tmp_path / "w", FineTune(params=("no such parameter",)), RETRAIN)
    with taught(tmp_path / "m", model) as memory:
        assert memory.forget(subject="ann").status == "erased"
        assert model.attempts[1]["stopped"] == "doesn't fit"
        assert "matches no trainable parameter" in model.attempts[1]["reasons"][0]


def test_a_budget_holds_for_each_rung(tmp_path: Path) -> None:
    """But for a retraining by the model's own recipe, which can't be held to one."""
    model = part(tmp_path / "w", ladder=Ladder((STRONG, RETRAIN), budget=Budget(steps=1)))
    with taught(tmp_path / "m", model) as memory:
        assert memory.forget(subject="ann").status == "erased"
        assert [a["stopped"] for a in model.attempts] == ["done", "budget", "done"]


# ------------------------------------------------------------------------------------ retrieval


def beside(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    """Give the network what the memory puts beside a record: the label of its neighbour."""
    inputs, labels = house.examples(rows)
    hints = torch.zeros(len(rows), house.CLASSES)
    for n, near in enumerate(rows.context):
        if near:
            hints[n, near[0].metadata["label"]] = 4.0
    return torch.cat([inputs, hints], dim=1), labels


def test_a_near_duplicate_that_stays_is_named_and_told_from_weights(tmp_path: Path) -> None:
    def build() -> nn.Module:
        start = nn.Linear(house.DIM + house.CLASSES, house.CLASSES)
        with torch.no_grad():
            start.weight.zero_()
            start.weight[:, house.DIM :] = torch.eye(house.CLASSES)  # it believes what it is told
        return start

    model = Entangled(
        "head",
        tmp_path / "w",
        build=build,
        train=lambda *_: None,
        examples=beside,
        ladder=Ladder((RETRAIN,)),
        holdout=None,
        neighbours=1,
    )
    with opened(tmp_path / "m", model) as memory:
        told = records()
        memory.add(told)
        first = told[0]
        copy = Record(id="copy", subject="ed", vector=first.vector, metadata=first.metadata)
        memory.add([copy])
        model.fit()
        plan = memory.forget(ids=["ann-0"], dry_run=True)
        assert (plan.near, plan.compared) == (("copy",), 1)
        assert memory.forget(ids=["ann-1"], dry_run=True).near == ()
        memory.forget(ids=["ann-0"])
        found = model.retrieval
        assert found["near"] == ["copy"]
        assert found["on"] < 0.2 < found["off"]  # the copy tells it, the weights don't
        assert found["full"] == found["on"]
        assert found["never"] == found["off"]
