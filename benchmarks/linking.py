"""What linking costs beside the matrix product that it can't do without, and how good it is.

    python benchmarks/linking.py [--records 100000] [--topics 1000] [--rounds 5] [--clinc DIR]

The product is ``records @ exemplars.T`` in float32, by numpy and one thread, of records by topics
by 384; product and links take turns, and times are of the processor. ``knn`` has one exemplar a
topic here, and ``five`` five, beside a product of that size. ``forget`` is the time in which one
exemplar of a memory is let go of and what it voted on linked anew. With ``--clinc``, the folder of
CLINC150 (``train``, ``val``, ``oos_train``, ``oos_val``, each ``.jsonl.gz``), five utterances of
each intent teach, and the 3,000 of the validation set are linked: how many have a link at each
level, how many of those are right, and how many of the 200 that belong nowhere are linked all the
same. Ends with 1 if the median of a product's size passes 1.2.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy as np
import numpy.typing as npt

from forgetnet import Memory, Record
from forgetnet.linking import Exemplars, Linker

DIM = 384
MOST = 1.2
Floats = npt.NDArray[np.float32]


def units(n: int, seed: int) -> Floats:
    """Draw n unit vectors."""
    drawn = np.random.default_rng(seed).standard_normal((n, DIM), dtype=np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def labelled(topics: int, each: int) -> Exemplars:
    """Return exemplars: so many for each topic, 50 topics below each of the top."""
    told = [f"t{i // 50}/u{i}" for i in range(topics)] * each
    return Exemplars.of([f"e{i:07}" for i in range(len(told))], units(len(told), each), told)


def spent(step: Callable[[], object]) -> float:
    """Return the processor time of a step, in seconds."""
    began = time.process_time()
    step()
    return time.process_time() - began


def ratios(records: Floats, known: Exemplars, linker: Linker, rounds: int) -> tuple[float, ...]:
    """Return product and link, in seconds, and link over product: median, least, most."""
    ids = [f"r{i:07}" for i in range(len(records))]
    products, links = [], []
    for _ in range(rounds):
        products.append(spent(lambda: records @ known.codes.T))
        links.append(spent(lambda: linker.link(ids, records, known)))
    found = sorted(b / a for a, b in zip(products, links, strict=True))
    middle = statistics.median(found)
    return statistics.median(products), statistics.median(links), middle, found[0], found[-1]


def forgetting(records: int, topics: int) -> tuple[float, float]:
    """Return the seconds of linking a memory, and of letting go of one exemplar in its links."""
    with Memory.open("memory://", encoder=f"vectors:{DIM}") as memory:
        told = [f"t{i // 50}/u{i}" for i in range(topics)] + [None] * records
        vectors = units(len(told), 3)
        memory.add(
            [Record(None, f"e{i}", topic=topic, vector=vectors[i]) for i, topic in enumerate(told)],
            progress=False,
        )
        whole = spent(lambda: memory.link(progress=False))
        memory.delete("e7")
        part = memory._office.components[-1]  # noqa: SLF001 - the part of the forget that is asked
        return whole, spent(lambda: part.hide(["e7"]))


def clinc(folder: Path) -> None:
    """Print how many of CLINC150 are linked, and how many of those rightly."""
    from forgetnet.encode import resolve_encoder

    told = {}
    for name in ("train", "val", "oos_train", "oos_val"):
        with gzip.open(folder / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
            told[name] = [json.loads(line) for line in file]
    random.Random(0).shuffle(told["train"])
    by: dict[str, list[dict[str, str]]] = {}
    for row in told["train"]:
        by.setdefault(f"{row['domain']}/{row['intent']}", []).append(row)
    taught = [(topic, row["text"]) for topic in sorted(by) for row in by[topic][:5]]
    encoder = resolve_encoder("minilm")
    vectors = encoder.encode([text for _, text in taught])
    names = [f"e{i:04}" for i in range(len(taught))]
    known = Exemplars.of(names, vectors, [topic for topic, _ in taught])
    asked = encoder.encode([row["text"] for row in told["val"]])
    ids = [f"r{i:04}" for i in range(len(asked))]
    beside = encoder.encode([row["text"] for row in told["oos_train"] + told["oos_val"]])
    print("| method | min_margin | domain: linked, right | intent: linked, right | out of scope |")
    print("|---|---|---|---|---|")
    for method in ("knn", "centroid"):
        for margin in (0.0, 0.3, 0.5):
            linker = Linker(min_margin=margin, method=method)
            links = linker.link(ids, asked, known)
            lost = len(linker.link(ids[: len(beside)], beside, known).linked) / len(beside)
            cells = []
            for level in (0, 1):
                found = [link for link in links if link.topic.count("/") == level]
                right = sum(
                    "/".join([row["domain"], row["intent"]][: level + 1]) == link.topic
                    for link in found
                    for row in [told["val"][int(link.id[1:])]]
                )
                cells.append(f"{len(found) / len(ids):.3f}, {right / len(found):.3f}")
            print(f"| {method} | {margin} | {cells[0]} | {cells[1]} | {lost:.3f} |")


def main() -> int:
    """Print the tables; return 1 if linking costs too much."""
    asked = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    asked.add_argument("--records", type=int, default=100_000)
    asked.add_argument("--topics", type=int, default=1_000)
    asked.add_argument("--rounds", type=int, default=5)
    asked.add_argument("--clinc", type=Path)
    given = asked.parse_args()
    records = units(given.records, 1)
    worst = 0.0
    print("| what | product s | links s | ratio, median | least | most |")
    print("|---|---|---|---|---|---|")
    for name, each, linker in (
        ("knn", 1, Linker()),
        ("centroid", 1, Linker(method="centroid")),
        ("five", 5, Linker()),
    ):
        found = ratios(records, labelled(given.topics, each), linker, given.rounds)
        print(f"| {name} | " + " | ".join(f"{value:.2f}" for value in found) + " |")
        worst = max(worst, found[2])
    whole, one = forgetting(given.records, given.topics)
    print(f"\nforget: {one:.3f} s of processor time, where linking the memory took {whole:.2f} s\n")
    if given.clinc is not None:
        clinc(given.clinc)
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
