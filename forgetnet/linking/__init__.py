"""Linking: records without a topic find one by meaning, from labelled exemplars."""

from forgetnet.linking.exemplars import Exemplars, upward
from forgetnet.linking.linker import Link, Linker, Links
from forgetnet.linking.nearest import cosines_of, nearest

__all__ = ["Exemplars", "Link", "Linker", "Links", "cosines_of", "nearest", "upward"]
