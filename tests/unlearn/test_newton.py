"""Certificates: charges bound what a step leaves behind, and refuse when they are used up."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from forgetnet.errors import InvalidRecord, StoreCorrupt, Unsupported
from forgetnet.unlearn import NewtonRemoval, RegressionTask
from forgetnet.unlearn.linear import (
    curvature,
    influence,
    logistic_gradient,
    newton_step,
    removal_charge,
    solve_logistic,
)
from forgetnet.unlearn.removal_ledger import allowance
from forgetnet.unlearn.result import state_digest
from tests.contract.unlearning import CLASSES, digits, joined

FORGET, RETAIN, HOLDOUT = digits()
HEAD: dict[str, Any] = {"params": (r"0\..*",), "ridge": 1.0}


def linear() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, CLASSES))


def certified(folder: Path, **others: Any) -> NewtonRemoval:
    given_ = {**HEAD, "noise": 1.0, "ledger": str(folder / "ledger.json"), **others}
    return NewtonRemoval(loss="logistic", **given_)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ridge_forgets_to_the_bits_of_never_having_seen(dtype: torch.dtype) -> None:
    def cast(data: Any) -> Any:
        return data[0].to(dtype) * 0.1, data[1]  # no round numbers, whose sums would be exact

    kind, plain, retain = NewtonRemoval(**HEAD), linear().to(dtype), cast(RETAIN)
    fitted = kind.fit(plain, cast(joined(FORGET, RETAIN)))
    result = kind.unlearn(fitted, cast(FORGET), retain)
    assert result.guarantee == "exact" and result.after != result.before
    order = torch.randperm(len(retain[1]), generator=torch.Generator().manual_seed(1))
    assert result.after == state_digest(kind.fit(plain, (retain[0][order], retain[1][order])))


def test_ridge_solves_the_equations() -> None:
    kind = NewtonRemoval(params=(r"0\..*",), ridge=0.1)
    inputs = RETAIN[0].double()
    targets = inputs[:, :2] * 3.0 - 1.0
    model = nn.Sequential(nn.Linear(64, 2)).double()
    fitted = kind.fit(model, (inputs, targets.float()), task=RegressionTask())
    ones = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1).double()
    stacked = torch.cat([fitted[0].weight.T, fitted[0].bias[None]]).detach()
    left = ones.T @ (ones @ stacked - targets.float().double()) + 0.1 * len(ones) * stacked
    assert float(left.norm()) < 1e-9


def test_a_charge_bounds_what_is_left_and_a_second_removal_adds_to_it(tmp_path: Path) -> None:
    kind = certified(tmp_path)
    model = kind.fit(linear(), joined(FORGET, RETAIN))
    charges = []
    for count in range(3):
        gone = FORGET[0][count : count + 1], FORGET[1][count : count + 1]
        left = joined((FORGET[0][count + 1 :], FORGET[1][count + 1 :]), RETAIN)
        result = kind.unlearn(model, gone, left)
        model = result.model
        assert result.guarantee == "certified" and result.certificate is not None
        charges.append(result.certificate["charge"])
        assert result.certificate["removed"] == count + 1
        assert 0.0 < result.certificate["budget_left"] < allowance(1.0, 1.0, 1e-5)
    assert charges == sorted(charges) and charges[0] > 0.0


def test_what_was_charged_before_counts(tmp_path: Path) -> None:
    kind, few = certified(tmp_path), (FORGET[0][:1], FORGET[1][:1])
    model = kind.fit(linear(), joined(few, RETAIN))
    ledger, told = tmp_path / "ledger.json", []
    record = json.loads(ledger.read_text())
    for before in (0.0, 0.01):
        record["entries"][0]["charge"] = before
        ledger.write_text(json.dumps(record))
        certificate = kind.unlearn(model, few, RETAIN).certificate
        assert certificate is not None
        told.append(certificate["charge"])
    assert told[1] - told[0] == pytest.approx(0.01)


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(1e-3, 1.0))
def test_the_true_gradient_is_within_the_charge_and_that_within_the_papers(
    seed: int, count: int, ridge: float
) -> None:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(60, 5))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)  # the paper's condition
    targets = (random.random((60, 2)) < 0.5).astype(float)
    noise = random.normal(size=(5, 2))
    weights = solve_logistic(rows, targets, ridge, noise)
    gone, said, left, kept = rows[:count], targets[:count], rows[count:], targets[count:]
    step = newton_step(
        curvature(weights, left, ridge), logistic_gradient(weights, gone, said, ridge)
    )
    real = np.linalg.norm(logistic_gradient(weights + step, left, kept, ridge, noise))
    charge = removal_charge(left, step)
    widest = np.linalg.norm(left, 2)
    paper = [
        0.25 * widest * np.linalg.norm(step[:, k]) * np.linalg.norm(left @ step[:, k])
        for k in range(2)
    ]
    assert real <= charge + 1e-9
    assert charge <= np.linalg.norm(paper) + 1e-12
    before = np.linalg.norm(logistic_gradient(weights, left, kept, ridge, noise))
    assert real <= before


def test_a_charge_is_the_remainder_of_taylor_by_hand() -> None:
    rows, step = np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([[1.0, 2.0], [1.0, 0.5]])
    bend = max(abs(p * (1 - p) * (1 - 2 * p)) for p in np.linspace(0.0, 1.0, 100_001))
    # |X| = 4; the squares of X step are (9, 16) of the first class and (36, 4) of the second
    each = [0.5 * bend * 4.0 * math.hypot(*squares) for squares in ((9.0, 16.0), (36.0, 4.0))]
    assert removal_charge(rows, step) == pytest.approx(math.hypot(*each), rel=1e-8)


def design(data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Rows with a 1 for the bias, and a column of 0 and 1 a class."""
    rows = np.hstack([data[0].double().numpy(), np.ones((len(data[1]), 1))])
    return rows, np.eye(CLASSES)[data[1].numpy()]


def weights_of(model: Any) -> np.ndarray:
    head = model[0]
    stacked = torch.cat([head.weight.T, head.bias[None]]).detach().double()
    return np.asarray(stacked)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_left_in_a_head_is_within_its_charge_removal_after_removal(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    # At the optimum the random term is minus the rest of the gradient: so it is known here.
    kind = certified(tmp_path, noise=20.0, ridge=0.3, epsilon=10.0)
    model, ridge = linear().to(dtype), 0.3
    few = FORGET[0][:6].to(dtype), FORGET[1][:6]
    retain = RETAIN[0].to(dtype), RETAIN[1]
    model = kind.fit(model, joined(few, retain))
    noise = -logistic_gradient(weights_of(model), *design(joined(few, retain)), ridge)
    assert np.linalg.norm(noise) == pytest.approx(20.0 * noise.size**0.5, rel=0.3)
    charge = 0.0
    for count in (2, 4, 6):
        left = joined((few[0][count:], few[1][count:]), retain)
        before = np.linalg.norm(logistic_gradient(weights_of(model), *design(left), ridge, noise))
        gone = few[0][count - 2 : count], few[1][count - 2 : count]
        result = kind.unlearn(model, gone, left)
        model, told = result.model, result.certificate
        assert told is not None and told["removed"] == count
        assert (told["noise"], told["ridge"]) == (20.0, ridge)
        assert told["budget_left"] == allowance(20.0, 10.0, 1e-5) - told["charge"]
        real = np.linalg.norm(logistic_gradient(weights_of(model), *design(left), ridge, noise))
        assert real <= told["charge"] + 1e-9
        assert real < 0.2 * before
        assert told["charge"] > charge
        charge = told["charge"]


def test_weights_that_are_rounded_are_charged_for_it(tmp_path: Path) -> None:
    kind, ledger = certified(tmp_path, noise=50.0, epsilon=10.0), tmp_path / "ledger.json"
    few, retain = (FORGET[0][:1].bfloat16(), FORGET[1][:1]), (RETAIN[0].bfloat16(), RETAIN[1])
    model = kind.fit(linear().bfloat16(), joined(few, retain))
    noise = -logistic_gradient(weights_of(model), *design(joined(few, retain)), 1.0)
    record = json.loads(ledger.read_text())
    assert record["entries"][0]["charge"] > 0.1  # the solution has more digits than the weights
    record["entries"][0]["charge"] = 0.0
    ledger.write_text(json.dumps(record))
    result = kind.unlearn(model, few, retain)
    real = np.linalg.norm(logistic_gradient(weights_of(result.model), *design(retain), 1.0, noise))
    assert result.certificate is not None
    assert 0.1 < real <= result.certificate["charge"]


def test_what_may_be_spent_may_be_spent_and_no_more(tmp_path: Path) -> None:
    kind, ledger = certified(tmp_path), tmp_path / "ledger.json"
    few, most = (FORGET[0][:1], FORGET[1][:1]), allowance(1.0, 1.0, 1e-5)
    model = kind.fit(linear(), joined(few, RETAIN))
    record = json.loads(ledger.read_text())
    record["entries"][0]["charge"] = 0.0
    ledger.write_text(json.dumps(record))
    spent = kind.unlearn(model, few, RETAIN).certificate
    assert spent is not None
    record["entries"][0]["charge"] = most - 0.9 * spent["charge"]
    ledger.write_text(json.dumps(record))
    with pytest.raises(Unsupported, match="used up"):
        kind.unlearn(model, few, RETAIN)
    record["entries"][0]["charge"] = most - 1.1 * spent["charge"]
    ledger.write_text(json.dumps(record))
    assert kind.unlearn(model, few, RETAIN).stopped == "done"


@pytest.mark.parametrize("training", [True, False])
def test_a_head_is_solved_for_in_a_copy_whose_mode_stays(training: bool) -> None:
    model = nn.Sequential(nn.Linear(64, CLASSES), nn.Dropout(0.0))
    model.train(training)
    before = state_digest(model)
    fitted = NewtonRemoval(**HEAD).fit(model, RETAIN)
    assert fitted is not model and state_digest(model) == before != state_digest(fitted)
    assert all(module.training is training for net in (model, fitted) for module in net.modules())


def test_a_certificate_that_is_used_up_is_refused_and_says_retrain(tmp_path: Path) -> None:
    kind = certified(tmp_path, epsilon=1e-3)
    model = kind.fit(linear(), joined(FORGET, RETAIN))
    before, ledger = state_digest(model), (tmp_path / "ledger.json").read_bytes()
    with pytest.raises(Unsupported, match="retrain"):
        kind.unlearn(model, FORGET, RETAIN, inplace=True)
    assert state_digest(model) == before
    assert (tmp_path / "ledger.json").read_bytes() == ledger


def test_a_ledger_is_of_one_head_and_its_examples(tmp_path: Path) -> None:
    kind = certified(tmp_path, noise=50.0)
    few = FORGET[0][:2], FORGET[1][:2]
    model = kind.fit(linear(), joined(few, RETAIN))
    with pytest.raises(InvalidRecord, match="another head"):
        kind.unlearn(linear(), few, RETAIN)
    less = (RETAIN[0][1:], RETAIN[1][1:])
    with pytest.raises(InvalidRecord, match="examples"):
        kind.unlearn(model, few, less)
    changed = copy.deepcopy(model)
    with torch.no_grad():
        next(changed.parameters())[0, 0] += 1e-3
    with pytest.raises(InvalidRecord, match="another head"):
        kind.unlearn(changed, few, RETAIN)
    assert kind.unlearn(model, few, RETAIN).stopped == "done"
    (tmp_path / "ledger.json").write_bytes(b"{")
    with pytest.raises(StoreCorrupt):
        kind.unlearn(model, few, RETAIN)
    with pytest.raises(InvalidRecord, match="fit"):
        certified(tmp_path / "nowhere").unlearn(model, few, RETAIN)


def test_the_random_term_is_drawn_anew_and_kept_nowhere(tmp_path: Path) -> None:
    kind = certified(tmp_path)
    first, second = (state_digest(kind.fit(linear(), RETAIN)) for _ in range(2))
    assert first != second
    told = (tmp_path / "ledger.json").read_text()
    assert len(told) < 400  # four numbers and two digests: no room for 260 draws


def test_the_allowance_is_that_of_the_paper() -> None:
    c = 3.0
    delta = 1.5 * math.exp(-(c**2) / 2)
    assert allowance(c * 0.7 / 2.0, 2.0, delta) == pytest.approx(0.7)


def test_what_is_no_linear_head_is_refused() -> None:
    deep = nn.Sequential(nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, CLASSES))
    for params in ((r".*",), (r"2\.weight",), (r"0\..*",)):
        with pytest.raises(Unsupported, match="doesn't fit"):
            NewtonRemoval(params=params).unlearn(deep, FORGET, RETAIN)


@pytest.mark.parametrize("leverage", [False, True])
def test_influence_agrees_with_leaving_each_one_out(leverage: bool) -> None:
    def with_ones(inputs: torch.Tensor) -> Any:
        return np.hstack([inputs.double().numpy(), np.ones((len(inputs), 1))])

    rows, targets = with_ones(RETAIN[0][:100]), np.eye(CLASSES)[RETAIN[1][:100].numpy()]
    asked, answers = with_ones(HOLDOUT[0]), np.eye(CLASSES)[HOLDOUT[1].numpy()]
    ridge = 0.02

    def lost(weights: Any) -> float:
        scores = asked @ weights
        return float((np.logaddexp(0.0, scores) - answers * scores).sum() / len(asked))

    weights = solve_logistic(rows, targets, ridge)
    told = influence(
        weights, rows, targets, ridge, asked=asked, answers=answers, leverage=leverage
    )
    real = []
    for place in range(len(rows)):
        others = np.arange(len(rows)) != place
        # lambda n is held per example: leaving one out takes its share of the decay away, too.
        real.append(lost(solve_logistic(rows[others], targets[others], ridge)) - lost(weights))
    assert np.corrcoef(told, real)[0, 1] > (0.999 if leverage else 0.99)
    assert np.linalg.norm(told - real) < (0.1 if leverage else 0.3) * np.linalg.norm(real)
