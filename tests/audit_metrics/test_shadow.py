"""LiRA, RMIA and U-LiRA against their formulas; a model that only hides what it knows is caught."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from forgetnet.audit.equivalence import tost
from forgetnet.audit.membership import auc, judge_auc
from forgetnet.audit.shadow import (
    FEWEST_SHADOWS,
    lira_offline,
    lira_online,
    logit_confidence,
    order_kept,
    rmia,
    u_lira,
)
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import InvalidRecord

N, WORLDS = 400, 20


@dataclass(frozen=True)
class Town:
    """NLLs of a toy: how hard each example is, and how much training on it helps."""

    rng: np.random.Generator
    hard: np.ndarray
    help: np.ndarray

    def model(self, *, trained: bool = False) -> np.ndarray:
        noise = self.rng.normal(0, 0.1, len(self.hard))
        return self.hard - trained * self.help + noise

    def models(self, count: int, *, trained: bool = False) -> np.ndarray:
        return np.stack([self.model(trained=trained) for _ in range(count)], axis=1)

    def hiding(self) -> np.ndarray:
        """Trained, and then every example made less likely by the same amount: no rank moves."""
        return self.model(trained=True) + self.help.mean()

    def hidings(self, count: int) -> np.ndarray:
        return np.stack([self.hiding() for _ in range(count)], axis=1)


@pytest.fixture
def town() -> Town:
    rng = np.random.default_rng(11)
    return Town(rng, rng.gamma(20, 0.15, N), rng.gamma(2, 0.4, N))


def test_a_cheat_has_the_right_mean_and_is_caught_by_its_order(town: Town) -> None:
    """Hides its confidence and keeps the ranking: tests of level pass, tests of ranks don't."""
    retrained, cheat = town.models(WORLDS), town.hiding()
    level = tost(cheat, town.model(), margin=0.25)
    assert level.finding.verdict is Verdict.CONSISTENT
    kept = order_kept(town.model(trained=True), cheat, retrained)
    assert kept.finding.verdict is Verdict.INCONSISTENT
    assert kept.correlation > 0.8 > kept.null.max()
    game = u_lira(-cheat, -town.model(), -town.hidings(WORLDS), -town.models(WORLDS), margin=0.1)
    assert game.finding.verdict is Verdict.INCONSISTENT
    assert game.auc.value > 0.9


def test_an_honest_retrain_is_not_accused(town: Town) -> None:
    retrained, honest = town.models(WORLDS), town.model()
    kept = order_kept(town.model(trained=True), honest, retrained)
    assert kept.finding.verdict is Verdict.NOT_CHECKED
    game = u_lira(
        -honest, -town.model(), -town.models(WORLDS), -town.models(WORLDS), margin=0.1
    )
    assert game.finding.verdict is Verdict.CONSISTENT


def test_a_cheat_that_flattens_every_answer_keeps_the_auc(town: Town) -> None:
    """Probabilities at chance for all, and members still below strangers."""
    members, strangers = town.hard - 8, town.hard
    flat = [5 + 1e-6 * scores for scores in (members, strangers)]
    assert abs(flat[0].mean() - flat[1].mean()) < 1e-4
    before, after = auc(members, strangers), auc(*flat)
    assert after.value == before.value > 0.99
    assert judge_auc(after, margin=0.1).verdict is Verdict.INCONSISTENT


def test_order_by_chance_is_accused_as_often_as_promised(town: Town) -> None:
    accused = 0
    for _ in range(100):
        kept = order_kept(town.model(trained=True), town.model(), town.models(WORLDS))
        accused += kept.finding.verdict is Verdict.INCONSISTENT
    assert accused <= 12  # 5 expected


def test_few_retrained_models_are_underpowered(town: Town) -> None:
    kept = order_kept(town.model(trained=True), town.hiding(), town.models(5))
    assert kept.finding.verdict is Verdict.UNDERPOWERED
    assert "19 retrained models" in kept.finding.reasons[0]
    assert kept.finding.numbers["p"] == pytest.approx(1 / 6)


def test_few_examples_are_underpowered(town: Town) -> None:
    few = [-town.models(WORLDS)[:15] for _ in range(2)]
    game = u_lira(-town.model()[:15], -town.model()[:15], *few, margin=0.1)
    assert game.finding.verdict is Verdict.UNDERPOWERED
    assert game.finding.n == 15


def test_lira_is_the_ratio_of_two_gaussians() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(2, 1, (30, 20)), rng.normal(0, 0.5, (30, 20))
    phi = rng.normal(1, 1, 30)

    def density(shadows: np.ndarray) -> np.ndarray:
        return stats.norm.logpdf(phi, shadows.mean(axis=1), shadows.std(axis=1, ddof=1))

    expected = density(inside) - density(outside)
    assert lira_online(phi, inside, outside) == pytest.approx(expected)
    z = (phi - outside.mean(axis=1)) / outside.std(axis=1, ddof=1)
    assert lira_offline(phi, outside) == pytest.approx(z)
    tail = stats.norm.cdf(phi, outside.mean(axis=1), outside.std(axis=1, ddof=1))
    assert (np.argsort(tail) == np.argsort(z)).all()


def test_few_shadows_share_one_variance() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(2, 1, (30, 4)), rng.normal(0, 1, (30, 4))
    phi = rng.normal(1, 1, 30)
    assert inside.shape[1] < FEWEST_SHADOWS
    automatic = lira_online(phi, inside, outside)
    assert automatic == pytest.approx(lira_online(phi, inside, outside, variance="pooled"))
    assert automatic != pytest.approx(lira_online(phi, inside, outside, variance="own"))
    game = u_lira(phi, phi, inside, outside, margin=0.1)
    assert any("one variance" in reason for reason in game.finding.reasons)


@given(st.floats(-3, 3), st.floats(0.5, 4))
def test_lira_does_not_depend_on_the_scale(shift: float, scale: float) -> None:
    rng = np.random.default_rng(5)
    phi, inside, outside = rng.normal(size=6), rng.normal(1, 1, (6, 20)), rng.normal(size=(6, 20))
    there = lira_online(phi, inside, outside)
    moved = [values * scale + shift for values in (phi, inside, outside)]
    assert lira_online(*moved) == pytest.approx(there)
    assert lira_offline(moved[0], moved[2]) == pytest.approx(lira_offline(phi, outside))


def test_logit_confidence_does_not_cancel() -> None:
    assert logit_confidence(np.log([0.5, 0.9])) == pytest.approx([0, np.log(9)])
    assert logit_confidence([-1e-20])[0] == pytest.approx(np.log(1e20))
    with pytest.raises(InvalidRecord, match="below 0"):
        logit_confidence([0.0])


probabilities = st.lists(st.floats(0.01, 1), min_size=2, max_size=8)


@given(probabilities, probabilities, st.floats(0, 1), st.floats(1, 2))
def test_rmia_counts_whom_an_example_beats(
    x: list[float], z: list[float], a: float, gamma: float
) -> None:
    rng = np.random.default_rng(len(x) * 10 + len(z))
    x_out, z_out = rng.uniform(0.01, 1, (len(x), 3)), rng.uniform(0.01, 1, (len(z), 3))
    found = rmia(x, x_out, z, z_out, a=a, gamma=gamma)
    ratio_x = np.array(x) / ((1 + a) / 2 * x_out.mean(axis=1) + (1 - a) / 2)
    ratio_z = np.array(z) / ((1 + a) / 2 * z_out.mean(axis=1) + (1 - a) / 2)
    table = ratio_x[:, None] / ratio_z
    expected = (table > gamma).mean(axis=1)
    close = (abs(table - gamma) < 1e-12).any(axis=1)
    assert found[~close] == pytest.approx(expected[~close])
    assert ((found >= 0) & (found <= 1)).all()


def test_rmia_tells_members_apart() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.2, 0.5, 300)
    out = base[:, None] + rng.uniform(-0.05, 0.05, (300, 8))
    scores = rmia(base[:150] + 0.3, out[:150], base[150:], out[150:])
    assert scores.mean() > 0.95


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InvalidRecord, match="as many"):
        lira_online([0.0], np.zeros((2, 3)), np.zeros((2, 3)))
    with pytest.raises(InvalidRecord, match="two shadow models"):
        lira_offline([0.0], [[1.0]])
    with pytest.raises(InvalidRecord, match="two retrained"):
        order_kept([0.0, 1, 2], [0.0, 1, 2], [[0.0], [1], [2]])
    with pytest.raises(InvalidRecord, match="probabilities"):
        rmia([0.5], [[0.5]], [0.0], [[0.5]])
