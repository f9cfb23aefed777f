"""Exact is bit for bit, and is claimed of nothing else: retraining, shards, slices."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from forgetnet.unlearn import Recipe, Retrain, ShardRetrain, StopRule
from forgetnet.unlearn.result import state_digest
from forgetnet.unlearn.shards import ShardEnsemble, expected_share
from tests.contract.unlearning import FREE, build, digits, joined, small, taught

FORGET, RETAIN, HOLDOUT = digits()
WHOLE = joined(FORGET, RETAIN)
QUICK: dict[str, Any] = {"lr": 1e-2, "epochs": 1.0, "stop": FREE}


def strange(seed: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return taught(build(), WHOLE, epochs=1)


def test_a_retrained_model_has_the_bits_of_one_that_never_saw() -> None:
    kind = Retrain(build=build, **QUICK)
    first = kind.unlearn(strange(1), FORGET, RETAIN)
    # Another model, that learnt other things, and another forget set: nothing of them is left.
    other = kind.unlearn(strange(2), HOLDOUT, RETAIN)
    assert first.after == other.after != first.before
    assert first.guarantee == "exact" and first.certificate is not None
    assert first.certificate["weights"] == first.after
    less = (RETAIN[0][:-1], RETAIN[1][:-1])
    assert kind.unlearn(strange(1), FORGET, less).after != first.after


def test_how_often_one_looks_changes_nothing() -> None:
    kind = Retrain(build=build, **QUICK)  # in training mode, with running statistics
    often = kind.set_params(stop=StopRule(None, None, every=1))
    results = [one.unlearn(strange(1), FORGET, RETAIN) for one in (kind, often)]
    assert results[0].after == results[1].after
    assert len(results[1].history) > len(results[0].history)


def test_exact_is_not_said_where_something_outside_of_scope_may_have_seen() -> None:
    model = strange(1)
    narrow = Retrain(build=build, params=(r"3\..*",), **QUICK).unlearn(model, FORGET, RETAIN)
    assert narrow.guarantee == "approximate" and narrow.certificate is None

    def pretrained() -> nn.Module:  # what the public has taught, and nobody changed since
        fresh = build()
        fresh.load_state_dict({**fresh.state_dict(), **shared})
        return fresh

    shared = {n: t for n, t in strange(9).state_dict().items() if not n.startswith("3.")}
    model.load_state_dict({**model.state_dict(), **shared})
    kind = Retrain(build=pretrained, params=(r"3\..*",), **QUICK)
    assert kind.unlearn(model, FORGET, RETAIN).guarantee == "exact"


def test_a_recipe_of_ones_own_is_exact_only_if_it_was_seen_to_repeat() -> None:
    def steady(model: nn.Module, data: Any, seed: int) -> None:
        taught(model, data, epochs=1)

    calls: list[int] = []

    def moody(model: nn.Module, data: Any, seed: int) -> None:
        calls.append(seed)
        taught(model, data, epochs=len(calls))

    kind = Retrain(build=build, train=steady)
    assert kind.unlearn(strange(1), FORGET, RETAIN).guarantee == "approximate"
    sure = kind.set_params(repeat=True)
    assert sure.unlearn(strange(1), FORGET, RETAIN).guarantee == "exact"
    assert sure.set_params(train=moody).unlearn(strange(1), FORGET, RETAIN).guarantee != "exact"


def sharded(folder: Path | None, **others: Any) -> ShardRetrain:
    recipe = Recipe(lr=1e-2, epochs=2.0, weight_decay=0.01)
    settings = {"shards": 3, "slices": 3, "folder": folder and str(folder), **others}
    return ShardRetrain(build=small, recipe=recipe, **settings)


def test_shards_that_forgot_have_the_bits_of_shards_that_never_saw(tmp_path: Path) -> None:
    kind = sharded(tmp_path / "a")
    model = kind.fit(WHOLE)
    one = (FORGET[0][:1], FORGET[1][:1])
    rest = joined((FORGET[0][1:], FORGET[1][1:]), RETAIN)
    result = kind.unlearn(model, one, rest)
    twin = sharded(tmp_path / "b").fit(rest)
    assert result.guarantee == "exact" and result.after == state_digest(twin) != result.before
    names = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "b").iterdir())  # nor their folders
    assert len(result.certificate["shards"]) == 1  # of an exact result
    shuffled = (rest[0].flip(0), rest[1].flip(0))
    assert state_digest(sharded(tmp_path / "c").fit(shuffled)) == result.after


def test_slices_go_on_with_the_moments_of_the_optimiser(tmp_path: Path) -> None:
    through = state_digest(sharded(tmp_path / "a").fit(RETAIN))
    for path in sorted((tmp_path / "a").iterdir())[::2]:
        path.unlink()
    assert state_digest(sharded(tmp_path / "a").fit(RETAIN)) == through
    assert state_digest(sharded(None).fit(RETAIN)) == through


@pytest.mark.parametrize("other", [{"seed": 1}, {"slices": 2}, {"shards": 2}, {"recipe": Recipe()}])
def test_checkpoints_of_other_settings_are_not_taken(tmp_path: Path, other: dict[str, Any]) -> None:
    sharded(tmp_path).fit(RETAIN)
    kind = sharded(tmp_path).set_params(**other)
    assert state_digest(kind.fit(RETAIN)) == state_digest(kind.set_params(folder=None).fit(RETAIN))


def test_shards_that_saw_nothing_yet_are_not_taken_for_each_other(tmp_path: Path) -> None:
    few = RETAIN[0][:2], RETAIN[1][:2]
    kind = sharded(tmp_path, shards=4)
    assert state_digest(kind.fit(few)) == state_digest(kind.set_params(folder=None).fit(few))


def test_a_request_costs_what_was_said_since_each_slice_is_learnt_with_those_before(
    tmp_path: Path,
) -> None:
    kind = sharded(tmp_path, shards=2)
    model = kind.fit(WHOLE)
    one, rest = (FORGET[0][:1], FORGET[1][:1]), joined((FORGET[0][1:], FORGET[1][1:]), RETAIN)
    told, found = kind.estimate(model, one, rest), kind.unlearn(model, one, rest).cost
    assert (found.backwards, found.steps) == (told.backwards, told.steps)


def test_shards_vote_by_probabilities_or_by_the_mean_of_their_answers() -> None:
    answers = [[0.0, math.log(3.0)], [math.log(9.0), 0.0]]
    members: list[nn.Module] = []
    for row in answers:
        member = nn.Linear(1, 2)
        member.load_state_dict({"weight": torch.zeros(2, 1), "bias": torch.tensor(row)})
        members.append(member)
    said = ShardEnsemble(members, "probabilities")(torch.zeros(1, 1))[0].exp()
    # (1/4 + 9/10) / 2 and (3/4 + 1/10) / 2
    assert said.tolist() == pytest.approx([0.575, 0.425])
    said = ShardEnsemble(members, "mean")(torch.zeros(1, 1))[0]
    assert said.tolist() == pytest.approx([math.log(3.0), math.log(3.0) / 2.0])


def test_shards_without_checkpoints_are_not_called_exact() -> None:
    kind = sharded(None)
    one = (FORGET[0][:1], FORGET[1][:1])
    rest = joined((FORGET[0][1:], FORGET[1][1:]), RETAIN)
    assert kind.unlearn(kind.fit(WHOLE), one, rest).guarantee == "approximate"


@given(st.integers(1, 40), st.integers(1, 40))
def test_the_expected_cost_is_the_mean_over_all_requests(shards: int, slices: int) -> None:
    whole = sum(range(1, slices + 1)) * shards  # slice r is trained on r slices of data
    again = [sum(range(first, slices + 1)) for first in range(1, slices + 1)]
    assert expected_share(shards, slices) == Fraction(sum(again), slices) / whole
    assert expected_share(shards, 1) == Fraction(1, shards)


def test_what_one_request_costs_is_near_the_formula(tmp_path: Path) -> None:
    kind = sharded(tmp_path, shards=2, slices=4)
    kind.fit(WHOLE)
    model, size = kind.fit(WHOLE), len(WHOLE[1])
    costs = []
    for place in range(0, size, 6):
        mask = torch.arange(size) != place
        one = WHOLE[0][~mask], WHOLE[1][~mask]
        costs.append(kind.estimate(model, one, (WHOLE[0][mask], WHOLE[1][mask])).backwards)
    measured = sum(costs) / len(costs) / (kind.recipe.epochs * size)
    assert measured == pytest.approx(float(expected_share(2, 4)), rel=0.15)
