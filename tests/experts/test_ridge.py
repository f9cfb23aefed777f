"""Ridge regression on sums: the solution, its error and its quick downdate against plain ones."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch

from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.exact import Codes, quantise, to_fixed, unpack
from forgetnet.experts import RidgeTrunk, State, View, make_view
from forgetnet.experts.expert import config_digest
from forgetnet.experts.features import BLOCK, FeatureMap
from forgetnet.experts.moments import label_moments, tally_of, value_moments
from forgetnet.experts.pinned import pinned
from forgetnet.experts.solve import leave_one_out, solve

DIM = 16
SMALL: dict[str, Any] = {"features": 64, "gamma": 1.0}


def codes(n: int, seed: int = 0) -> Codes:
    vectors = np.random.default_rng(seed).normal(size=(n, DIM))
    return quantise(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def view(targets: Sequence[Any] | np.ndarray, seed: int = 0, start: int = 0) -> View:
    n = len(targets)
    return make_view(
        [f"r{i}" for i in range(start, start + n)], codes(n, seed), targets, ["0" * 64] * n
    )


def blobs(n: int, classes: int, seed: int = 0) -> View:
    """Classes that can be learnt, but not perfectly."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(classes, DIM))
    labels = random.integers(0, classes, n)
    vectors = centres[labels] + random.normal(size=(n, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"b{i}" for i in range(n)]
    return make_view(ids, quantise(vectors), [f"c{i:02d}" for i in labels], ["0" * 64] * n)


def indicators(labels: Sequence[Any]) -> np.ndarray:
    return np.array([[float(label == c) for c in sorted(set(labels))] for label in labels])


def plain(
    rows: np.ndarray, targets: np.ndarray, penalty: float, weights: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Ridge regression of a text book: weights and an intercept that isn't penalised."""
    w = np.ones(len(rows)) if weights is None else weights
    mean, middle = w @ rows / w.sum(), w @ targets / w.sum()
    scatter = (rows - mean).T * w @ (rows - mean) + penalty * np.eye(rows.shape[1])
    found = np.linalg.solve(scatter, (rows - mean).T * w @ (targets - middle))
    return found, middle - mean @ found


def test_the_sums_are_those_of_whole_numbers_one_by_one() -> None:
    some = blobs(BLOCK + 70, 5)
    state = RidgeTrunk(**SMALL).fit(some, 0)
    rows = FeatureMap(64, 1.0)(some.codes).astype(np.int64)
    assert (unpack(state.tensors["gram"], 64) == rows.T @ rows).all()
    for label, count, total in zip(
        state.meta["classes"], state.tensors["counts"], state.tensors["sums"], strict=True
    ):
        mine = [i for i, known in enumerate(some.labels) if known == label]
        assert count == len(mine)
        assert (total == rows[mine].sum(axis=0)).all()


@pytest.mark.parametrize("linear", [False, True])
def test_weights_and_answers_are_those_of_plain_ridge(linear: bool) -> None:
    some = blobs(150, 3)
    trunk = RidgeTrunk(**SMALL, ridge=0.02, linear=linear)
    predictor = trunk.prepare(trunk.fit(some, 0))
    features = FeatureMap(64, 1.0, linear)
    rows = features(some.codes)
    found, shift = plain(rows, indicators(some.labels), 0.02 * features.energy)
    assert predictor.solution is not None
    assert np.abs(predictor.solution.weights - found).max() < 1e-10 * np.abs(found).max()
    assert np.abs(predictor.scores(some.codes) - rows @ found - shift).max() < 1e-6


def test_a_class_weight_counts_a_record_so_many_times() -> None:
    some = blobs(80, 3)
    weighted = RidgeTrunk(**SMALL, class_weight={"c01": 3})
    heavy = [i for i, label in enumerate(some.labels) if label == "c01"]
    extra = [make_view([f"{n}{i}" for i in heavy], some.codes[heavy], ["c01"] * len(heavy),
                       ["0" * 64] * len(heavy)) for n in "xy"]  # fmt: skip
    state, plainly = weighted.fit(some, 0), RidgeTrunk(**SMALL)
    thrice = plainly.fit(some, 0)
    for more in extra:
        thrice = plainly.absorb(thrice, more)
    assert (state.tensors["gram"] == thrice.tensors["gram"]).all()
    assert (state.tensors["sums"] == thrice.tensors["sums"]).all()
    assert state.tensors["counts"].sum() == len(some)
    ours, theirs = weighted.prepare(state).scores, plainly.prepare(thrice).scores
    assert np.abs(ours(some.codes) - theirs(some.codes)).max() < 1e-9


def test_balanced_answers_as_if_classes_were_as_frequent() -> None:
    some = blobs(400, 3)
    rare = [i for i, label in enumerate(some.labels) if label != "c00" or i % 10 == 0]
    skewed = some.take(rare)
    usual, balanced = RidgeTrunk(**SMALL), RidgeTrunk(**SMALL, class_weight="balanced")
    state = usual.fit(skewed, 0)
    assert balanced.fit(skewed, 0).digest() == state.digest()  # one and the same sums
    before, after = usual.prepare(state)(some.codes), balanced.prepare(state)(some.codes)
    wanted = before / state.tensors["counts"]
    wanted /= wanted.sum(axis=1, keepdims=True)
    assert np.abs(after - wanted).max() < 1e-9
    mine = [i for i, label in enumerate(some.labels) if label == "c00"]
    found = [(p[mine].argmax(axis=1) == 0).mean() for p in (before, after)]
    assert found[0] + 0.1 < found[1]


def test_moments_are_about_the_means() -> None:
    some = blobs(120, 4)
    weights: Mapping[Any, int] = {"c02": 5}
    rows, targets = FeatureMap(64, 1.0)(some.codes), indicators(some.labels)
    w = np.array([weights.get(label, 1) for label in some.labels], float)
    state = RidgeTrunk(**SMALL, class_weight=weights).fit(some, 0)
    found = label_moments(tally_of(state), weights)
    mean, middle = w @ rows / w.sum(), w @ targets / w.sum()
    assert found.count == 120
    assert found.weight == w.sum()
    assert np.allclose(found.mean, mean, rtol=1e-13)
    assert np.allclose(found.target_mean, middle, rtol=1e-13)
    assert np.allclose(found.cross, (rows - mean).T * w @ (targets - middle), atol=1e-6)
    assert np.allclose(found.power, w @ (targets - middle) ** 2, rtol=1e-12)


def test_targets_at_the_edge_of_the_range_lose_no_digit() -> None:
    edge = np.nextafter(2.0**40, 0.0)
    told = np.array([[edge, 2.0**39 + i * 2.0**-20] for i in range(30)])
    told[::2, 0] = -edge
    some = view(told)
    trunk = RidgeTrunk(**SMALL, task="regression")
    state = trunk.fit(some, 0)
    found = value_moments(state)
    rows = FeatureMap(64, 1.0)(some.codes).astype(np.int64).tolist()
    fixed = to_fixed(some.values).tolist()
    assert state.meta["total"] == [sum(y[t] for y in fixed) for t in (0, 1)]
    assert state.meta["squares"] == [sum(y[t] ** 2 for y in fixed) for t in (0, 1)]
    for t in (0, 1):
        middle = Fraction(sum(y[t] for y in fixed), 30)
        cross = sum((y[t] - middle) * f[7] for y, f in zip(fixed, rows, strict=True))
        power = sum((y[t] - middle) ** 2 for y in fixed)
        assert found.cross[7, t] == pytest.approx(float(cross) * 2.0**-20, rel=1e-15)
        assert found.power[t] == pytest.approx(float(power) * 2.0**-40, rel=1e-15)
    back = trunk.expel(trunk.absorb(state, view(told[::-1], 5, 30)), view(told[::-1], 5, 30))
    assert back.digest() == trunk.fit(some, 0).digest()


def test_a_regression_is_plain_ridge_however_far_from_zero() -> None:
    slope = np.array([1.0, -2.0, 3.0, 0.0])
    told = (codes(200)[:, :4] * 2.0**-12 @ slope)[:, None] + [1e6, 0.0]
    some = view(told)
    trunk = RidgeTrunk(features=512, gamma=0.3, ridge=1e-3, task="regression")
    predictor = trunk.prepare(trunk.fit(some, 0))
    assert predictor.classes == ()
    features = FeatureMap(512, 0.3)
    found, shift = plain(features(some.codes), some.values - [1e6, 0.0], 1e-3 * features.energy)
    fresh = codes(50, seed=9)
    answers = predictor(fresh) - [1e6, 0.0]
    assert np.abs(answers - features(fresh) @ found - shift).max() < 1e-5
    assert np.abs(answers[:, 1] - (fresh[:, :4] * 2.0**-12 @ slope)).mean() < 0.3


def test_the_error_left_out_is_that_of_cross_validation() -> None:
    some = blobs(150, 4)
    trunk = RidgeTrunk(features=256, gamma=1.0, ridge=0.05)
    predictor = trunk.prepare(trunk.fit(some, 0))
    assert predictor.solution is not None
    rows, targets = FeatureMap(256, 1.0)(some.codes), indicators(some.labels)
    penalty = 0.05 * FeatureMap(256, 1.0).energy
    middle = rows - rows.mean(axis=0)
    hat = middle @ np.linalg.solve(middle.T @ middle + penalty * np.eye(256), middle.T) + 1 / 150
    assert predictor.solution.freedom == pytest.approx(np.trace(hat), rel=0.03)
    residual = targets - hat @ targets
    error = (residual**2).mean(axis=0) / (1 - np.trace(hat) / 150) ** 2
    assert leave_one_out(predictor.solution) == pytest.approx(error, rel=0.1)
    apart = []
    for i in range(150):
        rest = np.arange(150) != i
        found, shift = plain(rows[rest], targets[rest], penalty)
        apart.append((rows[i] @ found + shift - targets[i]) ** 2)
    assert predictor.temperature**2 == pytest.approx(np.mean(apart), rel=0.25)


def test_noise_alone_is_answered_without_certainty() -> None:
    labels = [f"c{i % 4}" for i in range(120)]
    trunk = RidgeTrunk(**SMALL)
    asked = trunk.prepare(trunk.fit(view(labels), 0))(codes(200, seed=5))
    assert asked.max(axis=1).mean() < 0.6
    sure = blobs(120, 4)
    assert trunk.prepare(trunk.fit(sure, 0))(sure.codes).max(axis=1).mean() > 0.7


def test_the_penalty_follows_the_noise_where_it_may() -> None:
    noisy = view([f"c{i % 2}" for i in range(150)])
    clean = view(codes(150)[:, :1] * 2.0**-12)
    classify = RidgeTrunk(features=256, gamma=0.1, ridge=None)
    regress = RidgeTrunk(features=256, gamma=0.1, ridge=None, task="regression")
    loud, quiet = classify.prepare(classify.fit(noisy, 0)), regress.prepare(regress.fit(clean, 0))
    assert loud.solution is not None
    assert quiet.solution is not None
    assert loud.solution.penalty == FeatureMap(256).energy
    assert quiet.solution.penalty == 0.01 * FeatureMap(256).energy
    assert classify.bridge(loud, noisy.take([0])) is None


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_bridge_is_what_solving_again_comes_to(task: Any) -> None:
    some = blobs(400, 5)
    weights = {"c01": 4} if task == "classification" else None
    if task == "regression":
        told = some.vectors[:, :2].astype(float) * 10.0 + 3.0
        some = make_view(some.ids, some.codes, told, some.keys)
    trunk = RidgeTrunk(features=256, gamma=1.0, class_weight=weights, task=task)
    before = trunk.prepare(trunk.fit(some, 0))
    gone, more = range(0, 120, 6), range(1, 40, 4)
    bridged = trunk.bridge(before, some.take(gone))
    assert bridged is not None
    assert not bridged.exact
    bridged = trunk.bridge(bridged, some.take(more))  # one after the other
    assert bridged is not None
    rest = sorted({*range(400)} - {*gone} - {*more})
    after = trunk.prepare(trunk.fit(some.take(rest), 0))
    assert after.exact
    assert bridged.solution is not None
    assert after.solution is not None
    scale = np.abs(after.solution.weights).max()
    assert np.abs(bridged.solution.weights - after.solution.weights).max() < 1e-11 * scale
    assert np.abs(bridged.solution.moments.cross - after.solution.moments.cross).max() < 1e-6
    assert bridged.temperature == pytest.approx(after.temperature, rel=1e-9)
    assert np.abs(bridged(some.codes) - after(some.codes)).max() < 1e-7
    assert before.solution is not None
    assert np.abs(before(some.codes) - after(some.codes)).max() > 1e-3  # it did change something


def test_a_bridge_forgets_a_class_too() -> None:
    some = blobs(200, 4)
    last = [i for i, label in enumerate(some.labels) if label == "c03"][:20]
    rare = [i for i in range(200) if some.labels[i] != "c03" or i in last]
    some = some.take(rare)
    trunk = RidgeTrunk(features=256)
    before = trunk.prepare(trunk.fit(some, 0))
    gone = [i for i, label in enumerate(some.labels) if label == "c03"]
    bridged = trunk.bridge(before, some.take(gone))
    assert bridged is not None
    assert bridged.classes == ("c00", "c01", "c02")
    state = trunk.expel(trunk.fit(some, 0), some.take(gone))
    assert np.abs(bridged(some.codes) - trunk.prepare(state)(some.codes)).max() < 1e-7
    with pytest.raises(InvalidRecord, match="can't have been absorbed"):
        trunk.bridge(bridged, some.take(gone[:1]))


def test_a_bridge_waits_for_no_training() -> None:
    some = blobs(100, 3)
    trunk = RidgeTrunk(features=256)
    before = trunk.prepare(trunk.fit(some, 0))
    held, done = threading.Event(), threading.Event()

    def train() -> None:
        with pinned():
            held.set()
            done.wait(60)

    training = threading.Thread(target=train)
    training.start()
    held.wait(60)
    found: list[Any] = []
    asked = threading.Thread(target=lambda: found.append(trunk.bridge(before, some.take([0]))))
    asked.start()
    asked.join(30)
    waited = asked.is_alive()
    done.set()
    training.join()
    asked.join()
    assert not waited
    assert found[0] is not None


def test_a_bridge_is_refused_where_it_is_none() -> None:
    some = blobs(60, 3)
    trunk = RidgeTrunk(**SMALL)
    before = trunk.prepare(trunk.fit(some, 0))
    assert trunk.bridge(before, some) is None  # nobody would be left
    assert trunk.bridge(before, some.take(range(9))) is None  # more than 64 / 8
    assert trunk.bridge(before, some.take(range(8))) is not None
    assert trunk.bridge(trunk.prepare(trunk.empty()), some.take([0])) is None


def test_answers_owe_nothing_to_the_number_of_threads() -> None:
    some = blobs(300, 6)
    trunk = RidgeTrunk(features=512)
    state = trunk.fit(some, 0)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = trunk.prepare(state)(some.codes)
        torch.set_num_threads(2)
        assert trunk.prepare(state)(some.codes).tobytes() == alone.tobytes()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)


def test_one_record_and_one_class_are_answered() -> None:
    trunk = RidgeTrunk(**SMALL)
    one = trunk.prepare(trunk.fit(view(["only"]), 0))
    assert (one(codes(4, 1)) == 1.0).all()
    two = trunk.prepare(trunk.fit(view(["a", "b"]), 0))(codes(4, 1))
    assert np.isfinite(two).all()
    assert np.allclose(two.sum(axis=1), 1.0)
    number = RidgeTrunk(**SMALL, task="regression")
    assert np.allclose(number.prepare(number.fit(view(np.array([[5.5]])), 0))(codes(4, 1)), 5.5)


def test_what_was_never_absorbed_is_refused() -> None:
    trunk = RidgeTrunk(**SMALL)
    some, other = view(["a", "b"]), view(["b", "a"], seed=3)
    with pytest.raises(InvalidRecord, match="can't have been absorbed"):
        trunk.expel(trunk.fit(some, 0), view(["c"]))
    with pytest.raises(InvalidRecord, match="can't have been absorbed"):
        trunk.expel(trunk.fit(some, 0), other)  # counts fit, sums don't
    numbers = RidgeTrunk(**SMALL, task="regression")
    told = view(np.array([[1.0], [2.0]]))
    with pytest.raises(InvalidRecord, match="than there are"):
        numbers.expel(numbers.fit(told, 0), view(np.array([[1.0], [2.0], [3.0]])))
    with pytest.raises(InvalidRecord, match="can't have been absorbed"):
        numbers.expel(numbers.fit(told, 0), view(np.array([[2.0], [1.0]])))
    with pytest.raises(InvalidRecord, match="numbers, not 2"):
        numbers.absorb(numbers.fit(told, 0), view(np.ones((1, 2)), start=5))


def test_sums_that_are_none_are_damage() -> None:
    trunk = RidgeTrunk(**SMALL)
    state = trunk.fit(blobs(50, 2), 0)
    state.tensors["gram"][0] = -(10**12)
    with pytest.raises(StoreCorrupt):
        trunk.prepare(state)
    moments = label_moments(tally_of(state), {})
    with pytest.raises(StoreCorrupt):
        solve(state.tensors["gram"], moments, 1.0)


@pytest.mark.parametrize("task", ["classification", "regression"])
def test_a_state_of_a_mapped_file_can_be_changed(task: Any) -> None:
    trunk = RidgeTrunk(**SMALL, task=task)
    some = blobs(50, 3)
    if task == "regression":
        some = make_view(some.ids, some.codes, some.vectors[:, :2].astype(float), some.keys)
    read = State.from_bytes(trunk.fit(some, 0).to_bytes())
    for array in read.tensors.values():
        array.flags.writeable = False
    left = trunk.expel(read, some.take(range(10)))
    assert left.digest() == trunk.fit(some.take(range(10, 50)), 0).digest()


@pytest.mark.parametrize(
    "bad",
    [
        {"ridge": 0.0},
        {"ridge": float("nan")},
        {"class_weight": "even"},
        {"class_weight": {"a": 0}},
        {"class_weight": {"a": 256}},
        {"class_weight": {"a": 1.5}},
        {"class_weight": {"a": 1, 2: 1}},
        {"class_weight": {"a": 2}, "task": "regression"},
        {"features": 3},
    ],
)
def test_settings_that_no_ridge_has_are_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(InvalidRecord):
        RidgeTrunk(**bad)


def test_weights_are_the_same_setting_in_any_order_and_form() -> None:
    pairs = (("b", 2), ("a", 3))
    forms: list[Any] = [dict(pairs), {"a": 3, "b": 2}, pairs, (["a", 3], ["b", 2])]
    assert len({config_digest(RidgeTrunk(class_weight=form)) for form in forms}) == 1
    assert config_digest(RidgeTrunk(class_weight="balanced")) != config_digest(RidgeTrunk())
    assert "c01" not in repr(RidgeTrunk(**SMALL).prepare(RidgeTrunk(**SMALL).fit(blobs(9, 2), 0)))
