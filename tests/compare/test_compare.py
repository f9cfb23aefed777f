"""The comparison: controls fail and pass, bits are compared, and nobody gets away with nothing."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from scipy import stats

from forgetnet.audit.verdict import Verdict
from forgetnet.compare import Comparison, run
from forgetnet.compare.comparison import spread_of
from forgetnet.compare.contestants import controls
from forgetnet.compare.designed import DESIGNS, designed
from forgetnet.compare.measure import NUMBERS, measure, relearnt
from forgetnet.compare.methods import known_methods, unlearned
from forgetnet.compare.settings import PROVING, TUNED_ON
from forgetnet.compare.tables import REQUESTS, digits
from forgetnet.errors import InvalidRecord, Unsupported
from forgetnet.model import ForgetNet
from forgetnet.unlearn import available, register
from forgetnet.unlearn.changing import Changing, Course, Ending
from forgetnet.unlearn.config import Cost
from forgetnet.unlearn.registry import _KNOWN
from forgetnet.unlearn.run import Run


@dataclass(frozen=True)
class Idle(Changing):
    """An unlearner that says it is done."""

    name: ClassVar[str] = "idle"
    reference: ClassVar[str] = "nobody"

    def estimate(self, *_: Any, **__: Any) -> Cost:
        return Cost()

    def carry_out(self, run: Run, course: Course) -> Ending:
        return Ending("done", "approximate")


@pytest.fixture
def idle() -> Iterator[None]:
    register("idle")(Idle)
    yield
    del _KNOWN["idle"]


@pytest.fixture(scope="module")
def table() -> Comparison:
    from tests.compare.conftest import small

    return run(small(), seeds=(0, 1, 2), methods=["memory", "ridge trunk", "fine_tune", "idk"])


def test_the_original_is_found_out_and_a_retrained_model_is_not(table: Comparison) -> None:
    original, retrained = table.row("original"), table.row("retrained")
    assert original.judgement.verdict is Verdict.INCONSISTENT
    assert retrained.judgement.verdict is Verdict.CONSISTENT
    assert original.numbers["membership"].low > 0.6
    assert retrained.numbers["membership"].low < 0.5 < retrained.numbers["membership"].high
    assert original.numbers["forget_gap"].high < -1.0
    assert original.numbers["relearn"].mean < 0.2 < retrained.numbers["relearn"].mean
    assert retrained.numbers["share"].values == (1.0, 1.0, 1.0)
    assert {"level", "relearning"} <= set(table.tests)


def test_forgetting_by_design_is_proven_and_as_good_as_never_having_seen(
    table: Comparison,
) -> None:
    for name in ("memory", "ridge trunk"):
        row = table.row(name)
        assert row.judgement.verdict is Verdict.PROVEN and row.guarantee == "exact"
        assert row.numbers["forget_gap"].values == (0.0, 0.0, 0.0)
        assert row.numbers["before"].mean > row.numbers["forget_accuracy"].mean + 0.2
        assert row.numbers["test_accuracy"].mean > 0.9


def test_an_unlearner_that_does_nothing_is_found_out(idle: None, make: Any) -> None:
    row = run(make(), seeds=(0, 1), methods=["idle"]).row("idle")
    assert row.judgement.verdict is Verdict.INCONSISTENT
    assert row.group == "in weights"


def test_a_design_that_keeps_a_record_is_found_out(
    monkeypatch: pytest.MonkeyPatch, world: Any
) -> None:
    honest = ForgetNet.forget

    def keeps_one(self: ForgetNet, *, ids: list[str], **others: Any) -> Any:
        return honest(self, ids=ids[1:], **others)

    assert all(designed(world("poisoned", 0), name).equal for name in DESIGNS)
    monkeypatch.setattr(ForgetNet, "forget", keeps_one)
    assert not any(designed(world("poisoned", 0), name).equal for name in DESIGNS)


@pytest.mark.parametrize("name", ["shard_retrain", "newton_removal"])
def test_exact_methods_in_weights_have_their_twins_bits(name: str, world: Any) -> None:
    entry = unlearned(world("poisoned", 0), name)
    assert not isinstance(entry, str)
    assert entry.guarantee == "exact" and entry.equal
    assert entry.before("forget").nll.mean() < entry.ask("forget").nll.mean()


def test_what_does_not_fit_says_why_in_its_own_words(world: Any) -> None:
    told = {
        name: unlearned(world("random", 0), name)
        for name in ("class_pruning", "alignment_calibration", "dpo", "amnesiac")
    }
    assert "are in the retain set, too" in str(told["class_pruning"])
    assert "ContrastiveTask" in str(told["alignment_calibration"])
    assert "needs alternatives=" in str(told["dpo"])
    assert "needs trace=" in str(told["amnesiac"])
    fits = unlearned(world("poisoned", 0), "dpo")  # the right labels are its alternatives
    assert not isinstance(fits, str)


def test_a_comparison_names_what_does_not_fit_and_keeps_it_out_of_the_rows(
    make: Any,
) -> None:
    found = run(make("random"), seeds=(3,), methods=["idk", "memory"], references=1)
    assert [row.name for row in found.rows] == ["original", "retrained", "memory"]
    assert list(found.unfit) == ["idk"]
    assert "needs alternatives=" in found.to_markdown()


def test_an_audit_of_one_run_stands_beside_the_verdict(make: Any, idle: None) -> None:
    found = run(make(), seeds=(2,), methods=["idle", "memory"], audited=True)
    assert found.row("idle").audit == found.row("original").audit == "inconsistent"
    assert found.row("retrained").audit in {"underpowered", "not checked", "consistent"}
    assert not found.row("memory").audit
    assert found.cells()[0][-1] == "audit of one run"


def test_every_method_is_a_contestant() -> None:
    assert {name.partition("-")[0] for name in known_methods()} == set(available()) - {"retrain"}


@pytest.mark.parametrize("request_", REQUESTS)
def test_nothing_to_be_forgotten_is_retained_or_counts_as_unseen(request_: str) -> None:
    material = digits(request_).draw(5)
    rows = {
        side: {row.tobytes() for row in data[0].numpy()} for side, data in material.sides.items()
    }
    assert rows["forget"]
    for side in ("retain", "unseen", "test"):
        assert not rows["forget"] & rows[side]
        assert not rows["retain"] & rows[side] or side == "retain"
    if request_ == "class":
        assert len(set(material.sides["forget"][1].tolist())) == 1
        assert not set(material.sides["forget"][1].tolist()) & set(
            material.sides["retain"][1].tolist()
        )
    if request_ == "poisoned":
        assert (material.alternatives[1] != material.sides["forget"][1]).all()
    for side, records in material.records.items():
        assert [int(answer) for answer in records.answers] == material.sides[side][1].tolist()


def test_relearning_counts_the_steps_to_a_loss(world: Any) -> None:
    here = world("poisoned", 0)
    loss = float(here.ask(here.family.original, "forget").nll.mean())
    assert relearnt(here, here.family.original, loss) == 1
    assert relearnt(here, here.family.original, 0.5 * loss) > 1
    assert relearnt(here, here.family.retrained[0], 2.0 * loss) > 2


def test_numbers_are_those_that_are_explained_and_of_the_right_side(world: Any) -> None:
    here = world("poisoned", 0)
    original = controls(here)[0]
    found = measure(here, original, None)
    assert set(found) <= set(NUMBERS)
    inputs, labels = here.material.sides["test"]
    with torch.no_grad():
        logits = here.family.original(inputs)
    right = float((logits.argmax(1) == labels).float().mean())
    assert found["test_accuracy"] == pytest.approx(right)
    loss = torch.nn.functional.cross_entropy(logits, labels)
    assert found["test_loss"] == pytest.approx(float(loss), rel=1e-5)


def test_the_share_of_a_method_is_what_it_counted(world: Any) -> None:
    here = world("poisoned", 0)
    entry = unlearned(here, "random_label")
    assert not isinstance(entry, str)
    whole = here.family.cost
    assert whole.forwards == 40 * len(here.material.sides["retain"][1])
    assert 0.0 < entry.share < 1.0


def test_equal_seeds_give_equal_tables_but_for_the_clock(make: Any) -> None:
    def told() -> dict[str, Any]:
        found = run(make(), seeds=(4,), methods=["memory", "npo"], references=1).to_dict()
        found.pop("seconds")
        for row in found["rows"]:
            row["numbers"].pop("clock")
        return found

    assert told() == told()


def test_a_table_can_be_written_as_json_and_as_markdown(table: Comparison) -> None:
    told = json.loads(json.dumps(table.to_dict(), allow_nan=False))
    again = Comparison.from_dict(told)
    assert again == table
    assert again.to_markdown() == table.to_markdown()
    for broken in ({}, {**told, "rows": [{}]}, {**told, "seeds": None}):
        with pytest.raises(InvalidRecord, match="to_dict"):
            Comparison.from_dict(broken)
    assert [row["name"] for row in told["rows"]][:2] == ["original", "retrained"]
    lines = table.to_markdown().splitlines()
    widths = {line.count("|") for line in lines if line.startswith("|")}
    assert len(widths) == 1
    assert any(line.startswith("| memory |") and "proven" in line for line in lines)


def test_an_interval_is_student_s() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    low, high = stats.t.interval(0.95, 3, np.mean(values), stats.sem(values))
    found = spread_of(values)
    assert (found.low, found.high) == pytest.approx((low, high))
    assert spread_of([2.0, 1.0]).low == 1.0 and spread_of([2.0, 1.0]).high == 2.0
    assert spread_of([2.0, 1.0]).told() == "1.50 ± 0.50"
    assert spread_of([-0.001]).told() == "0.00"  # one seed has no interval
    assert math.isclose(found.mean, 0.4)


def test_no_proof_is_run_on_what_was_tuned_on() -> None:
    assert TUNED_ON not in PROVING


def test_names_nobody_has_are_refused(make: Any) -> None:
    with pytest.raises(InvalidRecord, match="no contestant is called 'magic'"):
        run(make(), methods=["magic"])
    with pytest.raises(InvalidRecord, match="a seed"):
        run(make(), seeds=())
    with pytest.raises(InvalidRecord, match="request="):
        digits("nothing").draw(0)


def test_a_picture_is_drawn_and_says_what_it_needs(
    table: Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    table.plot(tmp_path / "a.svg")
    assert "retrained" in (tmp_path / "a.svg").read_text()
    with pytest.raises(InvalidRecord, match=r"\.png"):
        table.plot(tmp_path / "a.doc")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(Unsupported, match=r"forget-by-design\[notebooks\]"):
        table.plot(tmp_path / "b.png")
