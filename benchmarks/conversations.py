"""The LoCoMo data as it lies in its file: turns, and questions with the turns that answer them.

Reads the JSON by itself, so that what ForgetNet's import made of it can be compared with it.
Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents", 2024.
"""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SESSION = re.compile(r"session_\d+")
_TURN = re.compile(r"D:?(\d+):(\d+)")


@dataclass(frozen=True)
class Turn:
    """One turn: its id and subject as the import names them, its conversation and its text."""

    id: str
    sample: str
    subject: str
    text: str


@dataclass(frozen=True)
class Question:
    """One question, and the ids of the turns that hold its answer."""

    sample: str
    text: str
    evidence: tuple[str, ...]


def data_file(path: Path) -> Path:
    """Return the data file: the path itself, or the only JSON file in the folder.

    Raises:
        FileNotFoundError: there is none, or more than one.
    """
    if path.is_file():
        return path
    found = [file for file in sorted(path.iterdir()) if file.name.endswith((".json", ".json.gz"))]
    if len(found) != 1:
        raise FileNotFoundError(f"{len(found)} JSON files in {path}; name one of them")
    return found[0]


def load(file: Path) -> tuple[list[Turn], list[Question]]:
    """Read all turns and all questions, in the order of the file."""
    data = file.read_bytes()
    samples = json.loads(gzip.decompress(data) if file.suffix == ".gz" else data)
    turns = [turn for sample in samples for turn in _turns(sample)]
    known = {turn.id for turn in turns}
    questions = [
        Question(sample["sample_id"], asked["question"], _evidence(sample, asked, known))
        for sample in samples
        for asked in sample["qa"]
    ]
    return turns, questions


def _turns(sample: dict[str, Any]) -> list[Turn]:
    name = sample["sample_id"]
    return [
        Turn(f"{name}/{turn['dia_id']}", name, f"{name}:{turn['speaker']}", turn["text"])
        for session, turns in sample["conversation"].items()
        if _SESSION.fullmatch(session)
        for turn in turns
    ]


def _evidence(sample: dict[str, Any], asked: dict[str, Any], known: set[str]) -> tuple[str, ...]:
    """Normalise evidence: several ids in one string, ``D:11:26``, ``D30:05``; drop the rest."""
    parts = [part for text in asked.get("evidence", ()) for part in re.split(r"[;\s]+", text)]
    found = [match for part in parts if (match := _TURN.fullmatch(part))]
    ids = [f"{sample['sample_id']}/D{int(m[1])}:{int(m[2])}" for m in found]
    return tuple(dict.fromkeys(i for i in ids if i in known))
