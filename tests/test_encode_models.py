"""Real models: a text's bits are its own, whatever is encoded beside it, and nothing is said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet.encode import (
    SentenceTransformerEncoder,
    check_company,
    check_vectors,
    minilm,
    sentence,
)
from forgetnet.errors import Unsupported

WORDS = ["Ann", "is", "allergic", "to", "peanuts", "since", "Tuesday", "naïve", "東京", "🙂"]
texts = st.builds(
    lambda words, times: " ".join(words * times),
    st.lists(st.sampled_from(WORDS), max_size=8),
    st.sampled_from([1, 1, 1, 2, 5, 30]),
)


@pytest.fixture(scope="module")
def encoder():
    made = minilm()
    made.encode(["load"])
    return made


@pytest.fixture(scope="module")
def lengths():
    """Texts of 2 to 50 tokens, the short ones all, some twice."""
    words = [WORDS[i % 5] for i in range(100)]
    return [" ".join(words[i : i + n]) for i, n in enumerate([*range(11), 0, 4, 20, 31, 48])]


# ------------------------------------------------------------------------------------ company


@settings(max_examples=20)
@given(target=texts, others=st.lists(texts, max_size=12), at=st.integers(0, 12))
def test_a_text_has_the_same_bits_alone_and_among_others(encoder, target, others, at):
    many = [*others[:at], target, *others[at:]]
    alone = encoder.encode([target])[0]
    assert encoder.encode(many)[min(at, len(others))].tobytes() == alone.tobytes()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 13, 16, 31, 33, 40])
@pytest.mark.parametrize("target", ["", "Ann", "Ann is allergic to peanuts since Tuesday"])
def test_no_size_of_batch_shows_in_the_bits(encoder, target, size):
    vectors = encoder.encode([target] * size)
    assert {v.tobytes() for v in vectors} == {encoder.encode([target])[0].tobytes()}


def test_texts_of_every_length_pass_the_check(encoder, lengths):
    assert check_company(encoder, lengths) == []


class Padded:
    """What everybody does: sort by length, pad, encode."""

    name, dim, digest = "padded", 384, "0"

    def __init__(self, model):
        self.model = model

    def encode(self, texts, *, progress=False):
        return self.model.encode(list(texts), normalize_embeddings=True)


def test_the_check_finds_what_padding_does(encoder, lengths):
    assert check_company(Padded(encoder._model), lengths)


def test_the_check_finds_what_small_batches_do(encoder, lengths, monkeypatch):
    monkeypatch.setattr(sentence, "_LEAST_TOKENS", 1)
    if not check_company(encoder, lengths):  # its kernels decide that
        pytest.skip("on this processor small batches have the bits of large ones")


@pytest.mark.parametrize("threads", [2, 3])
def test_the_number_of_threads_shows_in_no_bits(encoder, lengths, threads):
    """Threads that shared a product cut it up by its shape, and so by a text's company."""
    wanted = encoder.encode(lengths).tobytes()
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert check_company(encoder, lengths) == []
        assert encoder.encode(lengths).tobytes() == wanted
        run, count = sentence._side_by_side()
        assert count == threads
        assert set(run(lambda _: torch.get_num_threads(), range(20))) == {1}
        assert torch.get_num_threads() == threads  # the caller keeps what it had
    finally:
        torch.set_num_threads(before)


PRODUCTS = """
import sys, torch
least = int(sys.argv[1])
torch.set_num_threads(1)
draw = torch.Generator().manual_seed(0)
for rows, columns in [(384, 1536), (1536, 384), (768, 3072), (3072, 768), (1024, 1024)]:
    weights = torch.randn(columns, rows, generator=draw)
    many = torch.randn(600, rows, generator=draw)
    whole = torch.nn.functional.linear(many, weights)
    for count in [*range(least, 200), 257, 511]:
        some = torch.nn.functional.linear(many[:count].clone(), weights)
        assert torch.equal(some, whole[:count]), (rows, columns, count)
"""


@pytest.mark.parametrize("instructions", ["", "AVX2", "SSE4_2"])
def test_a_product_of_few_tokens_has_the_bits_of_a_large_one(instructions):
    """What ``_LEAST_TOKENS`` promises, at the widths of the encoders that people use.

    Processors with fewer instructions take other paths; the library can be told to do so here.
    """
    environ = dict(os.environ)
    if instructions:
        environ["MKL_ENABLE_INSTRUCTIONS"] = instructions
    command = [sys.executable, "-c", PRODUCTS, str(sentence._LEAST_TOKENS)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr[-300:]


def test_a_forked_process_encodes(encoder):
    encoder.encode(["load"])
    child = os.fork()
    if not child:
        signal.alarm(60)  # its parent's threads aren't there: it would wait for them without end
        try:
            encoder.encode(["a child's text"])
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_that_share_an_encoder_get_the_same_bits(encoder, lengths):
    wanted = encoder.encode(lengths).tobytes()
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: encoder.encode(lengths).tobytes(), range(4)))
    assert set(got) == {wanted}


# ------------------------------------------------------------------------------------ MiniLM


def test_it_is_the_model_that_everybody_uses(encoder, lengths):
    theirs = encoder._model.encode(lengths, normalize_embeddings=True)
    assert np.abs(encoder.encode(lengths) - theirs).max() < 1e-6
    assert encoder.dim == 384
    assert encoder.name == "minilm"


def test_rows_are_unit_and_in_the_order_given(encoder, lengths):
    vectors = encoder.encode(lengths)
    assert check_vectors(vectors, 384).tobytes() == vectors.tobytes()
    turned = encoder.encode(lengths[::-1])
    assert turned[::-1].tobytes() == vectors.tobytes()
    assert encoder.encode([]).shape == (0, 384)


def test_a_text_beyond_the_models_reach_is_cut_not_refused(encoder):
    long = "Ann is allergic to peanuts. " * 1000
    assert encoder.encode([long]).tobytes() == encoder.encode([long + "!"]).tobytes()


QUIET = """
import sys
from forgetnet.encode import minilm
encoder = minilm()
assert len(encoder.digest) == 64 and encoder.dim == 384
assert not {"torch", "sentence_transformers"} & set(sys.modules), "loaded too early"
assert encoder.encode(["one"], progress=True).shape == (1, 384)
"""


def test_the_model_is_loaded_when_it_is_needed_and_nothing_is_printed():
    ran = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


# ------------------------------------------------------------------------------------ any model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A model of our own: random weights, mean pooling, no normalising, no length known."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder = tmp_path_factory.mktemp("tiny")
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(w.lower() for w in WORDS)]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=64,
        )
        BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt"), padding_side="left").save_pretrained(folder)
    base = Transformer(str(folder))
    model = SentenceTransformer(modules=[base, Pooling(32)], device="cpu")
    model.save_pretrained(str(folder / "saved"))
    return folder / "saved"


def test_any_model_of_the_family_passes_the_check(tiny, lengths):
    encoder = SentenceTransformerEncoder(tiny)
    assert encoder.dim == 32
    assert check_company(encoder, lengths) == []
    assert np.allclose(np.linalg.norm(encoder.encode(lengths), axis=1), 1, atol=1e-6)


def test_batches_of_one_shape_pass_the_check(tiny, lengths):
    encoder = SentenceTransformerEncoder(tiny, batch_size=8)
    plain = encoder.encode(lengths)
    encoder.device = "elsewhere"  # as on an accelerator: every batch is full
    assert encoder._rows(1, 500) == encoder._rows(8, 2) == 8
    assert check_company(encoder, lengths) == []
    assert np.allclose(encoder.encode(lengths), plain, atol=1e-6)


def test_a_model_without_rows_of_tokens_encodes_each_text_alone(tmp_path, lengths):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Whitespace

    numbers = {word: number for number, word in enumerate(["[UNK]", *WORDS])}
    tokenizer = Tokenizer(WordLevel(numbers, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    weights = np.random.default_rng(0).normal(size=(len(numbers), 8)).astype(np.float32)
    module = StaticEmbedding(tokenizer, embedding_weights=weights)
    SentenceTransformer(modules=[module], device="cpu").save_pretrained(str(tmp_path))
    encoder = SentenceTransformerEncoder(tmp_path)
    some = [text for text in lengths if text]
    assert check_company(encoder, some) == []


def test_a_folder_that_is_no_model_is_refused(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(Unsupported, match="can't be loaded"):
        SentenceTransformerEncoder(tmp_path).encode(["x"])
