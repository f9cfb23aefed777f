"""Training on Ray: the bits of here, on one machine or two, also when one is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from forgetnet.errors import StoreError
from forgetnet.experts import State
from forgetnet.experts.cluster import RayTrainer
from forgetnet.experts.torch_expert import TorchExpert
from forgetnet.experts.train import Job, Local
from tests.experts import leaves
from tests.experts.leaves import leaf
from tests.experts.test_train import SLICED, digests, jobs

ray = pytest.importorskip("ray")


@pytest.fixture
def disconnected() -> Iterator[None]:
    assert not ray.is_initialized()
    yield
    ray.shutdown()


def test_ray_gives_the_bits_of_here_and_a_killed_worker_is_replaced(
    disconnected: None, tmp_path: Path
) -> None:
    mortal = leaves.DiesOnce(**{**vars(SLICED), "mark": str(tmp_path / "died")})
    told: list[int] = []
    # One Ray for all of it: starting one takes seconds.
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        _node_ip_address="127.0.0.1",
    )
    trainer = RayTrainer(workers=1)
    mixed = [*jobs(2), Job(mortal, leaf(seed=2), 2)]
    found = trainer.run(mixed, lambda number, _: told.append(number))
    assert (tmp_path / "died").exists()
    assert digests(found) == digests(Local().run(jobs(3)))
    assert sorted(told) == [0, 1, 2]
    (wild,) = trainer.run([Job(replace(SLICED, lr=1e30), leaf(), 0)])
    assert wild is not None and "finite number" in wild.refused
    with pytest.raises(StoreError, match="lost the worker"):
        RayTrainer(retries=0).run([Job(leaves.AlwaysDies(**vars(SLICED)), leaf(), 0)])
    stop = threading.Event()
    stop.set()
    assert trainer.run(jobs(2), stop=stop) == [None, None]
    assert ray.is_initialized()  # it was not the trainer's to end


@pytest.mark.slow
def test_a_ray_of_its_own_is_ended(disconnected: None) -> None:
    assert digests(RayTrainer().run(jobs(2))) == digests(Local().run(jobs(2)))
    assert not ray.is_initialized()
    assert RayTrainer().run([]) == []


@dataclass(frozen=True, eq=False)
class Slow(TorchExpert):
    """Marks where it began and waits, so that its node can be taken away meanwhile."""

    folder: str = ""

    def fit(self, *given: Any, **more: Any) -> State:
        node = ray.get_runtime_context().get_node_id()
        (Path(self.folder) / f"{node} {time.time_ns()}").touch()
        time.sleep(2.0)
        return super().fit(*given, **more)


@pytest.mark.slow
def test_a_node_lost_on_the_way_changes_no_bit(disconnected: None, tmp_path: Path) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        waiting = Slow(**{**vars(replace(SLICED, slices=1)), "folder": str(tmp_path)})
        work = [Job(waiting, leaf(seed=s), s) for s in range(4)]
        begun: dict[str, Any] = {}
        thread = threading.Thread(target=lambda: begun.update(found=RayTrainer().run(work)))
        thread.start()
        deadline = time.monotonic() + 120
        while second.node_id not in {p.name.split()[0] for p in tmp_path.iterdir()}:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        cluster.remove_node(second, allow_graceful=False)
        thread.join(240)
        assert not thread.is_alive()
        plain = replace(SLICED, slices=1)
        expected = Local().run([Job(plain, leaf(seed=s), s) for s in range(4)])
        assert digests(begun["found"]) == digests(expected)
        assert len(list(tmp_path.iterdir())) > 4  # one leaf at least was begun twice
    finally:
        ray.shutdown()
        cluster.shutdown()
