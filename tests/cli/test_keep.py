"""The commands of keeping: what they print, and their exit codes."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
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


def started(store: str, *more: str) -> subprocess.Popen[str]:
    words = ["-m", "forgetnet.cli", "sweep", "--every", "0.3", "--store", store, *more]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, *words], text=True, **pipes)


def wait_for(what: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


def is_in(kb: str, said: bytes) -> bool:
    for path in Path(kb).rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file() and said in path.read_bytes():
                return True
    return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_sweeps_go_on_until_ctrl_c_and_others_write_in_between(kb, number):
    with started(kb, "--json") as running:
        try:
            assert "Ctrl-C" in running.stderr.readline()
            soon = (datetime.now(UTC) + timedelta(seconds=1)).isoformat()
            for n in range(2):  # while it sweeps; its turn and ours may meet
                words = ["add", f"late {n}", "--id", f"late{n}", "--expires-at", soon]
                wait_for(
                    lambda words=words: RUN.invoke(app, [*words, "--store", kb]).exit_code == 0
                )
            wait_for(lambda: not is_in(kb, b"late 0") and not is_in(kb, b"late 1"))
            running.send_signal(number)
            out, err = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode == 0, err
    told = json.loads(out)
    assert {receipt["status"] for receipt in told["receipts"]} == {"erased"}
    assert sum(receipt["counts"]["direct"] for receipt in told["receipts"]) == 2
    assert "Traceback" not in err
    assert call(kb, "stats")["records"] == 2


def test_a_slip_ends_a_loop_of_sweeps_before_its_first_turn(kb, tmp_path):
    for every in ("0", "-1", "nan", "1e9"):
        assert RUN.invoke(app, ["sweep", "--every", every, "--store", kb]).exit_code == 2
    words = ["sweep", "--every", "1", "--store", kb, "--receipt", str(tmp_path / "r.json")]
    assert RUN.invoke(app, words).exit_code == 2
    assert call(str(tmp_path / "none"), "sweep", "--every", "1", code=1)["error"] == "StoreError"
