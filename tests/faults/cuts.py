"""Power cuts and failing disks at the n-th durable step of whatever is done."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

__all__ = ["PowerCutError", "failing"]


class PowerCutError(BaseException):
    """Not an error that any handler may swallow."""


DURABLE = [
    "write_durable", "shred", "append_durable", "sync_dir", "truncate_durable", "put_slots"
]  # fmt: skip


@contextlib.contextmanager
def failing(
    at: int,
    error: Callable[[], BaseException],
    *,
    after: bool,
    once: bool = False,
) -> Iterator[list[str]]:
    """Have the n-th durable step fail, before or after it is done, and all that follow it."""
    import forgetnet.files as owner

    calls: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for name in DURABLE:
            real = getattr(owner, name)

            def step(*given: Any, _real: Any = real, _name: str = name, **more: Any) -> Any:
                calls.append(_name)
                if len(calls) < at or (once and len(calls) > at):
                    return _real(*given, **more)
                if len(calls) == at and after:
                    _real(*given, **more)
                raise error()

            for module in list(sys.modules.values()):
                told = getattr(module, "__name__", "")
                if told.startswith("forgetnet") and vars(module).get(name) is real:
                    patch.setattr(module, name, step)
        yield calls
