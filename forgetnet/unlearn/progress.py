"""Where a run stands, in a folder: weights in scope, moments of the optimiser, looks and cost.

Written durably at each look, so that a run that was cut short goes on to the same bits. Knows
nothing of methods.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.files import shred
from forgetnet.unlearn.config import Cost
from forgetnet.unlearn.result import Step
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.whole import read_whole, write_whole

__all__ = ["Checkpoint"]

_FILE = "checkpoint.safetensors"


class Checkpoint:
    """The folder of one run; None keeps nothing.

    Args:
        folder: made where it isn't there.
        identity: what a run must have in common with the one before: method, settings, start.
    """

    def __init__(self, folder: str | Path | None, identity: Mapping[str, Any]) -> None:
        self._folder = None if folder is None else Path(folder)
        self._identity = json.loads(json.dumps(dict(identity)))

    def save(self, run: Run, optimiser: torch.optim.Optimizer, step: int) -> None:
        """Write where the run stands.

        Raises:
            StoreError: the folder can't be written.
        """
        if self._folder is None:
            return
        tensors: dict[str, Tensor] = {}
        for name, tensor in run.moving().items():
            tensors[f"weights/{name}"] = tensor
        for name, tensor in run.carried.items():
            tensors[f"carried/{name}"] = tensor
        for name, parameter in run.scope.items():
            for key, moment in optimiser.state.get(parameter, {}).items():
                if moment is not None:
                    tensors[f"{key}/{name}"] = torch.as_tensor(moment)
        record = json.dumps(
            {
                "identity": self._identity,
                "step": step,
                "cost": run.cost.to_plain(),
                "history": [asdict(look) for look in run.history],
            }
        )
        # One file, so that a crash leaves this look or the one before.
        write_whole(self._folder / _FILE, tensors, record)

    def load(self, run: Run, optimiser: torch.optim.Optimizer) -> int:
        """Put the run where it stood, and return its step; 0 where nothing was written.

        Raises:
            InvalidRecord: the folder is that of another run.
            StoreCorrupt: it can't be read, or isn't what was written.
        """
        if self._folder is None or not (self._folder / _FILE).exists():
            return 0
        tensors, told = read_whole(self._folder / _FILE)
        record = json.loads(told)
        if record["identity"] != self._identity:
            raise InvalidRecord(
                f"{self._folder} is of another run (method, settings, model or data differ); name "
                "another folder, or give what that run was given"
            )
        run.put_back({name: tensors[f"weights/{name}"] for name in run.moving()})
        learnt = {n.removeprefix("carried/"): t for n, t in tensors.items() if "carried/" in n[:8]}
        run.carried = {name: tensor.to(run.device) for name, tensor in learnt.items()}
        _moments(optimiser, run.scope, tensors)
        run.history[:] = [Step(**look) for look in record["history"]]
        run.cost = Cost(**record["cost"])
        return int(record["step"])

    def clear(self) -> None:
        """Shred what was written: the run is over, and a checkpoint knows what it forgot."""
        if self._folder is not None:
            shred(self._folder / _FILE)


def _moments(
    optimiser: torch.optim.Optimizer,
    scope: Mapping[str, nn.Parameter],
    tensors: Mapping[str, Tensor],
) -> None:
    for name, parameter in scope.items():
        for key, tensor in tensors.items():
            kind, _, owner = key.partition("/")
            if owner == name and kind not in {"weights", "carried"}:
                kept = tensor if kind == "step" else tensor.to(parameter.device)
                optimiser.state[parameter][kind] = kept
