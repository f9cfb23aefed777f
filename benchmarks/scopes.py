"""Scopes by meaning: is the promised recall met, and how much too much is taken in for it.

    python benchmarks/scopes.py PATH [--cache FILE] [--sets clinc150 banking77] [--splits 20]
                                     [--concepts 20] [--markdown docs/benchmarks.md]

PATH is a folder with a folder for each set, as ``scopes_data.py`` reads them. In each split records
of the training part are drawn as exemplars and topics are asked for; looked at, and measured on, is
the other part. Exit code 1 if a recall is a point below its promise, but where topics are asked for
that differ from all that were calibrated on, which is shown and promised nowhere.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
from page import put, table
from scopes_data import SETS, Data, Vectors, read
from timing import machine, tell

from forgetnet import Record
from forgetnet.encode import resolve_encoder
from forgetnet.linking import Exemplars, Linker
from forgetnet.linking.nearest import whole
from forgetnet.meaning.ask import Asked, look, see
from forgetnet.meaning.concept import Concept, cut, meant, plain_name
from forgetnet.meaning.conformal import MILLION, control, enough
from forgetnet.meaning.margins import of_scores
from forgetnet.record import normalise
from forgetnet.store import PLACE_DIM, Store, StoreConfig, open_store

Floats = npt.NDArray[np.float32]
Named = Callable[[Sequence[str]], Floats]
RECALLS = (0.9, 0.95)
POINT = 0.01
NOW = datetime(2030, 1, 1, tzinfo=UTC)
HEAD = ["asked for", "recall promised", "recall", "split by split", "said to miss",
        "returned : true", "precision", "within a point"]  # fmt: skip
PACKAGES = ("numpy", "sentence-transformers", "torch")


@dataclass
class Tally:
    """What came of one kind of question, over all splits.

    Attributes:
        splits: recalls of the topics of each split.
        returned, true, right: counts over all.
        precisions: of each topic; 1 where nothing came back.
        missed: estimated miss rates.
        methods: how thresholds were found.
    """

    splits: list[list[float]] = field(default_factory=list)
    returned: int = 0
    true: int = 0
    right: int = 0
    precisions: list[float] = field(default_factory=list)
    missed: list[float] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    def add(self, chosen: npt.NDArray[np.bool_], true: npt.NDArray[np.bool_]) -> None:
        """Count one answer."""
        right = int((chosen & true).sum())
        self.splits[-1].append(right / int(true.sum()))
        self.returned += int(chosen.sum())
        self.true += int(true.sum())
        self.right += right
        self.precisions.append(right / int(chosen.sum()) if chosen.any() else 1.0)

    @property
    def recall(self) -> float:
        """The mean over topics of all splits."""
        return float(np.mean([r for split in self.splits for r in split]))

    def row(self, asked: str, promise: float | None, *, held: bool = True) -> list[str]:
        """Write a line of the table."""
        means = [float(np.mean(split)) for split in self.splits]
        met = "" if promise is None else "yes" if self.recall >= promise - POINT else "**no**"
        return [
            asked,
            "none" if promise is None else f"{promise:.2f}",
            f"{self.recall:.3f}",
            f"{min(means):.3f} to {max(means):.3f}",
            f"{np.mean(self.missed):.3f}" if self.missed else "",
            f"{self.returned / self.true:.2f}",
            f"{np.mean(self.precisions):.3f}",
            met if held else f"{met} (nothing promised)",
        ]


@dataclass(frozen=True)
class Question:
    """One kind of question.

    Attributes:
        shown, few: what the table calls it, and exemplars a topic.
        level: how many names of a path a topic that is asked for has.
        known: the topics asked for are among those with exemplars.
        marked: records of the topic that the caller marks.
        apart: nothing of the same branch has exemplars.
    """

    shown: str
    few: int
    level: int = 2
    known: bool = True
    marked: int = 0
    apart: bool = False


QUESTIONS = {
    "clinc150": (
        Question("a domain, 5 exemplars an intent", 5, level=1),
        Question("a domain, 20 exemplars an intent", 20, level=1),
        Question("an intent, 20 exemplars each", 20),
        Question("an intent, 5 exemplars each", 5),
        Question("a new intent by its name, others have 20", 20, known=False),
        Question("the same with 5 records marked", 20, known=False, marked=5),
        Question("the same, of a domain nobody labelled", 20, known=False, marked=5, apart=True),
    ),
    "banking77": (
        Question("an intent, 20 exemplars each", 20),
        Question("an intent, 5 exemplars each", 5),
        Question("a new intent by its name, others have 20", 20, known=False),
        Question("the same with 5 records marked", 20, known=False, marked=5),
    ),
}


@dataclass(frozen=True)
class Split:
    """One draw: who has exemplars, and which topics are asked for.

    Attributes:
        taught: positions in the training part that have their topic.
        marked: for each topic asked for, positions there that the caller marks.
        asked: the topics.
    """

    taught: npt.NDArray[np.int64]
    marked: dict[str, list[int]]
    asked: list[str]


def draw(data: Data, question: Question, seed: int, concepts: int) -> Split:
    """Draw a split."""
    rng = np.random.default_rng([seed, question.few])
    leaves = sorted(set(data.train))
    free = list(rng.permutation(leaves))
    teach = leaves
    if question.apart:
        branch = free[0].partition("/")[0]
        teach = [leaf for leaf in leaves if not leaf.startswith(f"{branch}/")]
    elif not question.known:
        teach = sorted(free[: len(free) // 2])
    others = sorted(set(leaves) - set(teach))
    asked = teach if question.known else others
    if question.level == 1:
        asked = sorted({leaf.partition("/")[0] for leaf in leaves})
    labels = np.array(data.train)
    taught = [rng.permutation(np.flatnonzero(labels == leaf))[: question.few] for leaf in teach]
    chosen = list(rng.permutation(asked)[:concepts])
    marked = {
        topic: rng.permutation(np.flatnonzero(labels == topic))[: question.marked].tolist()
        for topic in chosen
    }
    return Split(np.concatenate(taught), marked, chosen)


def store_of(data: Data, split: Split) -> Store:
    """Store the records that are looked at, without topics, and the exemplars with theirs."""
    store = open_store("memory://", StoreConfig(dim=data.vectors["test"].shape[1], salt=b"s" * 32))
    marked = {i for each in split.marked.values() for i in each}
    rows = [
        ("train", split.taught, [data.train[i] for i in split.taught]),
        ("train", np.array(sorted(marked), np.int64), [None] * len(marked)),
        ("test", np.arange(len(data.test)), [None] * len(data.test)),
    ]
    for part, at, topics in rows:
        if not len(at):
            continue
        ids = [f"{part}{i}" for i in at.tolist()]
        records = [Record(text="", id=i, topic=t) for i, t in zip(ids, topics, strict=True)]
        place = np.zeros((len(at), PLACE_DIM), np.float32)
        store.add([normalise(r, NOW) for r in records], data.vectors[part][at], place)
    return store


def is_under(label: str, topic: str) -> bool:
    return label == topic or label.startswith(f"{topic}/")


def concept_of(data: Data, question: Question, split: Split, topic: str, query: Floats) -> Concept:
    """Gather what a scope would, of one topic: exemplars inside and outside, marks, the query."""
    labels = [data.train[i] for i in split.taught.tolist()]
    order = np.argsort(np.array([f"train{i}" for i in split.taught.tolist()]))
    marks = split.marked[topic]
    at = [*split.taught[order].tolist(), *sorted(marks, key="train{}".format)]
    known = [labels[i] for i in order.tolist()]
    marked = np.arange(len(at)) >= len(known)
    inside = np.array([question.known and is_under(label, topic) for label in known])
    return Concept(
        tuple(f"train{i}" for i in at),
        (*known, *(None for _ in marks)),
        whole(np.concatenate([data.vectors["train"][at], query[None]])),
        np.concatenate([inside, marked[marked]]),
        np.concatenate([~inside, ~marked[marked]]),
        (topic,) if question.known else (),
    )


def measure(
    data: Data, question: Question, seeds: Sequence[int], concepts: int, named: Named
) -> dict[float, Tally]:
    """Ask all splits one kind of question; return what came of it.

    Scores to the exemplars are shared by the topics of a split; for the first one of each split,
    what is found is held against what a scope of a store finds.
    """
    tallies = {recall: Tally() for recall in RECALLS}
    tests = whole(data.vectors["test"])
    for seed in seeds:
        split = draw(data, question, seed, concepts)
        shared: npt.NDArray[np.float32] | None = None
        for tally in tallies.values():
            tally.splits.append([])
        for topic in split.asked:
            concept = concept_of(data, question, split, topic, named([plain_name(topic)])[0])
            if shared is None:
                shared = tests @ concept.codes[: len(split.taught)].T
            more = tests @ concept.codes[len(split.taught) :].T
            found = of_scores(np.column_stack([shared, more]), concept.field)
            true = np.array([is_under(label, topic) for label in data.test])
            for recall, tally in tallies.items():
                chosen = cut(concept, round(recall * MILLION), named)
                tally.add(found >= chosen.threshold, true)
                tally.methods.append(chosen.method)
                if chosen.miss is not None:
                    tally.missed.append(chosen.miss.estimate / MILLION)
                if topic == split.asked[0] and recall == RECALLS[seed % len(RECALLS)]:
                    inside = found >= chosen.threshold
                    check(data, question, split, inside, recall=recall, named=named)
    return tallies


def check(
    data: Data,
    question: Question,
    split: Split,
    chosen: npt.NDArray[np.bool_],
    *,
    recall: float,
    named: Named,
) -> None:
    """Hold an answer for the first topic of a split against the one of a store."""
    topic = split.asked[0]
    text = plain_name(topic)
    asked = Asked(
        named([text])[0],
        text,
        round(recall * MILLION),
        (topic,) if question.known else (),
        tuple(f"train{i}" for i in split.marked[topic]),
    )
    store = store_of(data, split)
    found = look(store, see(store, (), NOW), asked, named)
    inside = {i for i, is_in in zip(found.ids, found.inside, strict=True) if is_in}
    assert {f"test{i}" for i in np.flatnonzero(chosen)} == {i for i in inside if i[:4] == "test"}
    store.close()


def taken(data: Data, few: int, seeds: Sequence[int], named: Named) -> str:
    """Say what the names of all topics are taken to mean where each has a few exemplars."""
    told: list[str] = []
    for seed in seeds:
        split = draw(data, Question("", few), seed, 0)
        rows = data.vectors["train"][split.taught]
        labels = [data.train[i] for i in split.taught]
        known = Exemplars.of([str(i) for i in split.taught.tolist()], rows, labels)
        for topic in sorted(set(labels)):
            # Its name in other words than the topic's, or it would be found by that alone.
            found = meant(named([plain_name(topic)])[0], None, known)
            above = any(topic.startswith(f"{each}/") for each in found)
            kind = "its own" if topic in found else "the one above" if above else "another"
            told.append(kind if found else "something new")
    shares = [f"{kind} {told.count(kind) / len(told):.1%}" for kind in sorted(set(told))]
    return f"By its vector alone, the name of a topic with {few} exemplars is taken to mean: " + (
        ", ".join(shares) + "."
    )


def by_cosine(data: Data, seeds: Sequence[int], concepts: int, named: Named) -> dict[float, Tally]:
    """Ask by the cosine to the name alone, calibrated on the intents that aren't asked for."""
    tallies = {recall: Tally() for recall in RECALLS}
    question = Question("", 20, known=False)
    for seed in seeds:
        split = draw(data, question, seed, concepts)
        labels = np.array([data.train[i] for i in split.taught])
        rows = data.vectors["train"][split.taught]
        names = sorted(set(labels))
        units = [
            (rows[labels == name] @ vector).astype(np.float64)
            for name, vector in zip(names, named([plain_name(n) for n in names]), strict=True)
        ]
        for recall, tally in tallies.items():
            tally.splits.append([])
            alpha = MILLION - round(recall * MILLION)
            assert enough(len(units), alpha)
            threshold, _ = control(units, alpha)
            for topic in split.asked:
                near = data.vectors["test"] @ named([plain_name(topic)])[0]
                true = np.array([is_under(label, topic) for label in data.test])
                tally.add(near >= threshold, true)
    return tallies


def by_links(data: Data, question: Question, seeds: Sequence[int], concepts: int) -> Tally:
    """Ask for what is linked to a topic, without any threshold."""
    tally = Tally()
    ids = [f"{i:05}" for i in range(len(data.test))]
    for seed in seeds:
        tally.splits.append([])
        split = draw(data, question, seed, concepts)
        names = [str(i) for i in split.taught.tolist()]
        rows = data.vectors["train"][split.taught]
        known = Exemplars.of(names, rows, [data.train[i] for i in split.taught])
        links = Linker().link(ids, data.vectors["test"], known)
        for topic in split.asked:
            inside = np.zeros(len(ids), np.bool_)
            inside[links.under(topic).rows] = True
            tally.add(inside, np.array([is_under(label, topic) for label in data.test]))
    return tally


def rows_of(
    name: str,
    data: Data,
    seeds: Sequence[int],
    concepts: int,
    named: Named,
    *,
    only: str | None = None,
) -> tuple[list[list[str]], bool, list[str]]:
    """Ask a set everything; return the rows, whether promises are met, and the topics it found."""
    rows, good = [], True
    for question in (each for each in QUESTIONS[name] if only in {None, each.shown}):
        promised = not question.apart
        for recall, tally in measure(data, question, seeds, concepts, named).items():
            how = "/".join(sorted(set(tally.methods)))
            rows.append(tally.row(f"{question.shown} (by {how})", recall, held=promised))
            good &= not promised or tally.recall >= recall - POINT
            tell(" | ".join(rows[-1]))
        if question.known:
            links = by_links(data, question, seeds, concepts)
            rows.append(links.row(f"{question.shown}: kNN links alone", None))
    if only is not None:
        return rows, good, []
    for recall, tally in by_cosine(data, seeds, concepts, named).items():
        asked = "a new intent: cosine of its name alone (by topics, no margin)"
        rows.append(tally.row(asked, recall, held=False))
        tell(" | ".join(rows[-1]))
    return rows, good, [taken(data, few, seeds[:5], named) for few in (5, 20)]


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", type=Path, help="a folder with a folder for each set")
    parser.add_argument("--cache", type=Path, help="keeps the vectors of the texts, .npz")
    parser.add_argument("--encoder", default="minilm")
    parser.add_argument("--sets", nargs="*", choices=SETS, default=list(SETS))
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--concepts", type=int, default=20, help="topics asked for in a split")
    parser.add_argument("--only", help="ask this kind of question alone, as the table calls it")
    parser.add_argument("--markdown", type=Path, help="a page that the table is put into")
    options = parser.parse_args(arguments)
    vectors = Vectors(resolve_encoder(options.encoder), options.cache)
    good = True
    for name in options.sets:
        data = read(name, options.data / name, vectors)
        asked = (name, data, range(options.splits), options.concepts, vectors)
        rows, met, said = rows_of(*asked, only=options.only)
        good &= met
        many = f"--splits {options.splits} --concepts {options.concepts}"
        called = f"`python benchmarks/scopes.py PATH --sets {name} {many}`"
        text = f"{called}\n\n{table(HEAD, rows)}\n\n{' '.join(said)} {machine(PACKAGES)}"
        print(text)
        if options.markdown:
            put(options.markdown, f"scopes.py --sets {name}", text)
    return int(not good)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
