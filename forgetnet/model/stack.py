"""The stack of a model: which experts it has, what weight each has, and how leaves are made.

Settings only, fixed when a model is made; equal stacks and equal live records give equal models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord, ReceiptInvalid
from forgetnet.experts.expert import AdditiveExpert, Expert, Task, config_digest
from forgetnet.experts.neighbour import NeighbourExpert
from forgetnet.experts.registry import describe, revive
from forgetnet.experts.router import Router, SubjectRouter
from forgetnet.forget import strict
from forgetnet.model.serve import MEMORY
from forgetnet.record import canonical_json

__all__ = ["CAP", "Stack", "from_plain", "make_stack"]

CAP = 512
"""Records of several subjects that one leaf's expert learns from at most, by default."""
_TAKEN = {MEMORY, "store", "index", "encoder", "rows", "vectors and index"}
"""What plans and receipts call the parts of a memory."""
_SENTENCE = 260
_WEIGHTS = {Influence.ADDITIVE: 1.0, Influence.ISOLATED: 1.0, Influence.LOCAL: 0.5}


@dataclass(frozen=True)
class Stack:
    """What a model is made of.

    Attributes:
        task: classification or regression.
        sums: additive experts, over all records.
        leaves: isolated experts, one state a leaf.
        memory: answers from the rows; None to leave it out.
        weights: by name; shares of the answer, to be normalised.
        cap: most records of several subjects in a leaf.
        router: sends records to leaves, and queries.
        chosen: sentences on what was chosen on which public data.
    """

    task: Task
    sums: tuple[AdditiveExpert, ...]
    leaves: tuple[Expert, ...]
    memory: NeighbourExpert | None
    weights: Mapping[str, float]
    cap: int = CAP
    router: Router = field(default_factory=SubjectRouter)
    chosen: tuple[str, ...] = ()

    def config(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        experts: Sequence[Expert] = (*self.sums, *self.leaves)
        memory = None if self.memory is None else dict(self.memory.config())
        return {
            "task": self.task,
            "experts": {expert.name: config_digest(expert) for expert in experts},
            "memory": memory,
            "weights": {name: self.weights[name] for name in sorted(self.weights)},
            "cap": self.cap,
            "router": {"name": self.router.name, **self.router.config()},
        }

    def to_plain(self) -> dict[str, Any]:
        """Return what :func:`from_plain` needs to make the stack again."""
        parts = [*self.sums, *self.leaves, *([self.memory] if self.memory else [])]
        return {
            "task": self.task,
            "experts": [describe(part) for part in parts],
            "router": describe(self.router),
            "weights": dict(self.weights),
            "cap": self.cap,
            "chosen": list(self.chosen),
        }

    def digest(self) -> str:
        """Hash the settings."""
        return hashlib.sha256(canonical_json(self.config()).encode()).hexdigest()


def from_plain(told: Mapping[str, Any]) -> Stack:
    """Make a stack from its settings.

    Raises:
        Unsupported: it holds what a file can't name; make it from the same parts again.
    """
    return make_stack(
        told["task"],
        [revive(part) for part in told["experts"]],
        weights=told["weights"],
        cap=told["cap"],
        router=revive(told["router"]),
        chosen=told["chosen"],
    )


def make_stack(
    task: Task,
    experts: Sequence[Expert | NeighbourExpert],
    *,
    weights: Mapping[str, float] | None = None,
    cap: int = CAP,
    router: Router | None = None,
    chosen: Sequence[str] = (),
) -> Stack:
    """Check and sort the parts of a model.

    Raises:
        InvalidRecord: there are none, two have one name, one is of another task, a weight or the
            cap makes no sense, or a receipt couldn't say a name or what was chosen.
    """
    learnt = [expert for expert in experts if not isinstance(expert, NeighbourExpert)]
    memories = [expert for expert in experts if isinstance(expert, NeighbourExpert)]
    names = [expert.name for expert in learnt] + [MEMORY] * len(memories)
    if not names or len(set(names)) < len(names):
        raise InvalidRecord(
            f"a model needs experts of distinct names, and at most one memory; these are {names}"
        )
    _check_words(names[: len(learnt)], chosen)
    if wrong := [expert.name for expert in learnt if expert.task != task]:
        raise InvalidRecord(f"{', '.join(wrong)}: made for another task than {task}")
    sums = tuple(e for e in learnt if e.influence is Influence.ADDITIVE)
    leaves = tuple(e for e in learnt if e.influence is Influence.ISOLATED)
    if strange := [e.name for e in learnt if e not in sums and e not in leaves]:
        raise InvalidRecord(
            f"{', '.join(strange)}: an expert of a model is ADDITIVE or ISOLATED; for another "
            "influence use the parametric unlearner"
        )
    told = {expert.name: _WEIGHTS[expert.influence] for expert in learnt}
    if memories:
        told[MEMORY] = _WEIGHTS[Influence.LOCAL]
    if unknown := set(weights or {}) - set(told):
        raise InvalidRecord(f"weights= names {sorted(unknown)}; the parts are {sorted(told)}")
    told |= dict(weights or {})
    if not all(0.0 <= w < float("inf") for w in told.values()) or not any(told.values()):
        raise InvalidRecord("weights are finite numbers of at least 0, and not all 0")
    if cap < 1:
        raise InvalidRecord(f"cap must be at least 1, not {cap}")
    adding = tuple(e for e in sums if isinstance(e, AdditiveExpert))
    if len(adding) < len(sums):
        raise InvalidRecord("an ADDITIVE expert needs absorb, expel and bridge")
    return Stack(
        task,
        adding,
        leaves,
        memories[0] if memories else None,
        told,
        cap,
        router or SubjectRouter(),
        tuple(chosen),
    )


def _check_words(names: Sequence[str], chosen: Sequence[str]) -> None:
    """Refuse what no receipt could say: later, it would stop every forget.

    Raises:
        InvalidRecord: a name isn't a few lower-case words or is taken, or a sentence isn't plain.
    """
    try:
        for own in names:
            strict.name(own, "the name of an expert")
        if isinstance(chosen, str):
            raise InvalidRecord("chosen= is a list of sentences; put the one in a list")
        for told in chosen:
            strict.plain(told, _SENTENCE, "what was chosen")
    except ReceiptInvalid as error:
        raise InvalidRecord(f"{error}, and receipts say it") from None
    if taken := sorted(_TAKEN.intersection(names)):
        raise InvalidRecord(f"an expert can't be called {taken[0]!r}: a part of the memory is")
