"""The command ``demo``: a memory of twelve people forgets one of them, and shows it."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer

from forgetnet.cli.frame import PROVEN, REFUSED
from forgetnet.cli.options import AsJson
from forgetnet.cli.voice import Voice
from forgetnet.errors import StoreError

__all__ = ["demo"]


def demo(
    *,
    store: Annotated[
        Path | None,
        typer.Option(
            "--store",
            metavar="PATH",
            help="A new folder to keep the memory in; else it is thrown away.",
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option("--encoder", metavar="NAME", help="The encoder to use.")
    ] = "minilm",
    as_json: AsJson = False,
) -> None:
    """Watch a memory forget somebody, in under a minute; exit code 1 if a check fails.

    Remembers three months of chat of twelve invented people, forgets one of them, looks for what
    is left in every file, and compares with a memory that never knew that person.
    """
    from forgetnet.cli.demo_show import ending
    from forgetnet.cli.demo_tale import Telling, tell

    telling = Telling(Voice(as_json=as_json))
    with tempfile.TemporaryDirectory(prefix="forgetnet-demo-") as scratch:
        folder = store or Path(scratch) / "memory"
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise StoreError(f"{folder} is not empty; name a new folder for the demo")
        tell(telling, folder.resolve(), Path(scratch) / "twin", encoder)
    passed = all(telling.checks.values())
    seconds = time.perf_counter() - telling.began
    telling.facts.pop("steps", None)
    telling.facts["seconds"]["all of it"] = round(seconds, 3)
    telling.facts |= {"checks": telling.checks, "passed": passed}
    kept = None if store is None else folder
    telling.voice.answer(telling.facts, ending(telling.checks, seconds, kept))
    raise typer.Exit(PROVEN if passed else REFUSED)
