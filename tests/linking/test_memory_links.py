"""Links of a memory follow what is live: bit for bit those of the twin that never had the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet import InvalidRecord, InvalidScope, Memory, Record
from forgetnet.encode import HashEncoder
from forgetnet.linking import Linked
from forgetnet.taxonomy import Taxonomy

KEY = bytes(range(32))
START = datetime(2030, 1, 1, tzinfo=UTC)
DIM = 8
TOPICS = ["health", "health/allergies", "health/allergies/nuts", "work", "work/acme"]


def rows(n: int, seed: int, pool: int = 0) -> list[Record]:
    """Draw records, half of them with a topic; from a pool, so that many vectors are equal."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(pool or n, DIM)).astype(np.float32)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return [
        Record(
            None,
            id=f"r{i:03}",
            subject=f"s{rng.integers(5)}",
            topic=TOPICS[rng.integers(5)] if rng.random() < 0.5 else None,
            vector=drawn[rng.integers(pool)] if pool else drawn[i],
        )
        for i in range(n)
    ]


def open_(path: str | Path = "memory://", **more: object) -> Memory:
    options = {"encoder": f"vectors:{DIM}", "key": KEY, "clock": lambda: START, **more}
    return Memory.open(path, **options)


def twin_of(memory: Memory, **linking: object) -> str:
    with open_() as twin:
        twin.add([memory.get(r.id, vector=True) for r in memory.get_all()])
        try:
            return twin.link(**linking).digest()
        except InvalidRecord:
            return ""


LINKING = st.fixed_dictionaries(
    {"method": st.sampled_from(["knn", "centroid"]), "k": st.sampled_from([None, 1, 2, 9])}
)


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), LINKING, st.sampled_from([0, 5]), st.data())
def test_after_any_history_links_are_those_of_the_twin(seed, linking, pool, data):
    with open_() as memory:
        records = rows(24, seed, pool)
        memory.add(records[:16])
        try:
            memory.link(**linking)
        except InvalidRecord:  # by chance, one topic only
            return
        for i in range(data.draw(st.integers(1, 4))):
            live = [r.id for r in memory.get_all()]
            chosen = data.draw(st.lists(st.sampled_from(live), min_size=1, max_size=3, unique=True))
            kind = data.draw(
                st.sampled_from(["forget", "forget", "delete", "add", "update", "move"])
            )
            if kind == "forget":
                held = len(
                    part_of(memory)._state.prints.keys() & set(chosen)
                )  # not what came since
                receipt = memory.forget(ids=chosen)
                assert receipt.status == "erased"
                surface = next(s for s in receipt.surfaces if s.name == "links")
                assert surface.count == held
                assert surface.status == ("erased" if held else "not_found")
                assert not set(chosen) & set(memory.links().ids)
            elif kind == "delete":
                memory.delete(chosen)
            elif kind == "add":
                memory.add(records[16 + 2 * i : 18 + 2 * i])
            elif kind == "update":
                memory.update(chosen[0], topic=data.draw(st.sampled_from([*TOPICS, None])))
            elif "work" in {t.partition("/")[0] for t in memory.topics()}:
                memory.move_topic("work", "job")
                memory.move_topic("job", "work")
            if data.draw(st.booleans()):
                memory.links()
            if not memory.count():
                return
        links = memory.links()
        wanted = twin_of(memory, **linking)
        assert links.digest() == wanted if wanted else not len(links)


def part_of(memory: Memory) -> Linked:
    return next(p for p in memory._office.components if isinstance(p, Linked))


@pytest.mark.parametrize("method", ["knn", "centroid"])
def test_only_what_an_exemplar_voted_on_is_linked_anew(method, monkeypatch):
    with open_() as memory:
        memory.add(rows(200, 3))
        memory.link(method=method)
        part = part_of(memory)
        asked: list[int] = []
        real = part.linker.near
        monkeypatch.setattr(
            type(part.linker), "near", lambda self, v, known: asked.append(len(v)) or real(v, known)
        )
        state = part._state
        gone = state.exemplars.names[7]
        voted = (state.slots == 7).any(axis=1).sum()
        memory.forget(ids=gone, verify="touched")
        assert sum(asked) == (len(state.ids) if method == "centroid" else voted)
        memory.forget(ids=state.ids[:3], verify="touched")
        assert sum(asked) == (len(state.ids) if method == "centroid" else voted)
        assert memory.links().digest() == twin_of(memory, method=method)
        assert gone not in part._state.prints and gone not in part._state.known.names


def test_the_vectors_of_a_forgotten_exemplar_are_overwritten():
    with open_() as memory:
        memory.add(rows(40, 3))
        memory.link()
        exemplars = part_of(memory)._state.exemplars
        memory.forget(ids=exemplars.names[0])
        assert not exemplars.codes[0].any() and exemplars.codes[1].any()


def test_a_look_that_finds_links_left_says_so():
    with open_() as memory:
        memory.add(rows(40, 3))
        memory.link()
        part_of(memory).hide = lambda ids: None
        gone = next(r.id for r in memory.get_all() if r.topic)
        receipt = memory.forget(ids=gone)
        assert receipt.status == "failed"
        assert next(s for s in receipt.surfaces if s.name == "links").status == "failed"


def test_a_vote_that_is_left_out_is_found_by_linking_anew(monkeypatch):
    with open_() as memory:
        memory.add(rows(40, 3))
        memory.link(k=3)
        part = part_of(memory)
        gone = part._state.exemplars.names[0]
        monkeypatch.setattr(part, "_near", lambda ids, known: real(ids, known, wrong=True))

        def real(ids, known, *, wrong):
            slots, scores = Linked._near(part, ids, known)
            return slots[:, ::-1].copy(), scores

        assert memory.forget(ids=gone).status == "failed"


def test_what_is_restricted_or_expired_is_not_linked_and_does_not_vote():
    moments = [START]
    with open_(clock=lambda: moments[-1]) as memory:
        records = rows(30, 5)
        memory.add(records)
        end = START + timedelta(days=1)
        memory.add([Record(None, id="x", topic="work", vector=records[0].vector, expires_at=end)])
        memory.link()
        hidden = [r.id for r in records[:8]]
        mark = memory.restrict(ids=hidden)
        moments.append(end)
        links = memory.links()
        assert not {*hidden, "x"} & set(links.ids)
        with open_() as twin:
            twin.add(records[8:])
            assert twin.link().digest() == links.digest()
        memory.lift(mark.name)
        with open_() as twin:
            twin.add(records)
            assert twin.link().digest() == memory.links().digest()


def test_links_to_a_topic_are_one_for_each_record_under_it_and_nothing_is_written(tmp_path):
    with open_(tmp_path / "kb") as memory:
        memory.add(rows(60, 1))
        before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
        links = memory.link()
        assert memory.links(under="health").linked == tuple(
            sorted({link.id for link in links if link.topic.startswith("health")})
        )
        assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
        assert all(memory.get(link.id).topic is None for link in links)
    with open_(tmp_path / "kb", readonly=True) as memory:
        with pytest.raises(InvalidScope, match="call link"):
            memory.links()
        assert memory.link().digest() == links.digest()


def test_chosen_exemplars_vote_alone_and_a_taxonomy_says_what_lies_above_them():
    with open_() as memory:
        records = rows(60, 2)
        memory.add(records)
        some = [r.id for r in records if r.topic in {"work", "health/allergies"}][:8]
        assert set(memory.link(exemplars=some).concepts) == {"work", "health", "health/allergies"}
        graph = Taxonomy.edges([("health", "allergies"), ("food", "allergies")])
        links = memory.link(graph, exemplars=some)
        assert set(links.concepts) == {
            "work", "health", "food", "health/allergies", "food/allergies",
        }  # fmt: skip
        found = {t: set(links.under(t).linked) for t in links.concepts}
        assert found["food"] == found["health"] == found["food/allergies"]


def test_the_concepts_of_a_public_taxonomy_vote_by_name_and_gloss():
    with Memory.open("memory://", encoder="hash:64", key=KEY) as memory:
        memory.add(["allergies to nuts", "the clients of the firm"], ids=["a", "b"])
        told = Taxonomy.everyday()
        links = memory.link(told, k=1)
        assert {link.topic for link in links.of("a")} <= set(told.topics())
        assert len(links.of("a")) >= 1
        before = links.digest()
        memory.add("nuts and clients", ids="c", topic="work/clients")  # has a topic: no change
        assert memory.links().digest() == before
        memory.forget(ids="b")
        assert memory.links().ids == ("a",)


@pytest.mark.parametrize("method", ["knn", "centroid"])
def test_a_forgotten_record_takes_no_public_concept_along_that_has_its_id_for_a_name(method):
    told = Taxonomy.of(["health", "work", "sport"], {"work": "note work"})

    def noted(*ids: str) -> Memory:
        memory = Memory.open("memory://", encoder="hash:64", key=KEY)
        memory.add([f"{i} work note" for i in ids], ids=ids)
        return memory

    with noted("work", "b", "c") as memory, noted("b", "c") as twin:
        memory.link(told, k=1, method=method)
        assert memory.forget(ids="work").status == "erased"
        links = memory.links()
        assert links.digest() == twin.link(told, k=1, method=method).digest()
        assert {link.topic for link in links} == {"work"}


def test_others_are_answered_while_a_taxonomy_is_encoded(monkeypatch):
    held: list[bool] = []
    real = HashEncoder.encode
    with Memory.open("memory://", encoder="hash:64", key=KEY) as memory:
        memory.add("nuts", ids="a")

        def encode(self, texts, **more):
            held.append(memory._lock._is_owned())
            return real(self, texts, **more)

        monkeypatch.setattr(HashEncoder, "encode", encode)
        assert memory.link(Taxonomy.everyday(), k=1).ids == ("a",)
    assert held and not any(held)


def test_links_under_a_concept_that_lies_deeper_than_records_may():
    deep = Taxonomy.edges([("", "l0"), ("", "other"), *((f"l{i}", f"l{i + 1}") for i in range(9))])
    path = "/".join(f"l{i}" for i in range(9))
    with Memory.open("memory://", encoder="hash:64", key=KEY) as memory:
        memory.add("l8 l8", ids="a")
        assert path in {link.topic for link in memory.link(deep, k=1)}
        assert memory.links(under=path).linked == memory.links(under="l0/l1").linked == ("a",)


def test_an_exemplars_own_topic_is_voted_for_where_a_taxonomy_files_it_elsewhere():
    """A name in a list of edges is a key, and no path, unless it is at the top."""
    told = Taxonomy.edges([("food", "nuts"), ("", "work")])
    with Memory.open("memory://", encoder="hash:64", key=KEY) as memory:
        memory.add(["hazel nuts", "pea nuts"], ids=["a", "b"], topic="nuts")
        memory.add(["client call", "client paid"], ids=["c", "d"], topic="work")
        memory.add("more nuts", ids="n")
        links = memory.link(told, exemplars=["a", "b", "c", "d"])
        assert [link.topic for link in links.of("n")] == ["food", "food/nuts", "nuts"]
        assert memory.links(under="nuts").linked == ("n",)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"taxonomy": {"health": {}}}, "must be a Taxonomy, not dict"),
        ({"exemplars": ["nobody"]}, "1 exemplars aren't stored, or have no topic .'nobody'"),
        ({"exemplars": ["b"]}, "have no topic"),
        ({"exemplars": ["a"]}, "fewer than two topics"),
        ({"k": 0}, "k must be at least 1"),
        ({"progress": "no"}, "progress= must be True or False"),
        ({"taxonomy": Taxonomy.everyday()}, "has no encoder"),
    ],
)
def test_what_can_not_be_linked_is_refused_and_links_stay_as_they_were(options, says):
    with open_() as memory:
        vector = np.eye(DIM, dtype=np.float32)
        memory.add(
            [
                Record(None, id="a", topic="x", vector=vector[0]),
                Record(None, id="b", vector=vector[1]),
                Record(None, id="c", topic="y/z", vector=vector[2]),
            ]
        )
        before = memory.link(k=1).digest()
        with pytest.raises(InvalidRecord, match=says):
            memory.link(**options)
        assert memory.links().digest() == before
        with pytest.raises(InvalidRecord, match="name is empty"):
            memory.links(under="x//y")


def test_one_topic_tells_nothing_apart():
    with open_() as memory:
        memory.add([r for r in rows(20, 1) if r.topic in {None, "work"}])
        with pytest.raises(InvalidRecord, match="fewer than two topics"):
            memory.link()
        with pytest.raises(InvalidScope, match="call link"):
            memory.links()
