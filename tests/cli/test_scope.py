"""A scope is shown before it is forgotten, its file says nothing in words, and forget takes it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from forgetnet import Memory
from forgetnet.forget.receipt import Receipt
from tests.cli.conftest import ENCODER, Shell

ASKED = ["scope", "peanut allergy", "--recall", "0.9"]


@pytest.fixture(scope="session")
def larder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten labelled records about peanuts and ten about kilns, and a few without a topic."""
    path = tmp_path_factory.mktemp("larder") / "memory"
    with Memory.open(path, encoder=ENCODER) as memory:
        for name, topic in (("peanut allergy note", "health/allergies"), ("kiln log", "work/kiln")):
            word = name.partition(" ")[0]
            texts = [f"{name} {i} \u202eSECRET" for i in range(10)]
            memory.add(texts, ids=[f"{word}{i}" for i in range(10)], topic=topic)
            memory.add(f"free {name}", ids=f"{word}-free")
    return path


@pytest.fixture
def stocked(shell: Shell, larder: Path) -> Shell:
    shutil.copytree(larder, shell.store)
    return shell


def left(shell: Shell) -> set[str]:
    with Memory.open(shell.store, readonly=True) as memory:
        return {record.id for record in memory.get_all()}


def test_it_shows_what_it_would_take_and_changes_nothing(stocked, tmp_path):
    before = stocked.files()
    result = stocked.on_store(*ASKED, "--out", str(tmp_path / "scope.json"))
    said = result.stdout
    assert "Taken to mean: health/allergies" in said and "estimated to miss 9.5 %" in said
    assert "Around the threshold" in said and "SECRET" in said and "\u202e" not in said
    assert "Would forget" in said and "####" in said
    assert "forget --scope" in result.stderr
    assert stocked.files() == before
    assert not any(word in (tmp_path / "scope.json").read_text() for word in ("SECRET", "nut all"))
    quiet = stocked.on_store(*ASKED, "--no-text", "--samples", "30").stdout
    assert "SECRET" not in quiet and "peanut3" in quiet


def test_json_tells_the_same(stocked):
    told = stocked.json(*ASKED, "--drop", "peanut2", "--add", "kiln3")["scope"]
    assert told["method"] == "exemplars" and told["miss"]["units"] == 10
    assert "kiln3" in told["ids"] and "peanut2" not in told["ids"]
    assert told["looked_at"] == 22 and told["topics"] == ["health/allergies"]
    assert {sample["inside"] for sample in told["samples"]} == {True, False}
    assert "text" not in stocked.json(*ASKED, "--no-text")["scope"]["samples"][0]


def test_forget_takes_the_file_once_it_is_agreed_to(stocked, tmp_path):
    file, receipt = str(tmp_path / "scope.json"), tmp_path / "receipt.json"
    ids = set(stocked.json(*ASKED, "--out", file)["scope"]["ids"])
    before = stocked.files()
    stocked.on_store("forget", "--scope", file, input="n\n", code=1)
    stocked.on_store("forget", "--scope", file, "--dry-run")
    assert stocked.files() == before
    result = stocked.on_store("forget", "--scope", file, "--receipt", str(receipt), input="y\n")
    assert "proposed by meaning (recall asked 90 %" in " ".join(result.stdout.split())
    assert not ids & left(stocked) and {"kiln1", "kiln-free"} <= left(stocked)
    told = Receipt.load(receipt).predicate["proposal"]
    assert told["recall_ppm"] == 900_000 and told["proposed"] == len(ids)
    assert stocked.json("forget", "--scope", file, "--yes")["status"] == "not_found"


def test_everything_nothing_and_what_was_altered_are_refused(stocked, tmp_path):
    file = tmp_path / "scope.json"
    result = stocked.on_store("scope", "peanuts", "--recall", "1", "--out", str(file))
    assert "everything that can be found" in result.stdout
    refused = stocked.on_store("forget", "--scope", str(file), "--yes", code=1)
    assert "add --allow-all" in refused.stderr
    told = json.loads(file.read_text())
    told["dropped"] = [told["proposed"][0][0]]
    file.write_text(json.dumps(told))
    assert "was altered" in stocked.on_store("forget", "--scope", str(file), code=1).stderr
    gone = [word for i in range(10) for word in ("--drop", f"peanut{i}")]
    empty = [*ASKED, *gone, "--drop", "peanut-free", "--out", str(file)]
    ids = stocked.json(*ASKED)["scope"]["ids"]
    if "peanut-free" not in ids:
        empty = [word for word in empty if word != "peanut-free"]
        empty.remove("--drop")
    assert "Nothing is in it." in stocked.on_store(*empty).stdout
    assert "is empty" in stocked.on_store("forget", "--scope", str(file), "--yes", code=1).stderr
    both = stocked.on_store("forget", "--scope", str(file), "--id", "kiln1", "--yes", code=1)
    assert "empty" in both.stderr or "leave out" in both.stderr
    assert len(left(stocked)) == 22
    stocked.on_store("scope", "peanuts", "--recall", "1", "--out", str(file))
    stocked.on_store("forget", "--scope", str(file), "--allow-all", "--yes")
    assert left(stocked) == set()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--recall", "0"], "--recall is a share above 0"),
        (["--topic", "nowhere"], "no exemplar lies under 'nowhere'"),
        (["--like", "nobody"], "--like and --unlike name records that can't be found ('nobody')"),
        (["--drop", "kiln1"], "'kiln1' isn't in this scope"),
    ],
)
def test_what_is_wrong_is_said_as_the_shell_calls_it(stocked, words, says):
    assert says in stocked.on_store("scope", "peanut allergy", *words, code=1).stderr
