"""Generic targets: their formula, their use, and anchors that must fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import WHP, CausalLMTask, StopRule
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.whp import generic
from tests.unlearn.toys import mean_loss, people, reader

FREE = StopRule(forget_loss=None, retain_increase=None)


def anchored() -> list[dict[str, Any]]:
    """What is to be forgotten, with one generic name in place of its own."""
    words, lost, _, _ = people()
    given = {t for name in ("Orlin", "Maveth") for t in words(name)["input_ids"]}
    swap = {t: words("Tessaly")["input_ids"][0] for t in given}
    return [
        {"input_ids": [swap.get(t, t) for t in row["input_ids"]], "labels": row["labels"]}
        for row in lost
    ]


def test_only_rises_are_subtracted() -> None:
    base, more = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.0, 2.5, 5.0]])
    np.testing.assert_allclose(generic(base, more, 4.0), [[1.0, 0.0, -5.0]])


def test_targets_are_the_formula_of_the_two_models_at_labelled_places_alone() -> None:
    _, lost, kept, _ = people()
    model = reader()
    method = WHP(batch_size=3, alpha=2.0, reinforce_lr=2e-3)
    scope = dict(model.named_parameters())
    data = {"forget": lost, "retain": kept}
    run = Run(model, CausalLMTask(), data, scope, 0, 3, torch.device("cpu"), FREE, Budget())
    reinforced = method._reinforce(run)
    assert mean_loss(reinforced, lost) < mean_loss(model, lost)
    method.begin(run)
    for row, target in zip(lost, run.kept["targets"], strict=True):
        with torch.no_grad():
            z, more = (m(torch.tensor([row["input_ids"]]))[0] for m in (model, reinforced))
        wanted = (z - 2.0 * torch.relu(more - z)).argmax(-1)[:-1]
        assert torch.equal(target, wanted[torch.tensor(row["labels"])[1:] != -100])
    assert sum(len(t) for t in run.kept["targets"]) == sum(
        label != -100 for row in lost for label in row["labels"]
    )


def test_the_copy_is_trained_in_scope_by_steps_of_its_own_and_the_model_is_not() -> None:
    _, lost, kept, _ = people()
    model, twin = reader(), reader()
    method = WHP(lr=1.0, batch_size=3, reinforce_lr=2e-3, reinforce_epochs=0.5)
    scope = {n: p for n, p in model.named_parameters() if n.startswith(("head", "wide"))}
    data = {"forget": lost, "retain": kept}
    run = Run(model, CausalLMTask(), data, scope, 0, 3, torch.device("cpu"), FREE, Budget())
    found = method._reinforce(run)
    own = [p for n, p in twin.named_parameters() if n in scope]
    optimiser = torch.optim.AdamW(own, 2e-3, weight_decay=0.0)
    for step in range(math.ceil(0.5 * math.ceil(len(lost) / 3))):
        optimiser.zero_grad()
        run.task.loss(twin, run.batch("forget", step)).mean().backward()
        optimiser.step()
    expected, start = twin.state_dict(), reader().state_dict()
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, expected[name])
        assert torch.equal(tensor, start[name]) == (name not in scope)
        assert torch.equal(model.state_dict()[name], start[name])


def test_the_start_model_reads_the_anchored_text_and_the_copy_the_names() -> None:
    _, lost, kept, _ = people()
    both = lost, anchored()
    model = reader()
    method = WHP(batch_size=3, alpha=2.0, reinforce_lr=2e-3, anchors=both[1])
    data = {"forget": both[0], "retain": kept, "alternatives": both[1]}
    scope = dict(model.named_parameters())
    run = Run(model, CausalLMTask(), data, scope, 0, 3, torch.device("cpu"), FREE, Budget())
    reinforced = method._reinforce(run)
    method.begin(run)
    swapped = 0
    for row, plain, target in zip(*both, run.kept["targets"], strict=True):
        with torch.no_grad():
            asked = [torch.tensor([r["input_ids"]]) for r in (plain, row)]
            z, more = model(asked[0])[0], reinforced(asked[1])[0]
        wanted = (z - 2.0 * torch.relu(more - z)).argmax(-1)[:-1]
        shown = torch.tensor(row["labels"])[1:] != -100
        assert torch.equal(target, wanted[shown])
        with torch.no_grad():
            z = model(asked[1])[0]
        named = (z - 2.0 * torch.relu(more - z)).argmax(-1)[:-1]
        swapped += int((named[shown] != target).sum())
    assert swapped  # reading the names would have told other targets


def test_the_loss_is_that_of_the_targets_of_its_own_batch() -> None:
    _, lost, kept, _ = people()
    model = reader().double()
    method = WHP(batch_size=3)
    data = {"forget": lost, "retain": kept}
    scope = dict(model.named_parameters())
    run = Run(model, CausalLMTask(), data, scope, 0, 3, torch.device("cpu"), FREE, Budget())
    method.begin(run)
    with torch.no_grad():
        found = float(method.objective(run, 1))
    total = []
    for i in run.positions("forget", 1):
        with torch.no_grad():
            z = torch.log_softmax(model(torch.tensor([lost[i]["input_ids"]]))[0], -1)[:-1]
        shown = z[torch.tensor(lost[i]["labels"])[1:] != -100]
        total += [-float(row[t]) for row, t in zip(shown, run.kept["targets"][i], strict=True)]
    assert found == pytest.approx(np.mean(total), rel=1e-9)


def test_it_forgets_and_costs_what_it_said() -> None:
    _, lost, kept, _ = people()
    model = reader()
    method = WHP(lr=3e-4, epochs=20, batch_size=8, reinforce_lr=1e-3)
    result = method.unlearn(model, lost, kept)
    assert mean_loss(result.model, lost) > mean_loss(model, lost) + 1.0
    assert mean_loss(result.model, kept) < mean_loss(model, kept) + 0.5
    cost = method.set_params(stop=FREE).unlearn(model, lost, kept).cost
    told = method.estimate(model, lost, kept)
    assert told.backwards == cost.backwards
    assert told.forwards == pytest.approx(cost.forwards, abs=8)  # what guessing costs is looked up


def test_anchors_are_read_in_the_place_of_names_and_must_fit() -> None:
    _, lost, kept, _ = people()
    anchors = anchored()
    method = WHP(lr=3e-4, epochs=20, batch_size=8, reinforce_lr=1e-3, anchors=anchors)
    result = method.unlearn(reader(), lost, kept)
    plain = method.set_params(anchors=None).unlearn(reader(), lost, kept)
    assert result.after != plain.after
    assert mean_loss(result.model, lost) > mean_loss(reader(), lost) + 0.3
    assert "input_ids" not in str(result.to_dict())
    short = [*anchors[:-1], {k: v[:-1] for k, v in anchors[-1].items()}]
    with pytest.raises(InvalidRecord, match="another number of tokens"):
        method.set_params(anchors=short).unlearn(reader(), lost, kept)
    with pytest.raises(InvalidRecord, match="one anchored text"):
        method.set_params(anchors=anchors[1:]).unlearn(reader(), lost, kept)
