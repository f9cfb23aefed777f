"""The folder of a memory: its settings, its key, and where the rest of it lies.

Knows nothing of records. A memory without a folder (``memory://``) has its key in memory only.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from forgetnet.errors import EncoderMismatch, StoreCorrupt, StoreError
from forgetnet.files import shred, sync_dir, write_durable

__all__ = [
    "FORMAT",
    "PARTS",
    "Home",
    "Settings",
    "check_encoder",
    "load_settings",
    "prepare",
    "read_secret",
    "save_settings",
    "sweep_torn",
]

FORMAT = 1
_SECRET_BYTES = 32
PARTS = {
    "forgetnet.json", "key", "receipt.pub", "journal", "receipts", "ledger.jsonl", "store",
    "experts", "marks", "backups", "suppressed.jsonl",
}  # fmt: skip
# What a durable write leaves when its process is killed, and which of those lie in a new root.
_TORN = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
_OWN_TORN = re.compile(r"\.+(forgetnet\.json|key|receipt\.pub)(\.[0-9a-f]{8}\.tmp)+")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a memory was made with: encoder by name and digest, vector length, key fingerprint.

    ``models`` names the models that learnt from it and have files of their own, each with the
    identity that those hold.
    """

    encoder: str
    digest: str
    dim: int
    key: str
    models: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of a memory; ``root`` is None when it lives in memory alone."""

    root: Path | None
    secret: bytes = field(repr=False)
    readonly: bool = False

    def path(self, *names: str) -> Path | None:
        """Return a path below the root, or None."""
        return None if self.root is None else self.root.joinpath(*names)


def read_secret(root: Path | None, key: bytes | str | Path | None, *, create: bool) -> bytes:
    """Return the memory's secret: the caller's, or the one in its folder, made when it is new.

    Args:
        root: folder of the memory.
        key: at least 32 secret bytes, or the path of a file with them in hexadecimal.
        create: make a key file when there is none.

    Raises:
        StoreError: there is no key, or it is too short.
    """
    if isinstance(key, bytes):
        secret = key
    else:
        path = Path(key) if key is not None else None if root is None else root / "key"
        if path is None:
            return secrets.token_bytes(_SECRET_BYTES)
        if not path.exists() and create and key is None:
            _make_key(path)
        try:
            secret = bytes.fromhex(path.read_text().strip())
        except (OSError, ValueError) as error:
            raise StoreError(
                f"can't read the key file {path}; it holds at least 32 bytes in hexadecimal. "
                "Without its key a memory can't be opened"
            ) from error
    if len(secret) < _SECRET_BYTES:
        raise StoreError(f"a key needs at least {_SECRET_BYTES} bytes; this one has {len(secret)}")
    return secret


def _make_key(path: Path) -> None:
    """Write a new key unless somebody else's is there by then: a key is never replaced.

    Raises:
        StoreError: the folder can't be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write_durable(temporary, secrets.token_hex(_SECRET_BYTES).encode() + b"\n")
        os.link(temporary, path)
    except (FileExistsError, FileNotFoundError):
        pass  # another process made the memory meanwhile, and may have swept our file: use its key
    except OSError as error:
        raise StoreError(f"can't write the key file {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            _remove_torn(temporary)
    sync_dir(path.parent)


def sweep_torn(root: Path) -> None:
    """Remove what durable writes left that were cut short; only who holds the lock may do so.

    Raises:
        StoreError: a file can't be removed.
    """
    try:
        for folder in (root, root / "receipts", root / "journal", root / "marks", root / "backups"):
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                if _TORN.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
                    _remove_torn(path)
            if folder.is_dir():  # what stands in it counts from now on
                sync_dir(folder)
    except OSError as error:
        raise StoreError(
            f"can't remove what a write left in {root}: {error.strerror}; make it writable"
        ) from error


def _remove_torn(path: Path) -> None:
    """Shred a file; where it is a second name of another one, such as the key, only unlink it."""
    with contextlib.suppress(FileNotFoundError):
        if path.lstat().st_nlink > 1:
            path.unlink()
            sync_dir(path.parent)
        else:
            shred(path)


def load_settings(root: Path) -> Settings | None:
    """Read the settings of a memory; None when the folder has none yet.

    Raises:
        StoreCorrupt: they aren't settings of ForgetNet, or of a newer format.
    """
    try:
        body: dict[str, Any] = json.loads((root / "forgetnet.json").read_bytes())
        found = body["format"]
        if isinstance(found, int) and found > FORMAT:
            raise StoreCorrupt(
                f"the memory {root} has format {found} and this version reads up to {FORMAT}; "
                "install a newer forget-by-design"
            )
        models = {str(name): str(identity) for name, identity in body.get("models", {}).items()}
        return Settings(body["encoder"], body["digest"], int(body["dim"]), body["key"], models)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise StoreCorrupt(f"{root} is a file, not the folder of a memory") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorrupt(
            f"{root / 'forgetnet.json'} does not hold the settings of a memory; restore it"
        ) from error


def save_settings(root: Path, settings: Settings) -> None:
    """Write the settings of a memory, durably.

    Raises:
        StoreError: the folder can't be written.
    """
    body = {
        "format": FORMAT,
        "encoder": settings.encoder,
        "digest": settings.digest,
        "dim": settings.dim,
        "key": settings.key,
        **({"models": dict(settings.models)} if settings.models else {}),
    }
    try:
        write_durable(root / "forgetnet.json", json.dumps(body, indent=1).encode() + b"\n", 0o644)
    except OSError as error:
        raise StoreError(f"can't write to {root}: {error.strerror}") from error


def prepare(root: Path, *, readonly: bool) -> bool:
    """Make the folder of a memory if it is new; tell whether it was.

    Raises:
        StoreCorrupt: the folder holds other things.
        StoreError: it can't be made.
    """
    if (root / "forgetnet.json").exists():
        return False
    if readonly:
        raise StoreCorrupt(f"{root} is not a memory of ForgetNet; open it for writing to make one")
    if root.exists() and (not root.is_dir() or any(map(_is_foreign, root.iterdir()))):
        raise StoreCorrupt(
            f"{root} holds other things and is not a memory of ForgetNet; name an empty or a new "
            "folder"
        )
    try:
        missing = [folder for folder in (root, *root.parents) if not folder.exists()]
        for name in ("journal", "receipts"):
            (root / name).mkdir(parents=True, exist_ok=True)
        root.chmod(0o700)
        # Without its entry in the folder above, a power failure would take the whole memory.
        for folder in [root, *(made.parent for made in missing)]:
            sync_dir(folder)
        if not missing:  # the folder may have been made by an opening that was cut short
            with contextlib.suppress(PermissionError):
                sync_dir(root.parent)
    except OSError as error:
        raise StoreError(f"can't make a memory at {root}: {error.strerror}") from error
    return True


def _is_foreign(path: Path) -> bool:
    return path.name not in PARTS and not _OWN_TORN.fullmatch(path.name)


def check_encoder(settings: Settings, name: str, digest: str) -> None:
    """Refuse vectors of another encoder than the memory was made with.

    Raises:
        EncoderMismatch: with the encoder to open it with.
    """
    if settings.digest != digest:
        raise EncoderMismatch(
            f"this memory was made with encoder {settings.encoder!r} (digest "
            f"{settings.digest[:16]}), not with {name!r} (digest {digest[:16]}); open it with "
            f"encoder={settings.encoder!r}, or export it without embeddings and import it anew"
        )
