"""The engines under the contract, one at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from forgetnet.store import Store
from tests.contract import kit


@pytest.fixture(params=kit.engines, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> kit.Engine:
    found: kit.Engine = request.param
    return found


@pytest.fixture
def open_store(engine: kit.Engine, tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """Open the engine's store in the test's folder; whatever is open is closed at the end."""
    opened: list[Store] = []

    def at(name: str = "store", **options: Any) -> Store:
        opened.append(engine.open(tmp_path / name, kit.config(**options)))
        return opened[-1]

    yield at
    for store in opened:
        store.close()


@pytest.fixture
def store(open_store: Callable[..., Store]) -> Store:
    return open_store()
