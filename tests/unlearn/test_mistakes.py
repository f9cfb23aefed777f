"""What is easily given wrongly is told of in our own words, with what to give instead."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import forgetnet
from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, not_installed
from forgetnet.unlearn import (
    ClassificationTask,
    GradientDifference,
    Margins,
    NewtonRemoval,
    Recipe,
    RegressionTask,
    Relearn,
    SaliencyMask,
    StopRule,
    Task,
    UnlearnQueue,
    audit_unlearning,
    available,
    get,
)
from forgetnet.unlearn.collect import collect
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.registry import _all
from forgetnet.unlearn.task import guess_task
from tests.unlearn.worlds import FORGET, HOLDOUT, RETAIN, SETS, original, worlds

INPUTS, LABELS = FORGET
METHOD = GradientDifference(epochs=1, max_steps=1)
MODEL = nn.Linear(20, 4)
KINDS = sorted((name, kind) for name, kind in _all().items() if hasattr(kind, "needs"))
BY_NAME = pytest.mark.parametrize("kind", [pytest.param(k, id=n) for n, k in KINDS])
STOPPING = [pytest.param(k, id=n) for n, k in KINDS if "stop" in k.__dataclass_fields__]


def settings_of(kind: Any) -> dict[str, Any]:
    """Settings without which a method isn't made at all."""
    return {"inner": METHOD} if kind is SaliencyMask else {}


# -- settings of every method


@BY_NAME
@pytest.mark.parametrize("wrong", [{"params": 3}, {"params": ("[",)}, {"seed": "x"}, {"device": 3}])
def test_every_method_refuses_settings_of_another_kind(kind: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord, match=next(iter(wrong))):
        kind(**settings_of(kind), **wrong)


@pytest.mark.parametrize("kind", STOPPING)
def test_every_method_refuses_a_stop_rule_that_is_none(kind: Any) -> None:
    with pytest.raises(InvalidRecord, match="stop= is a StopRule, not a str"):
        kind(stop="x")
    with pytest.raises(InvalidRecord, match="make one of it: StopRule"):
        kind(stop=StopRule)


@BY_NAME
@pytest.mark.parametrize("model", [None, {}, "model", nn.Linear], ids=str)
def test_every_method_refuses_what_is_no_module(kind: Any, model: Any) -> None:
    with pytest.raises(InvalidRecord, match="model= is a Module, not "):
        kind(**settings_of(kind)).unlearn(model, FORGET, RETAIN)


def test_one_pattern_is_a_pattern_not_letters() -> None:
    model = nn.Sequential(nn.Linear(20, 8), nn.Linear(8, 4))
    found = [
        GradientDifference(params=given, epochs=1, max_steps=2).unlearn(model, FORGET, RETAIN)
        for given in (r"1\..*", (r"1\..*",), [r"1\..*"])
    ]
    assert {change.name for change in found[0].changed} == {"1.weight", "1.bias"}
    assert len({result.after for result in found}) == 1
    assert {result.settings["params"] for result in found} == {(r"1\..*",)}


def test_a_device_of_torch_is_a_device() -> None:
    assert GradientDifference(device=torch.device("cpu")) == GradientDifference(device="cpu")


@pytest.mark.parametrize(
    "make",
    [
        lambda: StopRule(retain_increase=-1),
        lambda: StopRule(retain_increase=float("nan")),
        lambda: StopRule(forget_loss=float("nan")),
        lambda: StopRule(every="4"),
        lambda: Budget(steps=-1),
        lambda: Budget(seconds="soon"),
        lambda: Recipe(lr="fast"),
        lambda: Margins(auc="0.1"),
        lambda: Relearn(steps="x"),
        lambda: GradientDifference(lr="fast"),
        lambda: GradientDifference(batch_size=True),
        lambda: GradientDifference(optimizer="adam"),
        lambda: get("npo", betta=0.1),
        lambda: available(guarantee="sure"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make: Callable[[], Any]) -> None:
    with pytest.raises(InvalidRecord):
        make()


def test_what_there_is_is_named() -> None:
    with pytest.raises(InvalidRecord, match="exact, certified, approximate"):
        available(guarantee="sure")
    with pytest.raises(InvalidRecord, match=r"no setting betta; it has .*\bbeta\b"):
        get("npo", betta=0.1)
    assert "retrain" in available(guarantee="exact")


# -- what is given to a run


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"resume": True}, "checkpoint="),
        ({"checkpoint": 3}, "checkpoint="),
        ({"budget": 10}, "budget= is a Budget"),
        ({"callbacks": print}, "callbacks="),
        ({"callbacks": [3]}, r"callbacks\[0\]"),
        ({"task": "classification"}, r"task= is a Task, such as ClassificationTask\(\)"),
    ],
)
def test_a_run_says_what_it_was_given_wrongly(given: dict[str, Any], words: str) -> None:
    before = {name: t.clone() for name, t in MODEL.state_dict().items()}
    with pytest.raises(InvalidRecord, match=words):
        METHOD.unlearn(MODEL, FORGET, RETAIN, inplace=True, **given)
    assert all(torch.equal(t, before[name]) for name, t in MODEL.state_dict().items())


@pytest.mark.parametrize(
    "data", [(INPUTS, None), (INPUTS, ["a", "b"]), {}, {"x": 1}, "text", 5, [1, 2], INPUTS]
)
def test_what_is_no_data_set_is_refused(data: Any) -> None:
    with pytest.raises(InvalidRecord):
        METHOD.unlearn(MODEL, data, RETAIN)


def test_no_word_of_the_data_is_in_the_refusal() -> None:
    with pytest.raises(InvalidRecord) as told:
        guess_task((INPUTS[:2], ["my secret", "another"]))
    assert "secret" not in str(told.value)
    assert told.value.__cause__ is None and told.value.__suppress_context__


# -- labels as floats


@pytest.mark.parametrize("task", [None, RegressionTask()], ids=["guessed", "given"])
def test_labels_as_floats_are_no_regression_of_a_net_that_classifies(task: Task | None) -> None:
    floats = (INPUTS, LABELS.float())
    with pytest.raises(InvalidRecord, match=r"whole numbers, such as labels\.long\(\)"):
        METHOD.unlearn(MODEL, floats, (RETAIN[0], RETAIN[1].float()), task=task)
    with pytest.raises(InvalidRecord, match="whole numbers"):
        collect(MODEL, floats, task)
    with pytest.raises(InvalidRecord, match="4 numbers an example"):
        NewtonRemoval().fit(MODEL, floats, task=task)


def test_probabilities_of_classes_are_a_regression_only_if_that_is_said() -> None:
    shares = nn.functional.one_hot(LABELS, 4).float()
    rows = list(zip(INPUTS[:8], shares[:8], strict=True))
    for data in ((INPUTS, shares), rows):
        with pytest.raises(InvalidRecord, match=r"argmax\(1\), or task=RegressionTask"):
            collect(MODEL, data)
        assert collect(MODEL, data, RegressionTask()).correct is None
    assert guess_task((INPUTS, 2 * shares)) == RegressionTask()
    assert guess_task((INPUTS, torch.ones(len(INPUTS), 1))) == RegressionTask()


# -- audits and queues


def audit(**other: Any) -> Any:
    models = worlds(3)
    given: dict[str, Any] = {
        "original": original(), "unlearned": models[2], "retrained": models[:2],
        **SETS, "relearn": None, "bits": (),
    }  # fmt: skip
    return audit_unlearning(**(given | other))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"holdout": None}, "needs holdout="),
        ({"retain": None}, "needs retain="),
        ({"margins": 0.1}, "margins= is a Margins, not a float"),
        ({"relearn": "x"}, "relearn= is a Relearn or None, not a str"),
        ({"bits": 8}, "bits= is a Sequence"),
        ({"alpha": "0.05"}, "alpha= is a number"),
        ({"unlearned": {}}, "unlearned= is a Module"),
        ({"original": None}, "original= is a Module"),
        ({"retrained": nn.Sequential(MODEL, MODEL)}, "retrained= is a Sequence"),
        ({"retrained": [MODEL, None]}, r"retrained\[1\]"),
        ({"task": "classification"}, "task= is a Task"),
    ],
)
def test_an_audit_says_what_it_was_given_wrongly(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRecord, match=words):
        audit(**given)


def test_an_audit_takes_a_result_for_its_model() -> None:
    result = METHOD.unlearn(original(), FORGET, RETAIN)
    told = [audit(unlearned=given).to_dict() for given in (result, result.model)]
    assert told[0] == told[1]


def test_what_is_no_module_is_not_looked_at() -> None:
    with pytest.raises(InvalidRecord, match="model= is a Module"):
        collect(None, HOLDOUT)  # what a checker would have caught


@pytest.mark.parametrize("given", [{"unlearner": "npo"}, {"model": None}, {"max_requests": "2"}])
def test_a_queue_says_what_it_was_given_wrongly(given: dict[str, Any], tmp_path: Path) -> None:
    told: dict[str, Any] = {"unlearner": METHOD, "model": MODEL, "data": FORGET} | given
    with pytest.raises(InvalidRecord, match=next(iter(given))):
        UnlearnQueue(**told, folder=tmp_path / "queue")
    assert not (tmp_path / "queue").exists()


# -- the check itself


class Quiet:
    """A kind of its own."""


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        ("8", int | None, "x= is a whole number or None, not a str"),
        (True, float, "x= is a number, not a bool"),
        (("a", 1), tuple[str, ...], r"x\[1\] is a string, not an int"),
        (Quiet, Quiet, r"x= is a Quiet, not the class Quiet; make one of it: Quiet\(\.\.\.\)"),
        (ClassificationTask, Task, "not the class ClassificationTask"),
        ("ab", tuple[str, ...] | list[str], "x= is a tuple or a list, not a str"),
        (None, Callable[[], int], "x= is a function, not None"),
        ([[1]], list[list[str]], r"x\[0\]\[0\] is a string"),
    ],
)
def test_another_kind_is_told_from_the_declared_one(value: Any, kind: Any, words: str) -> None:
    with pytest.raises(InvalidRecord, match=words):
        check_kind("x", value, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [(3, float), (torch.tensor([3]).numpy()[0], int), (("a", 1), tuple[str, int]), ({}, Any)],
)
def test_what_is_meant_is_let_through(value: Any, kind: Any) -> None:
    check_kind("x", value, kind)


def test_a_message_names_an_extra_that_there_is_for_an_index_and_for_a_clone() -> None:
    root = Path(forgetnet.__file__).parents[1]
    named = {
        node.args[1].value
        for path in (root / "forgetnet").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "not_installed"
        if isinstance(node.args[1], ast.Constant)
    }
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    assert len(named) >= 6 and named <= project["optional-dependencies"].keys()
    told = str(not_installed("captum", "explain"))
    assert f"pip install '{project['name']}[explain]'" in told
    assert "in a clone: pip install -e '.[explain]'" in told
