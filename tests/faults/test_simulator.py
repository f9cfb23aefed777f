"""After a power cut in any state that un-fsynced data may leave, nothing acknowledged is undone.

``python -m tests.faults.test_simulator`` goes through every state and prints how many there were.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from forgetnet_stores.lance import catalogue
from tests.faults import story
from tests.faults.records import bare, owed
from tests.faults.simulate import KilledError, Recorder, State, states
from tests.faults.story import LATE, OPERATIONS, Operation, Step

SHARED = Path("/dev/shm")
ONE = ("add", "split", "forget", "hold, forget, lift", "forget, backed up", "backup")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder in memory where there is one: nothing is asked of the disk here."""
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as found:
        yield Path(found).resolve()


class Simulator:
    """Records operations in a folder and lays out what power cuts leave of them."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._folder = folder

    def _begin(self, operation: Operation) -> Recorder:
        kept = self._folder / operation.template
        shutil.rmtree(self.root, ignore_errors=True)
        if not kept.exists():
            story.make(operation.template, self.root)
            self.root.rename(kept)
        shutil.copytree(kept, self.root)
        return Recorder(self.root)

    def record(self, operation: Operation) -> Recorder:
        """Record an operation from its beginning to its end."""
        recorder = self._begin(operation)
        with recorder.at_work():
            story.play(operation, self.root, recorder.told)
        return recorder

    def killed(self, operation: Operation, at: int) -> tuple[Recorder, int]:
        """Record an operation that is killed before a change, and the recovery from that.

        The files stay as the killed process wrote them, though not all is on the disk yet. Returns
        the record, and the change from which on the second process writes.
        """
        recorder = self._begin(operation)
        recorder.kill_at = at
        with _locks() as locks, recorder.at_work():
            with contextlib.suppress(KilledError):
                story.play(operation, self.root, recorder.told)
            for lock in locks:
                with contextlib.suppress(OSError, AttributeError):
                    os.close(lock._fd)
            recorder.revive()
            start = len(recorder.ops)
            with story.open_(self.root / "kb") as memory:
                if memory.get(LATE) is None:
                    memory.add(story.record(LATE))
                    recorder.told("late")
        return recorder, start

    def judge(self, operation: Operation, state: State) -> list[str]:
        """Lay out a state, open it, and say what is wrong."""
        state.lay_out(self.root)
        return story.judge(operation, self.root, state.done, late=state.late)


@contextlib.contextmanager
def _locks() -> Iterator[list[catalogue.Lock]]:
    found: list[catalogue.Lock] = []
    real = catalogue.Lock.__init__

    def made(self: catalogue.Lock, path: Path) -> None:
        found.append(self)  # it may be killed in between
        real(self, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue.Lock, "__init__", made)
        yield found


def twice(simulator: Simulator, operation: Operation, kills: int) -> Iterator[tuple[int, State]]:
    """Iterate over the states that a cut during or after the recovery from a kill may leave."""
    plain = simulator.record(operation)
    begin = next(i for i, op in enumerate(plain.ops) if op.kind == "begin") + 1
    span = len(plain.ops) - begin
    for n in range(min(kills, span)):
        recorder, start = simulator.killed(operation, begin + n * span // min(kills, span))
        for state in states(recorder, seed=n, start=start):
            yield n, state


@pytest.mark.parametrize("name", ONE)
def test_a_sample_of_power_cuts_undoes_nothing_and_claims_nothing(folder: Path, name: str) -> None:
    simulator, operation = Simulator(folder), OPERATIONS[name]
    found = list(states(simulator.record(operation)))
    assert len(found) > 30
    for state in random.Random(5).sample(found, 5):
        assert simulator.judge(operation, state) == [], state


@pytest.mark.parametrize("name", ["add", "forget"])
def test_a_sample_of_power_cuts_after_a_kill_undoes_nothing(folder: Path, name: str) -> None:
    simulator, operation = Simulator(folder), OPERATIONS[name]
    found = [state for _, state in twice(simulator, operation, 2)]
    for state in random.Random(6).sample(found, 6):
        assert simulator.judge(operation, state) == [], state


def killed_before(
    simulator: Simulator, operation: Operation, kind: str, part: str, *, late: bool = True
) -> list[State]:
    """Return what may be left when a kill comes before the first such change, and a cut later."""
    plain = simulator.record(operation)
    begin = next(i for i, op in enumerate(plain.ops) if op.kind == "begin")
    at = next(i for i, op in enumerate(plain.ops)
              if i > begin and op.kind == kind and part in op.path)  # fmt: skip
    recorder, start = simulator.killed(operation, at)
    return [state for state in states(recorder, start=start) if state.late is late]


def test_what_a_kill_left_unsynced_is_durable_before_anything_is_built_on_it(folder: Path) -> None:
    simulator, operation = Simulator(folder), OPERATIONS["delete"]
    found = killed_before(simulator, operation, "sync", ".tail")
    for state in random.Random(9).sample(found, min(len(found), 12)):
        assert simulator.judge(operation, state) == [], state


def test_old_files_outlive_a_manifest_that_a_cut_may_still_take_back(folder: Path) -> None:
    simulator, operation = Simulator(folder), OPERATIONS["split"]
    found = killed_before(simulator, operation, "syncdir", "kb/store", late=False)
    found = [state for state in found if state.at]
    for state in random.Random(9).sample(found, min(len(found), 25)):
        assert simulator.judge(operation, state) == [], state


@pytest.mark.parametrize("log", ["kb/backups/tombstones", "place/tombstones"])
def test_tombstones_that_a_kill_left_unsynced_are_durable_before_others_follow(
    folder: Path, log: str
) -> None:
    simulator, operation = Simulator(folder), OPERATIONS["forget, backed up"]
    found = killed_before(simulator, operation, "sync", log, late=False)
    # part of what came first is lost, and what came later isn't
    torn = [s for s in found if any(log in p and b"\0" in (b or b"") for p, b in s.files.items())]
    assert torn
    for state in random.Random(9).sample(torn, min(len(torn), 30)):
        assert simulator.judge(operation, state) == [], state


def test_what_is_added_to_first_rows_that_a_kill_left_outlives_a_cut(folder: Path) -> None:
    """No file is in the way then, so nothing but the opening itself syncs their manifest."""
    verb = OPERATIONS["add pieces"].steps[0].verb
    operation = Operation("first rows", (Step(verb, {}),), template="bare", before={})
    simulator = Simulator(folder)
    plain = simulator.record(operation)
    commit = next(i for i, op in enumerate(plain.ops)
                  if op.to == "kb/store/manifest.json" and op.kind == "rename")  # fmt: skip
    recorder, start = simulator.killed(operation, commit + 1)
    for state in [state for state in states(recorder, start=start) if state.late][:30]:
        state.lay_out(simulator.root)
        with story.open_(simulator.root / "kb") as memory:
            assert memory.get(LATE) is not None, state


def test_orphans_go_only_after_a_manifest_that_this_process_wrote(folder: Path) -> None:
    """One that stands there may have met an fsync that failed, and then no other brings it home."""
    simulator, operation = Simulator(folder), OPERATIONS["split"]
    plain = simulator.record(operation)
    commit = next(i for i, op in enumerate(plain.ops) if op.to == "kb/store/manifest.json")
    recorder, start = simulator.killed(operation, commit + 1)
    after = recorder.ops[start:]
    (first, *_) = (i for i, op in enumerate(after) if op.to == "kb/store/manifest.json")
    (shred, *_) = (i for i, op in enumerate(after) if op.path.startswith("kb/store/pieces/"))
    assert first < shred


@pytest.mark.parametrize("name", ["forget", "hold, forget, lift", "split"])
def test_no_file_goes_before_zeros_over_it_are_durable(folder: Path, name: str) -> None:
    recorder = Simulator(folder).record(OPERATIONS[name])
    assert any(op.kind == "unlink" for op in recorder.ops)
    assert bare(recorder) == []


@pytest.mark.parametrize("name", OPERATIONS)
def test_nothing_waits_for_a_sync_when_it_is_acknowledged(folder: Path, name: str) -> None:
    assert owed(Simulator(folder).record(OPERATIONS[name])) == []


def test_a_cut_without_any_fsync_is_seen_to_be_wrong(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: where nothing is ever synced, what was acknowledged is lost."""
    simulator, operation = Simulator(folder), OPERATIONS["delete"]
    recorder = simulator.record(operation)
    recorder.ops = [op for op in recorder.ops if op.kind not in {"sync", "syncdir"}]
    acknowledged = [state for state in states(recorder) if state.done]
    assert any(simulator.judge(operation, state) for state in acknowledged)


@pytest.mark.faults
@pytest.mark.parametrize("name", OPERATIONS)
def test_many_power_cuts_undo_nothing_and_claim_nothing(folder: Path, name: str) -> None:
    simulator, operation = Simulator(folder), OPERATIONS[name]
    found = list(states(simulator.record(operation)))
    for state in random.Random(7).sample(found, min(len(found), 40)):
        assert simulator.judge(operation, state) == [], state


def main(words: list[str]) -> int:
    """Go through every state of these operations, or of all, and through recoveries from kills."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--most", type=int, default=1 << 30, help="states of one operation")
    parser.add_argument("--after", type=int, default=1 << 30, help="the same after a kill")
    parser.add_argument("names", nargs="*", help="operations; all by default")
    given = parser.parse_args(words)
    say, bad, total = sys.stdout.write, 0, 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=SHARED if SHARED.is_dir() else None) as made:
        simulator = Simulator(Path(made).resolve())
        for name in given.names or OPERATIONS:
            operation, wrong = OPERATIONS[name], 0
            first = list(states(simulator.record(operation)))
            second = [state for _, state in twice(simulator, operation, 6)]
            sampled = sum(not state.whole for state in first + second)
            chosen = [
                state
                for found, most in ((first, given.most), (second, given.after))
                for state in random.Random(8).sample(found, min(len(found), most))
            ]
            for state in chosen:
                if reasons := simulator.judge(operation, state):
                    wrong += 1
                    say(f"VIOLATED {name} at {state.at}, {state.done} done: {reasons}\n"[:900])
                    sys.stdout.flush()
            said = (
                f"{len(first):6} states, {len(second):6} after a kill, {sampled:6} of them sampled"
            )
            say(f"{name:24}{said}; {len(chosen)} judged, {wrong} violated\n")
            sys.stdout.flush()
            bad, total = bad + wrong, total + len(chosen)
    say(f"{total} judged, {bad} violated, {time.monotonic() - began:.0f} s\n")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
