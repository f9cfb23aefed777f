"""A large file passes through in the memory of its largest part."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

WATCH = """
import resource, sys
from forgetnet.ingest import Fault, read

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def run(path):
    return sum(not isinstance(item, Fault) for item in read(path))

small = run(sys.argv[1])
before = peak()
large = run(sys.argv[2])
sys.stdout.write(f"{small} {large} {peak() - before}")
"""


def rows(megabytes: float):
    for number in range(int(megabytes * 250)):
        yield {"id": f"m{number}", "user": "ann", "text": f"{number} " + "word " * 800}


def write(path: Path, megabytes: float) -> Path:
    """Write about so many megabytes in the format of the path's suffix."""
    parts = (json.dumps(row) for row in rows(megabytes))
    with path.open("w", encoding="utf-8") as file:
        if path.suffix == ".jsonl":
            file.writelines(part + "\n" for part in parts)
        elif path.suffix == ".json":
            file.write('{"title": "t", "messages": [{"text": "first"}')
            file.writelines("," + part for part in parts)  # one line
            file.write("]}")
        else:
            file.write("id,user,text\n")
            file.writelines(f'{row["id"]},ann,"{row["text"]}\n"\n' for row in rows(megabytes))
    return path


@pytest.mark.parametrize("megabytes", [20, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv"])
def test_memory_does_not_grow_with_the_file(tmp_path, name, megabytes) -> None:
    small = write(tmp_path / f"small-{name}", 2)
    large = write(tmp_path / f"large-{name}", megabytes)
    assert large.stat().st_size > megabytes * 0.95e6
    command = [sys.executable, "-c", WATCH, str(small), str(large)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    few, many, growth = out.split()
    assert int(many) - int(few) == 250 * (megabytes - 2)
    assert float(growth) < 8  # megabytes
