"""What a caller gives, checked at the door: switches, names, numbers, paths, clocks.

A wrong type is refused where it comes in, by an error that names the argument and never repeats
its value. Knows nothing of what is done with it.
"""

from __future__ import annotations

import contextlib
import operator
import os
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import datetime
from numbers import Real
from pathlib import Path
from typing import SupportsIndex

import numpy as np

from forgetnet.errors import ForgetNetError, StoreError

__all__ = [
    "check_switches",
    "clock_of",
    "names_of",
    "number_of",
    "path_of",
    "root_of",
    "text_of",
    "whole_of",
]

Refusal = type[ForgetNetError]
"""The error of a verb whose argument is none."""


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def check_switches(error: Refusal, **switches: object) -> None:
    """Refuse what is neither True nor False: ``dry_run="no"`` must not pass for yes or no.

    Raises:
        ForgetNetError: of the kind ``error``.
    """
    for name, value in switches.items():
        if not isinstance(value, bool | np.bool_):
            raise error(f"{name}= must be True or False, not {_kind(value)}")


def text_of(value: object, name: str, error: Refusal) -> str:
    """Return a string.

    Raises:
        ForgetNetError: of the kind ``error``.
    """
    if not isinstance(value, str):
        raise error(f"{name} must be a string, not {_kind(value)}")
    return value


def names_of(value: object, name: str, error: Refusal, *, ordered: bool = False) -> tuple[str, ...]:
    """Return names as a tuple: a string is one name, None is none.

    Args:
        value: the names.
        name: of the argument.
        error: what to raise.
        ordered: refuse a set, since each name belongs to its place.

    Raises:
        ForgetNetError: of the kind ``error``.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        return (text_of(value, f"{name}=", error),)
    wanted = f"{name}= must be a string or a list of strings, not {_kind(value)}"
    if isinstance(value, Mapping | bytes) or (ordered and isinstance(value, AbstractSet)):
        raise error(wanted)
    if not isinstance(value, Iterable):
        raise error(wanted)
    try:
        names: tuple[object, ...] = tuple(value)
    except TypeError:  # such as an array without dimensions
        raise error(wanted) from None
    return tuple(text_of(each, f"{name}= holds something that", error) for each in names)


def whole_of(value: object, name: str, error: Refusal, *, least: int = 1) -> int:
    """Return a whole number of at least ``least``; True and False are none.

    Raises:
        ForgetNetError: of the kind ``error``.
    """
    number = None
    if isinstance(value, SupportsIndex) and not isinstance(value, bool | np.bool_):
        with contextlib.suppress(TypeError):  # of an array, which is no number
            number = operator.index(value)
    if number is None:
        raise error(f"{name} must be a whole number, not {_kind(value)}")
    if number < least:
        raise error(f"{name} must be at least {least}, not {number}")
    return number


def number_of(value: object, name: str, error: Refusal) -> float:
    """Return a finite number of at least 0.

    Raises:
        ForgetNetError: of the kind ``error``.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise error(f"{name} must be a finite number of at least 0, not {_kind(value)}")
    try:
        number = float(value)
    except OverflowError:
        number = float("inf")
    if not 0.0 <= number < float("inf"):
        raise error(f"{name} must be a finite number of at least 0, not {number}")
    return number


def path_of(value: object, name: str, error: Refusal) -> Path:
    """Return a path that a file system can take; nothing needs to be there.

    Raises:
        ForgetNetError: of the kind ``error``.
    """
    told = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(told, str):
        raise error(f"{name} must be a path, as a string or a Path, not {_kind(value)}")
    if not told:
        raise error(f"{name} is an empty path; name a file or a folder")
    try:
        possible = b"\0" not in os.fsencode(told)
    except UnicodeEncodeError:
        possible = False
    if not possible:
        raise error(f"{name} is a path that no file can have; it holds NUL or broken Unicode")
    return Path(told)


def root_of(path: str) -> Path:
    """Return the folder that a path means, absolute, with ``~`` and links followed.

    Raises:
        StoreError: there is no such home, links go round, or no folder can be called so.
    """
    try:
        return path_of(path, "the path of a memory", StoreError).expanduser().resolve()
    except (OSError, RuntimeError) as error:
        raise StoreError(f"can't find {path}: {error}; write the path out") from None


def clock_of(clock: object) -> Callable[[], datetime]:
    """Return a clock whose every answer is looked at: a time without a zone would be anybody's.

    Raises:
        StoreError: it can't be called; later, it told no aware time.
    """
    if not callable(clock):
        raise StoreError(
            f"clock= must be a function that returns the present time, not {_kind(clock)}"
        )

    def tell() -> datetime:
        moment = clock()
        if not isinstance(moment, datetime) or moment.utcoffset() is None:
            raise StoreError("clock= must return a datetime with a time zone, as datetime.now(UTC)")
        return moment

    return tell
