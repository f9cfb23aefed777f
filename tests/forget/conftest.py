"""One receipt, made of made-up facts, that the tests of this room look at from all sides."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from forgetnet.forget.receipt import (
    Check,
    Component,
    Facts,
    Receipt,
    Surface,
    build,
    derive_signer,
    judge,
)
from forgetnet.ledger import Ledger

IDS = ("conversation-0017", "conversation-0018")
GOOD = Check(check="decoded byte scan", hits=0, control_expected=3, control_found=3, files=4)


def numbers() -> Callable[[int], bytes]:
    """Bytes that differ at each call and are the same in each run."""
    counter = iter(range(1 << 30))
    return lambda size: hashlib.shake_256(str(next(counter)).encode()).digest(size)


def surfaces(count: int = 4) -> tuple[Surface, ...]:
    return (
        judge("rows", count=count, method="rewrite the piece", checks=[GOOD]),
        judge("index", count=count, method="remove the row", checks=[GOOD]),
        judge("backups", count=0, method="none", supported=False, detail="not known here"),
    )


FACTS = Facts(
    scope="subject",
    scope_value="Ann Smith-Jones",
    reason="she asked by letter on Monday",
    direct=IDS,
    derived=("summary-of-0017",),
    mentions=("chat-with-ann",),
    not_found=("conversation-9999",),
    mentions_kept=2,
    surfaces=surfaces(),
    components=(Component("store", "local"), Component("encoder", "frozen")),
    started=datetime(2026, 1, 31, 23, 59, 59, 999999, tzinfo=UTC),
    finished=datetime(2026, 2, 1, 2, 0, 1, tzinfo=timezone(timedelta(hours=2))),
    state_digest="ab" * 32,
    encoder_digest="cd" * 32,
    environment={"python": "3.11.7", "torch": "2.13.0+cpu"},
    ledger_size=0,
    ledger_root=Ledger().root(),
)


@pytest.fixture(scope="session")
def facts() -> Facts:
    return FACTS


@pytest.fixture(scope="session")
def receipt() -> Receipt:
    signer = derive_signer(b"a secret of the tests, long enough")
    return build(facts=FACTS, signer=signer, randomness=numbers())
