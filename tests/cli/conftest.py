"""A command line on a memory of its own, for every test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from forgetnet.cli import app

ENCODER = "hash:64"


@dataclass
class Shell:
    """Runs commands on one memory.

    Attributes:
        store: folder of the memory.
        runner: keeps stdout and stderr apart.
    """

    store: Path
    runner: CliRunner = field(default_factory=CliRunner)

    def __call__(self, *words: str, input: str | None = None, code: int | None = 0) -> Result:
        """Run a command; its exit code must be ``code``."""
        result = self.runner.invoke(app, list(words), input=input, catch_exceptions=False)
        if code is not None:
            assert result.exit_code == code, (result.stdout, result.stderr)
        return result

    def on_store(self, *words: str, input: str | None = None, code: int | None = 0) -> Result:
        """Run a command on the memory."""
        return self(*words, "--store", str(self.store), input=input, code=code)

    def json(self, *words: str, code: int | None = 0) -> dict[str, Any]:
        """Run a command on the memory with ``--json``; return the one object on stdout."""
        result = self.on_store(*words, "--json", code=code)
        assert result.stdout.count("\n") == 1
        told: dict[str, Any] = json.loads(result.stdout)
        return told

    def add(self, text: str, *words: str) -> str:
        """Store one text; return its id."""
        told = self.json("add", text, "--encoder", ENCODER, *words)
        identity: str = told["ids"][0]
        return identity

    def files(self) -> dict[str, bytes]:
        """Return every file of the memory, but the one that counts openings."""
        return {
            str(path.relative_to(self.store)): path.read_bytes()
            for path in sorted(self.store.rglob("*"))
            if path.is_file() and path.name != "pulse"
        }


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    return Shell(tmp_path / "memory")


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ann has two records and a summary, ben one that mentions ann and one that doesn't."""
    shell = Shell(tmp_path_factory.mktemp("people") / "memory")
    health, travel = ("--topic", "health/allergies"), ("--topic", "travel")
    shell.add("peanuts make me ill", "--id", "a1", "--subject", "ann", *health)
    shell.add("my flight to Lisbon is in May", "--id", "a2", "--subject", "ann", *travel)
    shell.add("summary: allergic to nuts", "--id", "s1", "--derived-from", "a1")
    shell.add("ann can't eat peanuts", "--id", "b1", "--subject", "ben", "--mentions", "ann")
    shell.add("the kiln ran too hot", "--id", "b2", "--subject", "ben", "--topic", "work/kiln")
    return shell.store


@pytest.fixture
def peopled(shell: Shell, people: Path) -> Shell:
    """A memory of ann and ben, fresh for each test."""
    shutil.copytree(people, shell.store)
    return shell


WriteLines = Callable[..., Path]


@pytest.fixture
def lines(tmp_path: Path) -> WriteLines:
    def write(*values: object, name: str = "input.jsonl") -> Path:
        path = tmp_path / name
        texts = [value if isinstance(value, str) else json.dumps(value) for value in values]
        path.write_text("\n".join(texts) + "\n", encoding="utf-8")
        return path

    return write
