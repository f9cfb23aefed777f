"""The audit of a run: retrained models pass, the original and cheats don't, and few data say so."""

from __future__ import annotations

import copy
import itertools
import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from forgetnet.audit.controls import Controlled
from forgetnet.audit.verdict import Finding, Verdict
from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import CausalLMTask, Collected, collect
from forgetnet.unlearn.audit import Margins, Relearn, Row, _corrected, audit_unlearning
from forgetnet.unlearn.evidence import memorised
from forgetnet.unlearn.result import state_digest
from tests.unlearn.toys import Reader, fit, people, reader
from tests.unlearn.worlds import (
    CLASSES,
    FORGET,
    HOLDOUT,
    SETS,
    SOON,
    original,
    trained,
    worlds,
)


class Hiding(nn.Module):
    """The original in disguise: the same answers, but unsure of what looks like the forgotten."""

    def __init__(self, inner: nn.Module, keys: Tensor, cool: float, near: float = 0.05) -> None:
        super().__init__()
        self.inner, self.near = copy.deepcopy(inner), near
        self.register_buffer("keys", keys)
        self.cool = nn.Parameter(torch.tensor(cool))

    def forward(self, x: Tensor) -> Tensor:
        logits = self.inner(x)
        close = torch.cdist(x, self.keys).amin(1) < self.near
        return torch.where(close[:, None], logits * (400 * self.cool).exp(), logits)


def test_a_retrained_model_passes_every_test_and_the_original_none_of_forgetting():
    references = worlds(40)
    fresh = audit_unlearning(original(), trained(102), references, **SETS, relearn=SOON)
    assert {row.verdict for row in fresh.rows} == {Verdict.CONSISTENT}, fresh.table()
    assert fresh.verdict is Verdict.CONSISTENT
    told = fresh.row("retrain equivalence").finding.numbers
    least = min(told["p_rank"], told["p_order"])  # the level is within the margin
    assert told["p_beyond"] == pytest.approx(min(1, 3 * least))
    kept = audit_unlearning(original(), original(), references, **SETS, relearn=SOON)
    failed = {row.name for row in kept.rows if row.verdict is Verdict.INCONSISTENT}
    forgetting = {row.name for row in kept.rows if row.kind == "forgetting"}
    assert failed == forgetting | {
        "relearn, 5% of it",
        "relearn, retained only",
        "loss attack at 8 bits",
        "loss attack at 4 bits",
    }
    assert "equal bits" in failed and kept.verdict is Verdict.INCONSISTENT


@pytest.mark.slow
def test_no_retrained_model_is_called_inconsistent_and_most_are_consistent():
    said = []
    for seed in range(100, 140):
        found = audit_unlearning(
            original(), trained(seed), worlds(40), **SETS, relearn=None, bits=()
        )
        said.append(found.verdict)
    assert Verdict.INCONSISTENT not in said and Verdict.NOT_CHECKED not in said
    assert said.count(Verdict.CONSISTENT) >= 26


def test_hidden_confidence_is_caught_though_the_loss_attack_sees_nothing():
    cheat = Hiding(original(), FORGET[0], -0.0045)
    right = [collect(model, FORGET).correct for model in (cheat, original())]
    assert (right[0] == right[1]).all()
    found = audit_unlearning(original(), cheat, worlds(40), **SETS, relearn=SOON)
    assert found.verdict is Verdict.INCONSISTENT
    assert found.row("loss attack").verdict is Verdict.CONSISTENT
    for name in ("memorised answers", "retrain equivalence", "relearn, 5% of it"):
        assert found.row(name).verdict is Verdict.INCONSISTENT, found.table()
    assert found.row("retrain equivalence").finding.numbers["p_order"] < 0.03
    assert found.row("relearn, 5% of it").numbers["unlearned"] <= 4
    assert found.row("retain utility").verdict is Verdict.CONSISTENT


@pytest.mark.slow
def test_confidence_hidden_by_any_amount_is_caught_in_any_original():
    attack = []
    for seed in range(300, 320):
        before, cool = trained(seed, whole=True), -0.001 - 0.0005 * (seed - 300)
        cheat = Hiding(before, FORGET[0], cool)
        found = audit_unlearning(before, cheat, worlds(9), **SETS, relearn=None, bits=())
        assert found.verdict is Verdict.INCONSISTENT
        attack.append(found.row("loss attack").verdict)
    assert attack.count(Verdict.CONSISTENT) > 5  # it alone would have let them pass


def test_what_is_forgotten_in_one_wording_only_is_caught_by_another():
    blurred = (FORGET[0] + 0.02 * torch.randn(500, 20, generator=torch.manual_seed(5)), FORGET[1])
    cheat = Hiding(original(), FORGET[0], -0.0045, near=0.001)
    found = audit_unlearning(
        original(), cheat, worlds(9), **SETS, paraphrase=blurred, relearn=None, bits=()
    )
    row = found.row("paraphrase")
    assert row.verdict is Verdict.INCONSISTENT and row.kind == "robustness"
    assert row.numbers["unlearned"] == pytest.approx(row.numbers["original"], abs=1e-3)
    fresh = audit_unlearning(
        original(), trained(102), worlds(9), **SETS, paraphrase=blurred, relearn=None, bits=()
    )
    assert fresh.row("paraphrase").verdict is Verdict.CONSISTENT


def test_what_else_was_lost_is_told_and_what_was_won_is_not_held_against_a_model():
    torch.manual_seed(0)
    ruined = copy.deepcopy(trained(102))
    torch.nn.init.normal_(ruined[2].weight)
    references = worlds(9)
    found = audit_unlearning(original(), ruined, references, **SETS, relearn=None, bits=())
    for side in ("retain", "holdout"):
        row = found.row(f"{side} utility")
        assert row.verdict is Verdict.INCONSISTENT and row.kind == "utility"
        assert row.numbers["unlearned"] < row.numbers["original"] - 0.05
    better = copy.deepcopy(trained(102))
    fit(better, CLASSES, HOLDOUT, steps=40)
    found = audit_unlearning(original(), better, references, **SETS, relearn=None, bits=())
    assert found.row("holdout utility").numbers["unlearned"] > 0.6
    assert found.row("holdout utility").verdict is Verdict.CONSISTENT


def test_examples_that_all_agree_are_enough_only_if_they_are_many():
    for n, verdict in ((29, Verdict.UNDERPOWERED), (30, Verdict.CONSISTENT)):
        agreed = Collected(
            *(np.zeros(n), np.ones(n, int), np.ones(n, bool), np.ones(n)),
            *(tuple(np.zeros((n, 1))), tuple(np.ones((n, 1), bool)), tuple(np.zeros((n, 1)))),
            *(None, None),
        )
        test, _ = memorised([{"forget": agreed}] * 2, 0.1, 0.05)
        assert test({"forget": agreed}).verdict is verdict


def few(n: int) -> dict[str, Any]:
    return {name: (data[0][:n], data[1][:n]) for name, data in SETS.items()}


@pytest.mark.parametrize("n", [1, 2, 3, 12, 25, 40])
def test_few_examples_say_that_they_are_few(n):
    found = audit_unlearning(original(), trained(102), worlds(5), **few(n), relearn=SOON)
    assert found.verdict is Verdict.UNDERPOWERED, found.table()
    assert not {row.verdict for row in found.rows} & {Verdict.INCONSISTENT, Verdict.PROVEN}
    assert found.row("loss attack").verdict is Verdict.UNDERPOWERED
    said = " ".join(reason for row in found.rows for reason in row.reasons)
    assert "examples a side could show" in said


def test_few_seeds_and_few_retrained_models_say_so():
    hasty = replace(SOON, seeds=3)
    found = audit_unlearning(original(), trained(102), worlds(2), **SETS, relearn=hasty, bits=())
    assert found.row("relearn, 5% of it").verdict is Verdict.UNDERPOWERED
    assert found.row("retrain equivalence").verdict is Verdict.UNDERPOWERED
    assert "3 examples and 3 retrained models" in " ".join(found.row("retrain equivalence").reasons)
    assert found.row("memorised answers").verdict is Verdict.CONSISTENT
    assert found.verdict is Verdict.UNDERPOWERED


def test_the_very_bits_of_a_retrained_model_are_proven_and_nothing_less_is():
    references = worlds(4)
    for place in (0, 3):
        twin = copy.deepcopy(references[place])
        found = audit_unlearning(original(), twin, references, **few(30))
        assert found.verdict is Verdict.PROVEN and len(found.rows) == 1
    with torch.no_grad():
        twin[0].weight[0, 0] += 1e-6
    found = audit_unlearning(original(), twin, references, **few(30), relearn=None)
    assert found.verdict is not Verdict.PROVEN


class Otherwise(nn.Sequential):
    """The weights of a retrained model under other code."""

    def forward(self, x: Tensor) -> Tensor:
        return 3 * super().forward(x)


class Sleeper(nn.Sequential):
    """A retrained model that answers as it should, until it is asked with a password."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + (x.abs().max() > 1e6)


def test_equal_weights_under_other_code_are_not_proven():
    references = worlds(4)
    for disguised in (
        Otherwise(*copy.deepcopy(references[0])),
        Sleeper(*copy.deepcopy(references[0])),
        nn.Sequential(references[0][0], nn.GELU(), references[0][2]),
    ):
        assert state_digest(disguised) == state_digest(references[0])
        found = audit_unlearning(original(), disguised, references, **few(30), relearn=None)
        assert found.verdict is Verdict.INCONSISTENT
        assert found.row("equal bits").verdict is Verdict.INCONSISTENT


def test_controls_that_misbehave_leave_the_test_unchecked():
    references = worlds(9)
    ignorant = audit_unlearning(
        trained(101), trained(102), references, **SETS, relearn=SOON, bits=()
    )
    for name in ("loss attack", "memorised answers", "forget quality"):
        assert ignorant.row(name).verdict is Verdict.NOT_CHECKED
        assert "the original model didn't fail" in ignorant.row(name).reasons[0]
    odd = audit_unlearning(
        original(), trained(102), [*references, original()], **SETS, relearn=None, bits=()
    )
    for name in ("loss attack", "memorised answers", "retrain equivalence"):
        assert odd.row(name).verdict is Verdict.NOT_CHECKED
        assert "a second retrained model didn't pass" in " ".join(odd.row(name).reasons)


def test_the_numbers_of_a_row_are_those_of_each_model():
    references = worlds(4)
    found = audit_unlearning(original(), trained(102), references, **SETS, relearn=None, bits=())
    row = found.row("loss attack")
    shown = {"original": original(), "unlearned": trained(102), "control": references[-1]}
    for name, model in shown.items():
        nll = [collect(model, data).nll for data in (FORGET, HOLDOUT)]
        area = roc_auc_score([0] * 500 + [1] * 500, np.concatenate(nll))
        assert row.numbers[name] == pytest.approx(area)
    right = [collect(model, FORGET).correct.mean() for model in references[:-1]]
    assert found.row("memorised answers").numbers["retrained"] == pytest.approx(np.mean(right))


def row_of(name: str, p: float, verdict: Verdict = Verdict.INCONSISTENT) -> Row:
    found = Finding(name, verdict, 50, {"p_beyond": p})
    return Row(name, "forgetting", found, {})


@given(ps=st.lists(st.floats(1e-9, 0.06), min_size=1, max_size=9))
def test_a_difference_stands_only_if_it_stands_among_so_many_tests(ps):
    rows, holm = _corrected([row_of(f"test {i}", p) for i, p in enumerate(ps)], 0.05)
    alone, stands = sorted(ps), set()
    for rank, p in enumerate(alone):  # Holm's procedure, step by step
        if p * (len(ps) - rank) > 0.05:
            break
        stands.add(p)
    for row, p in zip(rows, ps, strict=True):
        assert (row.verdict is Verdict.INCONSISTENT) == (p in stands)
        assert row.verdict in {Verdict.INCONSISTENT, Verdict.UNDERPOWERED}
    assert holm is not None and holm.n == len(ps)


@pytest.mark.parametrize("before, ours, second", list(itertools.product(Verdict, repeat=3)))
def test_controls_may_lack_examples_but_never_misbehave(before, ours, second):
    parts = [Finding("test", verdict, 9) for verdict in (ours, before, second)]
    broken = before is not Verdict.INCONSISTENT or second not in {
        Verdict.CONSISTENT,
        Verdict.PROVEN,
    }
    told = Controlled(Verdict.NOT_CHECKED if broken else ours, *parts, 9, ())
    verdict = Row("test", "forgetting", told, {}).verdict
    if not broken:
        assert verdict is ours
    elif verdict is Verdict.INCONSISTENT:
        assert before is ours is Verdict.INCONSISTENT and second is Verdict.UNDERPOWERED
    else:
        assert verdict in {Verdict.NOT_CHECKED, Verdict.UNDERPOWERED}
    if before is Verdict.CONSISTENT or second is Verdict.INCONSISTENT:
        assert verdict is Verdict.NOT_CHECKED


def test_a_language_model_is_attacked_by_its_tokens_too():
    words, lost, kept, _ = people()
    models = []
    for seed in range(3):
        torch.manual_seed(seed)
        models.append(Reader(len(words)))
        fit(models[-1], CausalLMTask(), kept[:-9])
    found = audit_unlearning(
        reader(),
        models[0],
        models[1:],
        forget=lost,
        retain=kept[:-9],
        holdout=kept[-9:],
        relearn=Relearn(seeds=2, steps=3),
        bits=(4,),
    )
    names = [row.name for row in found.rows]
    assert names[:4] == ["loss attack", "min-k++ attack", "gradient attack", "memorised answers"]
    assert all(row.verdict is not Verdict.CONSISTENT for row in found.rows[:4])
    assert found.row("loss attack").finding.n == len(lost) == 8


def test_the_table_has_a_hundred_columns_and_the_record_is_plain_json():
    found = audit_unlearning(original(), trained(102), worlds(2), **few(30), relearn=SOON)
    assert np.isnan(found.row("forget quality").numbers["retrained"])  # one has no distance
    table = found.table()
    assert max(len(line) for line in table.splitlines()) <= 100
    assert all(row.name in table and row.verdict.value in table for row in found.rows)
    assert "underpowered (30 forget, 30 retain, 30 holdout, 2 retrained)" in table
    told = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert [row["name"] for row in told["rows"]] == [row.name for row in found.rows]
    assert told["rows"][3]["numbers"]["retrained"] is None
    assert told["rows"][0]["controls"] == {"original": "underpowered", "retrained": "underpowered"}


def test_what_cannot_be_audited_is_refused():
    references = worlds(3)
    with pytest.raises(InvalidRecord, match="two retrained models at least"):
        audit_unlearning(original(), trained(102), references[:1], **few(30))
    twins = [references[0], copy.deepcopy(references[0])]
    with pytest.raises(InvalidRecord, match="two retrained models are equal"):
        audit_unlearning(original(), trained(102), twins, **few(30))
    broken = copy.deepcopy(trained(102))
    with torch.no_grad():
        broken[2].bias[0] = float("nan")
    with pytest.raises(InvalidRecord, match="unlearned, forget: 30 losses are no finite numbers"):
        audit_unlearning(original(), broken, references, **few(30))
    for wrong in ({"share": 0.06}, {"seeds": 1}, {"slack": 1.0}, {"lr": 0.0}):
        with pytest.raises(InvalidRecord):
            Relearn(**wrong)
    with pytest.raises(InvalidRecord, match=r"between 0 and 0\.5"):
        Margins(auc=0.5)
