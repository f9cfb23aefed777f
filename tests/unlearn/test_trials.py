"""Relearning and rounding: on copies, on examples of their own, and caught by the audit."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.audit.robustness import rounded
from forgetnet.audit.verdict import Verdict
from forgetnet.unlearn import audit_unlearning, collect
from forgetnet.unlearn.result import state_digest
from forgetnet.unlearn.trials import Relearning, kept_by_rounding, quantised
from tests.unlearn.worlds import (
    CLASSES,
    FORGET,
    HOLDOUT,
    RETAIN,
    SETS,
    SOON,
    original,
    trained,
    worlds,
)


def trial(**changes: Any) -> Relearning:
    said = [collect(model, FORGET, CLASSES) for model in (original(), trained(102))]
    return Relearning(replace(SOON, **changes), CLASSES, FORGET, RETAIN, said[0], said[1:], 7)


@settings(max_examples=20, deadline=None)
@given(run=st.integers(0, 10_000), share=st.floats(0.004, 0.05), source=st.booleans())
def test_relearning_looks_at_no_example_it_trains_on(run, share, source):
    told = trial(share=share)
    learnt, looked = told._parts("forget" if source else "retain", run)
    assert len(set(looked)) == len(looked) == 256
    if source:
        assert 0 < len(learnt) <= share * 500 + 1e-9 and not set(learnt) & set(looked)


def test_relearning_leaves_the_model_and_repeats_itself():
    told, model = trial(), trained(102).train()
    bits = state_digest(model)
    first = [told.steps(model, source, 3) for source in ("forget", "retain")]
    torch.rand(3)
    assert [told.steps(model, source, 3) for source in ("forget", "retain")] == first
    assert state_digest(model) == bits and model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert told.steps(original(), "forget", 3) == 1
    assert trial(lr=10.0).steps(original(), "forget", 3) == 1  # it is there before any step


def test_relearning_what_the_original_never_knew_is_not_checked():
    knows = {**SETS, "forget": HOLDOUT, "holdout": FORGET}
    *others, ignorant = sorted(worlds(5), key=lambda model: collect(model, HOLDOUT).nll.mean())
    found = audit_unlearning(ignorant, others[0], others[1:], **knows, relearn=SOON, bits=())
    row = found.row("relearn, 5% of it")
    assert row.verdict is Verdict.NOT_CHECKED and "knows the forgotten no better" in row.reasons[0]


def test_forgetting_that_rounding_undoes_is_caught_at_the_bits_that_undo_it():
    before = quantised(original(), 4)  # on the grid, so that small changes round away
    bins = [p.abs().amax(1, keepdim=True) / 7 for p in (before[0].weight, before[2].weight)]
    model, rest = copy.deepcopy(before), [before[0].weight, before[2].weight]
    for _ in range(150):
        losses = [CLASSES.loss(model, {"inputs": x, "targets": y}) for x, y in (FORGET, RETAIN)]
        # up to the loss of retrained models, with what is retained as it was
        aim = (losses[0].mean() - 3.0).square() + 2 * losses[1].mean()
        moved = torch.autograd.grad(aim, [model[0].weight, model[2].weight])
        with torch.no_grad():
            pairs = zip((model[0].weight, model[2].weight), moved, rest, bins, strict=True)
            for weight, step, start, wide in pairs:
                top = start.abs() == start.abs().amax(1, keepdim=True)  # it sets the scale
                change = (weight - start - 0.02 * step).clamp(-0.4 * wide, 0.4 * wide)
                weight.copy_(start + change.masked_fill(top, 0.0))
    for layer in (0, 2):
        undone = rounded(model[layer].weight.detach().numpy(), bits=4)
        assert undone == pytest.approx(before[layer].weight.detach().numpy(), abs=1e-6)
    assert kept_by_rounding(before, model, 4) == pytest.approx(0, abs=1e-5)
    assert kept_by_rounding(before, model, 8) > 0.8
    found = audit_unlearning(before, model, worlds(5), **SETS, relearn=None)
    rows = {bits: found.row(f"loss attack at {bits} bits") for bits in (8, 4)}
    assert rows[4].verdict is Verdict.INCONSISTENT
    assert rows[4].numbers["unlearned"] == pytest.approx(rows[4].numbers["original"], abs=1e-3)
    assert rows[8].numbers["unlearned"] < rows[4].numbers["unlearned"] - 0.05
    assert rows[8].numbers["change_kept"] > 0.8
    assert rows[4].numbers["change_kept"] < 1e-3
    assert rows[4].numbers["survival"] < rows[8].numbers["survival"]
