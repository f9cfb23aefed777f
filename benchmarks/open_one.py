"""Opens one memory of vectors in this process, and prints how long it took and what it cost.

    python benchmarks/open_one.py PATH

One JSON object: ``seconds`` it took, and ``used`` of the processor; bytes of memory ``grown`` to at
the peak and ``held`` after, counted from a process that has opened a small memory already, so that
libraries don't count; the bytes of the ``vectors``.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from material import DIM
from timing import memory_bytes

from forgetnet import Memory, Record


def main(path: Path) -> None:
    key, encoder = bytes(range(32)), f"vectors:{DIM}"
    with tempfile.TemporaryDirectory() as small:
        with Memory.open(small, encoder=encoder, key=key) as memory:
            vector = np.eye(1, DIM, dtype=np.float32)[0]
            memory.add([Record(text="warm", vector=vector)] * 300, progress=False)
        with Memory.open(small, encoder=encoder, key=key) as memory:
            memory.search(vector)
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
    before = memory_bytes("VmRSS")
    start, used = time.perf_counter(), time.process_time()
    with Memory.open(path, encoder=encoder, key=key) as memory:
        taken, used = time.perf_counter() - start, time.process_time() - used
        grown = memory_bytes("VmHWM") - before
        gc.collect()
        held = memory_bytes("VmRSS") - before
        vectors = memory.count() * DIM * 4
        memory.search(vector)
    times = {"seconds": taken, "used": used}
    print(json.dumps({**times, "grown": grown, "held": held, "vectors": vectors}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
