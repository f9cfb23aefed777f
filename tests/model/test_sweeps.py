"""Sweeps of a model: answers go on while it learns anew, and nothing is left of what expired."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import numpy as np

from forgetnet import Record
from tests.model.house import DIM, NOW, Watched, opened, same, twin, world

ASKED = np.random.default_rng(5).normal(size=(9, DIM)).astype(np.float32)
WAIT = 60.0


def test_answers_wait_for_no_sweep() -> None:
    now = [NOW]
    seen, trainer = world(40, subjects=10), Watched()
    with opened(trainer=trainer, clock=lambda: now[0]) as net:
        seen.learn(net, [i for i in range(40) if seen.subjects[i] != "s3"])
        for i in seen.of("s3"):
            late = Record(
                id=seen.ids[i],
                subject="s3",
                topic=seen.topics[i],
                vector=seen.vectors[i],
                metadata={"label": seen.labels[i]},
                expires_at=NOW + timedelta(hours=1),
            )
            net.partial_fit([late])
        now[0] += timedelta(hours=2)
        trainer.hold()
        found: list[object] = []
        sweep = threading.Thread(target=lambda: found.append(net.sweep().status))
        sweep.start()
        assert trainer.at.wait(WAIT)
        asked = threading.Thread(target=lambda: found.append(net.predict(ASKED)))
        asked.start()
        asked.join(WAIT / 4)
        answered = not asked.is_alive()
        trainer.may.set()
        for thread in (asked, sweep):
            thread.join(WAIT)
        assert answered
        assert "erased" in [str(each) for each in found]
        same(net, twin(seen, seen.but("s3")), ASKED)


def test_a_model_closed_at_once_leaves_its_sweep_to_the_next_opening(tmp_path: Path) -> None:
    now = [NOW]
    trainer = Watched()
    net = opened(tmp_path / "net", trainer=trainer, clock=lambda: now[0])
    seen = world(24, subjects=6)
    seen.learn(net, [i for i in range(24) if seen.subjects[i] != "s3"])
    for i in seen.of("s3"):
        row = {"id": seen.ids[i], "subject": "s3", "vector": seen.vectors[i]}
        label = {"label": seen.labels[i]}
        end = NOW + timedelta(hours=1)
        net.partial_fit([Record(**row, topic=seen.topics[i], metadata=label, expires_at=end)])
    net.close()
    now[0] += timedelta(hours=2)
    trainer.hold()
    net = opened(tmp_path / "net", trainer=trainer, clock=lambda: now[0], sweep_every=0.01)
    assert trainer.at.wait(WAIT)
    closing = threading.Thread(target=net.close, kwargs={"wait": False})
    closing.start()
    closing.join(WAIT)
    late = closing.is_alive()
    trainer.may.set()
    closing.join(WAIT)
    assert not late, "it waited for what is being learnt"
    with opened(tmp_path / "net", clock=lambda: now[0]) as net:
        same(net, twin(seen, seen.but("s3")), ASKED)
        assert not net.overdue()
