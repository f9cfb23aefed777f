"""ROUGE-L equals ``rouge_score`` 0.1.2 and its stemmer NLTK's; the expected values are theirs."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.audit.porter import stem
from forgetnet.audit.rouge import ground_truth, rouge_l, words
from forgetnet.errors import InvalidRecord

OPEN = "open-unlearning"
STEMS = """
caresses:caress ponies:poni ties:tie caress:caress cats:cat died:die dies:die feed:feed agreed:agre
plastered:plaster bled:bled motoring:motor sing:sing conflated:conflat troubled:troubl sized:size
hopping:hop tanned:tan falling:fall hissing:hiss fizzed:fizz failing:fail filing:file happy:happi
sky:sky enjoy:enjoy fly:fli relational:relat conditional:condit rational:ration valency:valenc
hesitancy:hesit digitizer:digit conformably:conform radically:radic differently:differ vilely:vile
analogously:analog vietnamization:vietnam predication:predic operator:oper feudalism:feudal
decisiveness:decis hopefulness:hope callousness:callous formality:formal sensitivity:sensit
sensibility:sensibl geologically:geolog archaeology:archaeolog apologies:apolog hopefully:hope
triplicate:triplic formative:form formalize:formal electricity:electr electrical:electr
goodness:good revival:reviv allowance:allow inference:infer airliner:airlin gyroscopic:gyroscop
adjustable:adjust defensible:defens irritant:irrit replacement:replac adjustment:adjust
dependent:depend adoption:adopt homologous:homolog communism:commun activate:activ
angularity:angular effective:effect bowdlerize:bowdler probate:probat rate:rate cease:ceas
controlling:control roll:roll skies:sky dying:die news:news innings:inning exceed:exceed
succeed:succeed nationally:nation ally:alli oed:o aging:age yyyed:yy syzygy:syzygi toy:toy
1990s:1990 geology:geolog theology:theolog ology:olog
"""
NOVELS = (
    "He happily writes novels about forgotten cities",
    "he happy writing of a forgotten city, novels",
)
# stemmer, reference, candidate, (precision, recall, F1)
PAIRS = [
    (True, "The author was born in Lisbon in 1972.", "She was born in Lisbon", (0.8, 0.5, 8 / 13)),
    (True, *NOVELS, (0.5, 0.5714285714285714, 0.5333333333333333)),
    (False, *NOVELS, (0.25, 0.2857142857142857, 0.26666666666666666)),
    (True, "relational databases", "relations in a database", (0.5, 1.0, 0.6666666666666666)),
    (False, "relational databases", "relations in a database", (0, 0, 0)),
    (True, "his cats", "hi cat", (0.5, 0.5, 0.5)),  # words of three letters aren't stemmed
    (True, "", "nothing", (0, 0, 0)),
    (True, "東京で生まれた", "東京で生まれた", (0, 0, 0)),
    (True, "a b c a b c", "c b a c b a", (0.5, 0.5, 0.5)),
    (True, "naïve café", "naive cafe", (0, 0, 0)),
]
some_words = st.sampled_from(["a", "b", "running", "runs", "7", "the", "of"])
texts = st.lists(some_words, max_size=9).map(" ".join)


@pytest.mark.parametrize("pair", STEMS.split())
def test_stems_are_those_of_nltk(pair: str) -> None:
    word, expected = pair.split(":")
    assert stem(word) == stem(word.upper()) == expected


@pytest.mark.parametrize(("stemmer", "reference", "candidate", "expected"), PAIRS)
def test_scores_are_those_of_rouge_score(
    stemmer: bool, reference: str, candidate: str, expected: tuple[float, float, float]
) -> None:
    found = rouge_l([reference], [candidate], stemmer=stemmer, compat=OPEN)
    assert (found.precision[0], found.recall[0], found.f1[0]) == pytest.approx(expected, abs=1e-15)


def test_the_stemmer_changes_the_score() -> None:
    with_it, without = (rouge_l(*[[t] for t in NOVELS], stemmer=on).mean_recall for on in (1, 0))
    assert with_it == 2 * without


def longest(a: list[str], b: list[str]) -> int:
    """The table of the textbook."""
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = (
                table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
            )
    return table[-1][-1]


@given(texts, texts)
def test_the_common_subsequence_is_the_textbooks(a: str, b: str) -> None:
    left, right = words(a, stemmer=True), words(b, stemmer=True)
    found = rouge_l([a], [b], compat=OPEN)
    if left and right:
        assert found.recall[0] == longest(left, right) / len(left)
        assert found.precision[0] == longest(left, right) / len(right)
    mirrored = rouge_l([b], [a], compat=OPEN)
    assert (mirrored.recall[0], mirrored.precision[0]) == (found.precision[0], found.recall[0])
    assert mirrored.f1[0] == found.f1[0]


def test_another_script_is_not_taken_for_forgotten() -> None:
    """Word for word the same, and rouge_score sees nothing: strict says so instead of 0."""
    references = candidates = ["東京で生まれた", "born in Tokyo"]
    assert rouge_l(references, candidates, compat=OPEN).mean_recall == 0.5
    mended = rouge_l(references, candidates)
    assert (mended.mean_recall, mended.n, mended.left_out) == (1, 1, 1)
    assert "no word" in mended.reasons[0]
    assert math.isnan(rouge_l(references[:1], candidates[:1]).mean_f1)


def test_reasons_hold_no_text() -> None:
    assert "東" not in " ".join(rouge_l(["東"], ["東"]).reasons)


def test_a_templated_answer_scores_without_knowledge() -> None:
    """Why ROUGE is never read alone: a model that knows nothing, but the mould."""
    reference = "The author's full name is Ada Byron and she was born in Lisbon"
    guess = "The author's full name is Max Weber and he was born in Vienna"
    assert rouge_l([reference], [guess]).mean_recall > 0.6


def test_the_prompt_is_cut_off_once() -> None:
    full = "Who? Who? asked the owl."
    assert ground_truth(full, "Who?") == "Who? asked the owl."
    assert ground_truth(full, "Who?", compat=OPEN) == "asked the owl."


def test_pairs_must_match() -> None:
    with pytest.raises(InvalidRecord, match="1 candidates for 2 references"):
        rouge_l(["a", "b"], ["a"])
