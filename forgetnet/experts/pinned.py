"""One way to train: one thread, deterministic kernels, and randomness that is nobody else's.

The bits of a float sum depend on the number of threads, on the kernels and on the width of the
processor's vectors. The first two are pinned here while a leaf is trained; the third can only be
named, so that results of different machines are never mixed. Knows nothing of experts or records.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import platform
import threading
from collections.abc import Iterator

__all__ = ["drawn", "environment", "mix", "pinned"]

_TRAINING = threading.RLock()
_DRAWS = threading.RLock()


def mix(seed: int, *parts: str | int) -> int:
    """Derive a seed of 63 bits for one purpose from the seed of a leaf."""
    text = "\0".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextlib.contextmanager
def pinned() -> Iterator[None]:
    """Pin what the bits of torch depend on, for the whole process, and put it back.

    One thread of a process trains at a time; others wait here. What they compute meanwhile with
    torch is right, but slower.
    """
    import torch

    with _TRAINING:
        threads = torch.get_num_threads()
        strict = torch.are_deterministic_algorithms_enabled()
        lax = torch.is_deterministic_algorithms_warn_only_enabled()
        precision = torch.get_float32_matmul_precision()
        try:
            torch.set_num_threads(1)
            torch.use_deterministic_algorithms(True)
            torch.set_float32_matmul_precision("highest")
            with contextlib.ExitStack() as here:
                here.enter_context(torch.inference_mode(False))
                here.enter_context(torch.enable_grad())
                here.enter_context(torch.autocast("cpu", enabled=False))
                if torch.get_default_device().type != "cpu":  # entering one slows every call
                    here.enter_context(torch.device("cpu"))
                yield
        finally:
            torch.set_num_threads(threads)
            torch.use_deterministic_algorithms(strict, warn_only=lax)
            torch.set_float32_matmul_precision(precision)


@contextlib.contextmanager
def drawn(seed: int) -> Iterator[None]:
    """Let torch's global generator of the CPU start from ``seed``, and put its state back.

    Dropout and initialisers can draw from no other. Held for one step only, so that it needs no
    state that is carried over: what step t draws is a function of its seed. A thread of another
    library that draws in the same moment would shift it; the lock keeps out our own.
    """
    import torch

    generator = torch.default_generator
    with _DRAWS:
        before = generator.get_state()
        generator.manual_seed(seed)
        try:
            yield
        finally:
            generator.set_state(before)


@functools.cache
def _versions() -> str:
    names = ("torch", "numpy", "scipy", "scikit-learn")
    found = {d.name for d in map(_distribution, names) if d is not None}
    return ", ".join(f"{n} {importlib.metadata.version(n)}" for n in names if n in found)


def _distribution(name: str) -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def environment() -> str:
    """Name the class of environments that give the same bits as this one.

    Asked inside of :func:`pinned`: libraries and versions, the width of the processor's vectors
    (``ATEN_CPU_CAPABILITY`` can lower it), its architecture, and the number of threads.
    """
    import torch

    width = torch.backends.cpu.get_cpu_capability()
    threads = torch.get_num_threads()
    return f"{_versions()}, {platform.machine()} {width}, threads {threads}"
