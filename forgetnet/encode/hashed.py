"""An encoder that has learned nothing: hashed words and spellings. Knows no model, no files."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from forgetnet.encode.contract import check_texts, progress_bar
from forgetnet.encode.vectors import Floats, check_vectors
from forgetnet.errors import Unsupported

__all__ = ["HashEncoder"]


class HashEncoder:
    """Encode by hashed words and character triples: deterministic, offline, learned from nothing.

    Meant for tests and for machines without a model: texts that share words or spellings are
    near, meaning is beyond it. Weights are integers (signed buckets, as in Weinberger et al.,
    *Feature hashing for large scale multitask learning*, 2009), so no order of summing shows. No
    cache: a cache would remember the texts.
    """

    def __init__(self, dim: int = 384) -> None:
        if dim < 1:
            raise Unsupported(f"a hash encoder needs at least 1 dimension, not {dim}")
        self.dim = dim
        self.name = f"hash:{dim}"
        self.digest = hashlib.sha256(f"forgetnet hash encoder 1, {dim}".encode()).hexdigest()

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Floats:
        """Return unit float32 rows (n, dim); a text without features gets the first axis."""
        check_texts(texts)
        out = np.zeros((len(texts), self.dim), dtype=np.float64)
        with progress_bar(len(texts), shown=progress) as advance:
            for row, text in zip(out, texts, strict=True):
                row[:] = self._buckets(text)
                advance(1)
        return check_vectors(out, self.dim)

    def _buckets(self, text: str) -> npt.NDArray[np.int64]:
        plain = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
        words = re.findall(r"\w+", plain)
        padded = f" {plain} "
        features = Counter(
            [("w", word) for word in words]
            + [("p", f"{a} {b}") for a, b in pairwise(words)]
            + [("c", padded[i : i + 3]) for i in range(len(padded) - 2)],
        )
        sums = np.zeros(self.dim, dtype=np.int64)
        for (kind, feature), count in features.items():
            data = f"{kind}{feature}".encode("utf-8", "surrogatepass")
            number = int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
            weight = {"w": 4, "p": 2, "c": 1}[kind] * count.bit_length()
            sums[(number >> 1) % self.dim] += weight if number & 1 else -weight
        if not sums.any():
            sums[0] = 1
        return sums
