"""Sentence-transformers models, run so that a text's bits don't depend on its company.

A matrix product of few rows takes another path through the processor than one of many, and
padding changes the order in which attention is summed; both move the last bits of a vector. So a
text runs only with texts of its own number of tokens, without padding, and never fewer than
`least_tokens` at once. Unpadded batches also cost less than padded ones.

Knows models and texts; doesn't know which model a memory wants.
"""

from __future__ import annotations

import hashlib
import importlib.util
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from forgetnet.encode.contract import check_texts, progress_bar
from forgetnet.encode.vectors import Floats, check_vectors
from forgetnet.errors import Unsupported

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = ["SentenceTransformerEncoder", "file_sha256", "least_tokens", "need"]

_RULE = "own number of tokens, no padding, enough tokens at once, unit rows; version 1"
_INSTALL = "pip install 'forget-by-design[encoders]'"
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl")
_UNUSED_FILES = ("onnx/*", "openvino/*", "data_config.json")
_TOKENISED_AT_ONCE = 512

Rows = npt.NDArray[np.int64]


def least_tokens(threads: int) -> int:
    """Return how many tokens the smallest batch needs, for its bits to be those of a large one.

    The threads share the rows of a product out, and a thread that is left with fewer than four
    takes another kernel. The largest batches seen to differ on all-MiniLM had 11 tokens on 2
    threads, 27 on 16, 51 on 32 and 171 on 64; this is well above each.
    """
    return max(32, 4 * threads)


def need(*modules: str) -> None:
    """Refuse to go on without these modules.

    Raises:
        Unsupported: one isn't installed; the message says how to install it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise Unsupported(f"{' and '.join(missing)} isn't installed: {_INSTALL}")


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class SentenceTransformerEncoder:
    """Encode with a sentence-transformers model, under a rule that keeps texts apart.

    The model is loaded at the first text, from safetensors only (a pickle can run code). The
    default device is the processor, where MiniLM passes `check_company`. On any other device
    every batch has exactly ``batch_size`` rows; `check_company` says whether that is enough there.

    Args:
        name_or_path: a folder, or a name for the hub (fetched once, into its cache).
        device: a torch device; the processor where None.
        batch_size: most rows at once.
        name: what to call it; ``name_or_path`` where None.
        dim: length of a vector where it is known; else the model is asked, which loads it.
    """

    def __init__(
        self,
        name_or_path: str | Path,
        device: str | None = None,
        batch_size: int = 64,
        *,
        name: str | None = None,
        dim: int | None = None,
    ) -> None:
        need("sentence_transformers")
        if batch_size < 1:
            raise Unsupported(f"batch_size must be at least 1, not {batch_size}")
        self._where = str(name_or_path)
        self.name = name or self._where
        self.device = device or "cpu"
        self.batch_size = batch_size
        self._dim = dim
        self._lock = threading.Lock()  # tokenizers can't be used by two threads at once
        self._model: SentenceTransformer | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r}, device={self.device!r})"

    @cached_property
    def folder(self) -> Path:
        """Find the model's folder, fetching it where it is a name that isn't in the cache.

        Raises:
            Unsupported: there is no such model, or its weights are pickled.
        """
        folder = Path(self._where)
        if not folder.is_dir():
            folder = _fetch(self._where)
        _assert_safetensors(folder, self.name)
        return folder

    @cached_property
    def digest(self) -> str:
        """Hash the model's files (weights, tokenizer, settings) and the rule of batching."""
        total = hashlib.sha256(_RULE.encode())
        for name, path in _model_files(self.folder):
            total.update(f"\n{name} {file_sha256(path)}".encode())
        return total.hexdigest()

    @property
    def dim(self) -> int:
        """Return the length of a vector."""
        if self._dim is None:
            with self._lock:
                self._dim = self._loaded().get_embedding_dimension()
        if self._dim is None:
            raise Unsupported(f"{self.name} doesn't say how long its vectors are; give `dim=`")
        return self._dim

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Floats:
        """Return unit float32 rows (n, dim); the bits of a row depend on its text alone."""
        import torch

        check_texts(texts)
        dim = self.dim
        out = np.zeros((len(texts), dim), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        bar = progress_bar(len(texts), shown=progress)
        with self._lock, torch.inference_mode(), bar as advance:
            model = self._loaded()
            for start in range(0, len(order), _TOKENISED_AT_ONCE):
                rows = np.array(order[start : start + _TOKENISED_AT_ONCE])
                for which, vectors in self._embed(model, [texts[row] for row in rows]):
                    out[rows[which]] = vectors
                    advance(len(which))
        return check_vectors(out, dim)

    def _embed(
        self,
        model: SentenceTransformer,
        texts: list[str],
    ) -> Iterator[tuple[Rows, Floats]]:
        """Tokenise once, then run texts of one length together; yields (positions, vectors)."""
        import torch

        prompt = model.prompts.get(model.default_prompt_name or "") or None
        features = model.preprocess(texts, prompt=prompt)
        tensors = {k: v for k, v in features.items() if isinstance(v, torch.Tensor)}
        others = {k: v for k, v in features.items() if k not in tensors}
        runs, loose = _runs(tensors, len(texts))
        for row in loose:
            yield np.array([row]), np.atleast_2d(model.encode([texts[row]], batch_size=1))
        for (begin, length), same in runs:
            for start in range(0, len(same), self.batch_size):
                which = same[start : start + self.batch_size]
                filled = np.resize(which, self._rows(len(which), length))  # repeats its rows
                batch = {
                    k: v[filled, begin : begin + length].to(model.device)
                    for k, v in tensors.items()
                }
                vectors = model({**batch, **others})["sentence_embedding"][: len(which)]
                yield which, vectors[:, : model.truncate_dim].float().cpu().numpy()

    def _rows(self, count: int, length: int) -> int:
        """Return how many rows a batch gets, for ``count`` texts of ``length`` tokens."""
        import torch

        if self.device != "cpu":
            return self.batch_size
        return max(count, -(-least_tokens(torch.get_num_threads()) // length))

    def _loaded(self) -> SentenceTransformer:
        """Return the model, loading it the first time; the caller holds the lock."""
        if self._model is None:
            folder = self.folder
            with _quiet():
                from safetensors import SafetensorError
                from sentence_transformers import SentenceTransformer

                try:
                    self._model = SentenceTransformer(
                        str(folder),
                        device=self.device,
                        local_files_only=True,
                        model_kwargs={"use_safetensors": True},
                    )
                except (OSError, ValueError, KeyError, SafetensorError) as error:
                    raise Unsupported(f"{self.name} can't be loaded as an encoder") from error
            self._model.eval()
        return self._model


def _runs(
    tensors: dict[str, torch.Tensor],
    count: int,
) -> tuple[list[tuple[tuple[int, int], Rows]], list[int]]:
    """Sort the rows of a padded batch by where their tokens begin and how many they are.

    Returns ([((begin, length), rows)], loose), where loose rows can't be cut out of the batch:
    the model has no mask, or a row has holes or no tokens.
    """
    mask = tensors.get("attention_mask")
    if mask is None or any(v.shape != (count, mask.shape[1]) for v in tensors.values()):
        return [], list(range(count))
    real = mask.cpu().numpy() != 0
    begins, lengths = real.argmax(axis=1), real.sum(axis=1)
    runs: dict[tuple[int, int], list[int]] = {}
    loose = []
    for row, (begin, length) in enumerate(zip(begins.tolist(), lengths.tolist(), strict=True)):
        if length and real[row, begin : begin + length].all():
            runs.setdefault((begin, length), []).append(row)
        else:
            loose.append(row)
    return [(key, np.array(rows)) for key, rows in sorted(runs.items())], loose


def _model_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files that make the vectors what they are, by relative name, sorted."""
    found = {p.relative_to(folder).as_posix(): p for k in _MODEL_FILES for p in folder.rglob(k)}
    for name in sorted(found):
        hidden = any(part.startswith(".") for part in name.split("/"))
        if not hidden and not any(fnmatch(name, unused) for unused in _UNUSED_FILES):
            yield name, found[name]


def _assert_safetensors(folder: Path, name: str) -> None:
    """Refuse a folder where weights are pickled only: unpickling can run code."""
    pickled = {p.parent for kind in _PICKLES for p in folder.rglob(kind)}
    safe = {p.parent for p in folder.rglob("*.safetensors")}
    if not safe or pickled - safe:
        raise Unsupported(
            f"{name} has weights that aren't in safetensors, and pickled ones can run code: save "
            "it again with `model.save_pretrained(folder)` and give that folder",
        )


def _fetch(name: str) -> Path:
    """Return the folder of a model of the hub, from the cache where it is there."""
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                name,
                allow_patterns=list(_MODEL_FILES),
                ignore_patterns=list(_UNUSED_FILES),
            ),
        )
    except (OSError, ValueError) as error:
        raise Unsupported(
            f"there is no encoder {name!r}: not a folder, and not a model that the hub or its "
            "cache could give",
        ) from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' bars off the terminal while a model is loaded."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
