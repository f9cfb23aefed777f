"""Parametric unlearning: the fallback for influence in weights that could not be kept apart."""

from forgetnet.unlearn.adapter import NegateAdapter
from forgetnet.unlearn.alignment import AlignmentCalibration
from forgetnet.unlearn.alternatives import DPO, IdkFineTune
from forgetnet.unlearn.amnesiac import Amnesiac, UpdateTrace
from forgetnet.unlearn.audit import audit_unlearning
from forgetnet.unlearn.causal import CausalLMTask, encode_pairs
from forgetnet.unlearn.collect import Collected, collect
from forgetnet.unlearn.config import Budget, Cost, StopRule
from forgetnet.unlearn.contrastive import ContrastiveTask
from forgetnet.unlearn.dampen import SSD, Fisher
from forgetnet.unlearn.evidence import Margins
from forgetnet.unlearn.gradient import FineTune, GradientAscent, GradientDifference, RandomLabel
from forgetnet.unlearn.ideal import IdealPush
from forgetnet.unlearn.newton import NewtonRemoval
from forgetnet.unlearn.preference import NPO, SimNPO
from forgetnet.unlearn.prune import ClassPruning
from forgetnet.unlearn.queue import UnlearnQueue
from forgetnet.unlearn.recipe import Recipe
from forgetnet.unlearn.registry import available, get, register
from forgetnet.unlearn.replay import DeltaGrad, record_training
from forgetnet.unlearn.report import UnlearningAudit
from forgetnet.unlearn.result import UnlearnResult
from forgetnet.unlearn.retrain import Retrain
from forgetnet.unlearn.rmu import RMU
from forgetnet.unlearn.saliency import SaliencyMask
from forgetnet.unlearn.shards import ShardEnsemble, ShardRetrain
from forgetnet.unlearn.task import ClassificationTask, RegressionTask, Task
from forgetnet.unlearn.teachers import SCRUB, BadTeacher
from forgetnet.unlearn.trials import Relearn
from forgetnet.unlearn.unlearner import Unlearner
from forgetnet.unlearn.whp import WHP

__all__ = [
    "DPO",
    "NPO",
    "RMU",
    "SCRUB",
    "SSD",
    "WHP",
    "AlignmentCalibration",
    "Amnesiac",
    "BadTeacher",
    "Budget",
    "CausalLMTask",
    "ClassPruning",
    "ClassificationTask",
    "Collected",
    "ContrastiveTask",
    "Cost",
    "DeltaGrad",
    "FineTune",
    "Fisher",
    "GradientAscent",
    "GradientDifference",
    "IdealPush",
    "IdkFineTune",
    "Margins",
    "NegateAdapter",
    "NewtonRemoval",
    "RandomLabel",
    "Recipe",
    "RegressionTask",
    "Relearn",
    "Retrain",
    "SaliencyMask",
    "ShardEnsemble",
    "ShardRetrain",
    "SimNPO",
    "StopRule",
    "Task",
    "UnlearnQueue",
    "UnlearnResult",
    "Unlearner",
    "UnlearningAudit",
    "UpdateTrace",
    "audit_unlearning",
    "available",
    "collect",
    "encode_pairs",
    "get",
    "record_training",
    "register",
]
