"""Which models learnt from a memory: remembered in its folder, so that none is left out unsaid.

One that isn't there when the memory is opened is stood for: nothing of it can be reached, each
receipt says so, and the model catches up when it is attached again. Knows nothing of what a model
is.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from forgetnet.component import Attachable, Component, Cost, Finding, Influence, Standing
from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.home import load_settings, save_settings
from forgetnet.opening import Parts

__all__ = ["Absent", "attach", "check_untaught", "detach"]


class Absent:
    """A model out of reach, as a component.

    Args:
        name: of the model.
    """

    influence = Influence.ENTANGLED
    behind = False
    standing = Standing(
        "audited",
        "nothing: the model is out of reach",
        "this model learnt from the memory and was not attached; it may hold the records until it "
        "is attached again",
    )

    def __init__(self, name: str) -> None:
        self.name = name

    def holds(self, ids: Collection[str]) -> int:
        """Count all: any of them may have taught it."""
        return len(ids)

    def cost(self, ids: Collection[str]) -> Cost:
        """Say that nothing would be done."""
        return Cost("nothing: the model is not attached", len(ids), guarantee="audited")

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Note nothing."""
        return {"held": len(ids)}

    def hide(self, ids: Collection[str]) -> None:
        """Do nothing: it can't be reached."""

    def forget(self, ids: Collection[str]) -> None:
        """Do nothing: it can't be reached."""

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing: it can't be reached."""

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Return no finding: nobody can look."""
        return []

    def digest(self) -> str:
        """Return its name: what it answers isn't known here."""
        return f"absent: {self.name}"


def attach(parts: Parts, models: Sequence[Attachable]) -> list[Component]:
    """Attach models to a memory that is being opened, and return them and who is missing.

    Raises:
        InvalidRecord: two have one name.
        StoreError: the memory was opened for reading, or a model belongs to another.
    """
    names = [model.name for model in models]
    if len(set(names)) < len(names):
        raise InvalidRecord("two models have the same name; receipts could not tell them apart")
    if models and parts.home.readonly:
        raise StoreError("a memory opened with readonly=True forgets nothing; leave models= out")
    for model in models:
        model.attach(parts.store, parts.lock)
    root = parts.home.root
    settings = None if root is None else load_settings(root)
    if root is None or settings is None:
        return list(models)
    if fresh := [name for name in names if name not in settings.models]:
        settings = replace(settings, models=(*settings.models, *fresh))
        save_settings(root, settings)
    missing = [Absent(name) for name in settings.models if name not in names]
    return [*models, *missing]


def check_untaught(components: Sequence[Component], verb: str) -> None:
    """Refuse to change records behind the back of shared weights that learnt from them.

    Raises:
        StoreError: there are such weights.
    """
    entangled = [part.name for part in components if part.influence is Influence.ENTANGLED]
    if entangled:
        names = ", ".join(entangled)
        raise StoreError(
            f"can't {verb}: {names} learnt from this memory; use forget, which unlearns there, "
            "too, and add what is to stay anew"
        )


def detach(path: str | Path, name: str) -> None:
    """Say that a model which learnt from a memory is none of its concern any more.

    As when it was destroyed; the memory must be closed. Its receipts don't mention the model from
    then on; the model's own files stay.

    Raises:
        InvalidRecord: no model of this name learnt from the memory.
        StoreError: the folder can't be written.
    """
    root = Path(path).expanduser().resolve()
    settings = load_settings(root)
    if settings is None or name not in settings.models:
        raise InvalidRecord(f"no model called {name[:80]!r} learnt from a memory at {root}")
    kept = tuple(other for other in settings.models if other != name)
    save_settings(root, replace(settings, models=kept))
