"""What is easily given wrongly to a model is refused in our own words, and spoils no folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from forgetnet.errors import InvalidRecord
from forgetnet.experts import Local, NeighbourExpert, PrototypeExpert, RidgeTrunk
from forgetnet.model import ForgetNet


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"task": "ranking"}, "task= is 'classification' or 'regression' or None, not a str"),
        ({"trainer": "local"}, r"trainer= is a Trainer, such as Local\(\), not a str"),
        ({"trainer": Local}, r"not the class Local; make one of it: Local\(...\)"),
        ({"experts": ["ridge"]}, r"experts\[0\] is an Expert or a NeighbourExpert, such as Ridge"),
        ({"experts": [RidgeTrunk]}, r"not the class RidgeTrunk; make one of it: RidgeTrunk\(...\)"),
        ({"experts": [PrototypeExpert(), NeighbourExpert]}, r"experts\[1\]"),
        ({"experts": PrototypeExpert()}, "experts= is a Sequence"),
        ({"experts": "ridge"}, "experts= is a Sequence"),
        ({"cap": "8"}, "cap= is a whole number or None, not a str"),
        ({"cap": 8.0}, "cap= is a whole number"),
        ({"weights": [1.0]}, "weights= is a Mapping"),
        ({"weights": {"memory": "1"}}, r"weights\['memory'\] is a number"),
        ({"router": "subject"}, r"router= is a Router or None, such as SubjectRouter\(\)"),
    ],
)
def test_a_model_says_what_it_was_given_wrongly(
    tmp_path: Path, wrong: dict[str, Any], words: str
) -> None:
    settings: dict[str, Any] = {"experts": [PrototypeExpert()], "encoder": "hash:8"}
    with pytest.raises(InvalidRecord, match=words):
        ForgetNet.open(tmp_path / "net", **(settings | wrong))
    with ForgetNet.open(tmp_path / "net", **settings) as model:
        model.fit(["one", "two"], ["a", "b"])
    with pytest.raises(InvalidRecord, match=words):  # of one that is there already, too
        ForgetNet.open(tmp_path / "net", **wrong)
