"""The ablation: every space at every size, on the same splits, with the same loss and steps.

Each (space, dimension, seed) is written down as it is done, so that a run can be gone on with.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from geometry_spaces import TRAINED, principal, raw
from geometry_tasks import TASKS, Intents, Split, Vectors, asked, intents, split
from timing import tell
from wordnet import encoded, nouns

from forgetnet import Encoder
from forgetnet.heads.fit import Space, fit

DIMS = (3, 5, 8, 16, 32, 64, 128)
STEPS, RATE = 1_500, 1e-2
RAW = 96  # 384 numbers of one byte are as many bytes as 96 of four
SPACES = (*TRAINED, "principal axes", "raw, int8")
Numbers = Mapping[str, float]
Found = Mapping[tuple[str, int], list[Numbers]]


def ground(data: Path, encoder: Encoder, cache: Path | None) -> Vectors:
    """Read WordNet and CLINC150, as vectors."""
    hierarchy = nouns(data / "wordnet" / "oewn_nouns.jsonl.gz")
    called, texts, right = intents(data / "clinc150")
    lists = (hierarchy.names, hierarchy.glosses, called, texts)
    vectors = encoded(encoder, [text for each in lists for text in each], cache)
    ends = np.cumsum([len(each) for each in lists])[:-1]
    names, glosses, asking, answers = np.split(vectors, ends)
    return Vectors(hierarchy, names, glosses, Intents(asking, answers, right))


def made(name: str, dim: int, seed: int, on: Vectors, parts: Split) -> Space:
    """Make a space, trained if it can be."""
    if name == "raw, int8":
        return raw()
    if name == "principal axes":
        known = np.concatenate([on.names[parts.taught], on.glosses[parts.taught]])
        return principal(known, dim)
    draw = torch.Generator().manual_seed(seed)
    space = TRAINED[name](on.names.shape[1], dim, draw)
    fit(
        space,
        list(space.parameters()),
        on.hierarchy,
        on.names,
        on.glosses,
        taught=parts.taught,
        steps=STEPS,
        lr=RATE,
        seed=seed,
    )
    return space


def wanted(seeds: int) -> Iterator[tuple[int, str, int]]:
    """Yield (seed, space, dimension), so that an early end leaves whole seeds."""
    for seed in range(seeds):
        yield seed, "raw, int8", RAW
        for dim in DIMS:
            for name in (*TRAINED, "principal axes"):
                yield seed, name, dim


def measured(on: Vectors, seeds: int, kept: Path) -> Found:
    """Measure what isn't in the file yet; return everything, by space and dimension."""
    lines = kept.read_text().splitlines() if kept.exists() else []
    told = [json.loads(line) for line in lines]
    known = {(row["seed"], row["space"], row["dim"]): row["found"] for row in told}
    parts: dict[int, Split] = {}
    found: dict[tuple[str, int], list[Numbers]] = {}
    for seed, name, dim in wanted(seeds):
        if (seed, name, dim) not in known:
            if seed not in parts:
                parts[seed] = split(on.hierarchy, seed)
            start = time.process_time()
            space = made(name, dim, seed, on, parts[seed])
            trained = time.process_time() - start
            numbers = asked(space, on, parts[seed])
            known[seed, name, dim] = {**numbers, "seconds": trained}
            row = {"seed": seed, "space": name, "dim": dim, "found": known[seed, name, dim]}
            with kept.open("a") as file:
                file.write(json.dumps(row) + "\n")
            line = ", ".join(f"{task} {value:.3f}" for task, value in numbers.items())
            tell(f"seed {seed}, {name} {dim}: {line}; {trained:.0f} s")
        found.setdefault((name, dim), []).append(known[seed, name, dim])
    return found


def rows(found: Found) -> list[list[str]]:
    """Write the table: means over seeds, the best of a size in bold."""
    lines = []
    for dim in sorted({dim for _, dim in found}):
        means = {
            name: {task: statistics.mean(each[task] for each in found[name, dim]) for task in TASKS}
            for name in SPACES
            if (name, dim) in found
        }
        best = {task: max(round(each[task], 3) for each in means.values()) for task in TASKS}
        for name, each in means.items():
            size = "384 x 1 byte" if name == "raw, int8" else str(dim)
            cells = [f"{each[task]:.3f}" for task in TASKS]
            alone = name == "raw, int8"
            bold = [
                f"**{cell}**" if float(cell) == best[task] and not alone else cell
                for task, cell in zip(TASKS, cells, strict=True)
            ]
            spread = max(
                max(one[task] for one in found[name, dim])
                - min(one[task] for one in found[name, dim])
                for task in TASKS
            )
            lines.append([size, name, str(len(found[name, dim])), *bold, f"{spread:.3f}"])
    return lines
