"""LoCoMo conversations: very long talks of two people, session by session.

The data set of Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents",
2024. Knows nothing of records, and nothing of its questions.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from forgetnet.ingest.jsonstream import Place, Step, walk
from forgetnet.ingest.source import Fault, Row, Source

__all__ = ["SESSION", "rows"]

SESSION = re.compile(r"session_(\d+)")


def _choose(path: Place, opens: str) -> Step:
    return Step.ENTER if not path and opens == "[" else Step.TAKE


def _turn(turn: dict[str, Any], sample: str, session: str, when: Any, *, qualify: bool) -> Row:
    values = dict(turn)
    speaker, name = values.pop("speaker", None), values.get("dia_id")
    if isinstance(speaker, str) and speaker:
        values["subject"] = f"{sample}:{speaker}" if qualify else speaker
    if isinstance(name, str) and name:
        values["id"] = f"{sample}/{name}"
    values["topic"] = f"{sample.replace('/', '+')}/{session}"
    values["created_at"] = when
    return Row(1, values)


def _turns(sample: Any, place: int, *, qualify: bool) -> Iterator[Row | str]:
    """Give the turns of a sample in the order of its sessions, or what is wrong with one."""
    talk = sample.get("conversation") if isinstance(sample, dict) else None
    if not isinstance(talk, dict):
        yield "not a sample: it has no conversation"
        return
    name = sample.get("sample_id")
    name = str(name) if isinstance(name, str | int) and name != "" else f"sample-{place}"
    found = [(int(match[1]), key) for key in talk if (match := SESSION.fullmatch(key))]
    for _, session in sorted(found):
        turns = talk[session]
        if not isinstance(turns, list):
            yield "a session isn't a list of turns"
            continue
        when = talk.get(f"{session}_date_time")
        for turn in turns:
            if isinstance(turn, dict):
                yield _turn(turn, name, session, when, qualify=qualify)
            else:
                yield "a turn isn't a JSON object"


def rows(source: Source, *, qualify: bool = True) -> Iterator[Row | Fault]:
    """Give every turn: id ``sample/dia_id``, topic ``sample/session_n``, the session's time.

    Args:
        source: a list of samples, or one.
        qualify: the subject is ``sample:speaker``, since the Johns of two conversations are two
            people; False takes the bare name.
    """
    place = count = 0
    with source.text() as text:
        for _, line, sample in walk(text, _choose):
            place += 1
            if isinstance(sample, Fault):
                yield sample
                continue
            for turn in _turns(sample, place, qualify=qualify):
                count += 1
                label = f"turn {count}"
                if isinstance(turn, Row):
                    yield Row(line, turn.values, label=label)
                else:
                    yield Fault(line, f"{label}: {turn}")
