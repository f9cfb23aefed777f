"""The file of a scope says nothing in words, comes back as it was, and is refused once altered."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from forgetnet import InvalidScope, Memory, StoreError
from forgetnet.forget.strict import read as strictly
from forgetnet.meaning import Scope
from tests.meaning.ground import filled, opened, query, records


@pytest.fixture
def kept(tmp_path: Path):
    with filled() as memory:
        scope = memory.scope(query()).drop("allergies-1").add("travel-2").confirm()
        scope.save(tmp_path / "scope.json")
        yield memory, scope, tmp_path / "scope.json"


def test_a_scope_comes_back_as_it_was_and_only_its_owner_may_read_it(kept):
    memory, scope, path = kept
    again = Scope.load(path, memory)
    assert again.digest == scope.digest and again.ids == scope.ids and again.confirmed
    assert again.margins == scope.margins and again.miss == scope.miss
    assert path.stat().st_mode & 0o077 == 0
    alone = Scope.load(path)
    assert alone.drop("allergies-2").confirm().digest != scope.digest
    for call in (alone.samples, alone.plan, lambda: alone.add("travel-1")):
        with pytest.raises(InvalidScope, match=r"Scope.load\(path, memory\)"):
            call()
    assert memory.forget(scope=alone).status == "erased"  # the memory itself looks at the seal


def test_no_text_no_topic_and_no_query_is_in_the_file_unless_that_was_asked_for(tmp_path):
    with Memory.open("memory://", encoder="hash:32") as memory:
        memory.add([f"private illness {i}" for i in range(30)], topic="secret/topic")
        memory.add([f"other {i}" for i in range(30)], topic="else")
        scope = memory.scope("private illness")
        assert scope.topics == ("secret/topic",)
        scope.save(tmp_path / "scope.json")
        said = (tmp_path / "scope.json").read_text()
        assert not any(word in said for word in ("private", "illness", "secret", "else"))
        assert Scope.load(tmp_path / "scope.json").opening is None
        with pytest.raises(InvalidScope, match="without query=True"):
            Scope.load(tmp_path / "scope.json").save(tmp_path / "b.json", query=True)
        scope.save(tmp_path / "told.json", query=True)
        assert Scope.load(tmp_path / "told.json").opening == scope.opening


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a value in plain JSON."""
    if isinstance(value, dict):
        return [p for k, v in value.items() for p in paths(v, (*at, k))] or [at]
    if isinstance(value, list):
        return [at, *(p for i, v in enumerate(value[:2]) for p in paths(v, (*at, i)))]
    return [at]


def other(value: Any) -> list[Any]:
    """What might stand there instead."""
    if isinstance(value, bool):
        return [not value, 1, None]
    if isinstance(value, int):
        return [value + 1, -1, 0.5, "1", None]
    if isinstance(value, str):
        return ["", value[:-1], value + "0", value.replace("a", "b", 1) + "x", 3, None]
    return [None, {}, [[]], "x"] if isinstance(value, list) else [{}, [], 1]


def test_whatever_is_altered_in_a_file_is_refused(kept, tmp_path):
    memory, _, path = kept
    told = strictly(path.read_bytes(), "a scope")
    changed = tmp_path / "changed.json"
    tried = 0
    for place in paths(told):
        for value in other(_get(told, place)):
            bad = copy.deepcopy(told)
            _put(bad, place, value)
            if place == ("confirmed",) and isinstance(value, bool):
                continue  # what stands there is the holder's own word
            changed.write_text(json.dumps(bad))
            with pytest.raises(InvalidScope):
                Scope.load(changed, memory)
            tried += 1
        bad = copy.deepcopy(told)
        if isinstance(place[-1], str):
            del _get(bad, place[:-1])[place[-1]]
            changed.write_text(json.dumps(bad))
            with pytest.raises(InvalidScope):
                Scope.load(changed, memory)
    assert tried > 100


def _get(value: Any, place: tuple[Any, ...]) -> Any:
    for key in place:
        value = value[key]
    return value


def _put(value: Any, place: tuple[Any, ...], what: Any) -> None:
    _get(value, place[:-1])[place[-1]] = what


@pytest.mark.parametrize("seal", ["kept", "made up"])
def test_one_who_alters_it_and_its_digest_lacks_the_key(kept, tmp_path, seal):
    memory, scope, path = kept
    told = strictly(path.read_bytes(), "a scope")
    print_of = {one.id: one.print for one in (*scope.proposed, *scope.below)}
    victim = scope.below[0].id
    told["proposed"].append([victim, scope.threshold.hex(), print_of[victim]])
    told["below"] = [row for row in told["below"] if row[0] != victim]
    if seal == "made up":
        told["seal"] = "ab" * 32
    bad = tmp_path / "bad.json"
    bad.write_text(json.dumps(told))
    with pytest.raises(InvalidScope, match="digest") as refused:
        Scope.load(bad)
    assert "private" not in str(refused.value)
    from dataclasses import replace  # the digest that the altered file should have

    loaded = Scope.load(path)
    forged = replace(
        loaded,
        proposed=(*loaded.proposed, loaded.below[0]._replace(margin=loaded.threshold)),
        below=loaded.below[1:],
        seal=told["seal"],
    )
    told["digest"] = forged.digest
    bad.write_text(json.dumps(told))
    with pytest.raises(InvalidScope, match="another memory, or has been altered"):
        Scope.load(bad, memory)
    with pytest.raises(InvalidScope, match="has been altered"):
        memory.forget(scope=Scope.load(bad).confirm())
    assert memory.count() == 160


def test_a_foreign_file_and_none_at_all_are_refused(kept, tmp_path):
    _, scope, path = kept
    with opened(key=b"k" * 32) as foreign:
        foreign.add(records())
        with pytest.raises(InvalidScope, match="another memory"):
            Scope.load(path, foreign)
    for content in (b"", b"{}", b"[1]", b"\xff", b'{"format": 1, "format": 2}', b"[" * 10_000):
        path.write_bytes(content)
        with pytest.raises(InvalidScope, match="is no scope, or was altered"):
            Scope.load(path)
    for wrong in (tmp_path / "nowhere.json", tmp_path, 3, None, "x\0"):
        with pytest.raises(InvalidScope):
            Scope.load(wrong)
    with pytest.raises(StoreError, match="can't write the scope"):
        scope.save(tmp_path / "no" / "folder.json")
