"""The public head: a linear map to hyperbolic space that is frozen and pinned.

It learnt from a public hierarchy and from nothing else, so no record is in it and a forget has
nothing to take out. Its pin is a hash of the weights and of all that they are a function of; the
file is refused if a byte of it is another. Training is in ``forgetnet.heads.train``.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy.typing as npt
import safetensors
import safetensors.numpy

from forgetnet.component import EXACT, Cost, Finding, Influence, Standing
from forgetnet.errors import StoreCorrupt, StoreError
from forgetnet.exact import Floats
from forgetnet.files import make_dir, write_durable
from forgetnet.given import path_of
from forgetnet.heads.tangents import TangentMap
from forgetnet.record import canonical_json

__all__ = ["Pins", "PublicHead", "load_head"]

_WEIGHTS, _PINS = "head.safetensors", "head.json"
_FORMAT = 1


class Pins(NamedTuple):
    """All that a head's weights are a function of, and what they came to.

    Attributes:
        data: hash of the hierarchy.
        encoder: digest of the encoder whose vectors it takes.
        seed: of the start and of the batches.
        steps: of training.
        rate: learning rate at the start.
        environment: the class of machines that give the same bits.
        weights: hash of the arrays.
    """

    data: str
    encoder: str
    seed: int
    steps: int
    rate: float
    environment: str
    weights: str


@dataclass(frozen=True, eq=False)
class PublicHead:
    """A head that answers; a component that holds nobody's data.

    Attributes:
        map: its weights.
        pins: what they are a function of.

    Raises:
        StoreCorrupt: the weights aren't those of the pins.
    """

    map: TangentMap
    pins: Pins

    name = "concept head"
    influence = Influence.FROZEN
    behind = False

    def __post_init__(self) -> None:
        if self.map.digest() != self.pins.weights or self.map.encoder != self.pins.encoder:
            raise StoreCorrupt("the weights of this head aren't those that its pins name")

    @functools.cached_property
    def pin(self) -> str:
        """The hash of the weights and of everything that they are a function of, in hex."""
        return hashlib.sha256(canonical_json(self.pins._asdict()).encode()).hexdigest()

    def tangents(self, vectors: npt.ArrayLike) -> Floats:
        """Map (n, m) unit vectors to tangents (n, d); see :meth:`TangentMap.tangents`."""
        return self.map.tangents(vectors)

    def save(self, folder: str | Path) -> str:
        """Write ``head.safetensors`` and ``head.json`` into a folder; return the pin.

        Raises:
            StoreError: the folder can't be written.
        """
        path = path_of(folder, "folder", StoreError)
        told = {"format": _FORMAT, "pins": self.pins._asdict(), "pin": self.pin}
        arrays = {"bias": self.map.bias, "weight": self.map.weight}
        try:
            make_dir(path)
            write_durable(path / _WEIGHTS, safetensors.numpy.save(arrays), 0o644)
            write_durable(path / _PINS, canonical_json(told).encode(), 0o644)
        except OSError as error:
            raise StoreError(f"can't write the head into {path}: {error.strerror}") from error
        return self.pin

    # -- a component, which has nothing to let go of

    @property
    def standing(self) -> Standing:
        """What its forgetting is worth: it never saw a record."""
        return EXACT

    def holds(self, ids: Collection[str]) -> int:
        """Count none."""
        return 0

    def cost(self, ids: Collection[str]) -> Cost:
        """Say that nothing would be done."""
        return Cost("nothing: it never saw the data", 0)

    def before(self, ids: Collection[str]) -> dict[str, Any]:
        """Note the pin."""
        return {"pin": self.pin}

    def hide(self, ids: Collection[str]) -> None:
        """Do nothing: it answers from no record."""

    def forget(self, ids: Collection[str]) -> None:
        """Do nothing: no record is in it."""

    def rehearse(self, notes: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing: the look is quick."""

    def after(self, ids: Collection[str], note: Mapping[str, Any], *, full: bool) -> list[Finding]:
        """Hash the weights again: they are as they were, or somebody's doing is in them."""
        same = self.map.digest() == self.pins.weights
        moved = int(not same or note.get("pin", self.pin) != self.pin)
        return [Finding("weights are those of the pin", moved, expected=1, found=1)]

    def digest(self) -> str:
        """Return the pin."""
        return self.pin


def load_head(folder: str | Path, *, pin: str | None = None) -> PublicHead:
    """Read a head, and hold it to its pins.

    Args:
        folder: as :meth:`PublicHead.save` wrote it.
        pin: the pin that it must have; without one, only that the files fit each other is checked,
            and whoever may write to the folder could have changed both.

    Raises:
        StoreCorrupt: a byte was changed, or it is another head.
        StoreError: there is none.
    """
    path = path_of(folder, "folder", StoreError)
    try:
        told = json.loads((path / _PINS).read_bytes())
        arrays = safetensors.numpy.load((path / _WEIGHTS).read_bytes())
    except OSError as error:
        raise StoreError(
            f"there is no head in {path}: {error.strerror}; train one: forgetnet geometry train"
        ) from error
    except (ValueError, RecursionError, safetensors.SafetensorError) as error:
        raise StoreCorrupt(f"the head in {path} can't be read; train it anew") from error
    try:
        if told["format"] != _FORMAT or set(arrays) != {"bias", "weight"}:
            raise ValueError
        pins = Pins(**told["pins"])
        head = PublicHead(TangentMap(arrays["weight"], arrays["bias"], pins.encoder), pins)
        fits = head.pin == told["pin"]
    except (KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"the head in {path} was changed, or is of another version") from error
    if not fits or (pin is not None and pin != head.pin):
        raise StoreCorrupt(f"the head in {path} isn't the one that was pinned; train it anew")
    return head
