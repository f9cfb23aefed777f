"""What a step of an unlearner costs beside the same step in a loop that is written out by hand.

    python benchmarks/unlearning_steps.py [--rounds 5] [--steps 12] [--width 192] \
        [--markdown docs/benchmarks.md]

A small decoder of random weights and random texts; one thread; both take turns, round by round.
Each step is timed by processor time from the end of the one before, looks and preparation left
out, and a line is the median over rounds of the ratio of medians. Both sides pad the same texts to
the same batches, and at the end their weights must be close. A ratio above 1.05, or weights that
differ, end the script with an error.
"""

from __future__ import annotations

import argparse
import copy
import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from page import put, table
from timing import is_one_thread, machine, one_thread
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.unlearn import DPO, NPO, RMU, GradientDifference, SimNPO, StopRule
from forgetnet.unlearn.changing import Hook
from forgetnet.unlearn.run import Run

COMMAND = "`python benchmarks/unlearning_steps.py`"
MOST = 1.05
HEAD = ("a step of", "ours", "by hand", "ratio", "weights apart", "at most 1.05")
VOCABULARY, LENGTH, BATCH = 1000, 48, 8
FREE = StopRule(forget_loss=None, retain_increase=None, every=10**6, probe=1)
Rows = list[dict[str, list[int]]]


class Block(nn.Module):
    """Attention and a feed-forward layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor) -> Tensor:
        """Map (n, t, d) to (n, t, d)."""
        q, k, v = self.qkv(self.first(h)).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        h = h + self.out(mixed.transpose(1, 2).flatten(2))
        out: Tensor = h + self.down(functional.gelu(self.up(self.second(h))))
        return out


class Decoder(nn.Module):
    """A language model of three blocks."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(VOCABULARY, width), nn.Embedding(LENGTH, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(3))
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, ids: Tensor) -> Tensor:
        """Map (n, t) ids to (n, t, v) logits."""
        h = self.embed(ids) + self.place.weight[: ids.shape[1]]
        for block in self.blocks:
            h = block(h)
        logits: Tensor = self.head(h)
        return logits


def texts(count: int, seed: int) -> Rows:
    """Make up sequences of which the second half is labelled."""
    draw = torch.Generator().manual_seed(seed)
    rows = []
    for _ in range(count):
        size = int(torch.randint(LENGTH - 8, LENGTH + 1, (1,), generator=draw))
        ids = torch.randint(VOCABULARY, (size,), generator=draw).tolist()
        rows.append({"input_ids": ids, "labels": [-100] * (size // 2) + ids[size // 2 :]})
    return rows


FORGET, RETAIN, OTHER = texts(32, 1), texts(64, 2), texts(32, 3)


class Clock(Hook):
    """Notes the processor time at the end of each step, and which examples it saw."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def after_step(self, run: Run) -> None:
        """Note the time."""
        self.times.append(time.process_time())


def padded(rows: Rows, positions: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids, labels and mask, (n, t) each."""
    some = [rows[i] for i in positions]
    longest = max(len(row["input_ids"]) for row in some)
    ids = torch.zeros(len(some), longest, dtype=torch.long)
    labels = torch.full((len(some), longest), -100)
    mask = torch.zeros(len(some), longest)
    for i, row in enumerate(some):
        size = len(row["input_ids"])
        ids[i, :size] = torch.tensor(row["input_ids"])
        labels[i, :size] = torch.tensor(row["labels"])
        mask[i, :size] = 1.0
    return ids, labels, mask


def nll(model: nn.Module, rows: Rows, positions: list[int]) -> tuple[Tensor, Tensor]:
    """Return sums of -log p over labels, and how many they are."""
    ids, labels, _ = padded(rows, positions)
    logits, wanted = model(ids)[:, :-1], labels[:, 1:]
    each = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
    return each.view(wanted.shape).sum(1), (wanted != -100).sum(1)


def mean(model: nn.Module, rows: Rows, positions: list[int]) -> Tensor:
    """Return the mean loss of a batch."""
    total, count = nll(model, rows, positions)
    return (total / count).mean()


def reference(model: nn.Module, rows: Rows) -> Tensor:
    """Return the likelihoods before the first step."""
    parts = [list(range(i, min(i + BATCH, len(rows)))) for i in range(0, len(rows), BATCH)]
    with torch.no_grad():
        return torch.cat([nll(model, rows, part)[0] for part in parts])


Loss = Callable[[list[int], list[int]], Tensor]


def ascent(model: nn.Module) -> Loss:
    """Gradient difference."""
    return lambda f, r: mean(model, RETAIN, r) - mean(model, FORGET, f)


def npo(model: nn.Module) -> Loss:
    """NPO, beta 0.1."""
    before = reference(model, FORGET)

    def loss(f: list[int], r: list[int]) -> Tensor:
        lost = -20.0 * functional.logsigmoid(0.1 * (nll(model, FORGET, f)[0] - before[f])).mean()
        return lost + mean(model, RETAIN, r)

    return loss


def simnpo(model: nn.Module) -> Loss:
    """SimNPO, beta 4.5."""

    def loss(f: list[int], r: list[int]) -> Tensor:
        total, count = nll(model, FORGET, f)
        lost = -2.0 / 4.5 * functional.logsigmoid(4.5 * total / count).mean()
        return 0.125 * lost + mean(model, RETAIN, r)

    return loss


def dpo(model: nn.Module) -> Loss:
    """DPO, beta 0.1."""
    old, new = reference(model, FORGET), reference(model, OTHER)

    def loss(f: list[int], r: list[int]) -> Tensor:
        win = new[f] - nll(model, OTHER, f)[0]
        lose = old[f] - nll(model, FORGET, f)[0]
        return -20.0 * functional.logsigmoid(0.1 * (win - lose)).mean() + mean(model, RETAIN, r)

    return loss


def rmu(model: nn.Module) -> Loss:
    """RMU at the second block; the whole model runs, as it does in the authors' code."""
    frozen: Any = copy.deepcopy(model).requires_grad_(False)
    own: Any = model
    seen: dict[str, Tensor] = {}
    own.blocks[1].register_forward_hook(lambda _m, _a, out: seen.update(now=out))
    frozen.blocks[1].register_forward_hook(lambda _m, _a, out: seen.update(then=out))
    control = rmu_control(model)

    def loss(f: list[int], r: list[int]) -> Tensor:
        ids, _, mask = padded(FORGET, f)
        own(ids)
        away = (((seen["now"] - control) ** 2).mean(-1) * mask).sum(1) / mask.sum(1)
        ids, _, mask = padded(RETAIN, r)
        own(ids)
        with torch.no_grad():
            frozen(ids)
        near = (((seen["now"] - seen["then"]) ** 2).mean(-1) * mask).sum(1) / mask.sum(1)
        return away.mean() + 100.0 * near.mean()

    return loss


def rmu_control(model: Any) -> Tensor:
    """Return the control vector of seed 0, the only thing taken from the library."""
    from forgetnet.experts.pinned import mix

    draw = torch.Generator().manual_seed(mix(0, "control", 0))
    drawn = torch.rand(model.head.in_features, generator=draw)
    return 20.0 * drawn / drawn.norm()


def order(count: int, step: int, side: str) -> list[int]:
    """Return a step's batch as the library draws it."""
    from forgetnet.experts.pinned import mix

    epoch, slot = divmod(step, -(-count // BATCH))
    draw = torch.Generator().manual_seed(mix(0, "order", side, epoch))
    shuffled: list[int] = torch.randperm(count, generator=draw).tolist()
    return shuffled[slot * BATCH : (slot + 1) * BATCH]


def by_hand(model: nn.Module, make: Callable[[nn.Module], Loss], steps: int) -> list[float]:
    """Train in a plain loop; return the processor time at the end of each step."""
    model.eval()
    loss, times = make(model), []
    optimiser = torch.optim.AdamW(model.parameters(), 1e-4, weight_decay=0.0)
    for step in range(steps):
        optimiser.zero_grad()
        found = loss(order(32, step, "forget"), order(64, step, "retain"))
        found.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        times.append(time.process_time())
    return times


def step_time(times: list[float]) -> float:
    """Return the median time of a step."""
    return statistics.median(b - a for a, b in itertools.pairwise(times))


def compare(
    start: nn.Module, method: Any, make: Callable[[nn.Module], Loss], options: Any
) -> list[str]:
    """Return a row of the table."""
    ours, theirs, apart = [], [], 0.0
    for number in range(-1, options.rounds):
        made = copy.deepcopy(start)

        def library(model: nn.Module = start) -> tuple[list[float], nn.Module]:
            clock = Clock()
            found = method.unlearn(model, FORGET, RETAIN, hooks=[clock])
            return clock.times, found.model

        if number % 2:
            hand = by_hand(made, make, options.steps)
            mine, result = library()
        else:
            mine, result = library()
            hand = by_hand(made, make, options.steps)
        pairs = zip(result.parameters(), made.parameters(), strict=True)
        apart = max(apart, *(float((a - b).detach().abs().max()) for a, b in pairs))
        if number >= 0:
            ours.append(step_time(mine))
            theirs.append(step_time(hand))
    ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
    same, quick = apart < 0.1 * options.steps * 1e-4, ratio <= MOST
    return [
        method.name,
        f"{1e3 * statistics.median(ours):.1f} ms",
        f"{1e3 * statistics.median(theirs):.1f} ms",
        f"{ratio:.3f}",
        f"{apart:.1e}",
        "met" if quick and same else "**missed**",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args()
    if not is_one_thread():
        again = subprocess.run([sys.executable, *sys.argv], env=one_thread(), check=False)
        sys.exit(again.returncode)
    torch.manual_seed(0)
    start = Decoder(options.width)
    common: dict[str, Any] = {"lr": 1e-4, "batch_size": BATCH, "stop": FREE, "epochs": 1000}
    common["max_steps"] = options.steps
    cases: list[tuple[Any, Callable[[nn.Module], Loss]]] = [
        (GradientDifference(**common), ascent),
        (NPO(**common), npo),
        (SimNPO(**common), simnpo),
        (DPO(alternatives=OTHER, **common), dpo),
        (RMU(module="blocks.1", coefficient=20.0, retain_weight=100.0, **common), rmu),
    ]
    rows = [compare(start, method, make, options) for method, make in cases]
    text = f"{COMMAND}\n\n{table(HEAD, rows)}\n\n{machine(('torch',))}"
    print(text)
    if options.markdown is not None:
        put(options.markdown, "unlearning_steps.py", text)
    sys.exit(0 if all(row[-1] == "met" for row in rows) else 1)


if __name__ == "__main__":
    main()
