"""Forgetting by design beside unlearning in weights: every method, beside retraining.

    python benchmarks/unlearning.py DATA [--seeds 5] [--only NAME ...]
                                    [--markdown docs/comparison.md] [--keep FOLDER] [--kept]

DATA is a folder with the public sets ``adult``, ``mnist``, ``clinc150`` and ``tofu``; without it,
or without one of them, what needs them is left out. Prints Markdown tables, one thread; with
``--markdown`` they go into a page, with a picture each in the folder ``pictures`` beside it. With
``--kept`` nothing is run: what an earlier run kept in the folder is shown and drawn again. Exit
code 1 if forgetting by design isn't proven anywhere, or a control doesn't behave: if no test tells
the original from a retrained model.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from page import put
from timing import is_one_thread, machine, one_thread, tell

from forgetnet.audit.verdict import Verdict
from forgetnet.compare import Comparison, run
from forgetnet.compare.catalogue import CATALOGUE, setting_of
from forgetnet.compare.contestants import DESIGN

PACKAGES = ("numpy", "torch", "transformers", "scikit-learn")


@dataclass(frozen=True)
class Part:
    """One table: a setting with a request; at most so many seeds; retrained references."""

    name: str
    request: str
    seeds: int = 5
    references: int = 2

    @property
    def title(self) -> str:
        """What the part is called on the command line and in the page."""
        return f"{self.name}-{self.request}"


PARTS = {
    part.title: part
    for part in (
        Part("digits", "random"),
        Part("digits", "class"),
        Part("digits", "poisoned"),
        Part("personas", "people"),
        Part("heads", "topic"),
        Part("heads-lorentz", "topic"),
        Part("adult", "random"),
        Part("mnist", "class"),
        Part("clinc150", "topic"),
        Part("clinc150-lorentz", "topic"),
        Part("tofu", "forget01", references=1),
        Part("tofu", "forget05", references=1),
        Part("tofu", "forget10", references=1),
    )
}


def compared(part: Part, data: Path | None, seeds: int) -> Comparison | None:
    """Run one part; nothing if its data isn't there."""
    folder = CATALOGUE[part.name].folder
    if folder and (data is None or not (data / folder).is_dir()):
        tell(f"{part.title}: no {folder}, left out")
        return None
    setting = setting_of(part.name, part.request, data)
    count = min(seeds, part.seeds)
    return run(setting, seeds=range(count), references=part.references, progress=tell)


def known(part: Part, folder: Path) -> Comparison | None:
    """Read what an earlier run kept of a part; nothing if it kept none."""
    path = folder / f"{part.title}.json"
    return Comparison.from_dict(json.loads(path.read_bytes())) if path.exists() else None


def behaves(found: Comparison) -> bool:
    """Tell whether what is known beforehand came out."""
    verdicts = {row.name: row.judgement.verdict for row in found.rows}
    designs = [row.judgement.verdict for row in found.rows if row.group == DESIGN]
    return (
        verdicts["original"] is Verdict.INCONSISTENT
        and verdicts["retrained"] is Verdict.CONSISTENT
        and all(verdict is Verdict.PROVEN for verdict in designs)
    )


def page(part: Part, found: Comparison, picture: str) -> str:
    """Write what goes into the page."""
    seeds = len(found.seeds)
    told = f"{found.about}. {seeds} seed{'s' * (seeds > 1)}."
    shown = f"![{part.title}](pictures/{picture})"
    return f"{told}\n\n{shown}\n\n{found.to_markdown()}"


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder with the public data sets")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--markdown", type=Path, help="a page that the tables are put into")
    parser.add_argument("--keep", type=Path, help="a folder for all numbers, as JSON")
    parser.add_argument("--kept", action="store_true", help="show what is in --keep, run nothing")
    options = parser.parse_args(arguments)
    if options.kept and options.keep is None:
        parser.error("--kept shows what is in a folder; name it with --keep")
    good = True
    for title in options.only:
        if options.kept:
            found = known(PARTS[title], options.keep)
        else:
            found = compared(PARTS[title], options.data, options.seeds)
        if found is None:
            continue
        good = good and behaves(found)
        picture = f"compare-{title}.png"
        text = page(PARTS[title], found, picture)
        print(text, flush=True)
        if options.keep is not None and not options.kept:
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{title}.json").write_text(json.dumps(found.to_dict()))
        if options.markdown is not None:
            folder = options.markdown.parent / "pictures"
            folder.mkdir(parents=True, exist_ok=True)
            found.plot(folder / picture)
            put(options.markdown, f"unlearning.py {title}", text)
    if options.markdown is not None and not options.kept:
        put(options.markdown, "unlearning.py machine", machine(PACKAGES))
    return int(not good)


if __name__ == "__main__":
    if is_one_thread():
        sys.exit(main(sys.argv[1:]))
    sys.exit(subprocess.run([sys.executable, *sys.argv], env=one_thread(), check=False).returncode)
