"""The estimators are scikit-learn's in every way that it checks, and forget like their model."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import KFold, cross_validate, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from forgetnet import (
    ForgetNet,
    ForgetNetClassifier,
    ForgetNetRegressor,
    NeighbourExpert,
    RidgeTrunk,
    TableEncoder,
    TorchExpert,
)
from forgetnet.errors import InvalidRecord, StoreCorrupt, Unsupported
from forgetnet.model.portable import PortableNet

BOTH = [ForgetNetClassifier, ForgetNetRegressor]
SKIPPED = {"check_array_api_input"}  # runs only where the environment sets SCIPY_ARRAY_API
KEY = bytes(range(32))
N = 60
SUBJECTS = [None if i % 10 == 9 else f"s{i % 7}" for i in range(N)]
IDS = [f"r{i}" for i in range(N)]
REST = [i for i in range(N) if SUBJECTS[i] != "s3"]


def numbers():
    X = np.random.default_rng(0).normal(size=(N, 4)) * [1, 10, 100, 0.1]
    X[5, 2] = np.nan
    return X


def frame():
    pandas = pytest.importorskip("pandas")
    X = numbers()
    kinds = ["red", "green", None]
    data = {"a": X[:, 0], "b": X[:, 1].astype(int), "c": [kinds[i % 3] for i in range(N)]}
    return pandas.DataFrame({**data, "d": X[:, 3] > 0})


def labels(X):
    first = X[:, 0] if isinstance(X, np.ndarray) else X["a"].to_numpy()
    y = np.where(first > 0, "yes", "no").astype("U4")
    y[3] = "once"  # a class of one record, of the subject that goes
    return y


def some(X, rows):
    return X[rows] if isinstance(X, np.ndarray) else X.iloc[rows]


def made(kind, task):
    """Return rows, targets and an estimator."""
    X = frame() if kind == "frame" else numbers()
    settings = {"key": KEY, "cap": 20}
    if kind == "vectors":
        X, settings["encoder"] = np.nan_to_num(X), "vectors"
    if kind == "declared":
        settings["encoder"] = TableEncoder({"x0": (-3, 3), "x1": None, "x3": None}, ["x2"])
    if kind == "torch":
        network = TorchExpert(epochs=1, min_steps=0, hidden=4, task=task)
        trunk = RidgeTrunk(features=32, task=task)
        settings["experts"] = [trunk, network, NeighbourExpert(task=task)]
    if task == "classification":
        return X, labels(X), ForgetNetClassifier(**settings)
    y = np.stack([np.arange(N) / 7, np.arange(N) % 5], axis=1)
    return X, y if kind == "torch" else y[:, 0], ForgetNetRegressor(**settings)


def told(model, X):
    return model.predict_proba(X) if hasattr(model, "classes_") else model.predict(X)


def fitted(kind="numbers", task="classification", rows=range(N)):
    X, y, model = made(kind, task)
    rows = list(rows)
    names = {"subjects": [SUBJECTS[i] for i in rows], "ids": [IDS[i] for i in rows]}
    return X, model.fit(some(X, rows), y[rows], **names)


@pytest.mark.parametrize("kind", BOTH)
def test_scikit_learn_finds_nothing_wrong(kind):
    found = check_estimator(kind(), on_skip=None, on_fail=None)
    assert len(found) > 40
    assert not [(r["check_name"], r["exception"]) for r in found if r["status"] == "failed"]
    assert {r["check_name"] for r in found if r["status"] != "passed"} <= SKIPPED


# ----------------------------------------------------------------------------------- forgetting


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("kind", ["numbers", "frame", "declared", "vectors", "torch"])
def test_after_a_forget_it_is_the_one_that_never_saw_the_subject(kind, task):
    X, model = fitted(kind, task)
    assert model.plan(subject="s3").ids
    before = model.digest()
    receipt = model.forget(subject="s3", verify="full")
    assert receipt.status == "erased"
    _, twin = fitted(kind, task, REST[::-1])
    assert model.digest() == twin.digest() != before
    assert told(model, X).tobytes() == told(twin, X).tobytes()
    assert model.predict(X).tolist() == twin.predict(X).tolist()
    assert sorted(model.ids_) == sorted(twin.ids_)
    if task == "classification":
        assert model.classes_.tolist() == twin.classes_.tolist() == ["no", "yes"]


def test_the_order_of_calls_makes_no_difference():
    X, y, model = made("numbers", "classification")
    for rows in (slice(40, N), slice(0, 25), slice(25, 40)):
        model.partial_fit(X[rows], y[rows], subjects=SUBJECTS[rows], ids=IDS[rows])
    model.forget(ids=[i for i, s in zip(IDS, SUBJECTS, strict=True) if s == "s3"])
    assert model.digest() == fitted(rows=REST)[1].digest()


def test_a_subject_may_be_a_number_and_ids_are_found_again():
    X, y, model = made("numbers", "classification")
    model.fit(X, y, subjects=np.arange(N) % 6)
    assert model.net_.count() == N == len(set(model.ids_))
    model.forget(subject=4)
    assert model.net_.count() == 50
    model.forget(ids=model.ids_[0])
    assert model.net_.count() == 49 == len(model.ids_)


def test_when_everything_is_forgotten_nothing_answers_until_there_is_more():
    X, model = fitted()
    model.forget(ids=model.ids_)
    assert model.classes_.tolist() == []
    with pytest.raises(InvalidRecord, match="learnt nothing"):
        model.predict(X)
    model.partial_fit(X[:4], labels(X)[:4])
    assert set(model.predict(X)) <= {"no", "yes", "once"}


def test_an_answer_says_who_had_a_part_in_it():
    X, model = fitted()
    found = model.explain(X[7:8])
    assert found.answer == model.predict(X[7:8])[0]
    assert {share.part for share in found.shares} == {"ridge", "memory"}
    assert found.neighbours[0][0] == "r7"


def test_subjects_go_through_pipelines_and_cross_validation():
    X, y, model = made("numbers", "classification")
    subjects = np.array([s or "" for s in SUBJECTS], object)
    subjects[subjects == ""] = "s0"
    with config_context(enable_metadata_routing=True):
        line = make_pipeline(FunctionTransformer(), model.set_fit_request(subjects=True))
        line.fit(X, y, subjects=subjects)
        assert line[-1].plan(subject="s3").ids
        scores = cross_validate(line, X, y, cv=KFold(3), params={"subjects": subjects})
        assert len(scores["test_score"]) == 3


# --------------------------------------------------------------------------------------- copies


def refuse(*arguments):
    raise AssertionError("something was learnt anew")


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("kind", ["numbers", "frame", "vectors", "torch"])
def test_a_copy_answers_alike_learns_nothing_anew_and_is_apart(kind, task, monkeypatch):
    X, model = fitted(kind, task)
    packed = pickle.dumps(model)
    with monkeypatch.context() as patch:
        for expert, verb in ((RidgeTrunk, "fit"), (RidgeTrunk, "absorb"), (TorchExpert, "fit")):
            patch.setattr(expert, verb, refuse)
        copy = pickle.loads(packed)  # noqa: S301 # our own
    assert copy.digest() == model.digest()
    assert told(copy, X).tobytes() == told(model, X).tobytes()
    copy.forget(subject="s3")
    assert copy.digest() == fitted(kind, task, REST)[1].digest() != model.digest()
    assert not hasattr(clone(copy), "net_")


def test_texts_with_odd_line_ends_survive_a_copy():
    texts = ["one\u2028two", "three\x85four", "five\nsix", ""]
    model = ForgetNetClassifier(encoder="hash:64", key=KEY).fit(texts, [1, 2, 1, 2])
    assert pickle.loads(pickle.dumps(model)).digest() == model.digest()  # noqa: S301 # our own


def test_bytes_that_are_no_model_of_these_settings_are_refused():
    _, model = fitted()
    data = model.net_.to_bytes()
    for wrong, other in [
        (data[:-9], {}),
        (b"\0" * 40, {}),
        (data, {"key": bytes(32)}),
        (data, {"cap": 9}),
        (data, {"experts": [RidgeTrunk(features=64)]}),
        (data, {"encoder": TableEncoder(["x0"])}),
    ]:
        net = PortableNet.open(**{**model._settings, **other})
        with pytest.raises((StoreCorrupt, InvalidRecord)):
            net.take_up(wrong)
    with pytest.raises(InvalidRecord, match="only a new model"):
        model.net_.take_up(data)


def test_a_model_in_a_folder_goes_on_there_and_is_not_copied(tmp_path):
    X, y, model = made("numbers", "classification")
    model.set_params(path=tmp_path / "model")
    model.fit(X[:30], y[:30], subjects=SUBJECTS[:30], ids=IDS[:30])
    with pytest.raises(Unsupported, match="one owner"):
        pickle.dumps(model)
    with pytest.raises(InvalidRecord, match="partial_fit"):
        model.fit(X, y)
    said = model.predict_proba(X)
    model.net_.close()
    with pytest.raises(InvalidRecord, match="partial_fit"):
        clone(model).fit(X, y)
    again = clone(model).partial_fit(X[30:], y[30:], subjects=SUBJECTS[30:], ids=IDS[30:])
    assert again.digest() == fitted()[1].digest()
    again.forget(ids=IDS[30:])
    again.net_.close()
    with ForgetNet.load(tmp_path / "model", key=KEY, progress=False) as net:
        columns = {f"x{i}": X[:, i] for i in range(4)}
        assert net.predict_proba(columns).tobytes() == said.tobytes()


# ---------------------------------------------------------------------------------- being ordinary


def test_a_random_state_makes_everything_repeatable_and_without_one_nothing_is():
    X, y, _ = made("numbers", "classification")
    digests = [
        ForgetNetClassifier(random_state=state).fit(X, y).digest() for state in (7, 7, 8, None)
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3
    model = ForgetNetClassifier(random_state=7).partial_fit(X, y).partial_fit(X, y)
    assert model.net_.count() == 2 * N


@pytest.mark.parametrize(
    "y",
    [
        np.arange(N, dtype=np.int16) % 3,
        np.arange(N) % 2 == 0,
        (np.arange(N) % 3).astype(float),
        np.array(["a", "b"] * (N // 2), object),
        np.array(["a", "bcd"] * (N // 2)),
    ],
)
def test_labels_come_back_as_they_were_given(y):
    model = ForgetNetClassifier().fit(numbers(), y)
    assert model.classes_.tolist() == np.unique(y).tolist()
    assert model.classes_.dtype == model.predict(numbers()).dtype == np.unique(y).dtype


def test_columns_are_known_by_name_and_others_are_refused():
    X, model = fitted("frame")
    assert model.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert model.n_features_in_ == 4
    with pytest.raises(ValueError, match="feature names"):
        model.predict(X.rename(columns={"c": "colour"}))
    with pytest.raises(InvalidRecord, match="none of classes"):
        model.partial_fit(X, ["maybe"] * N, classes=["no", "yes"])
    with pytest.raises(InvalidRecord, match="weights="):
        ForgetNetClassifier(weights={"torch": 1.0}).fit(numbers(), labels(numbers()))


def test_rows_and_columns_are_learnt_alike_where_they_are_declared():
    columns = {"a": [1.5, None, 3.0, -2.0], "b": ["x", "y", "y", None]}
    rows = [{"a": a, "b": b} for a, b in zip(*columns.values(), strict=True)]
    frame = pytest.importorskip("pandas").DataFrame(columns)
    model = ForgetNetClassifier(encoder=TableEncoder(["a"], ["b"]), random_state=0)
    digests = {clone(model).fit(X, [1, 2, 2, 1]).digest() for X in (columns, rows, frame)}
    assert len(digests) == 1
    assert model.fit(columns, [1, 2, 2, 1]).predict(rows[:1]) == [1]


@pytest.mark.parametrize(
    ("load", "kind", "least"),
    [
        (load_digits, ForgetNetClassifier, 0.95),
        (load_breast_cancer, ForgetNetClassifier, 0.93),
        (load_wine, ForgetNetClassifier, 0.93),
        (load_diabetes, ForgetNetRegressor, 0.33),
    ],
)
def test_it_learns_raw_numbers_of_any_scale(load, kind, least):
    X, y = load(return_X_y=True)
    train, test, wanted, right = train_test_split(X, y, test_size=0.3, random_state=0)
    assert kind(random_state=0).fit(train, wanted).score(test, right) > least
