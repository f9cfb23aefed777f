"""What hyperbolic geometry buys and where it doesn't: an ablation, subtrees, linking, a ridge head.

    python benchmarks/geometry.py DATA [--seeds 3] [--only ablation trees speed ridge]
                                       [--cache FILE] [--keep DIR] [--markdown docs/geometry.md]

DATA is a folder with ``wordnet`` (Open English WordNet's nouns as JSON lines: id, words, hyper,
inst, def) and ``clinc150`` (train and val as JSON lines: text, intent, domain), gzipped. --cache
keeps the encoder's vectors (.safetensors). --keep keeps every number as it comes, and a run goes on
from there. Exit code 1 if an answer is wrong, a twin differs, or a subtree takes too long.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import geometry_ablation as ablation
import geometry_ridge as ridge
import geometry_speed as speed
import geometry_trees as trees
from geometry_plot import draw
from geometry_tasks import TASKS
from page import put, table
from timing import is_one_thread, machine, one_thread

from forgetnet import Encoder
from forgetnet.encode import resolve_encoder

PARTS = ("ablation", "trees", "speed", "ridge")
PACKAGES = ("numpy", "torch", "geoopt", "sentence-transformers", "lancedb")
SPEED = ["what", "ours", "beside", "ratio", "target", "verdict"]


def ablated(
    data: Path, encoder: Encoder, cache: Path | None, seeds: int, kept: Path
) -> ablation.Found:
    """Run the ablation."""
    return ablation.measured(ablation.ground(data, encoder, cache), seeds, kept)


def tree_rows(found: trees.Found) -> list[list[str]]:
    """Write the table of static trees."""
    lines = []
    for dim in trees.DIMS:
        curved, flat = (statistics.mean(found[space, dim]) for space in ("hyperbolic", "flat"))
        best = max(curved, flat)
        cells = [f"**{mean:.3f}**" if mean == best else f"{mean:.3f}" for mean in (curved, flat)]
        spread = max(
            max(each) - min(each) for each in (found["hyperbolic", dim], found["flat", dim])
        )
        lines.append([str(dim), *cells, f"{spread:.3f}"])
    return lines


def texts(options: argparse.Namespace, folder: Path, encoder: Encoder) -> Mapping[str, str]:
    """Run what was asked for; return each part's text."""
    shown: dict[str, str] = {}
    points: trees.Found = {}
    if "trees" in options.only:
        points = trees.measured(options.data, options.seeds, folder / "trees.jsonl")
        head = ["numbers a point", "hyperbolic", "flat", "spread"]
        shown["trees"] = table(head, tree_rows(points))
    if "ablation" in options.only:
        kept = folder / "ablation.jsonl"
        found = ablated(options.data, encoder, options.cache, options.seeds, kept)
        head = ["numbers a record", "space", "seeds", *TASKS, "spread"]
        shown["ablation"] = table(head, ablation.rows(found))
        if options.picture and points:
            draw(found, points, options.picture)
    if "ridge" in options.only:
        rows, options.good = ridge.measured(options.data, encoder, options.cache)
        shown["ridge"] = table(ridge.HEAD, rows)
    if "speed" in options.only:
        rows, right = speed.subtrees(options.rounds)
        rows += speed.linking(100_000, 1_000, 3)
        options.good = options.good and right and all(row.ok is not False for row in rows)
        shown["speed"] = table(SPEED, [row.cells() for row in rows])
    return shown


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="folder with wordnet and clinc150")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--rounds", type=int, default=21, help="of the timings")
    parser.add_argument("--cache", type=Path, help="a .safetensors file for the vectors")
    parser.add_argument("--keep", type=Path, help="a folder for every number, to go on from")
    parser.add_argument("--picture", type=Path, help="an .svg or .png of ablation and trees")
    parser.add_argument("--markdown", type=Path, help="a page that the tables are put into")
    options = parser.parse_args(arguments, argparse.Namespace(good=True))
    with tempfile.TemporaryDirectory(prefix="forgetnet-geometry-") as away:
        folder = options.keep or Path(away)
        folder.mkdir(parents=True, exist_ok=True)
        found = texts(options, folder, resolve_encoder(options.encoder))
    for name, text in found.items():
        whole = f"{text}\n\n{machine(PACKAGES)}"
        print(f"\n{name}\n\n{whole}")
        if options.markdown:
            put(options.markdown, f"geometry.py {name}", whole)
    return int(not options.good)


if __name__ == "__main__":
    if is_one_thread():
        sys.exit(main(sys.argv[1:]))
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=one_thread(), check=False).returncode)
