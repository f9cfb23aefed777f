"""A store in another process, driven through a pipe."""

from __future__ import annotations

import multiprocessing
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from forgetnet.errors import ForgetNetError
from forgetnet.store import Query, Store
from tests.contract import kit


def _do(store: Store, verb: str, *given: Any) -> Any:
    if verb == "add":
        ids, seed, options = given
        kit.fill(store, [kit.record(i, subject=i) for i in ids], seed, **options)
        return None
    if verb == "ids":
        return sorted(r.id for r in store.scan())
    if verb == "texts":
        return {i: r.text for i, r in store.get(given[0]).items()}
    if verb == "search":
        return store.search(Query(kit.vectors(1, given[0])[0], given[1]), given[2])
    if verb == "pairs":  # add and delete two records together, over and over
        for n in range(given[0]):
            kit.fill(store, [kit.record(f"{side}{n}", subject=f"{side}{n}") for side in "ab"], n)
            if n >= 20:
                store.delete([f"a{n - 20}", f"b{n - 20}"])
            if n % 5 == 0:
                store.purge()
        return given[0]
    return getattr(store, verb)(*given)


def _serve(name: str, path: Path, options: dict[str, Any], pipe: Connection) -> None:
    engine = next(engine for engine in kit.engines if engine.name == name)
    try:
        store = engine.open(path, kit.config(**options))
        pipe.send(("done", None))
        while (asked := pipe.recv()) is not None:
            try:
                pipe.send(("done", _do(store, *asked)))
            except ForgetNetError as error:
                pipe.send(("refused", (type(error).__name__, str(error))))
        store.close()
    except ForgetNetError as error:
        pipe.send(("refused", (type(error).__name__, str(error))))
    except Exception:  # noqa: BLE001 - a child's failure is shown by its parent
        pipe.send(("failed", traceback.format_exc()))


class Refused(Exception):
    """The other process's store raised an error of ForgetNet."""


class Process:
    """A store that lives in a process of its own."""

    def __init__(self, engine: kit.Engine, path: Path, **options: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._child = context.Process(target=_serve, args=(engine.name, path, options, there))
        self._child.start()
        self.pid = self._child.pid
        there.close()

    def start(self, verb: str, *given: Any) -> None:
        self._pipe.send((verb, *given))

    def result(self) -> Any:
        status, value = self._pipe.recv()
        if status == "refused":
            raise Refused(*value)
        assert status == "done", value
        return value

    def is_done(self) -> bool:
        return self._pipe.poll()

    def do(self, verb: str, *given: Any) -> Any:
        self.start(verb, *given)
        return self.result()

    def kill(self) -> None:
        self._child.kill()
        self._child.join()

    def __enter__(self) -> Self:
        self.result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._child.is_alive():
            self._pipe.send(None)
            self._child.join(20)
            self._child.kill()
        self._child.join()
