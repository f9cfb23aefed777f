"""SISA: a model a shard, trained slice by slice, so that forgetting trains one shard's tail again.

An example's shard and slice are functions of its digest and the seed alone, and a checkpoint is
named after the examples it has seen: so the state is a function of the set of what is retained, and
needs no record of what was there. Knows nothing of the models inside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.experts.pinned import mix, pinned
from forgetnet.files import shred
from forgetnet.record import canonical_json
from forgetnet.unlearn.changing import Changing, Course, Ending, look, write_state
from forgetnet.unlearn.config import Cost, Guarantee
from forgetnet.unlearn.identity import digests, joint_digest
from forgetnet.unlearn.recipe import Recipe
from forgetnet.unlearn.registry import register
from forgetnet.unlearn.result import Step
from forgetnet.unlearn.retrain import Build, fresh_model, named
from forgetnet.unlearn.run import Run
from forgetnet.unlearn.task import Batch, Task, task_of
from forgetnet.unlearn.unlearner import snapshot_of, unfit
from forgetnet.unlearn.whole import read_whole, write_whole

__all__ = ["ShardEnsemble", "ShardRetrain", "expected_share"]


def expected_share(shards: int, slices: int) -> Fraction:
    """Return which share of a whole training one uniformly random request costs, on average.

    (1/S)(2/3 + 1/(3R)), from the sums of the slices that are trained again (time analysis of
    Bourtoule et al. 2021): of one shard, 1 at the first slice, 2/(R+1) at the last.
    """
    return Fraction(1, shards) * (Fraction(2, 3) + Fraction(1, 3 * slices))


class ShardEnsemble(nn.Module):
    """Models that answer together.

    Args:
        members: one a shard.
        vote: ``probabilities`` returns logs of their mean; ``mean`` the mean of the answers.
    """

    def __init__(self, members: list[nn.Module], vote: Literal["probabilities", "mean"]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.vote = vote

    def forward(self, inputs: Tensor) -> Tensor:
        """Return (n, c) answers."""
        answers = torch.stack([member(inputs) for member in self.members])
        if self.vote == "mean":
            return answers.mean(dim=0)
        logs = answers.log_softmax(dim=-1)
        together: Tensor = logs.logsumexp(dim=0)
        return together.log_softmax(dim=-1)


@register("shard_retrain")
@dataclass(frozen=True)
class ShardRetrain(Changing):
    """Retrain the shards that saw it, each from its last slice that didn't (SISA).

    Attributes:
        build: makes a fresh model of one shard.
        folder: holds the checkpoints of all slices; None keeps none, so shards begin anew.
        shards: S.
        slices: R of each shard.
        recipe: how each is trained; its epochs are those of an unsliced shard.
        vote: how models answer together.
    """

    name: ClassVar[str] = "shard_retrain"
    guarantee: ClassVar[Guarantee] = "exact"
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain", "build"})
    reference: ClassVar[str] = "Bourtoule et al. 2021, Machine Unlearning, SISA training"

    build: Build | None = None
    folder: str | None = None
    shards: int = 4
    slices: int = 4
    recipe: Recipe = field(default_factory=Recipe)
    vote: Literal["probabilities", "mean"] = "probabilities"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shards < 1 or self.slices < 1:
            raise InvalidRecord("shards= and slices= are at least 1")
        if self.params != (".*",):
            raise InvalidRecord("shard_retrain trains whole models; leave params= as it is")

    def means(self) -> dict[str, Any]:
        """Return the factory."""
        return {"build": self.build}

    def to_plain(self) -> dict[str, Any]:
        """Return the settings, but for where the checkpoints are."""
        return {**super().to_plain(), "build": named(self.build), "folder": bool(self.folder)}

    # -- who is where

    def placed(self, task: Task, data: Any) -> list[list[list[tuple[str, int]]]]:
        """Return, by shard and slice, digests and positions in canonical order."""
        found: list[list[list[tuple[str, int]]]] = [
            [[] for _ in range(self.slices)] for _ in range(self.shards)
        ]
        for position, digest in enumerate(digests(task, data)):
            shard = mix(self.seed, "shard", digest) % self.shards
            found[shard][mix(self.seed, "slice", digest) % self.slices].append((digest, position))
        for shards in found:
            for slice_ in shards:
                slice_.sort()
        return found

    @property
    def slice_epochs(self) -> float:
        """Epochs a slice, so that all slices together cost what an unsliced shard does."""
        return 2.0 * self.recipe.epochs / (self.slices + 1)

    def _path(self, shard: int, seen: list[list[tuple[str, int]]]) -> Path | None:
        if self.folder is None:
            return None
        told = canonical_json({**self.to_plain(), "device": "", "folder": ""})
        words = [",".join(digest for digest, _ in slice_) for slice_ in seen]
        return Path(self.folder) / f"{joint_digest(told, str(shard), *words)}.safetensors"

    def _known(self, shard: int, slices: list[list[tuple[str, int]]]) -> int:
        """Return how many slices the longest checkpoint of these examples has seen."""
        for count in range(self.slices, 0, -1):
            path = self._path(shard, slices[:count])
            if path is not None and path.exists():
                return count
        return 0

    # -- training

    def fit(self, data: Any, *, task: Task | None = None) -> ShardEnsemble:
        """Train all shards on a data set, or take them from their checkpoints.

        Raises:
            InvalidRecord: there is no ``build``.
        """
        chosen = task_of(data, task)
        placed = self.placed(chosen, data)
        members = []
        with pinned():
            for shard in range(self.shards):
                here = torch.device(self.device or "cpu")
                taught = self._train(shard, placed[shard], chosen, data, device=here)
                members.append(taught.eval())
        return ShardEnsemble(members, self.vote)

    def _train(
        self,
        shard: int,
        slices: list[list[tuple[str, int]]],
        task: Task,
        data: Any,
        *,
        device: torch.device,
        meter: Callable[[Batch], None] = lambda _: None,
        told: Callable[[nn.Module], None] = lambda _: None,
    ) -> nn.Module:
        if self.build is None:
            raise InvalidRecord("shard_retrain needs build=, which makes a fresh model")
        model = fresh_model(self.build, mix(self.seed, "shard", shard), device).train()
        optimiser = self.recipe.optimiser(model)
        first = self._known(shard, slices)
        if first:
            _load(self._path(shard, slices[:first]), model, optimiser)
        for number in range(first, self.slices):
            seen = slices[: number + 1]
            self.recipe.train(
                model,
                optimiser,
                task,
                data,
                [place for slice_ in seen for _, place in slice_],
                epochs=self.slice_epochs,
                seed=mix(self.seed, "slice", shard, number),
                device=device,
                meter=meter,
            )
            _save(self._path(shard, seen), model, optimiser)
            told(model)
        model.zero_grad(set_to_none=True)
        return model

    # -- forgetting

    def _plan(self, task: Task, forget: Any, retain: Any) -> tuple[list[int], list[Any]]:
        gone, kept = self.placed(task, forget), self.placed(task, retain)
        return [s for s in range(self.shards) if any(gone[s])], kept

    def estimate(
        self, model: nn.Module, forget: Any, retain: Any = None, *, task: Task | None = None
    ) -> Cost:
        """Predict the cost from the checkpoints that are there."""
        chosen = self.check(forget, retain, task, **self.means())
        shards, kept = self._plan(chosen, forget, retain)
        steps = examples = 0
        for shard in shards:
            for number in range(self._known(shard, kept[shard]), self.slices):
                size = sum(len(slice_) for slice_ in kept[shard][: number + 1])
                steps += self.recipe.steps(size, self.slice_epochs)
                examples += int(size * self.slice_epochs)
        sizes = [chosen.size(forget), chosen.size(retain)]
        seen = examples + 2 * sum(min(self.stop.probe, size) for size in sizes)
        return Cost(steps, seen, examples, seen)

    def carry_out(self, run: Run, course: Course) -> Ending:
        """Retrain the shards that saw the forget set, and shred their old checkpoints."""
        model = run.model
        if not isinstance(model, ShardEnsemble) or len(model.members) != self.shards:
            raise unfit(self.name, f"give an ensemble of {self.shards} shards, made by fit()")
        shards, kept = self._plan(run.task, run.data["forget"], run.data["retain"])
        data, start = run.data["retain"], snapshot_of(model)
        look(run, course, 0)

        def meter(batch: Batch) -> None:
            run.count(batch, steps=1)

        def told(taught: nn.Module) -> None:
            run.history.append(Step(run.cost.steps, None, None))
            for callback in course.callbacks:
                callback(run.history[-1], taught)

        reasons = [] if run.device.type == "cpu" else ["equal bits are only known of a CPU"]
        with pinned(), torch.enable_grad():
            for shard, member in enumerate(model.members):
                if shard in shards:
                    slices, here = kept[shard], run.device
                    new = self._train(
                        shard, slices, run.task, data, device=here, meter=meter, told=told
                    )
                    if not all(bool(t.isfinite().all()) for t in new.parameters()):
                        write_state(model, start)
                        return Ending("not_finite", "approximate", notes=("nothing changed",))
                    write_state(member, new.state_dict())
                elif not self._as_trained(shard, kept[shard], member):
                    reasons.append(f"shard {shard} has no checkpoint that shows what it saw")
        run.history.append(Step(run.cost.steps, run.probe("forget"), run.probe("retain")))
        self._tidy(kept)
        if reasons:
            return Ending("done", "approximate", notes=tuple(reasons))
        held = {"shards": shards, "compared": "all other shards have the bits of their checkpoint"}
        return Ending("done", "exact", held, ())

    def _as_trained(self, shard: int, slices: list[list[tuple[str, int]]], member: Any) -> bool:
        path = self._path(shard, slices)
        if path is None or not path.exists():
            return False
        stored, _ = read_whole(path)
        state: dict[str, Tensor] = member.state_dict()
        return all(torch.equal(stored[f"weights/{n}"], t.cpu()) for n, t in state.items())

    def _tidy(self, kept: list[Any]) -> None:
        """Shred the checkpoints of other examples than those that are left."""
        if self.folder is None:
            return
        living = {
            self._path(shard, kept[shard][:count])
            for shard in range(self.shards)
            for count in range(1, self.slices + 1)
        }
        for path in Path(self.folder).glob("*.safetensors"):
            if path not in living:
                shred(path)


def _save(path: Path | None, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    if path is None:
        return
    tensors = {f"weights/{name}": t for name, t in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        for key, moment in optimiser.state.get(parameter, {}).items():
            if moment is not None:
                tensors[f"{key}/{name}"] = torch.as_tensor(moment)
    write_whole(path, tensors)


def _load(path: Path | None, model: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    tensors = {} if path is None else read_whole(path)[0]
    write_state(model, {n: tensors[f"weights/{n}"] for n in model.state_dict()})
    for name, parameter in model.named_parameters():
        for key, tensor in tensors.items():
            kind, _, owner = key.partition("/")
            if owner == name and kind != "weights":
                kept = tensor if kind == "step" else tensor.to(parameter.device)
                optimiser.state[parameter][kind] = kept
