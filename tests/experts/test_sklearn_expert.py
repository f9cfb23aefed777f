"""Estimators of scikit-learn as experts: the same bits, in files that can't name code."""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from forgetnet.errors import InvalidRecord, StoreCorrupt, Unsupported
from forgetnet.experts import State
from forgetnet.experts.estimators import KNOWN
from forgetnet.experts.expert import config_digest
from forgetnet.experts.sklearn_expert import SklearnExpert
from tests.experts.leaves import leaf, numbers

ROOT = Path(__file__).resolve().parents[2]
SMALL = {"n_estimators": 5, "max_iter": 30}
HELPERS = {"sklearn.pipeline", "sklearn.preprocessing"}
NAMES = [(home, name) for home in sorted(KNOWN) if home not in HELPERS for name in KNOWN[home]]


def expert(home: str, name: str) -> SklearnExpert:
    made = getattr(importlib.import_module(home), name)()
    made.set_params(**{k: v for k, v in SMALL.items() if k in made.get_params()})
    numeric = name.endswith(("Regressor", "SVR")) or name in {"Ridge", "LinearRegression"}
    return SklearnExpert(made, "regression" if numeric else "classification")


def fit(kind: SklearnExpert, view: Any, seed: int = 5) -> State:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # so few steps, on purpose
        return kind.fit(view, seed)


@pytest.mark.parametrize(("home", "name"), NAMES)
def test_every_known_estimator_is_exact_and_comes_back(home: str, name: str) -> None:
    kind = expert(home, name)
    view, other = leaf(), leaf(without=["s1", "s2"], order=3)
    if kind.task == "regression":
        view, other = numbers(view), numbers(other)
    before = np.random.mtrand._rand.get_state()[1].tobytes()
    state = fit(kind, view)
    keep = [n for n, i in enumerate(view.ids) if i in other.ids]
    assert fit(kind, view.take(keep)).digest() == fit(kind, other).digest() != state.digest()
    assert fit(kind, view).digest() == state.digest()
    assert np.random.mtrand._rand.get_state()[1].tobytes() == before
    again = kind.prepare(State.from_bytes(state.to_bytes()))
    answers = again(view.codes)
    assert np.array_equal(answers, kind.prepare(state)(view.codes))
    one_by_one = np.concatenate([again(view.codes[i : i + 1]) for i in range(len(view))])
    np.testing.assert_allclose(one_by_one, answers, rtol=1e-9, atol=1e-9)
    if kind.task == "classification":
        np.testing.assert_allclose(answers.sum(axis=1), 1.0)
        right = np.array([again.classes[n] for n in answers.argmax(axis=1)])
        assert (right == np.array(view.labels)).mean() > 0.6
    for small in (1, 2, 3):
        few = view.take(range(small))
        assert kind.prepare(fit(kind, few))(few.codes).shape[0] == small


def test_a_fresh_process_gives_the_same_bits() -> None:
    code = (
        "from tests.experts.test_sklearn_expert import *\n"
        "print(fit(expert('sklearn.ensemble', 'RandomForestClassifier'), leaf()).digest())\n"
        "print(fit(expert('sklearn.neural_network', 'MLPClassifier'), leaf()).digest())"
    )
    ask = [sys.executable, "-c", code]
    shown = subprocess.run(ask, cwd=ROOT, capture_output=True, text=True, check=True)
    here = [
        fit(expert("sklearn.ensemble", "RandomForestClassifier"), leaf()).digest(),
        fit(expert("sklearn.neural_network", "MLPClassifier"), leaf()).digest(),
    ]
    assert shown.stdout.split() == here


def test_a_pipeline_is_an_estimator() -> None:
    kind = SklearnExpert(make_pipeline(StandardScaler(), LogisticRegression()))
    state = kind.fit(leaf(), 0)
    again = kind.prepare(State.from_bytes(state.to_bytes()))
    assert np.array_equal(again(leaf().codes), kind.prepare(state)(leaf().codes))
    assert config_digest(kind) != config_digest(SklearnExpert(LogisticRegression()))
    with pytest.raises(InvalidRecord, match="takes 12 dimensions"):
        again(leaf().codes[:, 1:])


def test_several_numbers_are_learnt_at_once() -> None:
    view = numbers(leaf(), 3)
    kind = expert("sklearn.linear_model", "Ridge")
    assert kind.prepare(kind.fit(view, 0))(view.codes).shape == (40, 3)


def test_parameters_and_seeds_matter() -> None:
    plain = SklearnExpert(RandomForestClassifier(5))
    assert config_digest(plain) != config_digest(SklearnExpert(RandomForestClassifier(6)))
    assert config_digest(plain) == config_digest(SklearnExpert(RandomForestClassifier(5)))
    assert plain.fit(leaf(), 1).digest() != plain.fit(leaf(), 2).digest()


def test_no_label_is_held_by_the_estimator() -> None:
    state = SklearnExpert(LogisticRegression()).fit(leaf(), 0)
    rest = {key: value for key, value in state.meta.items() if key != "classes"}
    assert "class 1" not in repr(rest)


def test_an_unknown_estimator_is_refused_at_once() -> None:
    with pytest.raises(Unsupported, match="can't be written without pickle"):
        SklearnExpert(GaussianProcessClassifier())
    tree = KNeighborsClassifier(algorithm="kd_tree")
    with pytest.raises(Unsupported, match="KDTree"):
        SklearnExpert(tree).fit(leaf(), 0)


def test_targets_of_another_task_are_refused() -> None:
    with pytest.raises(InvalidRecord):
        SklearnExpert(LogisticRegression()).fit(numbers(leaf()), 0)
    with pytest.raises(InvalidRecord, match="can't learn"):
        expert("sklearn.svm", "LinearSVR").fit(numbers(leaf(), 2), 0)
    with pytest.raises(InvalidRecord, match="nothing to learn from"):
        SklearnExpert(LogisticRegression()).fit(leaf(without=[f"s{i}" for i in range(10)]), 0)


def test_a_file_cannot_name_code() -> None:
    kind = SklearnExpert(LogisticRegression())
    state = kind.fit(leaf(), 0)
    for name in ("os:system", "subprocess:Popen", "sklearn.svm:SVC"):
        body = {"object": name, "state": {"dict": []}}
        with pytest.raises(StoreCorrupt, match="no estimator that was written here"):
            kind.prepare(State(state.tensors, {**state.meta, "estimator": body}))


def test_a_state_of_another_version_is_refused() -> None:
    kind = SklearnExpert(LogisticRegression())
    state = kind.fit(leaf(), 0)
    with pytest.raises(Unsupported, match=r"scikit-learn 1\.0\.2 wrote"):
        kind.prepare(State(state.tensors, {**state.meta, "sklearn": "1.0.2"}))
