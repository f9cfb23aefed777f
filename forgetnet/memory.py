"""The memory: the verbs that users know, and ``forget``.

Ties encoder, store, geometry and the path of a forget together. Every verb takes the same lock,
so one memory may be shared by threads. Knows nothing of engines' files or of the shell.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import numpy as np

from forgetnet.atlas.mapping import Maps
from forgetnet.attached import attach, check_untaught, models_of, refuse_model
from forgetnet.batch import common_of, complete, items_of, normalise_all, uncollected
from forgetnet.component import Attachable, Component
from forgetnet.embed import embed
from forgetnet.encode import Encoder
from forgetnet.errors import ForgetNetError, InvalidRecord, StoreError
from forgetnet.exchange import check_memory, not_stored, read_memory, write_memory
from forgetnet.forget.backing import Backs
from forgetnet.forget.execute import Office, planned, settle
from forgetnet.forget.execute import forget as execute
from forgetnet.forget.keeping import Keeps, check_free, let_go, put_anew
from forgetnet.forget.keys import derive_signer, public_pem
from forgetnet.forget.linked import Relates
from forgetnet.forget.plan import Plan, Scope
from forgetnet.forget.receipt import Receipt
from forgetnet.forget.suppression import Suppress
from forgetnet.forget.sweeping import Sweeper, Sweeps, check_every, expired, is_due
from forgetnet.geometry import codes
from forgetnet.given import check_switches, clock_of, names_of, path_of, text_of
from forgetnet.meaning import Scopes
from forgetnet.opening import Key, Parts, is_filed, is_sealed, open_parts
from forgetnet.reader import Reader, now
from forgetnet.record import Deleted, Record, normalise, split_topic
from forgetnet.store import Floats

__all__ = ["KEEP", "Keep", "Memory"]


class Keep(Enum):
    """Stands for a field that ``update`` leaves as it is, since None is a value."""

    KEEP = "keep"


KEEP = Keep.KEEP


class Memory(Reader, Scopes, Keeps, Sweeps, Backs, Maps, Relates):
    """A deletable memory; open one with :meth:`Memory.open`."""

    def __init__(
        self,
        parts: Parts,
        *,
        clock: Callable[[], datetime] = now,
        components: Sequence[Component] = (),
        models: Sequence[Attachable] = (),
        remarks: Sequence[str] = (),
    ) -> None:
        super().__init__(parts, clock)
        self._models = tuple(models)
        self._sweeper: Sweeper | None = None
        self._office = Office(
            store=parts.store,
            signer=derive_signer(parts.home.secret),
            salt=self._salt,
            ledger=self._ledger,
            root=parts.home.root,
            reopen=parts.reopen,
            readonly=parts.home.readonly,
            encoder_digest=hashlib.sha256(parts.encoder.digest.encode()).hexdigest(),
            clock=self._clock,
            components=[*components, *attach(parts, models, components)],
            remarks=tuple(remarks),
            lock=parts.lock,
            backups=parts.backups,
            suppression=parts.suppression,
            marks=parts.marks,
        )

    @classmethod
    def open(
        cls,
        path_or_url: str | Path,
        *,
        encoder: str | Encoder | None = None,
        key: Key = None,
        models: Attachable | Sequence[Attachable] = (),
        readonly: bool = False,
        sweep_every: float | None = None,
        suppress: Suppress | None = None,
        encryption: Literal["subject"] | None = None,
        vectors: Literal["ram", "disk"] = "ram",
        clock: Callable[[], datetime] = now,
    ) -> Memory:
        """Open the memory at a path or URL (``./kb``, ``lance://./kb``, ``memory://``).

        A new one is made where there is none. A forget that a crash cut short is finished first.

        Args:
            path_or_url: folder of the memory, or a URL that names the engine.
            encoder: ``"minilm"`` (the default where the extra is installed), any
                sentence-transformers name or path, ``"hash"``, ``"vectors:384"``, or an encoder.
            key: 32 secret bytes or more, or a file with them in hexadecimal; by default a file in
                the folder. It signs the receipts and keys the topic codes and the shard map.
            models: what learnt from its records, as ``forgetnet.fallback.Entangled``; one left out
                later stands as ``unsupported`` in receipts until it is given again.
            readonly: read beside a writer; sees what it commits at the next call.
            sweep_every: seconds between sweeps in the background, each as by :meth:`sweep`, with
                receipts in the folder; by default there are none.
            suppress: ``"refuse"`` keeps keyed hashes of what is forgotten from now on and takes
                none of it again, by id or text; ``"warn"`` takes it and logs its id; ``"off"``
                shreds the list. A list stays on at later openings, refusing.
            encryption: ``"subject"`` seals what a new memory's rows say with a key for each
                subject, which is zeroed with the subject's last record; it stays so.
            vectors: ``"disk"`` reads them from the store's files at every question, with the same
                answers; not for readers, nor what is encrypted.
            clock: returns the present time, aware.

        Raises:
            EncoderMismatch: the memory was made with another encoder.
            StoreCorrupt: the path holds something else, or bytes were changed.
            StoreLocked: another process writes to it.
            Unsupported: the engine or the encoder isn't installed.
        """
        models = models_of(models)
        clock = clock_of(clock)
        check_switches(StoreError, readonly=readonly)
        every = check_every(sweep_every)
        path_of(path_or_url, "the place of a memory", StoreError)
        kind = {"sealed": is_sealed(encryption), "filed": is_filed(vectors)}
        parts = open_parts(str(path_or_url), encoder, key, readonly=readonly, **kind)
        done = False
        try:
            refuse_model(parts)
            memory = cls(parts, clock=clock, models=models)
            if not readonly:
                memory._office.suppression.turn(suppress)
                memory._catch_up()
                if every is not None:
                    memory._sweeper = Sweeper(memory, every)
            done = True
        finally:
            if not done:
                for model in models:
                    model.detach()
                parts.store.close()
        return memory

    def _catch_up(self) -> None:
        """Finish what a crash cut short, and then what models missed that were left out."""
        with self._lock:
            settle(self._office)
        for model in self._models:
            model.settled()

    def close(self) -> None:
        """Close the store, let go of its lock and of the models; wait for a sweep under way."""
        if self._sweeper is not None:
            self._sweeper.stop()
        super().close()
        for model in self._models:
            model.detach()

    @property
    def public_key(self) -> bytes:
        """The public key that verifies this memory's receipts, as PEM."""
        return public_pem(self._office.signer)

    # -- writing

    def add(
        self,
        items: str | Record | Iterable[str] | Iterable[Record],
        *,
        ids: Sequence[str] | str | None = None,
        subject: str | None = None,
        topic: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        mentions: Sequence[str] | str | None = (),
        derived_from: Sequence[str] | str | None = (),
        expires_at: datetime | None = None,
        vectors: Floats | Sequence[Sequence[float]] | None = None,
        progress: bool = True,
    ) -> list[str]:
        """Store texts or records, all or none, durably; return their ids in order.

        Args:
            items: a text, a record, or many of either.
            ids: names for texts; random ones by default.
            subject: whose data the texts are; for records, the default where they name nobody.
            topic: path such as ``health/allergies``, likewise.
            metadata: JSON values for texts, likewise.
            mentions: other subjects that the texts are about.
            derived_from: ids of the records that the texts were made from.
            expires_at: aware time from which they are invisible.
            vectors: (n, d) embeddings to use instead of the encoder's.
            progress: show a bar on long work, when the output is a terminal.

        Raises:
            InvalidRecord: an item can't be stored, or an id is taken; nothing was stored.
            StoreError: the store can't be written; nothing was stored.
        """
        check_switches(InvalidRecord, progress=progress)
        common = common_of(
            subject=subject,
            topic=topic,
            metadata=metadata,
            mentions=mentions,
            derived_from=derived_from,
            expires_at=expires_at,
        )
        names = None if ids is None else names_of(ids, "ids", InvalidRecord, ordered=True)
        raw = complete(items_of(items), common, names)
        with self._lock:
            settle(self._office)
            with uncollected(len(raw)):
                records = normalise_all(raw, self._clock())
            self._office.suppression.check(records)
            content = embed(self._encoder, raw, vectors, progress=progress)
            with uncollected(len(raw)):
                self._store.add(records, content, self._places(records))
        return [record.id for record in records]

    def _places(self, records: Sequence[Record]) -> Floats:
        topics = [record.topic for record in records]
        number = {topic: i for i, topic in enumerate(dict.fromkeys(topics))}
        distinct = codes.places([split_topic(topic) for topic in number], self._salt)
        return distinct[np.fromiter(map(number.__getitem__, topics), np.intp, len(topics))]

    def update(
        self,
        id: str,
        text: str | Keep = KEEP,
        *,
        subject: str | Keep | None = KEEP,
        topic: str | Keep | None = KEEP,
        metadata: Mapping[str, Any] | Keep = KEEP,
        mentions: Sequence[str] | str | Keep | None = KEEP,
        derived_from: Sequence[str] | str | Keep | None = KEEP,
        expires_at: datetime | Keep | None = KEEP,
        vector: Floats | None = None,
    ) -> Record:
        """Change the fields that are given, in one commit, and return the record.

        The old version is unreachable at once; its bytes go with the next ``forget`` or ``purge``.
        A new text is embedded anew unless ``vector`` (d,) is given.

        Raises:
            Held: a legal hold forbids it; nothing was changed.
            InvalidRecord: the id isn't stored, or a value can't be stored; nothing was changed.
        """
        text_of(id, "id", InvalidRecord)
        given = {
            "text": text,
            "subject": subject,
            "topic": topic,
            "metadata": metadata,
            "mentions": mentions,
            "derived_from": derived_from,
            "expires_at": expires_at,
        }
        changes = {name: value for name, value in given.items() if value is not KEEP}
        for name in {"mentions", "derived_from"} & changes.keys():
            changes[name] = names_of(changes[name], name, InvalidRecord)
        with self._lock:
            check_untaught(self._office.components, "update")
            settle(self._office)
            check_free(self._office, [id], "update")
            found = self._store.get([id]).get(id)
            if found is None:
                raise InvalidRecord(f"no record has the id {id[:80]!r}; add it first")
            kept = self._store.vectors([id])[0][0] if found.text is None else None
            raw = replace(found, **changes, vector=kept if vector is None else vector)  # type: ignore[arg-type] # checked below
            record = normalise(raw, self._clock())
            if text is not KEEP:
                self._office.suppression.check([record], ids=False)
            content = self._store.vectors([id])[0]
            if text is not KEEP or vector is not None:
                content = embed(self._encoder, [raw], None, progress=False)
            put_anew(self._office, record, content, self._places([record]))
        return record

    def delete(self, ids: str | Sequence[str]) -> Deleted:
        """Make records unreachable, at once and durably.

        Their bytes stay in the files until ``purge`` or ``forget``; use ``forget`` to erase.

        Raises:
            Held: a legal hold forbids it for some of them; nothing was deleted.
            InvalidRecord: ``ids`` is neither an id nor several.
        """
        wanted = list(dict.fromkeys(names_of(ids, "ids", InvalidRecord)))
        with self._lock:
            check_untaught(self._office.components, "delete")
            settle(self._office)
            check_free(self._office, wanted, "delete")
            gone = set(self._store.delete(wanted))
            let_go(self._office, gone)
        missing = tuple(i for i in wanted if i not in gone)
        return Deleted(tuple(i for i in wanted if i in gone), missing)

    def purge(self) -> int:
        """Remove the bytes of everything deleted or replaced; return the pieces rewritten."""
        with self._lock:
            settle(self._office)
            return self._store.purge().pieces

    # -- forgetting

    def _planned(self, scope: Scope) -> Plan:
        with self._lock:
            return planned(self._office, scope)

    def _erased(self, scope: Scope, *, reason: str, level: str) -> Receipt:
        with self._lock:
            return execute(self._office, scope, reason=reason, level=level)

    @contextlib.contextmanager
    def _keeping(self) -> Iterator[Office]:
        with self._lock:
            if not self._office.readonly:
                settle(self._office)
            yield self._office

    def sweep(self) -> Receipt:
        """Forget every record that has expired, and what is derived from those."""
        with self._lock:
            return execute(self._office, expired(self._office), reason="", level="auto")

    def overdue(self) -> bool:
        """Tell whether a sweep would erase anything, or finish that; what is held it wouldn't."""
        with self._lock:
            return is_due(self._office)

    # -- coming and going

    def export(self, path: str | Path, *, embeddings: bool = True) -> int:
        """Write every stored record to a JSONL file (gzipped if it ends in .gz); return how many.

        The file comes back by :meth:`import_` without loss. What is forgotten later stays in it:
        a receipt covers no exports.

        Args:
            path: file to write, replaced in one step.
            embeddings: keep the vectors, so that nothing needs to be embedded again.

        Raises:
            StoreError: the file can't be written; an older one stays as it was.
        """
        path = path_of(path, "path", StoreError)
        check_switches(StoreError, embeddings=embeddings)
        with self._lock:
            return write_memory(
                self._store, path, self._encoder, embeddings=embeddings, at=self._clock()
            )

    def import_(self, path: str | Path, *, progress: bool = True) -> list[str]:
        """Store the records of a file that :meth:`export` wrote; return their ids, in its order.

        The whole file is read and checked before anything is stored. Records that are stored
        already, field for field, are passed over: so after an import that was cut short, by an
        error or a crash, the same call goes on where it stopped. Embeddings are taken over if
        they are of this memory's encoder, else made anew.

        Raises:
            InvalidRecord: a line is broken, an id comes twice or another record has it; the
                message says which, and nothing was stored.
            StoreError: the store can't be written, or the file changed meanwhile; the message
                says how many of its records, from the first on, are stored.
        """
        path = path_of(path, "path", InvalidRecord)
        check_switches(InvalidRecord, progress=progress)
        ids: list[str] = []
        with self._lock:
            settle(self._office)
            check_memory(path, self._encoder, self._store)
            self._office.suppression.check_all(read_memory(path, self._encoder))
            try:
                for records in read_memory(path, self._encoder):
                    self.add(not_stored(self._store, records), progress=progress)
                    ids += [record.id for record in records]
            except ForgetNetError as error:
                if not ids:
                    raise
                raise StoreError(
                    f"the first {len(ids)} records of {path} are stored, up to {ids[-1][:80]!r}, "
                    f"and the rest isn't: {error}; import the file again to go on from there"
                ) from error
        return ids
