"""Linking: records without a topic find one by meaning, from labelled exemplars."""

from forgetnet.linking.exemplars import Exemplars, upward
from forgetnet.linking.linker import Link, Linker, Links
from forgetnet.linking.nearest import cosines_of, nearest
from forgetnet.linking.part import Linked, Source

__all__ = [
    "Exemplars",
    "Link",
    "Linked",
    "Linker",
    "Links",
    "Source",
    "cosines_of",
    "nearest",
    "upward",
]
