"""Adding, asking, changing, deleting, exporting from the shell do what the Python verbs do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from forgetnet import Memory

READERS = (["search", "x"], ["get", "x"], ["stats"], ["export", "out.jsonl"])
CHANGERS = (["update", "x", "--text", "y"], ["delete", "x"], ["purge"], ["sweep"])
FORGET = ["forget", "--id", "x", "--yes"]


def test_what_was_added_is_found_with_its_fields(peopled) -> None:
    hit = peopled.json("search", "who is ill from peanuts", "-k", "1")["hits"][0]
    with Memory.open(peopled.store, readonly=True) as memory:
        same = memory.search("who is ill from peanuts", k=1)[0]
    assert hit == {
        "id": "a1",
        "distance": same.distance,
        "score": None,
        "text": "peanuts make me ill",
        "subject": "ann",
        "topic": "health/allergies",
        "metadata": {},
    }
    said = peopled.on_store("search", "who is ill from peanuts").stdout
    assert "peanuts make me ill" in said and "ann" in said


@pytest.mark.parametrize("mode", ["text", "hybrid"])
def test_a_search_by_words_shows_what_it_ranks_by(peopled, mode) -> None:
    told = peopled.json("search", "Peanuts", "--mode", mode)["hits"]
    with Memory.open(peopled.store, readonly=True) as memory:
        same = memory.search("Peanuts", mode=mode)
    assert [(hit["id"], hit["score"], hit["distance"]) for hit in told] == [
        (hit.id, hit.score, hit.distance) for hit in same
    ]
    assert told[0]["id"] == "a1"
    shown = peopled.on_store("search", "Peanuts", "--mode", mode).stdout
    assert f"{same[0].score:.4g}" in shown
    said = peopled.on_store("search", "x", "--mode", "text", "--near", "health", code=1).stderr
    assert "--near pulls" in said


def test_a_search_is_narrowed_as_in_python(peopled) -> None:
    def ids(*words: str) -> set[str]:
        return {hit["id"] for hit in peopled.json("search", "peanuts", *words)["hits"]}

    assert ids() == {"a1", "a2", "s1", "b1", "b2"}
    assert ids("--subject", "ben") == {"b1", "b2"}
    assert ids("--under", "health") == {"a1"}
    assert ids("--filter", '{"mentions": {"$contains": "ann"}}') == {"b1"}
    assert ids("--filter", '{"created_at": {"$gt": "2020-01-01T00:00:00Z"}}') == ids()
    assert ids("--filter", '{"$not": {"created_at": {"$gt": "2020-01-01T00:00:00Z"}}}') == set()
    assert ids("--near", "work/kiln", "--weight", "9", "-k", "1") == {"b2"}


def test_a_record_is_shown_in_full_and_one_that_is_missing_is_exit_code_1(peopled) -> None:
    record = peopled.json("get", "s1")["record"]
    assert (record["text"], record["derived_from"]) == ("summary: allergic to nuts", ["a1"])
    assert record["created_at"].endswith("+00:00")
    assert "summary: allergic to nuts" in peopled.on_store("get", "s1").stdout
    assert peopled.json("get", "zz", code=1) == {"record": None}
    assert "No such record" in peopled.on_store("get", "zz", code=1).stdout


def test_a_text_comes_from_stdin(shell) -> None:
    told = shell.on_store(
        "add", "-", "--encoder", "hash:64", "--json", input='from "stdin"\nin two lines'
    )
    identity = json.loads(told.stdout)["ids"][0]
    assert shell.json("get", identity)["record"]["text"] == 'from "stdin"\nin two lines'


def test_all_fields_can_be_given_and_emptied(shell) -> None:
    shell.add("first", "--id", "source")
    words = ["--id", "r", "--subject", "ann", "--topic", "a/b", "--metadata", '{"n": [1, null]}']
    words += ["--mentions", "ben", "--mentions", "cy", "--derived-from", "source"]
    words += ["--expires-at", "2999-01-31T12:00:00+02:00"]
    shell.add("second", *words)
    record = shell.json("get", "r")["record"]
    record.pop("created_at")
    assert record == {
        "id": "r",
        "text": "second",
        "subject": "ann",
        "topic": "a/b",
        "mentions": ["ben", "cy"],
        "derived_from": ["source"],
        "metadata": {"n": [1, None]},
        "expires_at": "2999-01-31T10:00:00+00:00",
    }
    new = shell.json("update", "r", "--text", "third", "--topic", "c")["record"]
    assert (new["text"], new["topic"], new["subject"]) == ("third", "c", "ann")
    fields = ["subject", "topic", "metadata", "mentions", "derived_from", "expires_at"]
    clear = [word for field in fields for word in ("--clear", field)]
    empty = shell.json("update", "r", *clear)["record"]
    assert [bool(empty[field]) for field in fields] == [False] * 6
    assert empty["text"] == "third"
    assert "say what to change" in shell.on_store("update", "r", code=2).stderr


def test_deleted_is_unreachable_and_purged_is_counted(peopled) -> None:
    told = peopled.json("delete", "a1", "zz")
    assert told == {"deleted": ["a1"], "not_found": ["zz"]}
    peopled.json("get", "a1", code=1)
    assert peopled.json("purge")["pieces"] >= 0
    assert peopled.json("stats")["records"] == 4


def test_figures_are_told(peopled) -> None:
    told = peopled.json("stats")
    assert (told["records"], told["subjects"], told["topics"], told["dim"]) == (5, 2, 3, 64)
    assert "hash:64, 64 dimensions" in peopled.on_store("stats").stdout


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_an_export_comes_back_without_loss(peopled, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    assert peopled.json("export", str(out)) == {"records": 5, "file": str(out)}
    other, key = tmp_path / "other", str(peopled.store / "key")
    words = ["import", str(out), "--store", str(other), "--encoder", "hash:64", "--key", key]
    assert json.loads(peopled(*words, "--json").stdout)["imported"] == 5
    with (
        Memory.open(peopled.store, readonly=True) as memory,
        Memory.open(other, key=key, readonly=True) as twin,
    ):
        assert memory.digest() == twin.digest()


@pytest.mark.parametrize("words", [*READERS, *CHANGERS, FORGET], ids=" ".join)
def test_where_there_is_no_memory_none_is_made(shell, words: list[str]) -> None:
    def refused() -> None:
        told = shell.json(*words, code=1)
        assert told["error"] == "StoreError" and "there is no memory" in told["message"]

    refused()
    assert not shell.store.exists()
    shell.store.mkdir()
    refused()
    assert not any(shell.store.iterdir())
    (shell.store / "photo.jpg").write_bytes(b"x")
    refused()
    assert shell.json("add", "x", "--encoder", "hash:64", code=1)["error"] == "StoreCorrupt"
    assert [path.name for path in shell.store.iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (["add", "x", "--encoder", "hash:32"], "EncoderMismatch"),
        (["add", "x", "--id", "a1"], "InvalidRecord"),
        (["add", "x", "--topic", "a//b"], "InvalidRecord"),
        (["update", "zz", "--text", "x"], "InvalidRecord"),
        (["search", "x", "--filter", '{"strange": 1}'], "InvalidScope"),
        (["forget", "--yes"], "InvalidScope"),
        (["forget", "--yes", "--subject", "ann", "--topic", "travel"], "InvalidScope"),
        (["stats", "--key", "nowhere"], "StoreError"),
        (["export", "no/such/folder/out.jsonl"], "StoreError"),
        (["import", "nowhere.jsonl"], "InvalidRecord"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_a_refusal_is_one_line_and_changes_nothing(peopled, words: list[str], kind: str) -> None:
    before = peopled.files()
    result = peopled.on_store(*words, code=1)
    assert result.stdout == ""
    assert result.stderr.startswith("forgetnet: ") and result.stderr.count("\n") == 1
    told = peopled.json(*words, code=1)
    assert set(told) == {"error", "message"} and told["error"] == kind
    assert peopled.files() == before


@pytest.mark.parametrize(
    "words",
    [
        ["search", "x", "--filter", "{secret"],
        ["search", "x", "--filter", '["secret"]'],
        ["search", "x", "--filter", '{"created_at": "secret"}'],
        ["search", "x", "--filter", '{"created_at": {"$gt": "2020-01-01"}}'],
        ["search", "x", "-k", "0"],
        ["add", "x", "--metadata", '"secret"'],
        ["add", "x", "--metadata", "[" * 100_000],
        ["add", "x", "--expires-at", "secret"],
        ["add", "x", "--expires-at", "2030-01-01T00:00:00"],
    ],
    ids=lambda words: " ".join(words)[:60],
)
def test_a_wrong_value_is_exit_code_2_and_is_not_quoted(peopled, words: list[str]) -> None:
    result = peopled.on_store(*words, code=2)
    assert "secret" not in result.output and "Traceback" not in result.output


def run(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command line as a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "forgetnet.cli", *words],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_as_a_process_it_keeps_the_streams_and_codes_apart(tmp_path: Path) -> None:
    store = str(tmp_path / "kb")
    added = run("add", "né 🧑‍🚒", "--id", "x", "--encoder", "hash:64", FORGETNET_STORE=store)
    assert (added.returncode, added.stdout, added.stderr) == (0, "x\n", "")
    found = run("get", "x", FORGETNET_STORE=store, PYTHONIOENCODING="ascii")
    assert found.returncode == 0 and "\x1b" not in found.stdout
    missing = run("stats", "--store", str(tmp_path / "no"))
    assert (missing.returncode, missing.stdout) == (1, "")
    assert missing.stderr.count("\n") == 1 and "Traceback" not in missing.stderr


def test_a_memory_that_another_writes_to_is_refused_to_writers_and_open_to_readers(peopled) -> None:
    with Memory.open(peopled.store):
        assert peopled.json("add", "x", code=1)["error"] == "StoreLocked"
        assert peopled.json("stats")["records"] == 5
