"""The frame around every command: the application, its errors and its exit codes.

0 is done, 1 is refused, failed or not proven, 2 is a wrong way to call, 130 is Ctrl-C. An error of
ForgetNet's own is one line, never a traceback. Knows no verb.
"""

from __future__ import annotations

import errno
import functools
import re
from collections.abc import Callable, Mapping
from typing import Annotated, ParamSpec

import typer

from forgetnet.cli.voice import Voice
from forgetnet.errors import ForgetNetError

__all__ = ["INTERRUPTED", "PROVEN", "REFUSED", "build", "group", "guarded", "root", "sentence_of"]

PROVEN = 0
REFUSED = 1
INTERRUPTED = 130

_OPTIONS = {"ids": "--id", "k": "-k", "topics": "--topic"}
_QUOTED = r"""'[^']*'|"[^"]*\""""
_ARGUMENT = re.compile(
    rf"(?<!\w)(?:{_QUOTED})(?!\w)|\b(?P<name>ids|subject|topic|filter|reason|verify|encoder|key|k|under"
    rf"|near|weight|recall|topics|like|unlike|metadata|mentions|derived_from|expires_at|after|taxonomy|coloured)=(?P<value>{_QUOTED})?(?![\w(\[{{])"
)
"""An argument as the package's errors name it, unless it is part of a quoted name."""

P = ParamSpec("P")


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"forgetnet {version('forget-by-design')}")
        raise typer.Exit


def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """A memory for AI that can forget by design, and show it.

    Commands are named as the verbs of the Python package. Each takes --json, for one JSON object
    on stdout. Exit codes: 0 done, 1 refused, failed or not proven, 2 called in a wrong way.
    """


def sentence_of(error: ForgetNetError | OSError) -> str:
    """Say in one line what went wrong; arguments of the package are named as options are."""
    if isinstance(error, ForgetNetError) or not error.strerror:
        return _ARGUMENT.sub(_option, str(error))
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


def _option(found: re.Match[str]) -> str:
    """Write ``encoder='hash'`` as ``--encoder hash``; what stands in quotes stays as it is."""
    name, value = found["name"], found["value"]
    if name is None:
        return found[0]
    said = _OPTIONS.get(name, f"--{name.replace('_', '-')}")
    return said if value is None else f"{said} {value[1:-1] if ' ' not in value else value}"


_CUT_SHORT = (
    "interrupted; a change that was under way in a memory is finished, or taken back, when it is "
    "next opened to be written, and what an import had stored stays"
)


def guarded(verb: Callable[P, None]) -> Callable[P, None]:
    """Turn a command's errors into one line and exit code 1, and Ctrl-C into one and 130.

    With ``as_json`` set, the line is ``{"error": type, "message": ...}`` on stdout.
    """

    @functools.wraps(verb)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            verb(*args, **kwargs)
        except (ForgetNetError, OSError) as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise  # the reader of our output has gone; nobody is left to tell
            voice = Voice(as_json=bool(kwargs.get("as_json")))
            voice.refuse(type(error).__name__, sentence_of(error))
            raise typer.Exit(REFUSED) from None
        except KeyboardInterrupt:
            voice = Voice(as_json=bool(kwargs.get("as_json")))
            voice.refuse("Interrupted", _CUT_SHORT)
            raise typer.Exit(INTERRUPTED) from None

    return run


def _gist(verb: Callable[..., None]) -> str:
    """Return the first clause of a docstring, for the list of commands."""
    return (verb.__doc__ or "").partition(".")[0].partition(";")[0] + "."


def build(commands: Mapping[str, Callable[..., None]]) -> typer.Typer:
    """Make the application of its commands, in this order."""
    app = typer.Typer(
        name="forgetnet",
        add_completion=False,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
    )
    app.callback()(root)
    for name, verb in commands.items():
        app.command(name, short_help=_gist(verb))(guarded(verb))
    return app


def group(
    app: typer.Typer, name: str, about: str, commands: Mapping[str, Callable[..., None]]
) -> None:
    """Add commands that are called as ``forgetnet NAME COMMAND``, with a sentence on them."""
    inner = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
    for each, verb in commands.items():
        inner.command(each, short_help=_gist(verb))(guarded(verb))
    app.add_typer(inner, name=name, help=about)
