"""A stream of requests: each once, in one order, through crashes, with its cost told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.unlearn import DPO, NPO, GradientDifference, StopRule, UnlearnQueue
from forgetnet.unlearn.result import state_digest
from tests.unlearn.toys import mean_loss, people, reader

METHOD = NPO(lr=1e-3, epochs=8, batch_size=8, stop=StopRule(every=2))


def everything() -> list[Any]:
    _, lost, kept, _ = people()
    return lost + kept


def queue(folder: Path, model: nn.Module | None = None, **others: Any) -> UnlearnQueue:
    made = reader() if model is None else model
    return UnlearnQueue(others.pop("method", METHOD), made, everything(), folder, **others)


def test_a_batch_is_carried_out_when_it_is_full_and_by_hand(tmp_path: Path) -> None:
    data = everything()
    line = queue(tmp_path, max_requests=2, utility=lambda m: -mean_loss(m, data[12:]))
    known = [mean_loss(line.model, data[i : i + 4]) for i in (0, 4, 8)]
    assert line.submit("anna", range(4)) is None
    assert line.waiting == ("anna",)
    first = line.submit("ben", range(4, 8))
    assert first is not None
    assert (first.number, first.forgotten, line.waiting) == (0, 8, ())
    assert line.submit("cleo", range(8, 12)) is None
    second = line.flush()
    assert second is not None
    assert line.flush() is None
    for i, before in zip((0, 4, 8), known, strict=True):
        assert mean_loss(line.model, data[i : i + 4]) > before + 0.3
    assert second.before == first.after != second.after == state_digest(line.model)
    assert second.total == first.cost + second.cost
    assert second.utility == -mean_loss(line.model, data[12:])
    told = line.trail("ben")
    assert told["cost"]["forwards"] == first.cost.forwards / 2
    assert (told["batch"], told["changed"], told["utility"]) == (0, True, first.utility)


def test_no_id_is_taken_twice_before_after_and_across_reopening(tmp_path: Path) -> None:
    line = queue(tmp_path)
    line.submit("anna", [0, 1])
    with pytest.raises(InvalidRecord, match="waits already"):
        line.submit("anna", [2])
    line.flush()
    with pytest.raises(InvalidRecord, match="carried out already"):
        line.submit("anna", [2])
    again = queue(tmp_path)
    assert state_digest(again.model) == state_digest(line.model) != state_digest(reader())
    with pytest.raises(InvalidRecord, match="carried out already"):
        again.submit("anna", [2])
    assert again.done == line.done
    assert again.trail("anna") == line.trail("anna")


def test_the_order_of_arrival_makes_no_difference(tmp_path: Path) -> None:
    asked = {"anna": [0, 1, 9], "ben": [4, 1], "cleo": [12]}
    states = set()
    for number, order in enumerate((["anna", "ben", "cleo"], ["cleo", "ben", "anna"])):
        line = queue(tmp_path / str(number))
        for name in order:
            line.submit(name, asked[name])
        done = line.flush()
        assert done is not None
        assert done.forgotten == 5
        states.add((done.after, done.requests))
    assert len(states) == 1


class Cut(RuntimeError):
    pass


@pytest.mark.parametrize("batch", [0, 1])
def test_a_batch_that_was_cut_goes_on_to_the_same_bits(
    tmp_path: Path, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(line: UnlearnQueue, upto: int) -> None:
        for number in range(upto):
            line.submit(f"r{number}", range(4 * number, 4 * number + 4))
            line.flush()

    whole = queue(tmp_path / "whole")
    ask(whole, 2)
    line = queue(tmp_path / "cut")
    ask(line, batch)
    line.submit(f"r{batch}", range(4 * batch, 4 * batch + 4))
    steps = []
    objective = NPO.objective

    def cutting(self: NPO, run: Any, step: int) -> torch.Tensor:
        steps.append(step)
        if step >= 5:
            raise Cut
        return objective(self, run, step)

    with monkeypatch.context() as patch:
        patch.setattr(NPO, "objective", cutting)
        with pytest.raises(Cut):
            line.flush()
    assert (tmp_path / "cut" / f"batch-{batch}").exists()
    again = queue(tmp_path / "cut")  # another process, with the model it began with
    again.submit("later", [20])  # isn't drawn into the batch that was begun
    monkeypatch.setattr(NPO, "objective", lambda s, r, i: (steps.append(i), objective(s, r, i))[1])
    steps.clear()
    done = again.flush()
    assert done is not None
    assert min(steps) == 4  # it went on, and didn't begin again
    assert done.requests == (f"r{batch}",)
    assert done.after == whole.done[batch].after
    assert again.waiting == ("later",)


def test_a_crash_before_the_record_is_written_repeats_the_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = queue(tmp_path)
    line.submit("anna", range(4))
    put = UnlearnQueue._put

    def failing(self: UnlearnQueue, path: Path, body: bytes) -> None:
        put(self, path, body)
        if path.name.startswith("weights"):
            raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(UnlearnQueue, "_put", failing)
        with pytest.raises(Cut):
            line.flush()
    again, other = queue(tmp_path), queue(tmp_path / "other")
    assert again.waiting == ("anna",)
    assert again.done == ()
    other.submit("anna", range(4))
    for each in (again, other):
        each.flush()
    assert again.done[0].after == other.done[0].after


def test_what_was_forgotten_before_is_not_forgotten_again(tmp_path: Path) -> None:
    line = queue(tmp_path)
    line.submit("anna", range(4))
    first = line.flush()
    line.submit("ben", [1, 2])
    second = line.flush()
    assert first is not None
    assert second is not None
    assert (second.forgotten, second.stopped, second.cost.forwards) == (0, "nothing", 0)
    assert second.after == first.after


def test_a_folder_holds_no_data_and_one_set_of_weights(tmp_path: Path) -> None:
    line = queue(tmp_path)
    for number in range(2):
        line.submit(f"r{number}", [number])
        line.flush()
    names = sorted(path.name for path in tmp_path.rglob("*"))
    assert names == ["queue.json", "weights-1.safetensors"]
    record = json.loads((tmp_path / "queue.json").read_text())
    assert record["applied"] == {"r0": [0], "r1": [1]}
    assert "input_ids" not in json.dumps(record)


def test_another_queue_a_torn_one_and_senseless_requests_are_refused(tmp_path: Path) -> None:
    line = queue(tmp_path)
    for positions in ([], [-1], [len(everything())]):
        with pytest.raises(InvalidRecord, match="positions"):
            line.submit("anna", positions)
    with pytest.raises(InvalidRecord, match="another queue"):
        queue(tmp_path, method=GradientDifference())
    other = reader()
    with torch.no_grad():
        other.head.bias += 1
    with pytest.raises(InvalidRecord, match="began with"):
        queue(tmp_path, other)
    with pytest.raises(InvalidRecord, match="one forget set"):
        queue(tmp_path / "x", method=DPO(alternatives=everything()))
    line.submit("anna", [0])
    line.flush()
    body = bytearray((tmp_path / "weights-0.safetensors").read_bytes())
    body[-1] ^= 1
    (tmp_path / "weights-0.safetensors").write_bytes(bytes(body))
    with pytest.raises(StoreCorrupt, match="last batch"):
        queue(tmp_path)
    (tmp_path / "weights-0.safetensors").write_bytes(b"torn")
    with pytest.raises(StoreCorrupt, match="can't be read"):
        queue(tmp_path)
    (tmp_path / "queue.json").write_bytes(b"{")
    with pytest.raises(StoreCorrupt, match="no queue"):
        queue(tmp_path)
