"""Looking for what should be gone, by other means than those that removed it.

A look is taken before the deletion, when everything must be found (or the look is blind and
proves nothing), and again after the purge, when nothing may be. It decodes files through
``forgetnet.audit``, which shares no code with the engines, and asks every way in which the store
answers. Knows nothing of how rows are removed.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forgetnet.audit import layout, residue, trace
from forgetnet.errors import InvalidScope, StoreCorrupt
from forgetnet.filters import under
from forgetnet.forget.hidden import Hidden
from forgetnet.forget.journal import Entry
from forgetnet.forget.parts import METHODS
from forgetnet.forget.plan import Plan, Scope
from forgetnet.forget.spoken import SPOKEN, Spoken
from forgetnet.forget.stamps import exceed, is_other, stamp
from forgetnet.forget.statement import GUARANTEES, INFLUENCES, SCOPES
from forgetnet.forget.surfaces import Check, Surface, SurfaceStatus, judge
from forgetnet.record import Record
from forgetnet.store import Floats, Query, Store

__all__ = ["LEVELS", "RESUMED", "SAID", "Look", "Reopen"]

Reopen = Callable[[], contextlib.AbstractContextManager[Store]]

LEVELS = ("auto", "touched", "full")
RESUMED = (
    "what only a search of raw bytes or by words could see, since this forget was cut short",
    "the openings of its commitments, lost in that moment unless they were saved from the error",
)
"""What else the receipt of a resumed look says it doesn't cover."""

_ASKED, _REASKED = "asked by id and subject", "reopened, asked by id and subject"
_SEARCHED, _RESEARCHED = "searched by its own vectors", "reopened, searched by "
_LISTED, _RELISTED = "searched for all there is", "reopened, searched for all by "
_EVERY, _TOUCHED, _RAW = "every file decoded", "touched files decoded", " and searched raw"
_STRAYS, _OTHERS = "nothing lies about that no leaf names", "the other files are as they were"
_AGAIN, _NOTHING = "path and cone asked again", "nothing to look for"
_ROWS, _VECTORS = "rows", "vectors and index"
_ON_DISK = "delete, write the pieces anew, shred the old files"
_IN_MEMORY = "delete from memory"
_UNTRAINED = "remove the rows; nothing in the index is trained"
SAID = frozenset(
    {
        *(*RESUMED, _LISTED, *SPOKEN),
        *(_ASKED, _REASKED, _SEARCHED, _EVERY, _TOUCHED, _EVERY + _RAW, _TOUCHED + _RAW, _STRAYS),
        *METHODS.values(),
        *(_OTHERS, _AGAIN, _NOTHING, _ROWS, _VECTORS, _ON_DISK, _IN_MEMORY, _UNTRAINED),
        *(*LEVELS, *SCOPES, *INFLUENCES, *GUARANTEES),
        *(str(status) for status in SurfaceStatus),
    }
)
"""Every word that receipts say of a look."""
_PROBES = 8
_NEAREST = 10
_FULL_BYTES = 64 << 20


@dataclass(slots=True)
class Look:
    """The look at one forget, before and after.

    Attributes:
        store: the store, which answers.
        root: folder of the memory; None in memory.
        reopen: opens the store again, for reading, from its files alone.
        ids: the records that are to go.
        full: read every file and reopen the store, not only what the purge touched.
        traces: salted hashes of what the records look like in a file.
        known: records that the store gave when asked, before the deletion.
        control: things found in the files before the deletion, and things expected.
        probed: the same for searches.
        plain, needles, vectors, spoken, subject, topic: what is looked for in plain; gone after a
            crash.
        hidden: the subject or topic in hashes, which stay.
        again: whether this look was taken up after a crash.
        scanned: whether the files have been read before the purge.
        words: what receipts say whatever they are about.
        others: files that the purge must not touch, with size and time of change.
        moved: how many of them it did touch.
        kept: ids that match and stay, under a legal hold.
    """

    store: Store
    root: Path | None
    reopen: Reopen
    ids: tuple[str, ...]
    full: bool
    traces: residue.Traces
    known: int = 0
    control: tuple[int, int] = (0, 0)
    probed: tuple[int, int] = (0, 0)
    plain: tuple[list[Record], Floats] | None = field(default=None, repr=False)
    needles: residue.Needles | None = field(default=None, repr=False)
    queries: list[Query] = field(default_factory=list, repr=False)
    spoken: Spoken = field(default_factory=Spoken, repr=False)
    subject: str | None = field(default=None, repr=False)
    topic: str | None = field(default=None, repr=False)
    hidden: Hidden | None = field(default=None, repr=False)
    again: bool = False
    scanned: bool = False
    words: frozenset[str] = frozenset()
    others: dict[Path, tuple[int, int]] = field(default_factory=dict)
    moved: int = 0
    kept: frozenset[str] = frozenset()

    @classmethod
    def before(
        cls,
        store: Store,
        root: Path | None,
        reopen: Reopen,
        *,
        plan: Plan,
        scope: Scope,
        salt: bytes,
        level: str,
        words: frozenset[str],
        probes: int = _PROBES,
    ) -> Look:
        """Take the first look, short of reading files: what the records are like, and found so."""
        if level not in LEVELS:
            raise InvalidScope(f"verify= is one of {', '.join(LEVELS)}, not {level!r}")
        found = store.get(plan.ids)
        records = [found[i] for i in plan.ids]
        content, _ = store.vectors(plan.ids)
        hashing = secrets.token_bytes(trace.SALT_BYTES)
        look = cls(
            store,
            root,
            reopen,
            plan.ids,
            level == "full" or (level == "auto" and not exceed(store.files(), _FULL_BYTES)),
            residue.trace(records, content, salt=hashing),
            known=len(records),
            plain=(records, content),
            words=words,
            subject=scope.subject,
            topic=scope.topic,
            hidden=Hidden.of(scope, hashing=hashing, salt=salt),
            kept=frozenset(plan.held),
        )
        asked = list(map(look._finding, plan.ids[:probes], content[:probes]))
        look.queries = [query for query in asked if query is not None]
        look.probed = (len(look.queries), len(asked))
        look.spoken = Spoken.before(store, records, probes, full=level == "full")
        return look

    def scan(self, gone: Sequence[str] = ()) -> None:
        """Find the records in the files, once, while their bytes are still there.

        Args:
            gone: all that the purge will remove, of this look or not.
        """
        if not self.scanned:
            self._control()
            touched = set(self.store.files([*self.ids, *gone]))
            self.others = {path: stamp(path) for path in self.store.files() if path not in touched}
            self.scanned = True

    def _needles(self) -> residue.Needles | None:
        """Return the records' plain bytes, made when files are first read: it takes a while."""
        if self.needles is None and self.plain is not None:
            self.needles = residue.Needles(*self.plain, salt=self.traces.salt)
        return self.needles

    def purged(self) -> None:
        """Compare the files that the purge had no business with, before anything else writes."""
        self.moved = sum(is_other(path, before) for path, before in self.others.items())

    def _control(self) -> None:
        files = self.store.files(self.ids) if self.ids else []
        if self.root is not None:
            marks = self.traces.marks()
            findings = residue.scan(files, self.traces, self._needles(), root=self.root, raw=False)
            self.control = (len(marks & findings.decoded), len(marks))
            self.traces = self.traces.learn(findings.keys)

    def _finding(self, record_id: str, vector: Floats) -> Query | None:
        """Return the query by a record's own vector that finds it, or only its equals."""
        for target in (None, 1.0):  # what is served may miss one of many, which goes all the same
            query = Query(vector, _NEAREST, recall_target=target)
            hits = self.store.search(query)
            equal = len(hits) == _NEAREST and hits[0][1] == hits[-1][1]
            if equal or any(i == record_id for i, _ in hits):
                return query
        return None

    @classmethod
    def resumed(cls, store: Store, root: Path | None, reopen: Reopen, entry: Entry) -> Look:
        """Take up a look after a crash: hashes and controls are known, plain bytes no longer.

        Raises:
            StoreCorrupt: the journal's entry can't be read.
        """
        plain: dict[str, Any] = entry.look
        try:
            traces = residue.Traces.from_plain(plain["traces"])
            return cls(
                store,
                root,
                reopen,
                entry.plan.ids,
                full=True,
                traces=traces,
                known=int(plain["known"]),
                control=(int(plain["control"][0]), int(plain["control"][1])),
                probed=(int(plain["probed"][0]), int(plain["probed"][1])),
                hidden=Hidden.from_plain(plain["hidden"], hashing=traces.salt),
                again=True,
                scanned=bool(plain["scanned"]),
                words=frozenset(plain["words"]),
                kept=frozenset(entry.plan.held),
            )
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise StoreCorrupt(
                f"the journal entry {entry.name} can't be read, so a forget that was under way "
                "can't be finished; restore the file from a backup"
            ) from error

    def to_plain(self) -> dict[str, Any]:
        """Return what a resumed look needs, as JSON without any plain text."""
        return {
            "traces": self.traces.to_plain(),
            "known": self.known,
            "control": list(self.control),
            "probed": list(self.probed),
            "hidden": None if self.hidden is None else self.hidden.to_plain(),
            "scanned": self.scanned,
            "words": sorted(self.words),
        }

    # -- after

    def after(
        self, leaving: Collection[str] = (), named: frozenset[str] = frozenset()
    ) -> list[Surface]:
        """Look again: what is on disk, what the store answers, what a fresh opening answers.

        Args:
            leaving: ids of other forgets that are under way: their rows may still be in files, and
                are for the looks of those.
            named: subjects that marks name because of records that stay.
        """
        rows = [self._asked(self.store, _ASKED)]
        searched = self._searched(self.store, _LISTED if self.again else _SEARCHED, "")
        searched += self.spoken.after(self.store, self.ids, self._scope, fresh=False)
        if self.root is not None:
            rows += self._scanned(self.root, leaving, named)
        if self.full and self.root is not None:
            with self.reopen() as fresh:
                rows.append(self._asked(fresh, _REASKED))
                for path in fresh.capabilities.search_paths:
                    name = (_RELISTED if self.again else _RESEARCHED) + path
                    searched += self._searched(fresh, name, path)
                searched += self.spoken.after(fresh, self.ids, self._scope, fresh=True)
        rows += self._witnesses()
        return [
            judge(
                _ROWS,
                count=len(self.ids),
                method=_ON_DISK if self.root is not None else _IN_MEMORY,
                checks=rows,
                supported=self.store.capabilities.physical_purge,
            ),
            judge(
                _VECTORS,
                count=len(self.ids),
                method=_UNTRAINED,
                checks=searched or [Check(check=_NOTHING, hits=0)],
            ),
        ]

    def _asked(self, store: Store, name: str) -> Check:
        hits = len(store.get(self.ids))
        if self.subject is not None:
            hits += sum(r.id not in self.kept for r in store.scan({"subject": self.subject}))
        elif self.again and self.hidden is not None:
            hits += len(self.hidden.owned(store) - self.kept)
        return Check(
            check=name,
            hits=hits,
            control_expected=len(self.ids),
            control_found=self.known,
            scope=self._scope,
        )

    def _searched(self, store: Store, name: str, path: str) -> list[Check]:
        if not self.ids:
            return []
        gone, (found, expected) = set(self.ids), self.probed
        if self.again:
            # No vector is known any more; but what answers any search answers one for everything.
            live = store.count()
            anything = np.eye(1, self.traces.dim, dtype=np.float32)[0]
            answers = [i for i, _ in store.search(Query(anything, live + len(gone)), path)]
            found, expected = found + len(set(answers) - gone), expected + live
        else:
            answers = [i for query in self.queries for i, _ in store.search(query, path)]
        return [
            Check(
                check=name,
                hits=sum(i in gone for i in answers),
                control_expected=expected,
                control_found=found,
                scope=self._scope,
            )
        ]

    def _scanned(
        self, root: Path, leaving: Collection[str], named: frozenset[str]
    ) -> list[Check]:
        fresh = [path for path in self.store.files() if path not in self.others]
        # Not all receipts, or a forget would take the longer, the more there were before it.
        small = [root / "store" / "manifest.json", root / "experts"]
        # The journal names the ids until the receipt is safe; it is shredded after that.
        everything = [path for path in root.iterdir() if path.name != "journal"]
        names = None if self.full else {path.stem for path in fresh}
        strange = layout.check_layout(root, pieces=names, under_way=True)
        paths = everything if self.full else [*fresh, *(path for path in small if path.exists())]
        findings = residue.scan(
            [] if strange else paths,  # a reader of damaged files may end the process
            self.traces,
            self._needles(),
            root=root,
            survivors=lambda i: i in leaving or bool(self.store.get([i])),
            words=self.words | SAID | named,
        )
        return [
            Check(
                check=(_EVERY if self.full else _TOUCHED) + (_RAW if self.needles else ""),
                hits=sum(findings.hits.values()),
                control_expected=self.control[1],
                control_found=self.control[0],
                # What wasn't read shows nothing, and this check must not look as if it did.
                opaque=len(paths) if strange else len(findings.opaque) + len(findings.missing),
                files=findings.files,
                bytes_read=findings.bytes_read,
                scope=self._scope,
            ),
            Check(check=_STRAYS, hits=len(strange)),
            Check(check=_OTHERS, hits=0 if self.full else self.moved),
        ]

    def _witnesses(self) -> list[Check]:
        """Ask both witnesses of a topic again."""
        hidden = self.hidden
        if hidden is None or hidden.cone is None:
            return []
        if self.topic is not None:
            path = {record.id for record in self.store.scan(under(self.topic))}
        else:
            path = hidden.filed(self.store)
        cone = self.store.cone(hidden.cone)
        return [Check(check=_AGAIN, hits=len(path - self.kept) + len(cone & set(self.ids)))]

    @property
    def _scope(self) -> str:
        return "full" if self.full else "touched"
