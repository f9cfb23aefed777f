"""Whatever is given to a verb, it works or says in ForgetNet's own words why not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet import (
    ForgetNetError,
    InvalidRecord,
    InvalidScope,
    Memory,
    Receipt,
    ReceiptInvalid,
    StoreError,
)
from forgetnet.attached import detach
from forgetnet.encode import HashEncoder
from forgetnet.fallback import Entangled
from tests.fallback import house

ENCODER = HashEncoder(8)
ODD: dict[str, Any] = {
    "none": None,
    "whole": 3,
    "minus": -1,
    "fraction": 1.5,
    "nan": float("nan"),
    "huge": 10**400,
    "true": True,
    "empty": "",
    "nul": "\0",
    "half-pair": "x\ud800",
    "slashes": "a//b",
    "nobody's-home": "~nobody-is-called-so/x",
    "bytes": b"abc",
    "list": [],
    "list-of-none": [None],
    "list-of-lists": [["a"], []],
    "ragged": [[1.0], [1.0, 2.0]],
    "tuple": ("a", 3),
    "set": {"a", "b"},
    "dict": {},
    "operator": {"$and": 3},
    "nested": {"subject": {"$in": [{}]}},
    "missing-path": Path("nowhere/at/all"),
    "array": np.zeros(3),
    "array-0d": np.array(1.0),
    "object": object(),
    "class": Memory,
    "naive-time": datetime(2030, 1, 1),
    "function": len,
}
USUAL: dict[str, dict[str, Any]] = {
    "search": {"near": "health"},
    "forget": {"subject": "nobody"},
    "import_": {"path": "in.jsonl"},
}
"""What a verb is called with besides the odd value; ``a`` stands for all else that it needs."""
SCOPES = ("ids", "subject", "filter", "topic", "scope")


def parameters(verb: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(Memory, verb)).parameters.values())[1:]


VERBS = [
    name
    for name in dir(Memory)
    if not name.startswith("_") and name != "open" and callable(getattr(Memory, name))
]
ARGUMENTS = [(verb, each.name) for verb in VERBS for each in parameters(verb)]


def works_or_refuses(call: Callable[[], object]) -> ForgetNetError | None:
    """Call; anything but an error of ForgetNet's own fails the test."""
    try:
        call()
    except ForgetNetError as error:
        return error
    return None


@pytest.fixture(params=["memory", "lance"])
def memory(request, tmp_path: Path, monkeypatch) -> Iterator[Memory]:
    monkeypatch.chdir(tmp_path)
    url = "memory://" if request.param == "memory" else str(tmp_path / "kb")
    with Memory.open(url, encoder=ENCODER) as opened:
        opened.add("peanuts make me ill", ids="a", subject="Ann", topic="health/nuts")
        opened.export("in.jsonl")
        yield opened


def calls_of(verb: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for kind, odd in ODD.items():
        needed = {each.name: "a" for each in parameters(verb) if each.default is each.empty}
        options = {**needed, **USUAL.get(verb, {}), name: odd}
        if verb == "forget" and name in SCOPES:
            options = {name: odd}
        yield kind, options


@pytest.mark.parametrize(("verb", "name"), ARGUMENTS, ids=map(".".join, ARGUMENTS))
def test_an_odd_value_works_or_is_refused_in_our_own_words(memory: Memory, verb: str, name: str):
    for kind, options in calls_of(verb, name):
        error = works_or_refuses(lambda verb=verb, o=options: getattr(memory, verb)(**o))
        assert error is None or "private" not in str(error), kind
        assert [hit.id for hit in memory.search("peanuts", subject="Ann")] in (["a"], []), kind
    assert works_or_refuses(memory.digest) is None


@pytest.mark.parametrize("name", ["path_or_url", "encoder", "key", "models", "readonly", "clock"])
@pytest.mark.parametrize("kind", ODD)
def test_opening_works_or_is_refused_in_our_own_words(name: str, kind: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    odd = ODD[kind]
    if name == "clock" and callable(odd):
        pytest.skip("what a function of the caller's raises is the caller's")

    def call() -> None:
        options = {"path_or_url": tmp_path / "kb", "encoder": ENCODER, name: odd}
        with Memory.open(**options) as memory:
            memory.add("peanuts")
            assert memory.count() == 1

    if works_or_refuses(call):
        assert not (tmp_path / "kb").exists(), "what was refused left something behind"


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_receipt_and_a_detachment_refuse_in_our_own_words(odd: Any, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Memory.open("memory://", encoder=ENCODER) as memory:
        memory.add("peanuts", subject="Ann")
        receipt = memory.forget(subject="Ann")
    assert isinstance(works_or_refuses(lambda: receipt.verify(odd)), ReceiptInvalid)
    assert works_or_refuses(lambda: Receipt.load(odd))
    works_or_refuses(lambda: receipt.save(odd))
    works_or_refuses(lambda: receipt.save_openings(odd))
    assert works_or_refuses(lambda: detach(odd, "head"))
    assert works_or_refuses(lambda: detach("kb", odd))


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(
            st.sampled_from(["$and", "$or", "$not", "$in", "$gt", "$contains", "id", "mentions"])
            | st.sampled_from(["subject", "metadata.x", "created_at", "nothing"])
            | st.integers(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@given(ANYTHING)
def test_any_value_at_all_is_a_filter_a_scope_a_name_or_an_error(odd: Any):
    with Memory.open("memory://", encoder=ENCODER) as memory:
        memory.add("peanuts", ids="a", subject="Ann", metadata={"x": [1, {"y": None}]})
        for call in (
            lambda: memory.count(odd),
            lambda: memory.search("peanuts", filter=odd),
            lambda: memory.forget(filter=odd, dry_run=True),
            lambda: memory.forget(ids=odd, dry_run=True),
            lambda: memory.update("a", metadata=odd),
            lambda: memory.add("more", mentions=odd),
            lambda: memory.add(odd),
        ):
            works_or_refuses(call)
        works_or_refuses(lambda: memory.forget(ids=odd))


# -- what the words say


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda m: m.add(5), InvalidRecord, "can't store a int; give texts or Records"),
        (lambda m: m.add("a", metadata=[1]), InvalidRecord, "metadata must be a mapping, not list"),
        (lambda m: m.add(["a", "b"], ids={"x", "y"}), InvalidRecord, "ids= must be a .* not set"),
        (lambda m: m.add(["a"], ids=[3]), InvalidRecord, "ids= holds .* a string, not int"),
        (lambda m: m.add("a", mentions=3), InvalidRecord, "mentions= must be a string or a list"),
        (lambda m: m.add("a", vectors="x"), InvalidRecord, "rows of numbers"),
        (lambda m: m.search("x\ud800"), InvalidRecord, "half of a surrogate pair"),
        (lambda m: m.search("a", k=1.5), InvalidScope, "k must be a whole number, not float"),
        (lambda m: m.search("a", k=True), InvalidScope, "k must be a whole number, not bool"),
        (lambda m: m.search("a", under=3), InvalidScope, "a topic must be a string, not int"),
        (lambda m: m.get(3), InvalidRecord, "id must be a string, not int"),
        (lambda m: m.delete({"a": 1}), InvalidRecord, "ids= must be a string or a list"),
        (lambda m: m.forget(ids={"a": 1}), InvalidScope, "ids= must be a string or a list"),
        (lambda m: m.forget(subject="Ann", dry_run="no"), InvalidScope, "dry_run= must be True or"),
        (lambda m: m.forget(subject="Ann", dry_run=None), InvalidScope, "dry_run= must be True or"),
        (lambda m: m.forget(subject="Ann", mentions=0), InvalidScope, "mentions= must be True or"),
        (lambda m: m.export("nowhere/a.jsonl"), StoreError, "No such file .* a folder that is"),
        (lambda m: m.export("."), StoreError, "can't write the export"),
        (lambda m: m.import_("nowhere.jsonl"), InvalidRecord, "can't read nowhere.jsonl"),
        (lambda m: m.forget(subject="no").verify(None), ReceiptInvalid, "the public key must be"),
        (lambda _: Memory.open(3), StoreError, "the place of a memory must be a path, .* not int"),
        (lambda _: Memory.open("~nobody-is-so/x"), StoreError, "can't find ~nobody"),
        (lambda _: Memory.open("kb2", encoder=ENCODER, clock=3), StoreError, "clock= must be a f"),
    ],
)
def test_a_refusal_names_the_argument_and_what_it_takes(memory: Memory, call, error, says: str):
    before = memory.digest()
    with pytest.raises(error, match=says):
        call(memory)
    assert memory.digest() == before


def test_a_clock_without_a_zone_is_refused_at_the_first_time_that_counts(tmp_path: Path):
    clock = lambda: datetime(2030, 1, 1)  # noqa: E731 - what a user would write
    with (
        Memory.open(tmp_path / "kb", encoder=ENCODER, clock=clock) as memory,
        pytest.raises(StoreError, match="with a time zone"),
    ):
        memory.add("peanuts")


def test_one_model_may_be_given_without_a_list_and_a_class_is_none():
    head = house.part(None)
    with Memory.open("memory://", encoder=f"vectors:{house.DIM}", models=head) as memory:
        assert memory.forget(ids="nobody").erasure.components[-1].name == head.name
    for wrong in (Entangled, [Entangled], {head}, [head, None]):
        with pytest.raises(StoreError, match=r"Entangled\(name, ...\) of forgetnet.fallback"):
            Memory.open("memory://", encoder=ENCODER, models=wrong)


def test_what_can_be_meant_is_taken(memory: Memory):
    memory.add(["b", "c"], ids=np.array(["b", "c"]), mentions=None, derived_from=None)
    assert memory.update("b", mentions={"Cem", "Ann"}).mentions == ("Ann", "Cem")
    assert memory.update("b", mentions=None).mentions == ()
    assert len(memory.search("b", k=np.int64(2), near="health", weight=np.float32(1))) == 2
    assert memory.delete(iter(["b", "zz"])).deleted == ("b",)
    assert memory.forget(ids={"c"}, dry_run=np.True_).direct == ("c",)
    assert memory.get("c").created_at <= datetime.now(UTC)
