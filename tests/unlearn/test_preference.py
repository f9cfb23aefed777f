"""NPO, SimNPO, DPO and refusals: their losses by hand, their masks, and that they work."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import (
    DPO,
    NPO,
    CausalLMTask,
    ClassificationTask,
    IdkFineTune,
    SimNPO,
    StopRule,
)
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.run import Run
from tests.unlearn.toys import Reader, by_hand, mean_loss, people, reader

FREE = StopRule(forget_loss=None, retain_increase=None)


def run_of(model: nn.Module, unlearner: Any, **data: Any) -> Run:
    scope = dict(model.named_parameters())
    size = unlearner.batch_size
    cpu = torch.device("cpu")
    task = CausalLMTask()
    return Run(model, task, data, scope, unlearner.seed, size, cpu, FREE, Budget())


def moved(model: Reader) -> Reader:
    """Another model than the start."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    return model


def sums(model: nn.Module, rows: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    logs = [by_hand(model, row) for row in rows]
    return -np.array([sum(log) for log in logs]), np.array([len(log) for log in logs])


def softplus(x: np.ndarray) -> np.ndarray:
    return np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0)


def compare(unlearner: Any, expected: Any, **others: Any) -> None:
    _, lost, kept, _ = people()
    start, model = reader().double(), reader().double()
    run = run_of(model, unlearner, forget=lost, retain=kept, **others)
    unlearner.begin(run)
    moved(model)
    for step in range(3):
        with torch.no_grad():
            found = float(unlearner.objective(run, step))
        assert found == pytest.approx(expected(run, start, model, step), rel=1e-6)


def retained(run: Run, model: nn.Module, step: int) -> float:
    rows = [run.data["retain"][i] for i in run.positions("retain", step)]
    nll, count = sums(model, rows)
    return float((nll / count).mean())


@pytest.mark.parametrize("normalise", [False, True])
def test_npo_is_its_formula(normalise: bool) -> None:
    method = NPO(beta=0.3, batch_size=3, length_normalise=normalise, retain_weight=0.7)

    def expected(run: Run, start: nn.Module, model: nn.Module, step: int) -> float:
        rows = [run.data["forget"][i] for i in run.positions("forget", step)]
        (now, count), (then, _) = sums(model, rows), sums(start, rows)
        excess = (now - then) / count if normalise else now - then
        return 2 / 0.3 * softplus(-0.3 * excess).mean() + 0.7 * retained(run, model, step)

    compare(method, expected)


def test_simnpo_is_its_formula() -> None:
    method = SimNPO(beta=2.5, margin=0.4, batch_size=3)

    def expected(run: Run, start: nn.Module, model: nn.Module, step: int) -> float:
        nll, count = sums(model, [run.data["forget"][i] for i in run.positions("forget", step)])
        lost = 2 / 2.5 * softplus(-(2.5 * nll / count - 0.4)).mean()
        return 0.125 * lost + retained(run, model, step)

    compare(method, expected)


def test_dpo_is_its_formula() -> None:
    idk = people()[3]
    method = DPO(beta=0.2, batch_size=3, alternatives=idk)

    def expected(run: Run, start: nn.Module, model: nn.Module, step: int) -> float:
        where = run.positions("forget", step)
        old, new = ([rows[i] for i in where] for rows in (run.data["forget"], idk))
        win = sums(start, new)[0] - sums(model, new)[0]
        lose = sums(start, old)[0] - sums(model, old)[0]
        return 2 / 0.2 * softplus(-0.2 * (win - lose)).mean() + retained(run, model, step)

    compare(method, expected, alternatives=idk)


def test_refusals_are_learnt_in_the_place_of_their_own_answers() -> None:
    idk = people()[3]
    method = IdkFineTune(batch_size=3, alternatives=idk)

    def expected(run: Run, start: nn.Module, model: nn.Module, step: int) -> float:
        rows = [idk[i] for i in run.positions("forget", step)]
        nll, count = sums(model, rows)
        return float((nll / count).mean()) + retained(run, model, step)

    compare(method, expected, alternatives=idk)


def test_pairs_stay_together_in_every_shuffle() -> None:
    _, lost, kept, idk = people()
    method = DPO(batch_size=3, alternatives=idk)
    run = run_of(reader(), method, forget=lost, retain=kept, alternatives=idk)
    seen = set()
    for step in range(9):
        where = run.positions("forget", step)
        seen.add(tuple(where))
        for i, old, new in zip(
            where,
            *(run.take(s, where)["input_ids"] for s in ("forget", "alternatives")),
            strict=True,
        ):
            prompt = sum(label == -100 for label in lost[i]["labels"])
            assert torch.equal(old[:prompt], new[:prompt])
    assert len(seen) > 3  # there was a shuffle


@pytest.mark.parametrize("kind", ["npo", "simnpo", "dpo", "idk"])
def test_it_forgets_what_it_should_and_keeps_the_rest(kind: str) -> None:
    _, lost, kept, idk = people()
    made = {
        "npo": NPO(lr=2e-3, epochs=30, batch_size=8),
        "simnpo": SimNPO(lr=2e-3, epochs=40, forget_weight=1.0, batch_size=8),
        "dpo": DPO(lr=2e-3, epochs=30, batch_size=8, alternatives=idk),
        "idk": IdkFineTune(lr=2e-3, epochs=30, batch_size=8, alternatives=idk),
    }[kind]
    model = reader()
    result = made.unlearn(model, lost, kept)
    assert mean_loss(result.model, lost) > mean_loss(model, lost) + 1.0
    assert mean_loss(result.model, kept) < mean_loss(model, kept) + 0.5
    if kind in {"dpo", "idk"}:
        assert mean_loss(result.model, idk) < 0.5 * mean_loss(model, idk)
    cost = made.estimate(model, lost, kept)
    if result.stopped == "done":
        assert (cost.steps, cost.backwards) == (result.cost.steps, result.cost.backwards)
        assert cost.forwards == pytest.approx(result.cost.forwards, abs=8)
    assert "input_ids" not in str(result.to_dict())


def test_neither_prompt_nor_padding_counts() -> None:
    lost = people()[1]
    long = max(range(8), key=lambda i: len(lost[i]["input_ids"]))
    short = min(range(8), key=lambda i: len(lost[i]["input_ids"]))
    model, task, cpu = reader(), CausalLMTask(), torch.device("cpu")
    alone = task.nll(model, task.batch(lost, [short], cpu))[0]
    together = task.nll(model, task.batch(lost, [short, long], cpu))[0][:1]
    torch.testing.assert_close(alone, together, atol=1e-5, rtol=1e-6)
    other = CausalLMTask(pad=7)  # what pads makes no difference
    padded = other.nll(model, other.batch(lost, [short, long], cpu))[0][:1]
    torch.testing.assert_close(together, padded, atol=1e-6, rtol=1e-6)
    # no gradient reaches the output at a position that predicts prompt or padding
    batch = task.batch(lost, [short, long], cpu)
    caught: list[torch.Tensor] = []
    handle = model.head.register_forward_hook(
        lambda _m, _a, out: (out.retain_grad(), caught.append(out))[1]
    )
    task.nll(model, batch)[0].sum().backward()
    handle.remove()
    silent = torch.cat([batch["labels"][:, 1:] == -100, torch.ones(2, 1, dtype=torch.bool)], dim=1)
    gradient = caught[0].grad
    assert gradient is not None
    assert not gradient[silent].any()
    assert gradient[~silent].abs().sum(dim=-1).min() > 0


def test_a_classifier_forgets_by_the_same_formula() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(60, 8), torch.arange(60) % 3
    model = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 3))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(200):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimiser.step()
    lost, kept = (x[:10], y[:10]), (x[10:], y[10:])
    task = ClassificationTask()
    for method in (NPO(lr=1e-2, epochs=40), SimNPO(lr=1e-2, epochs=40, forget_weight=1.0)):
        found = method.unlearn(model, lost, kept).model
        assert mean_loss(found, lost, task) > 1.0
        assert mean_loss(found, kept, task) < 0.3


def test_a_run_that_was_cut_goes_on_to_the_same_bits(tmp_path: Any) -> None:
    _, lost, kept, idk = people()
    method = DPO(lr=1e-3, epochs=12, batch_size=4, alternatives=idk)
    whole = method.unlearn(reader(), lost, kept)

    class Cut(RuntimeError):
        pass

    def cut(look: Any, _model: nn.Module) -> None:
        if look.step >= 8:
            raise Cut

    with pytest.raises(Cut):
        method.unlearn(reader(), lost, kept, checkpoint=tmp_path, callbacks=[cut])
    resumed = method.unlearn(reader(), lost, kept, checkpoint=tmp_path, resume=True)
    assert resumed.after == whole.after != whole.before


def test_what_is_missing_is_told_before_anything_is_done() -> None:
    _, lost, kept, idk = people()
    with pytest.raises(InvalidRecord, match="needs alternatives="):
        IdkFineTune().unlearn(reader(), lost, kept)
    with pytest.raises(InvalidRecord, match="7 alternatives came for 8"):
        DPO(alternatives=idk[1:]).estimate(reader(), lost, kept)
    with pytest.raises(InvalidRecord, match="needs retain="):
        NPO().unlearn(reader(), lost)
    with pytest.raises(InvalidRecord, match="beta="):
        NPO(beta=0.0)


def test_a_hugging_face_model_and_a_plain_one_agree() -> None:
    words, lost, kept, idk = people()
    torch.manual_seed(0)
    config = transformers.GPT2Config(
        vocab_size=len(words), n_positions=64, n_embd=64, n_layer=2, n_head=2
    )
    named = transformers.GPT2LMHeadModel(config).eval()

    class Bare(nn.Module):
        """The same, without a word on padding: right padding is behind all that counts."""

        def __init__(self) -> None:
            super().__init__()
            self.inside = copy.deepcopy(named)

        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.inside(input_ids=ids).logits
            return logits

    for method in (NPO(lr=1e-3, epochs=2), DPO(lr=1e-3, epochs=2, alternatives=idk)):
        loud, bare = (method.set_params(stop=FREE).unlearn(m, lost, kept) for m in (named, Bare()))
        assert mean_loss(loud.model, lost) == pytest.approx(mean_loss(bare.model, lost), abs=1e-4)
        assert loud.after != loud.before
