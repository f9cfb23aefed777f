"""The command ``map`` draws what the verb draws, and writes nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from forgetnet import Memory


def test_it_writes_what_the_verb_draws(peopled, tmp_path: Path) -> None:
    before = peopled.files()
    out = tmp_path / "map.svg"
    said = peopled.on_store("map", "--out", str(out), "--topic", "health", "--after").stdout
    assert said == f"Wrote {out}: 5 records; 2 records would go.\n"
    with Memory.open(peopled.store, readonly=True) as memory:
        assert memory.map(topic="health", after=True).svg() == out.read_text(encoding="utf-8")
    assert peopled.files() == before


def test_every_option_reaches_the_verb(peopled, tmp_path: Path) -> None:
    paths = tmp_path / "paths.txt"
    paths.write_text("work/kiln\r\n\nhealth/allergies\n", encoding="utf-8")
    words = ("--taxonomy", str(paths), "--coloured", "ben", "--texts", "--show-ids")
    told = peopled.json(
        "map", "-o", str(tmp_path / "a.html"), "--subject", "ann", "--keep-mentions", *words
    )
    assert told == {"file": str(tmp_path / "a.html"), "records": 5, "would_go": 3}
    with Memory.open(peopled.store, readonly=True) as memory:
        drawn = memory.map(
            subject="ann",
            mentions=False,
            taxonomy=["work/kiln", "health/allergies"],
            coloured=["ben"],
            texts=True,
            show_ids=True,
        )
    assert (tmp_path / "a.html").read_text(encoding="utf-8") == drawn.html()
    told = peopled.json("map", "-o", str(tmp_path / "b.png"), "--under", "health", "--id", "a1")
    assert (told["records"], told["would_go"]) == (1, 2)
    told = peopled.json("map", "-o", str(tmp_path / "c.svg"), "--filter", '{"topic": "travel"}')
    assert (told["records"], told["would_go"]) == (5, 1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--out", "map.gif"), "saved as .html, .svg, .png"),
        (("--out", "nowhere/map.svg"), "can't write the map"),
        (("--after",), "--after needs a scope"),
        (("--topic", "a", "--subject", "b"), "exactly one of"),
        (("--taxonomy", "nowhere.txt"), "nowhere.txt"),
        (("--under", "a//b"), "empty name"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_file(peopled, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    shown = peopled.on_store("map", *words, code=1).stderr
    assert says in shown and shown.count("\n") == 1
    assert not [path for path in tmp_path.iterdir() if path.is_file()]
