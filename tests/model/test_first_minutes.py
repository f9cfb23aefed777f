"""What people try first: columns of a data frame, their own names, settings given a second time."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet.errors import InvalidRecord
from forgetnet.experts import NeighbourExpert, PrototypeExpert
from forgetnet.model import ForgetNet
from forgetnet.model.core import Core
from forgetnet.record import Record

TEXTS = ["the card was refused", "card declined", "my parcel is late", "no parcel yet"]
LABELS = ["card", "card", "post", "post"]
PEOPLE = ["ann", "ben", "ann", "cem"]


def desk(path: str | Path = "memory://", **more: Any) -> ForgetNet:
    told: dict[str, Any] = {"experts": [PrototypeExpert(), NeighbourExpert()], "progress": False}
    return ForgetNet.open(path, encoder="hash:64", **(told | more))


def test_columns_and_arrays_of_texts_are_texts() -> None:
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"text": TEXTS, "intent": LABELS, "who": PEOPLE})
    ids = [f"r{n}" for n in range(4)]
    with desk(key=bytes(32)) as told, desk(key=bytes(32)) as frame, desk(key=bytes(32)) as array:
        told.fit(TEXTS, LABELS, subjects=PEOPLE, ids=ids)
        frame.fit(table.text, table.intent, subjects=table.who, ids=ids)
        array.fit(np.array(TEXTS), np.array(LABELS), subjects=PEOPLE, ids=ids)
        assert told.digest() == frame.digest() == array.digest()
        assert frame.predict(table.text).tolist() == told.predict(np.array(TEXTS)).tolist()


def test_targets_may_be_columns_of_a_data_frame() -> None:
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"low": [0.0, 1.0, 2.0, 3.0], "high": [1.0, 2.0, 3.0, 4.0]})
    with desk(experts=[NeighbourExpert(task="regression")], task="regression") as model:
        model.fit(TEXTS, table)
        assert model.predict(TEXTS).shape == (4, 2)


def test_one_number_for_all_is_refused_by_name() -> None:
    with desk() as model, pytest.raises(InvalidRecord, match="y= is a list"):
        model.fit(TEXTS, 3)  # what a checker would have caught


def test_records_may_come_one_by_one() -> None:
    told = zip(TEXTS, LABELS, strict=True)
    with desk() as model:
        model.fit(Record(text=text, metadata={"label": label}) for text, label in told)
        assert model.count() == 4


def test_truth_values_are_refused_before_anything_is_stored() -> None:
    for labels in ([True, False, True, False], np.array([True, False, True, False])):
        with desk() as model:
            with pytest.raises(InvalidRecord, match="0 and 1"):
                model.fit(TEXTS, labels)
            assert model.memory.count() == 0


@pytest.mark.parametrize("name", ["memory", "store", "rows", "vectors and index", "a/b", "", "Ä"])
def test_an_expert_whose_name_no_receipt_can_say_is_refused_before_it_learns(name: str) -> None:
    with pytest.raises(InvalidRecord):
        desk(experts=[PrototypeExpert(name=name)])


def test_what_was_chosen_on_public_data_is_in_every_receipt(tmp_path: Path) -> None:
    told = "weights, on CLINC150 (CC BY 3.0)"
    with desk(tmp_path / "net", chosen=[told]) as model:
        model.fit(TEXTS, LABELS, subjects=PEOPLE)
        first = model.forget(subject="ann")
    with desk(tmp_path / "net", experts=None) as model:
        second = model.forget(subject="ben")
    assert all(any(told in said for said in r.predicate["exclusions"]) for r in (first, second))


@pytest.mark.parametrize("chosen", ["one sentence", ["no\nplain sentence"], ["too long " * 40]])
def test_sentences_that_no_receipt_can_say_are_refused(chosen: Any) -> None:
    with pytest.raises(InvalidRecord):
        desk(chosen=chosen)


@pytest.mark.parametrize("other", [{"task": "regression"}, {"chosen": ["something else"]}])
def test_another_task_or_choice_than_the_models_is_refused_not_ignored(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    with desk(tmp_path / "net", chosen=["gamma, on digits"]):
        pass
    with desk(tmp_path / "net", experts=None, chosen=["gamma, on digits"]):
        pass
    with pytest.raises(InvalidRecord, match=next(iter(other))):
        desk(tmp_path / "net", experts=None, **other)


def test_a_model_that_nobody_has_any_more_is_not_kept_by_its_thread() -> None:
    def asked() -> weakref.ref[Core]:
        model = desk()
        model.fit(TEXTS, LABELS, subjects=PEOPLE)
        model.forget(subject="ann")
        return weakref.ref(model._core)

    seen = asked()
    for thread in threading.enumerate():
        if thread.name == "forgetnet":
            thread.join(5.0)
    gc.collect()
    assert seen() is None
