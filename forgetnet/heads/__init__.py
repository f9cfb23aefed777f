"""Heads: maps from an encoder's vectors to hyperbolic space, by how they hold what they learnt.

``PublicHead`` learnt from a public hierarchy and is frozen; ``RidgeHead`` adapts it to a user's
labels by exact sums, which can be undone; what is trained on users' data by gradients is entangled
and belongs to ``forgetnet.unlearn``. A head ranks what is broader and what is narrower; it never
decides what is deleted. Knows nothing of stores' files or receipts.
"""

from typing import TYPE_CHECKING, Any

from forgetnet.heads.hierarchy import Hierarchy
from forgetnet.heads.public import Pins, PublicHead, load_head
from forgetnet.heads.tangents import TangentMap, exterior_angles

if TYPE_CHECKING:
    from forgetnet.heads.module import HyperbolicHead, pipeline
    from forgetnet.heads.points import embed_tree
    from forgetnet.heads.ridge import RidgeHead
    from forgetnet.heads.train import train_head

__all__ = [
    "Hierarchy",
    "HyperbolicHead",
    "Pins",
    "PublicHead",
    "RidgeHead",
    "TangentMap",
    "embed_tree",
    "exterior_angles",
    "load_head",
    "pipeline",
    "train_head",
]

_LATE = {
    "HyperbolicHead": "module",
    "RidgeHead": "ridge",
    "embed_tree": "points",
    "pipeline": "module",
    "train_head": "train",
}


def __getattr__(name: str) -> Any:
    """Load what needs torch when it is first asked for: to answer, NumPy is enough."""
    if name in _LATE:
        from importlib import import_module

        return getattr(import_module(f"forgetnet.heads.{_LATE[name]}"), name)
    raise AttributeError(f"module 'forgetnet.heads' has no attribute {name!r}")
