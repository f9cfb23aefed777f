"""Whether gradients reach what is to change; what they don't reach is told of, not passed over.

Checkpointed blocks none of whose inputs wants gradients train nothing, and torch only warns of it.
Knows nothing of methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from forgetnet.errors import Unsupported

__all__ = ["backward", "reached"]

_WHY = (
    "something cuts the graph. Reentrant gradient checkpointing does so where no input of a block "
    "wants gradients: pass use_reentrant=False, call model.enable_input_require_grads(), or switch "
    "it off; what can't change otherwise, leave out of params="
)


def backward(loss: Tensor) -> None:
    """Go back from a loss to the parameters.

    Raises:
        Unsupported: it depends on none that wants gradients.
    """
    if not loss.requires_grad:
        raise Unsupported(f"no gradient reaches what may change: {_WHY}")
    loss.backward()  # type: ignore[no-untyped-call] # torch leaves it without annotations


@contextmanager
def reached(model: nn.Module, scope: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Watch one pass forth and back; refuse if a module only ran blind and got no gradient.

    A module that ran under gradients, yet isn't what the loss depends on, is nobody's mistake.

    Args:
        model: whose modules.
        scope: parameters that may change, by name.

    Raises:
        Unsupported: a parameter's module ran, and never under gradients.
    """
    ran: dict[str, bool] = {}

    def note(owner: str) -> Any:
        def hook(_module: nn.Module, _args: Any) -> None:
            ran[owner] = ran.get(owner, False) or torch.is_grad_enabled()

        return hook

    modules = dict(model.named_modules())
    owners = {_owner(name) for name in scope} & set(modules)
    handles = [modules[name].register_forward_pre_hook(note(name)) for name in sorted(owners)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    silent = [n for n, p in scope.items() if p.grad is None and not ran.get(_owner(n), True)]
    if silent:
        raise Unsupported(f"{len(silent)} parameters got no gradient, {silent[0]} first: {_WHY}")


def _owner(name: str) -> str:
    return name.rpartition(".")[0]
