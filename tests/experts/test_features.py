"""Random features: the same bits everywhere, and a kernel's inner products."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest

from forgetnet.errors import InvalidRecord
from forgetnet.exact import quantise
from forgetnet.experts.features import BLOCK, FeatureMap, _projection, _tables


def codes(n: int, dim: int = 384, seed: int = 0) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=(n, dim))
    return quantise(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def fingerprint(features: np.ndarray) -> str:
    return hashlib.sha256(features.astype("<i2").tobytes()).hexdigest()[:16]


def test_the_features_never_change() -> None:
    """A state in a file is of these features: other ones need another name."""
    ramp = (np.arange(3 * 384).reshape(3, 384) * 7919 % 8193 - 4096).astype(np.int16)
    assert fingerprint(FeatureMap()(ramp)) == "bd724d28fa3f9951"
    assert fingerprint(FeatureMap(64, 2.0)(ramp[:, :5])) == "e8891eb827a9aeb1"


def test_no_entry_of_the_table_depends_on_a_last_bit() -> None:
    exact = [math.cos(math.tau * k / 4096) * 2047 for k in range(4096)]
    assert min(abs(value % 1.0 - 0.5) for value in exact) > 2e-4
    cosine, sine = _tables()
    assert np.abs(cosine - exact).max() <= 0.5
    assert (sine == [round(math.sin(math.tau * k / 4096) * 2047) for k in range(4096)]).all()


def test_frequencies_are_those_of_the_kernel() -> None:
    projection = _projection(384, 1024, 0.5) * (2 * math.pi * 2.0**-12)
    assert abs(projection.mean()) < 0.01
    assert abs(projection.var() - 1.0) < 0.01
    fourth = (projection**4).mean()
    assert abs(fourth - 3.0) < 0.1  # 2.97, against the normal law's 3


@pytest.mark.parametrize("gamma", [0.25, 1.0])
def test_inner_products_approach_the_kernel(gamma: float) -> None:
    features = FeatureMap(16384, gamma)
    some = codes(40, dim=20)
    found = features(some)
    apart = ((some[:, None] - some[None].astype(float)) ** 2).sum(-1) * 4.0**-12
    error = np.abs(found @ found.T / features.energy - np.exp(-gamma * apart))
    assert error.max() < 5 / math.sqrt(8192)
    assert np.diag(error).max() < 1e-3


def test_features_are_whole_and_small() -> None:
    for features in (FeatureMap(), FeatureMap(128, 8.0), FeatureMap(linear=True)):
        found = features(codes(50))
        assert (found == np.rint(found)).all()
        assert np.abs(found).max() <= features.largest
        assert found.shape == (50, features.width(384))


def test_a_records_features_owe_nothing_to_its_company() -> None:
    some = codes(BLOCK + 300, dim=24)
    features = FeatureMap(64)
    together = features(some)
    assert (features(some[700:701]) == together[700]).all()
    assert (features(some[::-1])[::-1] == together).all()
    blocks = list(features.blocks(some))
    assert len(blocks) == 2
    assert (np.concatenate([block for _, block in blocks]) == together).all()


def test_the_first_frequencies_stay_when_more_are_asked_for() -> None:
    some = codes(5)
    few, many = FeatureMap(64)(some), FeatureMap(256)(some)
    assert (few[:, :32] == many[:, :32]).all()
    assert (few[:, 32:] == many[:, 128:160]).all()


def test_linear_features_are_the_codes() -> None:
    some = codes(5)
    assert (FeatureMap(linear=True)(some) == some).all()


@pytest.mark.parametrize("bad", [{"features": 7}, {"features": 0}, {"gamma": 0.0}])
def test_settings_that_no_map_has_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InvalidRecord):
        FeatureMap(**bad)  # the point


def test_phases_that_could_round_are_refused() -> None:
    with pytest.raises(InvalidRecord, match="gamma"):
        FeatureMap(gamma=1e12)(codes(1))
