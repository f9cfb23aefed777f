"""Topic paths as text: what lies above one, and where it goes when some are moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from forgetnet.errors import InvalidRecord

__all__ = [
    "MAX_LEVELS",
    "MAX_NAME",
    "MAX_WRITTEN",
    "SEPARATOR",
    "above",
    "check_gloss",
    "check_name",
    "renamed",
]

SEPARATOR = "/"
MAX_LEVELS = 64
"""Levels of a path that is written out; places take fewer."""
MAX_NAME = 2**16
"""Characters of a concept's name, and of its gloss."""
MAX_WRITTEN = 2**28
"""Characters of all paths together: one long name at the top is in every path below it."""
_SHOWN = 80


def check_name(name: object, *, limit: int | None = MAX_NAME) -> str:
    """Return a concept's name.

    Args:
        name: of the concept.
        limit: characters that it may have; None for any number, as where it is to be changed.

    Raises:
        InvalidRecord: it is no string, empty, longer than the limit, holds a slash, or half of a
            surrogate pair.
    """
    if not isinstance(name, str):
        raise InvalidRecord(
            f"a concept's name must be a string, not {type(name).__name__}; in YAML, quote it"
        )
    if not name:
        raise InvalidRecord("a concept's name is empty; name it, or leave it out")
    if limit is not None and len(name) > limit:
        raise InvalidRecord(
            f"a concept's name has {len(name)} characters, and at most {limit} are kept; "
            "shorten it, or make a gloss of it"
        )
    if SEPARATOR in name:
        raise InvalidRecord(
            f"the concept {name[:_SHOWN]!r} has a slash in its name, which parts the names of a "
            "topic path; write another character"
        )
    _check_written(name, "name")
    return name


def check_gloss(gloss: object) -> str:
    """Return what a concept means, in a sentence or none.

    Raises:
        InvalidRecord: it is no string, longer than 65,536 characters, or holds half of a surrogate
            pair.
    """
    if not isinstance(gloss, str):
        raise InvalidRecord(f"a gloss must be a string, not {type(gloss).__name__}")
    if len(gloss) > MAX_NAME:
        raise InvalidRecord(
            f"a gloss has {len(gloss)} characters, and at most {MAX_NAME} are kept; shorten it"
        )
    _check_written(gloss, "gloss")
    return gloss


def _check_written(text: str, what: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRecord(
            f"a concept's {what} holds half of a surrogate pair, which UTF-8 can't write; repair it"
        ) from None


def above(path: str) -> Iterator[str]:
    """Iterate over the paths above one, the top first."""
    at = path.find(SEPARATOR)
    while at >= 0:
        yield path[:at]
        at = path.find(SEPARATOR, at + 1)


def renamed(path: str, moved: Mapping[str, str]) -> str:
    """Return where a path goes when some move: it follows the nearest one above it, or itself."""
    head = path
    while (new := moved.get(head)) is None:
        head, separator, _ = head.rpartition(SEPARATOR)
        if not separator:
            return path
    return new + path[len(head) :]
