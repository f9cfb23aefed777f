"""The verifier finds what is there, sees what hides, and is silent only when all is gone."""

from __future__ import annotations

import ast
import json
import pickle
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import forgetnet.audit
from forgetnet.audit import residue
from forgetnet.audit.residue import Kind, Needles, Traces, scan, trace
from forgetnet.errors import InvalidRecord, InvalidScope, StoreCorrupt
from forgetnet.record import Record


def test_the_control_finds_everything_before(house: Any) -> None:
    found = house.look(*house.store.files(house.ids), alive=False)
    assert found.complete(house.traces)
    assert found.traces == {"id": 21, "text": 20, "subject": 1, "vector": 21, "key": 0}
    assert found.hits[Kind.SUBJECT] == 21 and not found.opaque and not found.absent()


def test_a_plain_delete_removes_nothing_and_writes_the_keys_once_more(house: Any) -> None:
    house.traces = house.traces.learn(house.look(alive=False).keys)
    assert house.traces.expected()[Kind.KEY] == 21
    before = house.look(alive=False)
    house.store.delete(house.ids)
    after = house.look()
    assert before.complete(house.traces) and after.complete(house.traces)
    assert after.hits[Kind.KEY] == 2 * before.hits[Kind.KEY] == 42


def test_a_purge_leaves_nothing(house: Any) -> None:
    house.traces = house.traces.learn(house.look(alive=False).keys)
    house.forget()
    for raw in (True, False):
        found = house.look(raw=raw)
        assert found.absent() and found.doubts() == [] and found.searched_raw is raw
        assert not any(found.hits.values()) and not any(found.explained.values())
        assert found.rows_seen == house.store.count() == 150


def test_a_look_at_nothing_shows_nothing(house: Any) -> None:
    files = house.store.files(house.ids)
    house.forget()
    found = house.look(*files)
    assert not found.absent() and found.files == 0
    assert set(found.missing) == {path.relative_to(house.root).as_posix() for path in files}


def test_a_control_that_searches_no_raw_bytes_sees_what_decoding_sees(house: Any) -> None:
    victim = house.store.get(house.ids[:1])[house.ids[0]]
    note = house.root / "note.json"
    note.write_text(json.dumps({"said": f"they told us: {victim.text}, and more"}))
    for paths in ([house.root], [note]):
        blind, told, raw = (
            scan(paths, house.traces, needles, root=house.root, raw=searched)
            for needles, searched in ((None, True), (house.needles, False), (house.needles, True))
        )
        assert told.decoded == blind.decoded and told.keys == blind.keys
        assert told.hits == blind.hits and told.traces == blind.traces
        assert not told.searched_raw and raw.searched_raw
        assert raw.hits[Kind.TEXT] > told.hits[Kind.TEXT]
        assert told.complete(house.traces) is (note not in paths)


def test_a_blind_look_fails_its_control(house: Any) -> None:
    piece, *rest = house.store.files(house.ids)
    assert not house.look(*rest, alive=False).complete(house.traces)
    assert not house.look(piece, alive=False).complete(house.traces)
    assert not house.look(alive=False).complete(Traces(house.SALT, ()))
    other = Traces(bytes(32), house.traces.items, house.DIM)
    assert not scan([house.root], other, root=house.root).complete(other)
    # Its bytes stand in a file that can't be decoded: a raw hit is no control.
    shutil.copy(piece / "data" / next((piece / "data").iterdir()).name, house.root / "copy.bin")
    raw = house.look(house.root / "copy.bin", alive=False)
    assert raw.traces[Kind.VECTOR] and not raw.decoded


def test_survivors_explain_what_they_hold_themselves(house: Any) -> None:
    same, mention = "Meet me at the old harbour, pier 9", "I saw Bartholomew today"
    house.add([Record(same, id="gone-record-1", subject="Bartholomew")], seed=7)
    own = Record(same, id="live-record-1", subject="Cecilia Vane", mentions=("Bartholomew",))
    kept = house.add([own], seed=7)
    house.add([Record(mention, id="live-record-2", derived_from=("gone-record-1",))], seed=8)
    house.choose(["gone-record-1"])
    assert house.look(alive=False).complete(house.traces)
    house.forget()
    found = house.look()
    assert found.absent()
    assert found.explained == {"id": 1, "text": 1, "subject": 1, "vector": 1, "key": 0}
    alone = house.look(alive=False)
    assert alone.traces == {"id": 1, "text": 1, "subject": 1, "vector": 1, "key": 0}
    # A live id explains neither a forgotten id nor a forgotten key.
    traces = trace(kept, house.store.vectors(["live-record-1"])[0], salt=house.SALT)
    traces = traces.learn(scan([house.root], traces, root=house.root).keys)
    blamed = scan([house.root], traces, root=house.root, survivors=lambda _: True)
    assert blamed.hits == {"id": 1, "text": 0, "subject": 0, "vector": 0, "key": 1}


def test_the_memorys_own_words_can_be_forgotten(house: Any) -> None:
    host = f"process 7 on {socket.gethostname()}"
    words = ["sequence", "derived_from", "timestamp:us:UTC", "id", "lance", "01", "1", "key", host]
    words += ["manifest.json", "fixed_size_list:float:32", "0011010111", "_versions", "PageLayout"]
    words += ["/lance.encodings21.PageLayout", "H" * 40, "\0" * 20, "a model of letters"]
    made = house.add([Record(word, id=f"w{i}", subject=word) for i, word in enumerate(words)], 5)
    house.choose([record.id for record in made])
    assert house.look(*house.store.files(house.ids), alive=False).complete(house.traces)
    house.forget()
    (house.root / "small").mkdir()
    (house.root / "small/lock").write_text(host)
    (house.root / "forgetnet.json").write_text(json.dumps({"encoder": "a model of letters"}))
    (house.root / "small/manifest.json").write_text(json.dumps({"leaves": {"0011010111": {}}}))
    assert house.look().doubts() == []
    (house.root / "other.json").write_text(json.dumps({"encoder": "a model of letters"}))
    assert house.look().traces[Kind.TEXT] == 1


def test_a_caller_may_name_further_words(house: Any) -> None:
    house.forget()
    told = [Record("erased for good")]
    house.traces, house.needles = trace(told, salt=house.SALT), Needles(told, salt=house.SALT)
    (house.root / "log.json").write_text(json.dumps({"phrase": "erased for good"}))
    for own, absent in (((), False), (["erased"], False), (["all erased for good"], False)):
        found = scan([house.root], house.traces, house.needles, root=house.root, words=own)
        assert found.absent() is absent
    own = ["erased for good"]
    assert scan([house.root], house.traces, house.needles, root=house.root, words=own).absent()


def test_a_needle_across_two_readings_is_found(house: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residue, "_CHUNK", 100)
    for shift in range(0, 110, 10):
        (house.root / "stray.bin").write_bytes(b"-" * shift + house.SUBJECT.encode() + b"-" * 50)
        assert house.look(house.root / "stray.bin").hits[Kind.SUBJECT] == 1


def test_short_values_are_compared_as_cells_only(house: Any) -> None:
    made = house.add([Record("ok", id="k1", subject="Bo"), Record("ok then", subject="Al")], 5)
    house.choose(["k1"])
    assert house.needles is not None and house.needles.short == 3
    assert house.look(alive=False).complete(house.traces)
    house.forget()
    found = house.look()
    assert made[1].id in house.store.get([made[1].id])
    assert found.absent() and found.short == 3


hostile = st.text(min_size=1, max_size=40) | st.sampled_from(
    ["x' OR 1=1 --", "\0", "\0" * 30, 'quo"te', "a\nb", "🍇" * 300, "é" * 700, "' '", "\\u0041"]
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(hostile, hostile), min_size=2, max_size=12, unique_by=lambda pair: pair[0]),
    st.integers(1, 3),
    st.data(),
)
def test_any_record_is_found_before_and_gone_after(
    tmp_path_factory: pytest.TempPathFactory,
    building: Callable[..., Any],
    pairs: list[tuple[str, str]],
    batches: int,
    data: st.DataObject,
) -> None:
    house = building(tmp_path_factory.mktemp("any") / "kb", cap=4)
    records = [Record(text, id=text, subject=subject) for text, subject in pairs]
    for seed in range(batches):
        if part := records[seed::batches]:
            house.add(part, seed)
    chosen = data.draw(st.sets(st.sampled_from([r.id for r in records]), min_size=1))
    house.choose(sorted(chosen))
    house.traces = house.traces.learn(house.look(alive=False).keys)
    assert house.look(*house.store.files(house.ids), alive=False).complete(house.traces)
    house.store.delete(house.ids)
    assert house.look().hits[Kind.KEY] >= 2 * len(chosen)
    house.store.purge()
    assert house.look().doubts() == []
    house.store.close()


# -- what is passed around


def test_traces_go_into_a_journal_and_hold_nothing_plain(house: Any) -> None:
    house.traces = house.traces.learn(house.look(alive=False).keys)
    written = json.dumps(house.traces.to_plain())
    assert Traces.from_plain(json.loads(written)) == house.traces
    assert "ada-record" not in written and "canary" not in written
    for damage in (None, {}, {"salt": "00", "dim": 1, "records": []}, {"records": [1]}):
        with pytest.raises(StoreCorrupt):
            Traces.from_plain(damage)


def test_needles_are_never_written(house: Any) -> None:
    assert house.needles is not None
    with pytest.raises(TypeError):
        pickle.dumps(house.needles)
    shown = repr(house.needles) + repr(house.traces) + repr(house.look(alive=False))
    assert "canary" not in shown and house.SUBJECT not in shown and house.SALT.hex() not in shown


def test_bad_arguments_are_refused(house: Any, vectors: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidRecord, match="salt"):
        trace([Record("a text", id="a")], salt=b"short")
    with pytest.raises(InvalidRecord, match="vectors"):
        trace([Record("a text", id="a")], vectors(2, 0), salt=house.SALT)
    with pytest.raises(InvalidScope):
        house.look(tmp_path)


def test_progress_is_told_after_each_file(house: Any) -> None:
    told: list[tuple[int, int]] = []
    note = {"progress": lambda done, total: told.append((done, total))}
    found = scan([house.root], house.traces, root=house.root, **note)
    assert told == [(i + 1, found.files) for i in range(found.files)]


def test_the_verifier_is_other_code_than_the_deleter() -> None:
    folder = Path(forgetnet.audit.__file__).parent
    allowed = {"forgetnet.audit", "forgetnet.errors"}
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            ours = [name for name in names if name.startswith("forgetnet")]
            assert all(any(n == a or n.startswith(f"{a}.") for a in allowed) for n in ours), path
