"""Where a run stood is found again to the bit, or refused: never taken for something else."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError
from forgetnet.unlearn import (
    SCRUB,
    SSD,
    GradientDifference,
    IdkFineTune,
    Recipe,
    SaliencyMask,
    ShardRetrain,
    StopRule,
)
from forgetnet.unlearn.result import state_digest
from tests.contract.unlearning import CASES, CLASSES, Data, digits, small

FORGET, RETAIN, HOLDOUT = digits()
NAME = "checkpoint.safetensors"
KIND = GradientDifference(lr=1e-3, epochs=8.0, stop=StopRule(None, None, every=2, probe=8))


class Cut(Exception):
    """What ends a run midway."""


def model() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return small()


def stop_at_4(look: Any, _model: Any) -> None:
    if look.step >= 4:
        raise Cut


def cut_short(folder: Path, kind: Any = KIND, data: tuple[Data, Data] = (FORGET, RETAIN)) -> None:
    with pytest.raises(Cut):
        kind.unlearn(model(), *data, checkpoint=folder, callbacks=[stop_at_4])


def resume(folder: Path, kind: Any = KIND, data: tuple[Data, Data] = (FORGET, RETAIN)) -> Any:
    return kind.unlearn(model(), *data, checkpoint=folder, resume=True)


@pytest.fixture(scope="module")
def whole() -> Any:
    return KIND.unlearn(model(), FORGET, RETAIN)


def lengths(body: bytes) -> Sequence[int]:
    """One of each kind: within the length, the header, each tensor, and at each border."""
    header = 8 + int.from_bytes(body[:8], "little")
    inside = [header + (len(body) - header) * part // 16 for part in range(16)]
    return sorted({0, 1, 7, 8, 9, header // 2, header - 1, *inside, len(body) - 1})


def test_a_torn_checkpoint_is_told_of_and_the_model_is_as_it_was(
    tmp_path: Path, whole: Any
) -> None:
    cut_short(tmp_path)
    body = (tmp_path / NAME).read_bytes()
    given = model()
    for length in lengths(body):
        (tmp_path / NAME).write_bytes(body[:length])
        with pytest.raises(StoreCorrupt, match="remove it to begin anew"):
            KIND.unlearn(given, FORGET, RETAIN, checkpoint=tmp_path, resume=True, inplace=True)
        assert state_digest(given) == whole.before
    (tmp_path / NAME).write_bytes(body)
    assert resume(tmp_path).after == whole.after
    assert not list(tmp_path.iterdir())


def test_a_damaged_byte_is_told_of_wherever_it_is(tmp_path: Path) -> None:
    cut_short(tmp_path)
    body = (tmp_path / NAME).read_bytes()
    header = 8 + int.from_bytes(body[:8], "little")
    draw = random.Random(0)
    for place in [*draw.sample(range(header), 60), *draw.sample(range(header, len(body)), 60)]:
        harmed = bytearray(body)
        harmed[place] ^= 1 << draw.randrange(8)
        (tmp_path / NAME).write_bytes(harmed)
        with pytest.raises(StoreCorrupt):
            resume(tmp_path)
    for foreign in (b"{}", b"\0" * 100, b"\x02" + b"\0" * 7 + b"[]", body + b"\0"):
        (tmp_path / NAME).write_bytes(foreign)
        with pytest.raises(StoreCorrupt):
            resume(tmp_path)


@pytest.mark.parametrize("masked", [False, True])
def test_dropout_is_drawn_by_step_so_a_run_that_goes_on_has_the_same_bits(
    masked: bool, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(64, 32), nn.Dropout(0.3), nn.ReLU(), nn.Linear(32, CLASSES))
    kind: Any = KIND.set_params(mode="train")
    if masked:  # its mask is found before the first step, under dropout
        kind = SaliencyMask(inner=kind)
    state = torch.get_rng_state()
    through = kind.unlearn(net, FORGET, RETAIN)
    assert torch.equal(state, torch.get_rng_state())
    torch.rand(5)  # what the global generator holds is nobody's business
    with pytest.raises(Cut):
        kind.unlearn(net, FORGET, RETAIN, checkpoint=tmp_path, callbacks=[stop_at_4])
    torch.rand(3)
    resumed = kind.unlearn(net, FORGET, RETAIN, checkpoint=tmp_path, resume=True)
    assert resumed.after == through.after
    still = KIND if not masked else SaliencyMask(inner=KIND)
    assert still.unlearn(net, FORGET, RETAIN).after != through.after


def test_what_was_carried_is_found_again(tmp_path: Path) -> None:
    """SCRUB rewinds to a look before the cut."""
    learnt = next(case for case in CASES if case.name == "scrub-rewind").make(tmp_path)
    kind = SCRUB(lr=5e-3, epochs=4.0, max_epochs=2, rewind=True, stop=StopRule(None, None))
    looks: list[str] = []

    def note(_look: Any, net: Any) -> None:
        looks.append(state_digest(net))

    def cut(look: Any, _net: Any) -> None:
        if len(looks) and look.step >= last:
            raise Cut

    sets = (learnt.forget, learnt.retain)
    through = kind.unlearn(learnt.model, *sets, holdout=learnt.holdout, callbacks=[note])
    assert through.after in looks[:-1]  # a look before the last one is gone back to
    last = through.history[-2].step
    others: Any = {"holdout": learnt.holdout, "checkpoint": tmp_path / "c"}
    with pytest.raises(Cut):
        kind.unlearn(learnt.model, *sets, callbacks=[cut], **others)
    assert kind.unlearn(learnt.model, *sets, resume=True, **others).after == through.after


def test_with_nothing_there_it_begins(tmp_path: Path, whole: Any) -> None:
    assert resume(tmp_path / "nowhere").after == whole.after
    cut_short(tmp_path)
    (tmp_path / NAME).unlink()
    assert resume(tmp_path).after == whole.after


def test_other_data_of_the_same_size_is_refused(tmp_path: Path, whole: Any) -> None:
    cut_short(tmp_path)
    inputs, labels = (FORGET[0].clone(), FORGET[1].clone())
    inputs[3, 5] += 1e-6
    labels[3] = (labels[3] + 1) % CLASSES
    swapped = torch.tensor([1, 0, *range(2, len(RETAIN[1]))])
    for other in (
        ((inputs, FORGET[1]), RETAIN),
        ((FORGET[0], labels), RETAIN),
        (FORGET, (RETAIN[0][swapped], RETAIN[1][swapped])),
    ):
        with pytest.raises(InvalidRecord, match="another run"):
            resume(tmp_path, data=other)
    assert resume(tmp_path).after == whole.after


def test_other_settings_another_start_and_other_alternatives_are_refused(tmp_path: Path) -> None:
    cut_short(tmp_path / "a")
    with pytest.raises(InvalidRecord, match="another run"):
        resume(tmp_path / "a", KIND.set_params(lr=2e-3))
    moved = model()
    with torch.no_grad():
        moved[2].bias[0] += 1.0
    with pytest.raises(InvalidRecord, match="another run"):
        KIND.unlearn(moved, FORGET, RETAIN, checkpoint=tmp_path / "a", resume=True)
    one, two = ((FORGET[0], torch.full_like(FORGET[1], label)) for label in (0, 1))
    kind = IdkFineTune(alternatives=one, lr=1e-3, epochs=8.0, stop=KIND.stop)
    cut_short(tmp_path / "b", kind)
    with pytest.raises(InvalidRecord, match="another run"):
        resume(tmp_path / "b", kind.set_params(alternatives=two))


def test_a_folder_that_cannot_be_written_ends_the_run_and_puts_back(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    given = model()
    before = state_digest(given)
    with pytest.raises(StoreError, match="can't write"):
        KIND.unlearn(given, FORGET, RETAIN, checkpoint=tmp_path / "file", inplace=True)
    assert state_digest(given) == before


def test_torn_slices_and_importance_are_told_of_too(tmp_path: Path) -> None:
    kind = ShardRetrain(
        build=small, folder=str(tmp_path / "s"), shards=1, slices=2, recipe=Recipe(epochs=1.0)
    )
    kind.fit(RETAIN)
    SSD(cache=str(tmp_path / "i")).unlearn(model(), FORGET, RETAIN)
    files = [*sorted((tmp_path / "s").iterdir()), *(tmp_path / "i").iterdir()]
    assert len(files) == 3
    asked: list[Any] = [lambda: kind.fit(RETAIN)] * 2
    asked.append(lambda: SSD(cache=str(tmp_path / "i")).unlearn(model(), FORGET, RETAIN))
    for path, again in zip(files, asked, strict=True):
        body = path.read_bytes()
        others = {other: other.read_bytes() for other in files[:2] if other != path}
        flipped = body[:-3] + bytes([body[-3] ^ 1]) + body[-2:]
        for harmed in (body[:0], body[:100], body[:-1], flipped):
            for other in others:
                if path in files[:2]:
                    other.unlink(missing_ok=True)  # so that it is this one that is asked for
            path.write_bytes(harmed)
            with pytest.raises(StoreCorrupt, match="remove it"):
                again()
        path.write_bytes(body)
        for other, old in others.items():
            other.write_bytes(old)
        again()
