"""What came of unlearning: the model, what was done to it and at what cost, and the way back.

A result claims what its method may claim and no more; whether the model forgot is for an audit to
say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from forgetnet.declared import check_kind
from forgetnet.errors import StoreError
from forgetnet.unlearn.change import Change
from forgetnet.unlearn.config import Cost, Guarantee
from forgetnet.unlearn.identity import tensors_digest

__all__ = ["Step", "UnlearnResult", "module_of", "state_digest"]


@dataclass(frozen=True)
class Step:
    """One look at a run.

    Attributes:
        step: steps done by then.
        forget, retain: mean losses on the probes, in nats; None where nothing was asked.
        objective: what the step minimised.
        gradient: norm of its gradient before clipping.
    """

    step: int
    forget: float | None
    retain: float | None
    objective: float | None = None
    gradient: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        told = {"step": self.step, "forget": self.forget, "retain": self.retain}
        return {**told, "objective": self.objective, "gradient": self.gradient}


def state_digest(model: nn.Module) -> str:
    """Hash all parameters and buffers by name: equal for equal bits."""
    return tensors_digest(model.state_dict())


@dataclass
class UnlearnResult:
    """A model after unlearning, and the record of it.

    Attributes:
        model: the model; the one that was given with ``inplace=True``, else a copy.
        method: the unlearner's name.
        settings: its settings as JSON values.
        guarantee: what the method may claim: ``exact``, ``certified`` or ``approximate``.
        stopped: why it ended: ``done``, ``forget_loss``, ``retain_loss``, ``budget``, ``callback``,
            ``not_finite``.
        history: looks on the way.
        cost: what it took.
        changed: by parameter in scope.
        before, after: digests of the whole state.
        certificate: what backs a ``certified`` guarantee.
        notes: sentences on what this result isn't.
    """

    model: nn.Module = field(repr=False)
    method: str
    settings: Mapping[str, Any]
    guarantee: Guarantee
    stopped: str
    history: Sequence[Step] = field(repr=False)
    cost: Cost
    changed: Sequence[Change] = field(repr=False)
    before: str
    after: str
    certificate: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()
    _snapshot: Mapping[str, Tensor] = field(default_factory=dict, repr=False)

    def rollback(self) -> nn.Module:
        """Put the model back, bit for bit, and return it.

        Raises:
            StoreError: there is nothing to go back to: the result was loaded, or rolled back.
        """
        if not self._snapshot:
            raise StoreError("this result holds no state to go back to")
        own = self.model.state_dict()
        with torch.no_grad():
            for name, tensor in self._snapshot.items():
                own[name].copy_(tensor)
        self._snapshot = {}
        self.after = state_digest(self.model)
        return self.model

    def to_dict(self) -> dict[str, Any]:
        """Return the record as plain JSON, without weights."""
        return {
            "method": self.method,
            "settings": dict(self.settings),
            "guarantee": self.guarantee,
            "stopped": self.stopped,
            "history": [step.to_plain() for step in self.history],
            "cost": self.cost.to_plain(),
            "changed": [change.to_plain() for change in self.changed],
            "before": self.before,
            "after": self.after,
            "certificate": None if self.certificate is None else dict(self.certificate),
            "notes": list(self.notes),
        }

    def save(self, folder: str | Path) -> None:
        """Write weights (safetensors) and record (JSON) to a folder.

        Raises:
            StoreError: it can't be written.
        """
        root = Path(folder)
        try:
            root.mkdir(parents=True, exist_ok=True)
            tensors = {n: t.detach().cpu().contiguous() for n, t in self.model.state_dict().items()}
            shared: dict[int, str] = {}
            for name in list(tensors):  # tied weights are stored once
                first = shared.setdefault(self.model.state_dict()[name].data_ptr(), name)
                if first != name and tensors[name].numel():
                    del tensors[name]
            save_file(tensors, root / "model.safetensors")
            (root / "unlearn.json").write_text(json.dumps(self.to_dict(), indent=1) + "\n")
        except OSError as error:
            raise StoreError(f"can't write to {root}: {error.strerror}") from error

    def table(self) -> str:
        """Return the looks on the way as a table in plain text."""
        head = f"{'step':>6}  {'forget':>9}  {'retain':>9}  {'objective':>10}  {'gradient':>9}"
        lines = [head]
        for step in self.history:
            cells = (step.forget, step.retain, step.objective, step.gradient)
            shown = ["-" if cell is None else f"{cell:.4g}" for cell in cells]
            lines.append(
                f"{step.step:>6}  {shown[0]:>9}  {shown[1]:>9}  {shown[2]:>10}  {shown[3]:>9}"
            )
        cost = f"{self.cost.forwards:,} forwards, {self.cost.backwards:,} backwards"
        lines.append(f"{self.method}, {self.guarantee}: {self.stopped} after {cost}")
        return "\n".join(lines)


def module_of(given: nn.Module | UnlearnResult, name: str) -> nn.Module:
    """Return a module as it was given, or that of a result.

    Args:
        given: either.
        name: of the argument.

    Raises:
        InvalidRecord: it is neither.
    """
    found = given.model if isinstance(given, UnlearnResult) else given
    check_kind(name, found, nn.Module)
    return found
