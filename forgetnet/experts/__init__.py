"""Experts: the parts of a model that learn from records and can let go of them exactly."""

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
from forgetnet.experts.prototype import PrototypeExpert
from forgetnet.experts.ridge import RidgeExpert, RidgeTrunk

__all__ = [
    "AdditiveExpert",
    "Expert",
    "Label",
    "Predictor",
    "PrototypeExpert",
    "RidgeExpert",
    "RidgeTrunk",
    "Stage",
    "State",
    "Target",
    "Task",
    "View",
    "make_view",
]
