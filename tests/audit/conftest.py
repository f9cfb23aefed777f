"""A real memory on disk, with records to forget and survivors that look like them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from forgetnet.audit.residue import Findings, Needles, Traces, scan, trace
from forgetnet.record import Record, normalise
from forgetnet.store import StoreConfig
from forgetnet_stores.lance import LanceStore

DIM = 32
NOW = datetime(2026, 3, 1, tzinfo=UTC)
SALT = bytes(range(32))
TEXT = "Zarathustra's canary: \"ate\"\n 17 grapes – große Früchte 🍇"
SUBJECT = "subject Ada of Örebro"


def vectors_of(count: int, seed: int) -> npt.NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal((count, DIM)).astype(np.float32)
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


@dataclass
class House:
    """A store in a folder, and what is to be forgotten of it."""

    root: Path
    store: LanceStore
    TEXT = TEXT
    SUBJECT = SUBJECT
    SALT = SALT
    DIM = DIM
    ids: list[str] = field(default_factory=list)
    traces: Traces = field(default_factory=lambda: Traces(SALT, ()))
    needles: Needles | None = None
    gone: dict[str, Record] = field(default_factory=dict)
    content: npt.NDArray[np.float32] | None = None

    def add(self, records: list[Record], seed: int = 0) -> list[Record]:
        """Store records with random vectors: the same for the same seed."""
        full = [normalise(record, NOW) for record in records]
        place = np.ones((len(full), 17), np.float32)
        self.store.add(full, vectors_of(len(full), seed), place)
        return full

    def choose(self, ids: list[str]) -> None:
        """Take note of what is to be forgotten, while it is there."""
        self.ids = ids
        records = list(self.store.get(ids).values())
        content = self.store.vectors([record.id for record in records])[0]
        self.traces = trace(records, content, salt=SALT)
        self.needles = Needles(records, content, salt=SALT)

    def look(self, *paths: Path, alive: bool = True, raw: bool = True) -> Findings:
        live = {record.id for record in self.store.scan()}
        return scan(
            list(paths) or [self.root],
            self.traces,
            self.needles if raw else None,
            root=self.root,
            survivors=live.__contains__ if alive else None,
        )

    def forget(self) -> None:
        self.store.delete(self.ids)
        self.store.purge()


def build(root: Path, cap: int = 64) -> House:
    return House(root, LanceStore(root, StoreConfig(DIM, b"salt", cap=cap)))


@pytest.fixture(scope="session")
def vectors() -> Callable[[int, int], npt.NDArray[np.float32]]:
    """Random unit vectors: how many, and a seed."""
    return vectors_of


@pytest.fixture(scope="session")
def building() -> Callable[..., House]:
    """Makes an empty store at a path."""
    return build


def furnish(root: Path) -> House:
    house = build(root)
    others = [Record(f"note number {i} of somebody", subject=f"other {i % 9}") for i in range(150)]
    theirs = [Record(f"{TEXT} ({i})", subject=SUBJECT, id=f"ada-record-{i}") for i in range(20)]
    house.add(others + theirs[:15], seed=1)
    house.add(theirs[15:], seed=2)
    house.add([Record(text=None, vector=vectors_of(1, 9)[0], subject=SUBJECT, id="ada")], seed=3)
    house.choose([record.id for record in theirs] + ["ada"])
    return house


@dataclass(frozen=True)
class Template:
    """A house whose store is closed, to be copied: making one takes a second, a copy none."""

    made: House

    def copy(self, root: Path) -> House:
        shutil.copytree(self.made.root, root)
        return replace(self.made, root=root, store=build(root).store)


@pytest.fixture(scope="session")
def before(tmp_path_factory: pytest.TempPathFactory) -> Template:
    made = furnish(tmp_path_factory.mktemp("before") / "kb")
    made.store.close()
    return Template(made)


@pytest.fixture(scope="session")
def after(tmp_path_factory: pytest.TempPathFactory) -> Template:
    made = furnish(tmp_path_factory.mktemp("after") / "kb")
    made.gone = made.store.get(made.ids)
    made.content = made.store.vectors(made.ids)[0]
    made.forget()
    made.store.close()
    return Template(made)


@pytest.fixture
def house(tmp_path: Path, before: Template) -> Iterator[House]:
    """A store with one subject's records chosen, in pieces and in tails, and not yet deleted."""
    house = before.copy(tmp_path / "kb")
    yield house
    house.store.close()


@pytest.fixture
def clean(tmp_path: Path, after: Template) -> Iterator[House]:
    """The same after the forget; ``gone`` and ``content`` keep what was forgotten."""
    house = after.copy(tmp_path / "kb")
    assert house.look().absent()
    yield house
    house.store.close()
