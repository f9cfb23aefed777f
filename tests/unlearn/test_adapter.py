"""Adapters: really trained, really subtracted, gone afterwards; the same as peft's."""

from __future__ import annotations

import copy
from typing import Any

import peft
import pytest
import torch
import transformers
from torch import nn
from torch.utils.checkpoint import checkpoint

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.unlearn import CausalLMTask, NegateAdapter, StopRule
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.lowrank import attach
from forgetnet.unlearn.run import Run
from tests.unlearn.toys import mean_loss, people, reader

FREE = StopRule(forget_loss=None, retain_increase=None)


def draw() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def hooks_of(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) for module in model.modules())


def gpt(**settings: Any) -> Any:
    words = people()[0]
    torch.manual_seed(0)
    sizes = {"vocab_size": len(words), "n_positions": 64, "n_embd": 64, "n_layer": 2, "n_head": 2}
    return transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes, **settings)).eval()


def test_an_adapter_adds_its_product_and_merging_it_is_the_same() -> None:
    torch.manual_seed(0)
    model, x = (
        nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)).double(),
        torch.randn(4, 6),
    )
    weights = dict(model.named_parameters())
    before = model(x.double())
    adapter = attach(model, weights, 3, 6.0, draw())
    torch.testing.assert_close(model(x.double()), before)  # B begins at zero
    assert sorted(adapter.parameters()) == [
        f"{name}.lora_{part}" for name in ("0.weight", "2.weight") for part in "AB"
    ]
    with torch.no_grad():
        for up in adapter.up.values():
            up += torch.randn(up.shape).double()
    adapter.sign = -0.5
    worn = model(x.double())
    expected = copy.deepcopy(model)
    for number in (0, 2):
        name = f"{number}.weight"
        expected[number].weight.data -= 0.5 * 2.0 * adapter.up[name] @ adapter.down[name]
        expected[number]._forward_hooks.clear()
    torch.testing.assert_close(worn, expected(x.double()))
    adapter.remove()
    torch.testing.assert_close(model(x.double()), before)
    adapter.merge(weights, -0.5)
    torch.testing.assert_close(model(x.double()), worn)
    assert hooks_of(model) == 0


def test_it_forgets_and_leaves_no_trace_of_adapters() -> None:
    _, lost, kept, _ = people()
    model = reader()
    method = NegateAdapter(lr=5e-3, epochs=40, rank=4, batch_size=8, strength=1.0)
    result = method.unlearn(model, lost, kept)
    assert mean_loss(result.model, lost) > mean_loss(model, lost) + 0.5
    assert hooks_of(result.model) == hooks_of(model) == 0
    assert list(result.model.state_dict()) == list(model.state_dict())
    assert {change.name for change in result.changed} == {
        f"{name}.weight" for name in ("query", "mixed", "wide", "narrow", "head")
    }
    for change in result.changed:
        moved = result.model.state_dict()[change.name] - model.state_dict()[change.name]
        assert 1 <= int(torch.linalg.matrix_rank(moved, rtol=1e-4)) <= 4
    assert all(p.requires_grad for p in result.model.parameters())
    result.rollback()
    assert result.after == result.before


def test_looks_see_the_model_that_is_given_back() -> None:
    _, lost, kept, _ = people()
    stop = StopRule(forget_loss=None, retain_increase=None, every=2)
    method = NegateAdapter(lr=5e-3, epochs=6, stop=stop)
    seen: list[float] = []
    result = method.unlearn(
        reader(), lost, kept, callbacks=[lambda look, _m: seen.append(look.forget)]
    )
    assert seen[-1] == pytest.approx(mean_loss(result.model, lost), rel=1e-4)
    assert seen[-1] > seen[0]
    assert result.history[-1].objective < result.history[1].objective  # what was learnt, was


def test_a_run_that_was_cut_goes_on_to_the_same_bits(tmp_path: Any) -> None:
    _, lost, kept, _ = people()
    method = NegateAdapter(lr=1e-3, epochs=12, batch_size=4)
    whole = method.unlearn(reader(), lost, kept)

    class Cut(RuntimeError):
        pass

    def cut(look: Any, _model: nn.Module) -> None:
        if look.step >= 8:
            raise Cut

    model = reader()
    with pytest.raises(Cut):
        method.unlearn(model, lost, kept, checkpoint=tmp_path, callbacks=[cut], inplace=True)
    assert hooks_of(model) == 0
    own, old = model.state_dict(), reader().state_dict()
    assert all(torch.equal(own[name], old[name]) for name in old)
    resumed = method.unlearn(reader(), lost, kept, checkpoint=tmp_path, resume=True)
    assert resumed.after == whole.after != whole.before


@pytest.mark.parametrize("reentrant", [True, False])
def test_adapters_are_trained_under_gradient_checkpointing(reentrant: bool) -> None:
    _, lost, kept, _ = people()
    plain = gpt(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    saving = copy.deepcopy(plain)
    newer = hasattr(saving, "activation_checkpointing_enable")  # its name since transformers 5
    switch = "activation_checkpointing_enable" if newer else "gradient_checkpointing_enable"
    getattr(saving, switch)({"use_reentrant": reentrant})
    saving.disable_input_require_grads()  # older versions don't see to it
    method = NegateAdapter(lr=1e-2, epochs=2, batch_size=8, stop=FREE, mode="train")
    results = [method.unlearn(model, lost, kept) for model in (plain, saving)]
    for result in results:
        assert len(result.changed) == 8  # four Conv1D in each of two blocks
        assert all(change.relative > 1e-3 for change in result.changed)
    for name, tensor in results[0].model.state_dict().items():
        torch.testing.assert_close(
            tensor, results[1].model.state_dict()[name], atol=1e-4, rtol=1e-3
        )


class Blocks(nn.Module):
    """Checkpoints a block whose input wants no gradient, which is where adapters are lost."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h: torch.Tensor = checkpoint(self.block, x, use_reentrant=True)
        return self.head(h)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_adapters_that_get_no_gradient_are_told_of() -> None:
    torch.manual_seed(0)
    data = torch.randn(6, 4), torch.arange(6) % 3
    model = Blocks()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(Unsupported, match=r"block\.0\.weight.*checkpointing"):
        NegateAdapter().unlearn(model, data, data, inplace=True)
    assert hooks_of(model) == 0
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_weights_without_a_linear_layer_are_refused() -> None:
    _, lost, kept, _ = people()
    with pytest.raises(InvalidRecord, match="no weight of a linear layer"):
        NegateAdapter(params=("embed.*",)).unlearn(reader(), lost, kept)


def test_it_trains_as_peft_does() -> None:
    _, lost, kept, _ = people()
    method = NegateAdapter(lr=1e-2, epochs=6, rank=4, alpha=8.0, batch_size=4, grad_clip=None)
    result = method.set_params(stop=FREE).unlearn(reader(), lost, kept)
    model, task = reader(), CausalLMTask()
    scope = dict(model.named_parameters())
    data, cpu = {"forget": lost}, torch.device("cpu")
    run = Run(model, task, data, scope, method.seed, 4, cpu, FREE, Budget())
    mine = attach(model, scope, 4, 8.0, run.generator("adapter", 0))
    mine.remove()
    layers = [name.removesuffix(".weight") for name in mine.up]
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules=layers)
    theirs = peft.inject_adapter_in_model(config, reader())
    for name in layers:
        layer = theirs.get_submodule(name)
        layer.lora_A["default"].weight.data.copy_(mine.down[f"{name}.weight"])
    weights = [p for p in theirs.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, 1e-2, weight_decay=0.0)
    for step in range(12):
        optimiser.zero_grad()
        task.loss(theirs, run.batch("forget", step)).mean().backward()
        optimiser.step()
    for name in layers:
        delta = theirs.get_submodule(name).get_delta_weight("default")
        moved = scope[f"{name}.weight"] - result.model.state_dict()[f"{name}.weight"]
        torch.testing.assert_close(moved.detach(), delta.detach(), atol=2e-5, rtol=1e-3)
