"""Opening a memory: which folder, which engine, which encoder and which key belong together.

Knows nothing of verbs. Everything that a memory was made with is checked before a record is read.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from forgetnet.encode import Encoder, resolve_encoder
from forgetnet.errors import StoreError, Unsupported
from forgetnet.files import doubts, trust, write_durable
from forgetnet.forget.backups import Backups
from forgetnet.forget.keys import derive_salt, derive_signer, derive_tombstones, key_id, public_pem
from forgetnet.forget.marks import Marks
from forgetnet.forget.suppression import Suppression
from forgetnet.given import path_of, root_of
from forgetnet.home import (
    Home,
    Settings,
    check_encoder,
    load_settings,
    prepare,
    read_secret,
    save_settings,
    sweep_torn,
)
from forgetnet.store import Store, StoreConfig, engine_of, open_store, split_url

__all__ = ["Key", "Parts", "is_filed", "is_sealed", "open_parts"]

Key = bytes | str | Path | None


@dataclass(frozen=True, slots=True)
class Parts:
    """What a memory is made of; every verb holds its lock, so that threads may share one."""

    store: Store
    encoder: Encoder
    home: Home
    url: str
    lock: threading.RLock = field(default_factory=threading.RLock, repr=False)
    marks: Marks = field(init=False, repr=False)
    backups: Backups = field(init=False, repr=False)
    suppression: Suppression = field(init=False, repr=False)

    def __post_init__(self) -> None:
        tombstones = derive_tombstones(self.home.secret)
        object.__setattr__(self, "marks", Marks(self.home.path("marks")))
        sealed = self.home.path("store", "keys")
        backups = Backups(self.home.path("backups"), tombstones, sealed)
        object.__setattr__(self, "backups", backups)
        listed = self.home.path("suppressed.jsonl")
        object.__setattr__(self, "suppression", Suppression(listed, tombstones))

    @property
    def sealed(self) -> bool:
        """Whether rows are sealed with keys by subject."""
        keys = self.home.path("store", "keys")
        return keys is not None and keys.exists()

    @contextlib.contextmanager
    def reopen(self) -> Iterator[Store]:
        """Open the store once more, for reading; in memory, it is the same one."""
        if self.home.root is None:
            yield self.store
            return
        salt = derive_salt(self.home.secret)
        store = open_store(self.url, StoreConfig(self.encoder.dim, salt, readonly=True))
        try:
            yield store
        finally:
            store.close()


def open_parts(
    url: str,
    encoder: str | Encoder | None,
    key: Key,
    *,
    readonly: bool,
    sealed: bool = False,
    filed: bool = False,
) -> Parts:
    """Open the parts of the memory at a path or URL, making a new one where there is none.

    Raises:
        EncoderMismatch: it was made with another encoder.
        StoreCorrupt: the path holds something else.
        StoreError: it belongs to another key, or can't be made or read.
        Unsupported: the engine or the encoder isn't installed.
    """
    key = key if key is None or isinstance(key, bytes) else path_of(key, "key=", StoreError)
    engine, path = split_url(url)
    if engine == "memory":
        return _in_memory(encoder, key, sealed=sealed, filed=filed)
    if not path:
        raise StoreError(f"the URL names no path; write {engine}://PATH")
    if filed and (readonly or sealed):  # found out before there is a folder
        raise Unsupported(
            "vectors are read from files by a writer whose rows aren't encrypted; leave vectors= "
            "out to keep them in memory"
        )
    root = root_of(path)
    settings = load_settings(root)
    if not settings:
        engine_of(engine)  # found out before there is a folder
    chosen = resolve_encoder(settings.encoder if settings and encoder is None else encoder)
    if settings:
        check_encoder(settings, chosen.name, chosen.digest)
    # An encoder that can't be loaded, or a key that can't be read, is found out before there is a
    # folder, so that what fails leaves none.
    dim, digest = chosen.dim, chosen.digest
    secret = None if key is None else read_secret(root, key, create=False)
    new = prepare(root, readonly=readonly)
    home = Home(root, secret or read_secret(root, None, create=new), readonly)
    signer = derive_signer(home.secret)
    fingerprint = key_id(signer.public_key())
    if settings:
        _check_key(root, settings, fingerprint)
    kind = {"readonly": readonly, "sealed": sealed, "filed": filed}
    config = StoreConfig(dim, derive_salt(home.secret), **kind)
    inner = f"{engine}://{root / 'store'}"
    before = doubts(root)
    store = open_store(inner, config)
    done = False
    try:
        if not readonly:
            trust(before)
            sweep_torn(root)
        if new and (settings := load_settings(root)):
            # Another process made it before the lock was ours: it decides, as for any old memory.
            check_encoder(settings, chosen.name, digest)
            _check_key(root, settings, fingerprint)
        elif new:
            try:
                write_durable(root / "receipt.pub", public_pem(signer), 0o644)
            except OSError as error:
                raise StoreError(f"can't write to {root}: {error.strerror}") from error
            save_settings(root, Settings(chosen.name, digest, dim, fingerprint))
        done = True
    finally:
        if not done:
            store.close()
    return Parts(store, chosen, home, inner)


def _in_memory(encoder: str | Encoder | None, key: Key, *, sealed: bool, filed: bool) -> Parts:
    if sealed:
        raise Unsupported("memory:// writes nothing, so that there is nothing to encrypt")
    chosen = resolve_encoder(encoder)
    home = Home(None, read_secret(None, key, create=True))
    config = StoreConfig(chosen.dim, derive_salt(home.secret), filed=filed)
    return Parts(open_store("memory://", config), chosen, home, "memory://")


def is_sealed(encryption: object) -> bool:
    """Tell whether a memory is to be encrypted.

    Raises:
        StoreError: there is no such encryption.
    """
    if encryption not in (None, "subject"):
        raise StoreError("encryption= is 'subject', a key for each subject, or None")
    return encryption is not None


def is_filed(vectors: object) -> bool:
    """Tell whether vectors are to be read from files.

    Raises:
        StoreError: there is no such place for vectors.
    """
    if not isinstance(vectors, str) or vectors not in {"ram", "disk"}:
        raise StoreError("vectors= is 'ram', or 'disk' to read them from the store's files")
    return vectors == "disk"


def _check_key(root: Path, settings: Settings, fingerprint: str) -> None:
    """Refuse another key than the memory was made with."""
    if settings.key != fingerprint:
        raise StoreError(
            f"the memory {root} belongs to another key; open it with the key it was made with"
        )
