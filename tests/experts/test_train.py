"""Training of leaves: slices resume to the same bits, and every trainer gives the same."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.errors import InvalidRecord, StoreError, Unsupported
from forgetnet.experts import State, View
from forgetnet.experts.processes import Processes
from forgetnet.experts.slices import first_stale, prefixes, slice_of
from forgetnet.experts.torch_expert import TorchExpert
from forgetnet.experts.train import Collected, Job, Local, Trained, carry_out, run, stages_of
from forgetnet.shards import shard_key
from tests.experts import leaves
from tests.experts.leaves import leaf, numbers

ROOT = Path(__file__).resolve().parents[2]
SLICED = TorchExpert(hidden=8, epochs=3, min_steps=6, batch=8, dropout=0.2, slices=3)
SUBJECTS = [f"s{i}" for i in range(10)]


def digests(results: Collection[Trained | None]) -> list[list[str]]:
    return [[state.digest() for state in done.states] for done in results if done is not None]


def resumed(expert: TorchExpert, before: View, after: View, seed: int) -> list[State]:
    """Retrain a leaf that lost records from its last checkpoint that never saw them."""
    states = run(Job(expert, before, seed))
    stored = [prefix.digest() for prefix in prefixes(before, expert.slices)]
    stale = first_stale(stored, after, expert.slices)
    if stale == expert.slices:
        return states
    start = State.from_bytes(states[stale - 1].to_bytes()) if stale else None
    return states[:stale] + run(Job(expert, after, seed, stale, start))


# -- slices


@given(st.text(min_size=1), st.integers(1, 9))
def test_a_subject_lies_in_one_slice(subject: str, count: int) -> None:
    key = shard_key(b"salt", subject)
    assert 0 <= slice_of(key, count) < count
    view = leaf()
    parts = prefixes(view, count)
    assert parts[-1].digest() == view.digest()
    for before, after in pairwise(parts):
        assert set(before.ids) <= set(after.ids)
        assert not set(before.keys) & (set(after.keys) - set(before.keys))


def test_slices_are_of_about_one_size() -> None:
    keys = [shard_key(b"salt", str(i)) for i in range(3000)]
    counts = [sum(slice_of(key, 3) == s for key in keys) for s in range(3)]
    assert all(900 < n < 1100 for n in counts)


@settings(max_examples=25)
@given(
    st.sets(st.sampled_from(SUBJECTS), max_size=9),
    st.integers(1, 4),
    st.integers(2, 5),
    st.booleans(),
)
def test_going_on_from_a_slice_is_having_gone_through(
    gone: set[str], slices: int, classes: int, number: bool
) -> None:
    # Classes come and go between slices; some prefixes are empty or of one class.
    expert = replace(SLICED, slices=slices, task="regression" if number else "classification")
    before = leaf(24, classes=classes)
    after = leaf(24, classes=classes, without=gone, order=1)
    if number:
        before, after = numbers(before), numbers(after)
    twin = run(Job(expert, after, 11))
    assert [s.digest() for s in resumed(expert, before, after, 11)] == [s.digest() for s in twin]


@settings(max_examples=10)
@given(st.sets(st.sampled_from(SUBJECTS), max_size=9))
def test_a_module_with_branches_and_buffers_resumes_too(gone: set[str]) -> None:
    expert = replace(SLICED, module=leaves.wide)
    before, after = leaf(24), leaf(24, without=gone)
    twin = run(Job(expert, after, 2))
    assert [s.digest() for s in resumed(expert, before, after, 2)] == [s.digest() for s in twin]


def test_checkpoints_without_moments_would_give_other_bits() -> None:
    # So the test above would notice if a checkpoint lost its optimiser.
    states = run(Job(SLICED, leaf(), 1))
    bare = {n: a for n, a in states[1].tensors.items() if n.startswith("weights/")}
    assert len(bare) < len(states[1].tensors)
    assert all(name.startswith("weights/") for name in states[2].tensors)
    lost = State(bare, states[1].meta)
    assert run(Job(SLICED, leaf(), 1, 2, lost))[0].digest() != states[2].digest()


def test_many_slices_and_few_epochs_still_train_every_slice() -> None:
    expert = replace(SLICED, slices=8, epochs=1, min_steps=0)
    states = run(Job(expert, leaf(80, subjects=40), 0))
    done = [state.meta["epochs"] for state in states]
    assert done == list(range(1, 9))
    assert len({state.digest() for state in states}) == 8


def test_an_epoch_is_never_trained_twice() -> None:
    whole = run(Job(SLICED, leaf(), 0))
    for stage in (1, 2):
        again = run(Job(SLICED, leaf(), 0, stage, whole[stage - 1]))
        assert [s.meta["epochs"] for s in again] == [s.meta["epochs"] for s in whole[stage:]]
        assert [s.digest() for s in again] == [s.digest() for s in whole[stage:]]


def test_a_head_that_cannot_follow_its_classes_says_so() -> None:
    expert = replace(SLICED, module=leaves.transposed)
    view = leaf(24)
    first = [n for n, key in enumerate(view.keys) if slice_of(key, 3) == 0]
    told = ["old" if n in first and n % 2 else "new" if n in first else "late" for n in range(24)]
    grown = replace_targets(view, told)
    with pytest.raises(Unsupported, match="one row a class"):
        run(Job(expert, grown, 0))
    assert run(Job(replace(expert, slices=1), grown, 0))


def replace_targets(view: View, told: list[str]) -> View:
    return replace(view, targets=tuple(told))


def test_first_stale() -> None:
    view = leaf()
    stored = [prefix.digest() for prefix in prefixes(view, 3)]
    assert first_stale(stored, view, 3) == 3
    assert first_stale(stored, view, 2) == 0
    assert first_stale([], view, 3) == 0
    last = next(n for n, key in enumerate(view.keys) if slice_of(key, 3) == 2)
    assert first_stale(stored, view.take([n for n in range(40) if n != last]), 3) == 2


def test_jobs_without_sense_are_refused() -> None:
    view = leaf()
    state = SLICED.fit(view, 0)
    for job in (
        Job(SLICED, leaf(without=SUBJECTS), 0),
        Job(SLICED, view, 0, 1),
        Job(SLICED, view, 0, 0, state),
        Job(SLICED, view, 0, 3, state),
    ):
        with pytest.raises(InvalidRecord):
            run(job)
    assert stages_of(SLICED) == 3
    with pytest.raises(InvalidRecord):
        Processes(0)


# -- trainers


def jobs(count: int = 3) -> list[Job]:
    return [Job(SLICED, leaf(seed=s), s) for s in range(count)]


def test_processes_give_the_bits_of_here_and_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    mortal = leaves.DiesOnce(**{**vars(SLICED), "mark": str(tmp_path / "died")})
    told: list[int] = []
    mixed = [*jobs(), Job(mortal, leaf(seed=3), 3)]
    found = Processes(2).run(mixed, lambda number, _: told.append(number))
    assert (tmp_path / "died").exists()
    expected = Local().run([*jobs(), Job(SLICED, leaf(seed=3), 3)])
    assert digests(found) == digests(expected)
    assert sorted(told) == [0, 1, 2, 3]
    assert {done.environment for done in (*found, *expected) if done} == {
        carry_out(jobs(1)[0]).environment
    }


def test_workers_that_always_die_end_in_an_error() -> None:
    doomed = leaves.AlwaysDies(**vars(SLICED))
    with pytest.raises(StoreError, match="died 2 times in a row"):
        Processes(1, retries=1).run([Job(doomed, leaf(), 0)])


def test_why_a_leaf_is_refused_comes_through_processes() -> None:
    (found,) = Processes(1).run([Job(replace(SLICED, lr=1e30), leaf(), 0)])
    assert found is not None
    assert not found.states
    assert "finite number" in found.refused


def test_stopped_between_jobs_the_rest_is_left_open() -> None:
    stop = threading.Event()
    found = Local().run(jobs(3), lambda number, done: stop.set() if number == 1 else None, stop)
    assert [done is None for done in found] == [False, False, True]
    assert Processes(1).run(jobs(2), stop=stop) == [None, None]


def test_a_task_has_one_thread() -> None:
    assert "threads 1" in carry_out(jobs(1)[0]).environment


def test_results_of_two_kinds_of_machine_are_refused() -> None:
    code = (
        "from tests.experts.test_train import jobs\n"
        "from forgetnet.experts.train import carry_out\n"
        "print(carry_out(jobs(1)[0]).environment)"
    )
    narrow = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    ask = [sys.executable, "-c", code]
    shown = subprocess.run(ask, cwd=ROOT, env=narrow, capture_output=True, text=True, check=True)
    here = carry_out(jobs(1)[0])
    other = Trained(here.states, shown.stdout.strip())
    if other.environment == here.environment:
        pytest.skip("this processor has no wider vectors than the default")
    found = Collected(2, None)
    found.take(0, here)
    with pytest.raises(Unsupported, match="two environments"):
        found.take(1, other)
    assert found.open() == [1]


def test_a_module_of_a_notebook_travels_to_the_workers() -> None:
    code = (
        "import torch\n"
        "from dataclasses import replace\n"
        "from forgetnet.experts import Job, Local, Processes\n"
        "from tests.experts.test_train import SLICED, digests, leaf\n"
        "def net(dim, outputs):\n"
        "    return torch.nn.Sequential(torch.nn.Linear(dim, 5), torch.nn.Linear(5, outputs))\n"
        "if __name__ == '__main__':\n"
        "    work = [Job(replace(SLICED, module=net), leaf(), 1)]\n"
        "    print(digests(Processes(1).run(work)) == digests(Local().run(work)))\n"
        "    print(work[0].expert.config()['module'][0])\n"
    )
    ask = [sys.executable, "-c", code]
    shown = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["True", "__main__:net"]
