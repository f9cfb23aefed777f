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
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError
from forgetnet.files import shred, write_durable
from forgetnet.unlearn.config import Cost
from forgetnet.unlearn.identity import joint_digest, tensors_digest
from forgetnet.unlearn.result import Step
from forgetnet.unlearn.run import Run

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
            tensors[f"weights/{name}"] = tensor.detach().cpu().contiguous()
        for name, tensor in run.carried.items():
            tensors[f"carried/{name}"] = tensor.detach().cpu().contiguous()
        for name, parameter in run.scope.items():
            for key, moment in optimiser.state.get(parameter, {}).items():
                if moment is not None:
                    tensors[f"{key}/{name}"] = torch.as_tensor(moment).detach().cpu().contiguous()
        record = json.dumps(
            {
                "identity": self._identity,
                "step": step,
                "cost": run.cost.to_plain(),
                "history": [asdict(look) for look in run.history],
            }
        )
        # One file, so that a crash leaves this look or the one before; damage is told by the sum.
        told = {"record": record, "sum": joint_digest(record, tensors_digest(tensors))}
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_durable(self._folder / _FILE, save(tensors, metadata=told))
        except OSError as error:
            raise StoreError(f"can't write to {self._folder}: {error.strerror}") from error

    def load(self, run: Run, optimiser: torch.optim.Optimizer) -> int:
        """Put the run where it stood, and return its step; 0 where nothing was written.

        Raises:
            InvalidRecord: the folder is that of another run.
            StoreCorrupt: it can't be read, or isn't what was written.
        """
        if self._folder is None or not (self._folder / _FILE).exists():
            return 0
        try:
            tensors, record = _read(self._folder / _FILE)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise StoreCorrupt(
                f"{self._folder} holds no whole checkpoint; remove it to begin anew"
            ) from error
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


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    body = path.read_bytes()
    length = int.from_bytes(body[:8], "little")
    told = json.loads(body[8 : 8 + length])["__metadata__"]
    tensors = load(body)
    if told["sum"] != joint_digest(told["record"], tensors_digest(tensors)):
        raise ValueError("damaged")
    return tensors, json.loads(told["record"])


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
