"""Small models to fill, ask and forget with, and their twins that never saw the rest."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.experts import Job, Trained
from forgetnet.experts.neighbour import NeighbourExpert
from forgetnet.experts.prototype import PrototypeExpert
from forgetnet.experts.public import PublicCorpus
from forgetnet.experts.ridge import RidgeTrunk
from forgetnet.experts.router import Router, SubjectRouter, TopicRouter
from forgetnet.experts.sklearn_expert import SklearnExpert
from forgetnet.experts.torch_expert import TorchExpert
from forgetnet.experts.train import Collected, carry_out
from forgetnet.model import ForgetNet

DIM = 8
KEY = bytes(range(32))
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@dataclass(frozen=True)
class World:
    """Records that models may see: some of them are near each other, some share a subject."""

    vectors: npt.NDArray[np.float32]
    labels: tuple[Any, ...]
    subjects: tuple[str | None, ...]
    topics: tuple[str | None, ...]
    ids: tuple[str, ...]
    numbers: npt.NDArray[np.float64]

    def learn(self, net: ForgetNet, rows: Iterable[int]) -> None:
        """Have a model learn some rows, in the order that they are given in."""
        some = list(rows)
        told: Any = [self.labels[i] for i in some]
        if net.stack.task == "regression":
            told = self.numbers[some]
        net.partial_fit(
            self.vectors[some],
            told,
            subjects=[self.subjects[i] for i in some],
            ids=[self.ids[i] for i in some],
            topics=[self.topics[i] for i in some],
        )

    def of(self, subject: str) -> list[int]:
        """Return the rows of a subject."""
        return [i for i, own in enumerate(self.subjects) if own == subject]

    def but(self, *subjects: str) -> list[int]:
        """Return the rows of the others."""
        return [i for i, own in enumerate(self.subjects) if own not in subjects]


def world(n: int = 24, *, seed: int = 0, classes: int = 3, subjects: int = 8) -> World:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, DIM))
    which = random.integers(0, classes, n)
    vectors = (centres[which] + 0.6 * random.normal(size=(n, DIM))).astype(np.float32)
    return World(
        vectors,
        tuple("abcdefgh"[k] for k in which),
        tuple(None if i % 11 == 10 else f"s{i % subjects}" for i in range(n)),
        tuple((None, "work", "work/mail", "home")[i % 4] for i in range(n)),
        tuple(f"r{i}" for i in range(n)),
        np.stack([vectors[:, 0] * 3.0, np.round(vectors[:, 1], 2)], axis=1).astype(np.float64),
    )


def torch_expert(slices: int = 1, **more: Any) -> TorchExpert:
    return TorchExpert(epochs=1, min_steps=0, hidden=4, slices=slices, **more)


def stack(kind: str, task: Any = "classification") -> list[Any]:
    """Return the experts of a small model."""
    from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

    trunk, memory = RidgeTrunk(features=16, task=task), NeighbourExpert(k=3, task=task)
    first = [PrototypeExpert()] if task == "classification" else []
    tree = DecisionTreeClassifier if task == "classification" else DecisionTreeRegressor
    return {
        "sums": [trunk, *first],
        "torch": [trunk, torch_expert(1, task=task), memory],
        "slices": [trunk, *first, torch_expert(3, task=task), memory],
        "leaves": [torch_expert(2, task=task)],
        "tree": [*first, SklearnExpert(tree(max_depth=2), task=task), memory],
        "memory": [memory],
    }[kind]


def router(kind: str) -> Router:
    if kind == "subject":
        return SubjectRouter()
    anchors = np.eye(3, DIM, dtype=np.float32)
    by: Any = kind.removeprefix("topic-")
    return TopicRouter(PublicCorpus("three axes, made for this test", anchors), by=by, top=1)


def opened(path: str | Path = "memory://", kind: str = "torch", **settings: Any) -> ForgetNet:
    task = settings.get("task", "classification")
    plain: dict[str, Any] = {"encoder": f"vectors:{DIM}", "key": KEY, "progress": False, "cap": 6}
    plain["clock"] = lambda: NOW
    return ForgetNet.open(path, **{"experts": stack(kind, task), **plain, **settings})


def twin(seen: World, rows: Sequence[int], kind: str = "torch", **settings: Any) -> ForgetNet:
    """Return a model that saw only these rows, all at once, in another order."""
    settings.pop("trainer", None)
    net = opened("memory://", kind, **settings)
    if len(rows):
        seen.learn(net, sorted(rows, reverse=True))
    return net


def same(net: ForgetNet, other: ForgetNet, asked: npt.NDArray[np.float32]) -> None:
    """Hold two models to the same digest and the same bits of their answers."""
    assert net.digest() == other.digest()
    assert net.memory.digest() == other.memory.digest()
    assert net.count() == other.count()
    if not net.count():
        return
    if net.stack.task == "classification":
        assert net.classes_.tolist() == other.classes_.tolist()
        assert net.predict_proba(asked).tobytes() == other.predict_proba(asked).tobytes()
    assert net.predict(asked).tobytes() == other.predict(asked).tobytes()


@dataclass
class Watched:
    """Trains here; counts what it trained, and holds results back while ``may`` is not set."""

    jobs: list[Job] = field(default_factory=list)
    may: threading.Event = field(default_factory=threading.Event)
    at: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.may.set()

    def run(
        self, jobs: Sequence[Job], progress: Any = None, stop: threading.Event | None = None
    ) -> list[Trained | None]:
        found = Collected(len(jobs), progress)
        for number, job in enumerate(jobs):
            if stop is not None and stop.is_set():
                break
            trained = carry_out(job)
            self.jobs.append(job)
            self.at.set()
            while not self.may.wait(0.005):
                if stop is not None and stop.is_set():
                    return found.results
            found.take(number, trained)
        return found.results

    def hold(self) -> None:
        """Hold back what is trained from now on."""
        self.jobs.clear()
        self.at.clear()
        self.may.clear()
