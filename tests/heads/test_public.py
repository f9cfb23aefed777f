"""The public head: its bits, its pins, and that nothing a user does gets into it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from forgetnet.component import Component, Influence
from forgetnet.errors import InvalidRecord, StoreCorrupt, StoreError
from forgetnet.geometry import lorentz
from forgetnet.heads import PublicHead, TangentMap, load_head
from forgetnet.heads.tangents import LIMIT
from tests.heads.kinship import WIDTH, Words, head, made


def vectors(n: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).normal(size=(n, WIDTH)).astype(np.float32)
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


@settings(max_examples=30)
@given(st.integers(0, 39), st.lists(st.integers(0, 39), max_size=60))
def test_a_tangent_has_the_same_bits_alone_and_among_others(one: int, others: list[int]) -> None:
    rows = vectors(40)
    alone = head().tangents(rows[one])[0]
    assert head().tangents(rows[[*others, one]])[-1].tobytes() == alone.tobytes()


def test_tangents_are_those_of_the_plain_map() -> None:
    rows = torch.from_numpy(vectors(50)).double()
    weight, bias = (
        torch.from_numpy(a.copy()).double() for a in (head().map.weight, head().map.bias)
    )
    right = lorentz.clip_radius(rows @ weight.T + bias, k=1.0, limit=LIMIT)
    found = head().tangents(vectors(50))
    assert np.abs(found - right.numpy()).max() < 2e-3  # a vector is rounded to steps of 2^-12
    assert np.sqrt((found**2).sum(axis=1)).max() < LIMIT


def test_a_head_comes_back_bit_for_bit_and_answers_so(tmp_path: Path) -> None:
    assert head().save(tmp_path / "head") == head().pin
    again = load_head(tmp_path / "head", pin=head().pin)
    assert again.pin == head().pin and again.pins == head().pins
    rows = vectors(20)
    assert again.tangents(rows).tobytes() == head().tangents(rows).tobytes()
    before = (tmp_path / "head" / "head.json").read_bytes()
    again.save(tmp_path / "head")
    assert (tmp_path / "head" / "head.json").read_bytes() == before


def test_a_changed_weight_is_refused(tmp_path: Path) -> None:
    head().save(tmp_path)
    arrays = load_file(tmp_path / "head.safetensors")
    arrays["weight"][0, 0] = np.nextafter(arrays["weight"][0, 0], np.float32(9.0))
    save_file(arrays, tmp_path / "head.safetensors")
    with pytest.raises(StoreCorrupt, match="aren't those that its pins name"):
        load_head(tmp_path)


@pytest.mark.parametrize("name", ["head.safetensors", "head.json"])
def test_every_changed_byte_is_refused(name: str, tmp_path: Path) -> None:
    head().save(tmp_path)
    whole = (tmp_path / name).read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / name).write_bytes(changed)
        with pytest.raises(StoreCorrupt):
            load_head(tmp_path)


def test_weights_and_pins_that_were_both_changed_are_not_the_pinned_ones(tmp_path: Path) -> None:
    head(1).save(tmp_path)
    assert load_head(tmp_path).pin == head(1).pin
    with pytest.raises(StoreCorrupt, match="isn't the one that was pinned"):
        load_head(tmp_path, pin=head().pin)


def test_what_is_no_head_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="forgetnet geometry train"):
        load_head(tmp_path / "nowhere")
    head().save(tmp_path)
    told = json.loads((tmp_path / "head.json").read_text())
    for wrong in (
        [],
        {},
        {**told, "format": 2},
        {**told, "pins": {"data": "x"}},
        {**told, "pins": 3},
    ):
        (tmp_path / "head.json").write_text(json.dumps(wrong))
        with pytest.raises(StoreCorrupt):
            load_head(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError, match="can't write the head"):
        head().save(tmp_path / "file")


def test_pins_that_are_nested_too_deeply_are_no_head(tmp_path: Path) -> None:
    head().save(tmp_path)
    (tmp_path / "head.json").write_text("[" * 100_000)
    with pytest.raises(StoreCorrupt, match="can't be read"):
        load_head(tmp_path)


@pytest.mark.parametrize("weight", [[[1.0]], np.ones((1, 1)), np.full((1, 1), np.inf, np.float32)])
def test_weights_that_are_no_finite_float32_arrays_are_refused(weight: object) -> None:
    with pytest.raises(InvalidRecord, match="finite float32"):
        TangentMap(weight, np.zeros(1, np.float32), "e")  # the point


def test_wrong_dimensions_are_refused() -> None:
    for rows in (np.zeros((3, WIDTH - 1)), np.zeros((2, 3, WIDTH)), np.zeros(WIDTH + 1)):
        with pytest.raises(InvalidRecord, match=f"takes vectors of {WIDTH} numbers"):
            head().tangents(rows)
    with pytest.raises(InvalidRecord, match="unit vectors"):
        head().tangents(np.full((1, WIDTH), 3.0))
    weight = np.zeros((4, WIDTH), np.float32)
    for wrong in (
        (weight, np.zeros(3, np.float32)),
        (weight[0], np.zeros(4, np.float32)),
        (weight.astype(np.float64), np.zeros(4, np.float32)),
        (np.full_like(weight, np.nan), np.zeros(4, np.float32)),
    ):
        with pytest.raises(InvalidRecord):
            TangentMap(*wrong, "an encoder")


def test_weights_that_are_not_those_of_the_pins_are_no_head() -> None:
    with pytest.raises(StoreCorrupt):
        PublicHead(head(1).map, head().pins)
    with pytest.raises(ValueError, match="read-only"):
        head().map.weight[0, 0] = 1.0


def test_no_array_of_somebody_else_changes_a_head_nor_is_made_read_only() -> None:
    whole = np.array([head().map.weight, head().map.weight])
    bias = head().map.bias.copy()
    mine = PublicHead(TangentMap(whole[0], bias, head().map.encoder), head().pins)  # of a view
    told = mine.tangents(vectors(3)).tobytes()
    whole += 1.0
    bias += 1.0
    assert mine.map.digest() == head().map.digest()
    assert mine.tangents(vectors(3)).tobytes() == told
    with pytest.raises(ValueError, match="read-only"):
        mine.map.weight += 1.0


def test_a_head_is_a_frozen_component_that_holds_nothing() -> None:
    part: Component = head()
    assert part.influence is Influence.FROZEN and part.standing.guarantee == "exact"
    assert part.holds(["a", "b"]) == 0 and not part.behind
    assert part.cost(["a"]).records == 0
    note = part.before(["a"])
    part.hide(["a"])
    part.forget(["a"])
    part.rehearse([note])
    assert [finding.hits for finding in part.after(["a"], note, full=True)] == [0]
    assert part.digest() == head().pin


def test_the_look_of_a_component_finds_a_head_that_was_changed() -> None:
    note = {"pin": head(1).pin}
    assert head().after(["a"], note, full=False)[0].hits == 1
    flipped = TangentMap(head().map.weight.copy(), head().map.bias.copy(), Words().digest)
    tampered = PublicHead(flipped, head().pins)
    flipped.weight.flags.writeable = True
    flipped.weight[0, 0] += 1.0
    assert tampered.after([], tampered.before([]), full=True)[0].hits == 1


def test_the_hierarchy_of_the_tests_is_what_it_says() -> None:
    assert len(made()) == 32 and len(made().leaves) == 23
