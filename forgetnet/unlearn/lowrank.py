"""Low-rank adapters beside linear layers, put on and taken off without a trace.

They hang on forward hooks: no module is replaced, no parameter renamed. y becomes
y + sign (alpha / r) B A x (Hu et al. 2021, eq. 3). Knows nothing of unlearning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from forgetnet.errors import InvalidRecord, Unsupported

__all__ = ["Adapter", "attach"]


def _is_linear(module: nn.Module) -> bool:
    # transformers' Conv1D is a linear layer whose weight is transposed.
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


@dataclass
class Adapter:
    """Adapters of some weights of one model.

    Attributes:
        scale: alpha / r.
        sign: what the model is while it is used: 1 adds the adapters, -1 subtracts them.
        down, up: A (r, in) and B (out, r) by the name of the weight.
        used: weights whose layers ran since this was cleared.
    """

    scale: float
    sign: float = 1.0
    down: dict[str, Tensor] = field(default_factory=dict)
    up: dict[str, Tensor] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    handles: list[RemovableHandle] = field(default_factory=list, repr=False)

    def parameters(self) -> dict[str, nn.Parameter]:
        """Return all A and B by names of their own."""
        both = {"lora_A": self.down, "lora_B": self.up}
        return {
            f"{name}.{part}": tensor
            for part, tensors in both.items()
            for name, tensor in tensors.items()
            if isinstance(tensor, nn.Parameter)
        }

    def remove(self) -> None:
        """Take the hooks off; the model is what it was."""
        while self.handles:
            self.handles.pop().remove()

    def delta(self, name: str) -> Tensor:
        """Return (alpha / r) B A, (out, in), of a weight."""
        return self.scale * (self.up[name].detach() @ self.down[name].detach())

    def merge(self, weights: Mapping[str, Tensor], times: float) -> None:
        """Add the adapters to weights for good, ``times`` over; a Conv1D's are transposed."""
        with torch.no_grad():
            for name, weight in weights.items():
                if name in self.up:
                    delta = self.delta(name)
                    weight += times * (delta if weight.shape == delta.shape else delta.T)

    def assert_trained(self) -> None:
        """Refuse to go on where a layer ran and its adapter got no gradient.

        Raises:
            Unsupported: it didn't; gradient checkpointing is why, as a rule.
        """
        silent = sorted(name for name in self.used if self.up[name].grad is None)
        if silent:
            raise Unsupported(
                f"the adapters of {len(silent)} layers got no gradient, {silent[0]} first: "
                "something cuts the graph before them. Reentrant gradient checkpointing does so "
                "where no input of a block wants gradients; use use_reentrant=False, or switch it "
                "off"
            )


def attach(
    model: nn.Module, weights: Mapping[str, Tensor], rank: int, alpha: float, draw: torch.Generator
) -> Adapter:
    """Put adapters on the linear layers whose weights are named; B is 0, so nothing changes yet.

    The outputs of embeddings want gradients while they are on, without which checkpointed blocks
    would train nothing.

    Args:
        model: whose layers.
        weights: weights that may change, by name; other tensors are passed over.
        rank: r.
        alpha: the numerator of the scale.
        draw: of A, which is uniform within 1 / sqrt(in).

    Raises:
        InvalidRecord: none of them is a linear layer's.
    """
    made = Adapter(alpha / rank)
    for path, module in model.named_modules():
        name = f"{path}.weight" if path else "weight"
        if isinstance(module, nn.Embedding):
            made.handles.append(module.register_forward_hook(_wanting))
        if not _is_linear(module) or weights.get(name) is not module.weight:
            continue
        weight: Any = module.weight
        out, inside = weight.shape if isinstance(module, nn.Linear) else weight.T.shape
        down = (2.0 * torch.rand(rank, inside, generator=draw) - 1.0) / inside**0.5
        made.down[name] = nn.Parameter(down.to(weight))
        made.up[name] = nn.Parameter(torch.zeros(out, rank).to(weight))
        made.handles.append(module.register_forward_hook(_beside(made, name)))
    if not made.up:
        made.remove()
        raise InvalidRecord("params= names no weight of a linear layer, where an adapter could be")
    return made


def _wanting(_module: nn.Module, _args: Any, out: Tensor) -> None:
    if torch.is_grad_enabled() and out.is_leaf and not out.requires_grad:
        out.requires_grad_(True)


def _beside(adapter: Adapter, name: str) -> Any:
    down, up = adapter.down[name], adapter.up[name]

    def hook(_module: nn.Module, args: tuple[Tensor, ...], out: Tensor) -> Tensor:
        adapter.used.add(name)
        return out + adapter.sign * adapter.scale * (args[0] @ down.T) @ up.T

    return hook
