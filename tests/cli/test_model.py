"""A model from the shell: trained on a CSV, asked, made to forget, and what it must refuse."""

from __future__ import annotations

import csv
import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from forgetnet.forget.receipt import Receipt

Shell = Any  # of conftest.py, which can't be imported by name

FEW = ("--expert", "ridge", "--expert", "memory")


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def loans(tmp_path: Path) -> Path:
    """Sixty applications of twenty people: who earns much is granted."""
    chance = random.Random(4)
    rows: list[dict[str, object]] = []
    for n in range(60):
        income = chance.randrange(10, 100)
        job = chance.choice(["clerk", "cook", "pilot"])
        granted = "yes" if income > 50 else "no"
        rows.append(
            {"id": f"r{n}", "who": f"p{n % 20}", "income": income, "job": job, "granted": granted}
        )
    return write(tmp_path / "loans.csv", rows)


def train(shell: Shell, source: Path, *words: str, code: int | None = 0) -> dict[str, object]:
    fields = ("--target", "granted", "--subject-field", "who", "--id-field", "id")
    told: dict[str, object] = shell.json("train", str(source), *fields, *FEW, *words, code=code)
    return told


def test_the_whole_story_of_a_table_from_the_shell(shell: Shell, loans: Path) -> None:
    told = train(shell, loans)
    assert told["learnt"] == 60 and told["classes"] == ["no", "yes"]
    asked = shell.json("predict", str(loans), "--target", "granted")
    assert asked["accuracy"] > 0.9
    plan = shell.json("forget", "--subject", "p3", "--dry-run")["plan"]
    steps = {step["component"]: step["records"] for step in plan["steps"]}
    assert steps["store"] == steps["ridge"] == 3
    receipt = shell.json("forget", "--subject", "p3", "--yes")
    assert receipt["status"] == "erased"
    assert {surface["name"] for surface in receipt["surfaces"]} >= {"rows", "ridge"}
    shell("verify", receipt["file"], "--key", str(shell.store / "receipt.pub"))


def test_a_model_from_the_shell_that_forgot_is_the_one_that_never_saw(
    shell: Shell, tmp_path: Path, loans: Path
) -> None:
    with loans.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    rest = write(tmp_path / "rest.csv", [dict(row) for row in rows if row["who"] != "p3"])
    key = tmp_path / "key"
    key.write_text("ab" * 32, encoding="utf-8")
    digests = []
    for name, source in (("one", loans), ("twin", rest)):
        here = replace(shell, store=tmp_path / name)
        train(here, source, "--key", str(key))
        here.json("forget", "--subject", "p3", "--yes", "--key", str(key), code=None)
        answers = here.on_store("predict", str(loans), "--key", str(key)).stdout
        digests.append(answers)
    assert digests[0] == digests[1]


def test_texts_and_numbers_can_be_learnt_too(shell: Shell, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"said": "sun and tea" if n % 2 else "rain and mud", "much": 2.5 if n % 2 else -1.0}
        for n in range(12)
    ]
    source = write(tmp_path / "said.csv", rows)
    words = ("--target", "much", "--text-field", "said", "--task", "regression", *FEW)
    told = shell.json("train", str(source), *words, "--encoder", "hash:64")
    assert told["learnt"] == 12 and told["classes"] == []
    asked = shell.json("predict", str(source), "--text-field", "said", "--target", "much")
    assert asked["mean absolute error"] < 0.3


def test_a_second_file_is_added_to_the_model(shell: Shell, loans: Path, tmp_path: Path) -> None:
    train(shell, loans)
    row: dict[str, object] = {"id": "new", "who": "zoe", "income": 99, "job": "cook"}
    told = train(shell, write(tmp_path / "more.csv", [row | {"granted": "maybe"}]))
    assert told["learnt"] == 61 and told["classes"] == ["maybe", "no", "yes"]


def test_a_row_without_a_target_is_stored_and_not_learnt(
    shell: Shell, loans: Path, tmp_path: Path
) -> None:
    train(shell, loans)
    row: dict[str, object] = {"id": "new", "who": "zoe", "income": 99, "job": "cook"}
    told = train(shell, write(tmp_path / "more.csv", [row | {"granted": ""}]))
    assert told["learnt"] == 60 and told["classes"] == ["no", "yes"]
    assert shell.json("forget", "--subject", "zoe", "--yes")["status"] == "erased"


@pytest.mark.parametrize(
    "words, hint",
    [
        (("--target", "nothing"), "nothing"),
        (("--target", "granted", "--subject-field", "whom"), "whom"),
    ],
)
def test_what_can_not_be_learnt_is_refused_and_leaves_no_model(
    shell: Shell, loans: Path, words: tuple[str, ...], hint: str
) -> None:
    told = shell.json("train", str(loans), *words, *FEW, code=1)
    assert hint in told["message"]
    assert not (shell.store / "experts").exists()


def test_an_unknown_expert_or_task_is_a_wrong_call(shell: Shell, loans: Path) -> None:
    for words in (("--expert", "oracle"), ("--task", "guessing")):
        shell.on_store("train", str(loans), "--target", "granted", *words, code=2)


def test_asking_where_no_model_is_says_so(shell: Shell, loans: Path) -> None:
    assert "no model" in shell.json("predict", str(loans), code=1)["message"]


def test_broken_rows_are_reported_and_the_rest_is_learnt(shell: Shell, loans: Path) -> None:
    loans.write_text(loans.read_text(encoding="utf-8") + "r99,p1,12\n", encoding="utf-8")
    told = train(shell, loans, code=1)
    assert told["learnt"] == 60 and told["refused"] == 1


WHO = ("--text-field", "who")


def test_verbs_of_memories_leave_a_model_alone(shell: Shell, loans: Path) -> None:
    train(shell, loans)
    before = shell.files()
    for verb in (("add", "hello"), ("delete", "r1"), ("purge",), ("import", str(loans), *WHO)):
        assert "ForgetNet.open" in shell.json(*verb, code=1)["message"]
    assert shell.files() == before
    assert shell.json("get", "r1")["record"]["id"] == "r1"
    assert json.dumps(shell.json("stats"))


def test_the_help_knows_the_models_own_cap() -> None:
    from forgetnet.cli import model_commands
    from forgetnet.model.stack import CAP

    assert f"by default {CAP}" in str(model_commands._CAP.help)


def test_a_receipt_says_that_columns_were_guessed(shell: Shell, loans: Path) -> None:
    train(shell, loans)
    file = shell.json("forget", "--subject", "p3", "--yes")["file"]
    assert "by a look at the first rows" in str(Receipt.load(file).statement)
    train(replace(shell, store=shell.store.parent / "told"), loans, "--numeric", "income")
    told = replace(shell, store=shell.store.parent / "told")
    file = told.json("forget", "--subject", "p3", "--yes")["file"]
    assert "by a look at" not in str(Receipt.load(file).statement)


def test_settings_that_a_model_does_not_have_are_refused_not_left_aside(
    shell: Shell, loans: Path
) -> None:
    train(shell, loans)
    fields = ("--target", "granted", "--subject-field", "who")
    before = shell.files()
    for words in (("--cap", "7"), ("--task", "regression"), ("--expert", "torch")):
        told = shell.json("train", str(loans), *fields, *words, code=1)
        assert words[0] in told["message"]
    assert shell.files() == before


def test_what_a_later_forget_would_be_surprised_by_is_said(shell: Shell, loans: Path) -> None:
    result = shell.on_store("train", str(loans), "--target", "granted", *FEW)
    assert "60 of 60 rows are nobody's" in " ".join(result.stderr.split())
    again = shell.on_store("train", str(loans), "--target", "granted")
    assert "learnt twice" in again.stderr


def test_a_slip_in_a_name_does_not_look_like_success(shell: Shell, loans: Path) -> None:
    train(shell, loans)
    said = shell.on_store("forget", "--subject", "P3", "--yes").stderr
    assert "Nothing is stored under this subject; did you mean 'p3', 'p13'?\n" in said
