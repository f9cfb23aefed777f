"""The made-up people: told apart by name, and by no fact alone."""

from __future__ import annotations

from itertools import permutations

import pytest

from forgetnet.demo.personas import REFUSALS, Words, make_personas
from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import encode_pairs


def test_no_fact_gives_away_another() -> None:
    people = make_personas(63)
    assert len({person.name for person in people}) == 63
    for one, other in permutations(("town", "trade", "pet", "dish"), 2):
        seen: dict[str, set[str]] = {}
        for person in people:
            seen.setdefault(getattr(person, one), set()).add(getattr(person, other))
        assert all(len(values) > 2 for values in seen.values()), (one, other)


def test_people_are_the_same_however_many_are_made() -> None:
    assert make_personas(63)[:5] == make_personas(5)
    with pytest.raises(InvalidRecord, match="63"):
        make_personas(64)


def test_words_come_back_and_labels_stand_on_the_answer_and_its_end() -> None:
    pairs = [pair for person in make_personas(4) for pair in person.questions()]
    words = Words([*(text for pair in pairs for text in pair), *REFUSALS])
    for text in [*(text for pair in pairs for text in pair), *REFUSALS]:
        ids = words(text)["input_ids"]
        assert words.decode(ids) == text
        assert 1 not in ids
    question, answer = pairs[0]
    row = encode_pairs(words, [question], [answer])[0]
    told = [label for label in row["labels"] if label != -100]
    assert words.decode(told) == answer
    assert told[-1] == words.eos_token_id
    assert words("nobody")["input_ids"] == [1]
