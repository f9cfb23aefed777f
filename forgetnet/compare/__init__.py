"""Forgetting by design beside unlearning in weights: the same data, the same models, one table."""

from forgetnet.compare.comparison import Comparison, Row, Spread
from forgetnet.compare.run import run
from forgetnet.compare.settings import Material, Setting

__all__ = ["Comparison", "Material", "Row", "Setting", "Spread", "run"]
