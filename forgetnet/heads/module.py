"""The head as a module of sentence-transformers, for pipelines outside of a memory.

A query leaves with its time coordinate turned round, a document without, so that the plain inner
product of the two is -cosh of their hyperbolic distance: the largest is the nearest. Stored points
must not be compared with each other by that product; compare tangents, or ask by distance.

Knows nothing of memories. Needs the extra ``encoders``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules.module import Module
from torch import Tensor

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import lorentz
from forgetnet.heads.public import PublicHead, load_head
from forgetnet.heads.tangents import LIMIT

__all__ = ["HyperbolicHead", "pipeline"]


class HyperbolicHead(Module):
    """Map an encoder's vectors to points of the Lorentz model, curvature -1, radius below 6.

    Args:
        head: whose weights it has; they are buffers, and no optimiser finds them.
    """

    forward_kwargs: set[str] = {"task"}  # noqa: RUF012 # as the library declares it

    def __init__(self, head: PublicHead) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # the library leaves it unannotated
        self.head = head
        self.register_buffer("weight", torch.from_numpy(head.map.weight.copy()))
        self.register_buffer("bias", torch.from_numpy(head.map.bias.copy()))

    def forward(
        self, features: dict[str, Any], task: str | None = None, **_others: Any
    ) -> dict[str, Any]:
        """Put (n, d + 1) points, time first, in the place of (n, m) vectors.

        Args:
            features: with ``sentence_embedding``.
            task: ``query`` turns the time coordinate round.
        """
        vectors: Tensor = features["sentence_embedding"]
        flat = vectors @ self.weight.T.to(vectors) + self.bias.to(vectors)
        points = lorentz.expmap0(lorentz.clip_radius(flat, k=1.0, limit=LIMIT), k=1.0)
        if task == "query":
            points = torch.cat([-points[..., :1], points[..., 1:]], dim=-1)
        return {**features, "sentence_embedding": points}

    def get_embedding_dimension(self) -> int:
        """Return the length of a point."""
        return self.head.map.dim + 1

    def save(self, output_path: str, *_args: Any, **_options: Any) -> None:
        """Write the head with its pins."""
        self.head.save(output_path)

    @classmethod
    def load(
        cls, model_name_or_path: str, subfolder: str = "", *_args: Any, **_options: Any
    ) -> Self:
        """Read a head that was saved, and hold it to its pins.

        Raises:
            StoreCorrupt: a byte was changed.
            StoreError: there is none.
        """
        return cls(load_head(Path(model_name_or_path) / subfolder))


def pipeline(folder: str | Path, head: PublicHead, *, device: str = "cpu") -> SentenceTransformer:
    """Put a head behind an encoder: texts in, points out, ``similarity`` by the inner product.

    sentence-transformers loads no module of ours from a folder unless it may run any code that
    lies there; so the pipeline is put together here, and only weights are read.

    Args:
        folder: of the encoder, such as ``minilm().folder``; it must end in unit vectors.
        head: trained on that encoder.
        device: to compute on.

    Raises:
        InvalidRecord: the encoder's vectors are of another length.
    """
    whole = SentenceTransformer(
        str(folder), device=device, local_files_only=True, model_kwargs={"use_safetensors": True}
    )
    width = whole.get_embedding_dimension()
    if width != head.map.width:
        raise InvalidRecord(f"this head takes vectors of {head.map.width} numbers, not of {width}")
    modules = [*whole, HyperbolicHead(head)]
    made = SentenceTransformer(modules=modules, device=device, similarity_fn_name="dot")
    made.eval()
    return made
