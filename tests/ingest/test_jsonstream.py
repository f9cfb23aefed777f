"""JSON cut out of a stream says what the standard parser says, in bounded memory."""

from __future__ import annotations

import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.ingest import jsonstream
from forgetnet.ingest.jsonstream import ITEM, Place, Step, walk
from forgetnet.ingest.source import Fault

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def into(place: Place, _opens: str) -> Step:
    return Step.TAKE if place else Step.ENTER


def parts(text: str, choose: jsonstream.Choose = into) -> list[tuple[Place, Any]]:
    return [(place, value) for place, _, value in walk(io.StringIO(text), choose)]


@given(
    st.lists(VALUES, max_size=6),
    st.sampled_from([None, 0, 2]),
    st.booleans(),
    st.integers(1, 40),
)
def test_items_are_what_the_parser_says(items, indent, ascii_only, chunk) -> None:
    text = json.dumps(items, indent=indent, ensure_ascii=ascii_only)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "_CHUNK", chunk)  # every boundary falls somewhere
        assert parts(text) == [((ITEM,), item) for item in json.loads(text)]


@given(st.dictionaries(st.text(), VALUES, max_size=6), st.integers(1, 40))
def test_fields_are_what_the_parser_says(fields, chunk) -> None:
    text = json.dumps(fields, indent=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonstream, "_CHUNK", chunk)
        assert parts(text) == [((name,), value) for name, value in json.loads(text).items()]


def test_a_part_deep_inside_is_found_and_the_rest_passed_by() -> None:
    text = json.dumps({"no": [{"x": "]}"}], "chats": {"list": [{"messages": [1, {"a": "\\"}]}]}})
    wanted = ("chats", "list", ITEM, "messages", ITEM)

    def choose(place: Place, _opens: str) -> Step:
        if place == wanted:
            return Step.TAKE
        return Step.ENTER if place == wanted[: len(place)] else Step.SKIP

    assert parts(text, choose) == [(("no",), None), (wanted, 1), (wanted, {"a": "\\"})]


def test_a_broken_item_costs_only_itself_and_says_its_line() -> None:
    text = '[\n{"a": 1},\n{"a": "SECRET" "b"},\n{"a": 1e5x},\n\n{"a": 3}]'
    found = list(walk(io.StringIO(text), into))
    assert [line for _, line, _ in found] == [2, 3, 4, 6]
    assert [isinstance(value, Fault) for _, _, value in found] == [False, True, True, False]
    assert found[3][2] == {"a": 3}
    assert "SECRET" not in str(found)


@pytest.mark.parametrize(
    "text", ['[{"a": 1}, {"SECRET": ', "[1, 2", '["SECRET', "[1 2]", "[1,]", "", "{1: 2}", "]"]
)
def test_a_broken_structure_ends_with_a_fault(text: str) -> None:
    found = parts(text)
    assert found[-1][0] == ()
    assert isinstance(found[-1][1], Fault)
    assert "SECRET" not in str(found[-1])


def test_what_follows_the_document_is_reported() -> None:
    assert isinstance(parts("[1] [2]")[-1][1], Fault)
    assert parts("[1]\n \n") == [((ITEM,), 1)]


def test_half_a_surrogate_pair_is_kept_for_the_check_of_records() -> None:
    assert parts(r'["a\ud83d"]') == [((ITEM,), "a\ud83d")]


def test_numbers_out_of_range_cost_only_their_item() -> None:
    found = parts(f"[{'1' * 5000}, 1e400, 123456789012345678901234567890]")
    assert isinstance(found[0][1], Fault)
    assert [value for _, value in found[1:]] == [float("inf"), 123456789012345678901234567890]


def test_nesting_without_end_is_a_fault_in_little_memory() -> None:
    tracemalloc.start()
    found = parts("[" + "[" * 50_000 + "]" * 50_000 + ", 7]")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found[0][1], Fault)
    assert found[1] == ((ITEM,), 7)
    assert peak < 10e6


def test_a_value_beyond_the_limit_is_passed_by_without_being_held(monkeypatch) -> None:
    monkeypatch.setattr(jsonstream, "MAX_CHARS", 1 << 18)

    class Endless(io.StringIO):
        """A document of 32 MB that is never held as a whole."""

        def __init__(self) -> None:
            super().__init__()
            self.parts = iter(['[{"a": "', *(["b" * (1 << 16)] * 512), '"}, 7]'])

        def read(self, size: int | None = -1) -> str:
            return next(self.parts, "")

    tracemalloc.start()
    found = [value for _, _, value in walk(Endless(), into)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(found[0], Fault)
    assert found[1] == 7
    assert peak < 4e6
