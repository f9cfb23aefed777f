"""What is easily given wrongly to a model that learns from a memory is refused, and says why."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from forgetnet.audit.verdict import Verdict
from forgetnet.errors import ForgetNetError, InvalidRecord, StoreError
from forgetnet.fallback import Entangled, Ladder, Rows
from forgetnet.unlearn import NPO, GradientDifference, Retrain
from tests.fallback import house
from tests.fallback.house import build, examples, opened, part, records, train

GIVEN: dict[str, Any] = {
    "name": "head", "folder": None, "build": build, "train": train, "examples": examples,
    "ladder": Ladder((Retrain(),)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"build": None}, "build= is a function, not None"),
        ({"train": 3}, "train= is a function"),
        ({"examples": None}, "examples= is a function"),
        ({"ladder": Ladder}, "ladder= is a Ladder, not the class Ladder"),
        ({"ladder": Retrain()}, "ladder= is a Ladder, not a Retrain"),
        ({"name": 3}, "name= is a string, not an int"),
        ({"folder": 3}, "folder= is"),
        ({"neighbours": "2"}, "neighbours= is a whole number"),
        ({"seed": "x"}, "seed= is a whole number"),
        ({"task": "classification"}, "task= is a Task"),
    ],
)
def test_a_model_says_what_it_was_given_wrongly(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRecord, match=words):
        Entangled(**(GIVEN | wrong))


def test_a_folder_that_is_a_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    file.write_text("mine")
    with pytest.raises(StoreError, match="is a file; name a folder"):
        part(file)
    assert file.read_text() == "mine"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Ladder((NPO, Retrain())), r"rungs\[0\] is an Unlearner, not the class NPO"),
        (lambda: Ladder(NPO), "rungs="),
        (lambda: Ladder("npo"), "rungs="),
        (lambda: Ladder((NPO(),), accept="x"), "accept= is a frozenset, such as"),
        (lambda: Ladder((NPO(),), accept={"consistent"}), r"accept\[0\] is a Verdict"),
        (lambda: Ladder((NPO(),), otherwise="stay"), "'withhold' or 'drop'"),
        (lambda: Ladder((NPO(),), budget=10), "budget= is a Budget"),
        (lambda: Ladder.escalate(NPO), r"first= is an Unlearner, such as NPO\(\)"),
        (lambda: Ladder.escalate(NPO(), Retrain), r"rungs\[2\]"),
        (lambda: Ladder.escalate(NPO(), times="2"), "times="),
    ],
)
def test_a_ladder_says_what_it_was_given_wrongly(make: Callable[[], Any], words: str) -> None:
    with pytest.raises(InvalidRecord, match=words):
        make()


def test_one_rung_is_a_ladder_and_a_set_of_verdicts_is_one() -> None:
    assert Ladder(NPO()) == Ladder([NPO()]) == Ladder((NPO(),))
    told = Ladder((NPO(),), accept={Verdict.CONSISTENT})
    assert told == Ladder((NPO(),), accept=frozenset({Verdict.CONSISTENT}))
    with pytest.raises(InvalidRecord, match="ladder= is a Ladder, such as Ladder"):
        part(None)._means.with_ladder(GradientDifference())  # as asked


def short(rows: Rows) -> tuple[torch.Tensor, torch.Tensor]:
    return examples(rows.first(3))


def test_examples_of_too_few_rows_are_refused_before_anything_is_learnt() -> None:
    model = Entangled(**(GIVEN | {"examples": short, "train": never_called}))
    with opened("memory://", model) as memory:
        memory.add(records())
        with pytest.raises(InvalidRecord, match="made 3 examples of 150 records"):
            model.fit()
        with pytest.raises(InvalidRecord, match="made 3 examples of 30 records"):
            model.adopt([f"ann-{n}" for n in range(house.EACH)], build())
        assert not model.taught
        assert memory.forget(subject="ann").status == "erased"


def never_called(module: Any, data: Any, seed: int) -> None:
    raise AssertionError("nothing may be learnt from such examples")


def test_a_build_that_makes_no_module_is_refused() -> None:
    model = Entangled(**(GIVEN | {"build": dict}))
    with opened("memory://", model) as memory:
        memory.add(records(("ann",)))
        with pytest.raises(ForgetNetError, match=r"build\(\) is a Module, not a dict"):
            model.fit()
