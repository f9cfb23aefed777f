"""RMU: its loss by hand, each sequence alike, the layers it may change, hooks gone, same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.unlearn import RMU, CausalLMTask, ClassificationTask, StopRule
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.rmu import activations, apart
from forgetnet.unlearn.run import Run
from tests.contract.unlearning import CASES, digits
from tests.unlearn.toys import mean_loss, people, reader

FREE = StopRule(forget_loss=None, retain_increase=None)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def test_each_sequence_counts_alike_and_its_padding_not_at_all() -> None:
    torch.manual_seed(0)
    here, there = torch.randn(3, 5, 4).double(), torch.randn(4).double()
    lengths = [5, 1, 3]
    mask = torch.tensor([[i < n for i in range(5)] for n in lengths])
    each = [(here[i, :n] - there).square().mean() for i, n in enumerate(lengths)]
    assert float(apart(here, there, mask)) == pytest.approx(float(torch.stack(each).mean()), 1e-12)
    # The known fault divides (n,) sums by (n, 1) counts: every sequence by every length.
    sums = ((here - there).square().mean(-1) * mask).sum(1)
    faulty = float((sums / mask.sum(1, keepdim=True)).mean())
    assert abs(faulty - float(apart(here, there, mask))) > 0.1


@pytest.mark.parametrize("tokens", ["unpadded", "labelled"])
def test_it_is_its_formula(tokens: Any) -> None:
    _, lost, kept, _ = people()
    start, model = reader().double(), reader().double()
    method = RMU(module="narrow", tokens=tokens, batch_size=3, retain_weight=2.0, coefficient=3.0)
    scope, task = dict(model.named_parameters()), CausalLMTask()
    data = {"forget": lost, "retain": kept}
    run = Run(model, task, data, scope, 0, 3, torch.device("cpu"), FREE, Budget())
    method.begin(run)
    control = run.kept["control"]
    assert float(control.norm()) == pytest.approx(3.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.sin(torch.arange(parameter.numel())).reshape(parameter.shape)

    def inner(which: nn.Module, row: dict[str, Any]) -> torch.Tensor:
        one = {"input_ids": torch.tensor([row["input_ids"]])}
        task_like = type("T", (), {"logits": lambda _s, m, b: m(b["input_ids"])})()
        found = activations(which, "narrow", task_like, one)[0]
        if tokens == "labelled":
            return found[torch.tensor(row["labels"]) != -100]
        return found

    for step in range(2):
        with torch.no_grad():
            found = float(method.objective(run, step))
            away = [
                (inner(model, lost[i]) - control).square().mean()
                for i in run.positions("forget", step)
            ]
            near = [
                (inner(model, kept[i]) - inner(start, kept[i])).square().mean()
                for i in run.positions("retain", step)
            ]
        expected = float(torch.stack(away).mean() + 2.0 * torch.stack(near).mean())
        assert found == pytest.approx(expected, rel=1e-9)


def test_only_what_runs_before_the_module_changes() -> None:
    _, lost, kept, _ = people()
    method = RMU(module="wide", lr=1e-3, retain_weight=1.0, stop=FREE)
    result = method.unlearn(reader(), lost, kept)
    assert {change.name for change in result.changed if change.norm > 0} == {
        *("embed.weight", "place.weight", "query.weight", "query.bias", "mixed.weight"),
        *("mixed.bias", "wide.weight", "wide.bias"),
    }
    own, old = result.model.state_dict(), reader().state_dict()
    assert all(torch.equal(own[n], old[n]) for n in old if n.startswith(("narrow", "head")))
    some = method.set_params(params=(r"mixed\.weight", r"head\..*")).unlearn(reader(), lost, kept)
    assert [change.name for change in some.changed] == ["mixed.weight"]


def test_it_forgets_leaves_no_hook_and_gives_the_same_bits_for_the_same_seed() -> None:
    _, lost, kept, _ = people()
    model = reader()
    method = RMU(
        module="narrow",
        lr=3e-3,
        epochs=40,
        coefficient=30.0,
        retain_weight=2.0,
        batch_size=8,
        stop=StopRule(forget_loss=3.0),
    )
    first, second = method.unlearn(model, lost, kept), method.unlearn(reader(), lost, kept)
    assert first.after == second.after != first.before
    assert first.after != method.set_params(seed=1).unlearn(model, lost, kept).after
    assert hooks_of(first.model) == hooks_of(model) == 0
    assert mean_loss(first.model, lost) > mean_loss(model, lost) + 1.0
    assert mean_loss(first.model, kept) < mean_loss(model, kept) + 0.5


@pytest.mark.parametrize("tokens", ["unpadded", "labelled"])
def test_by_default_the_control_vector_is_as_long_as_what_it_replaces(tokens: Any) -> None:
    _, lost, kept, _ = people()
    model, task = reader(), CausalLMTask()
    method = RMU(module="narrow", tokens=tokens, batch_size=3)
    scope, data = dict(model.named_parameters()), {"forget": lost, "retain": kept}
    run = Run(model, task, data, scope, 0, 3, torch.device("cpu"), FREE, Budget())
    method.begin(run)
    lengths: list[float] = []
    for row in lost[:3]:  # each alone, so that no padding is there to be counted
        batch = task.batch([row], [0], torch.device("cpu"))
        with torch.no_grad():
            found = activations(reader(), "narrow", task, batch)[0]
        counts = torch.tensor(row["labels"]) != -100
        lengths += (found[counts] if tokens == "labelled" else found).norm(dim=-1).tolist()
    expected = sum(lengths) / len(lengths)
    assert float(run.kept["control"].norm()) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_with_defaults_a_classifier_loses_the_answers_and_keeps_the_others(seed: int) -> None:
    forget, retain, _ = digits()
    case = next(case for case in CASES if case.name == "rmu").make(Path())
    result = case.unlearner.set_params(seed=seed).unlearn(case.model, forget, retain)
    before, after = (mean_loss(m, forget, ClassificationTask()) for m in (case.model, result.model))
    assert after - before > 0.3
    assert mean_loss(result.model, retain, ClassificationTask()) < 0.05


def test_hooks_are_gone_after_an_error_too() -> None:
    model, task = reader(), CausalLMTask()
    batch = {"input_ids": torch.full((1, 3), 10_000), "labels": torch.zeros(1, 3)}
    with pytest.raises(IndexError):
        activations(model, "narrow", task, batch)
    assert hooks_of(model) == 0


def test_a_classifier_is_steered_too_and_feature_maps_are_places() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(12, 1, 6, 6), torch.arange(12) % 2
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2))
    found = activations(model, "0", ClassificationTask(), {"inputs": x})
    assert found.shape == (12, 16, 3)
    torch.testing.assert_close(found[2, 5], model[0](x)[2, :, 1, 1])
    method = RMU(module="0", lr=1e-2, stop=FREE)
    result = method.unlearn(model, (x[:4], y[:4]), (x[4:], y[4:]))
    assert {change.name for change in result.changed} == {"0.weight", "0.bias"}


def test_a_module_that_is_not_there_or_nothing_before_it_is_refused() -> None:
    _, lost, kept, _ = people()
    with pytest.raises(InvalidRecord, match="module="):
        RMU(module="attic").unlearn(reader(), lost, kept)
    with pytest.raises(Unsupported, match="runs before"):
        RMU(module="wide", params=("head.*",)).unlearn(reader(), lost, kept)
