"""What a memory asks of an encoder, and how to see that a text's bits don't know its company.

Knows no model.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from forgetnet.encode.vectors import Floats
from forgetnet.errors import InvalidRecord, Unsupported

__all__ = ["Encoder", "VectorsOnly", "check_company", "check_texts", "progress_bar"]

_WORTH_A_BAR = 256


class Encoder(Protocol):
    """What a memory asks of an encoder; anything with these four can be one."""

    @property
    def name(self) -> str:
        """Say which encoder this is, to a person."""
        ...

    @property
    def dim(self) -> int:
        """Return the length of a vector."""
        ...

    @property
    def digest(self) -> str:
        """Identify the bits of the model and the rule of encoding; a store refuses another."""
        ...

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Floats:
        """Return unit float32 rows (n, dim); the bits of a row depend on its text alone."""
        ...


class VectorsOnly:
    """Stand where an encoder would, in a store that is fed with vectors."""

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise Unsupported(f"vectors need at least 1 dimension, not {dim}")
        self.dim = dim
        self.name = self.digest = f"vectors:{dim}"

    def encode(self, texts: Sequence[str], *, progress: bool = False) -> Floats:
        """Refuse: there is no model here.

        Raises:
            InvalidRecord: always, saying what to do.
        """
        raise InvalidRecord(
            f"this memory has no encoder, so {len(texts)} texts can't be turned into vectors: "
            f"give vectors of {self.dim} numbers, or open it with an encoder",
        )


def check_company(encoder: Encoder, texts: Sequence[str]) -> list[str]:
    """Return a reason for each text whose vector changes with the texts beside it; [] is good.

    Compares, byte by byte, every text encoded alone, with its neighbour, with all, and with all
    in reverse. Costs about four encodings of each text. A memory keeps its promise that a
    forgotten record leaves no trace in other records' vectors only where this finds nothing.
    """
    together = encoder.encode(texts)
    turned = encoder.encode(texts[::-1])[::-1]
    reasons = []
    for row, text in enumerate(texts):
        others = {
            "alone": encoder.encode([text])[0],
            "after its neighbour": encoder.encode([texts[row - 1], text])[1],
            "in reverse order": turned[row],
        }
        bits = together[row].tobytes()
        differs = [how for how, vector in others.items() if vector.tobytes() != bits]
        if differs:
            reasons.append(f"text in row {row} has other bits {', '.join(differs)}")
    return reasons


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what isn't a sequence of str, naming the row and never its text.

    Raises:
        InvalidRecord: a single str, or a row of another type.
    """
    if isinstance(texts, str):
        raise InvalidRecord("texts must be a sequence of str; wrap a single text in a list")
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidRecord(f"text in row {row} is {type(text).__name__}, not str")


@contextmanager
def progress_bar(
    total: int, *, shown: bool, told: str = "Encoding"
) -> Iterator[Callable[[int], None]]:
    """Yield a function that advances a bar, drawn only for long work on a terminal."""
    if not shown or total < _WORTH_A_BAR or not sys.stderr.isatty():
        yield lambda _count: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(told, total=total)
        yield lambda count: bar.advance(task, count)
