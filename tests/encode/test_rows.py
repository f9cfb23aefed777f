"""Rows of tables become unit vectors by constants alone, and their text is the row itself."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forgetnet import ForgetNet, Memory, RidgeTrunk
from forgetnet.encode import TableEncoder, check_company, resolve_encoder
from forgetnet.errors import EncoderMismatch, InvalidRecord, Unsupported

MANY = TableEncoder({"age": (17, 90), "gain": None}, ["work", "member"])
cells = st.fixed_dictionaries({
    "age": st.none() | st.integers(0, 120) | st.floats(allow_infinity=False),
    "gain": st.none() | st.integers(-(10**9), 10**9) | st.floats(allow_infinity=False),
    "work": st.none() | st.booleans() | st.text(max_size=9) | st.integers(-3, 3),
    "member": st.none() | st.booleans(),
})
ROW = {"age": 39, "gain": 2174.5, "work": "State-gov", "member": True}


def vector(**cell):
    return MANY.encode(MANY.to_texts([{**ROW, **cell}]))[0].astype(np.float64)


# -------------------------------------------------------------------------------------- vectors


@given(st.lists(cells, min_size=1, max_size=5))
def test_every_row_is_a_unit_vector_and_every_column_has_an_equal_part_of_it(rows):
    found = MANY.encode(MANY.to_texts(rows)).astype(np.float64)
    assert found.shape == (len(rows), MANY.dim) == (len(rows), 16 + 6 + 2 * 32)
    for block in (slice(0, 16), slice(16, 22), slice(22, 54), slice(54, 86)):
        assert np.allclose((found[:, block] ** 2).sum(axis=1), 1 / 4, atol=1e-6)


@settings(max_examples=30)
@given(st.lists(cells, min_size=2, max_size=12))
def test_a_rows_bits_do_not_depend_on_the_rows_beside_it(rows):
    assert check_company(MANY, MANY.to_texts(rows)) == []


def test_the_bits_are_alone_the_same_beside_thousands():
    rows = [{**ROW, "age": n % 97, "gain": 1.1**n, "work": str(n % 7)} for n in range(2500)]
    texts = MANY.to_texts(rows)
    together = MANY.encode(texts)
    for n in (0, 1, 1023, 1024, 2499):
        assert MANY.encode([texts[n]])[0].tobytes() == together[n].tobytes()


def test_a_changed_cell_moves_its_own_column_only():
    for name, block in {"gain": (0, 16), "age": (16, 22), "member": (22, 54)}.items():
        moved = np.flatnonzero(vector() != vector(**{name: 3 if name != "member" else False}))
        assert len(moved)
        assert block[0] <= moved.min() <= moved.max() < block[1]


@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e3, 1e6])
def test_numbers_without_a_range_are_told_apart_at_any_scale(scale):
    near, far = (vector(gain=f * scale) @ vector(gain=2.0 * scale) for f in (2.1, 9.0))
    assert 1.0 > near > far + 1e-3


def test_numbers_with_a_range_are_nearer_the_less_they_differ_and_known_beyond_it():
    ages = [17, 20, 30, 50, 70, 90]
    likeness = [vector(age=17) @ vector(age=age) for age in ages]
    assert likeness == sorted(likeness, reverse=True)
    assert vector(age=17) @ vector(age=160) < 0.99


def test_missing_is_no_number_and_no_category():
    for name, other in {"age": 0, "gain": 0.0, "work": "null", "member": False}.items():
        assert vector(**{name: None}) @ vector(**{name: other}) < 0.95
        assert vector(**{name: math.nan}).tobytes() == vector(**{name: None}).tobytes()


def test_equal_categories_are_one_however_they_are_typed_and_others_are_apart():
    assert vector(work=3).tobytes() == vector(work=3.0).tobytes()
    for one, other in [(1, "1"), (1, True), ("a", "A"), ("never seen", "nor this")]:
        assert vector(work=one) @ vector(work=other) < 0.99
        both = MANY.to_texts([{**ROW, "work": one}, {**ROW, "work": other}])
        assert check_company(MANY, both) == []


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, 2**63, 10**300])
def test_no_number_is_too_large(value):
    assert np.isfinite(vector(age=value, gain=value)).all()


def test_what_a_vector_is_made_of_stays_the_same():
    found = TableEncoder({"a": None, "b": (0, 10)}, ["c"]).encode(['{"a":1.5,"b":2,"c":"x"}'])[0]
    told = (found.astype(np.float64) * 1000).round().astype(int).tolist()
    place, power = math.asinh(1.5), 2.0 ** (-0.75 * np.arange(8))
    share = np.sqrt(power / power.sum() / 3)
    waves = [f(0.5 * 2**j * place) * share[j] for j in range(8) for f in (math.sin, math.cos)]
    waves += [f(math.pi / 4 * 2**j * 0.2) / 3 for j in range(3) for f in (math.sin, math.cos)]
    assert told[:22] == [round(1000 * wave) for wave in waves]
    signs = "".join("+" if n > 0 else "-" for n in told[22:])
    assert signs == "++-----+-+++-++-++-++-+++--+--++"  # SHA-256 of ["c","x"] in UTF-8
    assert {abs(n) for n in told[22:]} == {102}  # 1 / sqrt(3 * 32)


# ---------------------------------------------------------------------------------------- texts


@given(st.lists(cells, min_size=1, max_size=5))
def test_a_text_is_the_rows_json_with_every_bit_of_its_numbers(rows):
    for row, text in zip(rows, MANY.to_texts(rows), strict=True):
        told = json.loads(text)
        assert list(told) == sorted(row)
        for name, value in row.items():
            missing = value is None or (isinstance(value, float) and math.isnan(value))
            assert told[name] == (None if missing else value)
            if isinstance(value, float) and not missing:
                assert math.copysign(1, told[name]) == math.copysign(1, value)


def test_every_form_of_a_table_gives_the_same_texts():
    pandas = pytest.importorskip("pandas")
    columns = {
        "age": [39, None, 52],
        "gain": [0.1, -2.5, math.nan],
        "work": ["State-gov", None, "?"],
        "member": [True, False, True],
    }
    rows = [{name: values[n] for name, values in columns.items()} for n in range(3)]
    wanted = MANY.to_texts(rows)
    assert wanted[1] == '{"age":null,"gain":-2.5,"member":false,"work":null}'
    frame = pandas.DataFrame(columns)
    nullable = frame.convert_dtypes()
    arrow = pa.table({**columns, "gain": [0.1, -2.5, None]})
    arrays = {name: np.array(values, object) for name, values in columns.items()}
    for table in (columns, arrays, arrow, arrow.to_batches()[0]):
        assert MANY.to_texts(table) == wanted
    for some in (frame, nullable, frame.astype({"work": "category"})):
        assert MANY.encode(MANY.to_texts(some)).tobytes() == MANY.encode(wanted).tobytes()
    assert MANY.to_texts(rows[0]) == wanted[:1]
    assert MANY.to_texts([]) == []


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16, object])
def test_an_array_has_columns_x0_x1(kind):
    plane = TableEncoder(["x0", "x1"])
    array = np.array([[1, -7], [3, 9]]).astype(kind)
    assert [json.loads(text) for text in plane.to_texts(array)] == [
        {"x0": 1, "x1": -7},
        {"x0": 3, "x1": 9},
    ]


@pytest.mark.parametrize(
    ("X", "says"),
    [
        ([{**ROW, "shoe": 43}], "column 'shoe' isn't declared"),
        ([{"age": 3, "work": "a", "member": True}], "column 'gain' is missing"),
        ([ROW, {"age": 3, "work": "a", "member": True}], "column 'gain' is in row 1 or"),
        ([{**ROW, "age": "secret"}], r"column 'age' is of numbers.*\(str\)"),
        ([{**ROW, "gain": math.inf}], r"column 'gain' is of numbers.*\(float\)"),
        ([{**ROW, "work": ["secret"]}], r"column 'work' holds .*no category \(list\)"),
        ({**{k: [v] for k, v in ROW.items()}, "age": [1, 2]}, "column '.*' has another length"),
        ({**{k: [v] for k, v in ROW.items()}, "age": 1}, "a column is a single value"),
        (np.zeros((2, 3)), "column 'x0' isn't declared"),
        (np.zeros(3), "no table"),
        ("secret", "no table"),
        (7, "no table"),
    ],
)
def test_what_is_no_such_row_is_refused_by_the_name_of_its_column(X, says):
    with pytest.raises(InvalidRecord, match=says) as caught:
        MANY.to_texts(X)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "secret", "[1]", "3", '{"age":1}', '{"secret":1}'])
def test_a_text_that_is_no_row_is_refused(text):
    with pytest.raises(InvalidRecord, match=r"row 1 isn't a row|missing|isn't declared"):
        MANY.encode([*MANY.to_texts([ROW]), text])


@pytest.mark.parametrize(
    "columns",
    [
        {},
        {"numeric": ["a", "a"]},
        {"numeric": ["a"], "categorical": ["a"]},
        {"numeric": "age"},
        {"numeric": [""]},
        {"numeric": {"a": (2, 2)}},
        {"numeric": {"a": (0, math.nan)}},
        {"numeric": {"a": (-1e308, 1e308)}},
        {"numeric": {"a": (1, 2, 3)}},
    ],
)
def test_columns_that_make_no_sense_are_refused(columns):
    with pytest.raises(InvalidRecord):
        TableEncoder(**columns)


# ----------------------------------------------------------------------------------------- names


def test_an_encoder_is_made_again_from_its_name():
    again = resolve_encoder(MANY.name)
    assert (again.name, again.digest, again.dim) == (MANY.name, MANY.digest, MANY.dim)
    texts = MANY.to_texts([ROW])
    assert again.encode(texts).tobytes() == MANY.encode(texts).tobytes()
    for name in ("rows:", "rows:{}", "rows:[1]", 'rows:{"numeric":7,"categorical":[],"source":""}'):
        with pytest.raises(Unsupported):
            resolve_encoder(name)


def test_the_order_of_columns_is_nothing_and_everything_else_counts():
    turned = TableEncoder({"gain": None, "age": (17, 90)}, ["member", "work"])
    assert turned.digest == MANY.digest
    others = [
        TableEncoder({"age": (17, 91), "gain": None}, ["work", "member"]),
        TableEncoder({"age": None, "gain": None}, ["work", "member"]),
        TableEncoder({"age": (17, 90)}, ["work", "member", "gain"]),
        TableEncoder({"age": (17, 90), "gain": None}, ["work", "member"], source="census"),
    ]
    assert len({other.digest for other in [MANY, *others]}) == 5


def test_a_folder_needs_no_encoder_to_be_opened_again(tmp_path):
    rows = [{**ROW, "age": 20 + n, "work": "ab"[n % 2]} for n in range(12)]
    with Memory.open(tmp_path / "memory", encoder=MANY) as memory:
        memory.add(MANY.to_texts(rows))
    with Memory.open(tmp_path / "memory") as memory:
        hit = memory.search(MANY.to_texts(rows[3])[0], k=1)[0]
        assert json.loads(hit.text or "")["age"] == 23
    with pytest.raises(EncoderMismatch):
        Memory.open(tmp_path / "memory", encoder=TableEncoder(["age"]))
    settings_ = {"experts": [RidgeTrunk(features=64)], "progress": False}
    with ForgetNet.open(tmp_path / "model", encoder=MANY, **settings_) as net:
        net.fit(rows, ["ab"[n % 2] for n in range(12)], subjects=[f"s{n}" for n in range(12)])
        said, digest = net.predict_proba(rows), net.digest()
    with ForgetNet.load(tmp_path / "model", progress=False) as net:
        assert net.digest() == digest
        assert net.predict_proba(rows).tobytes() == said.tobytes()
        assert net.predict(rows[4]).tolist() == ["a"]


def test_public_data_gives_ranges_and_says_where_it_comes_from():
    public = {
        "age": list(range(17, 91)),
        "gain": [0] * 73 + [99999],
        "work": ["a", "b"] * 37,
        "constant": [3] * 74,
    }
    found = TableEncoder.from_public(public, "Adult, CC BY 4.0")
    assert found.numeric == {"age": (17.0, 90.0), "constant": None, "gain": None}
    assert found.categorical == ("work",)
    assert TableEncoder.from_name(found.name).source == "Adult, CC BY 4.0"
    with pytest.raises(InvalidRecord, match="where the public data comes from"):
        TableEncoder.from_public(public, " ")
    with pytest.raises(InvalidRecord, match="'age' has no values"):
        TableEncoder.from_public({"age": [None, math.nan]}, "x")
