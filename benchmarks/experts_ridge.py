"""The additive experts: how good, how sure, how fast, and what forgetting costs beside retraining.

Parts for a script; each function yields lines of its table. Data is a folder with ``clinc150`` and
``banking77`` in their authors' splits (``train.jsonl.gz`` and ``val.jsonl.gz`` with text and
intent; ``train.csv.gz`` and ``test.csv.gz`` with text and category). Knows nothing of leaves.
"""

from __future__ import annotations

import csv
import gzip
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from bench import Row, at_least, at_most
from sklearn.datasets import load_digits
from timing import cost, in_turn, memory_bytes, spread, tell

from forgetnet.encode import Encoder
from forgetnet.exact import Codes, quantise
from forgetnet.experts import PrototypeExpert, RidgeTrunk, State, View, make_view
from forgetnet.experts.expert import Expert, Label, Probabilities
from forgetnet.experts.features import FeatureMap
from forgetnet.experts.torch_expert import TorchExpert

OF_SUBJECT = 10
TRAINED = 9000
MLP: dict[str, Any] = {"hidden": 512, "epochs": 20}
_BINS = 15
_CHUNK = 8192
_KEY = "0" * 64


@dataclass(frozen=True)
class Task:
    """A classification with its test part.

    Attributes:
        name: of the data.
        train: records to learn from.
        codes: (n, d) of the test part.
        labels: n labels of the test part.
    """

    name: str
    train: View
    codes: Codes
    labels: Sequence[Label]

    def truth(self, classes: Sequence[Label]) -> npt.NDArray[np.int64]:
        """Return the positions of the true classes."""
        position = {label: i for i, label in enumerate(classes)}
        return np.array([position[label] for label in self.labels])


def view_of(codes: Codes, labels: Sequence[Label], start: int = 0) -> View:
    """Return records of codes and labels, with made-up ids."""
    ids = [f"record-{i:07d}" for i in range(start, start + len(codes))]
    return make_view(ids, codes, list(labels), [_KEY] * len(codes))


def texts(path: Path, encoder: Encoder) -> Iterator[Task]:
    """Read CLINC150 and Banking77 and encode them."""
    parts: dict[str, list[tuple[list[str], list[str]]]] = {"CLINC150": [], "Banking77": []}
    for part in ("train", "val"):
        with gzip.open(path / "clinc150" / f"{part}.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        parts["CLINC150"].append(([r["text"] for r in rows], [r["intent"] for r in rows]))
    for part in ("train", "test"):
        file = path / "banking77" / f"{part}.csv.gz"
        with gzip.open(file, "rt", encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        parts["Banking77"].append(([r["text"] for r in rows], [r["category"] for r in rows]))
    for name, (train, test) in parts.items():
        tell(f"encoding {len(train[0]) + len(test[0]):,} texts of {name}")
        known, asked = (quantise(encoder.encode(some)) for some, _ in (train, test))
        yield Task(name, view_of(known, train[1]), asked, test[1])


def digits() -> Task:
    """Return the 8 x 8 digits of scikit-learn, as unit vectors; 500 of 1,797 to test."""
    pixels, labels = load_digits(return_X_y=True)
    codes = quantise(pixels / np.linalg.norm(pixels, axis=1, keepdims=True))
    order = np.random.default_rng(0).permutation(len(codes))
    known, asked = order[:-500], order[-500:]
    named = labels.tolist()
    train = view_of(codes[known], [named[i] for i in known])
    return Task("digits", train, codes[asked], [named[i] for i in asked])


def calibration_error(shares: Probabilities, truth: npt.NDArray[np.int64]) -> float:
    """Return the expected calibration error, in 15 bins of equal width, from 0 to 1."""
    sure = shares.max(axis=1)
    right = shares.argmax(axis=1) == truth
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float(sure[bins == b].sum() - right[bins == b].sum())) for b in range(_BINS)]
    return sum(gaps) / len(truth)


def quality(tasks: Sequence[Task]) -> Iterator[Row]:
    """Accuracy, and the error of the probabilities, untuned; beside an MLP on the same vectors."""
    experts: dict[str, Expert] = {
        "ridge, 2,048 features": RidgeTrunk(),
        "ridge, 4,096 features": RidgeTrunk(features=4096),
        "ridge, linear": RidgeTrunk(linear=True),
        "prototype": PrototypeExpert(),
        "prototype, Lorentz": PrototypeExpert("lorentz"),
    }
    for task in tasks:
        beside = _quality(TorchExpert(**MLP), task)
        for name, expert in experts.items():
            ours = _quality(expert, task)
            what = f"{task.name}: accuracy, calibration error of {name}; beside an MLP"
            yield Row(what, _percent(ours), _percent(beside), f"{ours[0] / beside[0]:.3f}")


def _quality(expert: Expert, task: Task) -> tuple[float, float]:
    predictor = expert.prepare(expert.fit(task.train, 1))
    shares, truth = predictor(task.codes), task.truth(predictor.classes)
    right = float((shares.argmax(axis=1) == truth).mean())
    return right, calibration_error(shares, truth)


def _percent(found: tuple[float, float]) -> str:
    return f"{100 * found[0]:.1f}%, {100 * found[1]:.1f}%"


def temperature(tasks: Sequence[Task]) -> Iterator[Row]:
    """The temperature that the sums tell, beside the constant 1/10."""
    for task in tasks:
        trunk = RidgeTrunk()
        predictor = trunk.prepare(trunk.fit(task.train, 1))
        truth = task.truth(predictor.classes)
        raised = np.exp(10.0 * predictor.scores(task.codes))
        constant = calibration_error(raised / raised.sum(axis=1, keepdims=True), truth)
        ours = calibration_error(predictor(task.codes), truth)
        what = f"{task.name}: calibration error of the ridge; beside a constant temperature"
        yield Row(what, f"{100 * ours:.1f}%", f"{100 * constant:.1f}%", f"{ours / constant:.2f}")


def forgetting(task: Task, rounds: int = 5) -> Iterator[Row]:
    """Forget a subject's 10 records of 9,000: subtract and solve, sum anew, retrain an MLP."""
    every = np.linspace(0, len(task.train) - 1, TRAINED).astype(np.int64)
    known = task.train.take(np.unique(every))
    gone = known.take(range(OF_SUBJECT))
    rest = known.take(range(OF_SUBJECT, len(known)))
    trunk, mlp = RidgeTrunk(), TorchExpert(**MLP)
    held = [trunk.fit(known, 1)]
    before = trunk.prepare(held[0])

    def subtract(_: int) -> None:
        held[0] = trunk.expel(held[0], gone)

    def put_back(_: int) -> None:
        held[0] = trunk.absorb(held[0], gone)

    def solve(_: int) -> None:
        trunk.prepare(held[0])

    actions = [
        subtract,
        solve,
        put_back,
        lambda _: trunk.bridge(before, gone),
        lambda _: trunk.prepare(trunk.fit(rest, 1)),
        lambda _: mlp.fit(rest, 1),
    ]
    taken = in_turn(actions, rounds, clock=time.process_time)
    left, twin = trunk.expel(held[0], gone), trunk.fit(rest, 1)
    assert left.digest() == twin.digest()
    middle = [statistics.median(times) for times in taken]
    n = f"{task.name}, {len(known):,} records"
    yield Row(f"{n}: subtract {OF_SUBJECT} records; beside solving", *map(spread, taken[:2]))
    both = middle[0] + middle[1]
    for what, nth, least in (("summing anew", 4, 3.0), ("retraining an MLP", 5, 10.0)):
        words = f"{n}: forget a subject exactly; beside {what}, as often as it costs"
        yield at_least(words, spread([both]), spread(taken[nth]), middle[nth] / both, least)
    quick = middle[0] + middle[3]
    words = f"{n}: forget within rounding; beside exactly"
    yield at_most(words, spread([quick]), spread([both]), quick / both, 0.75)
    yield _bridged(trunk, before, gone, left, n)


def _bridged(trunk: RidgeTrunk, before: Any, gone: View, left: State, n: str) -> Row:
    bridge, after = trunk.bridge(before, gone), trunk.prepare(left)
    assert bridge is not None
    assert bridge.solution is not None
    assert after.solution is not None
    exact = after.solution.weights
    error = float(np.abs(bridge.solution.weights - exact).max() / np.abs(exact).max())
    words = f"{n}: largest error of a bridged weight, as a share of the largest weight"
    return Row(words, f"{error:.0e}", target="at most 1e-11", ok=error <= 1e-11)


def growth(sizes: Sequence[int], dim: int = 384, classes: int = 150) -> Iterator[Row]:
    """Sum over a stream of made-up records, then forget 10: what grows with them, and what not."""
    trunk = RidgeTrunk()
    trunk.prepare(trunk.fit(_stream(0, classes, dim, classes), 1))  # torch is imported now
    made: list[tuple[int, float, float]] = []
    for size in sizes:
        state, spent = trunk.empty(), 0.0
        for start in range(0, size, _CHUNK):
            chunk = _stream(start, min(size, start + _CHUNK), dim, classes)
            held = [state]
            spent += cost(partial(_absorb, trunk, held, chunk))[1]
            state = held[0]
        gone = _stream(0, min(_CHUNK, size), dim, classes).take(range(OF_SUBJECT))
        held = [state]
        start_of = time.process_time()
        predictor = trunk.prepare(trunk.expel(held[0], gone))
        forgot = time.process_time() - start_of
        assert len(predictor.classes) == classes
        made.append((size, spent, forgot))
        peak = memory_bytes("VmHWM") / 2**20
        what = f"{size:,} made-up records: sum them in a stream; beside forgetting {OF_SUBJECT}"
        yield Row(what, f"{spread([spent])}, peak memory {peak:,.0f} MiB", spread([forgot]),
                  f"{spent / forgot:.0f}")  # fmt: skip
    if len(made) > 1:
        (few, quick, small), (many, slow, large) = made[0], made[-1]
        each = (slow / many) / (quick / few)
        words = f"time of a record among {many:,}; beside among {few:,}"
        yield at_most(words, spread([slow / many]), spread([quick / few]), each, 1.5)
        words = f"forget {OF_SUBJECT} of {many:,}; beside of {few:,}"
        yield at_most(words, spread([large]), spread([small]), large / small, 1.5)


def _absorb(trunk: RidgeTrunk, held: list[State], chunk: View) -> None:
    held[0] = trunk.absorb(held[0], chunk)


def _stream(start: int, stop: int, dim: int, classes: int) -> View:
    """Return the records from ``start``; a chunk begins at a multiple of the chunk's length."""
    random = np.random.default_rng([7, start])
    labels = random.integers(0, classes, stop - start)
    centres = np.random.default_rng(7).standard_normal((classes, dim))
    rows = centres[labels] + random.standard_normal((stop - start, dim))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return view_of(quantise(rows), labels.tolist(), start)


def throughput(rounds: int = 5) -> Iterator[Row]:
    """Records turned into 2,048 features, beside the same projection in plain float64."""
    codes = _stream(0, TRAINED, 384, 150).codes
    wide = codes.astype(np.float64)
    plain = np.random.default_rng(0).standard_normal((384, 2048))

    def float_features(_: int) -> None:
        for start in range(0, len(wide), 256):
            np.cos(wide[start : start + 256] @ plain)

    def whole_features(_: int) -> None:
        FeatureMap()(codes)

    taken = in_turn([whole_features, float_features], rounds, clock=time.process_time)
    ours, theirs = (len(codes) / statistics.median(times) for times in taken)
    what = "records a second to 2,048 whole-number features; beside cosines in float64"
    yield at_least(what, f"{ours:,.0f}", f"{theirs:,.0f}", ours / theirs, 1.0)
