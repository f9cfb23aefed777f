"""Long conversations: search equals plain exact search, and a forgotten speaker leaves nothing.

    python benchmarks/locomo.py PATH [--encoder minilm] [--questions 500] [--speaker SUBJECT]
                                     [--markdown docs/benchmarks.md]

PATH is the LoCoMo data: its JSON file, plain or gzipped, or the folder that it lies in. The turns
go in by the command ``forgetnet import``. Then: (a) the hits of every question are those of plain
cosine search in float64, and so is evidence recall@10; (b) every record of a speaker is found in
the files, is forgotten, and isn't found again; (c) a twin that never had the speaker gives the same
hits and distances to every bit. Exit code 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import json
import secrets
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from conversations import Question, Turn, data_file, load
from material import Floats
from page import put, table
from timing import machine, one_thread, tell

from forgetnet import Encoder, Hit, Memory, Record
from forgetnet.audit import residue
from forgetnet.audit.trace import SALT_BYTES
from forgetnet.encode import resolve_encoder
from forgetnet.ingest import read

K = 10
TIE = 1e-6  # cosines this close may change places: unit vectors of float32 aren't quite that
PACKAGES = ("numpy", "lancedb", "pylance", "sentence-transformers", "torch")
HEAD = ["what", "figure", "seconds", ""]


@dataclass
class Report:
    """Lines of the table; ``failed`` counts those that had to be so and weren't."""

    rows: list[list[str]] = field(default_factory=list)
    failed: int = 0
    taken: float = 0.0

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Time what is done next; the next line shows it."""
        tell(what)
        start = time.perf_counter()
        yield
        self.taken = time.perf_counter() - start

    def line(self, what: str, figure: str, *, ok: bool | None = None) -> None:
        """Add a line."""
        verdict = {None: "", True: "holds", False: "**fails**"}[ok]
        self.failed += ok is False
        self.rows.append([what, figure, f"{self.taken:.1f}" if self.taken else "", verdict])
        self.taken = 0.0
        tell(" | ".join(self.rows[-1]))


@dataclass(frozen=True)
class Setting:
    """What the steps share: the data, its encoder, the memory and its key file."""

    file: Path
    turns: list[Turn]
    questions: list[Question]
    encoder: Encoder
    folder: Path

    @property
    def key(self) -> Path:
        """The file of the key that both memories have."""
        return self.folder / "key"

    def open(self, name: str) -> Memory:
        """Open the memory of that name."""
        return Memory.open(self.folder / name, encoder=self.encoder, key=self.key)


# -- import


def bring_in(setting: Setting, encoder: str, report: Report) -> None:
    """Import the file by the command, and compare every record with its turn."""
    setting.key.write_text(secrets.token_hex(32))
    command = [
        *(sys.executable, "-m", "forgetnet.cli", "import", str(setting.file), "--json"),
        *("--store", str(setting.folder / "first"), "--key", str(setting.key)),
        *("--encoder", encoder),
    ]
    with report.timed("import"):
        done = subprocess.run(
            command, env=one_thread(), stdout=subprocess.PIPE, text=True, check=True
        )
    answer = json.loads(done.stdout)
    with setting.open("first") as memory:
        stored = {r.id: (r.subject, r.text) for r in memory.get_all()}
    same = stored == {turn.id: (turn.subject, turn.text) for turn in setting.turns}
    figure = f"{answer['imported']:,} of {len(setting.turns):,} turns, {answer['refused']} refused"
    report.line("import by the command, every text and speaker as in the file", figure, ok=same)


# -- (a) recall


def _recall(found: Sequence[list[str]], questions: Sequence[Question]) -> float:
    """Return the mean share of a question's evidence among its hits."""
    shares = [
        len(set(hits) & set(question.evidence)) / len(question.evidence)
        for hits, question in zip(found, questions, strict=True)
        if question.evidence
    ]
    return sum(shares) / len(shares)


class Plain:
    """Exact cosine search in float64 and nothing else."""

    def __init__(self, turns: Sequence[Turn], vectors: Floats) -> None:
        self._ids = [turn.id for turn in turns]
        self._samples = np.array([turn.sample for turn in turns])
        self._rows = vectors.astype(np.float64)
        self._rows /= np.linalg.norm(self._rows, axis=1, keepdims=True)

    def cosines(self, query: Floats) -> dict[str, float]:
        """Return the cosine of every turn with a query."""
        return dict(zip(self._ids, self._scores(query).tolist(), strict=True))

    def _scores(self, query: Floats) -> npt.NDArray[np.float64]:
        exact = query.astype(np.float64)
        scores: npt.NDArray[np.float64] = (self._rows * (exact / np.linalg.norm(exact))).sum(axis=1)
        return scores

    def search(self, query: Floats, sample: str | None) -> list[str]:
        """Return the best ids, ties by id, of one conversation or of all."""
        scores = self._scores(query)
        rows = np.arange(len(scores)) if sample is None else np.flatnonzero(self._samples == sample)
        return [self._ids[i] for i in sorted(rows, key=lambda i: (-scores[i], self._ids[i]))[:K]]


def recall(setting: Setting, memory: Memory, vectors: Floats, asked: Floats, out: Report) -> None:
    """Ask every question, over all turns and within its conversation, here and plainly."""
    plain = Plain(setting.turns, vectors)
    everything = list(zip(setting.questions, asked, strict=True))
    for scope in ("all conversations", "its own conversation"):
        own = scope != "all conversations"
        with out.timed(f"search, {scope}"):
            mine = [
                memory.search(q.text, k=K, under=q.sample if own else None)
                for q in setting.questions
            ]
        seconds = out.taken
        ids = [[hit.id for hit in hits] for hits in mine]
        with out.timed(f"plain search, {scope}"):
            theirs = [plain.search(v, q.sample if own else None) for q, v in everything]
        differing = [i for i, (a, b) in enumerate(zip(ids, theirs, strict=True)) if a != b]
        ties = [i for i in differing if _is_tie(plain.cosines(asked[i]), ids[i], theirs[i])]
        furthest = max(
            abs(1.0 - hit.distance - plain.cosines(vector)[hit.id])
            for hits, vector in zip(mine[:50], asked, strict=False)
            for hit in hits
        )
        here, there = _recall(ids, setting.questions), _recall(theirs, setting.questions)
        out.taken = seconds
        out.line(
            f"evidence recall@{K}, {len(ids):,} questions over {scope}",
            f"{here:.6f}; plain exact cosine search {there:.6f}",
            ok=here == there,
        )
        figure = f"{len(differing)}, {len(ties)} of them by ties; cosines within {furthest:.0e}"
        out.line("lists of hits that differ", figure, ok=len(differing) == len(ties))


def _is_tie(cosines: dict[str, float], mine: list[str], theirs: list[str]) -> bool:
    pairs = zip(mine, theirs, strict=True)
    return all(abs(cosines[one] - cosines[other]) <= TIE for one, other in pairs)


# -- (b) residue


def residue_of(memory: Memory, root: Path, subject: str, out: Report) -> None:
    """Look for every record of a speaker in every file, forget them, and look again."""
    salt = secrets.token_bytes(SALT_BYTES)
    mine = [r for record in memory.get_all({"subject": subject})
            if (r := memory.get(record.id, vector=True)) is not None]  # fmt: skip
    content = np.stack([np.asarray(record.vector) for record in mine])
    traces = residue.trace(mine, content, salt=salt)
    needles = residue.Needles(mine, content, salt=salt)
    with out.timed("scan before"):
        before = residue.scan([root], traces, needles, root=root)
    out.line(
        f"control: the {len(mine)} records of one speaker in the files, before",
        _found(before, traces),
        ok=before.complete(traces),
    )
    traces = traces.learn(before.keys)
    others = memory.count() - len(mine)
    with out.timed("forget"):
        receipt = memory.forget(subject=subject)
    good = receipt.status.value == "erased" and not receipt.check(memory.public_key)
    figure = f"{receipt.status.value}, {receipt.counts['direct']} records"
    out.line("forget the speaker; the receipt", figure, ok=good and memory.count() == others)
    if not good:
        tell(receipt.explain())
    with out.timed("scan after"):
        after = residue.scan(
            [root], traces, needles, root=root, survivors=lambda i: memory.get(i) is not None
        )
    whole = after.absent() and after.rows_seen == others
    figure = f"{_found(after, traces)}; {after.files} files, {after.rows_seen} rows decoded"
    out.line("residue afterwards", figure, ok=whole)


def _found(findings: residue.Findings, traces: residue.Traces) -> str:
    expected = traces.expected()
    parts = [f"{kind.value} {findings.traces[kind]} of {expected[kind]}" for kind in residue.Kind]
    hidden = f", {len(findings.opaque)} files that can't be decoded" if findings.opaque else ""
    return ", ".join(part for part in parts if not part.endswith(" of 0")) + hidden


# -- (c) twin


def make_twin(setting: Setting, subject: str, out: Report) -> Memory:
    """Make a memory of the other turns alone, in the opposite order, embedded anew."""
    records = [item for item in read(setting.file) if isinstance(item, Record)]
    rest = [record for record in records if record.subject != subject]
    with out.timed("twin"):
        twin = setting.open("twin")
        twin.add(rest[::-1], progress=False)
    out.line("a twin of the others, in the opposite order, embedded anew", f"{len(rest):,} turns")
    return twin


def _answers(memory: Memory, questions: Sequence[Question], asked: Floats) -> list[list[Hit]]:
    """Ask each question over everything, and within its conversation."""
    return [
        hits
        for question, vector in zip(questions, asked, strict=True)
        for hits in (
            memory.search(vector, k=K),
            memory.search(vector, k=K, under=question.sample),
        )
    ]


def compare(
    setting: Setting, first: Memory, twin: Memory, asked: Floats, out: Report, *, control: bool
) -> None:
    """Count the hit lists of both memories that differ in an id, a distance or a field."""
    count = len(asked)
    with out.timed("compare with the twin"):
        mine = _answers(first, setting.questions[:count], asked)
        theirs = _answers(twin, setting.questions[:count], asked)
    differing = sum(a != b for a, b in zip(mine, theirs, strict=True))
    figure = f"{differing} of {len(mine):,} differ"
    if control:
        what = f"control: hits and distances of {count} questions against the twin, before"
        out.line(what, figure, ok=differing > 0)
        return
    what = f"hits and distances of {count} questions, over all and within, against the twin"
    out.line(what, figure, ok=differing == 0)
    same = first.digest() == twin.digest()
    out.line("digests of both", "equal" if same else "different", ok=same)


# -- all of it


def run(setting: Setting, options: argparse.Namespace, out: Report) -> None:
    """Take all the steps."""
    bring_in(setting, options.encoder, out)
    with out.timed("encode plainly"):
        vectors = setting.encoder.encode([turn.text for turn in setting.turns])
        asked = setting.encoder.encode([question.text for question in setting.questions])
    out.line("encode turns and questions once more, for the plain search", f"{len(vectors):,}")
    counts = Counter(turn.subject for turn in setting.turns)
    subject = options.speaker or max(sorted(counts), key=lambda name: counts[name])
    some = asked[: options.questions]
    with setting.open("first") as first:
        recall(setting, first, vectors, asked, out)
        with make_twin(setting, subject, out) as twin:
            compare(setting, first, twin, some, out, control=True)
            residue_of(first, setting.folder / "first", subject, out)
            compare(setting, first, twin, some, out, control=False)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("path", type=Path, help="the LoCoMo data: file or folder")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--questions", type=int, default=500, help="how many the twin is asked")
    parser.add_argument("--speaker", help="whom to forget; the one with the most turns if left out")
    parser.add_argument("--markdown", type=Path, help="a page that the table is put into")
    options = parser.parse_args(arguments)
    file = data_file(options.path)
    turns, questions = load(file)
    out = Report()
    with tempfile.TemporaryDirectory(prefix="forgetnet-") as folder:
        encoder = resolve_encoder(options.encoder)
        run(Setting(file, turns, questions, encoder, Path(folder)), options, out)
    text = f"{table(HEAD, out.rows)}\n\n{machine(PACKAGES)}"
    print(text)
    if options.markdown:
        command = f"`python benchmarks/locomo.py PATH --encoder {options.encoder}`"
        put(options.markdown, "locomo.py", f"{command}\n\n{text}")
    return int(out.failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
