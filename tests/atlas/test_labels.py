"""Words of a picture never lie on one another, and a name can't do anything but be read."""

from __future__ import annotations

import unicodedata
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from forgetnet.atlas.labels import LONGEST, Label, counted, fit, placed, shown, width

LABELS = st.lists(
    st.builds(
        Label,
        x=st.floats(0, 300),
        y=st.floats(-50, 350),
        text=st.text(min_size=1, max_size=8),
        size=st.sampled_from([11.0, 13.0]),
        rank=st.integers(0, 99).map(float),
        style=st.just("label"),
        key=st.integers(0, 9),
    ),
    max_size=40,
)


@given(LABELS)
def test_labels_of_a_column_keep_apart_and_inside_and_in_order(labels: list[Label]):
    kept = fit(labels, 0.0, 100.0)
    tops = [(label.y - 0.65 * label.size, label.y + 0.65 * label.size) for label in kept]
    assert all(low >= -1e-9 and high <= 100.0 + 1e-9 for low, high in tops)
    assert all(a[1] <= b[0] + 1e-9 for a, b in pairwise(tops))
    room = sum(1.3 * label.size for label in labels)
    assert len(kept) == len(labels) or room > 100.0 - 1.3 * 13.0
    left_out = sorted(label.rank for label in labels)[len(kept) :]
    assert not left_out or max((label.rank for label in kept), default=0.0) <= min(left_out)


@given(st.lists(st.floats(20.0, 280.0), min_size=1, max_size=5))
def test_a_label_with_room_stays_where_it_wants_to_be(heights: list[float]):
    labels = [Label(0.0, y, "a", 10.0, i, "label", i) for i, y in enumerate(sorted(heights))]
    apart = all(b.y - a.y > 13.0 for a, b in pairwise(labels))
    if apart:
        moved = fit(labels, 0.0, 300.0)
        assert all(abs(a.y - b.y) < 1e-9 for a, b in zip(labels, moved, strict=True))


@given(LABELS)
def test_labels_placed_freely_never_meet_and_the_first_is_always_there(labels: list[Label]):
    kept = placed(labels)
    assert not labels or min(labels, key=lambda each: each.rank) in kept
    for i, a in enumerate(kept):
        for b in kept[:i]:
            apart = (width(a.text, a.size) + width(b.text, b.size)) / 2.0
            assert abs(a.x - b.x) >= apart or abs(a.y - b.y) >= 0.4 * max(a.size, b.size)


@given(st.text(max_size=200))
def test_a_name_is_shown_in_one_line_of_bounded_width_without_controls(name: str):
    line = shown(name)
    assert line and width(line, 1.0) <= width("a" * LONGEST, 1.0) + width("…", 1.0)
    kinds = {unicodedata.category(sign) for sign in line} - {"Zs"}
    assert not kinds & {"Cc", "Zl", "Zp", "Cs", "Co", "Cn"}
    assert not {sign for sign in line if unicodedata.category(sign) == "Cf"} - {"\u200c", "\u200d"}


def test_names_are_shown_as_they_are_where_they_can_be():
    assert shown("health") == "health"
    assert shown(" two\nlines\t ") == "two lines"
    assert shown("\u202egnp.exe") == "gnp.exe"
    assert shown("\0\0") == "\u25a1"
    assert shown("x" * 10_000).endswith("…") and len(shown("x" * 10_000)) < 40
    assert counted("שלום", 1200) == "\u2068שלום\u2069 · 1,200"
