"""Opening the memory that a command works on, and its values as plain JSON.

Knows nothing of commands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forgetnet.cli.voice import Voice
from forgetnet.errors import StoreError

if TYPE_CHECKING:
    from forgetnet.encode import Encoder
    from forgetnet.forget.plan import Plan
    from forgetnet.forget.receipt import Receipt
    from forgetnet.memory import Memory
    from forgetnet.model import ForgetNet
    from forgetnet.record import Hit, Record

__all__ = [
    "folder_of",
    "is_missing",
    "is_model",
    "opened",
    "opened_model",
    "plain_hit",
    "plain_plan",
    "plain_receipt",
    "plain_record",
]


def folder_of(store: str) -> Path | None:
    """Return the folder of the memory at a path or URL; None if it has none.

    Raises:
        StoreError: no folder can be called so.
    """
    from forgetnet.given import root_of
    from forgetnet.store import split_url

    engine, path = split_url(store)
    if engine == "memory" or not path:
        return None
    root_of(path)
    return Path(path).expanduser()


def is_missing(store: str) -> bool:
    """Tell whether opening a memory at a path or URL would make a folder for it."""
    folder = folder_of(store)
    return folder is not None and not (folder / "forgetnet.json").exists()


@contextmanager
def opened(
    store: str,
    encoder: str | Encoder | None,
    key: Path | None,
    *,
    readonly: bool = False,
    create: bool = False,
) -> Iterator[Memory]:
    """Open a memory for as long as the block lasts; make one only where ``create`` says so.

    Raises:
        StoreError: there is none.
    """
    from forgetnet.memory import Memory

    if is_missing(store) and not create:
        raise StoreError(
            f"there is no memory at {store}; make one with add or import, or name it with --store"
        )
    before = set() if readonly else _receipts(store)
    with Memory.open(store, encoder=encoder, key=key, readonly=readonly) as memory:
        if not readonly:  # else nothing is finished, and there may be many
            _tell_finished(_receipts(store) - before)
        yield memory


def _receipts(store: str) -> set[Path]:
    folder = folder_of(store)
    return set() if folder is None else set((folder / "receipts").glob("*.json"))


def _tell_finished(receipts: Collection[Path]) -> None:
    """Say what was finished on the way to an open memory; who else would look for its receipt?"""
    for path in sorted(receipts):
        told = f"An earlier request, still open until now, is finished; its receipt is {path}."
        Voice(as_json=False).note(told)


def is_model(store: str) -> bool:
    """Tell whether a model with experts lies at a path or URL."""
    folder = folder_of(store)
    return folder is not None and (folder / "experts" / "manifest.json").exists()


@contextmanager
def opened_model(
    store: str,
    encoder: Any,
    key: Path | None,
    *,
    create: Mapping[str, Any] | None = None,
) -> Iterator[ForgetNet]:
    """Open a model for as long as the block lasts; make one only where ``create`` says how.

    Raises:
        StoreError: there is none.
    """
    from forgetnet.model import ForgetNet

    there = is_model(store)
    if not there and create is None:
        raise StoreError(f"there is no model at {store}; make one with train, or name it")
    settings = {} if there or create is None else dict(create)
    before = _receipts(store)
    with ForgetNet.open(store, encoder=encoder, key=key, **settings) as model:
        _tell_finished(_receipts(store) - before)
        yield model


def plain_record(record: Record) -> dict[str, Any]:
    """Return a record as JSON, without its vector."""
    return {
        "id": record.id,
        "text": record.text,
        "subject": record.subject,
        "topic": record.topic,
        "mentions": list(record.mentions),
        "derived_from": list(record.derived_from),
        "metadata": dict(record.metadata),
        "created_at": record.created_at and record.created_at.isoformat(),
        "expires_at": record.expires_at and record.expires_at.isoformat(),
    }


def plain_hit(hit: Hit) -> dict[str, Any]:
    """Return a hit as JSON."""
    return {
        "id": hit.id,
        "distance": hit.distance,
        "score": hit.score,
        "text": hit.text,
        "subject": hit.subject,
        "topic": hit.topic,
        "metadata": dict(hit.metadata),
    }


def plain_plan(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON, ids included."""
    return {
        "scope": plan.kind,
        "counts": dict(plan.counts),
        "direct": list(plan.direct),
        "mentions": list(plan.mentions),
        "derived": list(plan.derived),
        "not_found": list(plan.not_found),
        "mentions_kept": plan.mentions_kept,
        "near_miss": plan.near_miss,
        "held": list(plan.held),
        "holds": list(plan.holds),
        "near": list(plan.near),
        "compared": plan.compared,
        "steps": [
            {
                "component": step.component,
                "influence": step.influence.value,
                "action": step.action,
                "records": step.records,
                "files": step.files,
                "bytes": step.bytes,
                "retrained": step.retrained,
                "share": round(step.share, 6),
                "passes": step.passes,
                "guarantee": step.guarantee,
            }
            for step in plan.steps
        ],
    }


def plain_receipt(receipt: Receipt, file: Path | None) -> dict[str, Any]:
    """Return what a receipt says as JSON, and where it lies."""
    surfaces: list[Mapping[str, Any]] = [surface.to_plain() for surface in receipt.surfaces]
    return {
        "receipt": receipt.id,
        "status": receipt.status.value,
        "counts": dict(receipt.counts),
        "surfaces": surfaces,
        "reasons": list(receipt.erasure.reasons),
        "file": None if file is None else str(file),
    }
