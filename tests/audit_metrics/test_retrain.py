"""An unlearned model beside many retrained ones: each way to differ is seen, none invented."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from forgetnet.audit.retrain import level_distances, retrain_equivalence
from forgetnet.audit.verdict import Verdict
from forgetnet.errors import InvalidRecord

N, K = 400, 59


class Town:
    """NLLs: examples differ in how hard they are, models in their level, training helps some."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.hard, self.help = self.rng.gamma(20, 0.15, N), self.rng.gamma(2, 0.4, N)

    def model(self, known: float = 0.0) -> np.ndarray:
        level = self.rng.normal(0, 0.1)
        return self.hard - known * self.help + level + self.rng.normal(0, 0.3, N)

    def ask(self, unlearned: np.ndarray, models: int = K):
        retrained = np.stack([self.model() for _ in range(models)], axis=1)
        return retrain_equivalence(self.model(known=1), unlearned, retrained)


def test_retrained_models_are_rarely_accused() -> None:
    verdicts = []
    for seed in range(60):
        town = Town(seed)
        verdicts.append(town.ask(town.model()).verdict)
    assert verdicts.count(Verdict.INCONSISTENT) <= 7  # 3 expected
    assert verdicts.count(Verdict.CONSISTENT) >= 45


def test_a_model_that_remembers_is_seen_by_its_level() -> None:
    town = Town(0)
    found = town.ask(town.model(known=0.9))
    assert found.verdict is Verdict.INCONSISTENT
    assert found.rank.p_value == found.rank.least_p


def test_a_model_that_hides_is_seen_by_its_order_alone() -> None:
    town = Town(1)
    hiding = town.hard - town.help + town.help.mean() + town.rng.normal(0, 0.3, N)
    found = town.ask(hiding)
    assert found.level is not None
    assert found.level.finding.verdict is Verdict.CONSISTENT
    assert found.rank.finding.verdict is Verdict.NOT_CHECKED
    assert found.order.finding.verdict is Verdict.INCONSISTENT
    assert found.verdict is Verdict.INCONSISTENT


def test_a_model_that_forgot_too_hard_differs_as_well() -> None:
    town = Town(2)
    assert town.ask(town.model(known=-0.9)).verdict is Verdict.INCONSISTENT


def test_few_retrained_models_are_underpowered() -> None:
    town = Town(3)
    found = town.ask(town.model(known=0.9), models=5)
    assert found.verdict is Verdict.UNDERPOWERED
    assert found.level is None
    assert any("19 distances" in reason for reason in found.reasons)
    assert any("39 retrained" in reason for reason in found.reasons)
    assert (found.n, found.models) == (N, 5)


def test_distances_between_levels_by_hand() -> None:
    assert level_distances([[0.0, 1, 3], [0, 1, 3]]).tolist() == [1, 3, 2]


def test_equal_models_want_another_check() -> None:
    with pytest.raises(InvalidRecord, match="digests"):
        retrain_equivalence([0.0, 1, 2], [0.0, 1, 2], np.ones((3, 9)))
    with pytest.raises(InvalidRecord, match="three"):
        retrain_equivalence([0.0, 1, 2], [0.0, 1, 2], np.ones((3, 2)))


def test_what_is_asked_is_not_changed() -> None:
    town = Town(4)
    arrays = [town.model(), town.model(), np.stack([town.model() for _ in range(K)], axis=1)]
    for array in arrays:
        array.flags.writeable = False
    first, second = (retrain_equivalence(*arrays) for _ in range(2))
    assert first.reasons == second.reasons
    assert first.verdict is second.verdict


def test_scipy_and_torch_are_not_imported_before_they_are_needed() -> None:
    rooms = Path(__file__).parents[2] / "forgetnet" / "audit"
    names = "arrays bounds controls equivalence membership permutation quality retrain robustness"
    names += " rouge scores shadow verdict"
    assert all((rooms / f"{name}.py").exists() for name in names.split())
    imports = "".join(f"import forgetnet.audit.{name}\n" for name in names.split())
    check = "import sys\nsys.exit(int('scipy' in sys.modules or 'torch' in sys.modules))"
    subprocess.run([sys.executable, "-c", imports + check], check=True, cwd=rooms.parents[1])
