"""The verb ``map``: nothing moves when something is forgotten, and nothing is told unasked."""

from __future__ import annotations

import base64
import cmath
import json
import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet import InvalidScope, Memory, Record, StoreError
from forgetnet.atlas.picture import Map
from forgetnet.demo import load_messages
from forgetnet.taxonomy import Taxonomy

ROOT = Path(__file__).resolve().parents[2]
KEY = bytes(range(32))
TOPICS = ["health/allergies", "health/sport", "work/kiln", "work", "travel", None, "a/b/c/d/e/f"]
HOSTILE = [
    "</script><script>alert(1)</script>",
    "<",
    "script><script>alert(1)<",
    "\"quotes\" & 'single' ]]> -->",
    "x" * 10_000,
    "שלום العربية",
    "\u202egnp.exe",
    "emoji 🧑‍🚒",
    "tab\tnew\nline\0nul\x1b[31m\ufffe\u2028",
    "@@data@@ @@script@@",
    "$x^2$ \\frac",
    "日本語",
    "-x",
]


def record(number: int, topic: str | None, subject: str | None = None) -> Record:
    return Record(f"private text {number}", f"private id {number}", subject, topic)


def memory_of(records: list[Record], url: str = "memory://") -> Memory:
    memory = Memory.open(url, encoder="hash:8", key=KEY)
    memory.add(records)
    return memory


def places(drawn: Map) -> dict[str, tuple[bytes, ...]]:
    """Where each record lies, by its id, and where its topic does, to the bit."""
    chart = drawn.chart
    return {
        name: (
            chart.point[i : i + 1].tobytes(),
            chart.layout.place[topic : topic + 1].tobytes(),
            chart.layout.rim[topic].tobytes(),
        )
        for i, (name, topic) in enumerate(zip(chart.ids, chart.topic, strict=True))
    }


TAXONOMY = ["travel", "health/sport", "health/allergies", "work"]


def test_a_taxonomy_is_as_good_as_its_topics():
    known = Taxonomy.of(TAXONOMY)
    with memory_of([record(i, topic, "ann") for i, topic in enumerate(TOPICS)]) as memory:
        assert memory.map(taxonomy=known).svg() == memory.map(taxonomy=known.topics()).svg()
        assert memory.map(taxonomy=known).svg() != memory.map().svg()


@given(
    st.lists(
        st.tuples(st.sampled_from(TOPICS), st.sampled_from(["ann", "ben", None])), max_size=20
    ),
    st.sampled_from(
        [{"subject": "ann"}, {"topic": "health"}, {"topic": "a/b"}, {"ids": ["private id 3"]}]
    ),
    st.sampled_from([None, TAXONOMY]),
)
@settings(max_examples=30)
def test_what_stays_lies_where_it_lay_before_a_forget_and_in_the_twin(kinds, scope, taxonomy):
    records = [record(i, topic, subject) for i, (topic, subject) in enumerate(kinds)]
    with memory_of(records) as memory:
        before = places(memory.map(taxonomy=taxonomy, show_ids=True))
        goes = memory.forget(**scope, dry_run=True).ids
        drawn = memory.map(**scope, taxonomy=taxonomy, show_ids=True).chart
        assert {i for i, gone in zip(drawn.ids, drawn.goes, strict=True) if gone} == set(goes)
        memory.forget(**scope)
        after = memory.map(taxonomy=taxonomy, show_ids=True)
        assert places(after) == {i: at for i, at in before.items() if i not in set(goes)}
        with memory_of([r for r in records if r.id not in set(goes)]) as twin:
            assert twin.map(taxonomy=taxonomy).svg() == memory.map(taxonomy=taxonomy).svg()
            assert twin.map(taxonomy=taxonomy).html() == memory.map(taxonomy=taxonomy).html()


def test_the_plan_says_what_would_go_and_what_is_held():
    with memory_of([record(i, "health", "ann") for i in range(4)]) as memory:
        memory.add(Record("made of it", "derived", topic="work", derived_from=("private id 0",)))
        memory.add(Record("ann is here", "mention", "ben", "work", mentions=("ann",)))
        memory.hold(ids="private id 1", reason="a matter")
        drawn = memory.map(subject="ann", show_ids=True).chart
        goes = {i for i, gone in zip(drawn.ids, drawn.goes, strict=True) if gone}
        assert goes == {"private id 0", "private id 2", "private id 3", "derived", "mention"}
        assert drawn.taken.held == 1
        assert "5 records would go; 1 more match" in memory.map(subject="ann").svg()
        kept = memory.map(subject="ann", mentions=False, show_ids=True).chart
        assert len(kept.taken.ids) == 4
        inside = memory.map("health", subject="ann", after=True)
        assert len(inside.chart) == 4 and "3 of them drawn here" in inside.svg()


def test_a_region_in_pieces_says_so_and_a_taxonomy_mends_it():
    records = [record(i, f"{'abcdefghijklmnopqrst'[i % 20]}/below") for i in range(40)]
    with memory_of(records) as memory:
        pieces = [
            name for name in "abcdefghijklmnopqrst" if memory.map(topic=name).chart.region.alone
        ]
        assert pieces  # of twenty hashed names some are near one another
        assert "pieces and rings" in memory.map(topic=pieces[0]).svg()
        known = list("abcdefghijklmnopqrst")
        for name in pieces:
            drawn = memory.map(topic=name, taxonomy=known)
            assert not drawn.chart.region.alone and "pieces" not in drawn.svg()


def test_a_map_changes_nothing_and_can_be_drawn_beside_a_writer(tmp_path: Path):
    with memory_of([record(1, "health", "ann")], str(tmp_path / "kb")) as memory:
        files = {p: p.read_bytes() for p in (tmp_path / "kb").rglob("*") if p.is_file()}
        told = memory.map(topic="health", after=True).html()
        with Memory.open(tmp_path / "kb", encoder="hash:8", key=KEY, readonly=True) as reader:
            assert reader.map(topic="health", after=True).html() == told
        left = {p: p.read_bytes() for p in (tmp_path / "kb").rglob("*") if p.is_file()}
        assert {p for p in files if left.get(p) != files[p]} <= {tmp_path / "kb" / "pulse"}
        assert set(left) - set(files) <= {tmp_path / "kb" / "pulse"}


def test_neither_texts_nor_ids_are_in_it_unless_asked(tmp_path: Path):
    with memory_of([record(7, "health", "ann"), record(8, None)]) as memory:
        for scope in ({}, {"topic": "health", "after": True}, {"ids": ["private id 7"]}):
            drawn = memory.map(**scope)
            made = (drawn.svg(), drawn.html(), repr(drawn), repr(drawn.chart), drawn._repr_html_())
            assert not any("private" in each for each in made)
            assert b"private" not in drawn.png()
        page = memory.map(texts=True, show_ids=True).html()
        assert "private text 7" in page and "private id 8" in page
        assert "private" not in memory.map(texts=True, show_ids=True).svg()
        assert "ann" not in repr(memory.map(subject="ann").chart)


class Reader(HTMLParser):
    """What a browser would make of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.inside = ""
        self.data: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.links += [
            v or "" for k, v in attrs if k in {"src", "href", "srcset", "data", "action"}
        ]
        self.inside = f"{tag} {found.get('id') or ''}".strip()

    def handle_data(self, data: str) -> None:
        self.data[self.inside] = self.data.get(self.inside, "") + data


def read(page: str) -> tuple[Reader, dict[str, Any]]:
    reader = Reader()
    reader.feed(page)
    return reader, json.loads(reader.data["script data"])


@pytest.mark.parametrize("where", ["topic", "subject", "text"])
def test_a_hostile_name_is_data_and_nothing_else(where: str, tmp_path: Path):
    records = [
        Record(
            name if where == "text" else "t",
            f"i{i}",
            name if where == "subject" else None,
            name if where == "topic" else None,
        )
        for i, name in enumerate(HOSTILE)
    ]
    with memory_of(records) as memory:
        drawn = memory.map(
            texts=True, after=True, **{where: HOSTILE[0]} if where != "text" else {"ids": "i0"}
        )
        plain = memory_of([]).map()
        page, data = read(drawn.html())
        assert page.tags == read(plain.html())[0].tags
        assert page.links == ["data:,"]
        told = {
            "topic": data["topics"]["name"],
            "subject": [name for name, _ in data["subjects"]],
            "text": data["records"]["texts"],
        }[where]
        parts = {part for name in HOSTILE for part in name.split("/")}
        assert set(told) <= {*HOSTILE, *parts, ""} and len(set(told) - {""}) >= 8
        tree = ET.fromstring(drawn.svg())  # noqa: S314 - we wrote it
        assert {element.tag.partition("}")[2] for element in tree.iter()} <= {
            *("svg", "title", "desc", "style", "rect", "circle", "path", "text"),
        }
        assert "\u202e" not in drawn.svg()
        assert drawn.png().startswith(b"\x89PNG\r\n")
        drawn.save(tmp_path / "map.svg")


def test_nothing_is_loaded_from_anywhere_and_only_one_script_may_run():
    with memory_of([record(1, "health", "ann")]) as memory:
        page = memory.map(topic="health").html()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-")
    assert "connect-src" not in policy and "unsafe-eval" not in policy
    for word in ("http:", "https:", "fetch(", "XMLHttpRequest", "WebSocket", "innerHTML", "eval("):
        assert word not in page
    assert memory.map.__doc__
    with memory_of([]) as empty:
        assert "http" not in empty.map().svg().replace("http://www.w3.org/2000/svg", "")


def test_the_data_of_a_page_are_what_was_drawn():
    with memory_of([record(i, TOPICS[i % 7], f"s{i % 11}") for i in range(60)]) as memory:
        drawn = memory.map(topic="work")
        data = read(drawn.html())[1]
    chart = drawn.chart
    assert np.array_equal(
        np.frombuffer(base64.b64decode(data["records"]["topic"]), "<u4"), chart.topic
    )
    assert np.frombuffer(base64.b64decode(data["records"]["goes"]), "u1").sum() == chart.goes.sum()
    assert np.array_equal(np.array(data["topics"]["x"]), chart.layout.place.real)
    assert data["others"] == [3, sum(1 for i in range(60) if i % 11 in {8, 9, 10})]
    assert sum(data["topics"]["own"]) == 60 == data["topics"]["total"][0]


def test_it_is_saved_in_one_step_and_refuses_what_it_cant_write(tmp_path: Path, monkeypatch):
    with memory_of([record(1, "health", "ann")]) as memory:
        drawn = memory.map()
    for ending in ("svg", "html", "png", "SVG"):
        path = drawn.save(tmp_path / f"map.{ending}")
        assert path.stat().st_mode & 0o077 == 0
        assert path.read_bytes() == drawn.save(str(path)).read_bytes()
    assert len(list(tmp_path.iterdir())) == 4
    with pytest.raises(InvalidScope, match=r"saved as .html, .svg, .png, not '.jpg'"):
        drawn.save(tmp_path / "map.jpg")
    with pytest.raises(StoreError, match=r"can't write the map.*name a folder"):
        drawn.save(tmp_path / "nowhere" / "map.svg")
    with pytest.raises(StoreError, match="path must be a path"):
        drawn.save(3)
    assert "sandbox=" in drawn._repr_html_() and drawn._repr_svg_() == drawn.svg()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"after": True}, "after= needs a scope"),
        ({"topic": "health", "subject": "ann"}, "exactly one of"),
        ({"topic": ""}, "topic= is empty"),
        ({"ids": []}, "ids= is empty"),
        ({"under": "a//b"}, "empty name"),
        ({"under": 3}, "under= must be a string"),
        ({"taxonomy": {"a", "b"}}, "taxonomy= must be a .* not set"),
        ({"taxonomy": [3]}, "taxonomy= holds"),
        ({"coloured": 3}, "coloured= must be"),
        ({"texts": "yes"}, "texts= must be True or False"),
    ],
)
def test_a_refusal_says_what_to_give(options: dict[str, Any], says: str):
    with memory_of([record(1, "health", "ann")]) as memory, pytest.raises(InvalidScope, match=says):
        memory.map(**options)


def test_colours_go_to_the_largest_subjects_or_to_those_that_are_named():
    kinds = [f"s{i}" for i in range(12) for _ in range(12 - i)]
    with memory_of([record(i, "t", name) for i, name in enumerate(kinds)]) as memory:
        chart = memory.map().chart
        assert chart.subjects == [(f"s{i}", 12 - i) for i in range(8)]
        assert chart.others == (4, 1 + 2 + 3 + 4)
        named = memory.map(coloured=["s11", "nobody", "s3"], show_ids=True).chart
        assert named.subjects == [("s11", 1), ("", 0), ("s3", 9)]
        colour = dict(zip(named.ids, named.colour.tolist(), strict=True))
        whose = {f"private id {i}": name for i, name in enumerate(kinds)}
        assert colour == {i: {"s11": 0, "s3": 2}.get(name, 8) for i, name in whose.items()}
        svg = memory.map(coloured=["s11", "nobody", "s3"]).svg()
        assert "nobody" not in svg and svg.index("s11\u2069") < svg.index("s3\u2069")
        memory.forget(subject="s11")
        assert memory.map(coloured=["s11", "nobody", "s3"]).chart.subjects[2] == ("s3", 9)


def traced(path: str) -> list[complex]:
    """The corners of a path of an SVG, its arcs cut into short pieces as the format says."""
    found: list[complex] = []
    for letter, told in re.findall(r"([MLA])([^MLAZ]*)", path):
        numbers = [float(word) for word in told.split()]
        end = complex(*numbers[-2:])
        if letter == "A":
            start, radius, sweep = found[-1], numbers[0], numbers[4]
            chord = end - start
            away = max(0.0, radius**2 - abs(chord) ** 2 / 4.0) ** 0.5
            # y grows downwards; sweep 1 goes towards greater angles, and no arc is a large one
            middle = (start + end) / 2.0 + (1j if sweep else -1j) * chord / abs(chord) * away
            turn = cmath.phase((end - middle) / (start - middle))
            assert (turn > 0.0) == bool(sweep) or abs(turn) > 3.14
            steps = np.exp(1j * turn * np.linspace(0.0, 1.0, 60))[1:-1]
            found += list(middle + (start - middle) * steps)
        found.append(end)
    return found


def inside(corners: list[complex], point: complex) -> bool:
    crossed = 0
    for a, b in zip(corners, [*corners[1:], corners[0]], strict=True):
        if (a.imag > point.imag) != (b.imag > point.imag):
            crossed += (
                point.real < a.real + (point.imag - a.imag) / (b.imag - a.imag) * (b - a).real
            )
    return bool(crossed % 2)


@pytest.mark.parametrize("under", [None, "work", "health"])
@pytest.mark.parametrize("topic", ["work", "health", "health/sport"])
def test_the_file_itself_encloses_what_goes_and_nothing_that_stays(topic: str, under: str | None):
    records = [record(i, TOPICS[i % 6], f"s{i % 5}") for i in range(120)]
    known = ["health/sport", "work/kiln", "travel", "health/allergies"]
    with memory_of(records) as memory:
        svg = memory.map(under, topic=topic, taxonomy=known).svg()
    (region,) = re.findall(r'<path class="region" d="([^"]*)"', svg)
    corners = traced(region)
    stay = [
        complex(*map(float, point))
        for path in re.findall(r'<path class="s\d" stroke-width="[\d.]+" d="([^"]*)"', svg)
        for point in re.findall(r"M([-\d.]+) ([-\d.]+)h0", path)
    ]
    go = [complex(*map(float, at)) for at in re.findall(r"M([-\d.]+) ([-\d.]+)m-", svg)]
    shown = sum(1 for r in records if under is None or (r.topic or "").startswith(under))
    assert len(go) + len(stay) == shown + 5  # and those of the legend
    wanted = sum(1 for r in records if (r.topic or "").startswith(topic))
    assert len(go) == (wanted if under is None or topic.startswith(under) else 0)
    assert all(inside(corners, point) for point in go)
    assert not any(inside(corners, point) for point in stay)


@pytest.mark.parametrize("many", [0, 1, 10_000])
def test_any_number_of_records_is_drawn_as_dots_or_cells_or_bars(many: int):
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (many, 1))
    with Memory.open("memory://", encoder="vectors:2", key=KEY) as memory:
        if many:
            items = [
                Record(f"t{i}", topic=f"a/b/c {i % 50}" if i % 3 else None) for i in range(many)
            ]
            memory.add(items, vectors=vectors, progress=False)
        drawn = memory.map(filter={"topic": {"$gte": "a/b/c 4"}}, after=True)
        svg = drawn.svg()
    assert svg.count("<circle") < 5_000 and len(svg) < 1_000_000
    assert ("Nothing is stored here" in svg) == (many == 0)
    assert ("Bars around the rim" in svg) == ("bar s" in svg) == (many == 10_000)
    assert drawn.png() == drawn.png()


def test_the_picture_of_the_docs_is_the_one_that_its_page_makes():
    words = {}
    messages = load_messages()
    items = [Record(m["text"], m["id"], m["subject"], m["topic"]) for m in messages]
    known = sorted({m["topic"] for m in messages})
    with Memory.open("memory://", encoder="hash:8", key=bytes(32)) as memory:
        memory.add(items)
        drawn = memory.map(topic="health", after=True, taxonomy=known).svg()
    for name, svg in (("docs", (ROOT / "docs" / "map.svg").read_text("utf-8")), ("now", drawn)):
        texts = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")  # noqa: S314 - ours
        words[name] = [
            (t.text, round(float(t.get("x", 0))), round(float(t.get("y", 0)))) for t in texts
        ]
    assert words["docs"] == words["now"]
