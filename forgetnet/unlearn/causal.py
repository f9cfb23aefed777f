"""Causal language models: tokens, which of them are answers, and their likelihood.

Works on Hugging Face models and on any module that maps (n, t) token ids to (n, t, v) logits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.task import Answers, Batch, precise

__all__ = ["IGNORED", "CausalLMTask", "encode_pairs", "token_mask"]

IGNORED = -100
"""A label that is none: of a prompt, or of padding."""


@dataclass(frozen=True)
class CausalLMTask:
    """Sequences of ``input_ids`` and ``labels``, where ``labels`` are -100 on prompts.

    Sequences are padded on the right, and padding is attended to by nothing and predicts nothing.

    Attributes:
        pad: the id that pads; what it is changes no loss.
    """

    answers: ClassVar[Answers] = "tokens"
    pad: int = 0
    name: str = "causal"

    def size(self, data: Any) -> int:
        """Count the sequences.

        Raises:
            InvalidRecord: it isn't a sequence of mappings with ``input_ids``.
        """
        try:
            count = len(data)
        except TypeError:
            raise InvalidRecord("data is a sequence of mappings with input_ids") from None
        if count and not (isinstance(data[0], Mapping) and "input_ids" in data[0]):
            raise InvalidRecord("an example is a mapping with input_ids and labels")
        return count

    def batch(self, data: Any, positions: Sequence[int], device: torch.device) -> Batch:
        """Return ``input_ids``, ``attention_mask`` and ``labels``, (n, t) each."""
        rows = [data[i] for i in positions]
        ids = [torch.as_tensor(row["input_ids"], dtype=torch.long) for row in rows]
        said = [row.get("labels", row["input_ids"]) for row in rows]
        told = [torch.as_tensor(labels, dtype=torch.long) for labels in said]
        if any(len(a) != len(b) for a, b in zip(ids, told, strict=True)):
            raise InvalidRecord("input_ids and labels of an example differ in length")
        if not all(bool((labels[1:] != IGNORED).any()) for labels in told):
            raise InvalidRecord("an example teaches nothing: no token after its first is labelled")
        longest = max(len(row) for row in ids)

        def padded(parts: list[Tensor], fill: int) -> Tensor:
            filled = [functional.pad(part, (0, longest - len(part)), value=fill) for part in parts]
            return torch.stack(filled).to(device)

        mask = [torch.ones(len(row), dtype=torch.long) for row in ids]
        return {
            "input_ids": padded(ids, self.pad),
            "attention_mask": padded(mask, 0),
            "labels": padded(told, IGNORED),
        }

    def _all(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (n, t-1, v) logits and the (n, t-1) labels that they predict.

        Raises:
            InvalidRecord: a token or a label is none of the model's vocabulary.
        """
        kind: Any = model
        if hasattr(kind, "get_input_embeddings"):
            _within(batch["input_ids"], len(kind.get_input_embeddings().weight))
        if hasattr(kind, "config"):
            answer = kind(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        else:
            answer = kind(batch["input_ids"])
        logits: Tensor = getattr(answer, "logits", answer)
        _within(batch["labels"][batch["labels"] != IGNORED], logits.shape[-1])
        return precise(logits[:, :-1]), batch["labels"][:, 1:]

    def logits(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return (m, v) logits at the positions that predict a labelled token."""
        logits, labels = self._all(model, batch)
        return logits[labels != IGNORED]

    def nll(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return (n,) sums of -log p over labelled tokens, and how many they are."""
        logits, labels = self._all(model, batch)
        flat = functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]),
            labels.reshape(-1),
            ignore_index=IGNORED,
            reduction="none",
        )
        return flat.reshape(labels.shape).sum(dim=1), (labels != IGNORED).sum(dim=1)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return (n,) means of -log p over labelled tokens."""
        total, count = self.nll(model, batch)
        return total / count

    def targets(self, batch: Batch) -> Tensor:
        """Return (m,) labelled tokens."""
        labels = batch["labels"][:, 1:]
        return labels[labels != IGNORED]

    def relabel(self, batch: Batch, generator: torch.Generator, outputs: int) -> Batch:
        """Draw another token for each labelled one; the inputs stay."""
        labels = batch["labels"]
        steps = torch.randint(1, outputs, labels.shape, generator=generator).to(labels.device)
        wrong = torch.where(labels == IGNORED, labels, (labels + steps) % outputs)
        return {**batch, "labels": wrong}

    def chance(self, model: nn.Module, batch: Batch) -> float:
        """Return log(vocabulary)."""
        with torch.no_grad():
            return math.log(self.logits(model, batch).shape[1])

    def tokens(self, batch: Batch) -> int:
        """Count the labelled tokens."""
        return int((batch["labels"][:, 1:] != IGNORED).sum())

    def counts(self, batch: Batch) -> Tensor:
        """Return (n,) numbers of labelled tokens."""
        return (batch["labels"][:, 1:] != IGNORED).sum(dim=1)


def _within(ids: Tensor, size: int) -> None:
    if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        raise InvalidRecord(f"a token is none of the model's vocabulary of {size}")


def token_mask(batch: Batch, over: Literal["unpadded", "labelled"]) -> Tensor | None:
    """Return (n, t), true of the tokens that are no padding, or that have a label; None of others.

    A label marks the token it stands at, not the one before, which predicts it.
    """
    if "labels" not in batch or "attention_mask" not in batch:
        return None
    return batch["attention_mask"] != 0 if over == "unpadded" else batch["labels"] != IGNORED


def encode_pairs(
    tokenizer: Any, prompts: Sequence[str], answers: Sequence[str], *, limit: int = 512
) -> list[dict[str, list[int]]]:
    """Encode prompts and answers as examples: labels on the answer and its end, none on the prompt.

    Args:
        tokenizer: of Hugging Face, or anything that maps a text to ``input_ids``; a pad token isn't
            needed.
        prompts: n texts.
        answers: n texts.
        limit: most tokens of an example; what is over is cut from the answer's end.

    Raises:
        InvalidRecord: the numbers differ, or a prompt leaves no room for its answer.
    """
    if len(prompts) != len(answers):
        raise InvalidRecord(f"{len(prompts)} prompts came with {len(answers)} answers")
    end = getattr(tokenizer, "eos_token_id", None)
    found = []
    for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
        before = list(tokenizer(prompt)["input_ids"])
        if end is not None and before and before[-1] == end:
            before.pop()
        after = list(tokenizer(answer, add_special_tokens=False)["input_ids"])
        if end is not None and after[-1:] != [end]:
            after.append(end)
        if len(before) >= limit:
            raise InvalidRecord(f"prompt {number} has {len(before)} tokens; limit= is {limit}")
        ids = (before + after)[:limit]
        labels = ([IGNORED] * len(before) + after)[:limit]
        found.append({"input_ids": ids, "labels": labels})
    return found
