"""Which settings a model is opened with: those that are given, or those of its folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from forgetnet.attached import models_of
from forgetnet.component import Attachable
from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.experts.expert import Expert, Task
from forgetnet.experts.neighbour import NeighbourExpert
from forgetnet.experts.ridge import RidgeTrunk
from forgetnet.experts.router import Router
from forgetnet.experts.shelf import Shelf
from forgetnet.experts.torch_expert import TorchExpert
from forgetnet.given import check_switches, clock_of, path_of
from forgetnet.model.stack import CAP, Stack, from_plain, make_stack

__all__ = ["checked", "stack_for"]


def checked(
    path: object, models: object, clock: object, *, adopt: object, progress: object
) -> tuple[tuple[Attachable, ...], Callable[[], datetime]]:
    """Return the attached models and the clock, before anything is made at the path.

    Raises:
        StoreError: an argument is of another type than it can be.
    """
    path_of(path, "the place of a model", StoreError)
    check_switches(StoreError, adopt=adopt, progress=progress)
    return models_of(models), clock_of(clock)


def stack_for(
    folder: Path | None,
    task: Task | None,
    experts: Sequence[Expert | NeighbourExpert] | None,
    *,
    weights: Mapping[str, float] | None,
    cap: int | None,
    router: Router | None,
    chosen: Sequence[str],
) -> Stack:
    """Return the settings of the model in a folder, or those that are given.

    Raises:
        InvalidRecord: they make no sense, or the model in the folder has others.
        Unsupported: the folder's experts hold code; give them again.
    """
    _check_kinds(task, experts, weights, cap, router)
    stack = _stored(folder) if experts is None else None
    if stack is not None:
        _check_given(stack, weights, cap, router, task=task, chosen=chosen)
        return stack
    kind: Task = task or "classification"
    given: Sequence[Expert | NeighbourExpert] = _default(kind) if experts is None else experts
    most = CAP if cap is None else cap
    return make_stack(kind, given, weights=weights, cap=most, router=router, chosen=chosen)


def _check_kinds(
    task: Task | None,
    experts: Sequence[Expert | NeighbourExpert] | None,
    weights: Mapping[str, float] | None,
    cap: int | None,
    router: Router | None,
) -> None:
    """Refuse what no setting can be, before anything is looked up.

    Raises:
        InvalidRecord: with the name of the argument.
    """
    check_kind("task", task, Task | None)
    check_kind("experts", experts, Sequence | None, "[RidgeTrunk(), NeighbourExpert()]")
    for number, expert in enumerate(experts or ()):
        check_kind(f"experts[{number}]", expert, Expert | NeighbourExpert, "RidgeTrunk()")
    check_kind("weights", weights, Mapping | None, '{"memory": 0.5}')
    for name, weight in (weights or {}).items():
        check_kind(f"weights[{name!r}]", weight, float)
    check_kind("cap", cap, int | None)
    check_kind("router", router, Router | None, "SubjectRouter()")


def _default(task: Task) -> list[Expert | NeighbourExpert]:
    return [RidgeTrunk(task=task), TorchExpert(task=task), NeighbourExpert(task=task)]


def _stored(folder: Path | None) -> Stack | None:
    """Return the settings of the model in a folder, if there is one."""
    if folder is None:
        return None
    settings = Shelf(folder, readonly=True).header.get("settings")
    return None if settings is None else from_plain(settings)


def _check_given(
    stack: Stack,
    weights: Mapping[str, float] | None,
    cap: int | None,
    router: Router | None,
    *,
    task: Task | None,
    chosen: Sequence[str],
) -> None:
    """Refuse settings that a model which exists doesn't have.

    Raises:
        InvalidRecord: with what it has.
    """
    found: dict[str, object] = {
        "task": stack.task if task not in {None, stack.task} else None,
        "chosen": stack.chosen if chosen and tuple(chosen) != stack.chosen else None,
        "cap": stack.cap if cap not in {None, stack.cap} else None,
        "weights": dict(stack.weights) if any(
            stack.weights.get(name) != weight for name, weight in (weights or {}).items()
        ) else None,
        "router": stack.router.name if router is not None and router != stack.router else None,
    }  # fmt: skip
    if other := {name: value for name, value in found.items() if value is not None}:
        raise InvalidRecord(
            f"this model was made with {other}; leave these out, or make another in a new folder"
        )
