"""The house rules that no linter holds: sizes, silence, errors, exported names, docs that fit."""

from __future__ import annotations

import ast
import importlib
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LONGEST_FILE = 400
LONGEST_FUNCTION = 70
LIBRARY = sorted(p for d in ("forgetnet", "stores") for p in (ROOT / d).rglob("*.py"))
SCRIPTS = sorted(p for d in ("tests", "benchmarks") for p in (ROOT / d).rglob("*.py"))
TEXT = {".py", ".md", ".toml", ".txt", ".cfg", ".json", ".jsonl", ".ipynb", ".svg", ".yml", ""}
BROAD = {"Exception", "BaseException"}
Function = ast.FunctionDef | ast.AsyncFunctionDef


def where(path: Path, line: int = 1) -> str:
    return f"{path.relative_to(ROOT)}:{line}"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    """Files that are, or could be, committed."""
    git = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(git, cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:  # a source archive has no history
        paths = [*LIBRARY, *SCRIPTS, *ROOT.glob("*.*"), *(ROOT / "docs").rglob("*.*")]
    else:
        paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [p for p in paths if p.is_file() and p.suffix in TEXT]


def test_there_is_something_to_look_at() -> None:
    assert LIBRARY
    assert Path(__file__) in SCRIPTS
    assert ROOT / "pyproject.toml" in tracked()


def test_no_file_is_too_long() -> None:
    lengths = {p: p.read_text(encoding="utf-8").count("\n") for p in [*LIBRARY, *SCRIPTS]}
    assert not [f"{where(p)} {n} lines" for p, n in lengths.items() if n > LONGEST_FILE]


def test_no_function_is_too_long() -> None:
    found = []
    for path in [*LIBRARY, *SCRIPTS]:
        for node in ast.walk(parse(path)):
            if isinstance(node, Function):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    found.append(f"{where(path, node.lineno)} {node.name} {length} lines")
    assert not found


def test_the_library_never_prints() -> None:
    found = [
        where(path, node.lineno)
        for path in LIBRARY
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "print"
    ]
    assert not found


def caught(node: ast.AST) -> Iterator[ast.expr | None]:
    """What an ``except`` or a ``suppress(...)`` catches; None where it is bare."""
    if isinstance(node, ast.ExceptHandler):
        yield from node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        yield from node.args


def test_the_library_catches_only_what_it_names() -> None:
    found = [
        where(path, node.lineno)
        for path in LIBRARY
        for node in ast.walk(parse(path))
        for kind in caught(node)
        if kind is None or ast.unparse(kind).removeprefix("builtins.") in BROAD
    ]
    assert not found


def exported(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else None
        if isinstance(target, ast.Name) and target.id == "__all__":
            assert isinstance(node, ast.Assign)
            return list(ast.literal_eval(node.value))
    return None


def test_every_module_says_what_it_exports() -> None:  # in order: RUF022
    found = []
    for path in LIBRARY:
        names = exported(parse(path))
        if names is None and path.name not in {"__init__.py", "__main__.py"}:
            found.append(f"{where(path)} has no __all__")
        if names is not None and len(set(names)) < len(names):
            found.append(f"{where(path)} exports a name twice")
    assert not found


def test_every_exported_name_is_there() -> None:
    face = importlib.import_module("forgetnet")
    names = list(getattr(face, "__all__", []))
    assert not [name for name in names if not hasattr(face, name)]


def is_public(node: ast.AST) -> bool:
    if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
        return False
    marks = [ast.unparse(mark) for mark in node.decorator_list]
    return not any(m.endswith(("overload", ".setter")) for m in marks)


def undocumented(tree: ast.Module) -> Iterator[tuple[int, str]]:
    if not ast.get_docstring(tree):
        yield 1, "module"
    rooms: list[ast.Module | ast.ClassDef] = [tree]
    while rooms:
        for node in rooms.pop().body:
            if is_public(node):
                assert isinstance(node, Function | ast.ClassDef)
                if not ast.get_docstring(node):
                    yield node.lineno, node.name
                if isinstance(node, ast.ClassDef):
                    rooms.append(node)


def test_everything_public_is_documented() -> None:
    found = [
        f"{where(path, line)} {name}"
        for path in LIBRARY
        for line, name in undocumented(parse(path))
    ]
    assert not found


def test_a_check_switched_off_says_why() -> None:
    reasoned = re.compile(r"#\s*(noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\])\s+(-|#)\s+\w+")
    switch = re.compile(r"#\s*(noqa|type:\s*ignore|pragma)", re.IGNORECASE)
    found = []
    for path in [*LIBRARY, *SCRIPTS]:
        source = io.StringIO(path.read_text(encoding="utf-8"))
        for token in tokenize.generate_tokens(source.readline):
            said = token.string if token.type == tokenize.COMMENT else ""
            if switch.search(said) and not reasoned.search(said):
                found.append(where(path, token.start[0]))
    assert not found


def test_nothing_is_left_for_later() -> None:
    later = re.compile("|".join(["NotImplemented" + "Error", "TO" + "DO", "FIX" + "ME"]))
    found = []
    for path in [*LIBRARY, *SCRIPTS]:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if later.search(line):
                found.append(where(path, number))
    assert not found


def test_no_path_of_a_machine_is_committed() -> None:
    places = "work|home|root|Users|tmp"
    path_of_machine = re.compile(rf"(?<![\w.:/-])/({places})/\w")
    found = []
    for path in tracked():
        text = path.read_text(encoding="utf-8", errors="replace")
        for number, line in enumerate(text.splitlines(), 1):
            if path_of_machine.search(line):
                found.append(where(path, number))
    assert not found


def test_the_documented_commands_are_the_commands() -> None:
    page = ROOT / "docs" / "cli.md"
    if not (ROOT / "forgetnet" / "cli" / "__init__.py").exists():
        assert not page.exists()
        return
    ask = [sys.executable, "-m", "typer", "forgetnet.cli", "utils", "docs", "--name", "forgetnet"]
    shown = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert shown.strip() == page.read_text(encoding="utf-8").strip(), "run `make docs`"
