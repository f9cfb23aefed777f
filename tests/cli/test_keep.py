"""The commands of keeping: what they print, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from forgetnet.cli import app

RUN = CliRunner()


@pytest.fixture
def kb(tmp_path: Path) -> str:
    store = str(tmp_path / "kb")
    for name, text in (("r1", "ann likes bees"), ("r2", "bob likes boats")):
        subject = text.split()[0]
        call(store, "add", text, "--id", name, "--subject", subject, "--encoder", "hash:32")
    return store


def call(store: str, *words: str, code: int = 0) -> dict:
    done = RUN.invoke(app, [*words, "--store", store, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_a_hold_keeps_and_its_lifting_erases(kb):
    hold = call(kb, "hold", "--id", "r1", "--reason", "case 7")
    shown = RUN.invoke(app, ["forget", "--subject", "ann", "--dry-run", "--store", kb]).stdout
    assert "1 record would stay" in shown
    assert hold["name"] in shown
    told = call(kb, "forget", "--subject", "ann", "--yes", code=1)
    assert told["status"] == "unsupported"
    assert [mark["name"] for mark in call(kb, "holds")["marks"]] == [hold["name"]]
    assert call(kb, "search", "bees")["hits"][0]["id"] == "r2"
    lifted = call(kb, "lift", hold["name"])
    assert [receipt["status"] for receipt in lifted["receipts"]] == ["erased"]
    assert call(kb, "audit", "--text", "ann likes bees", "--id", "r1")["clean"]


def test_an_audit_finds_what_was_only_deleted_and_exits_with_1(kb):
    call(kb, "delete", "r1")
    found = call(kb, "audit", "--text", "ann likes bees", code=1)
    assert set(found["found"]) == {"text", "vector"}


def test_a_restriction_is_listed_lifted_and_told_in_words(kb):
    mark = call(kb, "restrict", "--subject", "ann")
    assert call(kb, "search", "bees")["hits"][0]["id"] == "r2"
    shown = RUN.invoke(app, ["holds", "--store", kb]).stdout
    assert mark["name"] in shown
    call(kb, "lift", mark["name"])
    assert "Nothing is held" in RUN.invoke(app, ["holds", "--store", kb]).stdout
    assert call(kb, "lift", mark["name"], code=1)["error"] == "InvalidScope"


def test_a_backup_comes_back_without_what_was_forgotten(kb, tmp_path):
    made = call(kb, "backup", str(tmp_path / "backups"))["backup"]
    call(kb, "forget", "--id", "r1", "--yes")
    done = call(str(tmp_path / "back"), "restore", made)
    assert (done["records"], done["forgotten_again"]) == (1, 1)
    assert "bob likes boats" in json.dumps(call(str(tmp_path / "back"), "get", "r2"))
    assert call(str(tmp_path / "back"), "restore", made, code=1)["error"] == "StoreError"
