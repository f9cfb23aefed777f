"""Centroids from integer sums, by the cosine and in the Lorentz model."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from forgetnet.errors import InvalidRecord
from forgetnet.exact import Codes, quantise
from forgetnet.experts import PrototypeExpert, View, make_view
from forgetnet.experts.prototype import lift
from forgetnet.geometry import lorentz

DIM = 10
STEP = 2.0**-20


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def codes(n: int, seed: int = 0) -> Codes:
    return quantise(unit(np.random.default_rng(seed).normal(size=(n, DIM))))


def blobs(n: int, spread: tuple[float, ...] = (0.5, 0.5, 0.5), seed: int = 0) -> View:
    """Classes around their centres, some broader than others."""
    random = np.random.default_rng(seed)
    centres = unit(np.random.default_rng(99).normal(size=(len(spread), DIM)))
    labels = random.integers(0, len(spread), n)
    noise = random.normal(size=(n, DIM)) / math.sqrt(DIM) * np.array(spread)[labels, None]
    ids = [f"p{i}" for i in range(n)]
    return make_view(
        ids, quantise(unit(centres[labels] + noise)), [int(i) for i in labels], ["0" * 64] * n
    )


def test_cosines_are_those_to_the_mean() -> None:
    some = blobs(90)
    expert = PrototypeExpert()
    predictor = expert.prepare(expert.fit(some, 0))
    assert predictor.classes == (0, 1, 2)
    means = np.stack(
        [some.vectors[[i for i, c in enumerate(some.labels) if c == k]].mean(0) for k in range(3)]
    )
    fresh = codes(30, 4)
    wanted = unit(fresh.astype(float)) @ unit(means.astype(float)).T
    assert np.abs(predictor.similarities(fresh) - wanted).max() < 1e-6
    shares = np.exp(wanted / predictor.temperature)
    shares /= shares.sum(axis=1, keepdims=True)
    assert np.abs(predictor(fresh) - shares).max() < 1e-4


def test_lifting_is_the_exponential_map() -> None:
    some = codes(50)
    point = lorentz.expmap0(torch.from_numpy(some * 2.0**-12), k=1.0).numpy()
    assert np.abs(lift(some) * STEP - point).max() <= STEP * 0.51
    with pytest.raises(InvalidRecord, match="unit vectors"):
        lift(np.full((1, DIM), 4096, np.int16))


def test_lorentz_products_are_distances_to_the_lorentz_centroid() -> None:
    some = blobs(60)
    expert = PrototypeExpert("lorentz")
    predictor = expert.prepare(expert.fit(some, 0))
    fresh = codes(20, 4)
    points = lorentz.expmap0(torch.from_numpy(fresh * 2.0**-12), k=1.0)
    for k in range(3):
        mine = [i for i, c in enumerate(some.labels) if c == k]
        raised = lorentz.expmap0(torch.from_numpy(some.codes[mine] * 2.0**-12), k=1.0)
        centre = lorentz.centroid(raised, k=1.0)
        wanted = -torch.cosh(lorentz.dist(points, centre[None], k=1.0)).numpy()
        assert np.abs(predictor.similarities(fresh)[:, k] - wanted).max() < 1e-5


def test_a_broad_class_draws_what_is_far_from_all() -> None:
    some = blobs(600, (0.1, 1.5, 0.1))
    flat, curved = PrototypeExpert(), PrototypeExpert("lorentz")
    far = codes(400, 7)
    taken = [
        float((p.prepare(p.fit(some, 0)).similarities(far).argmax(axis=1) == 1).mean())
        for p in (flat, curved)
    ]
    assert taken[1] > taken[0] + 0.1


@pytest.mark.parametrize("space", ["content", "lorentz"])
def test_certainty_follows_the_spread(space: Any) -> None:
    expert = PrototypeExpert(space)
    heat = [expert.prepare(expert.fit(blobs(300, (s,) * 3), 0)).temperature for s in (0.2, 1.0)]
    assert heat[0] < heat[1] / 2
    fixed = PrototypeExpert(space, temperature=0.3)
    assert fixed.prepare(fixed.fit(blobs(30), 0)).temperature == 0.3


def test_classes_of_one_record_are_answered() -> None:
    expert = PrototypeExpert()
    pair = make_view(["a", "b"], codes(2), ["x", "y"], ["0" * 64] * 2)
    predictor = expert.prepare(expert.fit(pair, 0))
    nearest = predictor(pair.codes).argmax(axis=1)
    assert [predictor.classes[i] for i in nearest] == list(pair.labels)
    opposed = make_view(["a", "b"], np.stack([pair.codes[0], -pair.codes[0]]), ["x"] * 2, pair.keys)
    assert (expert.prepare(expert.fit(opposed, 0))(pair.codes) == 1.0).all()


@pytest.mark.parametrize(
    "bad", [{"task": "regression"}, {"space": "poincare"}, {"temperature": 0.0}]
)
def test_settings_that_no_prototype_has_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord):
        PrototypeExpert(**bad)
