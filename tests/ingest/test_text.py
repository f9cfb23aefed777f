"""Text and Markdown files: folders become topics, pieces know where they stood."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from forgetnet.errors import InvalidRecord
from forgetnet.ingest import Fault, count_hint, detect, read
from forgetnet.record import Record

PAGE = """Before any heading.

# Bread

Flour, water,
salt.

```
# not a heading
```

## Rye ##

Dark.
"""


def split(items) -> tuple[list[Record], list[Fault]]:
    items = list(items)
    records = [item for item in items if isinstance(item, Record)]
    return records, [item for item in items if isinstance(item, Fault)]


@pytest.fixture
def folder(tmp_path) -> Path:
    files = {
        "top.txt": "top\r\nline",
        "health/allergies/ann.md": "nuts",
        "health/bob.TXT": "fine",
        "a/b/c/d/e/f/g/deep.md": "deep",
        "empty.txt": " \n\n",
        ".hidden.txt": "no",
        ".git/x.txt": "no",
        "picture.png": "no",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    (tmp_path / "zipped.txt.gz").write_bytes(gzip.compress(b"packed"))
    (tmp_path / "bad.txt").write_bytes(b"one\ntwo \xff SECRET\n")
    (tmp_path / "cut.txt.gz").write_bytes(gzip.compress(b"SECRET" * 1000)[:30])
    (tmp_path / "link.txt").symlink_to(tmp_path / "top.txt")
    (tmp_path / "loop").symlink_to(tmp_path)
    return tmp_path


def test_a_folder_gives_a_record_for_each_file_and_its_path_as_topic(folder) -> None:
    assert detect(folder) == "folder"
    told: list[int] = []
    records, faults = split(read(folder, on_bytes=told.append))
    assert {(r.metadata["file"], r.topic, r.text) for r in records} == {
        ("top.txt", None, "top\nline"),
        ("zipped.txt.gz", None, "packed"),
        ("health/allergies/ann.md", "health/allergies", "nuts"),
        ("health/bob.TXT", "health", "fine"),
        ("a/b/c/d/e/f/g/deep.md", "a/b/c/d/e/f+g", "deep"),
    }
    assert {(fault.file, fault.line) for fault in faults} == {
        ("empty.txt", 1),
        ("bad.txt", 2),
        ("cut.txt.gz", 1),
    }
    assert "SECRET" not in str(faults)
    assert sum(told) == count_hint(folder)


def test_the_order_of_files_is_that_of_their_names(folder) -> None:
    names = [r.metadata["file"] for r in split(read(folder))[0]]
    assert names == [r.metadata["file"] for r in split(read(folder))[0]]
    assert names.index("top.txt") < names.index("zipped.txt.gz") < names.index("health/bob.TXT")


def test_paragraphs(tmp_path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    records, faults = split(read(path, split="paragraph"))
    assert not faults
    assert [(r.metadata["line"], r.text) for r in records] == [
        (1, "Before any heading."),
        (3, "# Bread"),
        (5, "Flour, water,\nsalt."),
        (8, "```\n# not a heading\n```"),
        (12, "## Rye ##"),
        (14, "Dark."),
    ]


def test_headings(tmp_path) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    records, _ = split(read(path, split="heading"))
    assert [(r.metadata.get("heading"), r.metadata["line"]) for r in records] == [
        (None, 1),
        ("Bread", 3),
        ("Rye", 12),
    ]
    assert records[1].text is not None
    assert records[1].text.startswith("# Bread\n\nFlour")
    assert "# not a heading" in records[1].text


@pytest.mark.parametrize("how", ["file", "paragraph", "heading"])
def test_no_word_is_lost_or_doubled(tmp_path, how) -> None:
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    texts = [r.text or "" for r in split(read(path, split=how))[0]]
    assert " ".join(texts).split() == PAGE.split()


def test_a_bad_paragraph_costs_only_itself(tmp_path) -> None:
    path = tmp_path / "page.txt"
    path.write_bytes(b"one\n\ntwo\n\xff\n\nthree\n")
    records, faults = split(read(path, split="paragraph"))
    assert [r.text for r in records] == ["one", "three"]
    assert [fault.line for fault in faults] == [4]


def test_a_folder_of_nothing_to_read_is_an_error(tmp_path) -> None:
    (tmp_path / "x.png").write_bytes(b"")
    with pytest.raises(InvalidRecord, match="holds no"):
        read(tmp_path)
