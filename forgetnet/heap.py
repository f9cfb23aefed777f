"""Memory that the C library holds although nothing uses it any more.

Reading a store, or making an index of it, frees about as much as it keeps, in pieces that glibc
doesn't give back by itself.
"""

from __future__ import annotations

import ctypes

__all__ = ["trim"]


def trim() -> None:
    """Give free memory back to the system, where its C library can (malloc_trim(3))."""
    if (found := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        found(0)
