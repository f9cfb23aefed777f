"""The notebooks run from top to bottom with every assert in them, and are stored bare."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
CELL_SECONDS = 300
ABSOLUTE = re.compile(r"(?<![\w.:/)\]-])/[A-Za-z][\w.-]*/\w|\b[A-Za-z]:\\|~/")
# These train for more than half a minute each.
LONG = {"03_compare_with_unlearning", "04_language_model"}
each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def read(path: Path) -> Any:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(notebook: Any, folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Run a notebook in a kernel of its own that sees this tree and keeps its files in a folder."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "MPLCONFIGDIR"):
        patch.setenv(name, str(folder / name.lower()))
    patch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "stores")]))
    client = NotebookClient(
        notebook, timeout=CELL_SECONDS, resources={"metadata": {"path": str(folder)}}
    )
    patch.chdir(folder)  # the sockets lie in the working folder, and no port can be taken
    client.create_kernel_manager().transport = "ipc"
    client.execute()


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] if p.stem in LONG else []) for p in NOTEBOOKS],
    ids=lambda path: path.stem,
)
def test_a_notebook_runs_and_its_claims_hold(path, tmp_path, monkeypatch):
    notebook = read(path)
    assert any("assert " in cell.source for cell in notebook.cells)
    execute(notebook, tmp_path, monkeypatch)


@each
def test_a_notebook_is_stored_without_outputs(path):
    for cell in read(path).cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None
        assert not cell.metadata


@each
def test_a_notebook_asks_for_the_plain_kernel(path):
    assert read(path).metadata.kernelspec.name == "python3"
    assert path.stat().st_size < 100_000


@each
def test_a_notebook_names_no_path_of_a_machine(path):
    found = [cell.source for cell in read(path).cells if ABSOLUTE.search(cell.source)]
    assert not found
