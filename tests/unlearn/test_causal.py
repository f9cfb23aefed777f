"""Texts for language models: which tokens count, with tokenizers as they come."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

from forgetnet.errors import InvalidRecord
from forgetnet.unlearn import CausalLMTask, GradientDifference, StopRule, encode_pairs
from forgetnet.unlearn.causal import IGNORED
from forgetnet.unlearn.result import state_digest
from tests.unlearn.toys import people, reader

CPU = torch.device("cpu")
WORDS = ["<unk>", "</s>", "who", "where", "is", "Ada", "Ben", "in", "Rome", "a", "long", "answer"]
QUICK = GradientDifference(lr=1e-3, epochs=1.0, stop=StopRule(None, None))


def tokenizer(**special: str) -> Any:
    """One of Hugging Face, without a pad token, as GPT-2's is."""
    plain = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    plain.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return transformers.PreTrainedTokenizerFast(tokenizer_object=plain, **special)


def spelled(row: dict[str, list[int]]) -> list[str]:
    return [WORDS[i] for i in row["input_ids"]]


def test_a_tokenizer_without_a_pad_token_is_enough() -> None:
    words = tokenizer(eos_token="</s>", unk_token="<unk>")
    assert words.pad_token_id is None
    questions, answers = ["who is Ada", "where is Ben"], ["a long answer", "in Rome"]
    rows = encode_pairs(words, questions, answers)
    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=16, n_layer=1, n_head=1, bos_token_id=1, eos_token_id=1
    )
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(config).eval()
    task = CausalLMTask()
    with torch.no_grad():
        together = task.nll(model, task.batch(rows, [0, 1], CPU))[0]
        alone = torch.cat([task.nll(model, task.batch(rows, [i], CPU))[0] for i in (0, 1)])
        for pad in (0, 1, 7):  # whatever pads, be it the end of sequence
            other = CausalLMTask(pad=pad)
            torch.testing.assert_close(
                other.nll(model, other.batch(rows, [0, 1], CPU))[0], together
            )
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
    result = QUICK.unlearn(model, rows[:1], rows[1:])
    assert result.stopped == "done" and result.after != result.before


def test_labels_are_on_the_answer_and_its_end_alone() -> None:
    words = tokenizer(eos_token="</s>", unk_token="<unk>")
    (row,) = encode_pairs(words, ["who is Ada"], ["a long answer"])
    assert spelled(row) == ["who", "is", "Ada", "a", "long", "answer", "</s>"]
    assert row["labels"] == [IGNORED] * 3 + row["input_ids"][3:]
    (bare,) = encode_pairs(tokenizer(unk_token="<unk>"), ["who is Ada"], ["a long answer"])
    assert spelled(bare) == ["who", "is", "Ada", "a", "long", "answer"]


def test_the_end_of_a_sequence_is_there_once() -> None:
    """It is appended only if the last token isn't one, and a prompt has none."""
    words = tokenizer(eos_token="</s>", unk_token="<unk>")
    plain, ended = encode_pairs(
        words, ["who is Ada", "who is Ada </s>"], ["a long answer", "a long answer </s>"]
    )
    assert plain == ended
    assert plain["input_ids"].count(words.eos_token_id) == 1


def test_what_is_too_long_is_cut_from_the_answer_and_never_from_the_prompt() -> None:
    words = tokenizer(eos_token="</s>", unk_token="<unk>")
    (row,) = encode_pairs(words, ["who is Ada"], ["a long answer"], limit=5)
    assert spelled(row) == ["who", "is", "Ada", "a", "long"]
    with pytest.raises(InvalidRecord, match="prompt 0 has 3 tokens"):
        encode_pairs(words, ["who is Ada"], ["a long answer"], limit=3)
    with pytest.raises(InvalidRecord, match="2 prompts came with 1 answers"):
        encode_pairs(words, ["who", "where"], ["in Rome"])


@pytest.mark.parametrize("known", [False, True])
def test_a_token_that_is_none_of_the_vocabulary_is_refused(known: bool) -> None:
    _, lost, kept, _ = people()
    model = reader()
    if known:  # as models of Hugging Face tell it
        model.get_input_embeddings = lambda: model.embed  # set here
    before = state_digest(model)
    for name, wrong in (("labels", 10_000), ("labels", -7), ("input_ids", 10_000)):
        if name == "input_ids" and not known:
            continue
        strange = copy.deepcopy(lost)
        strange[1][name][-1] = wrong
        with pytest.raises(InvalidRecord, match="vocabulary"):
            QUICK.unlearn(model, strange, kept, inplace=True)
        with pytest.raises(InvalidRecord, match="vocabulary"):
            QUICK.unlearn(model, lost, [*strange], inplace=True)
        assert state_digest(model) == before


def test_what_teaches_nothing_or_is_empty_is_refused() -> None:
    _, lost, kept, _ = people()
    silent = [{"input_ids": [1, 2, 3], "labels": [IGNORED] * 3}]
    for forget, why in (
        (silent, "teaches nothing"),
        ([], "empty"),
        ([{"input_ids": [1, 2], "labels": [1]}], "differ in length"),
    ):
        with pytest.raises(InvalidRecord, match=why):
            QUICK.unlearn(reader(), forget, kept)
    with pytest.raises(InvalidRecord, match="retain"):
        QUICK.unlearn(reader(), lost, [])
