"""The command ``geometry train``: a head in a folder, pinned, from a file or what ships."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from forgetnet.cli import app
from forgetnet.heads import load_head

QUICK = ("--encoder", "hash:32", "--steps", "20", "--dim", "4")


def test_a_head_is_trained_from_a_file_and_pinned(shell, tmp_path: Path) -> None:
    edges = [("animal", "bird"), ("animal", "fish"), ("bird", "crow"), ("bird", "swan")]
    source = tmp_path / "edges.tsv"
    source.write_text("".join(f"{parent}\t{child}\n" for parent, child in edges))
    out = tmp_path / "head"
    words = ("geometry", "train", str(source), "--out", str(out), *QUICK)
    told = json.loads(shell(*words, "--json").stdout)
    assert told["concepts"] == 5 and told["pins"]["steps"] == 20
    head = load_head(out, pin=told["pin"])
    assert (head.map.dim, head.map.width) == (4, 32)
    said = shell(*words).stdout
    assert "from 5 concepts" in said and told["pin"] in said


def test_what_ships_can_be_learnt_from(shell, tmp_path: Path) -> None:
    words = ("geometry", "train", "everyday", "--out", str(tmp_path), *QUICK, "--seed", "3")
    assert json.loads(shell(*words, "--json").stdout)["pins"]["seed"] == 3


def test_what_is_no_taxonomy_is_refused_in_one_line(shell, tmp_path: Path) -> None:
    source = tmp_path / "loop.tsv"
    source.write_text("a\tb\nb\ta\n")
    for words in ((str(source),), (str(tmp_path / "nowhere.tsv"),), (str(source), "--wordnet")):
        result = shell("geometry", "train", *words, "--out", str(tmp_path / "out"), *QUICK, code=1)
        assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_every_command_of_a_group_has_help_and_answers_in_json() -> None:
    inner = typer.main.get_command(app).commands["geometry"]
    assert inner.help
    for command in inner.commands.values():
        assert command.help and command.short_help and len(command.short_help) < 80
        assert all(parameter.help for parameter in command.params)
        assert "--json" in {option for each in command.params for option in each.opts}
