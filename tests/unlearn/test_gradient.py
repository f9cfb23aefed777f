"""Plain ascent and descent: their terms by hand, and the stop rule that holds them back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import rel_entr, softmax
from torch import nn

from forgetnet.unlearn import (
    CausalLMTask,
    ClassificationTask,
    FineTune,
    GradientAscent,
    GradientDifference,
    RandomLabel,
    StopRule,
)
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.gradient import kl_to
from forgetnet.unlearn.run import Run
from tests.contract.unlearning import CASES, CLASSES, FREE, digits
from tests.unlearn.toys import mean_loss, people, reader

FORGET, RETAIN, HOLDOUT = digits()
CPU = torch.device("cpu")


def learnt(folder: Any) -> nn.Module:
    return next(case for case in CASES if case.name == "ssd").make(folder).model


def run_of(model: nn.Module, task: Any, forget: Any, retain: Any, size: int = 4) -> Run:
    data = {"forget": forget, "retain": retain}
    return Run(model, task, data, dict(model.named_parameters()), 0, size, CPU, FREE, Budget())


def test_kl_is_from_the_start_model_and_a_mean_over_rows() -> None:
    draw = torch.Generator().manual_seed(0)
    start, now = torch.randn(2, 5, 7, generator=draw, dtype=torch.float64)
    p, q = softmax(start.numpy(), axis=1), softmax(now.numpy(), axis=1)
    forth, back = rel_entr(p, q).sum(axis=1).mean(), rel_entr(q, p).sum(axis=1).mean()
    assert float(kl_to(start, now)) == pytest.approx(forth, rel=1e-12)
    assert abs(forth - back) > 0.01
    assert float(kl_to(start, start)) == 0.0


def test_the_terms_are_weighed_and_signed() -> None:
    _, lost, kept, _ = people()
    task, model = CausalLMTask(), reader()
    run = run_of(model, task, lost, kept)
    with torch.no_grad():
        up = float(task.loss(model, run.batch("forget", 1)).mean())
        down = float(task.loss(model, run.batch("retain", 1)).mean())
        assert float(GradientAscent().objective(run, 1)) == pytest.approx(-up)
        assert float(FineTune().objective(run, 1)) == pytest.approx(down)
        both = GradientDifference(forget_weight=0.3, retain_weight=2.0)
        assert float(both.objective(run, 1)) == pytest.approx(2.0 * down - 0.3 * up)


def test_kl_to_the_start_counts_answers_alone() -> None:
    """Prompts, padding and the last position are where open-unlearning counts them, too."""
    _, lost, kept, _ = people()
    task, model = CausalLMTask(), reader()
    run = run_of(model, task, lost, kept)
    method = GradientDifference(retain="kl", forget_weight=0.0)
    method.begin(run)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.sin(torch.arange(parameter.numel())).reshape_as(parameter))
        rows, apart = [], []
        for place in run.positions("retain", 0):
            ids, labels = (torch.tensor([kept[place][n]]) for n in ("input_ids", "labels"))
            told = (labels[0, 1:] != -100).nonzero()[:, 0]
            pair = [softmax(m(ids)[0, told].double().numpy(), axis=1) for m in (reader(), model)]
            rows.append(rel_entr(*pair).sum(axis=1))
            apart.append(
                rel_entr(
                    *[softmax(m(ids)[0].double().numpy(), axis=1) for m in (reader(), model)]
                ).sum(axis=1)
            )
        found = float(method.objective(run, 0))
    assert found == pytest.approx(np.concatenate(rows).mean(), rel=1e-4)
    assert abs(found - np.concatenate(apart).mean()) > 0.01 * found


def test_wrong_labels_are_never_the_true_ones_and_all_others_are_drawn() -> None:
    draw = torch.Generator().manual_seed(0)
    targets = torch.arange(CLASSES).repeat(200)
    batch = {"inputs": torch.zeros(len(targets), 1), "targets": targets}
    wrong = ClassificationTask().relabel(batch, draw, CLASSES)["targets"]
    assert not bool((wrong == targets).any())
    counts = torch.bincount(targets * CLASSES + wrong, minlength=CLASSES**2).reshape(CLASSES, -1)
    assert bool((counts + 200 * torch.eye(CLASSES) > 40).all())  # 67 of each are expected
    labels = torch.arange(5).repeat(1, 50)
    tokens = {"input_ids": labels, "labels": torch.where(labels == 0, -100, labels)}
    words = CausalLMTask().relabel(tokens, draw, 5)["labels"]
    assert torch.equal(words == -100, labels == 0)
    assert not bool((words[labels != 0] == labels[labels != 0]).any())
    assert set(words[labels != 0].tolist()) == set(range(5))


def test_ascent_ends_at_the_loss_of_guessing(tmp_path: Any) -> None:
    model, task = learnt(tmp_path), ClassificationTask()
    method = GradientAscent(lr=3e-3, epochs=200.0, stop=StopRule(retain_increase=None, every=1))
    result = method.unlearn(model, FORGET)
    after = mean_loss(result.model, FORGET, task)
    assert result.stopped == "forget_loss"
    assert after >= math.log(CLASSES) > result.history[-2].forget  # looked at
    wild = method.set_params(stop=StopRule(None, None))
    assert mean_loss(wild.unlearn(model, FORGET).model, FORGET, task) > 5.0 * after
    early = method.set_params(stop=StopRule(0.5, None, every=1)).unlearn(model, FORGET)
    assert 0.5 <= mean_loss(early.model, FORGET, task) < after


@pytest.mark.parametrize("method", [GradientAscent, GradientDifference, RandomLabel])
def test_what_costs_the_retain_set_too_much_is_taken_back(method: Any, tmp_path: Any) -> None:
    model, task = learnt(tmp_path), ClassificationTask()
    settings: Any = {"lr": 3e-2, "epochs": 60.0}
    free = method(**settings, stop=StopRule(None, None)).unlearn(model, FORGET, RETAIN)
    held = method(**settings, stop=StopRule(None, 0.1, every=1)).unlearn(model, FORGET, RETAIN)
    before = mean_loss(model, RETAIN, task)
    if method is GradientAscent:
        assert mean_loss(free.model, RETAIN, task) > before + 1.0
    assert held.stopped == "retain_loss"
    assert held.history[-1].retain - held.history[0].retain > 0.1  # looked at
    probe = held.history[-2].retain - held.history[0].retain  # looked at
    assert probe <= 0.1 and mean_loss(held.model, RETAIN, task) < before + 0.3
