"""Tensors in a file that tells whether it is whole: safetensors, with a record and a sum over both.

Knows nothing of what the tensors are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.files import make_dir, write_durable
from forgetnet.unlearn.identity import joint_digest, tensors_digest

__all__ = ["read_whole", "write_whole"]


def write_whole(path: Path, tensors: Mapping[str, Tensor], record: str = "") -> None:
    """Replace a file durably, in one step; its folder is made where it isn't there.

    Raises:
        StoreError: it can't be written; what was there still is.
    """
    plain = {name: tensor.detach().cpu().clone() for name, tensor in tensors.items()}
    told = {"record": record, "sum": joint_digest(record, tensors_digest(plain))}
    try:
        make_dir(path.parent)
        write_durable(path, save(plain, metadata=told))
    except OSError as error:
        raise StoreError(f"can't write to {path.parent}: {error.strerror}") from error


def read_whole(path: Path) -> tuple[dict[str, Tensor], str]:
    """Return the tensors and the record of a file.

    Raises:
        StoreCorrupt: it was torn, or damaged since, or is another kind of file.
    """
    try:
        body = path.read_bytes()
        length = int.from_bytes(body[:8], "little")
        told = json.loads(body[8 : 8 + length])["__metadata__"]
        tensors = load(body)
        if told["sum"] != joint_digest(told["record"], tensors_digest(tensors)):
            raise ValueError("another sum")
        return tensors, str(told["record"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise StoreCorrupt(f"{path} isn't whole; remove it to begin anew") from error
