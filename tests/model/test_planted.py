"""What stays behind in the folder of experts makes the receipt say so."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet.experts import State
from forgetnet.experts.ridge import RidgeTrunk
from forgetnet.forget.verify import Look
from forgetnet.model import ForgetNet
from tests.model.house import KEY, torch_expert

TEXT = "Ada's canary ate seventeen grapes behind the old mill"


def made(path: Path) -> ForgetNet:
    experts = [RidgeTrunk(features=16), torch_expert(2)]
    net = ForgetNet.open(
        path, encoder="hash:32", experts=experts, cap=6, key=KEY, progress=False
    )
    texts = [TEXT, *(f"note number {i} about nothing at all" for i in range(15))]
    net.fit(
        texts,
        ["ab"[i % 2] for i in range(16)],
        subjects=["Ada Lovelace", *(f"somebody {i % 5}" for i in range(15))],
        ids=["canary-record-of-ada", *(f"other-{i}" for i in range(15))],
    )
    return net


def leftovers(net: ForgetNet) -> dict[str, Any]:
    content, _ = net._parts.store.vectors(["canary-record-of-ada"])
    return {"text": TEXT, "id": "canary-record-of-ada", "vector": content.copy()}


def plant(root: Path, where: str, what: Any) -> None:
    folder = root / "experts"
    if where == "unnamed":
        raw = what.tobytes() if isinstance(what, np.ndarray) else what.encode()
        (folder / "old.bin").write_bytes(raw)
        return
    if where == "manifest":
        told = json.loads((folder / "manifest.json").read_text())
        told["model"]["note"] = what.tolist() if isinstance(what, np.ndarray) else what
        (folder / "manifest.json").write_text(json.dumps(told))
        return
    file = min(folder.glob("*.safetensors"))
    state = State.from_bytes(file.read_bytes())
    if isinstance(what, np.ndarray):
        tensors = {**state.tensors, "cache": np.repeat(what, 2, axis=0)}
        file.write_bytes(State(tensors, state.meta).to_bytes())
    else:
        file.write_bytes(State(state.tensors, {**state.meta, "cache": [what]}).to_bytes())


CASES = [(w, k) for w in ("named", "unnamed", "manifest") for k in ("text", "id", "vector")]


@pytest.mark.parametrize(("where", "what"), CASES)
def test_a_leftover_among_the_experts_fails_the_receipt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, what: str
) -> None:
    with made(tmp_path / "m") as net:
        left = leftovers(net)[what]
        real = Look.after

        def after(self: Look, *given: Any) -> Any:
            plant(tmp_path / "m", where, left)
            return real(self, *given)

        monkeypatch.setattr(Look, "after", after)
        receipt = net.forget(subject="Ada Lovelace")
        assert receipt.status == "failed", receipt.explain()
        assert TEXT not in receipt.explain()


def test_nothing_planted_and_the_receipt_says_erased(tmp_path: Path) -> None:
    with made(tmp_path / "m") as net:
        assert net.forget(subject="Ada Lovelace").status == "erased"
        for file in (tmp_path / "m").rglob("*"):
            if file.is_file():
                data = file.read_bytes()
                assert TEXT.encode() not in data and b"canary-record" not in data
