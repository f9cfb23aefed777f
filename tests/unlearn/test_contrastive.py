"""Contrastive pairs and alignment calibration: every term by hand, flat and hyperbolic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.unlearn import AlignmentCalibration, ContrastiveTask, IdealPush, StopRule
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.contrastive import exterior_angle
from forgetnet.unlearn.gradient import kl_to
from forgetnet.unlearn.run import Run
from tests.unlearn.toys import fit, mean_loss

FREE = StopRule(forget_loss=None, retain_increase=None)
GEOMETRIES = ["euclidean", "lorentz"]
CPU = torch.device("cpu")


def world(geometry: Any) -> tuple[nn.Module, ContrastiveTask, Any, Any]:
    """Six concepts, eight inputs near each; the first concept's are to be forgotten."""
    torch.manual_seed(0)
    concepts = torch.randn(6, 10)
    near = concepts.repeat_interleave(8, 0) + 0.5 * torch.randn(48, 10)
    partners = concepts.repeat_interleave(8, 0)
    task = ContrastiveTask(concepts, geometry)
    model = nn.Sequential(nn.Linear(10, 24), nn.Tanh(), nn.Linear(24, 4))
    fit(model, task, (near, partners), steps=80)
    return model, task, (near[:8], partners[:8]), (near[8:], partners[8:])


def pull(e: np.ndarray) -> np.ndarray:
    r = np.linalg.norm(e)
    return e * (8.0 * math.tanh(r / 8.0) / r)


def point(e: np.ndarray) -> np.ndarray:
    r = np.linalg.norm(e)
    return np.concatenate([[math.cosh(r)], math.sinh(r) * e / r])


def dot(x: np.ndarray, y: np.ndarray) -> float:
    return float(x[1:] @ y[1:] - x[0] * y[0])


def far(a: np.ndarray, b: np.ndarray, geometry: str) -> float:
    if geometry == "euclidean":
        return float(np.linalg.norm(a - b))
    return math.acosh(max(1.0, -dot(point(a), point(b))))


def angle(a: np.ndarray, x: np.ndarray, geometry: str) -> float:
    if geometry == "euclidean":
        ray = x - a
        return math.acos(float(ray @ a) / float(np.linalg.norm(ray) * np.linalg.norm(a)))
    p, q = point(a), point(x)
    inner = dot(p, q)  # MERU's form, with an arc cosine
    return math.acos((q[0] + p[0] * inner) / (np.linalg.norm(p[1:]) * math.sqrt(inner**2 - 1)))


def embed(model: nn.Module, inputs: torch.Tensor, geometry: str) -> list[np.ndarray]:
    with torch.no_grad():
        rows = list(model(inputs).double().numpy())
    return rows if geometry == "euclidean" else [pull(row) for row in rows]


def negatives(task: ContrastiveTask, partner: torch.Tensor) -> list[int]:
    return [k for k in range(len(task.bank)) if not torch.equal(task.bank[k], partner)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_loss_is_infonce_against_the_bank_without_the_partner_itself(geometry: Any) -> None:
    model, task, lost, _ = world(geometry)
    model, task = model.double(), ContrastiveTask(task.bank.double(), geometry, 0.7)
    batch = task.batch(tuple(part.double() for part in lost), range(8), CPU)
    with torch.no_grad():
        found = task.loss(model, batch).numpy()
    here, there, bank = (
        embed(model, part, geometry) for part in (batch["inputs"], batch["targets"], task.bank)
    )
    for i, value in enumerate(found):
        right = math.exp(-far(here[i], there[i], geometry) / 0.7)
        others = negatives(task, batch["targets"][i])
        wrong = sum(math.exp(-far(here[i], bank[k], geometry) / 0.7) for k in others)
        assert len(others) == 5
        assert value == pytest.approx(-math.log(right / (right + wrong)), rel=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_an_examples_loss_is_its_own_whatever_stands_beside_it(geometry: Any) -> None:
    model, task, lost, kept = world(geometry)
    both = tuple(torch.cat(parts) for parts in zip(lost, kept, strict=True))
    alone = task.loss(model, task.batch(both, [3], CPU))
    beside = task.loss(model, task.batch(both, [40, 3, 11], CPU))[1:2]
    torch.testing.assert_close(alone, beside, atol=1e-5, rtol=1e-5)


@given(st.floats(0.1, 6.0), st.floats(0.1, 6.0), st.floats(0.05, math.pi - 0.05), st.booleans())
def test_the_exterior_angle_is_merus(a: float, r: float, t: float, flat: bool) -> None:
    geometry = "euclidean" if flat else "lorentz"
    apex = np.array([a, 0.0, 0.0])
    x = np.array([r * math.cos(t), r * math.sin(t), 0.0])
    found = exterior_angle(torch.from_numpy(apex), torch.from_numpy(x), geometry)
    assert float(found) == pytest.approx(angle(apex, x, geometry), abs=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_alignment_calibration_is_its_formula(geometry: Any) -> None:
    model, task, lost, kept = world(geometry)
    model, task = model.double(), ContrastiveTask(task.bank.double(), geometry)
    sets = {
        "forget": tuple(part.double() for part in lost),
        "retain": tuple(part.double() for part in kept),
    }
    method = AlignmentCalibration(
        batch_size=5, retain_entailment=0.3, positive=0.7, negative=0.2, entailment=0.9, norm=0.4
    )
    run = Run(model, task, sets, dict(model.named_parameters()), 0, 5, CPU, FREE, Budget())
    method.begin(run)
    norms = sorted(float(np.linalg.norm(e)) for e in embed(model, sets["retain"][0], geometry))
    assert float(run.kept["norm"]) == pytest.approx(norms[19])
    with torch.no_grad():
        found = float(method.objective(run, 1))

    def views(side: Any) -> list[tuple[np.ndarray, np.ndarray, list[np.ndarray]]]:
        where = run.positions(side, 1)
        x, a = (embed(model, part[where], geometry) for part in sets[side])
        bank = embed(model, task.bank, geometry)
        rest = [[bank[k] for k in negatives(task, sets[side][1][i])] for i in where]
        return list(zip(x, a, rest, strict=True))

    batch = task.batch(sets["retain"], run.positions("retain", 1), CPU)
    with torch.no_grad():
        expected = float(task.loss(model, batch).mean())
    expected += 0.3 * np.mean([max(0, angle(a, x, geometry) - 0.8) for x, a, _ in views("retain")])
    lost_views = views("forget")
    expected += 0.7 * np.mean([max(0, 3 - far(a, x, geometry)) for x, a, _ in lost_views])
    expected += 0.2 * np.mean([far(b, x, geometry) for x, _, rest in lost_views for b in rest])
    expected += 0.9 * np.mean([max(0, 0.8 - angle(a, x, geometry)) for x, a, _ in lost_views])
    expected += 0.4 * np.mean([(np.linalg.norm(x) - norms[19]) ** 2 for x, _, _ in lost_views])
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_it_takes_pairs_apart_and_keeps_the_rest(geometry: Any) -> None:
    model, task, lost, kept = world(geometry)
    method = AlignmentCalibration(lr=1e-2, epochs=60)
    result = method.unlearn(model, lost, kept, task=task)
    assert mean_loss(result.model, lost, task) > mean_loss(model, lost, task) + 0.5
    assert mean_loss(result.model, kept, task) < mean_loss(model, kept, task) + 0.5
    again = method.unlearn(model, lost, kept, task=task)
    assert again.after == result.after


def ideal(ray: np.ndarray, x: np.ndarray, geometry: str) -> float:
    u = ray / np.linalg.norm(ray)
    if geometry == "euclidean":
        return float(-u @ x)
    return math.log(-dot(np.concatenate([[1.0], u]), point(x)))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_an_ideal_push_is_its_formula(geometry: Any) -> None:
    model, task, lost, _ = world(geometry)
    model, task = model.double(), ContrastiveTask(task.bank.double(), geometry)
    forget = tuple(part.double() for part in lost)
    method = IdealPush(batch_size=5, share=0.7, anchor=0.2)
    run = Run(
        model, task, {"forget": forget}, dict(model.named_parameters()), 0, 5, CPU, FREE, Budget()
    )
    method.begin(run)
    before = embed(model, task.bank, geometry)
    first = embed(model, forget[0], geometry)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
        found = float(method.objective(run, 1))
    where = run.positions("forget", 1)
    bank, now = embed(model, task.bank, geometry), embed(model, forget[0][where], geometry)
    left = []
    for place, x in zip(where, now, strict=True):
        rest = negatives(task, forget[1][place])
        ray = before[min(rest, key=lambda k, x=first[place]: far(before[k], x, geometry))]
        enough = 0.7 * ideal(ray, ray, geometry)
        left.append(max(0.0, ideal(ray, x, geometry) - enough))
    moved = [far(b, a, geometry) ** 2 for a, b in zip(before, bank, strict=True)]
    assert found == pytest.approx(np.mean(left) + 0.2 * np.mean(moved), rel=1e-5)


def test_an_ideal_push_forgets_in_hyperbolic_space_without_what_is_kept() -> None:
    model, task, lost, kept = world("lorentz")
    method = IdealPush(lr=1e-2, epochs=60, share=0.8, anchor=0.1)
    result = method.unlearn(model, lost, task=task)
    assert result.after == method.unlearn(model, lost, task=task).after
    assert mean_loss(result.model, lost, task) > mean_loss(model, lost, task) + 0.4
    assert mean_loss(result.model, kept, task) < mean_loss(result.model, lost, task)
    # what is kept decides nothing, even where it is given to be looked at
    assert method.unlearn(model, lost, kept, task=task).after == result.after


def test_a_wrong_partner_is_never_the_right_one_and_a_kl_is_finite() -> None:
    model, task, lost, _ = world("lorentz")
    batch = task.batch(lost, range(8), CPU)
    for seed in range(5):
        wrong = task.relabel(batch, torch.Generator().manual_seed(seed), 7)
        assert not (wrong["targets"] == batch["targets"]).all(dim=1).any()
    with torch.no_grad():
        logits = task.logits(model, batch)
    assert float(kl_to(logits, logits)) == pytest.approx(0.0, abs=1e-6)
    assert task.chance(model, batch) == math.log(7)


def test_what_is_no_set_of_pairs_is_refused() -> None:
    model, task, lost, kept = world("euclidean")
    with pytest.raises(Unsupported, match="ContrastiveTask"):
        AlignmentCalibration().unlearn(model, lost, kept)
    with pytest.raises(InvalidRecord, match="one shape"):
        task.batch((lost[0], lost[1][:, :3]), [0], CPU)
    with pytest.raises(InvalidRecord, match="not below 0"):
        AlignmentCalibration(positive=-1.0)
    with pytest.raises(Unsupported, match="ContrastiveTask"):
        IdealPush().unlearn(model, lost)
    with pytest.raises(InvalidRecord, match="not below 0"):
        IdealPush(share=-0.1)
