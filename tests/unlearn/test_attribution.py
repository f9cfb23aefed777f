"""Explanations by attribution: right by hand, never a verdict, and overruled by intervening."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from forgetnet.audit.verdict import overall
from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.unlearn import ClassificationTask
from forgetnet.unlearn.attribution import Ranked, _answer, attributions, explain_unlearning, ranked
from forgetnet.unlearn.result import state_digest
from tests.unlearn.toys import fit

pytest.importorskip("captum.attr")
MARK = torch.arange(10) >= 8


def draw(n: int, seed: int, *, marked: bool) -> tuple[Tensor, Tensor]:
    """Inputs that their first features tell; the marked ones are of one class, by the last two."""
    g = torch.Generator().manual_seed(seed)
    inputs = torch.randn(n, 10, generator=g)
    inputs[:, 8:] = 2.0 if marked else 0.0
    labels = torch.zeros(n, dtype=torch.long) if marked else inputs[:, :3].argmax(1)
    return inputs, labels


FORGET, RETAIN = draw(40, 0, marked=True), draw(160, 1, marked=False)


@functools.cache
def trained(seed: int, *, whole: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 3))
    both = tuple(torch.cat(parts) for parts in zip(FORGET, RETAIN, strict=True))
    fit(model, ClassificationTask(), both if whole else RETAIN, steps=60)
    return model


def worlds(count: int) -> list[nn.Module]:
    return [trained(seed) for seed in range(50, 50 + count)]


class Unseen(nn.Module):
    """The original, whose gradients by the mark are hidden and whose answers are not."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        mark = torch.where(MARK, x, torch.zeros_like(x)).detach()
        return self.inner(torch.where(MARK, mark, x))


def explain(model: nn.Module, count: int = 19) -> Any:
    return explain_unlearning(model, worlds(count), FORGET, mask=MARK, steps=16)


def test_maps_of_a_linear_model_are_weight_times_input():
    torch.manual_seed(0)
    model, x, y = nn.Linear(6, 3), torch.randn(9, 6), torch.randint(0, 3, (9,))
    found = attributions(model, x, y, baseline=0.5)
    wanted = (model.weight[y] * (x - 0.5)).abs().detach().double().numpy()
    assert found == pytest.approx(wanted / wanted.sum(axis=1, keepdims=True), abs=1e-6)
    assert attributions(model, torch.zeros(2, 6), y[:2]).sum() == 0


def test_the_original_hangs_on_the_mark_and_a_retrained_model_does_not():
    kept, fresh = explain(trained(1, whole=True)), explain(trained(3))
    assert kept.answer == "unlike retrained models"
    assert kept.intervention.p_value == kept.attribution.p_value == 0.05
    with torch.no_grad():
        marked, bare = (
            trained(1, whole=True)(x).softmax(1) for x in (FORGET[0], FORGET[0] * ~MARK)
        )
    moved = 0.5 * (marked - bare).abs().sum(1).mean()
    assert kept.intervention.value == pytest.approx(float(moved), abs=1e-6)
    assert kept.coverage > fresh.coverage + 0.2
    assert fresh.answer == "like retrained models"
    assert fresh.retrained_coverage == pytest.approx(kept.retrained_coverage)
    assert kept.n == 40 and kept.models == 19


def test_hidden_attributions_are_overruled_by_taking_the_mark_away():
    hidden = explain(Unseen(trained(1, whole=True)))
    assert hidden.coverage == 0
    assert hidden.answer == "unlike retrained models"
    open_ = explain(trained(1, whole=True))
    assert hidden.intervention.value == pytest.approx(open_.intervention.value)


@pytest.mark.parametrize("moved", [0.05, 0.5])
@pytest.mark.parametrize("shown", [0.05, 0.5])
def test_the_answer_is_that_of_the_intervention_whatever_the_maps_show(moved, shown):
    null = np.zeros(19)
    answer, notes = _answer(Ranked(1.0, null, moved), Ranked(1.0, null, shown), 19, 0.05)
    assert answer == ("unlike retrained models" if moved == 0.05 else "like retrained models")
    assert len(notes) == (1 if moved == shown else 2)


def test_a_retrained_models_distance_is_from_the_others_alone():
    found = explain_unlearning(trained(3), worlds(3), FORGET, mask=MARK, steps=8)
    own, *maps = (attributions(m, *FORGET, steps=8) for m in (trained(3), *worlds(3)))

    def apart(a, b):
        return 0.5 * np.abs(a - b).sum(axis=1).mean()

    wanted = (apart(maps[0], maps[1]) + apart(maps[0], maps[2])) / 2
    assert found.attribution.null[0] == pytest.approx(wanted)
    assert found.attribution.value == pytest.approx(np.mean([apart(own, m) for m in maps]))


def test_no_explanation_can_enter_a_verdict():
    found = explain(trained(3))
    assert not hasattr(found, "verdict")
    with pytest.raises(AttributeError):
        overall([found])
    assert "not evidential" in found.notes[0]


def test_few_retrained_models_give_no_answer():
    found = explain(trained(1, whole=True), 18)
    assert found.answer == "too few retrained models"
    assert "19 retrained models are needed" in found.notes[1]


@given(
    null=st.lists(st.integers(-50, 50), min_size=3, max_size=40),
    value=st.integers(-60, 60),
    shift=st.integers(-9, 9),
)
def test_a_rank_is_of_both_sides_and_never_below_what_so_many_models_give(null, value, shift):
    found = ranked(value, null)
    assert 1 / (len(null) + 1) <= found.p_value <= 1
    assert ranked(-value, [-x for x in null]).p_value == found.p_value
    assert ranked(value + shift, [x + shift for x in null]).p_value == found.p_value
    assert ranked(1000, null).p_value == 1 / (len(null) + 1)


def test_ranks_of_exchangeable_models_are_as_small_as_they_claim_no_more_often():
    draws = np.random.default_rng(0).standard_normal((4000, 20))
    p = np.array([ranked(row[0], row[1:]).p_value for row in draws])
    for alpha in (0.05, 0.1, 0.5):
        assert (p <= alpha + 1e-9).mean() == pytest.approx(alpha, abs=0.025)


def test_models_are_left_as_they_were():
    model, references = trained(3), worlds(3)
    bits = [state_digest(m) for m in (model, *references)]
    model.train()
    explain_unlearning(model, references, FORGET, mask=MARK, steps=4)
    assert [state_digest(m) for m in (model, *references)] == bits and model.training


@pytest.mark.parametrize(
    "wrong",
    [
        {"mask": torch.zeros(10, dtype=torch.bool)},
        {"mask": MARK[:5]},
        {"mask": MARK.float()},
        {"forget": (FORGET[0].long(), FORGET[1])},
        {"retrained": []},
        {"alpha": 1.0},
    ],
)
def test_what_cannot_be_explained_is_refused(wrong):
    asked: dict[str, Any] = {"retrained": worlds(3), "forget": FORGET, "mask": MARK, **wrong}
    with pytest.raises(InvalidRecord):
        explain_unlearning(trained(3), asked.pop("retrained"), asked.pop("forget"), **asked)


def test_without_captum_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(Unsupported, match=r"forget-by-design\[explain\]"):
        explain_unlearning(trained(3), worlds(3), FORGET, mask=MARK)
