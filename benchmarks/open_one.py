"""Opens one memory of vectors in this process, and prints how long it took and what it cost.

    python benchmarks/open_one.py PATH [ram|disk]

One JSON object: ``seconds`` it took, and ``used`` of the processor; bytes of memory ``grown`` to at
the peak, ``held`` after and ``served`` once it has answered, counted from a process that has opened
a small memory already, so that libraries don't count; the bytes of the ``vectors``; ``first``, the
seconds of the first search, and ``search``, the mean of those after it.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
from material import DIM, queries
from timing import memory_bytes, seconds

from forgetnet import Memory, Record

_SEARCHES = 201


def main(path: Path, vectors: str = "ram") -> None:
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
    with Memory.open(path, encoder=encoder, key=key, vectors=vectors) as memory:
        taken, used = time.perf_counter() - start, time.process_time() - used
        grown = memory_bytes("VmHWM") - before
        gc.collect()
        held = memory_bytes("VmRSS") - before
        rows = memory.count()
        first, *others = [seconds(partial(memory.search, q)) for q in queries(rows, _SEARCHES)]
        gc.collect()
        served = memory_bytes("VmRSS") - before
    times = {"seconds": taken, "used": used, "first": first, "search": statistics.fmean(others)}
    sizes = {"grown": grown, "held": held, "served": served, "vectors": rows * DIM * 4}
    print(json.dumps(times | sizes))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
