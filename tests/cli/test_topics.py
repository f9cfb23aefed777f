"""The commands of topics: what they print, what they change, and their exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from forgetnet import ForgetNet, RidgeTrunk
from forgetnet.cli import app
from tests.forget.test_keeping import holding

RUN = CliRunner()
TEXTS = {
    "a": ("peanuts make ann ill", "health/allergies"),
    "b": ("ann runs in the park", "health/sport"),
    "c": ("bob sells boats at work", "work"),
    "d": ("peanuts make bob ill", None),
}


@pytest.fixture
def kb(tmp_path: Path) -> str:
    store = str(tmp_path / "kb")
    for name, (text, topic) in TEXTS.items():
        filed = [] if topic is None else ["--topic", topic]
        call(store, "add", text, "--id", name, *filed, "--encoder", "hash:64")
    return store


def call(store: str, *words: str, code: int = 0) -> dict:
    done = RUN.invoke(app, [*words, "--store", store, "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def test_a_topic_is_moved_and_its_old_path_is_gone(kb):
    assert call(kb, "topic", "list")["topics"] == {
        "health/allergies": 1, "health/sport": 1, "work": 1,
    }  # fmt: skip
    moved = call(kb, "topic", "move", "health", "wellbeing")
    assert moved == {
        "records": 2,
        "topics": {"health/allergies": "wellbeing/allergies", "health/sport": "wellbeing/sport"},
    }
    assert not holding(Path(kb), b"health/")
    said = RUN.invoke(app, ["topic", "list", "--store", kb]).stdout
    assert "1  wellbeing/sport" in said
    said = RUN.invoke(app, ["topic", "move", "work", "wellbeing", "--store", kb]).stdout
    assert said.strip() == "Moved 1 record of 1 topic."


def test_what_can_not_be_moved_is_one_line_and_exit_code_1(kb):
    told = call(kb, "topic", "move", "nowhere", "health", code=1)
    assert told["error"] == "InvalidScope" and "nothing was moved" in told["message"]
    hold = call(kb, "hold", "--id", "a", "--reason", "case 7")
    told = call(kb, "topic", "move", "health", "x", code=1)
    assert told["error"] == "Held" and hold["name"] in told["message"]


def test_records_without_a_topic_are_linked_and_stay_as_they_are(kb, tmp_path):
    told = call(kb, "topic", "link", "-k", "1")
    assert (told["records"], told["linked"]) == (1, 1)
    assert told["links"][0] == {"id": "d", "topic": "health", "margin": 1.0}
    assert call(kb, "topic", "link", "--under", "work")["links"] == []
    assert call(kb, "get", "d")["record"]["topic"] is None
    (tmp_path / "t.tsv").write_text("\tboats\n\tpeanuts\n")
    told = call(kb, "topic", "link", "--taxonomy", str(tmp_path / "t.tsv"))
    assert {link["topic"] for link in told["links"]} == {"peanuts"}
    assert call(kb, "topic", "link", "--taxonomy", "everyday")["records"] == 1
    assert (
        "No record is linked."
        in RUN.invoke(app, ["topic", "link", "--under", "nowhere", "--store", kb]).stdout
    )
    assert call(kb, "topic", "link", "--method", "magic", code=1)["error"] == "InvalidRecord"


def test_every_command_and_option_has_help_and_answers_in_json():
    inner = typer.main.get_command(app).commands["topic"]
    assert inner.help and set(inner.commands) == {"list", "move", "link"}
    for command in inner.commands.values():
        assert command.help and command.short_help and len(command.short_help) < 80
        assert all(parameter.help for parameter in command.params)
        assert "--json" in {option for parameter in command.params for option in parameter.opts}


def test_a_topic_of_a_model_is_moved_with_its_experts_as_they_were(tmp_path):
    store = tmp_path / "desk"
    plain = {"encoder": "hash:64", "experts": [RidgeTrunk(features=16)], "progress": False}
    with ForgetNet.open(store, **plain) as model:
        model.fit(["card refused", "parcel late"], ["a", "b"], topics=["bank/card", "post"])
        before = model.digest()
    assert call(str(store), "topic", "move", "bank", "money")["records"] == 1
    assert call(str(store), "topic", "list")["topics"] == {"money/card": 1, "post": 1}
    with ForgetNet.load(store) as model:
        assert model.digest() == before
    assert not holding(store, b"bank/card")
