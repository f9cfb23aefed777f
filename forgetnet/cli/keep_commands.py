"""Commands of keeping: hold, restrict, lift, holds, backup, restore, and the look through all."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgetnet.cli.forget_commands import forgetful
from forgetnet.cli.frame import PROVEN, REFUSED
from forgetnet.cli.options import AsJson, EncoderName, KeyFile, Store, filter_of
from forgetnet.cli.session import opened, plain_receipt
from forgetnet.cli.voice import Voice

if TYPE_CHECKING:
    from forgetnet.forget.marks import Mark

__all__ = ["audit", "backup", "hold", "holds", "lift", "restore", "restrict"]

Ids = Annotated[
    list[str] | None, typer.Option("--id", metavar="ID", help="This record; may be repeated.")
]
OfSubject = Annotated[
    str | None,
    typer.Option("--subject", metavar="NAME", help="All of this one's, and what mentions it."),
]
OfTopic = Annotated[
    str | None, typer.Option("--topic", metavar="PATH", help="All filed under this topic now.")
]
Where = Annotated[
    str | None, typer.Option("--filter", metavar="JSON", help="All that match this filter now.")
]


def _told(mark: Mark) -> dict[str, Any]:
    return {
        "name": mark.name,
        "kind": mark.kind.value,
        "ids": list(mark.ids),
        "subject": mark.subject,
        "reason": mark.reason,
        "created": mark.created,
    }


def _shown(mark: Mark) -> str:
    on = f"{len(mark.ids)} records" if mark.subject is None else f"the subject {mark.subject!r}"
    return f"{mark.name}  {mark.kind.value} on {on}  {mark.reason}".rstrip()


def hold(
    *,
    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="The matter, not the person.")
    ],
    ids: Ids = None,
    subject: OfSubject = None,
    topic: OfTopic = None,
    where: Where = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Put records under a legal hold, so that nothing erases or changes them.

    Give exactly one of --id, --subject, --topic and --filter. Prints the hold's name.
    """
    voice = Voice(as_json=as_json)
    with forgetful(store, encoder, key) as memory:
        mark = memory.hold(
            ids=ids or None, subject=subject, topic=topic, filter=filter_of(where), reason=reason
        )
    voice.answer(_told(mark), _shown(mark))


def restrict(
    *,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="TEXT", help="Why, without naming anybody.")
    ] = None,
    ids: Ids = None,
    subject: OfSubject = None,
    topic: OfTopic = None,
    where: Where = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Keep records, and have no search return them until that is lifted.

    Give exactly one of --id, --subject, --topic and --filter. Prints the restriction's name.
    """
    voice = Voice(as_json=as_json)
    with forgetful(store, encoder, key) as memory:
        mark = memory.restrict(
            ids=ids or None, subject=subject, topic=topic, filter=filter_of(where), reason=reason
        )
    voice.answer(_told(mark), _shown(mark))


def holds(
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """List legal holds and restrictions, oldest first."""
    voice = Voice(as_json=as_json)
    with opened(store, encoder, key, readonly=True) as memory:
        marks = [*memory.holds(), *memory.restrictions()]
    shown = [_shown(mark) for mark in marks] or ["Nothing is held or restricted."]
    voice.answer({"marks": [_told(mark) for mark in marks]}, *shown)


def lift(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the hold or the restriction.")],
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """End a hold or a restriction, and erase what a hold had put off.

    Exit code 0 only if nothing of that is left.
    """
    voice = Voice(as_json=as_json)
    with forgetful(store, encoder, key) as memory:
        receipts = memory.lift(name)
    from forgetnet.forget.explain import sentence

    shown = [sentence(receipt.erasure) for receipt in receipts] or ["Nothing had been put off."]
    plain = [plain_receipt(receipt, None) for receipt in receipts]
    voice.answer({"lifted": name, "receipts": plain}, *shown)
    done = all(receipt.status.value in ("erased", "not_found") for receipt in receipts)
    raise typer.Exit(PROVEN if done else REFUSED)


def backup(
    place: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where backups are kept.")],
    *,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Write everything into one new file in a folder, and print its path."""
    voice = Voice(as_json=as_json)
    with forgetful(store, encoder, key) as memory:
        made = memory.backup(place)
    voice.answer({"backup": str(made), "bytes": made.stat().st_size}, str(made))


def restore(
    made: Annotated[Path, typer.Argument(metavar="BACKUP", help="A file that backup wrote.")],
    *,
    tombstones: Annotated[
        list[Path] | None,
        typer.Option(
            "--tombstones",
            metavar="FOLDER",
            help="Another folder with tombstones than that of the backup; may be repeated.",
        ),
    ] = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a memory of a backup, in a new folder, without what was forgotten since."""
    from forgetnet.restoring import restore as restored

    voice = Voice(as_json=as_json)
    done = restored(made, store, tombstones=tombstones, encoder=encoder, key=key)
    again = 0 if done.receipt is None else done.receipt.counts["direct"]
    plain = {
        "folder": str(done.path),
        "records": done.records,
        "forgotten_again": again,
        "receipt": None if done.receipt is None else done.receipt.id,
        "made": done.made,
    }
    voice.answer(
        plain, f"{done.records:,} records in {done.path}; {again:,} forgotten since were left out."
    )


def audit(
    *,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Look for this id.")
    ] = None,
    subjects: Annotated[
        list[str] | None, typer.Option("--subject", metavar="NAME", help="Look for this subject.")
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", metavar="TEXT", help="Look for this text, and for its vector."),
    ] = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Read every file of a memory and look for what should not be in it.

    Decodes everything, compares the folder with its format, and finds some of the records that
    are there as a control. Exit code 0 only if all was understood and nothing was found.
    """
    voice = Voice(as_json=as_json)
    with opened(store, encoder, key, readonly=True) as memory:
        found = memory.residue(ids=ids or (), subjects=subjects or (), texts=texts or ())
    plain = {
        "clean": found.clean,
        "found": found.found,
        "explained": found.explained,
        "reasons": list(found.reasons),
        "unpurged": found.unpurged,
        "files": found.files,
        "bytes": found.bytes_read,
        "rows": found.rows,
    }
    shown = [f"{found.files:,} files, {found.bytes_read:,} bytes, {found.rows:,} rows read."]
    shown += list(found.reasons) or ["Nothing was found that should not be there."]
    if found.unpurged:
        shown.append(f"{found.unpurged} files hold deleted rows; purge removes them.")
    voice.answer(plain, *shown)
    raise typer.Exit(PROVEN if found.clean else REFUSED)
