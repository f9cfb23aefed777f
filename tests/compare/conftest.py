"""A comparison small enough for tests, on digits of scikit-learn."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import pytest

from forgetnet.compare.settings import Setting
from forgetnet.compare.tables import digits, draw_table, load_digits
from forgetnet.compare.worlds import World
from forgetnet.unlearn import Recipe


def small(request: str = "poisoned", **others: Any) -> Setting:
    """200 digits, a quarter of which is to be forgotten."""
    return replace(
        digits(request),
        draw=functools.partial(draw_table, load_digits, request, 200, 50),
        recipe=Recipe(lr=5e-3, epochs=40.0, batch_size=32, grad_clip=None),
        traced=False,
        cap=64,
        **others,
    )


@functools.cache
def _world(request: str, seed: int) -> World:
    return World(small(request), seed)


@pytest.fixture
def make() -> Any:
    return small


@pytest.fixture
def world() -> Any:
    """Return a function that makes the world of a request and a seed, once."""
    return _world
