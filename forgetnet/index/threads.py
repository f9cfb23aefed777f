"""How many threads FAISS takes for one query. Knows nothing of indexes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss

__all__ = ["one_thread"]


@contextmanager
def one_thread() -> Iterator[None]:
    """Let FAISS answer by one thread: it splits queries among threads, never the rows of one."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)
