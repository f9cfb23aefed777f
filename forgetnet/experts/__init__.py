"""Experts: the parts of a model that learn from records and can let go of them exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from forgetnet.experts.cluster import RayTrainer
from forgetnet.experts.expert import (
    AdditiveExpert,
    Expert,
    Label,
    Predictor,
    Stage,
    State,
    Target,
    Task,
    View,
    make_view,
)
from forgetnet.experts.neighbour import Neighbour, NeighbourExpert
from forgetnet.experts.processes import Processes
from forgetnet.experts.prototype import PrototypeExpert
from forgetnet.experts.public import PublicCorpus
from forgetnet.experts.ridge import RidgeExpert, RidgeTrunk
from forgetnet.experts.router import Router, SubjectRouter, TopicRouter
from forgetnet.experts.sklearn_expert import SklearnExpert
from forgetnet.experts.train import Job, Local, Trained, Trainer

if TYPE_CHECKING:
    from forgetnet.experts.torch_expert import TorchExpert

__all__ = [
    "AdditiveExpert",
    "Expert",
    "Job",
    "Label",
    "Local",
    "Neighbour",
    "NeighbourExpert",
    "Predictor",
    "Processes",
    "PrototypeExpert",
    "PublicCorpus",
    "RayTrainer",
    "RidgeExpert",
    "RidgeTrunk",
    "Router",
    "SklearnExpert",
    "Stage",
    "State",
    "SubjectRouter",
    "Target",
    "Task",
    "TopicRouter",
    "TorchExpert",
    "Trained",
    "Trainer",
    "View",
    "make_view",
]


def __getattr__(name: str) -> object:
    if name == "TorchExpert":  # torch takes seconds to load; who needs no module shouldn't wait
        from forgetnet.experts.torch_expert import TorchExpert

        return TorchExpert
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
