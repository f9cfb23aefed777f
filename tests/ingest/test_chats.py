"""Exports of chats: who said it, where, when; every message once, in order."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from forgetnet.ingest import Fault, count_hint, detect, read
from forgetnet.record import Record


def split(items) -> tuple[list[Record], list[Fault]]:
    items = list(items)
    records = [item for item in items if isinstance(item, Record)]
    return records, [item for item in items if isinstance(item, Fault)]


def wrote(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------- ChatGPT


def node(name: str, role: str | None, parts: list[Any] | None, **content: Any) -> dict[str, Any]:
    message = None
    if role is not None:
        said = {"content_type": "text", "parts": parts} if parts is not None else content
        message = {
            "id": name,
            "author": {"role": role, "name": None, "metadata": {}},
            "create_time": 1715169600.25,
            "content": said,
            "metadata": {"model_slug": "m-1"} if role == "assistant" else {},
        }
    return {"id": name, "message": message, "parent": None, "children": []}


def test_chatgpt_gives_every_branch_and_passes_by_the_scaffold(tmp_path) -> None:
    nodes = [
        node("root", None, None),
        node("sys", "system", [""]),
        node("q", "user", ["How do I bake bread?"]),
        node("a1", "assistant", ["With flour."]),
        node("a2", "assistant", ["With patience.", {"text": "And salt."}, {"asset": "img"}]),
        node("code", "assistant", None, content_type="code", text="print(1)"),
        node("pic", "user", [{"content_type": "image_asset_pointer"}]),
    ]
    mapping = {item["id"]: item for item in nodes}
    talks = [
        {"title": "Bread/rolls", "mapping": mapping, "conversation_id": "c-1"},
        {"title": None, "mapping": {"x": node("x", "user", ["And cake?"])}, "id": "c-2"},
        {"title": "not one"},
    ]
    path = wrote(tmp_path / "conversations.json", talks)
    assert detect(path) == "chatgpt"
    records, faults = split(read(path))
    assert [(r.id, r.subject, r.text) for r in records] == [
        ("q", "user", "How do I bake bread?"),
        ("a1", "assistant", "With flour."),
        ("a2", "assistant", "With patience.\nAnd salt."),
        ("code", "assistant", "print(1)"),
        ("x", "user", "And cake?"),
    ]
    assert [r.topic for r in records] == ["Bread+rolls"] * 4 + [None]
    assert records[0].created_at == datetime(2024, 5, 8, 12, 0, 0, 250_000, tzinfo=UTC)
    assert dict(records[1].metadata) == {"conversation": "c-1", "model": "m-1"}
    assert dict(records[3].metadata)["kind"] == "code"
    assert len(faults) == 2  # the picture, and the conversation without messages


# -------------------------------------------------------------------------------------- LoCoMo


def sample(name: str, *, late: bool = False) -> dict[str, Any]:
    turn = {"speaker": "Kim", "dia_id": "D1:1", "text": "I planted beans."}
    talk = {
        "speaker_a": "Kim",
        "speaker_b": "Lou",
        "session_1_date_time": "1:56 pm on 8 May, 2023",
        "session_1": [turn, {"speaker": "Lou", "dia_id": "D1:2", "text": "Which kind?"}],
        "session_10": [{"speaker": "Lou", "dia_id": "D10:1", "text": "Still green?"}],
        "session_2_date_time": "12:09 am on 13 September, 2023",
        "session_2": [turn | {"dia_id": "D2:1", "text": "Runner.", "blip_caption": "a bean"}],
    }
    questions = {"qa": [{"question": "What?", "answer": "Beans", "evidence": ["D1:1"]}] * 3}
    if late:
        return {**questions, "conversation": talk, "sample_id": name}
    return {"sample_id": name, "conversation": talk, **questions}


@pytest.mark.parametrize("late", [False, True])
def test_locomo_keeps_people_of_two_conversations_apart(tmp_path, late) -> None:
    path = wrote(tmp_path / "l.json", [sample("s1", late=late), sample("s2", late=late)])
    assert detect(path) == "locomo"
    records, faults = split(read(path))
    assert not faults
    assert [r.id for r in records[:4]] == ["s1/D1:1", "s1/D1:2", "s1/D2:1", "s1/D10:1"]
    assert {r.subject for r in records} == {"s1:Kim", "s1:Lou", "s2:Kim", "s2:Lou"}
    assert records[2].topic == "s1/session_2"
    assert records[0].created_at == datetime(2023, 5, 8, 13, 56, tzinfo=UTC)
    assert records[3].created_at is None
    assert dict(records[2].metadata) == {"dia_id": "D2:1", "blip_caption": "a bean"}
    bare, _ = split(read(path, qualify_speakers=False))
    assert {r.subject for r in bare} == {"Kim", "Lou"}


def test_locomo_may_be_one_sample_and_parts_of_it_broken(tmp_path) -> None:
    one = sample("s1")
    assert len(split(read(wrote(tmp_path / "one.json", one)))[0]) == 4
    one["conversation"]["session_1"][0] = "SECRET"
    one["conversation"]["session_2"][0]["text"] = ""
    one["conversation"]["session_10"] = "SECRET"
    path = wrote(tmp_path / "two.json", [one, {"sample_id": 3}, sample("s2")])
    records, faults = split(read(path))
    assert [r.id for r in records[:1]] == ["s1/D1:2"]
    assert len(records) == 5
    assert len(faults) == 4
    assert "SECRET" not in str(faults)


# --------------------------------------------------------------------------------------- Slack


@pytest.fixture
def slack(tmp_path) -> Path:
    users = [
        {"id": "U1", "name": "ann", "profile": {"real_name": "Ann A."}},
        {"id": "U2", "name": "bob"},
    ]
    wrote(tmp_path / "users.json", users)
    wrote(tmp_path / "channels.json", [{"name": "general"}])
    wrote(
        tmp_path / "general" / "2024-05-08.json",
        [
            {"type": "message", "user": "U1", "text": "hi <@U2|bob>", "ts": "1715169600.000100"},
            {"type": "message", "user": "U2", "text": "hello", "ts": "1715169601.000200"},
            {"type": "message", "user": "U2", "text": "", "ts": "1715169602.0", "files": [{}]},
        ],
    )
    wrote(
        tmp_path / "general" / "2024-05-09.json",
        [{"user": "U9", "text": "?", "ts": "1715256000.1"}],
    )
    wrote(tmp_path / "dogs" / "2024-05-08.json", [{"username": "bot", "text": "woof", "ts": "bad"}])
    wrote(tmp_path / "general" / "canvas.json", [{"text": "no day"}])
    return tmp_path


def test_slack_names_people_and_channels(slack) -> None:
    assert detect(slack) == "slack"
    told: list[int] = []
    records, faults = split(read(slack, on_bytes=told.append))
    assert [(r.topic, r.subject, r.text) for r in records] == [
        ("dogs", "bot", "woof"),
        ("general", "ann", "hi <@U2|bob>"),
        ("general", "bob", "hello"),
        ("general", "U9", "?"),
    ]
    assert records[1].id == "general/1715169600.000100"
    assert records[1].created_at == datetime(2024, 5, 8, 12, 0, 0, 100, tzinfo=UTC)
    assert records[1].mentions == ("bob",)
    assert records[1].metadata["user"] == "U1"
    assert [(fault.file, "empty" in fault.reason) for fault in faults] == [
        ("general/2024-05-08.json", True)
    ]
    assert sum(told) == count_hint(slack)


def test_slack_goes_on_after_a_broken_day(slack) -> None:
    (slack / "dogs" / "2024-05-08.json").write_text('[{"text": "SECRET')
    records, faults = split(read(slack))
    assert len(records) == 3
    assert [fault.file for fault in faults] == ["dogs/2024-05-08.json", "general/2024-05-08.json"]
    assert "SECRET" not in str(faults)


# ------------------------------------------------------------------------------------ Telegram


def chat(name: str | None, number: int) -> dict[str, Any]:
    return {
        "name": name,
        "type": "personal_chat",
        "id": number,
        "messages": [
            {
                "id": 1,
                "type": "service",
                "date": "2024-05-08T12:00:00",
                "actor": "Ann",
                "action": "x",
            },
            {
                "id": 2,
                "type": "message",
                "date": "2024-05-08T14:00:00",
                "date_unixtime": "1715169600",
                "from": "Ann",
                "from_id": "user1",
                "text": ["see ", {"type": "link", "text": "example.org"}, "!"],
                "text_entities": [{"type": "plain", "text": "see "}],
            },
            {
                "id": 3,
                "type": "message",
                "date": "2024-05-08T12:00:01",
                "from_id": "user2",
                "text": "ok",
            },
            {"id": 4, "type": "message", "date": "2024-05-08T12:00:02", "from": "Ann", "text": ""},
        ],
    }


@pytest.mark.parametrize("whole", [False, True])
def test_telegram_reads_one_chat_or_all(tmp_path, whole) -> None:
    chats = [chat("Ann/B", 7), chat(None, 8)]
    everything = {"about": "x", "contacts": {"list": [{"n": 1}]}, "chats": {"list": chats}}
    path = wrote(tmp_path / "result.json", everything if whole else chats[0])
    assert detect(path) == "telegram"
    records, faults = split(read(path))
    first = [(r.id, r.subject, r.topic, r.text) for r in records[:2]]
    assert first == [
        ("7/2", "Ann", "Ann+B", "see example.org!"),
        ("7/3", "user2", "Ann+B", "ok"),
    ]
    assert records[0].created_at == datetime(2024, 5, 8, 12, 0, tzinfo=UTC)
    assert dict(records[0].metadata) == {"chat": 7, "from_id": "user1"}
    assert len(records) == (4 if whole else 2)
    assert len(faults) == (2 if whole else 1)
    if whole:
        assert (records[2].id, records[2].topic) == ("8/2", "personal_chat")


# ------------------------------------------------------------------------------------ WhatsApp


def whatsapp(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_whatsapp_with_brackets_month_first(tmp_path) -> None:
    path = whatsapp(
        tmp_path / "_chat.txt",
        "\u200e[12/31/23, 9:15:03\u202fPM] Ann: \u200eMessages are encrypted.",
        "[12/31/23, 9:15:04\u202fPM] Ann: happy new",
        "year: to all",
        "",
        "of you",
        "[1/1/24, 12:00:00\u202fAM] Bob B.: <attached: photo.jpg>",
        "[1/1/24, 12:01:00\u202fAM] Bob B.: <3",
    )
    assert detect(path) == "whatsapp"
    records, faults = split(read(path))
    assert [(r.subject, r.text) for r in records] == [
        ("Ann", "happy new\nyear: to all\n\nof you"),
        ("Bob B.", "<3"),
    ]
    assert records[0].created_at == datetime(2023, 12, 31, 21, 15, 4, tzinfo=UTC)
    assert records[1].created_at == datetime(2024, 1, 1, 0, 1, tzinfo=UTC)
    assert [fault.line for fault in faults] == [1, 6]


def test_whatsapp_with_dashes_day_first(tmp_path) -> None:
    path = whatsapp(
        tmp_path / "WhatsApp Chat with Book club.txt",
        "1/2/2024, 21:14 - Messages and calls are encrypted. Nobody can read them.",
        "1/2/2024, 21:15 - Ann: chapter 3",
        "31/2/2024, 21:16 - Bob: no such day",
        "29/2/2024, 21:16 - +49 170 1234567: done",
        "29/2/2024, 21:17 - Ann: <Media omitted>",
    )
    records, faults = split(read(path))
    assert [(r.subject, r.text, r.topic) for r in records] == [
        ("Ann", "chapter 3", "Book club"),
        ("+49 170 1234567", "done", "Book club"),
    ]
    assert records[0].created_at == datetime(2024, 2, 1, 21, 15, tzinfo=UTC)
    assert [fault.line for fault in faults] == [3, 5]


@pytest.mark.parametrize(
    ("line", "day_first", "when"),
    [
        ("03.04.24, 08:00 - A: x", None, datetime(2024, 4, 3, 8, 0, tzinfo=UTC)),
        ("3/4/24, 8:00 AM - A: x", None, datetime(2024, 3, 4, 8, 0, tzinfo=UTC)),
        ("3/4/24, 08:00 - A: x", None, datetime(2024, 4, 3, 8, 0, tzinfo=UTC)),
        ("3/4/24, 08:00 - A: x", False, datetime(2024, 3, 4, 8, 0, tzinfo=UTC)),
        ("[2024-04-03, 8:00:00 p.\u00a0m.] A: x", None, datetime(2024, 4, 3, 20, 0, tzinfo=UTC)),
    ],
)
def test_whatsapp_dates_of_many_countries(tmp_path, line, day_first, when) -> None:
    path = whatsapp(tmp_path / "c.txt", line)
    records, _ = split(read(path, day_first=day_first))
    assert [r.created_at for r in records] == [when]


# ------------------------------------------------------------------------- messages in general


def test_a_list_of_messages(tmp_path) -> None:
    said = [
        {"role": "user", "content": "one", "id": 1},
        {"speaker": "bob", "text": "two"},
        {"author": {"role": "x", "name": "eve"}, "content": [{"type": "text", "text": "three"}]},
        {"from": "human", "value": "four"},
        "five",
        7,
    ]
    path = wrote(tmp_path / "m.json", said)
    assert detect(path) == "json"
    records, faults = split(read(path))
    assert [(r.subject, r.text) for r in records] == [
        *(("user", "one"), ("bob", "two"), ("eve", "three"), ("human", "four"), (None, "five")),
    ]
    assert len(faults) == 1


@pytest.mark.parametrize("listed", [False, True])
def test_messages_inside_conversations(tmp_path, listed) -> None:
    talk = {
        "uuid": "c1",
        "name": "Trip/plan",
        "user_id": "ann",
        "chat_messages": [
            {"uuid": "m1", "sender": "human", "text": "Where to?"},
            {"uuid": "m2", "sender": "assistant", "text": "North.", "created_at": "2024-05-08"},
        ],
    }
    records, faults = split(read(wrote(tmp_path / "m.json", [talk] if listed else talk)))
    assert not faults
    assert [(r.id, r.subject, r.text) for r in records] == [
        ("m1", "ann", "Where to?"),
        ("m2", "ann", "North."),
    ]
    assert {r.topic for r in records} == {"Trip/plan"}
    assert dict(records[0].metadata) == {"sender": "human", "conversation": "c1"}


def test_one_object_is_one_record_even_with_lists_in_it(tmp_path) -> None:
    for value in (
        {"text": "hello", "items": [1, 2], "data": {"a": 1}},
        {"items": [1, 2], "data": {"a": 1}, "text": "hello"},
    ):
        records, faults = split(read(wrote(tmp_path / "m.json", value)))
        assert [(r.text, dict(r.metadata)) for r in records] == [
            ("hello", {"items": [1, 2], "data": {"a": 1}})
        ]
        assert not faults
