"""Torch modules for experts: where one comes from, and whether its bits can be repeated.

Knows nothing of records, training or states.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
from collections.abc import Callable

import torch
from torch import nn

from forgetnet.errors import Unsupported
from forgetnet.experts.pinned import drawn, mix

__all__ = ["Factory", "build", "factory_name", "factory_source", "mlp", "resolve", "rows_by_class"]

Factory = Callable[[int, int], nn.Module]
"""Makes a module of (n, dim) float32 vectors to (n, outputs) logits or numbers."""


def mlp(dim: int, outputs: int, hidden: int = 128, dropout: float = 0.0) -> nn.Module:
    """Make a head of one hidden layer; LayerNorm, since it shares nothing between records."""
    return nn.Sequential(
        nn.LayerNorm(dim),
        nn.Linear(dim, hidden),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(hidden, outputs),
    )


def factory_name(factory: Factory | str) -> str:
    """Return the import name of a factory, ``package.module:function``.

    Raises:
        Unsupported: it has no name at the top of a module, so two of them would look alike.
    """
    if isinstance(factory, str):
        return factory
    name = getattr(factory, "__qualname__", "")
    if not name or "<" in name:
        raise Unsupported(
            "a module factory needs a name at the top of a module, by which a saved model finds "
            "it; give a function or class of your own, or 'package.module:function'"
        )
    return f"{factory.__module__}:{name}"


def resolve(factory: Factory | str) -> Factory:
    """Return the factory itself, imported where it was given by name.

    Raises:
        Unsupported: there is no such function.
    """
    if not isinstance(factory, str):
        return factory
    home, _, name = factory.partition(":")
    try:
        found: Factory = getattr(importlib.import_module(home), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise Unsupported(
            f"no module factory can be imported as {factory!r}; give 'package.module:function'"
        ) from error
    return found


def factory_source(factory: Factory | str) -> str:
    """Hash the source of a factory, so that a changed one isn't taken for the old; else ''."""
    try:
        text = inspect.getsource(resolve(factory))
    except (OSError, TypeError):
        return ""
    return hashlib.sha256(text.encode()).hexdigest()


def _make(factory: Factory, dim: int, outputs: int, seed: int) -> nn.Module:
    usual = torch.get_default_dtype()
    with drawn(mix(seed, "weights")), torch.device("cpu"):
        torch.set_default_dtype(torch.float32)
        try:
            module = factory(dim, outputs).to("cpu", torch.float32)
        finally:
            torch.set_default_dtype(usual)
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):  # noqa: SLF001 - parent of all kinds
            raise Unsupported(
                "batch normalisation mixes the records of a batch and can't learn from a leaf of "
                "one; use LayerNorm or GroupNorm"
            )
    return module


def build(
    factory: Factory, dim: int, outputs: int, seed: int, probe: torch.Tensor | None = None
) -> nn.Module:
    """Make a module from a seed, and leave the global generator as it was.

    Args:
        factory: makes it.
        dim: columns of its input.
        outputs: columns of its output.
        seed: of the leaf.
        probe: (n, dim) vectors; given, two twins are tried on them first.

    Raises:
        Unsupported: it holds a batch normalisation, maps to another shape, or twins of it differ,
            so that it draws from elsewhere than torch's generator.
    """
    if probe is not None:
        one, other = (_trial(factory, outputs, seed, probe) for _ in range(2))
        if [t.shape for t in one] != [t.shape for t in other] or not all(
            torch.equal(a, b) for a, b in zip(one, other, strict=True)
        ):
            raise Unsupported(
                "two modules of this factory differ though they started from one seed; let it "
                "draw from torch's generator only, never from numpy, random or the clock"
            )
    return _make(factory, dim, outputs, seed)


def _trial(factory: Factory, outputs: int, seed: int, probe: torch.Tensor) -> list[torch.Tensor]:
    module = _make(factory, probe.shape[1], outputs, seed).train()
    with drawn(mix(seed, "probe")):
        answer = module(probe)
    if answer.shape != (len(probe), outputs):
        raise Unsupported(
            f"the module maps {tuple(probe.shape)} to {tuple(answer.shape)}, "
            f"not to {(len(probe), outputs)}; correct its factory"
        )
    return [answer.detach(), *module.state_dict().values()]


def rows_by_class(factory: Factory, dim: int, outputs: int) -> frozenset[str]:
    """Name the tensors of a module that have one row a class: the head.

    Raises:
        Unsupported: a tensor depends on the number of classes in another way.
    """
    few, more = (_make(factory, dim, n, 0).state_dict() for n in (outputs, outputs + 1))
    rows = {name for name in few if few[name].shape != more[name].shape}
    for name in rows:
        if more[name].shape != (outputs + 1, *few[name].shape[1:]) or len(few[name]) != outputs:
            raise Unsupported(
                f"tensor {name} of this module isn't one row a class, so it can't follow the "
                "classes of a leaf; train without slices and without a public head"
            )
    return frozenset(rows)
