"""Topics that move: afterwards everything answers as in the memory that was written so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from forgetnet import Held, InvalidRecord, InvalidScope, Memory, Record, StoreError
from forgetnet.audit.layout import check_layout
from forgetnet.taxonomy import Taxonomy, renamed
from tests.forget.test_keeping import KEY, holding

START = datetime(2030, 1, 1, tzinfo=UTC)
ROWS = [
    Record("peanuts make ann ill", id="a", subject="ann", topic="health/allergies/nuts"),
    Record("ann takes a pill", id="b", subject="ann", topic="health/medication"),
    Record("ann runs", id="c", subject="ann", topic="healthy"),
    Record("bob mends boats", id="d", subject="bob", topic="work"),
    Record("bob sneezes in may", id="e", subject="bob", topic="body/allergies"),
    Record("nobody knows", id="f"),
]


def open_(path: str | Path, **more: object) -> Memory:
    return Memory.open(path, encoder="hash:32", key=KEY, clock=lambda: START, **more)


def filled(path: str | Path, moved: dict[str, str] | None = None) -> Memory:
    memory = open_(path)
    rows = [
        replace(r, topic=None if r.topic is None else renamed(r.topic, moved or {})) for r in ROWS
    ]
    memory.add(rows, progress=False)
    return memory


def same(memory: Memory, twin: Memory) -> None:
    assert memory.digest() == twin.digest()
    assert memory.topics() == twin.topics()
    for topic in {*memory.topics(), "health", "body", "wellbeing", "work"}:
        told = [[(h.id, h.distance) for h in m.search("ann", under=topic)] for m in (memory, twin)]
        assert told[0] == told[1]
        plans = [m.forget(topic=topic, dry_run=True) for m in (memory, twin)]
        assert plans[0].ids == plans[1].ids
        near = [[(h.id, h.distance) for h in m.search("ann", near=topic)] for m in (memory, twin)]
        assert near[0] == near[1]


@pytest.fixture(params=["folder", "memory"])
def url(request, tmp_path: Path) -> str:
    return "memory://" if request.param == "memory" else str(tmp_path / "kb")


@pytest.mark.parametrize(
    "moved",
    [
        {"health": "wellbeing"},
        {"health/allergies": "body/allergies"},
        {"health/allergies": "body/allergies", "body": "health"},
        {"health": "body/of/people", "work": "health"},
        {"health/allergies/nuts": "health/x" + "ö" * 10_000},
    ],
    ids=["rename", "merge", "swap", "deep", "long"],
)
def test_moved_records_are_those_of_the_twin_and_the_old_paths_are_gone(url, moved):
    with filled(url) as memory, filled("memory://", moved) as twin:
        done = memory.refile(moved)
        same(memory, twin)
        assert done.records == sum(r.topic in done.topics for r in ROWS)
        assert all(renamed(old, moved) == new for old, new in done.topics.items())
        if url != "memory://":
            live = "\n".join(memory.topics())
            gone = [topic for topic in done.topics if topic not in live]
            assert not any(holding(Path(url), topic.encode()) for topic in gone)
            assert check_layout(Path(url)) == []
    if url != "memory://":
        with open_(url) as memory, filled("memory://", moved) as twin:
            same(memory, twin)


def test_a_topic_is_renamed_moved_and_merged_by_one_verb(url):
    with filled(url) as memory:
        assert memory.move_topic("health/allergies", "body/allergies").records == 1
        assert memory.topics()["body/allergies/nuts"] == 1
        assert memory.move_topic("body", "health").topics == {
            "body/allergies": "health/allergies",
            "body/allergies/nuts": "health/allergies/nuts",
        }
        assert memory.forget(topic="health/allergies").status == "erased"
        assert sorted(r.id for r in memory.get_all()) == ["b", "c", "d", "f"]


def test_what_a_taxonomy_says_of_a_change_is_what_the_memory_does(url):
    with filled(url) as memory:
        change = Taxonomy.of(memory.topics()).merge("health/allergies", "body/allergies")
        memory.refile(change.moved)
        told = Taxonomy.of(memory.topics()).topics()
        assert set(told) <= set(change.taxonomy.topics()) and "body/allergies/nuts" in told


def test_held_records_stay_where_they_are_and_so_does_all_else(url):
    with filled(url) as memory:
        before = memory.digest()
        hold = memory.hold(ids="b", reason="case 12")
        with pytest.raises(Held, match=hold.name):
            memory.move_topic("health", "wellbeing")
        assert memory.digest() == before
        memory.move_topic("health/allergies", "wellbeing")  # is not held
        memory.lift(hold.name)
        assert memory.move_topic("health", "wellbeing").records == 1


def test_restricted_and_expired_records_move_with_the_rest(url):
    moments = [START]
    with Memory.open(url, encoder="hash:32", key=KEY, clock=lambda: moments[-1]) as memory:
        memory.add(ROWS)
        memory.restrict(subject="ann")
        memory.add("old news", ids="x", topic="health", expires_at=START.replace(year=2031))
        moments.append(START.replace(year=2032))
        assert memory.move_topic("health", "wellbeing").records == 3
        assert memory.search("pill", under="wellbeing") == []
        assert memory.sweep().counts["direct"] == 1
        assert memory.topics() == {
            "body/allergies": 1, "healthy": 1, "wellbeing/allergies/nuts": 1,
            "wellbeing/medication": 1, "work": 1,
        }  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "error", "says"),
    [
        ("health", "health", InvalidRecord, "to itself, nor under itself"),
        ("health", "health/old", InvalidRecord, "to itself, nor under itself"),
        ("nowhere", "health", InvalidScope, "nothing is filed under these topics"),
        ("health/", "x", InvalidRecord, "empty name"),
        ("health", "", InvalidRecord, "empty name"),
        ("health", "a/b/c/d/e/f/g", InvalidRecord, "7 levels"),
        ("health", "a/b/c/d/e", InvalidRecord, "1 topics would have more than 6 levels"),
        ("health", "x\ud800", InvalidRecord, "surrogate"),
        ("health", None, InvalidRecord, "new must be a string"),
        (3, "health", InvalidRecord, "old must be a string"),
    ],
)
def test_what_can_not_be_moved_is_refused_and_nothing_has_moved(url, old, new, error, says):
    with filled(url) as memory:
        before = memory.digest()
        with pytest.raises(error, match=says):
            memory.move_topic(old, new)
        assert memory.digest() == before
        with pytest.raises(InvalidRecord, match="must map old paths to new ones"):
            memory.refile([("a", "b")])


def test_a_place_that_is_not_its_topics_stops_the_move(url, tmp_path):
    with filled(url) as memory:
        content, place = memory._store.vectors(["b"])
        memory._store.add([memory.get("b")], content, place[:, ::-1] * 1, replace=True)
        with pytest.raises(InvalidScope, match=r"place of 1 records is not the one .*'b'"):
            memory.move_topic("health", "wellbeing")
        assert memory.move_topic("work", "job").records == 1


def test_a_memory_open_for_reading_moves_nothing(tmp_path):
    filled(tmp_path / "kb").close()
    with (
        open_(tmp_path / "kb", readonly=True) as memory,
        pytest.raises(StoreError, match="readonly"),
    ):
        memory.move_topic("health", "wellbeing")


def test_an_encrypted_memory_keeps_its_keys_and_moves_as_any(tmp_path):
    with open_(tmp_path / "kb", encryption="subject") as memory:
        memory.add(ROWS)
        memory.move_topic("health", "wellbeing")
        assert memory.forget(subject="ann").status == "erased"
    with open_(tmp_path / "kb") as memory:
        assert {r.id for r in memory.get_all()} == {"d", "e", "f"}


def test_a_name_that_is_too_long_to_be_given_can_be_moved_away(url):
    long = "n" * 70_000
    with open_(url) as memory:
        memory.add("an old note", ids="a", topic=f"{long}/b")
        with pytest.raises(InvalidRecord, match="has 70001 characters, and at most 65536"):
            memory.move_topic(long, f"{long}x")
        with pytest.raises(InvalidRecord, match="has 70000 characters, and at most 65536"):
            memory.refile({"a": long})
        assert memory.move_topic(long, "short").topics == {f"{long}/b": "short/b"}
        with pytest.raises(InvalidRecord, match="surrogate"):
            memory.move_topic("x\ud800", "y")
