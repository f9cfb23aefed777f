"""Parametric unlearning: the fallback for influence in weights that could not be kept apart."""

from forgetnet.unlearn.adapter import NegateAdapter
from forgetnet.unlearn.alignment import AlignmentCalibration
from forgetnet.unlearn.alternatives import DPO, IdkFineTune
from forgetnet.unlearn.causal import CausalLMTask, encode_pairs
from forgetnet.unlearn.config import Budget, Cost, StopRule
from forgetnet.unlearn.contrastive import ContrastiveTask
from forgetnet.unlearn.gradient import FineTune, GradientAscent, GradientDifference, RandomLabel
from forgetnet.unlearn.preference import NPO, SimNPO
from forgetnet.unlearn.registry import available, get, register
from forgetnet.unlearn.result import UnlearnResult
from forgetnet.unlearn.rmu import RMU
from forgetnet.unlearn.task import ClassificationTask, RegressionTask, Task
from forgetnet.unlearn.unlearner import Unlearner
from forgetnet.unlearn.whp import WHP

__all__ = [
    "DPO",
    "NPO",
    "RMU",
    "WHP",
    "AlignmentCalibration",
    "Budget",
    "CausalLMTask",
    "ClassificationTask",
    "ContrastiveTask",
    "Cost",
    "FineTune",
    "GradientAscent",
    "GradientDifference",
    "IdkFineTune",
    "NegateAdapter",
    "RandomLabel",
    "RegressionTask",
    "SimNPO",
    "StopRule",
    "Task",
    "UnlearnResult",
    "Unlearner",
    "available",
    "encode_pairs",
    "get",
    "register",
]
