"""Answers while the model forgets: never of a subject that is gone, never of two states at once."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from forgetnet.errors import ForgetIncomplete
from tests.model.house import DIM, Watched, World, opened, same, twin, world

ASKED = np.random.default_rng(5).normal(size=(9, DIM)).astype(np.float32)
WAIT = 60.0


def altered(seen: World, subject: str) -> World:
    """The same records, but for what one subject's say."""
    vectors, labels = seen.vectors.copy(), list(seen.labels)
    for i in seen.of(subject):
        vectors[i] = -vectors[i][::-1]
        labels[i] = "a" if labels[i] != "a" else "b"
    return World(vectors, tuple(labels), seen.subjects, seen.topics, seen.ids, seen.numbers)


@pytest.mark.parametrize("kind", ["torch", "slices", "tree"])
def test_the_masked_model_says_nothing_of_the_subject(kind: str) -> None:
    seen = world(40, subjects=10)
    answers = []
    for one in (seen, altered(seen, "s3")):
        trainer = Watched()
        net = opened(kind=kind, trainer=trainer)
        one.learn(net, range(40))
        trainer.hold()
        pending = net.request(subject="s3")
        gone = {one.ids[i] for i in one.of("s3")}
        for asked in ASKED:  # whatever stage the background is at
            told = net.explain(asked)
            assert gone.isdisjoint(i for i, _, _ in told.neighbours)
            assert not told.exact
        assert trainer.at.wait(WAIT)  # the sums are exact again, a leaf is being trained
        leaf = trainer.jobs[0]
        assert gone.isdisjoint(leaf.view.ids)
        told = net.explain(ASKED[0])
        assert not told.exact
        answers.append(net.predict_proba(ASKED).tobytes())
        trainer.may.set()
        assert pending.receipt(WAIT).status == "erased"
        same(net, twin(one, one.but("s3"), kind), ASKED)
        net.close()
    assert answers[0] == answers[1]


@pytest.mark.parametrize("kind", ["torch", "slices", "leaves", "tree"])
@pytest.mark.parametrize("first", ["s3", "s0"])
def test_a_request_in_the_middle_of_training_discards_what_was_trained(
    kind: str, first: str
) -> None:
    seen = world(20, subjects=4)
    trainer = Watched()
    net = opened(kind=kind, trainer=trainer, cap=100)  # all are in one leaf
    seen.learn(net, range(20))
    trainer.hold()
    one = net.request(subject=first)
    assert trainer.at.wait(WAIT)
    two = net.request(subject="s1")
    trainer.may.set()
    receipts = [one.receipt(WAIT), two.receipt(WAIT)]
    assert [str(r.status) for r in receipts] == ["erased", "erased"], receipts
    same(net, twin(seen, seen.but(first, "s1"), kind, cap=100), ASKED)


def test_requests_that_wait_together_train_each_leaf_once() -> None:
    seen = world(40, subjects=10)
    trainer = Watched()
    net = opened(trainer=trainer, cap=8)
    seen.learn(net, range(40))
    trainer.hold()
    first = net.request(subject="s0")
    assert trainer.at.wait(WAIT)
    rest = [net.request(subject=f"s{i}") for i in range(1, 5)]
    held = len(trainer.jobs)
    trainer.may.set()
    for pending in (first, *rest):
        assert pending.receipt(WAIT).status == "erased"
    leaves = [job.seed for job in trainer.jobs[held:]]
    assert len(leaves) == len(set(leaves))
    same(net, twin(seen, seen.but(*(f"s{i}" for i in range(5))), cap=8), ASKED)


@pytest.mark.parametrize("verify", ["touched", "full"])
def test_a_receipt_is_not_spoilt_by_a_request_that_comes_meanwhile(
    tmp_path: Any, verify: Any
) -> None:
    seen = world(40, subjects=10)
    trainer = Watched()
    with opened(tmp_path / "m", "slices", trainer=trainer) as net:
        seen.learn(net, range(40))
        for subject in ("s3", "s4", "s5"):
            trainer.hold()
            one = net.request(subject=subject, verify=verify)
            assert trainer.at.wait(WAIT)
            two = net.request(subject=f"s{int(subject[1]) - 3}", verify=verify)
            trainer.may.set()
            for receipt in (one.receipt(WAIT), two.receipt(WAIT)):
                assert receipt.status == "erased", receipt.explain()
        same(net, twin(seen, seen.but(*(f"s{n}" for n in range(6))), "slices"), ASKED)


def test_a_model_of_leaves_alone_waits_rather_than_answer_nothing() -> None:
    seen = world(12, subjects=3)
    trainer = Watched()
    net = opened(kind="leaves", trainer=trainer, cap=100)
    seen.learn(net, range(12))
    trainer.hold()
    pending = net.request(subject="s0")
    found: list[Any] = []
    asking = threading.Thread(target=lambda: found.append(net.predict_proba(ASKED)))
    asking.start()
    assert trainer.at.wait(WAIT)
    assert not found
    trainer.may.set()
    asking.join(WAIT)
    pending.receipt(WAIT)
    assert found[0].tobytes() == net.predict_proba(ASKED).tobytes()
    np.testing.assert_allclose(found[0].sum(axis=1), 1.0)


def test_many_threads_ask_while_much_is_forgotten() -> None:
    seen = world(60, subjects=12, classes=6)
    net = opened(kind="slices", cap=10)
    seen.learn(net, range(48))
    states = {net.predict_proba(ASKED).shape[1]}
    errors: list[BaseException] = []
    done = threading.Event()
    gone: set[str] = set()

    def ask() -> None:
        try:
            while not done.is_set():
                before = set(gone)
                told = net.explain(ASKED[0])
                assert before.isdisjoint(i for i, _, _ in told.neighbours)
                assert abs(sum(share.weight for share in told.shares) - 1.0) < 1e-9
                found = net.predict_proba(np.repeat(ASKED, 60, axis=0))
                assert np.allclose(found.sum(axis=1), 1.0)
                assert (found[:60] == found[0]).all() and (found[-60:] == found[-1]).all()
                assert set(net.predict(ASKED)) <= set("abcdefgh")
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    waiting = []
    for n in range(8):
        waiting.append(net.request(subject=f"s{n}"))
        gone |= {seen.ids[i] for i in seen.of(f"s{n}") if i < 48}
        if n == 4:
            seen.learn(net, range(48, 60))
    for pending in waiting:
        assert pending.receipt(WAIT).status == "erased"
    done.set()
    for thread in threads:
        thread.join(WAIT)
    assert not errors and states
    early, all_of = {f"s{n}" for n in range(5)}, {f"s{n}" for n in range(8)}
    late = [i for i in range(48, 60) if seen.subjects[i] in early]
    same(net, twin(seen, sorted({*seen.but(*all_of), *late}), "slices", cap=10), ASKED)


def test_what_waits_when_a_model_closes_is_told_so(tmp_path: Any) -> None:
    seen = world(20, subjects=4)
    trainer = Watched()
    net = opened(tmp_path / "m", trainer=trainer, cap=100)
    seen.learn(net, range(20))
    trainer.hold()
    one = net.request(subject="s0")
    assert trainer.at.wait(WAIT)
    two = net.request(subject="s1")
    net.close(wait=False)
    for pending in (one, two):
        with pytest.raises(ForgetIncomplete):
            pending.receipt(WAIT)
    with opened(tmp_path / "m", cap=100) as again:
        same(again, twin(seen, seen.but("s0", "s1"), cap=100), ASKED)
        assert not list((tmp_path / "m" / "journal").iterdir())
        assert len(list((tmp_path / "m" / "receipts").iterdir())) == 2


class Broken(Watched):
    """A trainer that fails once in a way that nobody expects."""

    fails = False

    def run(self, *given: Any, **more: Any) -> Any:
        if self.fails:
            self.fails = False
            raise MemoryError
        return super().run(*given, **more)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_error_that_nobody_expects_leaves_nobody_waiting() -> None:
    seen = world(24, subjects=6)
    trainer = Broken()
    net = opened(trainer=trainer)
    seen.learn(net, range(24))
    trainer.fails = True
    with pytest.raises(ForgetIncomplete, match="stopped midway"):
        net.forget(subject="s1")
    assert net.forget(subject="s2").status == "erased"
    same(net, twin(seen, seen.but("s1", "s2")), ASKED)
    net.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_failed_is_tried_again_with_what_comes_next(tmp_path: Any) -> None:
    seen = world(24, subjects=6)
    trainer = Broken()
    with opened(tmp_path / "m", trainer=trainer) as net:
        seen.learn(net, range(24))
        trainer.fails = True
        with pytest.raises(ForgetIncomplete):
            net.forget(subject="s1")
        assert net.forget(subject="s2").status == "erased"
        assert not list((tmp_path / "m" / "journal").iterdir())
        assert len(list((tmp_path / "m" / "receipts").iterdir())) == 2
        same(net, twin(seen, seen.but("s1", "s2")), ASKED)
