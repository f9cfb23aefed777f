"""What shared weights may not be said to have forgotten, however one tries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from forgetnet import Memory, Record
from forgetnet.attached import detach
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import ForgetIncomplete, InvalidRecord, StoreError
from forgetnet.fallback import Entangled, Ladder
from forgetnet.fallback.looks import ATTACKED
from forgetnet.fallback.means import Means
from forgetnet.retrieve import near_duplicates
from forgetnet.unlearn import GradientAscent, NewtonRemoval, Retrain
from forgetnet.unlearn.result import state_digest
from tests.fallback import house
from tests.fallback.house import LIGHT, PEOPLE, RETRAIN, opened, part, records
from tests.fallback.test_forget import guarantee, surface, taught
from tests.faults.cuts import failing

EVERY = frozenset(Verdict) - {Verdict.INCONSISTENT}


def twin(path: Path, ids: list[str]) -> str:
    model = part(None)
    with opened(path, model) as memory:
        memory.add([r for r in records() if r.id in ids])
        model.fit()
        return model.digest()


def test_a_head_solved_exactly_on_features_that_know_is_not_exact(tmp_path: Path) -> None:
    solve = NewtonRemoval(params=(r"2\..*",), loss="ridge")
    model = part(tmp_path / "w", ladder=Ladder((solve,), skip=False))
    with taught(tmp_path / "m", model) as memory:
        receipt = memory.forget(subject="ann")
        assert receipt.status == "failed"
        (_, last) = model.attempts
        assert last["guarantee"] == "approximate"
        assert any("the rest of the module learnt" in why for why in last["reasons"])


def test_weights_that_were_replaced_meanwhile_are_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unlearning goes on without the memory's lock, where requests are carried out."""
    model = part(tmp_path / "w")
    with taught(tmp_path / "m", model, PEOPLE[:3]) as memory:
        real, calls = Means.unlearn, []

        def slow(self: Means, *given: Any) -> Any:
            outcome = real(self, *given)
            if not calls:
                calls.append(1)
                memory.add(records(PEOPLE[3:4]))
                model.fit([r.id for r in records(PEOPLE[1:4])])
            return outcome

        monkeypatch.setattr(Means, "unlearn", slow)
        assert memory.forget(subject="ann").status == "erased"
        assert model.holds([r.id for r in records()]) == 3 * house.EACH
        now = [r.id for r in records(PEOPLE[1:4])]
        assert model.digest() == twin(tmp_path / "t", now)


def test_a_fit_is_given_up_where_records_go_meanwhile(tmp_path: Path) -> None:
    def cruel(module: nn.Module, data: Any, seed: int) -> None:
        house.train(module, data, seed)
        if armed and memory.count({"subject": "ann"}):
            memory.forget(subject="ann")

    armed: list[int] = []
    model = Entangled(
        "head", tmp_path / "w", build=house.build, train=cruel, examples=house.examples,
        ladder=Ladder((RETRAIN,)),
    )  # fmt: skip
    with taught(tmp_path / "m", model) as memory:
        armed.append(1)
        with pytest.raises(StoreError, match="fit again"):
            model.fit()
        assert model.holds(["ann-0"]) == 0


def test_a_fit_is_given_up_where_an_id_means_another_record_by_then(tmp_path: Path) -> None:
    def cruel(module: nn.Module, data: Any, seed: int) -> None:
        house.train(module, data, seed)
        assert memory.forget(ids=["ann-0"]).status == "erased"  # no weights hold it yet
        memory.add([Record(id="ann-0", vector=other, metadata={"label": 0})])

    other = np.eye(1, house.DIM, dtype=np.float32)[0]
    model = Entangled(
        "head", tmp_path / "w", build=house.build, train=cruel, examples=house.examples,
        ladder=Ladder((RETRAIN,)),
    )  # fmt: skip
    with opened(tmp_path / "m", model) as memory:
        memory.add(records(PEOPLE[:2]))
        with pytest.raises(StoreError, match="fit again"):
            model.fit()
        assert not model.taught


def test_an_id_that_is_used_again_pays_no_debt(tmp_path: Path) -> None:
    taught(tmp_path / "m", part(tmp_path / "w", LIGHT)).close()
    with Memory.open(tmp_path / "m", key=house.KEY) as memory:
        memory.forget(ids=["ann-0"])
        other = np.eye(1, house.DIM, dtype=np.float32)[0]
        memory.add([Record(id="ann-0", vector=other, metadata={"label": 0})])
    model = part(tmp_path / "w", LIGHT)
    with opened(tmp_path / "m", model), pytest.raises(StoreError, match="still holds 1 records"):
        model.module  # noqa: B018 - it raises
    again = part(tmp_path / "w", RETRAIN)
    with opened(tmp_path / "m", again) as memory:
        with pytest.raises(StoreError, match="still holds 1 records"):
            again.module  # noqa: B018 - it raises
        assert again.retry().guarantee == "exact"
        ids = [r.id for r in records() if r.id != "ann-0"]
        assert again.digest() == twin(tmp_path / "t", ids)
        assert again.holds(["ann-0"]) == 0


def test_no_attack_is_told_of_that_nobody_made(tmp_path: Path) -> None:
    ladder = Ladder((LIGHT,), accept=EVERY, skip=False)
    model = part(tmp_path / "w", ladder=ladder, holdout=None)
    with taught(tmp_path / "m", model) as memory:
        receipt = memory.forget(subject="ann")
        assert (surface(receipt).status, guarantee(receipt)) == ("unsupported", "audited")
        assert "no audit could tell" in surface(receipt).detail
        assert ATTACKED not in {check.check for check in surface(receipt).verification}


def test_a_holdout_unlike_the_records_shows_nothing(tmp_path: Path) -> None:
    """One that everybody tells from them, also a model that saw neither."""
    torch.manual_seed(0)
    start = house.build()
    inputs, _ = house.holdout()
    labels = start(inputs).argmax(dim=1)

    def hardly(module: nn.Module, data: Any, seed: int) -> None:
        module[0].bias.data += 1e-3

    model = Entangled(
        "head", tmp_path / "w", build=lambda: _copy(start), train=hardly,
        examples=house.examples, ladder=Ladder((RETRAIN,), margin=0.2), holdout=(inputs, labels),
    )  # fmt: skip
    with taught(tmp_path / "m", model) as memory:
        memory.forget(filter={"subject": {"$in": ["ann", "bo", "cy"]}})
        assert model.attempts[0]["verdict"] == "not checked"
        assert "saw nothing didn't pass" in model.attempts[0]["reasons"][0]


def test_a_build_that_gives_the_trained_module_back_is_found_out(tmp_path: Path) -> None:
    shared = house.build()
    more: dict[str, Any] = {"train": house.train, "examples": house.examples}
    more |= {"ladder": Ladder((RETRAIN,))}
    model = Entangled("head", tmp_path / "w", build=lambda: shared, **more)
    with opened(tmp_path / "m", model) as memory:
        memory.add(records())
        with pytest.raises(InvalidRecord, match="new module each time"):
            model.fit()
        with pytest.raises(InvalidRecord, match="before they learnt"):
            model.adopt([r.id for r in records()], shared)
    start = house.build()
    late = Entangled("late", tmp_path / "l", build=lambda: _copy(start), **more)
    with opened(tmp_path / "m2", late) as memory:
        memory.add(records())
        late.fit()
        start.load_state_dict(late.module.state_dict())  # a checkpoint that has seen everybody
        assert memory.forget(subject="ann").status == "failed"
        assert late.attempts[-1]["guarantee"] == "approximate"


def _copy(module: nn.Module) -> nn.Module:
    made = house.build()
    made.load_state_dict(module.state_dict())
    return made


def test_adopted_weights_are_worth_what_those_before_were(tmp_path: Path) -> None:
    model = part(tmp_path / "w", ladder=Ladder((LIGHT,), accept=EVERY, skip=False))
    with taught(tmp_path / "m", model) as memory:
        memory.forget(subject="ann")
        rest = [r.id for r in records(PEOPLE[1:])]
        model.adopt(rest, model.module)
        assert model.standing.guarantee == "audited"
        model.adopt(rest, model.module, fresh=True)
        assert model.standing.guarantee == "exact"
        with pytest.raises(InvalidRecord, match="same parameters"):
            model.adopt(rest, nn.Linear(house.DIM, house.CLASSES))
        assert model.holds(rest) == len(rest)  # nothing was lost


def test_a_forget_that_a_left_out_model_missed_is_finished_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught(tmp_path / "m", part(tmp_path / "w")).close()
    memory = Memory.open(tmp_path / "m", key=house.KEY)
    with failing(12, lambda: OSError(28, "no space"), after=False), pytest.raises(ForgetIncomplete):
        memory.forget(subject="ann")
    memory.close()
    model = part(tmp_path / "w")
    with opened(tmp_path / "m", model):
        assert model.digest() == twin(tmp_path / "t", [r.id for r in records(PEOPLE[1:])])
    assert not list((tmp_path / "m" / "journal").iterdir())


@pytest.mark.parametrize("empty", [True, False])
def test_a_ladder_without_a_rung_that_works_withholds_and_goes_on(
    tmp_path: Path, empty: bool
) -> None:
    class Broken(GradientAscent):
        def carry_out(self, *_: Any) -> Any:
            raise RuntimeError("ann-3 is too large for this device")

    model = part(tmp_path / "w", ladder=Ladder(() if empty else (Broken(),), skip=False))
    with taught(tmp_path / "m", model) as memory:
        plan = memory.forget(subject="ann", dry_run=True)
        assert plan.steps[-1].guarantee == "audited"
        assert memory.forget(subject="ann").status == "failed"
        assert memory.forget(subject="bo").status == "failed"
        assert memory.forget(ids=["nobody"]).status == "not_found"
        memory.add([Record(id="new", vector=np.eye(1, house.DIM, dtype=np.float32)[0])])
        # What the weights never saw is gone, and so it is called.
        assert memory.forget(ids=["new"]).status == "erased"
        assert "ann-3" not in json.dumps(list(model.attempts))
    with opened(tmp_path / "m", part(tmp_path / "w", RETRAIN)) as memory:
        assert memory.forget(subject="cy").status == "erased"


def test_retraining_that_repeats_no_bits_is_not_called_exact(tmp_path: Path) -> None:
    def drifting(module: nn.Module, data: Any, seed: int) -> None:
        house.train(module, data, seed)
        drift.append(1e-3)
        with torch.no_grad():
            module[0].bias += sum(drift)

    drift: list[float] = []
    model = Entangled(
        "head", tmp_path / "w", build=house.build, train=drifting, examples=house.examples,
        ladder=Ladder((RETRAIN,)), holdout=house.holdout(),
    )  # fmt: skip
    taught(tmp_path / "m", model).close()
    with Memory.open(tmp_path / "m", key=house.KEY) as memory:
        memory.forget(subject="ann")
    with opened(tmp_path / "m", model):  # its records are gone, so that nothing can be attacked
        assert [a["verdict"] for a in model.attempts] == ["not checked", "not checked"]
        assert model.standing.withheld


def test_ids_beside_a_forgotten_record_go_when_they_are_forgotten(tmp_path: Path) -> None:
    model = part(tmp_path / "w")
    with opened(tmp_path / "m", model) as memory:
        told = records()
        memory.add(told)
        model.fit()
        first = told[0]
        memory.add([Record(id="patient-smith-42", vector=first.vector, metadata=first.metadata)])
        memory.forget(ids=["ann-0"])
        assert model.retrieval["near"] == ["patient-smith-42"]
        assert memory.forget(ids=["patient-smith-42"]).status == "erased"
        assert b"smith" not in (tmp_path / "w" / "manifest.json").read_bytes()


def test_records_kept_for_a_forget_that_never_began_are_shredded(tmp_path: Path) -> None:
    model = part(tmp_path / "w")
    with taught(tmp_path / "m", model) as memory:
        with pytest.MonkeyPatch.context() as patch:

            def full(*_: Any) -> None:
                raise OSError(28, "no space")

            patch.setattr("forgetnet.forget.journal.Journal.open", full)
            with pytest.raises(StoreError, match="nothing was deleted"):
                memory.forget(subject="ann")
        assert list((tmp_path / "w").glob("leaving-*"))
    with opened(tmp_path / "m", model):
        assert not list((tmp_path / "w").glob("leaving-*"))
        assert model.holds(["ann-0"]) == 1


def test_a_scope_that_matches_nothing_is_not_found_without_the_model(tmp_path: Path) -> None:
    taught(tmp_path / "m", part(tmp_path / "w")).close()
    with Memory.open(tmp_path / "m", key=house.KEY) as memory:
        assert memory.forget(ids=["nobody"]).status == "not_found"
    detach(tmp_path / "m", "head")
    with pytest.raises(StoreError, match="let go of it"):
        opened(tmp_path / "m", part(tmp_path / "w"))


def test_a_training_that_breaks_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    def breaking(module: nn.Module, data: Any, seed: int) -> None:
        if broken:
            raise RuntimeError("out of memory")
        house.train(module, data, seed)

    broken: list[int] = []
    model = Entangled(
        "head", tmp_path / "w", build=house.build, train=breaking, examples=house.examples,
        ladder=Ladder((RETRAIN,)),
    )  # fmt: skip
    with taught(tmp_path / "m", model) as memory:
        before = model.digest()
        broken.append(1)
        with pytest.raises(RuntimeError):
            model.fit(["bo-0"])
        assert model.digest() == before
        broken.clear()
        assert memory.forget(subject="ann").status == "erased"


def test_plans_of_any_scope_are_made(tmp_path: Path) -> None:
    model = part(tmp_path / "w", LIGHT, RETRAIN)
    with taught(tmp_path / "m", model) as memory:
        every = {"subject": {"$in": list(PEOPLE)}}
        assert "drop the weights" in memory.forget(filter=every, dry_run=True).steps[-1].action
    unfit = GradientAscent(params=("nothing",))
    with opened(tmp_path / "m", part(tmp_path / "w", unfit, RETRAIN)) as memory:
        step = memory.forget(subject="ann", dry_run=True).steps[-1]
        assert (step.share, step.retrained, step.guarantee) == (1.0, 4 * house.EACH, "exact")


def test_near_duplicates_are_told_with_how_many_could_be_compared() -> None:
    with opened("memory://") as memory:
        same = np.eye(1, house.DIM, dtype=np.float32)[0]
        many = [Record(id=f"a{n:04}", vector=same) for n in range(700)]
        memory.add([*many, Record(id="other", subject="bo", vector=same)])
        some = memory._store.vectors(["a0000", "a0001"])[0]
        gone = {record.id for record in many}
        assert near_duplicates(memory._store, some, gone) == ((), 0)
        few = {record.id for record in many[:300]}
        found, compared = near_duplicates(memory._store, some, few)
        assert (len(found), compared) == (10, 2)
        assert not few & set(found)


def test_retrain_alone_is_exact_of_what_began_elsewhere(tmp_path: Path) -> None:
    """Adopted weights are trained anew from the start that was there when they were adopted."""
    model = part(tmp_path / "w")
    with opened(tmp_path / "m", model) as memory:
        ids = memory.add(records())
        module = house.build()
        house.train(module, house.holdout(), 0)
        model.adopt(ids, module)
        assert memory.forget(subject="ann", verify="full").status == "erased"
        assert model.digest() == twin(tmp_path / "t", [r.id for r in records(PEOPLE[1:])])
        assert state_digest(module) != state_digest(model.module)
        assert isinstance(RETRAIN, Retrain)
