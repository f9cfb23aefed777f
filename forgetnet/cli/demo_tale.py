"""The demo's story: what happens, in which order, and what is checked.

Tells what :mod:`forgetnet.cli.demo_play` saw, step by step; each of its checks can fail. Knows the
people and questions only as data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.padding import Padding
from rich.text import Text

from forgetnet.cli import demo_show as show
from forgetnet.cli.demo_play import answers, gone_with, probe_for, record_of, unmoved
from forgetnet.cli.session import plain_hit, plain_plan, plain_receipt
from forgetnet.cli.voice import Voice
from forgetnet.demo import Story, load_messages, load_story
from forgetnet.encode import resolve_encoder
from forgetnet.forget.receipt import Receipt
from forgetnet.ledger import Ledger
from forgetnet.memory import Memory
from forgetnet.record import Hit, Record

__all__ = ["Stage", "Telling", "tell"]

_HITS = 3
_OTHERS = 6


@dataclass(slots=True)
class Telling:
    """What has been told so far: facts for JSON, and the checks.

    Attributes:
        voice: where the words go.
        facts: everything seen, by name.
        checks: what was checked, and whether it held.
        began: when the telling began, in seconds of the performance counter.
    """

    voice: Voice
    facts: dict[str, Any] = field(default_factory=dict)
    checks: dict[str, bool] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)

    def open(self, shown: RenderableType) -> None:
        """Say what will be told."""
        if not self.voice.as_json:
            self.voice.out.print(shown)

    def step(self, title: str, *shown: RenderableType) -> None:
        """Tell one step of the story."""
        if self.voice.as_json:
            return
        number = self.facts.setdefault("steps", 0) + 1
        self.facts["steps"] = number
        self.voice.out.print(Text(f"\n{number}  {title}", style="bold"))
        for part in shown:
            self.voice.out.print(Padding(part, (0, 0, 0, 3), expand=False))

    @contextmanager
    def working(self, what: str) -> Iterator[None]:
        """Show what is being done, on a terminal, and keep how long it took."""
        began = time.perf_counter()
        if self.voice.err.is_terminal:
            with self.voice.err.status(f"{what} ..."):
                yield
        else:
            yield
        self.facts.setdefault("seconds", {})[what] = round(time.perf_counter() - began, 3)


@dataclass(frozen=True, slots=True)
class Stage:
    """What the story is played on.

    Attributes:
        memory: remembers everybody, then forgets somebody.
        twin: never knew that person; same key, same encoder.
        story: whom to forget, and what to ask.
        folder: of the memory.
        gone: ids that should go, worked out from the messages.
    """

    memory: Memory
    twin: Memory
    story: Story
    folder: Path
    gone: frozenset[str]


def tell(telling: Telling, folder: Path, twin_folder: Path, encoder: str) -> None:
    """Open the two memories, fill them, and play the story on them.

    Args:
        telling: takes the facts and the checks.
        folder: of the memory; new or empty.
        twin_folder: of the twin; new.
        encoder: name of the encoder.
    """
    story = load_story()
    records = [record_of(message) for message in load_messages()]
    telling.open(show.opening(len({record.subject for record in records}), story.forget))
    with telling.working("loading the encoder"):
        model = resolve_encoder(encoder)
        model.encode(["ready"], progress=False)
    with Memory.open(folder, encoder=model) as memory:
        with telling.working("remembering"):
            memory.add(records, progress=False)
        _remembered(telling, memory, records)
        with Memory.open(twin_folder, encoder=model, key=folder / "key") as twin:
            gone = gone_with(records, story.forget)
            with telling.working("building the twin"):
                twin.add([record for record in records if record.id not in gone], progress=False)
            _play(telling, Stage(memory, twin, story, folder, gone))


def _remembered(telling: Telling, memory: Memory, records: list[Record]) -> None:
    people = len({record.subject for record in records})
    seconds = telling.facts["seconds"]["remembering"]
    telling.facts |= {"records": memory.count(), "people": people, "encoder": memory.encoder.name}
    telling.step("Remember", show.remembered(memory.count(), people, memory.encoder.name, seconds))
    telling.checks["every message was stored"] = memory.count() == len(records)


def _play(telling: Telling, stage: Stage) -> None:
    """Ask, plan, look; forget; ask, look, verify, compare."""
    memory, story, whom = stage.memory, stage.story, stage.story.forget
    asked = answers(memory, story.questions, _HITS)
    others = answers(memory, story.unchanged, _OTHERS)
    telling.step("Ask", show.asked(story.questions, asked, whom))

    plan = memory.forget(subject=whom, dry_run=True)
    telling.facts |= {"forget": whom, "plan": plain_plan(plan)}
    telling.step(f"Plan to forget {whom} (a dry run)", show.planned(plan, whom))
    telling.checks["the plan takes all that leads to that person"] = set(plan.ids) == stage.gone

    # Somebody who stays: the same look must find this one's records at the end.
    neighbour = next(str(h.subject) for hits in others for h in hits if h.id not in stage.gone)
    probe = probe_for(memory, stage.gone)
    control = probe_for(memory, {r.id for r in memory.get_all({"subject": neighbour})} - stage.gone)
    with telling.working("looking at the bytes before"):
        before = probe.look(stage.folder)
    telling.facts["bytes_before"] = asdict(before)
    telling.step("Look for these records in every file, decoded", show.sight(before))
    telling.checks["before: the byte check finds every record"] = before.whole

    with telling.working("forgetting"):
        receipt = memory.forget(subject=whom, reason="the demo", verify="full")
    seconds = telling.facts["seconds"]["forgetting"]
    telling.step(f"Forget {whom}", show.forgotten(receipt, seconds))

    asked_again = answers(memory, story.questions, _HITS)
    telling.step("Ask again", show.asked(story.questions, asked_again, whom))
    telling.facts["questions"] = _questions(story.questions, asked, asked_again)
    named = {"$or": [{"subject": whom}, {"mentions": {"$contains": whom}}]}
    left = {hit.id for hits in asked_again for hit in hits} & stage.gone
    telling.checks["after: no answer holds any of it"] = not left and not memory.count(named)

    with telling.working("looking at the bytes after"):
        after, seen = probe.look(stage.folder, memory), control.look(stage.folder)
    telling.facts |= {"bytes_after": asdict(after), "control_after": asdict(seen)}
    telling.step("Look again in every file", show.sight(after), show.control(seen, neighbour))
    telling.checks["after: the byte check finds nothing"] = after.absent
    telling.checks["after: it still finds somebody else's records"] = seen.whole
    _verify(telling, stage, receipt)
    _compare(telling, stage, others)


def _questions(
    questions: tuple[str, ...], before: list[list[Hit]], after: list[list[Hit]]
) -> list[dict[str, Any]]:
    return [
        {
            "question": question,
            "before": [plain_hit(hit) for hit in old],
            "after": [plain_hit(hit) for hit in new],
        }
        for question, old, new in zip(questions, before, after, strict=True)
    ]


def _verify(telling: Telling, stage: Stage, receipt: Receipt) -> None:
    """Check the receipt as anybody would: from its file, with the public key and the ledger."""
    file = stage.folder / "receipts" / f"{receipt.id}.json"
    read_back = Receipt.load(file)
    ledger = Ledger(stage.folder / "ledger.jsonl", read_only=True)
    problems = read_back.check(stage.folder / "receipt.pub", ledger=ledger)
    openings = {} if receipt.openings is None else receipt.openings.records
    covered = {i for i, salt in openings.items() if read_back.covers(i, salt)}
    telling.facts["receipt"] = plain_receipt(read_back, file)
    telling.facts["receipt"] |= {"genuine": not problems, "covers": len(covered)}
    telling.step("Check the receipt", show.verified(read_back, problems, len(covered)))
    telling.checks["the receipt is genuine"] = not problems
    telling.checks["it says erased, for every record"] = (
        read_back.status.value == "erased" and covered == stage.gone
    )


def _compare(telling: Telling, stage: Stage, others: list[list[Hit]]) -> None:
    """Compare everyone else's answers with those before, and with the twin's."""
    questions = stage.story.unchanged
    now = answers(stage.memory, questions, _OTHERS)
    theirs = answers(stage.twin, questions, _OTHERS)
    as_before = [unmoved(a, b, stage.gone) for a, b in zip(others, now, strict=True)]
    as_twin = [a == b for a, b in zip(now, theirs, strict=True)]
    same = stage.memory.digest() == stage.twin.digest()
    telling.facts["unchanged"] = [
        {"question": q, "as_before": a, "as_twin": b, "answers": [plain_hit(hit) for hit in hits]}
        for q, a, b, hits in zip(questions, as_before, as_twin, now, strict=True)
    ]
    telling.facts["same_digest_as_twin"] = same
    telling.step(
        "Everyone else",
        show.compared(questions, now, as_before, as_twin),
        show.twin(same, stage.memory.count(), stage.story.forget),
    )
    telling.checks["everyone else's answers are as before"] = all(as_before)
    telling.checks["and as in a memory that never knew that person"] = all(as_twin) and same
