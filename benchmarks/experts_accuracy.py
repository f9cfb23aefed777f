"""How much accuracy isolation costs: the stack of a model beside its peers, on public tasks."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tasks import Task
from timing import tell

from forgetnet.exact import Codes, quantise
from forgetnet.experts import NeighbourExpert, RidgeTrunk, TorchExpert, View, make_view
from forgetnet.experts.neighbour import Neighbour
from forgetnet.experts.train import Job, carry_out
from forgetnet.shards import leaves, shard_key

Shares = npt.NDArray[np.float64]
_SALT = bytes(32)
_K = 16
_ROWS = 512


def cap_for(counts: Counter[str], wanted: int) -> int:
    """Return the cap whose number of leaves comes nearest to that wanted."""
    total = sum(counts.values())
    caps = sorted({max(1, int(total / wanted * f)) for f in np.linspace(0.6, 3.0, 49)})
    return min(caps, key=lambda cap: (abs(len(leaves(counts, cap)) - wanted), cap))


def keyed(names: Sequence[str]) -> list[str]:
    """Return the keys of subjects."""
    known = {name: shard_key(_SALT, name) for name in set(names)}
    return [known[name] for name in names]


class Shards:
    """One network a leaf, and what each says of the test."""

    def __init__(self, task: Task, keys: Sequence[str], wanted: int, *, epochs: int) -> None:
        counts = Counter(keys)
        self.leaves = leaves(counts, cap_for(counts, wanted)) if wanted > 1 else [""]
        classes = sorted(set(task.train_labels))
        codes, asked = quantise(task.train), quantise(task.test)
        start = time.process_time()
        self.said: list[Shares] = []
        self.votes: list[npt.NDArray[np.int64]] = []
        expert = TorchExpert(epochs=epochs)
        for number, leaf in enumerate(self.leaves):
            where = [i for i, key in enumerate(keys) if key.startswith(leaf)]
            view = _view(task, codes, keys, where)
            predictor = expert.prepare(carry_out(Job(expert, view, number)).states[-1])
            wide = np.zeros((len(asked), len(classes)))
            wide[:, np.searchsorted(classes, np.array(predictor.classes))] = predictor(asked)
            self.said.append(wide)
            self.votes.append(wide.argmax(axis=1))
        self.seconds = time.process_time() - start

    def mean(self, without: int = 0) -> Shares:
        """Return the mean of the probabilities, with the first leaves left out."""
        found: Shares = np.mean(self.said[without:], axis=0)
        return found

    def vote(self) -> Shares:
        """Return the shares of votes."""
        total = np.zeros_like(self.said[0])
        for row in self.votes:
            total[np.arange(len(row)), row] += 1.0
        found: Shares = total / len(self.votes)
        return found


def _view(task: Task, codes: Codes, keys: Sequence[str], where: Sequence[int]) -> View:
    return make_view(
        [f"record {i}" for i in where],
        codes[np.asarray(where)],
        [task.train_labels[i] for i in where],
        [keys[i] for i in where],
    )


def _remembered(task: Task, classes: Sequence[str]) -> Shares:
    """Answer from the nearest records."""
    known = task.train.T.astype(np.float64)
    found: list[Shares] = []
    for start in range(0, len(task.test), _ROWS):
        cosines = task.test[start : start + _ROWS].astype(np.float64) @ known
        best = np.argsort(-cosines, axis=1, kind="stable")[:, :_K]
        near = [
            [Neighbour(f"record {i}", float(cosines[n, i]), task.train_labels[i]) for i in row]
            for n, row in enumerate(best)
        ]
        found.append(NeighbourExpert(k=_K).answer(near, classes))
    return np.concatenate(found)


def accuracy(task: Task, epochs: int = 20) -> dict[str, float]:
    """Return the accuracy in percent of every way to answer."""
    from sklearn.linear_model import LogisticRegression

    classes = sorted(set(task.train_labels))
    right = np.searchsorted(classes, np.array(task.test_labels))

    def score(shares: Shares) -> float:
        return 100.0 * float((shares.argmax(axis=1) == right).mean())

    tell(f"{task.name}: {len(task.train):,} records, {len(set(task.subjects)):,} people")
    keys = keyed(task.subjects)
    codes = quantise(task.train)
    ridge = RidgeTrunk()
    trunk = ridge.prepare(ridge.fit(_view(task, codes, keys, range(len(codes))), 0))
    summed = trunk(quantise(task.test))
    memory = _remembered(task, classes)
    whole = Shards(task, keys, 1, epochs=epochs)
    tell(f"{task.name}: one network, {whole.seconds:.0f} s")
    by_subject = {n: Shards(task, keys, n, epochs=epochs) for n in (16, 32)}
    alone = keyed([f"record {i}" for i in range(len(task.train))])
    at_random = Shards(task, alone, 32, epochs=epochs)
    tell(f"{task.name}: shards done")
    logistic = LogisticRegression(C=10.0, max_iter=300).fit(task.train, task.train_labels)
    sixteen, leaves_ = by_subject[16], by_subject[32]
    return {
        "records": float(len(task.train)),
        "people": float(len(set(task.subjects))),
        "one network on everything": score(whole.mean()),
        "logistic regression": score(logistic.predict_proba(task.test)),
        f"{_K} nearest neighbours": score(memory),
        "SISA, 32 shards at random, vote": score(at_random.vote()),
        "SISA, 32 shards at random, mean": score(at_random.mean()),
        "32 leaves by subject, mean": score(leaves_.mean()),
        "trunk alone": score(summed),
        "trunk + 32 leaves": score(summed + leaves_.mean()),
        "trunk + 32 leaves + memory (default)": score(summed + leaves_.mean() + 0.5 * memory),
        "16 leaves by subject": score(sixteen.mean()),
        "the same, 4 of them gone": score(sixteen.mean(4)),
        "trunk + 16 leaves": score(summed + sixteen.mean()),
        "the same, 4 of the leaves gone": score(summed + sixteen.mean(4)),
    }
