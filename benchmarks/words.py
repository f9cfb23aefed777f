"""Meaning, words, or both: which search finds what people judged to be the answer, and its cost.

    python benchmarks/words.py DATA [--encoder minilm] [--sets locomo cranfield cisi medline]
                                    [--rows 100000 500000] [--markdown docs/benchmarks.md]

DATA is a folder with a folder for each set: LoCoMo's JSON, or a test collection as corpus.jsonl.gz
(id, title, text), queries.jsonl (id, text) and qrels.tsv (query, document, code; a positive code is
relevant). Shown are nDCG@10 (Jarvelin and Kekalainen 2002, binary) and recall@10, the means over
queries with a relevant document. Then a part of each set is forgotten: every answer of every mode
must be, to the last bit, that of a twin that never had it. Exit code 1 if one isn't. Last comes
what an index of words costs, at so many made-up records of 20 words, drawn by Zipf's law.
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from conversations import data_file, load
from material import Floats
from page import put, table
from timing import cost, machine, tell

from forgetnet import Encoder, Hit, Memory, Record
from forgetnet.encode import resolve_encoder
from forgetnet.reader import Mode
from forgetnet.words import Words

COSTS = [
    "records",
    "index made, CPU s",
    "50 removed, ms",
    "purged, ms",
    "3 rare words, ms",
    "1 of them and the 2 commonest, ms",
    "the 2 commonest alone, ms",
]
K = 10
MODES: tuple[Mode, ...] = ("vector", "text", "hybrid")
SETS = ("locomo", "cranfield", "cisi", "medline")
PACKAGES = ("numpy", "sentence-transformers", "torch")
HEAD = ["set", "mode", "nDCG@10", "recall@10", "CPU ms a query", "as the twin's"]


@dataclass(frozen=True)
class Judged:
    """One set: its records, its queries, and what answers each of them."""

    records: list[Record]
    queries: list[str]
    relevant: list[frozenset[str]]


def read(name: str, folder: Path) -> Judged:
    """Read a set; queries without a relevant record are left out."""
    if name == "locomo":
        turns, questions = load(data_file(folder))
        records = [Record(turn.text, turn.id, turn.subject, turn.sample) for turn in turns]
        pairs = [(q.text, frozenset(q.evidence)) for q in questions if q.evidence]
    else:
        data = gzip.decompress((folder / "corpus.jsonl.gz").read_bytes())
        told = [json.loads(line) for line in data.splitlines()]
        texts = {row["id"]: _whole(row["title"], row["text"]) for row in told}
        records = [Record(text, i) for i, text in texts.items() if text]
        pairs = _asked(folder, {record.id for record in records})
    return Judged(records, [text for text, _ in pairs], [wanted for _, wanted in pairs])


def _whole(title: str, text: str) -> str:
    return text if text.startswith(title) else f"{title} {text}"


def _asked(folder: Path, known: set[str]) -> list[tuple[str, frozenset[str]]]:
    wanted: dict[str, set[str]] = {}
    for line in (folder / "qrels.tsv").read_text().splitlines()[1:]:
        query, document, code = line.split("\t")
        if int(code) > 0 and document in known:
            wanted.setdefault(query, set()).add(document)
    told = [json.loads(line) for line in (folder / "queries.jsonl").read_text().splitlines()]
    return [(row["text"], frozenset(wanted[row["id"]])) for row in told if row["id"] in wanted]


def ndcg(found: Sequence[str], wanted: frozenset[str]) -> float:
    """Return the discounted gain of a ranking, over that of the best one."""
    gains = [1.0 / math.log2(place + 2) for place in range(K)]
    gained = sum(gain for gain, i in zip(gains, found, strict=False) if i in wanted)
    return gained / sum(gains[: len(wanted)])


def recall(found: Sequence[str], wanted: frozenset[str]) -> float:
    """Return the share of what was wanted among what was found."""
    return len(set(found) & wanted) / len(wanted)


class Once:
    """An encoder that makes each vector once, so that a search is what gets timed."""

    def __init__(self, inner: Encoder, texts: Sequence[str]) -> None:
        self.name, self.dim, self.digest = inner.name, inner.dim, inner.digest
        self._known = dict(zip(texts, inner.encode(texts, progress=False), strict=True))

    def encode(self, texts: Sequence[str], *, progress: bool = True) -> Floats:
        """Look up (n, d) vectors."""
        return np.stack([self._known[text] for text in texts])


def made(encoder: Encoder, records: Sequence[Record]) -> Memory:
    """Make a memory of some records."""
    memory = Memory.open("memory://", encoder=encoder, key=bytes(32))
    memory.add(list(records), progress=False)
    return memory


def ask(memory: Memory, judged: Judged, mode: Mode) -> list[list[Hit]]:
    """Ask every query."""
    return [memory.search(query, k=K, mode=mode) for query in judged.queries]


def measure(name: str, judged: Judged, encoder: Encoder) -> tuple[list[list[str]], bool]:
    """Measure every mode on a set, forget a fifth of it, and compare with the twin."""
    everything = [record.text or "" for record in judged.records]
    once = Once(encoder, [*dict.fromkeys([*everything, *judged.queries])])
    whole = made(once, judged.records)
    rows = []
    for mode in MODES:
        ask(whole, judged, mode)  # the first search by words makes its index
        start = time.process_time()
        answers = ask(whole, judged, mode)
        used = time.process_time() - start
        ids = [[hit.id for hit in hits] for hits in answers]
        scores = [
            sum(score(found, wanted) for found, wanted in zip(ids, judged.relevant, strict=True))
            / len(ids)
            for score in (ndcg, recall)
        ]
        each = 1e3 * used / len(ids)
        rows.append([mode, *(f"{score:.3f}" for score in scores), f"{each:.2f}"])
    gone = {record.id for record in judged.records[::5]}
    receipt = whole.forget(ids=sorted(gone))
    twin = made(once, [record for record in reversed(judged.records) if record.id not in gone])
    good = receipt.status.value == "erased"
    for row in rows:
        mode = next(mode for mode in MODES if mode == row[0])
        same = ask(whole, judged, mode) == ask(twin, judged, mode)
        good &= same
        row.append("yes" if same else "**no**")
    size = f"{name}, {len(judged.records):,} records, {len(judged.queries)} queries"
    return [[size, *row] for row in rows], good


def made_up(rows: int) -> list[Record]:
    """Make up records of 20 words each, of 50,000 with frequencies by Zipf's law."""
    rng = np.random.default_rng(rows)
    share = 1.0 / np.arange(1, 50_001)
    drawn = rng.choice(50_000, (rows, 20), p=share / share.sum())
    return [Record(" ".join(f"w{n}" for n in row), str(i)) for i, row in enumerate(drawn.tolist())]


def weigh(rows: int) -> list[str]:
    """Measure the processor time of an index of words, by what is done to it."""
    live = {record.id: record for record in made_up(rows)}
    words = Words(live)
    made = cost(lambda: words.search("nothing", K))[1]
    gone = [live.pop(str(i)) for i in range(0, rows, rows // 50)][:50]
    removed = cost(lambda: words.remove(gone))[1]
    purged = cost(words.purge)[1]
    rare = statistics.median(cost(lambda: words.search("w300 w4000 w500", K))[1] for _ in range(5))
    often = statistics.median(cost(lambda: words.search("w0 w1 w500", K))[1] for _ in range(5))
    alone = statistics.median(cost(lambda: words.search("w0 w1", K))[1] for _ in range(5))
    figures = (f"{1e3 * figure:,.1f}" for figure in (removed, purged, rare, often, alone))
    return [f"{rows:,}", f"{made:.2f}", *figures]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="a folder with a folder for each set")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--rows", type=int, nargs="*", default=[100_000, 500_000])
    parser.add_argument("--markdown", type=Path, help="a page that the table is put into")
    options = parser.parse_args(arguments)
    encoder = resolve_encoder(options.encoder)
    rows, good = [], True
    for name in options.sets:
        found, same = measure(name, read(name, options.data / name), encoder)
        rows += found
        good &= same
        for row in found:
            tell(" | ".join(row))
    costs = [weigh(n) for n in options.rows]
    tables = {
        f"DATA --encoder {options.encoder} --rows": table(HEAD, rows) if rows else "",
        "DATA --sets": table(COSTS, costs) if costs else "",
    }
    for given, shown in tables.items():
        text = f"`python benchmarks/words.py {given}`\n\n{shown}\n\n{machine(PACKAGES)}"
        if shown:
            print(text)
        if shown and options.markdown:
            put(options.markdown, f"words.py {given.rpartition(' ')[2]}", text)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
