"""One suite over every kind of expert: what it declares about itself is what it does."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from forgetnet.component import Influence
from forgetnet.errors import InvalidRecord, StoreCorrupt
from forgetnet.exact import quantise
from forgetnet.experts import (
    AdditiveExpert,
    Expert,
    PrototypeExpert,
    RidgeTrunk,
    State,
    View,
    make_view,
)
from forgetnet.experts.expert import config_digest
from forgetnet.experts.sklearn_expert import SklearnExpert
from forgetnet.experts.torch_expert import TorchExpert
from forgetnet.record import canonical_json

DIM = 12
POOL = 24
SMALL: dict[str, Any] = {"features": 32}
QUICK: dict[str, Any] = {"hidden": 8, "epochs": 1, "min_steps": 10, "batch": 8}


@dataclass(frozen=True)
class Kind:
    """A kind of expert to try.

    Attributes:
        name: of the test.
        make: makes one.
        rounding: by how much a row's answer may differ in other company; 0 for not at all.
    """

    name: str
    make: Callable[[], Expert]
    rounding: float = 0.0


KINDS = [
    Kind("ridge", lambda: RidgeTrunk(**SMALL)),
    Kind("ridge-weights", lambda: RidgeTrunk(**SMALL, class_weight={"b": 7, "d": 2})),
    Kind("ridge-balanced", lambda: RidgeTrunk(**SMALL, class_weight="balanced")),
    Kind("ridge-linear", lambda: RidgeTrunk(linear=True)),
    Kind("ridge-chosen", lambda: RidgeTrunk(**SMALL, ridge=None)),
    Kind("ridge-regression", lambda: RidgeTrunk(**SMALL, task="regression")),
    Kind("prototype", PrototypeExpert),
    Kind("prototype-lorentz", lambda: PrototypeExpert("lorentz")),
    Kind("torch", lambda: TorchExpert(**QUICK), rounding=1e-6),
    Kind("torch-regression", lambda: TorchExpert("regression", **QUICK), rounding=1e-5),
    Kind("sklearn", lambda: SklearnExpert(LogisticRegression()), rounding=1e-12),
]
EVERY = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
ADDITIVE = pytest.mark.parametrize(
    "kind",
    [kind for kind in KINDS if kind.make().influence is Influence.ADDITIVE],
    ids=lambda kind: kind.name,
)


def records(task: str, start: int = 0, count: int = POOL, order: int | None = None) -> View:
    """Some records of a fixed pool of strangers; of several classes, so that classes die too."""
    random = np.random.default_rng(5)
    vectors = random.normal(size=(POOL + 10, DIM))
    codes = quantise(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    some = np.arange(start, start + count)
    if order is not None:
        np.random.default_rng(order).shuffle(some)
    told: Any = np.stack([codes[some, 0] / 7.0 - 1e4, some * 2.0**30], axis=1)
    if task == "classification":
        told = [("d", "b", "a", "c", "ä")[min(i % 7, 4)] for i in some.tolist()]
    return make_view([f"r{i}" for i in some], codes[some], told, ["01" * 32] * count)


@pytest.fixture(scope="module")
def stranger() -> Iterator[ProcessPoolExecutor]:
    """Another process, started anew."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        yield pool


@EVERY
def test_it_is_what_the_contract_asks_for(kind: Kind) -> None:
    expert = kind.make()
    assert isinstance(expert, Expert)
    assert expert.name.isascii()
    assert expert.influence in {Influence.ADDITIVE, Influence.ISOLATED}
    assert isinstance(expert, AdditiveExpert) == (expert.influence is Influence.ADDITIVE)
    assert json.loads(canonical_json(dict(expert.config()))) == dict(expert.config())
    again = pickle.loads(pickle.dumps(expert))  # noqa: S301 - our own bytes
    assert config_digest(again) == config_digest(expert) == config_digest(kind.make())


def test_kinds_that_learn_otherwise_say_so() -> None:
    assert len({config_digest(kind.make()) for kind in KINDS}) == len(KINDS)


@EVERY
def test_equal_records_and_seed_give_equal_bytes(kind: Kind, stranger: ProcessPoolExecutor) -> None:
    expert = kind.make()
    view = records(expert.task)
    before = view.digest()
    data = expert.fit(view, 11).to_bytes()
    assert expert.fit(view, 11).to_bytes() == data
    assert kind.make().fit(records(expert.task, order=3), 11).to_bytes() == data
    assert stranger.submit(expert.fit, view, 11).result().to_bytes() == data
    assert view.digest() == before


@EVERY
def test_a_seed_and_a_record_move_what_they_may(kind: Kind) -> None:
    expert = kind.make()
    state = expert.fit(records(expert.task), 11)
    assert expert.fit(records(expert.task, 0, POOL - 1), 11).digest() != state.digest()
    assert expert.fit(records(expert.task, 1, POOL), 11).digest() != state.digest()
    if expert.influence is Influence.ADDITIVE:
        assert expert.fit(records(expert.task), 12).digest() == state.digest()


@ADDITIVE
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_history_ends_in_the_state_of_the_survivors(kind: Kind, data: st.DataObject) -> None:
    expert: Any = kind.make()
    whole = records(expert.task)
    state, live = expert.empty(), set[int]()
    for _ in range(data.draw(st.integers(1, 6))):
        gone = data.draw(st.sets(st.sampled_from(sorted(live)))) if live else set[int]()
        new = data.draw(st.sets(st.sampled_from(sorted({*range(POOL)} - live)))) if (
            len(live) < POOL
        ) else set[int]()  # fmt: skip
        if data.draw(st.booleans()):
            state = State.from_bytes(state.to_bytes())
        if data.draw(st.booleans()):
            state = expert.expel(expert.absorb(state, whole.take(sorted(new))),
                                 whole.take(sorted(gone)))  # fmt: skip
        else:
            for i in gone:
                state = expert.expel(state, whole.take([i]))
            for i in new:
                state = expert.absorb(state, whole.take([i]))
        live = (live - gone) | new
    twin = expert.fit(whole.take(sorted(live)), 99) if live else expert.empty()
    assert state.digest() == twin.digest()
    assert state.to_bytes() == twin.to_bytes()


@ADDITIVE
def test_nobody_is_left_of_everybody(kind: Kind) -> None:
    expert: Any = kind.make()
    view = records(expert.task)
    left = expert.expel(expert.fit(view, 0), view)
    assert left.to_bytes() == expert.empty().to_bytes()
    answers = expert.prepare(left)(view.codes)
    assert answers.shape == (POOL, 0)
    assert expert.absorb(left, view).digest() == expert.fit(view, 0).digest()


@ADDITIVE
def test_no_records_change_nothing_and_unknown_ones_are_refused(kind: Kind) -> None:
    expert: Any = kind.make()
    view, none = records(expert.task), records(expert.task, count=0)
    state = expert.fit(view, 0)
    before = state.digest()
    assert expert.absorb(state, none).digest() == before
    assert expert.expel(state, none).digest() == before
    with pytest.raises(InvalidRecord):
        expert.expel(expert.fit(records(expert.task, 0, 3), 0), view)
    with pytest.raises(InvalidRecord):
        expert.expel(expert.empty(), view)


@ADDITIVE
def test_a_bridge_says_that_it_is_one(kind: Kind) -> None:
    expert: Any = kind.make()
    view = records(expert.task)
    before = expert.prepare(expert.fit(view, 0))
    bridged = expert.bridge(before, view.take([0]))
    if bridged is not None:
        assert not bridged.exact
        after = expert.prepare(expert.fit(view.take(range(1, POOL)), 0))
        assert bridged.classes == after.classes
        scale = np.abs(after(view.codes)).max()
        assert np.abs(bridged(view.codes) - after(view.codes)).max() <= 1e-7 * scale


@EVERY
def test_a_state_comes_back_from_its_bytes(kind: Kind) -> None:
    expert = kind.make()
    view = records(expert.task)
    state = expert.fit(view, 11)
    again = State.from_bytes(state.to_bytes())
    assert again.digest() == state.digest()
    ours, theirs = expert.prepare(state)(view.codes), expert.prepare(again)(view.codes)
    assert ours.tobytes() == theirs.tobytes()
    for damaged in (b"", state.to_bytes()[:-1], b"no state at all"):
        with pytest.raises(StoreCorrupt):
            State.from_bytes(damaged)


@EVERY
def test_answers_are_shares_of_classes_in_order(kind: Kind) -> None:
    expert = kind.make()
    view = records(expert.task)
    predictor = expert.prepare(expert.fit(view, 11))
    answers = predictor(view.codes)
    assert predictor.exact
    assert np.isfinite(answers).all()
    if expert.task == "regression":
        assert predictor.classes == ()
        assert answers.shape == (POOL, 2)
        return
    assert predictor.classes == ("a", "b", "c", "d", "ä")
    assert answers.shape == (POOL, 5)
    assert (answers >= 0.0).all()
    assert np.abs(answers.sum(axis=1) - 1.0).max() < 1e-12
    numbered = [{"a": 10, "b": 9, "c": 2, "d": 1, "ä": 33}[str(c)] for c in view.labels]
    view = make_view(view.ids, view.codes, numbered, view.keys)
    if "weights" not in kind.name:
        assert expert.prepare(expert.fit(view, 11)).classes == (1, 2, 9, 10, 33)


@EVERY
def test_an_answer_owes_nothing_to_its_company(kind: Kind) -> None:
    expert = kind.make()
    predictor = expert.prepare(expert.fit(records(expert.task), 11))
    codes = np.concatenate([records(expert.task, 4, 30).codes] * 9)
    together = predictor(codes)
    scale = max(1.0, float(np.abs(together).max()))
    for rows in (slice(0, 1), slice(7, 10), slice(3, 260)):
        apart = predictor(codes[rows]) - together[rows]
        assert np.abs(apart).max() <= kind.rounding * scale
    turned = predictor(codes[::-1])[::-1] - together
    assert np.abs(turned).max() <= kind.rounding * scale
    assert predictor(codes[:0]).shape == (0, together.shape[1])


@EVERY
def test_what_cannot_be_learnt_is_refused(kind: Kind) -> None:
    expert = kind.make()
    other = "regression" if expert.task == "classification" else "classification"
    with pytest.raises(InvalidRecord):
        expert.fit(records(other), 11)
    with pytest.raises(InvalidRecord):
        expert.fit(records(expert.task, count=0), 11)


@ADDITIVE
def test_vectors_of_another_dimension_are_refused(kind: Kind) -> None:
    expert: Any = kind.make()
    view = records(expert.task)
    short = make_view(view.ids, view.codes[:, :-1], view.targets, view.keys)
    with pytest.raises(InvalidRecord, match="dimensions"):
        expert.absorb(expert.fit(view, 0), short)
    with pytest.raises(InvalidRecord, match="dimensions"):
        expert.prepare(expert.fit(view, 0))(short.codes)
