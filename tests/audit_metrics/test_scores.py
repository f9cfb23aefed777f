"""Membership scores: by hand, and each trap of open-unlearning beside what mends it."""

from __future__ import annotations

import math
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.audit.scores import (
    gradnorm_scores,
    loss_scores,
    min_k_plus_plus_scores,
    min_k_scores,
    modified_entropy_scores,
    reference_scores,
    vocabulary_moments,
    zlib_scores,
)
from forgetnet.errors import InvalidRecord

OPEN = "open-unlearning"
rows = st.lists(
    st.lists(st.floats(-30, 0), min_size=1, max_size=12), min_size=1, max_size=5
)


def test_losses_references_and_zlib_by_hand() -> None:
    assert loss_scores([1.0, 2.0]).tolist() == [1, 2]
    assert reference_scores([1.0, 2.0], [0.5, 3.0]).tolist() == [0.5, -1]
    texts = ["Lisbon", "ä" * 40]
    sizes = [len(zlib.compress(text.encode("utf-8"))) for text in texts]
    assert zlib_scores([1.0, 2.0], texts).tolist() == [1 / sizes[0], 2 / sizes[1]]


def test_min_k_by_hand() -> None:
    tokens = [[-1.0, -5.0, -3.0, -2.0, -4.0], [-7.0]]
    assert min_k_scores(tokens, k=0.4).tolist() == [4.5, 7.0]  # one token at least


def test_an_example_without_a_token_is_no_certain_member() -> None:
    assert min_k_scores([[], [-1.0]], compat=OPEN).tolist() == [0, 1]
    assert math.isnan(min_k_scores([[], [-1.0]])[0])


def test_a_share_of_tokens_is_counted_exactly() -> None:
    tokens = [-np.arange(100.0)]
    assert int(100 * 0.29) == 28
    assert min_k_scores(tokens, k=0.29, compat=OPEN)[0] == np.mean(np.arange(72, 100))
    assert min_k_scores(tokens, k=0.29)[0] == np.mean(np.arange(71, 100))


def test_the_precision_of_the_caller_is_kept() -> None:
    row = np.log(np.array([0.1, 0.2, 0.3], np.float32))
    expected = float(-np.mean(np.sort(row)[:2]))
    assert min_k_scores([row], k=0.7, compat=OPEN)[0] == expected


@given(rows)
def test_min_k_rises_as_k_falls(tokens: list[list[float]]) -> None:
    wide, narrow = min_k_scores(tokens, k=1.0), min_k_scores(tokens, k=0.1)
    assert (narrow >= wide - 1e-9).all()
    assert wide == pytest.approx([-np.mean(row) for row in tokens])


def test_min_k_plus_plus_by_hand() -> None:
    p = np.array([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1]])
    mean, variance = vocabulary_moments(np.log(p))
    assert mean == pytest.approx((p * np.log(p)).sum(axis=1))
    assert variance == pytest.approx((p * np.log(p) ** 2).sum(axis=1) - mean**2)
    faulty = vocabulary_moments(np.log(p), compat=OPEN)  # no zero, and nothing cancels
    assert np.array(faulty) == pytest.approx(np.array([mean, variance]), abs=1e-12)
    token = np.log(p[:, 1])
    z = (token - mean) / np.sqrt(variance)
    found = min_k_plus_plus_scores([token], [mean], [variance], k=0.5)
    assert found == pytest.approx([-z.min()])


def test_an_impossible_word_poisons_only_the_faulty_moments() -> None:
    with np.errstate(divide="ignore"):
        logs = np.log(np.array([[0.5, 0.5, 0.0]]))
    assert np.isnan(vocabulary_moments(logs, compat=OPEN)[0]).all()
    mean, variance = vocabulary_moments(logs)
    assert (mean[0], variance[0]) == pytest.approx((math.log(0.5), 0))


def test_the_variance_of_a_sure_model_does_not_cancel() -> None:
    """All words nearly equal: the variance is tiny, and a difference of squares loses it."""
    logits = np.linspace(0, 1e-3, 5000, dtype=np.float32)
    logs = (logits - np.log(np.exp(logits).sum(dtype=np.float64))).astype(np.float32)[None]
    exact = np.var(logits.astype(np.float64))
    faulty, mended = (vocabulary_moments(logs, compat=c)[1][0] for c in (OPEN, "strict"))
    assert mended == pytest.approx(exact, rel=1e-2)
    assert abs(faulty - exact) > 0.9 * exact


def test_a_variance_near_0_is_clamped() -> None:
    found = min_k_plus_plus_scores([[-1.0]], [[-2.0]], [[0.0]])
    assert found == pytest.approx([-1000])


def test_modified_entropy_by_hand() -> None:
    p = np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]])
    found = modified_entropy_scores(p, [0, 2])
    right = -0.3 * math.log(0.7) - 0.2 * math.log(0.8) - 0.1 * math.log(0.9)
    wrong = -0.9 * math.log(0.1) - 0.7 * math.log(0.3) - 0.2 * math.log(0.8)
    assert found == pytest.approx([right, wrong])


def test_modified_entropy_looks_at_each_row_by_its_own_label() -> None:
    rng = np.random.default_rng(0)
    p, labels = rng.dirichlet(np.ones(5), 20), rng.integers(0, 5, 20)
    together = modified_entropy_scores(p, labels)
    alone = [modified_entropy_scores(p[i : i + 1], labels[i : i + 1])[0] for i in range(20)]
    assert together == pytest.approx(alone)


def test_a_sure_answer_is_a_member_only_if_it_is_right() -> None:
    sure = [[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    right, wrong, unsure = modified_entropy_scores(sure, [0, 1, 0])
    assert right == 0
    assert wrong > unsure > right
    with pytest.raises(InvalidRecord, match="labels"):
        modified_entropy_scores([[0.5, 0.5]], [2])
    with pytest.raises(InvalidRecord, match="sums to 1"):
        modified_entropy_scores([[0.5, 0.6]], [0])


def test_gradient_norms_weigh_tensors_alike_only_in_the_faulty_one() -> None:
    norms = [[3.0, 4.0, 0.0]]
    assert gradnorm_scores(norms, compat=OPEN)[0] == pytest.approx(7 / 3)
    assert gradnorm_scores(norms)[0] == pytest.approx(5)


def test_gradient_norms_do_not_depend_on_how_weights_are_cut() -> None:
    whole, halves = [[5.0]], [[3.0, 4.0]]
    assert gradnorm_scores(whole)[0] == pytest.approx(gradnorm_scores(halves)[0])
    faulty = [gradnorm_scores(norms, compat=OPEN)[0] for norms in (whole, halves)]
    assert faulty[0] != pytest.approx(faulty[1])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidRecord, match="share"):
        min_k_scores([[-1.0]], k=0)
    with pytest.raises(InvalidRecord, match="as many"):
        zlib_scores([1.0], ["a", "b"])
    with pytest.raises(InvalidRecord, match="finite"):
        loss_scores([np.nan])
    with pytest.raises(InvalidRecord, match="mean and a variance"):
        min_k_plus_plus_scores([[-1.0, -2.0]], [[-1.0]], [[1.0]])
    with pytest.raises(InvalidRecord, match="order"):
        gradnorm_scores([[1.0]], p=0.5)
