"""The memory for asynchronous programs: the same verbs, each run in a worker thread.

There is no second code base: every method here is made from the one of
:class:`forgetnet.Memory`, with its arguments and its type.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from forgetnet.encode import Encoder
from forgetnet.heads.relate import AnyHead
from forgetnet.heads.tangents import TangentMap
from forgetnet.memory import Memory

__all__ = ["AsyncMemory"]

P = ParamSpec("P")
R = TypeVar("R")


def _lift(
    verb: Callable[Concatenate[Memory, P], R],
) -> Callable[Concatenate[AsyncMemory, P], Coroutine[Any, Any, R]]:
    """Make an asynchronous method of a memory's method."""

    @wraps(verb)
    async def lifted(self: AsyncMemory, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(verb, self.memory, *args, **kwargs)

    return lifted


class AsyncMemory:
    """A :class:`forgetnet.Memory` whose verbs are awaited.

    Attributes:
        memory: the memory beneath, for use in synchronous code.
    """

    def __init__(self, memory: Memory) -> None:
        self.memory = memory

    @classmethod
    async def open(cls, path_or_url: str | Path, **options: Any) -> AsyncMemory:
        """Open a memory; takes what :meth:`forgetnet.Memory.open` takes."""
        return cls(await asyncio.to_thread(Memory.open, path_or_url, **options))

    @property
    def public_key(self) -> bytes:
        """The public key that verifies this memory's receipts, as PEM."""
        return self.memory.public_key

    @property
    def encoder(self) -> Encoder:
        """The encoder that this memory was opened with."""
        return self.memory.encoder

    @property
    def head(self) -> TangentMap | None:
        """The head that ``broader`` and ``narrower`` ask, unless they are given one."""
        return self.memory.head

    @head.setter
    def head(self, head: AnyHead | None) -> None:
        self.memory.head = head

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    add = _lift(Memory.add)
    backup = _lift(Memory.backup)
    broader = _lift(Memory.broader)
    close = _lift(Memory.close)
    count = _lift(Memory.count)
    delete = _lift(Memory.delete)
    digest = _lift(Memory.digest)
    export = _lift(Memory.export)
    forget = _lift(Memory.forget)
    get = _lift(Memory.get)
    get_all = _lift(Memory.get_all)
    hold = _lift(Memory.hold)
    holds = _lift(Memory.holds)
    import_ = _lift(Memory.import_)
    lift = _lift(Memory.lift)
    link = _lift(Memory.link)
    links = _lift(Memory.links)
    move_topic = _lift(Memory.move_topic)
    map = _lift(Memory.map)
    narrower = _lift(Memory.narrower)
    overdue = _lift(Memory.overdue)
    purge = _lift(Memory.purge)
    refile = _lift(Memory.refile)
    residue = _lift(Memory.residue)
    restrict = _lift(Memory.restrict)
    restrictions = _lift(Memory.restrictions)
    scope = _lift(Memory.scope)
    search = _lift(Memory.search)
    stats = _lift(Memory.stats)
    subjects = _lift(Memory.subjects)
    sweep = _lift(Memory.sweep)
    topics = _lift(Memory.topics)
    update = _lift(Memory.update)
