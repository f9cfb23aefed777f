"""Broader and narrower: ranks that hold, no trace of the forgotten, and a head nobody gets into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from forgetnet import EncoderMismatch, ForgetNet, InvalidRecord, InvalidScope, Memory, StoreError
from forgetnet.encode import HashEncoder
from forgetnet.exact import quantise
from forgetnet.experts.expert import make_view
from forgetnet.heads import RidgeHead, TangentMap, exterior_angles, load_head
from tests.heads.kinship import Words, head, made

KEY = bytes(32)


@pytest.fixture
def memory():
    with Memory.open("memory://", encoder=Words(), key=KEY) as opened:
        opened.add(list(made().names), ids=list(made().names), topic="words")
        opened.head = head()
        yield opened


def names(memory: Memory, verb: str, id: str, k: int = 3) -> list[str]:
    return [hit.id for hit in getattr(memory, verb)(id, k)]


def test_ancestors_come_before_siblings_and_descendants_before_strangers(memory: Memory) -> None:
    found = []
    for leaf in made().leaves:
        wanted = {made().names[above] for above in made().ancestors[leaf]}
        found.append(set(names(memory, "broader", made().names[leaf], 2)) == wanted)
    assert np.mean(found) > 0.8
    assert set(names(memory, "narrower", "bird", 4)) == {"crow", "swan", "owl", "wren"}


def test_a_hit_tells_the_exterior_angle_and_ties_go_by_id(memory: Memory) -> None:
    hits = memory.broader("crow", k=100)
    assert len(hits) == len(made()) - 1 and "crow" not in {hit.id for hit in hits}
    tangents = {name: head().tangents(Words().encode([name]))[0] for name in made().names}
    for hit in hits[:5]:
        angle = exterior_angles(tangents[hit.id], tangents["crow"])[0]
        assert hit.distance == pytest.approx(angle, abs=1e-12)
        assert hit.text == hit.id and hit.topic == "words"
    memory.add(["crow", "crow"], ids=["z", "b"])
    again = [hit.id for hit in memory.narrower("bird", k=6)]
    assert again.index("b") < again.index("crow") < again.index("z")


def test_answers_are_the_twins_after_a_forget(memory: Memory) -> None:
    memory.forget(ids=["bird", "owl"])
    with Memory.open("memory://", encoder=Words(), key=KEY) as twin:
        kept = [name for name in reversed(made().names) if name not in {"bird", "owl"}]
        twin.add(kept, ids=kept, topic="words")
        for verb in ("broader", "narrower"):
            for id in ("crow", "tree"):
                ours = getattr(memory, verb)(id, 40)
                assert ours == getattr(twin, verb)(id, 40, head=head())
    with pytest.raises(InvalidRecord, match="no record that may be searched"):
        memory.broader("owl")


def test_what_has_expired_or_is_restricted_is_not_told(tmp_path: Path) -> None:
    now = [datetime(2030, 1, 1, tzinfo=UTC)]
    with Memory.open(tmp_path / "kb", encoder=Words(), key=KEY, clock=lambda: now[0]) as memory:
        memory.add(["crow", "bird", "animal"], ids=["crow", "bird", "animal"])
        memory.update("animal", expires_at=now[0] + timedelta(days=1))
        memory.head = head()
        assert set(names(memory, "broader", "crow")) == {"bird", "animal"}
        memory.restrict(ids=["bird"], reason="a check")
        assert names(memory, "broader", "crow") == ["animal"]
        with pytest.raises(InvalidRecord, match="may be searched"):
            memory.narrower("bird")
        now[0] += timedelta(days=2)
        assert names(memory, "broader", "crow") == []


def test_no_verb_of_a_user_changes_the_head(memory: Memory, tmp_path: Path) -> None:
    one = head(5)
    one.save(tmp_path / "head")
    before = one.pin, one.map.digest(), (tmp_path / "head" / "head.safetensors").read_bytes()
    weights = one.map.weight.tobytes(), one.map.bias.tobytes()

    with Memory.open(tmp_path / "kb", encoder=Words(), key=KEY) as kept:
        kept.head = tmp_path / "head"
        kept.add(["owl", "crow", "yew"], ids=["a", "b", "c"], subject="Ann")
        kept.broader("a")
        kept.update("a", "swan")
        kept.narrower("b")
        kept.hold(ids=["c"], reason="a matter")
        kept.lift(kept.holds()[0].name)
        kept.delete("c")
        kept.purge()
        kept.sweep()
        kept.forget(subject="Ann")
        kept.add(["owl", "crow"], ids=["d", "e"])
        kept.export(tmp_path / "all.jsonl")
        assert kept.head is not None and kept.head.digest() == before[1]
    with ForgetNet.open("memory://", encoder=Words(), progress=False) as model:
        model.fit(["owl", "oak", "eel"], ["x", "y", "x"], ids=["a", "b", "c"])
        model.forget(ids=["a"])
    ridge = RidgeHead(one, {"x": Words().encode(["animal"])[0]})
    codes = quantise(Words().encode(["owl"]))
    ridge.prepare(ridge.absorb(ridge.empty(), make_view(["a"], codes, ["x"], ["0" * 64])))

    again = load_head(tmp_path / "head", pin=before[0])
    files = (tmp_path / "head" / "head.safetensors").read_bytes()
    assert (again.pin, again.map.digest(), files) == before
    assert (one.map.weight.tobytes(), one.map.bias.tobytes()) == weights
    assert (one.pin, one.map.digest()) == before[:2]


def test_a_head_may_be_a_folder_a_map_or_what_a_ridge_solved(
    memory: Memory, tmp_path: Path
) -> None:
    head().save(tmp_path)
    plain = names(memory, "broader", "crow")
    memory.head = None
    for given in (tmp_path, str(tmp_path), head(), head().map):
        assert [hit.id for hit in memory.broader("crow", 3, head=given)] == plain


def test_without_a_head_it_says_how_to_get_one(memory: Memory) -> None:
    memory.head = None
    for verb in (memory.broader, memory.narrower):
        with pytest.raises(
            InvalidScope, match=r"needs a head; give head=.*forgetnet geometry train"
        ):
            verb("crow")


def test_a_head_for_another_encoder_is_refused(memory: Memory) -> None:
    other = TangentMap(head().map.weight.copy(), head().map.bias.copy(), "another")
    with pytest.raises(EncoderMismatch, match="trained for another encoder"):
        memory.head = other
    with pytest.raises(EncoderMismatch):
        memory.broader("crow", head=other)
    with Memory.open("memory://", encoder=HashEncoder(24)) as plain:
        plain.add("crow", ids="a")
        with pytest.raises(EncoderMismatch, match="train one for hash:24"):
            plain.narrower("a", head=head())
    assert memory.head is head().map


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"id": "nobody"}, InvalidRecord, "no record that may be searched has the id 'nobody'"),
        ({"id": 3}, InvalidRecord, "id must be a string"),
        ({"k": 0}, InvalidScope, "k must be at least 1"),
        ({"k": 1.5}, InvalidScope, "k must be a whole number"),
        ({"head": 3}, InvalidScope, "head= must be a head or the folder of one, not int"),
        ({"head": "nowhere"}, StoreError, "there is no head in nowhere"),
    ],
)
def test_a_wrong_argument_is_refused(memory: Memory, options, error, says: str) -> None:
    with pytest.raises(error, match=says):
        memory.broader(**{"id": "crow", **options})
