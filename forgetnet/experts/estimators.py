"""Fitted scikit-learn estimators as arrays and JSON, without pickle.

Only classes on a list are written and made again: a file can't name any other code. What an
estimator keeps for going on with a training (generators, losses, optimisers) is left out. Knows
nothing of records.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from forgetnet.errors import StoreCorrupt, Unsupported

__all__ = ["KNOWN", "decode", "encode"]

KNOWN: Mapping[str, tuple[str, ...]] = {
    "sklearn.linear_model": (
        "LinearRegression",
        "LogisticRegression",
        "Ridge",
        "RidgeClassifier",
        "SGDClassifier",
        "SGDRegressor",
    ),
    "sklearn.svm": ("LinearSVC", "LinearSVR"),
    "sklearn.naive_bayes": ("GaussianNB",),
    "sklearn.tree": (
        "DecisionTreeClassifier",
        "DecisionTreeRegressor",
        "ExtraTreeClassifier",
        "ExtraTreeRegressor",
    ),
    "sklearn.ensemble": (
        "ExtraTreesClassifier",
        "ExtraTreesRegressor",
        "HistGradientBoostingClassifier",
        "HistGradientBoostingRegressor",
        "RandomForestClassifier",
        "RandomForestRegressor",
    ),
    "sklearn.neighbors": ("KNeighborsClassifier", "KNeighborsRegressor"),
    "sklearn.neural_network": ("MLPClassifier", "MLPRegressor"),
    "sklearn.pipeline": ("Pipeline",),
    "sklearn.preprocessing": (
        "LabelBinarizer",
        "LabelEncoder",
        "MinMaxScaler",
        "Normalizer",
        "StandardScaler",
    ),
}
"""Estimators whose state can be written, by the module that exports them."""
_INNER = {
    "sklearn.ensemble._hist_gradient_boosting.binning": ("_BinMapper",),
    "sklearn.ensemble._hist_gradient_boosting.predictor": ("TreePredictor",),
}
_LEFT_OUT = (
    "numpy.random.",
    "sklearn._loss.",
    "sklearn.linear_model._sgd_fast.",
    "sklearn.neural_network._stochastic_optimizers.",
)
_TREE = "sklearn.tree._tree:Tree"

Arrays = dict[str, npt.NDArray[Any]]


@functools.cache
def _classes() -> dict[str, Any]:
    found: dict[str, Any] = {_TREE: importlib.import_module("sklearn.tree._tree").Tree}
    for home, names in {**KNOWN, **_INNER}.items():
        module = importlib.import_module(home)
        found |= {f"{home}:{name}": getattr(module, name) for name in names}
    return found


def _name_of(value: object) -> str:
    for name, known in _classes().items():
        if type(value) is known:
            return name
    kind = type(value)
    raise Unsupported(
        f"a {kind.__module__}.{kind.__qualname__} can't be written without pickle; use one of "
        f"{', '.join(sorted(n for names in KNOWN.values() for n in names))}, or a TorchExpert"
    )


def encode(value: Any, arrays: Arrays) -> Any:
    """Return a value as JSON; its arrays go into ``arrays``.

    Raises:
        Unsupported: it holds an object of a class that isn't on the list.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, np.ndarray):
        return _encode_array(value, arrays)
    if isinstance(value, np.generic):
        return {"scalar": _put(np.asarray(value).reshape(1), arrays)}
    if isinstance(value, float):
        return value if math.isfinite(value) else {"float": str(value)}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [encode(item, arrays) for item in value]}
    if isinstance(value, dict):
        rows = sorted(value.items(), key=lambda row: repr(row[0]))
        return {"dict": [[encode(k, arrays), encode(v, arrays)] for k, v in rows]}
    home = f"{type(value).__module__}.{type(value).__name__}"
    if home.startswith(_LEFT_OUT):
        return None
    name = _name_of(value)
    if name == _TREE:
        _, made_of, state = value.__reduce__()
        return {"object": name, "made_of": encode(made_of, arrays), "state": encode(state, arrays)}
    return {"object": name, "state": encode(dict(vars(value)), arrays)}


def _put(array: npt.NDArray[Any], arrays: Arrays) -> str:
    name = f"a{len(arrays):06d}"
    arrays[name] = np.ascontiguousarray(array)
    return name


def _encode_array(array: npt.NDArray[Any], arrays: Arrays) -> Any:
    if array.dtype.kind in "OU":
        items = [encode(item, arrays) for item in array.reshape(-1).tolist()]
        return {"items": items, "dtype": array.dtype.str, "shape": list(array.shape)}
    if array.dtype.names is not None:
        known: Mapping[str, Any] = array.dtype.fields or {}
        fields = [[name, known[name][0].str, known[name][1]] for name in array.dtype.names]
        clean = np.zeros(array.shape, array.dtype)  # the bytes between fields may be anything
        for name in array.dtype.names:
            clean[name] = array[name]
        raw = np.frombuffer(clean.tobytes(), np.uint8)
        layout = [fields, array.dtype.itemsize]
        return {"rows": _put(raw, arrays), "layout": layout, "shape": list(array.shape)}
    if array.ndim > 1 and array.flags.f_contiguous and not array.flags.c_contiguous:
        # BLAS adds in another order for the other layout, so the layout is kept.
        return {"transposed": _put(array.T, arrays)}
    return {"array": _put(array, arrays)}


def decode(node: Any, arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    """Make a value again from what :func:`encode` wrote.

    Raises:
        StoreCorrupt: it names a class that isn't on the list, or isn't what ``encode`` writes.
    """
    if not isinstance(node, dict):
        return node
    try:
        return _decode(node, arrays)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise StoreCorrupt("this is no estimator that was written here; train it anew") from error


def _decode(node: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    def inner(items: list[Any]) -> list[Any]:
        return [decode(item, arrays) for item in items]

    if "object" in node:
        return _decode_object(node, arrays)
    if "array" in node:
        return arrays[node["array"]].copy()
    if "transposed" in node:
        return arrays[node["transposed"]].copy().T
    if "scalar" in node:
        return arrays[node["scalar"]][0]
    if "rows" in node:
        fields, size = node["layout"]
        names, formats, offsets = (list(column) for column in zip(*fields, strict=True))
        layout: Any = {"names": names, "formats": formats, "offsets": offsets, "itemsize": size}
        raw = arrays[node["rows"]].tobytes()
        return np.frombuffer(raw, np.dtype(layout)).reshape(node["shape"]).copy()
    if "items" in node:
        found = np.empty(len(node["items"]), np.dtype(node["dtype"]))
        found[:] = inner(node["items"])
        return found.reshape(node["shape"])
    if "float" in node:
        return float(node["float"])
    if "dict" in node:
        return {decode(key, arrays): decode(value, arrays) for key, value in node["dict"]}
    return inner(node["list"]) if "list" in node else tuple(inner(node["tuple"]))


def _decode_object(node: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]]) -> Any:
    kind = _classes()[node["object"]]
    state = decode(node["state"], arrays)
    if node["object"] == _TREE:
        tree = kind(*decode(node["made_of"], arrays))
        tree.__setstate__(state)
        return tree
    made = kind.__new__(kind)
    vars(made).update(state)
    if hasattr(made, "_get_loss"):  # of boosting: it maps sums of trees to probabilities
        made._loss = made._get_loss(sample_weight=None)  # noqa: SLF001 - there is no public way
    return made
