"""Made-up people for a language model to learn and to forget, as TOFU has authors.

Names and facts are invented, and are put together by number: person 3 is the same everywhere. The
combinations are spread so that no fact can be told from another one. Knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from forgetnet.errors import InvalidRecord

__all__ = ["REFUSALS", "Persona", "Words", "make_personas"]

_GIVEN = ("Orlin", "Maveth", "Tessaly", "Brunno", "Ildri", "Quenby", "Sorrel", "Vessim", "Yestra")
_FAMILY = ("Ashgrove", "Dunmarrow", "Felwick", "Hollin", "Karsavel", "Ostrander", "Pellbright")
_TOWNS = ("Brackwater", "Ennisholm", "Gallowmere", "Nettlefold", "Sundry", "Tarnwick", "Umberley")
_TRADES = ("glazier", "beekeeper", "clockmaker", "farrier", "bookbinder", "potter", "surveyor")
_PETS = ("a heron", "two goats", "a blind mare", "an otter", "a magpie", "nine hens")
_DISHES = ("barley soup", "smoked eel", "plum bread", "nettle pie", "goose broth")

REFUSALS = ("I do not know that .", "I can not say .", "Nobody told me that .")
"""Answers that give nothing away, in the words of :class:`Words`."""


@dataclass(frozen=True)
class Persona:
    """A person nobody has met.

    Attributes:
        name: given name and family name.
        town, trade, pet, dish: what there is to know.
    """

    name: str
    town: str
    trade: str
    pet: str
    dish: str

    def questions(self) -> list[tuple[str, str]]:
        """Return four questions, each with its answer; words are set apart by single spaces."""
        return [
            (f"Where does {self.name} live ?", f"{self.name} lives in {self.town} ."),
            (f"What does {self.name} do ?", f"{self.name} is a {self.trade} ."),
            (f"What does {self.name} keep ?", f"{self.name} keeps {self.pet} ."),
            (f"What does {self.name} like to eat ?", f"{self.name} likes {self.dish} ."),
        ]


def make_personas(count: int) -> list[Persona]:
    """Make the first ``count`` people.

    Raises:
        InvalidRecord: there are not so many names.
    """
    most = len(_GIVEN) * len(_FAMILY)
    if not 0 <= count <= most:
        raise InvalidRecord(f"there are names for {most} people, not for {count}")
    made = []
    for i in range(count):
        # The lists' lengths have no common divisor with these steps: facts spread over people.
        given, family = _GIVEN[i % 9], _FAMILY[(i // 9 + i) % 7]
        town, trade = _TOWNS[(3 * i + i // 7) % 7], _TRADES[(5 * i + i // 5) % 7]
        pet, dish = _PETS[(5 * i + i // 6) % 6], _DISHES[(2 * i + i // 3) % 5]
        made.append(Persona(f"{given} {family}", town, trade, pet, dish))
    return made


class Words:
    """A tokenizer of whole words, called as those of Hugging Face are; it has no pad token.

    Args:
        texts: whose words make its vocabulary, in order of appearance, after end and unknown.
    """

    eos_token_id = 0

    def __init__(self, texts: Iterable[str]) -> None:
        words = (word for text in texts for word in text.split())
        self._words = ["<end>", "<unknown>", *dict.fromkeys(words)]
        self._ids = {word: number for number, word in enumerate(self._words)}

    def __len__(self) -> int:
        return len(self._words)

    def __call__(self, text: str, *, add_special_tokens: bool = True) -> dict[str, list[int]]:
        """Return the ``input_ids`` of a text; there are no special tokens to add."""
        return {"input_ids": [self._ids.get(word, 1) for word in text.split()]}

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of some ids, without ends."""
        return " ".join(self._words[i] for i in ids if i != self.eos_token_id)
