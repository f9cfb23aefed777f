"""Approximate methods do what their equations say, on cases where the answer can be counted."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import (
    SCRUB,
    SSD,
    Amnesiac,
    BadTeacher,
    ClassificationTask,
    ClassPruning,
    DeltaGrad,
    Fisher,
    GradientDifference,
    RandomLabel,
    SaliencyMask,
    StopRule,
    UpdateTrace,
    record_training,
)
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.importance import importance
from forgetnet.unlearn.prune import tf_idf
from forgetnet.unlearn.replay import quasi_hessian
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.teachers import error_of
from tests.contract.unlearning import CASES, CLASSES, FREE, Data, digits, joined, small, taught

FORGET, RETAIN, HOLDOUT = digits()
LEARNT = next(case for case in CASES if case.name == "ssd").make(Path()).model


def run_of(model: nn.Module, batch_size: int = 16) -> Run:
    scope = dict(model.named_parameters())
    data = {"forget": FORGET, "retain": RETAIN, "holdout": HOLDOUT}
    return Run(
        model,
        ClassificationTask(),
        data,
        scope,
        0,
        batch_size,
        torch.device("cpu"),
        FREE,
        Budget(),
    )


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().reshape(-1).double() for p in model.parameters()])


# -- DeltaGrad


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, CLASSES))


@pytest.mark.parametrize("batch_size", [None, 64])
def test_a_replay_comes_ten_times_nearer_to_retraining(batch_size: int | None) -> None:
    few = FORGET[0][:3], FORGET[1][:3]
    settings: dict[str, Any] = {"lr": 0.2, "steps": 120, "decay": 1e-2}
    model, trace = record_training(linear(), joined(few, RETAIN), batch_size=batch_size, **settings)
    kind = DeltaGrad(trace=trace)
    result = kind.unlearn(model, few, RETAIN)
    # With all steps true the replay is the training without them, batch by batch.
    truth = flat(kind.set_params(burn_in=1000).unlearn(model, few, RETAIN).model)
    if batch_size is None:
        again, _ = record_training(linear(), RETAIN, **settings)
        assert torch.allclose(flat(again), truth, atol=1e-5)
    far, near = (flat(model) - truth).norm(), (flat(result.model) - truth).norm()
    assert far > 10 * near
    everything = 120 * (len(RETAIN[1]) + 3) if batch_size is None else 120 * 64
    assert result.cost.backwards < 0.5 * everything


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("batch_size", [None, 64])
def test_a_replay_that_drifts_too_far_to_be_ten_times_nearer_says_so(
    count: int, batch_size: int | None
) -> None:
    few = FORGET[0][:count], FORGET[1][:count]
    silent = 0
    for lr in (0.1, 0.3, 0.5, 1.0):
        model, trace = record_training(
            linear(), joined(few, RETAIN), lr=lr, steps=80, decay=1e-2, batch_size=batch_size
        )
        truth = flat(DeltaGrad(trace=trace, burn_in=80).unlearn(model, few, RETAIN).model)
        for period in (2, 3, 5):
            result = DeltaGrad(trace=trace, period=period).unlearn(model, few, RETAIN)
            gain = (flat(model) - truth).norm() / (flat(result.model) - truth).norm()
            told = any("drifted" in note for note in result.notes)
            assert told or gain > 10.0, (lr, period)
            silent += not told
    assert silent >= (2 if batch_size else 6)  # and it isn't said of all


def test_the_quasi_newton_matrix_fulfils_the_secant_equation() -> None:
    draw = torch.Generator().manual_seed(0)
    root = torch.randn(6, 6, generator=draw, dtype=torch.float64)
    hessian = root @ root.T + torch.eye(6)
    moves = [torch.randn(6, generator=draw, dtype=torch.float64) for _ in range(2)]
    turns = [hessian @ move for move in moves]
    assert torch.allclose(quasi_hessian(moves, turns, moves[-1]), turns[-1])


def test_a_trace_of_another_training_is_refused() -> None:
    model, trace = record_training(linear(), joined(FORGET, RETAIN), lr=0.1, steps=4)
    with pytest.raises(InvalidRecord, match="training"):
        DeltaGrad(trace=trace).unlearn(linear(), FORGET, RETAIN)
    with pytest.raises(InvalidRecord, match="examples"):
        DeltaGrad(trace=trace).unlearn(model, HOLDOUT, RETAIN)


# -- importance, SSD, Fisher


def test_importance_by_batch_depends_on_batches_and_that_by_example_does_not() -> None:
    model = small()
    by_example = [importance(run_of(model, size), "retain", "example") for size in (8, 60)]
    by_batch = [importance(run_of(model, size), "retain", "batch") for size in (8, 60)]
    assert torch.allclose(by_example[0]["0.weight"], by_example[1]["0.weight"], atol=1e-6)
    assert by_batch[0]["0.weight"].sum() > 1.5 * by_batch[1]["0.weight"].sum()


def test_ssd_dampens_by_its_equation_and_nothing_else() -> None:
    run = run_of(LEARNT)
    forget, retain = (importance(run, side, "example") for side in ("forget", "retain"))
    a, b = len(FORGET[1]), len(RETAIN[1])
    kind = SSD(alpha=8.0, dampening=0.5, stop=StopRule(None, None))
    after = dict(kind.unlearn(LEARNT, FORGET, RETAIN).model.named_parameters())
    for name, weight in LEARNT.named_parameters():
        whole = (a * forget[name] + b * retain[name]) / (a + b)
        chosen = forget[name] > 8.0 * whole
        damp = (0.5 * whole / forget[name]).clamp(max=1.0)
        assert torch.allclose(after[name][chosen], (weight * damp)[chosen])
        assert torch.equal(after[name][~chosen], weight[~chosen])
        assert name != "0.weight" or 0 < int(chosen.sum()) < chosen.numel()


def test_the_threshold_rises_until_what_is_kept_is_unharmed() -> None:
    kind = SSD(percentile=0.05, stop=StopRule(None, 0.02))
    result = kind.unlearn(LEARNT, FORGET, RETAIN)
    assert result.stopped == "done" and len(result.history) > 2
    assert result.history[-1].retain - result.history[0].retain <= 0.02  # both are there
    hopeless = kind.set_params(alpha=1.01).unlearn(LEARNT, FORGET, RETAIN)
    assert hopeless.stopped == "retain_loss" and hopeless.after == hopeless.before


@pytest.mark.parametrize("label_free", [False, True])
def test_importance_of_all_data_is_kept_for_the_next_request(
    tmp_path: Path, label_free: bool
) -> None:
    kind = SSD(cache=str(tmp_path), label_free=label_free)
    first = kind.unlearn(LEARNT, FORGET, RETAIN)
    again = kind.unlearn(LEARNT, FORGET, RETAIN)
    assert again.after == first.after
    assert again.cost.backwards < first.cost.backwards / 5
    # Another split of the same data is the same D; other data or another model isn't.
    split = joined(RETAIN, (FORGET[0][8:], FORGET[1][8:]))
    kind.unlearn(LEARNT, (FORGET[0][:8], FORGET[1][:8]), split)
    assert len(list(tmp_path.iterdir())) == 1
    kind.unlearn(LEARNT, FORGET, HOLDOUT)
    kind.unlearn(first.model, FORGET, RETAIN)
    assert len(list(tmp_path.iterdir())) == 3


def test_fisher_noise_is_widest_where_what_is_kept_does_not_care() -> None:
    result = Fisher(alpha=1e-12, stop=StopRule(None, None)).unlearn(LEARNT, FORGET, RETAIN)
    scores = importance(run_of(LEARNT), "retain", "example")["0.weight"]
    moved = (dict(result.model.named_parameters())["0.weight"] - LEARNT[0].weight).detach().abs()
    width = (1e-12**0.25 * scores.clamp(min=1e-30) ** -0.25).clamp(max=0.1)
    assert float((moved / width).square().mean()) == pytest.approx(1.0, rel=0.1)


# -- teachers


def test_scrub_rewinds_to_the_look_nearest_to_the_holdout() -> None:
    forgets = SCRUB(lr=5e-3, epochs=4.0, max_epochs=2, rewind=True, stop=StopRule(None, None))
    seen: list[tuple[float, float, Any]] = []

    def watch(step: Any, model: nn.Module) -> None:
        run = run_of(model)
        digest = {n: t.clone() for n, t in model.state_dict().items()}
        seen.append((error_of(run, "forget"), error_of(run, "holdout"), digest))

    result = forgets.unlearn(LEARNT, FORGET, RETAIN, holdout=HOLDOUT, callbacks=[watch])
    goal = seen[-1][1]
    gap = abs(error_of(run_of(result.model), "forget") - goal)
    assert gap == min(abs(error - goal) for error, _, _ in seen)
    assert len({error for error, _, _ in seen}) > 1  # there was something to choose
    with pytest.raises(InvalidRecord, match="holdout"):
        forgets.unlearn(LEARNT, FORGET, RETAIN)


def test_scrub_goes_away_from_the_teacher_first_and_back_on_what_it_keeps() -> None:
    kind = SCRUB(epochs=3.0, max_epochs=2)
    sizes = {"forget": 16, "retain": 240}
    assert kind.length(sizes) == 2 * 1 + 3 * 15
    run = run_of(copy.deepcopy(LEARNT))
    run.start  # noqa: B018 # the teacher, made now
    with torch.no_grad():
        run.model[0].weight.mul_(0.9)
    signs = [float(kind.objective(run, step).detach()) for step in (0, 1, 15, 16, 17, 31, 32, 46)]
    assert [sign < 0.0 for sign in signs] == [True, False, False, True, False, False, False, False]


def test_a_bad_teacher_makes_answers_on_the_forget_set_ignorant() -> None:
    kind = BadTeacher(lr=5e-3, epochs=30.0, stop=StopRule(None, None))
    result = kind.unlearn(LEARNT, FORGET, RETAIN)
    with torch.no_grad():
        sure = LEARNT(FORGET[0]).softmax(dim=1).amax(dim=1).mean()
        unsure = result.model(FORGET[0]).softmax(dim=1).amax(dim=1).mean()
        kept = (result.model(RETAIN[0]).argmax(dim=1) == RETAIN[1]).float().mean()
    assert sure > 0.9 and unsure < 0.7 and kept > 0.9


# -- SaliencyMask


@pytest.mark.parametrize(
    "inner",
    [
        RandomLabel(lr=1e-2, optimizer="sgd", momentum=0.9, weight_decay=0.5, stop=FREE),
        GradientDifference(lr=1e-2, weight_decay=0.5, stop=FREE),
    ],
    ids=["sgd", "adamw"],
)
def test_masked_weights_keep_their_bits_against_decay_and_momentum(inner: Any) -> None:
    share = 0.2
    result = SaliencyMask(inner=inner, share=share).unlearn(LEARNT, FORGET, RETAIN)
    loss = functional.cross_entropy(LEARNT(FORGET[0]), FORGET[1], reduction="sum")
    pulls = torch.autograd.grad(loss, list(LEARNT.parameters()))
    everything = torch.cat([pull.abs().reshape(-1) for pull in pulls])
    moved = flat(LEARNT) != flat(result.model)
    count = round(share * len(everything))
    assert 0.5 * count < int(moved.sum()) <= count
    assert everything[moved].min() >= everything.sort(descending=True).values[count - 1] * 0.999
    free = inner.unlearn(LEARNT, FORGET, RETAIN)
    assert int((flat(LEARNT) != flat(free.model)).sum()) > 2 * count
    assert result.method == "saliency_mask"


def test_scope_is_given_to_the_mask_and_not_to_what_is_inside() -> None:
    with pytest.raises(InvalidRecord, match="params="):
        SaliencyMask(inner=RandomLabel(params=("0.*",)))
    with pytest.raises(InvalidRecord, match="inner="):
        SaliencyMask()


# -- Amnesiac


def trained(sensitive: list[int], model: nn.Module, data: Data) -> UpdateTrace:
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    with UpdateTrace(model, optimiser, data, sensitive=sensitive) as trace:
        for rows in torch.arange(len(data[1])).split(32):
            trace.batch(rows.tolist())
            optimiser.zero_grad()
            functional.cross_entropy(model(data[0][rows]), data[1][rows]).backward()
            optimiser.step()
    return trace


def test_updates_are_taken_away_and_only_those_of_sensitive_batches_are_kept() -> None:
    data = joined(RETAIN, FORGET)
    first = len(RETAIN[1])
    model = linear()
    trace = trained(list(range(first, len(data[1]))), model, data)
    assert len(trace.updates) == 1  # 240 + 16 examples in batches of 32: the last one
    at_256 = linear()
    trained([], at_256, RETAIN)  # up to rounding, what was there before the last batch
    half = (data[0][:224], data[1][:224])
    before = linear()
    trained([], before, half)
    result = Amnesiac(trace=trace).unlearn(model, FORGET)
    assert torch.allclose(flat(result.model), flat(before), atol=1e-6)
    assert not torch.allclose(flat(model), flat(before), atol=1e-4)
    assert any("moments" in note for note in result.notes)


def test_only_batches_that_held_what_is_forgotten_are_taken_away() -> None:
    data = joined(RETAIN, FORGET)
    model = linear()
    before = flat(model)
    trace = trained(list(range(len(data[1]))), model, data)  # every batch is kept
    assert len(trace.updates) == 8
    both = data[0][[5, 70]], data[1][[5, 70]]  # of the first and of the third batch
    result = Amnesiac(trace=trace).unlearn(model, both)
    updates = [
        torch.cat([u.reshape(-1).double() for u in one.values()]) for _, one in trace.updates
    ]
    torch.testing.assert_close(flat(model), before + sum(updates), atol=1e-6, rtol=1e-5)
    left = sum(update for number, update in enumerate(updates) if number not in {0, 2})
    torch.testing.assert_close(flat(result.model), before + left, atol=1e-6, rtol=1e-5)


def test_what_was_not_named_sensitive_cannot_be_forgotten() -> None:
    data = joined(RETAIN, FORGET)
    trace = trained([0, 1], model := linear(), data)
    with pytest.raises(InvalidRecord, match="16 examples"):
        Amnesiac(trace=trace).unlearn(model, FORGET)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    with UpdateTrace(model, optimiser, data), pytest.raises(InvalidRecord, match="batch"):
        optimiser.step()


# -- ClassPruning


def test_tf_idf_scores_highest_the_channel_of_one_class_alone() -> None:
    activity = torch.tensor([[9.0, 0.1, 0.1], [5.0, 5.0, 5.0], [0.1, 0.1, 9.0]])
    scores = tf_idf(activity)
    assert scores[:, 0].argmax() == 0 and scores[:, 2].argmax() == 2
    assert scores[1].max() < 1e-6 or scores[1].max() < scores[0, 0]
    tf = 9.0 / 14.1
    assert float(scores[0, 0]) == pytest.approx(tf * math.log(4 / 2), rel=1e-5)
    assert bool((scores >= 0).all())


def convolutional() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 12, 3),
            nn.GELU(),  # has a slope at 0, so what was pruned would grow again
            nn.Flatten(),
            nn.Linear(12 * 36, 24),
            nn.ReLU(),
            nn.Linear(24, CLASSES),
        )
        return taught(model, joined(RETAIN, HOLDOUT), epochs=15)


def test_a_class_is_pruned_and_the_others_are_kept() -> None:
    gone = RETAIN[1] == 2
    forget, retain = (RETAIN[0][gone], RETAIN[1][gone]), (RETAIN[0][~gone], RETAIN[1][~gone])
    model = convolutional()
    kind = ClassPruning(sparsity=0.3, epochs=3.0, lr=2e-3)
    result = kind.unlearn(model, forget, retain)

    def right(net: nn.Module, data: Data) -> float:
        with torch.no_grad():
            return float((net(data[0]).argmax(dim=1) == data[1]).float().mean())

    assert right(model, forget) > 0.95 and right(model, retain) > 0.95
    assert right(result.model, forget) < 0.2 and right(result.model, retain) > 0.95
    state = result.model.state_dict()
    still = (state["1.weight"].reshape(12, -1) == 0).all(dim=1) & (state["1.bias"] == 0)
    assert int(still.sum()) == round(0.3 * 12)
    assert not bool((state["6.weight"] == 0).all(dim=1).any())  # the answers' layer is left alone
    with pytest.raises(InvalidRecord, match=r"classes \[2\]"):
        kind.unlearn(model, forget, joined(retain, forget))
