"""Whatever is given to a verb of a model, it works or says in ForgetNet's own words why not."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from forgetnet import InvalidRecord, InvalidScope, Memory, StoreCorrupt, StoreError
from forgetnet.model import ForgetNet
from tests.fallback import house as fallback
from tests.model.house import DIM, KEY, opened, world
from tests.test_given import ODD, works_or_refuses

SEEN = world(12, subjects=4)
VERBS = [
    name
    for name in dir(ForgetNet)
    if not name.startswith("_")
    and name not in {"open", "load", "close"}
    and callable(inspect.getattr_static(ForgetNet, name))
]
OLDER = {"add", "update", "delete", "purge", "export", "import_"}
"""Verbs of a memory that a model has others for, or none; see docs/models.md."""
NEEDED: dict[str, Any] = {"X": SEEN.vectors[:1], "query": SEEN.vectors[0]}


def parameters(verb: str) -> list[inspect.Parameter]:
    return list(inspect.signature(getattr(ForgetNet, verb)).parameters.values())[1:]


ARGUMENTS = [(verb, each.name) for verb in VERBS for each in parameters(verb)]


def test_a_model_has_every_verb_of_a_memory_or_its_reader_has():
    verbs = {name for name in dir(Memory) if not name.startswith("_")}
    with opened(kind="sums") as net:
        missing = verbs - set(dir(net)) - set(dir(net.memory))
    assert missing == OLDER
    told = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    assert all(f"| `{verb}` |" in told for verb in OLDER)


@pytest.mark.parametrize(("verb", "name"), ARGUMENTS, ids=map(".".join, ARGUMENTS))
def test_an_odd_value_works_or_is_refused_in_our_own_words(tmp_path, monkeypatch, verb, name):
    monkeypatch.chdir(tmp_path)
    with opened(kind="sums") as net:
        SEEN.learn(net, range(12))
        needed = {p.name: NEEDED.get(p.name, "a") for p in parameters(verb) if p.default is p.empty}
        if verb in {"forget", "plan", "request"} and name in {"mentions", "reason", "verify"}:
            needed["subject"] = "nobody"
        for kind, odd in ODD.items():
            works_or_refuses(lambda odd=odd: getattr(net, verb)(**{**needed, name: odd}))
            taught = [i for i in net._core.roster.targets if i in SEEN.ids]
            assert len(taught) == 12, kind
        assert len(net.digest()) == 64


@pytest.mark.parametrize(
    "name", ["path_or_url", "encoder", "key", "adopt", "models", "sweep_every", "clock", "progress"]
)
def test_opening_works_or_is_refused_in_our_own_words(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for number, (kind, odd) in enumerate(ODD.items()):
        if name == "clock" and callable(odd):
            continue  # what a function of the caller's raises is the caller's
        path = tmp_path / f"m{number}"

        def call(odd: object = odd, path: Path = path) -> None:
            plain = {"encoder": f"vectors:{DIM}", "key": KEY, "progress": False}
            with ForgetNet.open(**{"path_or_url": path, **plain, name: odd}) as net:
                assert net.count() == 0

        if works_or_refuses(call):
            assert not path.exists(), (kind, "what was refused left something behind")


def test_what_is_refused_is_named():
    with opened(kind="sums") as net:
        SEEN.learn(net, range(12))
        for call, error, says in (
            (lambda: net.save(None), StoreError, "path must be a path, .* not None"),
            (lambda: net.save("a\0b"), StoreError, "no file can have"),
            (lambda: net.teachers(3), InvalidRecord, "part must be a string, not int"),
            (lambda: net.request(subject="s1", verify=[0]), InvalidScope, "verify= must be a str"),
            (lambda: net.predict(10**400), InvalidRecord, "vectors of shape"),
            (lambda: net.close(wait="no"), StoreError, "wait= must be True or False"),
            (lambda: ForgetNet.load(3), StoreError, "path must be a path, .* not int"),
            (lambda: ForgetNet.open(adopt="no"), StoreError, "adopt= must be True or False"),
        ):
            with pytest.raises(error, match=says):
                call()


def test_a_model_at_home_is_loaded_as_it_was_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    opened("~/m", "sums").close()
    ForgetNet.load("~/m", key=KEY).close()
    with pytest.raises(StoreCorrupt, match="no model"):
        ForgetNet.load("~/n", key=KEY)


def test_one_attached_model_may_be_given_without_a_list():
    head = fallback.part(None)
    with ForgetNet.open(encoder=f"vectors:{fallback.DIM}", models=head, progress=False) as net:
        assert net.forget(ids="nobody").erasure.components[-1].name == head.name
