"""A torch module and its optimiser as a state, and back.

Weights lie under ``weights/``, the moments of the optimiser under their own names, all float32 and
none without a dimension. The tensors of the head have one row a class: where a leaf has other
classes than the state that it starts from, its rows go by label. Knows nothing of training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.experts.expert import Label, State
from forgetnet.experts.modules import Factory, rows_by_class

__all__ = ["Carried", "load", "saved"]


def _group(state: State, group: str) -> dict[str, npt.NDArray[Any]]:
    prefix = f"{group}/"
    return {k.removeprefix(prefix): a for k, a in state.tensors.items() if k.startswith(prefix)}


def load(module: nn.Module, state: State) -> None:
    """Put a state's weights into a module.

    Raises:
        Unsupported: they are those of another module.
    """
    kept, own = _group(state, "weights"), module.state_dict()
    if any(n not in kept or kept[n].size != own[n].numel() for n in own) or len(kept) != len(own):
        raise Unsupported("the state is that of another module; give the expert that made it")
    fitting = {n: torch.from_numpy(kept[n].copy()).reshape(t.shape) for n, t in own.items()}
    module.load_state_dict(fitting)


def saved(
    module: nn.Module, optimiser: torch.optim.Optimizer | None
) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a state: the weights, and the moments of an optimiser to go on with."""
    found = {f"weights/{name}": t for name, t in module.state_dict().items()}
    if optimiser is not None:
        for name, weight in module.named_parameters():
            for key, moment in optimiser.state.get(weight, {}).items():
                found[f"{key}/{name}"] = moment
    return {name: np.atleast_1d(t.detach().numpy()).copy() for name, t in found.items()}


class Carried:
    """A state to start from, its rows put where the classes of this leaf have them.

    Args:
        source: a checkpoint, or a public head.
        classes: those of this leaf; rows of classes that the source doesn't have stay as drawn.
        factory: makes the module.
        dim: columns of its input.

    Raises:
        InvalidRecord: the source has another dimension.
        Unsupported: the head isn't one row a class.
    """

    def __init__(
        self, source: State, classes: tuple[Label, ...], factory: Factory, dim: int
    ) -> None:
        old = tuple(source.meta["classes"])
        outputs = int(source.meta["outputs"])
        if int(source.meta["dim"]) != dim:
            raise InvalidRecord(f"the state to start from has {source.meta['dim']} columns")
        self._source = source
        self._rows = frozenset() if old == classes else rows_by_class(factory, dim, outputs)
        self._into = [i for i, label in enumerate(classes) if label in old]
        self._from = [old.index(classes[i]) for i in self._into]

    def _put(self, name: str, kept: npt.NDArray[Any], fresh: torch.Tensor) -> torch.Tensor:
        stored = torch.from_numpy(kept.copy())
        if not fresh.dim():  # a state has no arrays of no dimension
            return stored.reshape(())
        if name not in self._rows:
            if stored.shape != fresh.shape:
                raise InvalidRecord(f"tensor {name} to start from is of another shape")
            return stored
        fresh = fresh.clone()
        fresh[self._into] = stored[self._from]
        return fresh

    def weights(self, module: nn.Module) -> None:
        """Put the weights into a module.

        Raises:
            InvalidRecord: one is of another shape.
        """
        kept, own = _group(self._source, "weights"), module.state_dict()
        if kept.keys() != own.keys():
            raise InvalidRecord("the state to start from is that of another module")
        module.load_state_dict({n: self._put(n, kept[n], fresh) for n, fresh in own.items()})

    def moments(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Put the moments into an optimiser; those of new rows start at 0."""
        for key in ("step", "exp_avg", "exp_avg_sq"):
            kept = _group(self._source, key)
            for name, weight in module.named_parameters():
                if name in kept:
                    zero = torch.zeros(() if key == "step" else weight.shape)
                    optimiser.state[weight][key] = self._put(name, kept[name], zero)
