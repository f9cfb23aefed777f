"""Whatever stands behind a command: it works, or is refused in one line that names the options."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import typer

from forgetnet import EncoderMismatch, InvalidScope
from forgetnet.cli import app
from forgetnet.cli.frame import sentence_of

Shell = Any  # of conftest.py, which can't be imported by name

GROUP: Any = typer.main.get_command(app)
ODD = ["", "3", "{}", "nowhere//at/all", "~nobody-is-so/x"]
USUAL = {
    "add": ["a text", "--id", "new", "--encoder", "hash:64"],
    "search": ["peanuts"],
    "get": ["a1"],
    "update": ["a1", "--text", "changed"],
    "delete": ["a1"],
    "forget": ["--subject", "ann", "--yes"],
    "verify": ["receipt.json", "--key", "memory/receipt.pub"],
    "export": ["out.jsonl"],
    "import": ["rows.jsonl", "--encoder", "hash:64"],
    "train": [
        *("rows.jsonl", "--target", "label", "--text-field", "text"),
        *("--encoder", "hash:16", "--expert", "memory"),
    ],
    "predict": ["rows.jsonl", "--text-field", "text", "--store", "model"],
}
"""A way to call a command that works, but for verify, which finds nothing there."""
ENDLESS = {"--every=3"}  # a sweep that goes on until Ctrl-C; it has tests of its own
LONG = {"compare", "demo"}  # held by tests of their own
COMMANDS = sorted(set(GROUP.commands) - LONG)


def variants(name: str) -> list[list[str]]:
    """Each argument and option of a command, once with each odd word."""
    usual = USUAL.get(name, [])
    tried = []
    for parameter in GROUP.commands[name].params:
        if parameter.param_type_name == "argument":
            tried += [[odd, *usual[1:]] for odd in ODD]
        elif not parameter.is_flag and parameter.opts[0] != "--help":
            words = [f"{parameter.opts[0]}={odd}" for odd in ODD]
            tried += [[*usual, word] for word in words if word not in ENDLESS]
    return tried


@pytest.mark.parametrize("name", COMMANDS)
def test_an_odd_word_works_or_is_refused_in_one_line(
    peopled: Shell, name: str, tmp_path: Path, tmp_path_factory, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = tmp_path_factory.mktemp("kept") / "folder"
    lines = [
        '{"text": "the kiln is hot", "label": "x", "id": "r1"}',
        '{"text": "no", "label": "y"}',
    ]
    Path("rows.jsonl").write_text("\n".join(lines), encoding="utf-8")
    if name == "predict":
        peopled("train", *USUAL["train"])
    shutil.copytree(tmp_path, kept)
    for words in variants(name):
        # the Shell lets every exception through that isn't told in a line
        result = peopled(name, *words, code=None)
        assert result.exit_code in {0, 1, 2}, words
        if result.exit_code == 1 and result.stderr.startswith("forgetnet: "):
            assert result.stderr.count("\n") == 1, words
            assert "=," not in result.stderr, words
        for left in tmp_path.iterdir():
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
        shutil.copytree(kept, tmp_path, dirs_exist_ok=True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["forget", "--yes"], "exactly one of --id, --subject, --filter or --topic; an empty"),
        (["forget", "--subject", "", "--yes"], "--subject is empty"),
        (["search", "x", "--subject", ""], "--subject is empty; leave it out"),
        (["stats", "--encoder", "hash:32"], "open it with --encoder hash:64, or export it"),
        (["export", "nowhere/a.jsonl"], "can't write the export nowhere/a.jsonl: No such file"),
        (["stats", "--key", "nowhere"], "can't read the key file nowhere"),
    ],
)
def test_a_refusal_names_options_as_they_are_written_in_a_shell(
    peopled: Shell, words: list[str], said: str
) -> None:
    assert said in peopled.on_store(*words, code=1).stderr
    assert said in peopled.json(*words, code=1)["message"]


def test_what_stands_in_quotes_is_somebodys_name_and_stays() -> None:
    told = (
        "no record has the id 'ids=, topic=x'; isn't there, so say ids= or \"topic=\" and key='a b'"
    )
    assert sentence_of(InvalidScope(told)) == (
        "no record has the id 'ids=, topic=x'; isn't there, so say --id or \"topic=\" and "
        "--key 'a b'"
    )
    kept = "give encoder=TableEncoder() or readonly=True, with metadata['label']; y= is missing"
    assert sentence_of(EncoderMismatch(kept)) == kept


@pytest.mark.parametrize(
    "words", [["--topic", "a//b"], ["--id", "a", "--id", "b"], ["--subject", ""]]
)
def test_a_text_that_is_refused_makes_no_memory(shell: Shell, words: list[str]) -> None:
    told = shell.json("add", "one text", "--encoder", "hash:64", *words, code=1)
    assert told["error"] == "InvalidRecord"
    assert not shell.store.exists()
