"""Forgetting asks first, says what it did, and verify believes nothing that was touched."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from forgetnet import Memory
from forgetnet.forget.keys import derive_signer, public_pem
from forgetnet.forget.openings import Openings
from forgetnet.forget.receipt import Receipt
from forgetnet_stores.lance import LanceStore

ANN = ["forget", "--subject", "ann"]


def ids(shell) -> set[str]:
    with Memory.open(shell.store, readonly=True) as memory:
        return {record.id for record in memory.get_all()}


@pytest.mark.parametrize("answer", ["n\n", "\n", "", "what\nn\n"])
def test_it_asks_and_anything_but_yes_changes_nothing(peopled, answer: str) -> None:
    before = peopled.files()
    result = peopled.on_store(*ANN, input=answer, code=1)
    assert "Would forget 4 records" in result.stdout
    assert "Forget this for good?" in result.stderr and "Nothing was changed" in result.stderr
    assert peopled.files() == before


def test_yes_forgets_and_tells_what_was_done(peopled) -> None:
    result = peopled.on_store(*ANN, input="y\n")
    assert "4 records" in result.stdout and "receipt.pub" in result.stdout
    assert ids(peopled) == {"b2"}


def test_a_dry_run_shows_the_plan_and_changes_nothing(peopled) -> None:
    before = peopled.files()
    plan = peopled.json(*ANN, "--dry-run")["plan"]
    assert (plan["direct"], plan["mentions"], plan["derived"]) == (["a1", "a2"], ["b1"], ["s1"])
    assert peopled.on_store(*ANN, "--dry-run").stderr == ""
    assert peopled.files() == before


def test_a_machine_is_never_asked(peopled) -> None:
    before = peopled.files()
    result = peopled.on_store(*ANN, "--json", input="y\n", code=2)
    assert result.stdout == "" and "--yes" in result.stderr
    assert peopled.files() == before


@pytest.mark.parametrize(
    ("words", "left"),
    [
        (["--id", "a1", "--id", "b2"], {"a2", "b1"}),
        (["--subject", "ann", "--keep-mentions"], {"b1", "b2"}),
        (["--topic", "health"], {"a2", "b1", "b2"}),
        (["--filter", '{"topic": {"$in": ["travel", "work/kiln"]}}'], {"a1", "s1", "b1"}),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_every_scope_takes_what_it_says(peopled, words: list[str], left: set[str]) -> None:
    told = peopled.json("forget", *words, "--yes")
    assert told["status"] == "erased"
    assert ids(peopled) == left


def test_nothing_to_forget_is_not_found_and_no_failure(peopled) -> None:
    told = peopled.json("forget", "--id", "zz", "--yes")
    assert (told["status"], told["counts"]["not_found"]) == ("not_found", 1)
    assert len(ids(peopled)) == 5


@pytest.mark.parametrize("level", ["touched", "full"])
def test_the_receipt_and_its_openings_go_where_they_are_wanted(peopled, tmp_path, level) -> None:
    receipt, openings = tmp_path / "r.json", tmp_path / "o.json"
    words = ["--receipt", str(receipt), "--openings", str(openings), "--verify", level]
    told = peopled.json(*ANN, "--yes", "--reason", "she asked", *words)
    assert told["file"] == str(receipt)
    assert (
        receipt.read_bytes()
        == (peopled.store / "receipts" / f"{told['receipt']}.json").read_bytes()
    )
    loaded, salts = Receipt.load(receipt), Openings.load(openings)
    assert all(loaded.covers(i, salts.records[i]) for i in ("a1", "a2", "b1", "s1"))
    assert loaded.opens("reason", "she asked", salts.reason[1])
    assert {check.scope for s in loaded.surfaces for check in s.verification} >= {level}


@pytest.fixture
def receipt(peopled, tmp_path: Path) -> Path:
    path = tmp_path / "r.json"
    peopled.json(*ANN, "--yes", "--receipt", str(path))
    return path


def check(shell, receipt: Path, *words: str, code: int, key: Path | None = None) -> dict:
    public = key or shell.store / "receipt.pub"
    result = shell("verify", str(receipt), "--key", str(public), *words, "--json", code=code)
    return json.loads(result.stdout)


def test_a_genuine_receipt_is_verified_in_one_sentence(peopled, receipt: Path) -> None:
    ledger = str(peopled.store / "ledger.jsonl")
    told = check(peopled, receipt, "--ledger", ledger, code=0)
    assert (told["genuine"], told["proven"], told["status"]) == (True, True, "erased")
    assert told["ledger_index"] == 0
    public = str(peopled.store / "receipt.pub")
    said = " ".join(peopled("verify", str(receipt), "--key", public).stdout.split())
    assert said == told["sentence"]
    assert "4 records" in said and "not covered" in said


@pytest.mark.parametrize("old, new", [(b'"direct":2', b'"direct":3'), (b"erased", b"failed")])
def test_a_receipt_that_was_touched_proves_nothing(peopled, receipt: Path, old, new) -> None:
    envelope = json.loads(receipt.read_text())
    payload = base64.b64decode(envelope["payload"])
    assert old in payload
    envelope["payload"] = base64.b64encode(payload.replace(old, new)).decode()
    receipt.write_text(json.dumps(envelope))
    told = check(peopled, receipt, code=1)
    assert told.get("proven", False) is False


def test_every_cut_of_a_receipt_is_one_clear_error(peopled, receipt: Path) -> None:
    whole = receipt.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 2):
        receipt.write_bytes(whole[:length])
        assert check(peopled, receipt, code=1)["error"] == "ReceiptInvalid"


def test_another_key_a_missing_file_and_a_strange_ledger_prove_nothing(
    peopled, receipt: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.pub"
    other.write_bytes(public_pem(derive_signer(bytes(32))))
    told = check(peopled, receipt, code=1, key=other)
    assert (told["genuine"], told["proven"]) == (False, False)
    assert "proves nothing" in told["sentence"]
    assert check(peopled, tmp_path / "no.json", code=1)["error"] == "ReceiptInvalid"
    assert check(peopled, receipt, code=1, key=tmp_path / "no.pub")["error"] == "ReceiptInvalid"
    empty = tmp_path / "ledger.jsonl"
    no_ledger = check(peopled, receipt, "--ledger", str(empty), code=1)
    assert no_ledger["error"] == "ReceiptInvalid"
    empty.write_bytes(b"")
    assert check(peopled, receipt, "--ledger", str(empty), code=1)["genuine"] is False
    assert "Missing option" in peopled("verify", str(receipt), code=2).stderr


def test_a_forget_that_left_bytes_says_failed_and_verify_agrees(
    peopled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store whose purge does nothing: genuine receipt, nothing proven, exit code 1."""
    from forgetnet.store import Purged

    monkeypatch.setattr(LanceStore, "purge", lambda _: Purged())
    path = tmp_path / "r.json"
    told = peopled.json(*ANN, "--yes", "--receipt", str(path), code=1)
    assert told["status"] == "failed" and told["reasons"]
    verdict = check(peopled, path, code=1)
    assert (verdict["genuine"], verdict["proven"], verdict["status"]) == (True, False, "failed")


def test_sweep_forgets_what_has_expired(peopled) -> None:
    past = datetime.now(UTC) - timedelta(days=1)
    peopled.add("gone by now", "--id", "old", "--expires-at", past.isoformat())
    told = peopled.json("sweep")
    assert (told["status"], told["counts"]["direct"]) == ("erased", 1)
    assert peopled.json("sweep")["status"] == "not_found"
    assert "nothing matched" in peopled.on_store("sweep").stdout
    assert len(ids(peopled)) == 5


def test_no_text_of_what_is_forgotten_is_said(peopled) -> None:
    said = peopled.on_store(*ANN, "--yes", "--reason", "because of cancer").output
    said += json.dumps(peopled.json("stats"))
    for word in ("peanuts", "Lisbon", "allergic", "cancer"):
        assert word not in said


def test_ctrl_c_says_what_comes_next_and_the_next_opening_where_the_receipt_is(
    peopled, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(LanceStore, "purge", stops)
        result = peopled.on_store(*ANN, "--yes", code=130)
    assert result.stderr.count("\n") == 1 and "interrupted" in result.stderr
    assert not list((peopled.store / "receipts").glob("*.json"))
    # Who reads finishes nothing, and is told nothing.
    assert peopled.on_store("search", "kiln", "--encoder", "hash:64").stderr == ""
    again = peopled.on_store("add", "the kiln is cold", "--encoder", "hash:64")
    (receipt,) = (peopled.store / "receipts").glob("*.json")
    assert f"is finished; its receipt is {receipt}" in again.stderr.replace("\n", "")
    assert Receipt.load(receipt).status == "erased"
    assert peopled.on_store("add", "and swept", "--encoder", "hash:64").stderr == ""


def test_ctrl_c_in_json_is_one_object(peopled, monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(*given: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(LanceStore, "purge", stops)
    assert peopled.json(*ANN, "--yes", code=130)["error"] == "Interrupted"


def test_who_is_held_is_not_called_a_stranger(peopled) -> None:
    peopled.on_store("hold", "--subject", "ben", "--reason", "matter 12")
    for words in (["--dry-run"], ["--yes"]):
        result = peopled.on_store("forget", "--subject", "ben", *words, code=None)
        assert "is under a hold" in result.stdout and "2 records would stay" in result.stdout
        assert "Nothing is stored" not in result.stderr
