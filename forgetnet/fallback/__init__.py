"""The fallback in the path of a forget: shared weights that learnt from a memory, and let go."""

from forgetnet.fallback.entangled import Entangled
from forgetnet.fallback.ladder import Attempt, Ladder
from forgetnet.fallback.probe import Probe, Retrieval
from forgetnet.fallback.rows import Rows

__all__ = ["Attempt", "Entangled", "Ladder", "Probe", "Retrieval", "Rows"]
