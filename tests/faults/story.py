"""What is done to a memory while its disk fails, and what must hold of it afterwards.

Every operation is a row of steps; after each the test knows what is acknowledged. Knows nothing of
how a disk fails: real faults and the simulator of power cuts both tell these stories.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from forgetnet import ForgetNetError, Memory, Receipt, Record, restore
from forgetnet.archive import SUFFIX
from forgetnet.audit.layout import check_layout
from forgetnet.forget.keys import derive_salt
from forgetnet.ledger import Ledger
from forgetnet.store import StoreConfig, open_store
from forgetnet_stores.lance import engine

__all__ = ["LATE", "OPERATIONS", "Operation", "Step", "judge", "make", "play"]

KEY = bytes(range(32))
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CAP = 4
LATE = "e9"
OWNERS = {"a": "ann", "b": "bob", "c": "carl", "d": "dora", "e": "eve", "f": "finn", "g": "gus"}
WORDS = {
    "a": "the blue heron nests behind the old mill", "b": "nothing to see on the pier",
    "c": "a crate of green apples", "d": "the ticket runs out tonight",
    "e": "she paints doors", "f": "he mends nets", "g": "he rows on Sundays",
}  # fmt: skip
FIRST = {f"{letter}{n}": "" for letter, many in (("a", 5), ("b", 4), ("c", 3), ("d", 2))
         for n in range(many)}  # fmt: skip

Live = Mapping[str, str]
"""What is live: the word behind each record's text, by id."""


def record(name: str, word: str = "") -> Record:
    late = NOW + timedelta(hours=1) if name[0] == "d" else None
    text = f"{WORDS[name[0]]} {name} {word}"
    return Record(text, id=name, subject=OWNERS[name[0]], created_at=NOW, expires_at=late)


def open_(path: str | Path) -> Memory:
    return Memory.open(path, encoder="hash:16", key=KEY, clock=lambda: NOW + timedelta(hours=2))


@dataclass(slots=True)
class Scene:
    """Where a story is told: the folder around the memory, and the memory while it is open."""

    root: Path
    memory: Memory | None = None
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def kb(self) -> Path:
        return self.root / "kb"

    @property
    def open(self) -> Memory:
        assert self.memory is not None
        return self.memory


@dataclass(frozen=True, slots=True)
class Step:
    """One call of the user.

    Attributes:
        verb: does it.
        after: what is live afterwards.
        holds: how many legal holds there are then.
        status: of the receipt that it makes, if any.
        gone: first letters or ids of the records that no file may hold when such a receipt exists.
    """

    verb: Callable[[Scene], object]
    after: Live
    holds: int = 0
    status: str = ""
    gone: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """Steps that are taken one after another in a folder that was made by ``template``."""

    name: str
    steps: tuple[Step, ...]
    template: str = "plain"
    before: Live = field(default_factory=lambda: dict(FIRST))
    opened: bool = True


def _less(live: Live, *letters: str) -> Live:
    return {i: word for i, word in live.items() if not i.startswith(letters)}


def _add(names: Sequence[str], *, large: int = 256) -> Step:
    def verb(scene: Scene) -> None:
        engine._LARGE = large  # so that a small batch takes the way of a large one
        scene.open.add([record(name) for name in names], progress=False)

    return Step(verb, {**FIRST, **dict.fromkeys(names, "")})


def _erased(scene: Scene, status: str, **scope: str) -> None:
    assert scene.open.forget(**scope).status == status


def _hold(scene: Scene) -> None:
    scene.notes["hold"] = scene.open.hold(ids="a0", reason="case 10").name


def _lift(scene: Scene) -> None:
    (receipt,) = scene.open.lift(scene.notes["hold"])
    assert receipt.status == "erased"


def _backup(scene: Scene) -> None:
    scene.notes["backup"] = str(scene.open.backup(scene.root / "place", progress=False))


def _restore(scene: Scene) -> None:
    (backup,) = (scene.root / "place").glob("*" + SUFFIX)
    restore(backup, scene.root / "back", encoder="hash:16", key=KEY, progress=False)


def _create(scene: Scene) -> None:
    scene.memory = open_(scene.kb)
    scene.memory.add([record("b0")], progress=False)


def _reopen(scene: Scene) -> None:
    scene.memory = open_(scene.kb)


_NO_ANN = _less(FIRST, "a")
_FORGET = Step(
    lambda scene: _erased(scene, "erased", subject="ann"), _NO_ANN, status="erased", gone=("a",)
)
_HOLDING = (
    Step(_hold, FIRST, 1),
    Step(
        lambda scene: _erased(scene, "unsupported", subject="ann"),
        _less(FIRST, "a1", "a2", "a3", "a4"), 1, "unsupported", ("a1", "a2", "a3", "a4"),
    ),
    Step(_lift, _NO_ANN, 0, "erased", ("a",)),
)  # fmt: skip
_SWEEP = Step(lambda scene: scene.open.sweep(), _less(FIRST, "d"), status="erased", gone=("d",))
_DELETE = Step(lambda scene: scene.open.delete(["b1", "b2"]), _less(FIRST, "b1", "b2"))
_UPDATE = Step(lambda scene: scene.open.update("b0", record("b0", "x").text), {**FIRST, "b0": "x"})

OPERATIONS = {
    operation.name: operation
    for operation in (
        Operation("create", (Step(_create, {"b0": ""}),), "empty", before={}, opened=False),
        Operation("open", (Step(_reopen, FIRST),), opened=False),
        Operation("add", (_add(["e0", "b8", "c8"]),)),
        Operation("add pieces", (_add([f"{x}{n}" for x in "efg" for n in range(3)], large=8),)),
        Operation("split", (_add([f"{x}{n}" for x in "ef" for n in range(3)]),)),
        Operation("update", (_UPDATE,)),
        Operation("delete", (_DELETE,)),
        Operation("delete, purge", (_DELETE, Step(lambda s: s.open.purge(), _DELETE.after))),
        Operation("forget", (_FORGET,)),
        Operation("sweep", (_SWEEP,)),
        Operation("hold, forget, lift", _HOLDING),
        Operation("backup", (Step(_backup, FIRST),)),
        Operation("forget, backed up", (_FORGET,), template="backed up"),
        Operation(
            "restore", (Step(_restore, _NO_ANN),), template="to restore", before=_NO_ANN,
            opened=False,
        ),
    )
}  # fmt: skip


def make(template: str, root: Path) -> None:
    """Make the folder that a story begins with."""
    if template == "empty":
        root.mkdir()
        return
    config = StoreConfig(16, derive_salt(KEY), CAP)
    (root / "kb").mkdir(parents=True)
    open_store(f"lance://{root / 'kb' / 'store'}", config).close()
    with open_(root / "kb") as memory:
        if template == "bare":
            return
        memory.add([record(name) for name in FIRST], progress=False)
        memory.purge()
        if template != "plain":
            memory.backup(root / "place", progress=False)
        if template == "to restore":
            memory.forget(subject="ann")


def play(operation: Operation, root: Path, told: Callable[[str], None]) -> None:
    """Take the steps; tell ``begin``, each acknowledged step, and how an error was told.

    After an error what the same process answers must be true, or it must refuse to answer.
    """
    scene = Scene(root)
    if operation.opened:
        scene.memory = open_(scene.kb)
    told("begin")
    done = 0
    try:
        for step in operation.steps:
            step.verb(scene)
            done += 1
            told("done")
    except ForgetNetError as error:
        told(f"said {type(error).__name__}")
    except Exception as error:  # noqa: BLE001 # to tell what kind it was
        told(f"raw {type(error).__name__}: {error}")
    if scene.memory is not None:
        if wrong := _lies(operation, scene.memory, done):
            told(f"raw {wrong}")
        scene.memory.close()
    told("closed")


def _stored(memory: Memory) -> dict[str, str]:
    """Return what is stored, what has expired as well: the word behind each text, by id."""
    return {r.id: "x" if str(r.text).endswith(" x") else "" for r in memory._store.scan()}


def _lies(operation: Operation, memory: Memory, done: int) -> str:
    try:
        found = sorted(_stored(memory))
    except ForgetNetError:
        return ""
    states = [operation.before, *(step.after for step in operation.steps)]
    return "" if found in [sorted(s) for s in states[done : done + 2]] else f"answers {found}"


# -- what must hold


def judge(operation: Operation, root: Path, done: int, *, late: bool = False) -> list[str]:
    """Say what is wrong with what a crash left, and with what comes of it when it is opened.

    ``late`` says whether record ``LATE`` was acknowledged after the steps, in another process.
    """
    try:
        return [*_claims(operation, root / "kb", "before"), *_judged(operation, root, done, late)]
    except Exception as error:  # noqa: BLE001 # whatever it is, it is a violation
        return [f"{type(error).__name__}: {error}"]


def _judged(operation: Operation, root: Path, done: int, late: bool) -> Iterator[str]:
    kb = root / "kb"
    entries = [p.read_bytes() for p in (kb / "journal").glob("*.json")]
    intent = any(data[:1] not in {b"", b"\0"} for data in entries)
    states = [(operation.before, 0), *((step.after, step.holds) for step in operation.steps)]
    last = operation.steps[done - 1].holds if done else 0
    states[done] = (states[done][0], last)
    allowed = states[done + 1 :][:1] if intent else states[done : done + 2]
    if operation.name == "restore":
        yield from _restored(operation, root, done)
    with open_(kb) as memory:
        words = _stored(memory)
        holds = len(memory.holds())
        more = {LATE: words.pop(LATE)} if LATE in words else {}
        if late and not more:
            yield "what was acknowledged after a recovery is gone"
        if (words, holds) not in allowed:
            yield f"found {sorted(words)} and {holds} holds after {done} steps, intent {intent}"
        owed = holds and "a1" not in words  # kept, and not searched
        yield from _as_twin(memory, {**words, **more}, hidden=("a0",) if owed else ())
        if operation.name == "backup":
            yield from _backups(memory, root, done)
    yield from _claims(operation, kb, "after")
    yield from _receipts(operation, kb, words)
    if operation.template == "backed up":
        (backup,) = (root / "place").glob("*" + SUFFIX)
        restore(backup, root / "back", encoder="hash:16", key=KEY, progress=False)
        with open_(root / "back") as back:
            if _stored(back) != words and not _told(kb):
                yield "a restore brings back what was forgotten, or loses what wasn't"
        shutil.rmtree(root / "back")
    yield from check_layout(kb)
    for path in root.rglob("*"):
        if path.name.endswith((".tmp", ".restoring")):
            yield f"left {path.relative_to(root)}"


def _as_twin(memory: Memory, words: Live, hidden: Sequence[str]) -> Iterator[str]:
    """Compare with a memory that never had anything else."""
    with open_("memory://") as twin:
        twin.add([record(i, word) for i, word in words.items()], progress=False)
        if memory.digest() != twin.digest():
            yield "the digest is not the twin's"
        twin.delete(hidden)
        mine, its = (m.search("old mill pier", k=9) for m in (memory, twin))
        if [(h.id, h.distance) for h in mine] != [(h.id, h.distance) for h in its]:
            yield "an answer is not the twin's"


def _holding(folder: Path, gone: Sequence[str]) -> Iterator[str]:
    needles = [f"{WORDS[i[0]]} {i}".encode() for i in gone]
    for path in sorted(folder.rglob("*")):
        if path.is_file() and any(needle in path.read_bytes() for needle in needles):
            yield str(path.relative_to(folder))


def _claims(operation: Operation, kb: Path, when: str) -> Iterator[str]:
    """Hold every receipt against every byte of every file."""
    for path in sorted((kb / "receipts").glob("*.json")):
        status = str(Receipt.load(path).status)
        (step,) = [s for s in operation.steps if s.status == status] or [None]
        if step is None:
            if operation.template != "to restore":
                yield f"a receipt says {status}, {when} recovery"
            continue
        for file in _holding(kb, step.gone):
            yield f"a receipt says {status} and {file} holds the text, {when} recovery"


def _receipts(operation: Operation, kb: Path, words: Live) -> Iterator[str]:
    """Ask for the receipt of every forget that came to its end, and for no other."""
    receipts = [Receipt.load(path) for path in (kb / "receipts").glob("*.json")]
    ledger = Ledger(kb / "ledger.jsonl", read_only=True)
    public = (kb / "receipt.pub").read_bytes()
    for step in operation.steps:
        if not step.status:
            continue
        mine = [r for r in receipts if r.status == step.status]
        over = not any(i.startswith(step.gone) for i in words)
        if bool(mine) is not over:
            yield f"{len(mine)} receipts say {step.status}, and what they are of is {words.keys()}"
        if over and not any(not r.check(public, ledger=ledger) for r in mine):
            yield f"no receipt that says {step.status} is in the ledger"
        if over:
            yield from (f"{file} holds what was forgotten" for file in _holding(kb, step.gone))


def _told(kb: Path) -> bool:
    """Tell whether a receipt says that a place of backups was out of reach, as it then must."""
    receipts = [Receipt.load(path) for path in (kb / "receipts").glob("*.json")]
    told = [line for receipt in receipts for line in receipt.predicate["exclusions"]]
    return any("could not be reached" in line for line in told)


def _backups(memory: Memory, root: Path, done: int) -> Iterator[str]:
    """Restore what an acknowledged backup wrote; make another, which clears up after the first."""
    whole = sorted((root / "place").glob("*" + SUFFIX)) if (root / "place").exists() else []
    if done and not whole:
        yield "an acknowledged backup is not there"
    memory.backup(root / "place", progress=False)
    for n, path in enumerate(whole):
        back = root / f"back{n}"
        restore(path, back, encoder="hash:16", key=KEY, progress=False)
        with contextlib.closing(open_(back)) as again:
            if again.digest() != memory.digest():
                yield "a backup holds something else"
        shutil.rmtree(back)


def _restored(operation: Operation, root: Path, done: int) -> Iterator[str]:
    back = root / "back"
    if done and not back.exists():
        yield "an acknowledged restore is not there"
    if not back.exists():
        _restore(Scene(root))
    with open_(back) as memory:
        if _stored(memory) != operation.steps[0].after:
            yield "what was restored is something else"
    yield from (f"{file} was restored" for file in _holding(back, ("a",)))
    yield from check_layout(back)
