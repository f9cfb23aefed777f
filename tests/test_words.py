"""Search by words answers as an index that never saw what is gone, and holds none of it."""

from __future__ import annotations

import builtins
import math
import random
import re
import sqlite3
import string
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet import words as module
from forgetnet.errors import StoreError, Unsupported
from forgetnet.record import Record
from forgetnet.words import TERMS, Words

SAID = [
    "tea",
    "Tea",
    "kayak",
    "naïve",
    "nai\u0308ve",
    "漢字",
    "x",
    "NEAR",
    "x x x",
    "\0",
    "🛶",
    "it's",
]
TEXTS = st.none() | st.lists(st.sampled_from(SAID), max_size=6).map(" ".join) | st.text(max_size=9)
HISTORY = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "remove", "purge", "ask", "hide"]), st.integers(0, 9), TEXTS
    ),
    max_size=40,
)


def words_of(texts: dict[str, str | None]) -> tuple[Words, dict[str, Record]]:
    live = {i: Record(text, id=i) for i, text in texts.items()}
    return Words(live), live


def asked(words: Words, text: str, k: int = 9_999) -> list[tuple[str, float]]:
    return words.search(text, k)


def ids(words: Words, text: str) -> list[str]:
    return sorted(i for i, _ in asked(words, text))


@settings(max_examples=120, deadline=None)
@given(history=HISTORY, question=TEXTS)
def test_scores_are_those_of_an_index_that_never_saw_what_is_gone(history, question):
    """Bit for bit, whatever came, went, was hidden or shown in between, and in whatever pieces."""
    words, live = words_of({})
    hidden: frozenset[str] = frozenset()
    for verb, n, text in history:
        old = live.pop(str(n), None) if verb in ("add", "remove") else None
        if old is not None:
            words.remove([old])
        if verb == "add":  # of a new record, or in the place of an old one
            live[str(n)] = Record(text, id=str(n))
            words.add([live[str(n)]])
        if verb == "purge":
            words.purge()
        if verb == "hide":  # or show
            hidden ^= {str(n)}
        if verb in ("ask", "hide"):
            words.search(text or "x", 9, absent=hidden)
    twin = Words({i: r for i, r in reversed(live.items()) if i not in hidden})
    for some in [question or "", "tea", "naive x", " ".join(SAID)]:
        assert words.search(some, 99, absent=hidden) == asked(twin, some)
        assert words.search(some, 2, absent=hidden) == asked(twin, some)[:2]


def bm25(texts: Sequence[str], question: str, k1: float = 1.2, b: float = 0.75) -> list[float]:
    """Score texts of lower-case words by the formula."""
    said = [Counter(text.split()) for text in texts]
    mean = sum(bag.total() for bag in said) / len(said)
    scores = [0.0] * len(said)
    for word in sorted(set(question.split())):
        n = sum(word in bag for bag in said)
        weight = max(1e-6, math.log((len(said) - n + 0.5) / (n + 0.5)))
        for i, bag in enumerate(said):
            norm = k1 * (1 - b + b * bag.total() / mean)
            scores[i] += weight * bag[word] * (k1 + 1) / (bag[word] + norm)
    return scores


@given(
    texts=st.lists(
        st.lists(st.sampled_from("abcdefg"), min_size=1).map(" ".join), min_size=1, max_size=9
    ),
    question=st.lists(st.sampled_from("abcdefgh"), min_size=1).map(" ".join),
)
def test_scores_are_bm25(texts, question):
    words, _ = words_of({str(i): text for i, text in enumerate(texts)})
    expected = {str(i): s for i, s in enumerate(bm25(texts, question)) if s > 0}
    assert dict(asked(words, question)) == pytest.approx(expected)


def drawn(rng: random.Random) -> str:
    return "".join(rng.choices(string.ascii_lowercase, k=16))


def held(words: Words, said: Sequence[str]) -> int:
    """Count words by what no other begins with: words that follow each other share a beginning."""
    assert words._index is not None
    database = words._index._run.__self__
    assert isinstance(database, sqlite3.Connection)
    pages = database.serialize()
    return sum(word[6:].encode() in pages for word in said)


@pytest.mark.parametrize(("n", "batch"), [(60, 60), (300, 7), (1200, 1200)])
def test_a_purge_leaves_no_word_that_nobody_else_used(n, batch):
    rng = random.Random(n)
    said = [drawn(rng) for _ in range(n)]
    common = [drawn(rng) for _ in range(20)]
    records = [
        Record(" ".join([*rng.choices(common, k=9), own]), id=str(i)) for i, own in enumerate(said)
    ]
    live: dict[str, Record] = {}
    words = Words(live)
    asked(words, "nothing")
    for start in range(0, n, batch):
        live.update((r.id, r) for r in records[start : start + batch])
        words.add(records[start : start + batch])
    assert held(words, said) == n
    for start, stop in ((0, 1), (1, n // 3), (n // 3, n - 1), (n - 1, n)):
        for first in range(start, stop, batch):
            some = records[first : min(first + batch, stop)]
            for record in some:
                del live[record.id]
            words.remove(some)
        words.purge()
        assert held(words, said[:stop]) == 0
        assert held(words, said[stop:]) == n - stop
    assert held(words, common) == 0


def test_a_purge_clears_the_dividers_between_pages_too():
    """Between a page that ends in a word, and one that begins with that and a z, all is kept."""
    rng = random.Random(0)
    short = {str(i): Record(drawn(rng), id=str(i)) for i in range(10_000)}
    longer = {i + "z": Record(f"{r.text}z", id=i + "z") for i, r in short.items()}
    live = {**short, **longer}
    words = Words(live)
    asked(words, "nothing")

    def dividers() -> int:
        pages = words._index._run.__self__.serialize()
        found = {word.decode() for word in re.findall(rb"(?=([a-z]{16}z))", pages)}
        return len(found & {record.text for record in longer.values()})

    assert dividers() > 10
    for i in longer:
        del live[i]
    words.remove(longer.values())
    words.purge()
    assert dividers() == 0


def test_a_question_leaves_nothing_behind():
    words, _ = words_of({"a": "tea at four"})
    question = drawn(random.Random(1))
    asked(words, question)
    asked(words, " ".join([question, *map(str, range(TERMS))]))
    assert held(words, [question]) == 0


@pytest.mark.parametrize(
    "question",
    [
        'kayak" OR "tea',
        "kayak NEAR tea",
        "kayak AND sun",
        "kayak NOT kayak",
        "-kayak",
        "text : kayak",
        "{text} : kayak",
        "^kayak + tea",
        "(kayak",
        "kayak\0tea",
        "'; DROP TABLE words; -- kayak",
        "👩🏽‍🚀 kayak 🏳️‍🌈",
        "\ud800 kayak",
        "KAYAK's",
        "kaya\u0301k",
        "kayak " * 1_700_000,
    ],
)
def test_no_question_is_syntax(question):
    words, _ = words_of({"a": "the red kayak", "b": "the blue bicycle"})
    assert ids(words, question) == ["a"]


@pytest.mark.parametrize(
    "question", ["", " ", "*", '"', "\0", "🛶", "kaya*", "ayak", "k", "\ud800"]
)
def test_a_question_without_a_known_word_finds_nothing(question):
    words, _ = words_of({"a": "the red kayak", "b": ""})
    assert asked(words, question) == []
    assert asked(words_of({})[0], question) == []


def test_a_word_is_found_without_case_and_diacritics():
    words, _ = words_of({"a": "Zoë's CRÈME", "b": "zoe", "c": None})
    assert ids(words, "ZOE") == ids(words, "zoe\u0308") == ["a", "b"]
    assert ids(words, "creme") == ["a"]


def test_of_very_many_words_the_rarest_count():
    texts = {str(i): f"w{i} common" for i in range(TERMS)}
    words, _ = words_of({**texts, "only": "common"})
    everything = "common " + " ".join(f"w{i}" for i in range(TERMS))
    assert ids(words, everything) == sorted(texts)
    assert ids(words, everything + " unheard" * 9) == sorted(texts)


def test_a_word_too_long_for_the_index_is_no_question():
    words, _ = words_of({"a": "é" * 40_000 + " kayak"})
    assert asked(words, "é" * 40_000) == []
    assert ids(words, "é" * 40_000 + " kayak") == ["a"]


def test_k_come_while_k_match_and_ties_go_by_id():
    words, live = words_of({f"{i:03}": "tea" for i in reversed(range(50))})
    live["best"] = Record("kayak tea", id="best")
    every = asked(words, "tea kayak")
    assert [i for i, _ in every] == ["best", *(f"{i:03}" for i in range(50))]
    for k in (1, 2, 7, 51, 60):
        assert asked(words, "tea kayak", k) == every[:k]
    some = {f"{i:03}" for i in range(0, 50, 7)}
    found = words.search("tea kayak", 5, only=some, without={"007"})
    assert found == [pair for pair in every if pair[0] in some - {"007"}][:5]
    assert asked(words, "tea", 0) == words.search("tea", 3, only=(), without=()) == []


def test_an_index_that_cannot_follow_is_made_anew(monkeypatch):
    words, live = words_of({"a": "tea"})
    assert ids(words, "tea") == ["a"]
    words._index._run("DROP TABLE words")
    live["b"] = Record("tea", id="b")
    words.add([live["b"]])
    assert not words.stands
    assert ids(words, "tea") == ["a", "b"]
    words._index._run("DROP TABLE words")
    with pytest.raises(StoreError, match="SQLite can't"):
        asked(words, "tea")
    assert ids(words, "tea") == ["a", "b"]


def test_an_index_does_not_grow_with_its_history():
    words, live = words_of({"a": "tea", "b": "kayak"})
    asked(words, "tea")
    sizes = []
    for _ in range(3):
        for n in range(200):
            words.remove([live.pop("a")])
            live["a"] = Record(f"tea {n}", id="a")
            words.add([live["a"]])
        words.purge()
        index = words._index
        sizes.append((len(index._ids), len(index._run.__self__.serialize())))
    assert sizes[0] == sizes[1] == sizes[2]
    assert sizes[0][0] == 2


def test_a_python_without_fts5_is_told_so(monkeypatch):
    words, _ = words_of({"a": "tea"})
    layout = [line.replace("fts5", "fts99") for line in module._LAYOUT]
    monkeypatch.setattr(module, "_LAYOUT", layout)
    with pytest.raises(Unsupported, match=r"no FTS5.*search by meaning"):
        asked(words, "tea")
    real = builtins.__import__

    def without_sqlite(name, *args):
        if name == "sqlite3":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without_sqlite)
    with pytest.raises(Unsupported, match=r"without SQLite.*search by meaning"):
        asked(words, "tea")
    words.add([Record("more", id="b")])
    assert not words.stands


def zipf(rng: random.Random, n: int) -> str:
    """Draw words of which few are in nearly every text."""
    return " ".join(f"w{min(int(rng.paretovariate(0.6)), 60)}" for _ in range(n))


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 9_999), n=st.integers(1, 250), k=st.integers(1, 12), gone=st.integers(0, 99)
)
def test_whoever_passes_over_common_words_finds_the_same_bits(seed, n, k, gone):
    rng = random.Random(seed)
    words, live = words_of({f"{i:03}": zipf(rng, rng.randint(0, 12)) for i in range(n)})
    asked(words, "w1")
    some = [live.pop(f"{i:03}") for i in range(min(gone, n - 1))]
    words.remove(some)
    only = None if seed % 3 else {i for i in live if rng.random() < 0.5}
    for question in [zipf(rng, rng.randint(1, 6)) for _ in range(4)]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "_MANY", math.inf)
            whole = words.search(question, k, only=only)
            patch.setattr(module, "_MANY", 0)
            assert words.search(question, k, only=only) == whole
            assert Words(live).search(question, k, only=only) == whole
            for cut in range(1, 5):  # also by a guess that is wrong
                guess = lambda _self, said, _k, cut=cut: max(0, min(cut, len(said) - 1))  # noqa: E731 # short
                patch.setattr(module._Index, "_common", guess)
                assert words.search(question, k, only=only) == whole


def test_common_words_are_passed_over_where_rare_ones_decide(monkeypatch):
    monkeypatch.setattr(module, "_MANY", 100)
    rng = random.Random(0)
    words, _ = words_of({f"{i:03}": f"{zipf(rng, 9)} x{i % 20}" for i in range(400)})
    asked(words, "w1")
    index, looked = words._index, []
    monkeypatch.setattr(
        index, "_hits", lambda q, wanted, real=index._hits: looked.append(q) or real(q, wanted)
    )
    assert len(words.search("w1 w2 x7", 5)) == 5
    assert not any(
        q.startswith('"') for q in looked
    )  # no record was scored for a common word alone
    looked.clear()
    assert len(words.search("w1 w2 x7", 50)) == 50  # more than have the rare one
    assert looked[-1].startswith('"')


def test_the_weight_of_a_word_is_what_sqlite_makes_of_it():
    texts = {str(i): " ".join(f"w{j}" for j in range(1, 9) if i % j == 0) for i in range(24)}
    words, _ = words_of(texts)
    (best, score), *_ = asked(words, "w8")
    index = words._index
    n = sum("w8" in text.split() for text in texts.values())
    length = len(texts[best].split()) / (sum(len(t.split()) for t in texts.values()) / 24)
    share = 2.2 / (1.0 + 1.2 * (0.25 + 0.75 * length))
    assert score == pytest.approx(index._weight(n) * share, rel=1e-12)
    assert score < index._most([(n, "w8")])
