"""A model is the same wherever its leaves were trained."""

from __future__ import annotations

from typing import Any

import pytest

from forgetnet.experts.cluster import RayTrainer
from forgetnet.experts.processes import Processes
from forgetnet.experts.train import Local
from forgetnet.model import ForgetNet
from tests.model.house import KEY, NOW, torch_expert, world


def digests(trainer: Any) -> tuple[str, str, str]:
    """Return the digests of a model before and after it forgot, and of the receipt's word."""
    here = world(32)
    net = ForgetNet.open(
        encoder="vectors:8", experts=[torch_expert(slices=2)], cap=6, key=KEY,
        clock=lambda: NOW, progress=False, trainer=trainer,
    )  # fmt: skip
    with net:
        here.learn(net, range(32))
        before = net.digest()
        receipt = net.forget(subject="s2", verify="touched")
        return before, net.digest(), receipt.status


def test_a_model_is_the_same_from_one_process_and_from_two() -> None:
    alone = digests(Local())
    assert alone[0] != alone[1] and alone[2] == "erased"
    assert digests(Processes(2)) == alone


@pytest.mark.slow
def test_a_model_is_the_same_from_a_cluster_of_two_nodes_one_of_them_killed() -> None:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    import ray

    cluster = cluster_utils.Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    second = cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)

        class Killing(RayTrainer):
            """Loses the second node once the first leaf is trained."""

            def run(self, jobs: Any, progress: Any = None, stop: Any = None) -> Any:
                def told(number: int, trained: Any) -> None:
                    if len(cluster.list_all_nodes()) == 2:
                        cluster.remove_node(second, allow_graceful=False)
                    if progress is not None:
                        progress(number, trained)

                return super().run(jobs, told, stop)

        assert digests(Killing()) == digests(Local())
        assert len(cluster.list_all_nodes()) == 1
    finally:
        ray.shutdown()
        cluster.shutdown()
