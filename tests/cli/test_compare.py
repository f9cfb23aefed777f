"""The comparison from the shell: what it prints, what it writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

Shell = Any  # of conftest.py, which can't be imported by name


def test_a_table_a_picture_and_json_of_the_same(shell: Shell, tmp_path: Path) -> None:
    picture = tmp_path / "a.svg"
    words = ("compare", "digits", "--request", "poisoned", "--seeds", "1")
    some = ("--methods", "memory", "--methods", "npo", "--plot", str(picture))
    result = shell(*words, *some)
    lines = result.stdout.splitlines()
    assert "records with wrong labels" in lines[0]
    named = [line.split("|")[1].strip() for line in lines if line.startswith("| ")]
    assert named == ["contestant", "---", "original", "retrained", "memory", "npo"]
    assert "seed 1 of 1: training" in result.stderr
    assert "memory" in picture.read_text()
    told = json.loads(shell(*words, "--methods", "memory", "--json").stdout)
    (found,) = told["comparisons"]
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["memory"]["verdict"] == "proven"
    assert rows["original"]["numbers"]["forget_gap"]["mean"] < -1.0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("cats",), "no setting is called 'cats'"),
        (("digits", "--request", "magic"), "random, class, poisoned"),
        (("digits", "--methods", "magic"), "no contestant is called 'magic'"),
        (("tofu",), "name it by --data"),
        (("adult", "--data", "nowhere"), "name the folder of UCI Adult"),
        (("mnist", "--data", "nowhere"), "name the folder of MNIST"),
        (("tofu", "--data", "nowhere"), "name the folder of TOFU"),
        (("clinc150", "--data", "nowhere"), "name the folder of CLINC150"),
        (("digits", "--quick", "--request", "class"), "settings of its own"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_one_line(
    shell: Shell, words: tuple[str, ...], said: str
) -> None:
    result = shell("compare", *words, code=1)
    assert said in result.stderr and result.stderr.count("\n") == 1


def test_quick_is_digits_and_people(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    from forgetnet import compare

    asked = []

    def noted(setting: Any, **others: Any) -> Any:
        asked.append((setting.name, len(others["seeds"])))
        return compare.Comparison(setting.name, setting.request, setting.about, (0,), ())

    monkeypatch.setattr(compare, "run", noted)
    shell("compare", "--quick")
    assert asked == [("digits", 2), ("personas", 1)]
