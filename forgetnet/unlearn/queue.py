"""Requests to forget, as they come: gathered, carried out in batches, each once and only once.

A folder holds where the queue stands: a record in JSON, the weights after the last batch, and the
checkpoint of a batch that is under way. Requests are ids and positions in a data set that the
caller holds; no data is written. Knows nothing of methods.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from forgetnet.declared import check_kind
from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError
from forgetnet.experts.pinned import mix
from forgetnet.files import make_dir, shred, shred_tree, write_durable
from forgetnet.unlearn.changing import Changing, write_state
from forgetnet.unlearn.config import Cost
from forgetnet.unlearn.result import UnlearnResult, state_digest
from forgetnet.unlearn.task import Task, task_of
from forgetnet.unlearn.unlearner import Unlearner

__all__ = ["Done", "UnlearnQueue", "some_of"]

_RECORD = "queue.json"


def some_of(data: Any, positions: Sequence[int]) -> Any:
    """Return the examples of a data set at some positions, as a data set of the same kind."""
    where = list(positions)
    if isinstance(data, tuple) and len(data) == 2:
        return tuple(
            part[where] if hasattr(part, "shape") else [part[i] for i in where] for part in data
        )
    return [data[i] for i in where]


@dataclass(frozen=True)
class Done:
    """One batch that was carried out.

    Attributes:
        number: from 0.
        requests: ids, in the order of their hashes.
        forgotten: how many examples were.
        stopped: why the method ended; ``nothing`` where all had been forgotten before.
        cost: what the batch took.
        total: what all batches took so far.
        utility: of the model afterwards; None where nobody measures it.
        before, after: digests of the model's state.
    """

    number: int
    requests: tuple[str, ...]
    forgotten: int
    stopped: str
    cost: Cost
    total: Cost
    utility: float | None
    before: str
    after: str


class UnlearnQueue:
    """A stream of requests to one model.

    Args:
        unlearner: the method; each batch has a seed of its own, drawn from the method's.
        model: what is changed, in place. From a folder that was used before it is given the
            weights it had after the last batch.
        data: what the model was trained on, as the task takes it, in an order that doesn't change.
        folder: where the queue stands; its own, made where it isn't there.
        max_requests: carry out a batch once so many requests wait; None for :meth:`flush` alone.
        task: what kind of data it is; told from the data by default.
        utility: measures the model after each batch.

    Raises:
        InvalidRecord: the folder is another queue's: other data, method or settings; or the method
            brings data of its own, which can't fit every batch.
        StoreCorrupt: it can't be read.
    """

    def __init__(
        self,
        unlearner: Unlearner,
        model: nn.Module,
        data: Any,
        folder: str | Path,
        *,
        max_requests: int | None = None,
        task: Task | None = None,
        utility: Callable[[nn.Module], float] | None = None,
    ) -> None:
        check_kind("unlearner", unlearner, Unlearner)
        check_kind("model", model, nn.Module)
        check_kind("max_requests", max_requests, int | None)
        if max_requests is not None and max_requests < 1:
            raise InvalidRecord("max_requests= is at least 1, or None")
        if isinstance(unlearner, Changing) and unlearner.extra():
            raise InvalidRecord(f"{unlearner.name} is given data for one forget set, not for many")
        self.unlearner, self.model, self.data = unlearner, model, data
        self.max_requests, self.utility = max_requests, utility
        self.task = task_of(data, task)
        self._root = Path(folder)
        self._waiting: dict[str, tuple[int, ...]] = {}
        self._applied: dict[str, tuple[int, ...]] = {}
        self._begun: tuple[str, ...] = ()
        self._done: list[Done] = []
        identity = {
            "method": unlearner.name,
            "settings": unlearner.to_plain(),
            "size": self.task.size(data),
        }
        self._identity: dict[str, Any] = json.loads(json.dumps(identity))
        if (self._root / _RECORD).exists():
            self._open()
        else:
            self._start = state_digest(model)
            self._write()

    # -- requests

    @property
    def waiting(self) -> tuple[str, ...]:
        """Ids of the requests that are still to be carried out, in the order of their hashes."""
        return tuple(sorted(self._waiting, key=_hash))

    @property
    def done(self) -> tuple[Done, ...]:
        """The batches so far."""
        return tuple(self._done)

    def submit(self, request_id: str, positions: Sequence[int]) -> Done | None:
        """Take a request durably; return the batch, if this one filled it.

        Args:
            request_id: never used before.
            positions: of what is to be forgotten, in the data.

        Raises:
            InvalidRecord: the id was used, or a position isn't in the data.
        """
        if request_id in self._waiting or request_id in self._applied:
            state = "waits" if request_id in self._waiting else "was carried out"
            raise InvalidRecord(f"request {request_id[:80]!r} {state} already")
        where, size = sorted({int(p) for p in positions}), int(self._identity["size"])
        if not where or where[0] < 0 or where[-1] >= size:
            raise InvalidRecord(f"a request names positions from 0 to {size - 1}, at least one")
        self._waiting[request_id] = tuple(where)
        self._write()
        full = self.max_requests is not None and len(self._waiting) >= self.max_requests
        return self.flush() if full else None

    def flush(self) -> Done | None:
        """Carry out what waits as one batch; None where nothing does.

        A batch that was begun and cut short goes on to the bits it would have had; what came since
        waits for the next.

        Raises:
            InvalidRecord: the method can't work with what is left of the data; the batch waits.
        """
        if not self._waiting:
            return None
        if not self._begun:
            self._begun = self.waiting
            self._write()
        gone = {p for positions in self._applied.values() for p in positions}
        order = [p for request in self._begun for p in self._waiting[request]]
        lost = [p for p in dict.fromkeys(order) if p not in gone]
        result = self._unlearn(lost, gone) if lost else None
        return self._record(result, len(lost))

    def trail(self, request_id: str) -> dict[str, Any]:
        """Return what became of a request: its batch and an equal share of that batch's cost.

        ``done`` is not ``forgotten``: ``stopped`` says how the method ended, and ``changed``
        whether it left a mark at all.

        Raises:
            InvalidRecord: there is no such request.
        """
        if request_id in self._waiting:
            return {"request": request_id, "state": "waiting"}
        for batch in self._done:
            if request_id in batch.requests:
                share = {n: v / len(batch.requests) for n, v in asdict(batch.cost).items()}
                told: dict[str, Any] = {"request": request_id, "state": "done"}
                told["batch"] = batch.number
                told |= {"stopped": batch.stopped, "changed": batch.before != batch.after}
                return {**told, "cost": share, "utility": batch.utility}
        raise InvalidRecord(f"there is no request {request_id[:80]!r}")

    # -- a batch

    def _unlearn(self, lost: list[int], gone: set[int]) -> UnlearnResult:
        size, number = int(self._identity["size"]), len(self._done)
        left = [p for p in range(size) if p not in gone and p not in set(lost)]
        seeded = self.unlearner.set_params(seed=mix(self.unlearner.seed, "batch", number))
        return seeded.unlearn(
            self.model,
            some_of(self.data, lost),
            some_of(self.data, left) if left else None,
            task=self.task,
            inplace=True,
            checkpoint=self._root / f"batch-{number}",
            resume=True,
        )

    def _record(self, result: UnlearnResult | None, forgotten: int) -> Done:
        """Write the weights, then the record that names them: a crash between is told apart."""
        cost = Cost() if result is None else result.cost
        before = self._done[-1].after if self._done else self._start
        done = Done(
            len(self._done),
            self._begun,
            forgotten,
            "nothing" if result is None else result.stopped,
            cost,
            cost + (self._done[-1].total if self._done else Cost()),
            None if self.utility is None else float(self.utility(self.model)),
            before,
            before if result is None else result.after,
        )
        tensors: dict[str, Tensor] = {
            name: tensor.detach().cpu().clone().contiguous()
            for name, tensor in self.model.state_dict().items()
        }
        self._put(self._weights(done.number), save(tensors))
        self._done.append(done)
        for request in self._begun:
            self._applied[request] = self._waiting.pop(request)
        self._begun = ()
        self._write()
        self._tidy(done.number)
        return done

    # -- the folder

    def _weights(self, number: int) -> Path:
        return self._root / f"weights-{number}.safetensors"

    def _put(self, path: Path, body: bytes) -> None:
        try:
            make_dir(self._root)
            write_durable(path, body)
        except OSError as error:
            raise StoreError(f"can't write to {self._root}: {error.strerror}") from error

    def _write(self) -> None:
        record = {
            "identity": self._identity,
            "start": self._start,
            "waiting": self._waiting,
            "applied": self._applied,
            "begun": self._begun,
            "done": [asdict(done) for done in self._done],
        }
        self._put(self._root / _RECORD, json.dumps(record, indent=1).encode())

    def _open(self) -> None:
        try:
            record = json.loads((self._root / _RECORD).read_bytes())
            identity, self._start = record["identity"], str(record["start"])
            self._waiting = {str(r): tuple(p) for r, p in record["waiting"].items()}
            self._applied = {str(r): tuple(p) for r, p in record["applied"].items()}
            self._begun = tuple(record["begun"])
            self._done = [_done_of(told) for told in record["done"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreCorrupt(f"{self._root} holds no queue; name another folder") from error
        if identity != self._identity:
            raise InvalidRecord(
                f"{self._root} is another queue's (method, settings or size of the data differ)"
            )
        if self._done:
            self._restore(len(self._done) - 1)
        elif state_digest(self.model) != self._start:
            raise InvalidRecord("the model isn't the one that this queue began with")

    def _restore(self, number: int) -> None:
        try:
            write_state(self.model, load(self._weights(number).read_bytes()))
        except (OSError, SafetensorError, KeyError, RuntimeError) as error:
            raise StoreCorrupt(f"{self._weights(number)} can't be read into the model") from error
        if state_digest(self.model) != self._done[-1].after:
            raise StoreCorrupt(f"{self._weights(number)} isn't what the last batch left")
        self._tidy(number)

    def _tidy(self, number: int) -> None:
        """Shred what knows of things that a batch has forgotten: older weights, its checkpoint."""
        shred(self._weights(number - 1))
        shred_tree(self._root / f"batch-{number}")


def _hash(request_id: str) -> bytes:
    return hashlib.sha256(request_id.encode()).digest()


def _done_of(told: dict[str, Any]) -> Done:
    cost, total = Cost(**told["cost"]), Cost(**told["total"])
    return Done(**{**told, "requests": tuple(told["requests"]), "cost": cost, "total": total})
