"""A memory knows which models learnt from it, and each of them belongs to one memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from forgetnet import Memory
from forgetnet.attached import detach
from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.fallback import Ladder
from forgetnet.model import ForgetNet
from forgetnet.unlearn import SSD
from tests.fallback import house
from tests.fallback.house import opened, part, records
from tests.fallback.test_forget import ANN, surface, taught, twin

__all__ = ["twin"]  # a fixture


def test_a_model_left_out_stands_in_the_receipt_and_catches_up(tmp_path: Path, twin: str) -> None:
    taught(tmp_path / "m", part(tmp_path / "w")).close()
    with Memory.open(tmp_path / "m", key=house.KEY) as memory:
        receipt = memory.forget(subject="ann")
        assert receipt.status == surface(receipt).status == "unsupported"
        assert "was not attached" in surface(receipt).detail
        with pytest.raises(StoreError, match="use forget"):
            memory.delete(["bo-0"])
    model = part(tmp_path / "w")
    with opened(tmp_path / "m", model):
        assert model.digest() == twin
    alone = part(tmp_path / "w2", name="other")
    with pytest.raises(InvalidRecord, match="no other part"):
        opened(tmp_path / "m", model, model)
    with opened(tmp_path / "m", alone, model) as memory:  # a model may be attached again
        assert memory.forget(subject="bo").status == "erased"
        assert model.digest() != twin
    detach(tmp_path / "m", "head")
    detach(tmp_path / "m", "other")
    with Memory.open(tmp_path / "m", key=house.KEY) as memory:
        assert memory.forget(subject="cy").status == "erased"
        memory.delete(["di-0"])
    with pytest.raises(InvalidRecord, match="no model called 'head'"):
        detach(tmp_path / "m", "head")


def test_records_do_not_change_behind_the_models_back(tmp_path: Path) -> None:
    with taught(tmp_path / "m", part(tmp_path / "w")) as memory:
        for change in (
            lambda: memory.delete(["ann-0"]),
            lambda: memory.update("ann-0", metadata={"label": 1}),
        ):
            with pytest.raises(StoreError, match="use forget"):
                change()
        assert memory.get("ann-0") is not None


def test_what_can_not_be_is_refused(tmp_path: Path) -> None:
    model = part(tmp_path / "w")
    with pytest.raises(StoreError, match="attached to no memory"):
        model.fit()
    with opened(tmp_path / "m", model) as memory:
        with pytest.raises(InvalidRecord, match="no record is live"):
            model.fit()
        memory.add(records(("ann",)))
        with pytest.raises(InvalidRecord, match="1 of the records aren't live"):
            model.fit(["ann-0", "nobody"])
        with pytest.raises(InvalidRecord, match="no record is live"):
            model.adopt([], house.build())
        model.adopt(ANN, house.build())
        assert model.holds(ANN) == len(ANN)
    with pytest.raises(StoreError, match="holds the model 'head'"):
        part(tmp_path / "w", name="tail")
    with pytest.raises(StoreError, match="learnt from another memory"):
        opened(tmp_path / "m2", model)
    with pytest.raises(StoreError, match="lies in the memory's"):
        opened(tmp_path / "m", part(tmp_path / "m" / "inside", name="inside"))
    with pytest.raises(StoreError, match="another model called head"):
        opened(tmp_path / "m", part(tmp_path / "typo"))
    young = part(None, name="young")
    with opened(tmp_path / "m3", young), pytest.raises(StoreError, match="attached already"):
        opened(tmp_path / "m4", young)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.tmp").write_text("work")
    with pytest.raises(StoreError, match="holds other things"):
        part(tmp_path / "full")
    assert (tmp_path / "full" / "mine.tmp").exists()
    for name in ("rows", "memory", "Head 1!", "a" * 80):
        with pytest.raises(InvalidRecord, match="can't be called"):
            opened(tmp_path / "m4", part(None, name=name))
    with pytest.raises(InvalidRecord, match="no epochs"):
        Ladder.escalate(SSD())


def test_experts_and_shared_weights_forget_in_one_go(tmp_path: Path) -> None:
    model = part(tmp_path / "w")
    settings: dict[str, Any] = {"encoder": f"vectors:{house.DIM}", "key": house.KEY}
    with ForgetNet.open(tmp_path / "m", models=[model], progress=False, **settings) as net:
        told = records()
        net.partial_fit(told)
        model.fit()
        receipt = net.forget(subject="ann")
        assert receipt.status == "erased"
        names = {s.name for s in receipt.erasure.surfaces}
        assert {"rows", "head"} < names and len(names) > 3
        pending = [net.request(subject=person).receipt(120).status for person in ("bo", "cy")]
        assert pending == ["erased"] * 2
        assert model.holds([record.id for record in told]) == 2 * house.EACH


def test_notes_and_attempts_hold_no_text(tmp_path: Path) -> None:
    model = part(tmp_path / "w")
    with taught(tmp_path / "m", model) as memory:
        memory.forget(subject="ann")
        plain = json.dumps([list(model.attempts), dict(model.retrieval)])
        assert "ann" not in plain
