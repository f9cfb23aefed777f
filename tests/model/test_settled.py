"""What a model keeps to when it is opened again, elsewhere, or asked while it looks."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forgetnet.errors import InvalidRecord, StoreError
from forgetnet.experts.public import PublicCorpus
from forgetnet.experts.ridge import RidgeTrunk
from forgetnet.experts.router import TopicRouter
from forgetnet.experts.train import Local
from forgetnet.forget.plan import Scope
from forgetnet.model import ForgetNet
from forgetnet.model import leaves as leaves_module
from tests.model.house import KEY, NOW, opened, torch_expert, world


def small(path: Any, **settings: Any) -> ForgetNet:
    told: dict[str, Any] = {"experts": [RidgeTrunk(features=16), torch_expert()], "cap": 8}
    told |= {"encoder": "vectors:8", "key": KEY, "clock": lambda: NOW, "progress": False}
    return ForgetNet.open(path, **(told | settings))


class Counting(Local):
    """Counts the leaves that are trained."""

    jobs = 0

    def run(self, jobs: Any, progress: Any = None, stop: Any = None) -> Any:
        Counting.jobs += len(jobs)
        return super().run(jobs, progress, stop)


def test_leaves_that_were_trained_elsewhere_are_trained_anew(tmp_path: Path) -> None:
    here = world()
    with small(tmp_path / "net") as net:
        here.learn(net, range(24))
        digest, leaves = net.digest(), len(net.explain(here.vectors[0]).shares) - 1
    manifest = tmp_path / "net" / "experts" / "manifest.json"
    Counting.jobs = 0
    with small(tmp_path / "net", trainer=Counting()):
        assert Counting.jobs == 0
    told = json.loads(manifest.read_text(encoding="utf-8"))
    told["model"]["environment"] = "torch 1.0, another processor, threads 1"
    manifest.write_text(json.dumps(told), encoding="utf-8")
    with small(tmp_path / "net", trainer=Counting()) as net:
        assert Counting.jobs == leaves > 1
        assert net.digest() == digest


@pytest.mark.parametrize("other", [{"cap": 9}, {"weights": {"ridge": 3.0}}])
def test_other_settings_than_the_models_are_refused_not_ignored(
    tmp_path: Path, other: dict[str, Any]
) -> None:
    with small(tmp_path / "net"):
        pass
    with small(tmp_path / "net", experts=None, cap=8, weights={"ridge": 1.0}):
        pass
    with pytest.raises(InvalidRecord, match=next(iter(other))):
        small(tmp_path / "net", experts=None, **({"cap": 8} | other))


def test_a_query_whose_topic_has_no_leaf_is_answered_by_all_leaves() -> None:
    here = world()
    anchors = PublicCorpus("made up", np.eye(8, dtype=np.float32))
    net = small("memory://", experts=[torch_expert()], router=TopicRouter(anchors, top=1), cap=4)
    with net:
        here.learn(net, range(24))
        asked = np.concatenate([np.eye(8, dtype=np.float32), -np.eye(8, dtype=np.float32)])
        shares = net.predict_proba(asked)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0, atol=1e-12)


def test_answers_wait_for_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look at level full trains leaves once more: others must be answered meanwhile."""
    here = world()
    looking, answered = threading.Event(), threading.Event()
    real = leaves_module.carry_out

    def slow(job: Any) -> Any:
        looking.set()
        assert answered.wait(30), "the model didn't answer while it looked"
        return real(job)

    with small("memory://") as net:
        here.learn(net, range(24))
        monkeypatch.setattr(leaves_module, "carry_out", slow)
        pending = net.request(subject="s1", verify="full")
        assert looking.wait(30)
        net.predict(here.vectors[:2])
        net.memory.count()
        answered.set()
        receipt = pending.receipt(60)
    assert receipt.status == "erased"
    torch = next(surface for surface in receipt.surfaces if surface.name == "torch")
    assert any("once more" in check.check for check in torch.verification)


EXIT = """
import sys
import numpy as np
from forgetnet import ForgetNet, TorchExpert
draw = np.random.default_rng(0)
vectors = draw.normal(size=(240, 8)).astype("f4")
net = ForgetNet.open(sys.argv[1], encoder="vectors:8", experts=[TorchExpert(epochs=40)], cap=40,
                     progress=False)
net.fit(vectors, [f"c{n % 3}" for n in range(240)], subjects=[f"s{n % 24}" for n in range(240)])
net.request(subject="s3")
"""


def test_a_process_that_ends_in_the_middle_of_training_ends_well(tmp_path: Path) -> None:
    for n in range(3):
        path = tmp_path / str(n)
        done = subprocess.run(
            [sys.executable, "-c", EXIT, str(path)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        with ForgetNet.load(path, progress=False) as net:
            assert net.count() == 230 and not list((path / "journal").iterdir())


def test_a_copy_has_a_key_of_its_own_only_if_the_model_has(tmp_path: Path) -> None:
    with small("memory://") as net:
        net.save(tmp_path / "given")
    assert not (tmp_path / "given" / "key").exists()
    with pytest.raises(StoreError, match="key"):
        small(tmp_path / "given", key=None)
    small(tmp_path / "given").close()
    with small("memory://", key=None) as net:
        net.save(tmp_path / "drawn")
    small(tmp_path / "drawn", key=None).close()


def test_the_rows_of_the_next_request_are_no_residue_of_this_one(tmp_path: Path) -> None:
    """They lie in files until their own purge, and may share a subject with what is gone."""
    seen = world(18, subjects=5)
    with opened(tmp_path / "m", "tree", cap=1) as net:
        seen.learn(net, [13, 0, 1, 2, 3])
        memory = net._memory
        first = memory.accept(Scope(topic="work"), reason="", level="full")
        begun = memory.begin(lambda: [first])
        second = memory.accept(Scope(ids=(seen.ids[3],)), reason="", level="full")
        assert seen.subjects[3] == seen.subjects[13]  # whose row is gone
        receipts = []
        memory.finish(begun, lambda _, receipt: receipts.append(receipt))
        memory.finish(memory.begin(lambda: [second]), lambda _, receipt: receipts.append(receipt))
        assert [receipt.status for receipt in receipts] == ["erased", "erased"]
