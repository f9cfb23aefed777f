"""Random trees, moves and forgets: the cone is the path prefix is the twin's answer.

``FORGETNET_CASES=10000 pytest -m slow tests/taxonomy/test_histories.py`` counts ten thousand.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from forgetnet import InvalidRecord, InvalidScope, Memory, Record
from forgetnet.geometry import codes
from forgetnet.retrieve import cone_of
from forgetnet.taxonomy import Taxonomy, above, renamed

KEY = bytes(range(32))
START = datetime(2030, 1, 1, tzinfo=UTC)
CASES = int(os.environ.get("FORGETNET_CASES", "2000"))
NAMES = ["a", "b", "ab", "a b", "Ä", "0", "health"]


def is_under(path: str | None, head: str) -> bool:
    return path is not None and f"{path}/".startswith(f"{head}/")


class History:
    """A memory, and beside it in plain Python what it must hold."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.memory = self.opened()
        self.live: dict[str, Record] = {}
        self.pairs = self.strangers = 0
        self.width = self.chance.choice([1, 2, 6])
        self.told: list[str] = []

    def opened(self) -> Memory:
        return Memory.open("memory://", encoder="vectors:2", key=KEY, clock=lambda: START)

    def path(self, most: int = 6) -> str:
        names = NAMES[: self.width + 1]
        return "/".join(self.chance.choice(names) for _ in range(self.chance.randint(1, most)))

    def some_topic(self) -> str:
        topics = sorted({r.topic for r in self.live.values() if r.topic})
        heads = sorted({head for topic in topics for head in (topic, *above(topic))})
        return self.chance.choice(heads) if heads else "a"

    def add(self) -> None:
        n, angle = self.chance.randint(1, 8), self.chance.random()
        vector = np.array([np.cos(angle), np.sin(angle)], np.float32)
        rows = [
            Record(None, f"r{len(self.told)}-{i}", topic=self.path(), created_at=START)
            for i in range(n)
        ]
        self.memory.add([replace(r, vector=vector) for r in rows])
        self.live |= {r.id: replace(r, vector=vector) for r in rows}

    def follow(self, moved: dict[str, str]) -> None:
        self.live = {
            i: replace(r, topic=renamed(r.topic or "", moved)) for i, r in self.live.items()
        }

    def move(self) -> None:
        old, new = self.some_topic(), self.path(4)
        self.memory.move_topic(old, new)
        self.follow({old: new})

    def change(self) -> None:
        tree = Taxonomy.of(self.memory.topics())
        concept, other = self.some_topic(), self.some_topic()
        verb = self.chance.choice([
            lambda: tree.rename(concept, self.chance.choice(NAMES)),
            lambda: tree.move(concept, other),
            lambda: tree.merge(concept, other),
            lambda: tree.fold(self.chance.randint(2, 5)),
        ])  # fmt: skip
        moved = dict(verb().moved)
        self.memory.refile(moved)
        self.follow(moved)

    def swap(self) -> None:
        a, b = self.some_topic(), self.some_topic()
        if not is_under(a, b) and not is_under(b, a):
            moved = {a: b, b: a}
            self.memory.refile(moved)
            self.follow(moved)

    def forget(self) -> None:
        topic = self.some_topic()
        self.memory.forget(topic=topic, verify="touched")
        self.live = {i: r for i, r in self.live.items() if not is_under(r.topic, topic)}

    def forget_one(self) -> None:
        chosen = self.chance.choice(sorted(self.live))
        self.memory.forget(ids=chosen, verify="touched")
        del self.live[chosen]

    def step(self) -> None:
        verbs = [self.add, self.add, self.move, self.move, self.change, self.swap, self.forget]
        verb = self.add if not self.live else self.chance.choice([*verbs, self.forget_one])
        self.told.append(verb.__name__)
        before = self.memory.digest()
        try:
            verb()
        except (InvalidRecord, InvalidScope):  # too deep, under itself, nothing there
            self.told[-1] += " (refused)"
            assert self.memory.digest() == before

    def check(self) -> None:
        """Compare cone, prefix and twin for some topics, and every place with its path's."""
        with self.opened() as twin:
            if self.live:
                twin.add(list(self.live.values()))
            assert self.memory.digest() == twin.digest(), self.told
            salt = self.memory._salt
            for topic in {self.some_topic(), self.some_topic(), self.path()}:
                prefix = {i for i, r in self.live.items() if is_under(r.topic, topic)}
                cones = [m._store.cone(cone_of(topic, salt)) for m in (self.memory, twin)]
                assert prefix <= cones[0] == cones[1], self.told
                self.pairs += len(self.live)
                self.strangers += len(cones[0] - prefix)
                plans = [m.forget(topic=topic, dry_run=True) for m in (self.memory, twin)]
                assert set(plans[0].ids) == prefix and plans[0].ids == plans[1].ids, self.told
                found = [m.search([1.0, 0.0], k=99, under=topic) for m in (self.memory, twin)]
                assert found[0] == found[1] and {hit.id for hit in found[0]} == prefix
            ids = sorted(self.live)
            places = [m._store.vectors(ids)[1] for m in (self.memory, twin)]
            assert places[0].tobytes() == places[1].tobytes()
            for i in self.chance.sample(range(len(ids)), min(2, len(ids))):
                alone = codes.place(tuple((self.live[ids[i]].topic or "").split("/")), salt)
                assert places[0][i].tobytes() == alone.tobytes()


def run(cases: int, start: int) -> None:
    pairs = strangers = moves = 0
    for seed in range(start, start + cases):
        history = History(seed)
        for _ in range(history.chance.randint(2, 7)):
            history.step()
        history.check()
        history.memory.close()
        pairs, strangers = pairs + history.pairs, strangers + history.strangers
        moves += sum(told in {"move", "change", "swap"} for told in history.told)
    assert strangers <= 1, f"{strangers} of {pairs} pairs"  # by chance, about one in 1e8
    assert moves > cases // 2


def test_the_cone_is_the_path_prefix_is_the_twins_answer():
    run(300, 0)


@pytest.mark.slow
def test_so_it_is_in_many_cases():
    run(CASES, 300)
