"""What was remembered may hold anything; none of it may steer a terminal."""

from __future__ import annotations

import io
import json
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.cli.render import hits_of, record_of, size_of
from forgetnet.cli.voice import Voice, brief, visible
from forgetnet.record import Hit, Record

ANYTHING = st.text(st.characters(), max_size=200)
ESCAPE = "\x1b[31mred\x1b]0;title\x07 \x9b2J \u202etxt.exe"


@given(ANYTHING)
def test_nothing_that_is_shown_steers_a_terminal(text: str) -> None:
    shown = visible(text)
    assert len(shown) == len(text)
    for character in shown:
        assert character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")
        assert unicodedata.bidirectional(character) not in (
            "RLO",
            "LRO",
            "RLE",
            "LRE",
            "PDF",
            "RLI",
        )


@given(ANYTHING, st.integers(2, 40))
def test_a_brief_text_is_one_line_of_the_length_asked(text: str, length: int) -> None:
    shown = brief(text, length)
    assert len(shown) <= length
    assert len(shown.splitlines()) <= 1
    assert brief(None, length) == ""


def test_hits_and_records_are_shown_without_markup_or_escapes(capsys) -> None:
    voice = Voice(as_json=False)
    hit = Hit("id\x1b[1m", 0.5, f"[bold]{ESCAPE}", f"ann{ESCAPE}", None, {})
    record = Record(text=ESCAPE, id="[red]x", subject=ESCAPE, metadata={"a": ESCAPE})
    voice.answer({}, hits_of([hit]), *record_of(record))
    shown = capsys.readouterr().out
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    assert "[bold]" in shown and "[red]x" in shown


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_is_readable_by_machines_whatever_the_terminal_writes(monkeypatch, encoding) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    Voice(as_json=True).answer({"text": "né 🧑‍🚒 \u2028", "n": 1.5})
    assert json.loads(raw.getvalue().decode(encoding)) == {"text": "né 🧑‍🚒 \u2028", "n": 1.5}


def test_what_goes_into_a_pipe_keeps_its_lines(capsys) -> None:
    text = "word " * 100 + "\n  end"
    Voice(as_json=False).answer({}, *record_of(Record(text=text, id="x")))
    assert capsys.readouterr().out.endswith(f"\n\n{text}\n")


def test_a_refusal_is_one_line(capsys) -> None:
    Voice(as_json=False).refuse("StoreError", "two\nlines \x1b[2J")
    assert capsys.readouterr().err == "forgetnet: two lines \ufffd[2J\n"


def test_sizes_are_told_in_units() -> None:
    assert [size_of(n) for n in (0, 1023, 1024, 5 << 20, 3 << 30)] == [
        *("0 bytes", "1023 bytes", "1.0 KiB", "5.0 MiB", "3.0 GiB"),
    ]
