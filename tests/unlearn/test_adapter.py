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
from forgetnet.unlearn import (
    CausalLMTask,
    GradientDifference,
    NegateAdapter,
    SaliencyMask,
    StopRule,
)
from forgetnet.unlearn.config import Budget
from forgetnet.unlearn.lowrank import attach
from forgetnet.unlearn.result import state_digest
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


def checkpointing(model: Any, reentrant: bool) -> None:
    newer = hasattr(model, "activation_checkpointing_enable")  # its name since transformers 5
    switch = "activation_checkpointing_enable" if newer else "gradient_checkpointing_enable"
    getattr(model, switch)({"use_reentrant": reentrant})


def with_lora(**settings: Any) -> tuple[Any, Any]:
    """A model with peft's adapters on it, and the same one as peft sees it."""
    model = gpt(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    names = ["c_attn", "c_proj", "c_fc"]
    config = peft.LoraConfig(r=4, target_modules=names, fan_in_fan_out=True, **settings)
    return model, peft.get_peft_model(model, config)


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


def test_what_was_learnt_is_subtracted_strength_times() -> None:
    _, lost, kept, _ = people()
    model, moved = reader(), {}
    stop = StopRule(forget_loss=None, retain_increase=None)
    for strength in (1.0, 3.0):
        method = NegateAdapter(lr=5e-3, epochs=2, strength=strength, stop=stop)
        result = method.unlearn(model, lost, kept)
        after, before = result.model.state_dict(), model.state_dict()
        moved[strength] = {c.name: after[c.name] - before[c.name] for c in result.changed}
        assert result.history[-1].forget == pytest.approx(mean_loss(result.model, lost), rel=1e-4)
    for name, step in moved[1.0].items():
        torch.testing.assert_close(moved[3.0][name], 3.0 * step, rtol=1e-3, atol=1e-6)
    again = method.set_params(seed=1).unlearn(model, lost, kept)
    assert again.after != result.after  # the seed says where adapters begin


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
    checkpointing(saving, reentrant)
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


LORA = GradientDifference(
    lr=1e-2, epochs=2.0, batch_size=8, params=(r".*lora_.*",), mode="train", stop=FREE
)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")  # by peft
@pytest.mark.parametrize("reentrant", [True, False])
def test_adapters_of_peft_change_under_gradient_checkpointing(reentrant: bool) -> None:
    _, lost, kept, _ = people()
    results = []
    for saves in (False, True):
        inner, model = with_lora()
        if saves:
            checkpointing(inner, reentrant)
        results.append(LORA.unlearn(model, lost, kept))
    for result in results:
        assert len(result.changed) == 2 * 8  # A and B beside four Conv1D in each of two blocks
        assert all(change.norm > 0.0 for change in result.changed)
        assert mean_loss(result.model, lost) > result.history[0].forget + 0.1  # looked at
    for name, tensor in results[0].model.state_dict().items():
        other = results[1].model.state_dict()[name]
        torch.testing.assert_close(tensor, other, atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
@pytest.mark.parametrize("masked", [False, True])
def test_adapters_of_peft_that_checkpointing_cuts_off_are_told_of(masked: bool) -> None:
    _, lost, kept, _ = people()
    inner, model = with_lora()
    checkpointing(inner, reentrant=True)
    inner.disable_input_require_grads()  # as older versions leave it
    before = state_digest(model)
    method: Any = LORA
    if masked:
        method = SaliencyMask(inner=LORA.set_params(params=(".*",)), params=LORA.params)
    with pytest.raises(Unsupported, match="enable_input_require_grads"):
        method.unlearn(model, lost, kept, inplace=True)
    assert state_digest(model) == before
    inner.enable_input_require_grads()  # what it says helps
    assert all(change.norm > 0.0 for change in LORA.unlearn(model, lost, kept).changed)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_a_block_that_is_cut_off_is_told_of_though_the_head_learns() -> None:
    torch.manual_seed(0)
    data = torch.randn(6, 4), torch.arange(6) % 3
    model = Blocks()
    with pytest.raises(Unsupported, match=r"2 parameters got no gradient, block\.0\.weight"):
        GradientDifference().unlearn(model, data, data)
    assert not any(m._forward_pre_hooks for m in model.modules())
    result = GradientDifference(params=("head.*",)).unlearn(model, data, data)
    assert {change.name for change in result.changed} == {"head.weight", "head.bias"}


def test_what_runs_under_gradients_and_is_not_asked_may_stay_as_it_is() -> None:
    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head, self.pooled, self.never = (nn.Linear(4, 3) for _ in range(3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.pooled(x)
            found: torch.Tensor = self.head(x)
            return found

    torch.manual_seed(0)
    data = torch.randn(6, 4), torch.arange(6) % 3
    changed = GradientDifference().unlearn(Aside(), data, data).changed
    assert {c.name for c in changed if c.norm > 0.0} == {"head.weight", "head.bias"}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")
def test_adapters_of_peft_that_are_frozen_are_refused() -> None:
    _, lost, kept, _ = people()
    _, model = with_lora(inference_mode=True)
    with pytest.raises(InvalidRecord, match=r"requires_grad_\(True\)"):
        LORA.unlearn(model, lost, kept)
    _, model = with_lora()
    with pytest.raises(InvalidRecord, match=r"matches no trainable parameter.*lora_A"):
        LORA.set_params(params=(r".*c_attn\.base_layer.*",)).unlearn(model, lost, kept)


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
