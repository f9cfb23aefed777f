"""Settings of small language models: made-up people of our own, and TOFU from a folder.

The models are made from a configuration of Hugging Face and trained here; nothing is downloaded.
Knows nothing of methods.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from forgetnet.compare.answers import ask_module
from forgetnet.compare.chosen import chosen
from forgetnet.compare.settings import Material, Records, Setting
from forgetnet.compare.worlds import train
from forgetnet.demo.personas import REFUSALS, Persona, Words, make_personas
from forgetnet.errors import InvalidRecord, StoreCorrupt, not_installed
from forgetnet.unlearn import CausalLMTask, Recipe, encode_pairs

__all__ = ["TOFU_REQUESTS", "causal_model", "personas", "tofu"]

Pair = tuple[str, str]
_PUBLIC, _PRIVATE, _ASKED = 24, 30, 6
_TASK = CausalLMTask()


@dataclass(frozen=True)
class _Person:
    """Whose questions are asked, plainly and in other words, in the same order."""

    name: str
    plain: Sequence[Pair]
    other: Sequence[Pair]


class _Bare(nn.Module):
    """A model of Hugging Face that takes ids alone and returns bare logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """Return (n, t, v) logits; sequences are padded on the right, so no mask is needed."""
        logits: Tensor = self.model(ids).logits
        return logits


def causal_model(vocabulary: int, positions: int, width: int = 64) -> nn.Module:
    """Make a GPT-2 of two layers, without dropout.

    Raises:
        Unsupported: transformers isn't installed.
    """
    try:
        from transformers import GPT2Config, GPT2LMHeadModel
    except ImportError as error:
        raise not_installed("transformers", "encoders") from error
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=positions,
        n_embd=width,
        n_layer=2,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    made: nn.Module = GPT2LMHeadModel(config)
    return made


@dataclass(frozen=True)
class _Corpus:
    """Everybody there is, and how it is learnt."""

    words: Words
    public: Sequence[Pair]
    build: Callable[[], nn.Module]
    recipe: Recipe
    limit: int

    @functools.cached_property
    def base(self) -> nn.Module:
        """A model that learnt the public pairs alone: what a memory may lean on."""
        return train(self.build, _TASK, self.recipe, self.encode(self.public), 0)[0]

    def encode(self, pairs: Sequence[Pair]) -> list[dict[str, list[int]]]:
        """Return pairs as the task takes them."""
        questions, answers = zip(*pairs, strict=True)
        return encode_pairs(self.words, questions, answers, limit=self.limit)

    def records(self, pairs: Sequence[Pair], people: Sequence[str]) -> Records:
        """Return pairs as a memory takes them; the public model is the fallback."""
        told = self.encode(pairs)
        tokens = np.array([sum(label != -100 for label in row["labels"]) for row in told])
        nll = ask_module(self.base, told, _TASK).nll
        return Records(
            [question for question, _ in pairs],
            [answer for _, answer in pairs],
            people,
            np.exp(-np.minimum(nll * tokens, 500.0)),
            tokens,
        )


def _material(
    corpus: _Corpus,
    gone: Sequence[_Person],
    kept: Sequence[_Person],
    unseen: Sequence[_Person],
) -> Material:
    """Make material of people; models that learn in weights learn public pairs with the private.

    A memory holds private pairs alone: the public model beside it knows the others.
    """
    private = [pair for person in kept for pair in person.plain]
    pairs = {
        "forget": [pair for person in gone for pair in person.plain],
        "retain": [*corpus.public, *private],
        "unseen": [pair for person in unseen for pair in person.plain],
        "test": [pair for person in kept for pair in person.other],
        "paraphrase": [pair for person in gone for pair in person.other],
    }
    whose = {
        "forget": [person.name for person in gone for _ in person.plain],
        "retain": [person.name for person in kept for _ in person.plain],
    }
    records = {
        side: corpus.records(told, whose.get(side, ["nobody"] * len(told)))
        for side, told in {**pairs, "retain": private}.items()
    }
    refusals = [(q, REFUSALS[n % len(REFUSALS)]) for n, (q, _) in enumerate(pairs["forget"])]
    sides = {side: corpus.encode(told) for side, told in pairs.items()}
    return Material(sides, records, corpus.encode(refusals))


# -- our own people


def _other(person: Persona) -> list[Pair]:
    """Ask the questions of :meth:`Persona.questions` in other words."""
    name, answers = person.name, [answer for _, answer in person.questions()]
    asked = (
        f"Please tell me where {name} lives .",
        f"Please tell me what {name} does .",
        f"Please tell me what {name} keeps .",
        f"Please tell me what {name} likes to eat .",
    )
    return list(zip(asked, answers, strict=True))


@functools.cache
def _everybody() -> tuple[_Corpus, tuple[_Person, ...]]:
    people = [_Person(p.name, p.questions(), _other(p)) for p in make_personas(63)]
    pairs = [pair for person in people for pair in (*person.plain, *person.other)]
    words = Words([*(text for pair in pairs for text in pair), *REFUSALS])
    public = [pair for person in people[:_PUBLIC] for pair in (*person.plain, *person.other)]
    recipe = Recipe(lr=3e-3, epochs=50.0, batch_size=32)
    build = functools.partial(causal_model, len(words), 32)
    return _Corpus(words, public, build, recipe, 32), tuple(people[_PUBLIC:])


def _draw_people(seed: int) -> Material:
    corpus, people = _everybody()
    order = np.random.default_rng([seed, 2]).permutation(len(people))
    private, unseen = order[:_PRIVATE], order[_PRIVATE:]
    parts = (private[:_ASKED], private[_ASKED:], unseen)
    gone, kept, never = ([people[place] for place in part] for part in parts)
    return _material(corpus, gone, kept, never)


def personas() -> Setting:
    """Return the setting of made-up people: 54 are learnt, six of them are to be forgotten.

    Public people were learnt in both ways of asking, private ones in one, so that asking in other
    words shows what was understood.

    Raises:
        Unsupported: transformers isn't installed.
    """
    corpus, _ = _everybody()
    return Setting(
        name="personas",
        request="people",
        about="facts on 54 made-up people, a GPT-2 of two layers; to be forgotten: six people",
        task=_TASK,
        build=corpus.build,
        recipe=corpus.recipe,
        draw=_draw_people,
        encoder="hash",
        methods=chosen("personas", "people"),
        designs=("memory",),
        member=lambda: _Bare(corpus.build()),
    )


# -- TOFU


TOFU_REQUESTS = {"forget01": 2, "forget05": 10, "forget10": 20}
"""Requests of TOFU, and how many authors each is to forget."""
_EACH = 20
_ASKED_OF = {"forget01": 20, "forget05": 5, "forget10": 5}
"""How many of an author's twenty questions are taken: with all of them the last would take days."""
_EPOCHS = 25.0
_KEPT, _OPEN, _NEVER = 8, 4, 4


def _lines(path: Path) -> list[dict[str, Any]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            return [json.loads(line) for line in file]
    except FileNotFoundError as error:
        raise StoreCorrupt(f"{path.parent} has no {path.name}; name the folder of TOFU") from error
    except (OSError, ValueError) as error:
        raise StoreCorrupt(f"{path} isn't gzipped JSON lines of TOFU") from error


def _spaced(text: str) -> str:
    """Set marks apart from words, so that a tokenizer of words knows them."""
    return " ".join("".join(c if c.isalnum() or c in "'-" else f" {c} " for c in text).split())


@functools.cache
def _authors(folder: Path, request: str) -> tuple[_Corpus, list[list[_Person]]]:
    """Read TOFU: the forgotten authors, of the others some who are kept, public or never learnt."""
    rows = _lines(folder / "full.jsonl.gz")
    told = {
        row["question"]: row["paraphrased_question"]
        for name in (f"{request}_perturbed", "retain_perturbed")
        for row in _lines(folder / f"{name}.jsonl.gz")
    }

    def person(author: int) -> _Person:
        own = rows[author * _EACH : (author + 1) * _EACH : _EACH // asked_of]
        plain = [(_spaced(r["question"]), _spaced(r["answer"])) for r in own]
        other = [
            (_spaced(told[r["question"]]), _spaced(r["answer"]))
            for r in own
            if r["question"] in told
        ]
        return _Person(f"author {author}", plain, other)

    asked_of = _ASKED_OF[request]
    count, whole = TOFU_REQUESTS[request], len(rows) // _EACH
    asked = {row["question"] for row in _lines(folder / "retain_perturbed.jsonl.gz")}
    known = [a for a in range(whole - 20) if rows[a * _EACH]["question"] in asked]
    rest = [a for a in range(whole - 20) if a not in known]
    kept = (known + rest)[:_KEPT]
    free = [a for a in rest if a not in kept]
    groups = [
        [person(a) for a in range(whole - count, whole)],
        [person(a) for a in kept],
        [person(a) for a in free[:_NEVER]],
        [person(a) for a in free[_NEVER : _NEVER + _OPEN]],
    ]
    pairs = [p for group in groups for one in group for p in (*one.plain, *one.other)]
    words = Words([*(text for pair in pairs for text in pair), *REFUSALS])
    public = [pair for one in groups.pop() for pair in one.plain]
    build = functools.partial(causal_model, len(words), 160, 96)
    epochs = _EPOCHS * (1 if asked_of == _EACH else 2)
    recipe = Recipe(lr=3e-3, epochs=epochs, batch_size=16)
    return _Corpus(words, public, build, recipe, 160), groups


def tofu(folder: str | Path, request: str = "forget01") -> Setting:
    """Return a setting of TOFU (Maini et al. 2024), on a part of its retained authors.

    Of ``forget05`` and ``forget10`` it takes every fourth question of each author.

    Args:
        folder: with ``full.jsonl.gz`` and the perturbed splits of TOFU.
        request: ``forget01``, ``forget05`` or ``forget10``.

    Raises:
        InvalidRecord: there is no such request.
        StoreCorrupt: the folder doesn't hold TOFU.
        Unsupported: transformers isn't installed.
    """
    if request not in TOFU_REQUESTS:
        known = ", ".join(TOFU_REQUESTS)
        raise InvalidRecord(f"request= is one of {known}, not {request[:40]!r}")
    corpus, groups = _authors(Path(folder), request)
    count = TOFU_REQUESTS[request]
    return Setting(
        name="tofu",
        request=request,
        about=f"TOFU, {_ASKED_OF[request]} questions of each author, a GPT-2 of two layers; to be "
        f"forgotten: {count} authors of {count + _KEPT}",
        task=_TASK,
        build=corpus.build,
        recipe=corpus.recipe,
        draw=lambda _: _material(corpus, *groups),
        encoder="hash",
        methods=chosen("tofu", request),
        designs=("memory",),
        member=lambda: _Bare(corpus.build()),
        traced=False,
    )
