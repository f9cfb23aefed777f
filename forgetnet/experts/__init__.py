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

__all__ = [
    "AdditiveExpert",
    "Expert",
    "Label",
    "Predictor",
    "Stage",
    "State",
    "Target",
    "Task",
    "View",
    "make_view",
]
