"""Commands of forgetting: forget, sweep, and verify, which needs no memory."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forgetnet.cli.frame import PROVEN, REFUSED, sentence_of
from forgetnet.cli.options import AsJson, EncoderName, KeyFile, Store, filter_of
from forgetnet.cli.session import (
    folder_of,
    is_model,
    opened,
    opened_model,
    plain_plan,
    plain_receipt,
)
from forgetnet.cli.turns import until_interrupted
from forgetnet.cli.voice import Voice
from forgetnet.errors import ForgetNetError, InvalidScope, ReceiptInvalid, StoreLocked

if TYPE_CHECKING:
    from forgetnet.forget.receipt import Receipt
    from forgetnet.meaning import Scope
    from forgetnet.memory import Memory
    from forgetnet.model import ForgetNet

__all__ = ["Level", "can_write", "forget", "forgetful", "sweep", "verify"]

_LONGEST = 1e7


class Level(StrEnum):
    """How much is looked through after a forget."""

    AUTO = "auto"
    TOUCHED = "touched"
    FULL = "full"


def can_write(path: Path | None) -> Path | None:
    """Refuse a file that can't be written, before anything is erased."""
    if path is not None and (path.is_dir() or not os.access(path.absolute().parent, os.W_OK)):
        raise typer.BadParameter(f"can't write the file {path}: make its folder first")
    return path


ReceiptFile = Annotated[
    Path | None,
    typer.Option(
        "--receipt",
        metavar="FILE",
        help="Also write the receipt to this file.",
        callback=can_write,
    ),
]
OpeningsFile = Annotated[
    Path | None,
    typer.Option(
        "--openings",
        metavar="FILE",
        help="Write the openings, which show what the receipt is about; personal data.",
        callback=can_write,
    ),
]

ScopeFile = Annotated[
    Path | None,
    typer.Option("--scope", metavar="FILE", help="What the command scope wrote to this file."),
]
AllowAll = Annotated[
    bool, typer.Option("--allow-all", help="With --scope: also if that is everything.")
]


def forget(
    *,
    ids: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="This record; may be repeated.")
    ] = None,
    subject: Annotated[
        str | None,
        typer.Option("--subject", metavar="NAME", help="All of this one's, and what mentions it."),
    ] = None,
    topic: Annotated[
        str | None, typer.Option("--topic", metavar="PATH", help="All filed under this topic.")
    ] = None,
    where: Annotated[
        str | None, typer.Option("--filter", metavar="JSON", help="All that match this filter.")
    ] = None,
    scope_file: ScopeFile = None,
    allow_all: AllowAll = False,
    keep_mentions: Annotated[
        bool, typer.Option("--keep-mentions", help="Keep others' records that mention the subject.")
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option("--reason", metavar="TEXT", help="Kept as a salted commitment only."),
    ] = None,
    level: Annotated[
        Level, typer.Option("--verify", help="Look through what was touched, or everything.")
    ] = Level.AUTO,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan and change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    receipt_file: ReceiptFile = None,
    openings_file: OpeningsFile = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Erase records, look for what is left, and sign a receipt.

    Give exactly one of --id, --subject, --topic, --filter and --scope. Shows what would go and asks
    before it changes anything. Exit code 0 only if nothing of it is left.
    """
    if as_json and not (yes or dry_run):
        raise typer.BadParameter("--json can't ask; add --yes or --dry-run")
    voice = Voice(as_json=as_json)
    scope: dict[str, Any] = {
        "ids": ids or None,
        "subject": subject,
        "topic": topic,
        "filter": filter_of(where),
        "mentions": not keep_mentions,
    }
    with forgetful(store, encoder, key, readonly=dry_run) as memory:
        scope["scope"] = scope_file and _confirmed(scope_file, memory, allow_all=allow_all)
        plan = memory.forget(**scope, dry_run=True)
        if dry_run or not as_json:
            from forgetnet.cli.render import plan_of

            voice.answer({"plan": plain_plan(plan)}, plan_of(plan))
        if subject and not plan.ids and not plan.held:
            _suggest(voice, memory, subject)
        if dry_run:
            return
        if not yes and not _agreed(voice):
            voice.note("Nothing was changed.")
            raise typer.Exit(REFUSED)
        with _waiting(voice):
            receipt = memory.forget(**scope, reason=reason, verify=level.value)
    _close(voice, receipt, store, receipt_file, openings_file)


def _confirmed(path: Path, memory: Memory | ForgetNet, *, allow_all: bool) -> Scope:
    """Read the scope of a file as one that may be forgotten, once this has been agreed to."""
    from forgetnet.meaning import Scope

    scope = Scope.load(path, memory)
    if len(scope) and scope.is_everything and not allow_all:
        raise InvalidScope(
            f"{path} holds everything that could be found ({scope.looked_at} records); add "
            "--allow-all if that is meant"
        )
    return scope.confirm(allow_all=allow_all)


def forgetful(
    store: str, encoder: str | None, key: Path | None, *, readonly: bool = False
) -> AbstractContextManager[Memory | ForgetNet]:
    """Open a memory, or the model that it belongs to."""
    if is_model(store):
        return opened_model(store, encoder, key)
    return opened(store, encoder, key, readonly=readonly)


def _suggest(voice: Voice, memory: Memory | ForgetNet, subject: str) -> None:
    """Say that nobody has this name, and which are near: a slip must not look like success."""
    from difflib import get_close_matches

    reader = memory if hasattr(memory, "subjects") else memory.memory
    folded = {name.casefold(): name for name in reader.subjects()}
    near = get_close_matches(subject.casefold(), folded, n=3, cutoff=0.75)
    hint = f"; did you mean {', '.join(repr(folded[name]) for name in near)}?" if near else "."
    voice.note(f"Nothing is stored under this subject{hint}")


def _agreed(voice: Voice) -> bool:
    """Ask on stderr; no answer is no."""
    try:
        return typer.confirm("Forget this for good?", default=False, err=True)
    except typer.Abort:
        voice.note("")
        return False


def _waiting(voice: Voice) -> Any:
    from contextlib import nullcontext

    if not voice.err.is_terminal:
        return nullcontext()
    return voice.err.status("Erasing, and looking for what is left ...")


def _close(
    voice: Voice, receipt: Receipt, store: str, copy: Path | None, openings: Path | None
) -> None:
    """Write what was asked for, say what was done, and leave with the exit code."""
    folder = folder_of(store)
    kept = None if folder is None else folder / "receipts" / f"{receipt.id}.json"
    if copy is not None:
        receipt.save(copy)
    if openings is not None:
        receipt.save_openings(openings)
    from forgetnet.cli.render import grid, surfaces
    from forgetnet.forget.explain import sentence

    files = {"receipt": str(copy or kept or "(not kept)")}
    if folder is not None:
        files["public key"] = str(folder / "receipt.pub")
    if openings is not None:
        files["openings"] = f"{openings} (personal data)"
    voice.answer(
        plain_receipt(receipt, copy or kept),
        "",
        sentence(receipt.erasure),
        "",
        surfaces(receipt.surfaces),
        "",
        grid(files),
    )
    done = receipt.status.value in ("erased", "not_found")
    raise typer.Exit(PROVEN if done else REFUSED)


def sweep(
    *,
    every: Annotated[
        float | None,
        typer.Option("--every", metavar="SECONDS", help="Go on, at this pace, until Ctrl-C."),
    ] = None,
    receipt_file: ReceiptFile = None,
    openings_file: OpeningsFile = None,
    store: Store = "./memory",
    encoder: EncoderName = None,
    key: KeyFile = None,
    as_json: AsJson = False,
) -> None:
    """Forget every record that has expired, with a receipt.

    With --every, the memory is opened for each sweep and closed in between, receipts are kept in
    its folder, and a sweep that fails is tried again at the next turn.
    """
    voice = Voice(as_json=as_json)
    if every is not None:
        if not 0 < every < _LONGEST:
            raise typer.BadParameter("--every takes a number of seconds above 0")
        if receipt_file is not None or openings_file is not None:
            raise typer.BadParameter("--receipt and --openings are of one sweep; leave --every out")
        _go_on_sweeping(voice, every, store, encoder, key)
        return
    with forgetful(store, encoder, key) as memory, _waiting(voice):
        receipt = memory.sweep()
    _close(voice, receipt, store, receipt_file, openings_file)


def _go_on_sweeping(
    voice: Voice, every: float, store: str, encoder: str | None, key: Path | None
) -> None:
    """Sweep at once and then every so many seconds, until Ctrl-C."""
    from forgetnet.forget.explain import sentence

    receipts: list[Receipt] = []
    tried = failed = 0
    voice.note(f"Sweeping every {every:g} seconds; Ctrl-C ends it after the sweep under way.")
    with until_interrupted() as asked:
        while not asked.is_set():
            try:
                with forgetful(store, encoder, key) as memory:
                    swept = [memory.sweep()] if memory.overdue() else []
            except (ForgetNetError, OSError) as error:
                if not tried and not isinstance(error, StoreLocked):
                    raise  # a slip in how it was called
                failed += 1
                voice.note(f"not swept, tried again in {every:g} seconds: {sentence_of(error)}")
            else:
                receipts += swept
                for receipt in [] if voice.as_json else swept:
                    voice.answer({}, sentence(receipt.erasure))
            tried += 1
            asked.wait(every)
    facts = {
        "turns": tried,
        "failed": failed,
        "receipts": [plain_receipt(r, None) for r in receipts],
    }
    voice.answer(facts, f"{len(receipts)} of {tried} turns found something to erase.")
    done = all(receipt.status.value in ("erased", "not_found") for receipt in receipts)
    raise typer.Exit(PROVEN if done else REFUSED)


def verify(
    receipt: Annotated[Path, typer.Argument(metavar="RECEIPT", help="File of a receipt.")],
    *,
    public: Annotated[
        Path,
        typer.Option(
            "--key", metavar="FILE", help="The signer's public key, from a source you trust."
        ),
    ],
    ledger: Annotated[
        Path | None,
        typer.Option("--ledger", metavar="FILE", help="Also ask whether it stands in this ledger."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check a receipt, offline; exit code 0 if it is genuine and nothing is left, else 1."""
    from forgetnet.forget.receipt import Receipt
    from forgetnet.ledger import Ledger

    if ledger is not None and not ledger.exists():
        raise ReceiptInvalid(f"there is no ledger {ledger}")
    log = None if ledger is None else Ledger(ledger, read_only=True)
    loaded = Receipt.load(receipt)
    voice = Voice(as_json=as_json)
    if reasons := loaded.check(public, ledger=log):
        said = f"This receipt is not genuine, so it proves nothing: {'; '.join(reasons)}."
        told = {"genuine": False, "proven": False, "reasons": reasons, "sentence": said}
        voice.answer(told, said)
        raise typer.Exit(REFUSED)
    verdict = loaded.verify(public, ledger=log)
    voice.answer(
        {
            "genuine": True,
            "proven": verdict.proven,
            "status": verdict.status.value,
            "reasons": list(verdict.reasons),
            "sentence": verdict.sentence,
            "key": verdict.keyid,
            "ledger_index": verdict.ledger_index,
        },
        verdict.sentence,
    )
    raise typer.Exit(PROVEN if verdict.proven else REFUSED)
