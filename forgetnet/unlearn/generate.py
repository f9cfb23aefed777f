"""Greedy continuations of prompts, for measures of what a model says in its own words.

Works on Hugging Face models and on any module that maps (n, t) token ids to (n, t, v) logits. Knows
nothing of what is made of the texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn.config import check_positive
from forgetnet.unlearn.looking import looking
from forgetnet.unlearn.run import device_of

__all__ = ["generate"]


def generate(
    model: nn.Module,
    tokenizer: Any,
    prompts: Sequence[str],
    *,
    tokens: int = 200,
    batch_size: int = 16,
) -> list[str]:
    """Return what the model most likely says after each prompt, without the prompt.

    The likeliest token is taken each time, up to the end of sequence. Prompts of several lengths
    are padded on the left and masked; a bare module has no mask, so that it gets prompts of one
    length at a time. The model is left as it was.

    Args:
        model: as above.
        tokenizer: maps a text to ``input_ids``, and has ``decode`` and ``eos_token_id``.
        prompts: n texts, none of them empty.
        tokens: most tokens of an answer.
        batch_size: most prompts of a pass.

    Raises:
        InvalidRecord: a prompt has no token.
    """
    check_positive(tokens=tokens, batch_size=batch_size)
    end = getattr(tokenizer, "eos_token_id", None)
    rows = [list(tokenizer(prompt)["input_ids"]) for prompt in prompts]
    # some tokenizers end every text, and a model has nothing to say after the end
    rows = [row[:-1] if end is not None and row and row[-1] == end else row for row in rows]
    if not all(rows):
        raise InvalidRecord(f"prompt {[bool(row) for row in rows].index(False)} has no token")
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    native = hasattr(model, "generate") and hasattr(model, "config")
    groups = [order]
    if not native:
        groups = [list(same) for _, same in groupby(order, lambda i: len(rows[i]))]
    said: dict[int, list[int]] = {}
    with looking(model) as seen:
        for group in groups:
            for first in range(0, len(group), batch_size):
                chosen = group[first : first + batch_size]
                follow = _native if native else _bare
                answers = follow(seen, [rows[i] for i in chosen], end, tokens)
                said.update(zip(chosen, answers, strict=True))
    return [tokenizer.decode(_until(said[i], end)) for i in range(len(rows))]


def _until(ids: list[int], end: int | None) -> list[int]:
    return ids[: ids.index(end)] if end is not None and end in ids else ids


def _native(model: Any, rows: list[list[int]], end: int | None, tokens: int) -> list[list[int]]:
    """Let a Hugging Face model generate, whatever sampling its own settings ask for."""
    longest, where = max(len(row) for row in rows), device_of(model, None)
    pad = 0 if end is None else end
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=where)
    mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows], device=where)
    answer: Tensor = model.generate(
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=tokens,
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    found: list[list[int]] = answer[:, longest:].tolist()
    return found


def _bare(model: nn.Module, rows: list[list[int]], end: int | None, tokens: int) -> list[list[int]]:
    ids = torch.tensor(rows, device=device_of(model, None))
    ended = torch.zeros(len(rows), dtype=torch.bool, device=ids.device)
    start = ids.shape[1]
    for _ in range(tokens):
        answer: Any = model(ids)
        logits: Tensor = getattr(answer, "logits", answer)
        following = logits[:, -1].argmax(dim=1)
        ids = torch.cat([ids, following[:, None]], dim=1)
        if end is not None:
            ended |= following == end
            if bool(ended.all()):
                break
    found: list[list[int]] = ids[:, start:].tolist()
    return found
