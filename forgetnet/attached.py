"""Which models learnt from a memory: remembered in its folder, so that none is left out unsaid.

One that isn't there when the memory is opened is stood for: nothing of it can be reached, each
receipt says so, and the model catches up when it is attached again. Knows nothing of what a model
is.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from inspect import getattr_static
from pathlib import Path
from typing import Any

from forgetnet.component import Attachable, Component, Cost, Finding, Influence, Standing
from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.given import path_of, root_of
from forgetnet.home import load_settings, save_settings
from forgetnet.opening import Parts

_NAME = re.compile(r"[a-z][a-z0-9_ -]{0,39}")
_VERBS = ("name", "attach", "settled", "detach", "forget")
_TAKEN = ("rows", "vectors and index", "store", "index", "encoder", "memory")

__all__ = ["Absent", "attach", "check_untaught", "detach", "models_of", "refuse_model"]


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
        return {"held": len(ids), "found": 0}

    def hide(self, ids: Collection[str]) -> None:
        """Do nothing: it can't be reached."""

    def forget(self, ids: Collection[str]) -> None:
        """Do nothing: it can't be reached."""

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing: it can't be reached."""

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Return no finding: nobody can look, unless there is nothing to look for."""
        return [] if ids else [Finding("nothing to look for", 0)]

    def digest(self) -> str:
        """Return its name: what it answers isn't known here."""
        return f"absent: {self.name}"


def models_of(given: object) -> tuple[Attachable, ...]:
    """Return the models of ``models=``, which may be one.

    Raises:
        StoreError: something there is no model that can be attached.
    """
    models: list[Any] = [given]
    if isinstance(given, Sequence) and not _is_model(given):
        models = list(given)
    if not all(map(_is_model, models)):
        raise StoreError(
            "models= takes models that learnt from this memory, each as Entangled(name, ...) of "
            "forgetnet.fallback, alone or in a list"
        )
    return tuple(models)


def _is_model(value: object) -> bool:
    """Tell whether a value has the verbs of a model, without asking it anything."""
    # a property may do work
    has = (getattr_static(value, verb, None) is not None for verb in _VERBS)
    return not isinstance(value, type) and all(has)


def attach(
    parts: Parts, models: Sequence[Attachable], others: Sequence[Component]
) -> list[Component]:
    """Attach models to a memory that is being opened, and return them and who is missing.

    Args:
        parts: of the memory.
        models: that were given.
        others: its other components, whose names are taken.

    Raises:
        InvalidRecord: a name is taken, or is none that receipts may hold.
        StoreError: the memory was opened for reading, or a model learnt from another memory.
    """
    root, readonly = parts.home.root, parts.home.readonly
    if models and readonly:
        raise StoreError("a memory opened with readonly=True forgets nothing; leave models= out")
    _check_names([model.name for model in models], [other.name for other in others])
    settings = None if root is None else load_settings(root)
    known = {} if settings is None else dict(settings.models)
    for model in models:
        _check_same(model, known.get(model.name))
        if root is not None and model.folder and root in (model.folder, *model.folder.parents):
            raise StoreError(
                f"the folder of the model {model.name} lies in the memory's, {root}; no receipt "
                "could tell its files from strays. Give it a folder of its own elsewhere"
            )
    attached: list[Attachable] = []
    done = False
    try:
        for model in models:
            model.attach(parts.store, parts.lock)
            attached.append(model)
        fresh = {model.name: model.identity for model in models}
        if root is not None and settings is not None and not fresh.items() <= known.items():
            save_settings(root, replace(settings, models=known | fresh))
        done = True
    finally:
        if not done:
            for model in attached:
                model.detach()
    return [*models, *(Absent(name) for name in known if name not in fresh)]


def _check_names(names: Sequence[str], taken: Sequence[str]) -> None:
    for name in names:
        if not _NAME.fullmatch(name) or name in {*_TAKEN, *taken} or names.count(name) > 1:
            raise InvalidRecord(
                f"a model can't be called {name[:40]!r}: a name is a few lower-case words that no "
                "other part of the memory has"
            )


def _check_same(model: Attachable, identity: str | None) -> None:
    """Refuse a model that isn't the one this memory knows by its name."""
    if identity is None and model.taught:
        raise StoreError(
            f"the model {model.name} learnt from another memory, or this memory let go of it; "
            "attach it there, or give it a new folder"
        )
    if identity is not None and model.identity != identity:
        raise StoreError(
            f"another model called {model.name} learnt from this memory; give that one's folder, "
            "choose another name, or detach it if it was destroyed"
        )


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
    root = root_of(str(path_of(path, "path", StoreError)))
    settings = load_settings(root)
    if settings is None or name not in settings.models:
        raise InvalidRecord(f"no model called {str(name)[:80]!r} learnt from a memory at {root}")
    kept = {other: identity for other, identity in settings.models.items() if other != name}
    save_settings(root, replace(settings, models=kept))


def refuse_model(parts: Parts) -> None:
    """Refuse to change the memory of a model by itself: its experts would go on knowing.

    Raises:
        StoreError: with how to open it.
    """
    experts = parts.home.path("experts", "manifest.json")
    if experts is not None and experts.exists() and not parts.home.readonly:
        raise StoreError(
            f"{parts.home.root} is a model with experts, which must forget what its memory "
            "forgets; open it with ForgetNet.open, or for reading with readonly=True"
        )
