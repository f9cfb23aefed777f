"""Small models that learn in a second, and made-up people for them to learn."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from forgetnet.demo.personas import REFUSALS, Words, make_personas
from forgetnet.unlearn import CausalLMTask, encode_pairs


class Reader(nn.Module):
    """A causal language model of one attention layer that returns bare logits."""

    def __init__(self, vocabulary: int, width: int = 32) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.place = nn.Embedding(64, width)
        self.query = nn.Linear(width, 3 * width)
        self.mixed = nn.Linear(width, width)
        self.wide = nn.Linear(width, 2 * width)
        self.narrow = nn.Linear(2 * width, width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        h = self.embed(ids) + self.place(torch.arange(ids.shape[1], device=ids.device))
        q, k, v = self.query(h).chunk(3, dim=-1)
        h = h + self.mixed(functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        return self.head(h + self.narrow(torch.relu(self.wide(h))))


@functools.cache
def people() -> tuple[Words, list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """A tokenizer, what is to be forgotten, what is to be kept, and refusals for the former."""
    asked = [persona.questions() for persona in make_personas(8)]
    words = Words([*(text for person in asked for pair in person for text in pair), *REFUSALS])

    def encode(pairs: list[tuple[str, str]]) -> list[dict[str, Any]]:
        return encode_pairs(words, [q for q, _ in pairs], [a for _, a in pairs])

    lost = [pair for person in asked[:2] for pair in person]
    kept = [pair for person in asked[2:] for pair in person]
    idk = [(question, REFUSALS[i % 3]) for i, (question, _) in enumerate(lost)]
    return words, encode(lost), encode(kept), encode(idk)


def fit(model: nn.Module, task: Any, data: Any, steps: int = 60, lr: float = 1e-2) -> None:
    """Train a model on the whole of a data set at once."""
    batch = task.batch(data, range(task.size(data)), torch.device("cpu"))
    optimiser = torch.optim.Adam(model.parameters(), lr)
    for _ in range(steps):
        optimiser.zero_grad()
        task.loss(model, batch).mean().backward()
        optimiser.step()


@functools.cache
def _learnt() -> Reader:
    words, lost, kept, _ = people()
    torch.manual_seed(0)
    model = Reader(len(words))
    fit(model, CausalLMTask(), lost + kept)
    return model.requires_grad_(True)


def reader() -> Reader:
    """A model that knows all eight people; a new one each time."""
    model = Reader(len(people()[0]))
    model.load_state_dict(_learnt().state_dict())
    return model


def mean_loss(model: nn.Module, data: Any, task: Any = None) -> float:
    """The mean loss on a data set."""
    chosen = CausalLMTask() if task is None else task
    with torch.no_grad():
        batch = chosen.batch(data, range(chosen.size(data)), torch.device("cpu"))
        return float(chosen.loss(model, batch).mean())


def by_hand(model: nn.Module, row: dict[str, Any]) -> list[float]:
    """Log-probabilities in float64 of each labelled token of one example, alone and unpadded."""
    ids = torch.tensor([row["input_ids"]])
    with torch.no_grad():
        answer: Any = model(ids)
    logits = getattr(answer, "logits", answer)[0].double().numpy()
    found = []
    for t, label in enumerate(row["labels"]):
        if label != -100 and t > 0:
            z = logits[t - 1]
            top = z.max()
            found.append(float(z[label] - top) - float(torch.tensor(z - top).logsumexp(0)))
    return found
