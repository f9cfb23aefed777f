"""What unlearners of pairs have in common: they take a bank of partners and look at views of it.

Knows nothing of what they minimise.
"""

from __future__ import annotations

from typing import Any

from forgetnet.unlearn.contrastive import ContrastiveTask, Views
from forgetnet.unlearn.descent import Descent
from forgetnet.unlearn.run import Run, Side
from forgetnet.unlearn.task import Task
from forgetnet.unlearn.unlearner import unfit

__all__ = ["Paired"]


class Paired(Descent):
    """A descent on pairs of an input and its partner in a bank."""

    def check(self, forget: Any, retain: Any, task: Task | None, **others: Any) -> Task:
        """Return the task, if it is one of pairs and a bank.

        Raises:
            Unsupported: it isn't; give ``task=ContrastiveTask(...)``.
        """
        chosen = super().check(forget, retain, task, **others)
        if not isinstance(chosen, ContrastiveTask):
            raise unfit(self.name, "it takes task=ContrastiveTask(bank)")
        return chosen

    def _views(self, run: Run, side: Side, positions: list[int]) -> Views:
        batch = run.take(side, positions)
        run.count(batch)
        task: Any = run.task
        views: Views = task.views(run.model, batch)
        return views
