"""Public data: the only kind on which anything that experts share may be chosen.

What is chosen on private data remembers it: a router's clusters, a weight, a temperature. So what
is shared takes a ``PublicCorpus`` and nothing else, and receipts name what was chosen on what.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from forgetnet.errors import InvalidRecord
from forgetnet.exact import Codes, digest_arrays, quantise
from forgetnet.experts.expert import Label
from forgetnet.record import canonical_json

__all__ = ["PublicCorpus"]


@dataclass(frozen=True)
class PublicCorpus:
    """Data that nobody can ask to have forgotten, and where it comes from.

    Attributes:
        source: name, version and licence, for receipts: ``CLINC150, CC BY 3.0``.
        vectors: (n, d) unit vectors of the model's encoder.
        targets: n labels or numbers; None where only the vectors are of use.
    """

    source: str
    vectors: npt.NDArray[np.float32] = field(repr=False)
    targets: Sequence[Label | float] | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not self.source.strip():
            raise InvalidRecord("say where the public data comes from: PublicCorpus(source=...)")
        if self.targets is not None and len(self.targets) != len(self.vectors):
            raise InvalidRecord(
                f"{len(self.vectors)} public vectors came with {len(self.targets)} targets"
            )

    @property
    def codes(self) -> Codes:
        """The vectors in steps of 2^-12."""
        return quantise(self.vectors)

    def digest(self) -> str:
        """Hash what is in it."""
        targets = None if self.targets is None else list(self.targets)
        body = canonical_json([digest_arrays({"codes": self.codes}), targets])
        return hashlib.sha256(body.encode()).hexdigest()
