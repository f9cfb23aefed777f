"""Sentence-transformers models, run so that a text's bits don't depend on its company.

Three things move the last bits of a vector. A matrix product that threads share is cut up by its
shape, so that its sums run in another order when there are more rows (on one processor every
product of 57 to 192 tokens differed from the larger ones); one of few rows takes another path
through the processor; and padding changes the order in which attention is summed. So on the
processor a batch is one thread's, with the other batches beside it on the other threads; it holds
only texts of one number of tokens, without padding, and never fewer than ``_LEAST_TOKENS`` at once.
That costs less than padding does.

Knows models and texts; doesn't know which model a memory wants.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from fnmatch import fnmatch
from functools import cached_property
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from forgetnet.encode.contract import check_texts, progress_bar
from forgetnet.encode.vectors import Floats, check_vectors
from forgetnet.errors import Unsupported, not_installed

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = ["SentenceTransformerEncoder", "file_sha256", "need"]

_RULE = "one thread, own number of tokens, no padding, enough at once, unit rows; version 2"
_MODEL_FILES = ("*.safetensors", "*.json", "*.txt", "*.model")
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl")
_UNUSED_FILES = ("onnx/*", "openvino/*", "data_config.json")
_TOKENISED_AT_ONCE = 512  # texts for each thread
_LEAST_TOKENS = 64
"""Tokens of the smallest batch. On one thread, products of few rows have other bits than larger
ones, whatever the width of the layer: of up to 7, 15 or 55 rows by SSE4.2, AVX-512 or AVX2."""
_MOST_TOKENS = 4096
"""Tokens of the largest batch, so that the working memory of many threads stays small."""

Rows = npt.NDArray[np.int64]
_Batch = tuple[Rows, dict[str, Any] | str]
"""Rows, and what the model gets for them: tensors, or the text of a row that can't be cut out."""
_Map = Callable[..., Iterable[tuple[Rows, Floats]]]
_STARTING = threading.Lock()


def need(*modules: str) -> None:
    """Refuse to go on without these modules.

    Raises:
        Unsupported: one isn't installed; the message says how to install it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise not_installed(" and ".join(missing), "encoders")


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
        check_texts(texts)
        dim = self.dim
        out = np.zeros((len(texts), dim), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        bar = progress_bar(len(texts), shown=progress)
        with self._lock, bar as advance:
            model = self._loaded()
            run, threads = _side_by_side() if self.device == "cpu" else (map, 1)
            at_once = _TOKENISED_AT_ONCE * threads
            for start in range(0, len(order), at_once):
                rows = np.array(order[start : start + at_once])
                batches = self._batches(model, [texts[row] for row in rows])
                for which, vectors in run(_vectors, repeat(model), batches):
                    out[rows[which]] = vectors
                    advance(len(which))
        return check_vectors(out, dim)

    def _batches(self, model: SentenceTransformer, texts: list[str]) -> Iterator[_Batch]:
        """Tokenise once, then put texts of one length together."""
        import torch

        prompt = model.prompts.get(model.default_prompt_name or "") or None
        features = model.preprocess(texts, prompt=prompt)
        tensors = {k: v for k, v in features.items() if isinstance(v, torch.Tensor)}
        others = {k: v for k, v in features.items() if k not in tensors}
        runs, loose = _runs(tensors, len(texts))
        for row in loose:
            yield np.array([row]), texts[row]
        for (begin, length), same in runs:
            most = max(1, min(self.batch_size, _MOST_TOKENS // length))
            for start in range(0, len(same), most):
                which = same[start : start + most]
                filled = np.resize(which, self._rows(len(which), length))  # repeats its rows
                cut = {k: v[filled, begin : begin + length] for k, v in tensors.items()}
                yield which, {**cut, **others}

    def _rows(self, count: int, length: int) -> int:
        """Return how many rows a batch gets, for ``count`` texts of ``length`` tokens."""
        if self.device != "cpu":
            return self.batch_size
        return max(count, -(-_LEAST_TOKENS // length))

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


def _vectors(model: SentenceTransformer, batch: _Batch) -> tuple[Rows, Floats]:
    """Return the rows of a batch and their vectors."""
    import torch

    which, features = batch
    with torch.inference_mode():
        if isinstance(features, str):
            return which, np.atleast_2d(model.encode([features], batch_size=1))
        there = {
            k: v.to(model.device) if isinstance(v, torch.Tensor) else v for k, v in features.items()
        }
        vectors = model(there)["sentence_embedding"][: len(which)]
        return which, vectors[:, : model.truncate_dim].float().cpu().numpy()


def _side_by_side() -> tuple[_Map, int]:
    """Return a map that runs each call on one thread, as many beside each other as torch may use.

    The threads stay, one group for each number of threads that was asked for.
    """
    import torch

    threads = torch.get_num_threads()
    with _STARTING:
        return _threads(threads, os.getpid()).map, threads


@functools.cache
def _threads(count: int, _pid: int) -> ThreadPoolExecutor:
    """Start threads in which torch uses one thread; a forked process has none of its parent's."""
    import torch

    all_there = threading.Barrier(count)

    def alone() -> None:
        torch.get_num_threads()  # the first call in a thread takes the process's number
        torch.set_num_threads(1)
        all_there.wait()

    pool = ThreadPoolExecutor(count, "encode", alone)
    wait([pool.submit(int) for _ in range(count)])
    torch.set_num_threads(count)  # threads that start later have what the last call said
    return pool


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
