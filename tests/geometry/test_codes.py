"""Places: the same bytes from the path alone, and nothing but the path."""

from __future__ import annotations

import hashlib
import hmac
import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import MAX_RADIUS, codes, lorentz
from forgetnet.record import MAX_TOPIC_DEPTH

SALT = bytes(range(32))
FIXED = settings(derandomize=True, max_examples=40)
NAMES = st.text(st.characters(), min_size=1, max_size=8)  # lone surrogates and NUL included
PATHS = st.lists(NAMES, max_size=codes.MAX_DEPTH).map(tuple)
HALF_TURNS = {2: 0.1357, 3: 0.03555, 4: 0.00989, 5: 0.00303, 6: 0.0004}
GROWTH = [1.0, 6.75, 26.0, 100.0, 370.0, 1800.0, 2850.0]


def dot(a: list[float], b: list[float]) -> float:
    total = a[0] * b[0]
    for x, y in zip(a[1:], b[1:], strict=True):
        total += x * y
    return total


def unit(a: list[float]) -> list[float]:
    length = math.sqrt(dot(a, a))
    return [x / length for x in a]


def written_rule(path: tuple[str, ...], salt: bytes) -> bytes:
    """The place of a path in plain Python numbers, written from the docstring, without NumPy."""
    axes: list[list[float]] = [[0.0] * 16]
    for depth in range(1, len(path) + 1):
        message = b"forgetnet place 1"
        for name in path[:depth]:
            raw = name.encode("utf-8", "surrogatepass")
            message += len(raw).to_bytes(8, "big") + raw
        stream = hashlib.shake_256(hmac.new(salt, message, "sha256").digest()).digest(128)
        numbers = [int.from_bytes(stream[i : i + 2], "big") for i in range(0, 128, 2)]
        drawn = [float(sum(numbers[4 * i : 4 * i + 4]) - 131070) for i in range(16)]
        if depth == 1:
            axes.append(unit(drawn))
            continue
        parent, grandparent = axes[-1], axes[-2]
        along = dot(drawn, parent)
        side = unit([x - along * u for x, u in zip(drawn, parent, strict=True)])
        if dot(side, grandparent) < 0.0:
            side = [-x for x in side]
        h = HALF_TURNS[depth]
        cos, sin = (1.0 - h * h) / (1.0 + h * h), 2.0 * h / (1.0 + h * h)
        axes.append(unit([cos * u + sin * x for u, x in zip(parent, side, strict=True)]))
    e = GROWTH[len(path)]
    point = [(e + 1.0 / e) / 2.0] + [(e - 1.0 / e) / 2.0 * u for u in axes[-1]]
    return np.array(point).astype(np.float32).tobytes()


@FIXED
@given(PATHS, st.binary(min_size=codes.MIN_SALT, max_size=64))
def test_bytes_follow_the_written_rule(path: tuple[str, ...], salt: bytes) -> None:
    code = codes.place(path, salt)
    assert code.dtype == np.float32 and code.shape == (17,)
    assert len(code.tobytes()) == codes.PLACE_BYTES == 68
    assert code.tobytes() == written_rule(path, salt)


@FIXED
@given(st.lists(PATHS, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_bytes_are_the_same_in_any_company(paths: list[tuple[str, ...]], random) -> None:
    together = codes.places(paths, SALT)
    alone = np.stack([codes.place(path, SALT) for path in paths])
    assert together.tobytes() == alone.tobytes()
    order = random.sample(range(len(paths)), len(paths))
    shuffled = codes.places([paths[i] for i in order], SALT)
    assert shuffled.tobytes() == together[order].tobytes()


def test_stored_places_stay_readable() -> None:
    """A change of these bytes needs a new domain tag and a migration of every store."""
    paths = [tuple(f"{i}.{j}" for j in range(i % 7)) for i in range(700)]
    digest = hashlib.sha256(codes.places(paths, SALT).tobytes()).hexdigest()
    assert digest == "bf57fdce34ac1249bd73d43fbc8b91248932b96c89109cf2d13a5faf55c03c16"


def test_the_root_is_the_origin_and_no_path_gives_no_row() -> None:
    assert codes.place((), SALT).tolist() == [1.0] + [0.0] * 16
    assert codes.places([], SALT).shape == (0, 17)


def test_paths_that_look_alike_are_told_apart() -> None:
    paths = [
        ("ab", "c"),
        ("a", "bc"),
        ("abc",),
        ("a", "b", "c"),
        ("ab/c",),
        ("ab\0c",),
        ("AB", "c"),
    ]
    paths += [("é",), ("e\u0301",), ("\ud800",), ("\udc00",), ("1",), ("１",), (" 1",)]
    assert len({codes.place(path, SALT).tobytes() for path in paths}) == len(paths)
    assert codes.place(("ab",), SALT).tobytes() != codes.place(("ab",), SALT[::-1]).tobytes()


def test_thirty_thousand_sisters_have_a_place_each() -> None:
    paths = [("a", "b", "c", "d", "e", str(i)) for i in range(30_000)]
    assert len({row.tobytes() for row in codes.places(paths, SALT)}) == len(paths)


@pytest.mark.parametrize(
    ("path", "says"),
    [
        (("secret",) * 7, "7 levels and at most 6"),
        (("secret", ""), "level 2 of a topic path is empty"),
        (("secret", 3), "level 2 of a topic path is not a string"),
        ("secret", "a tuple of names, not str"),
        (["secret"], "a tuple of names, not list"),
    ],
)
def test_what_is_no_path_is_refused_without_its_names(path, says: str) -> None:
    for ask in (codes.place, codes.cone, lambda p, s: codes.places([("a",), p], s)):
        with pytest.raises((InvalidRecord, TypeError)) as error:
            ask(path, SALT)
        if isinstance(path, tuple):
            assert error.type is InvalidRecord
            assert says in str(error.value) and "secret" not in str(error.value)
    assert any(says in reason for reason in codes.check_path(path))


def test_too_deep_says_what_to_do_and_six_levels_fit() -> None:
    assert codes.MAX_DEPTH == MAX_TOPIC_DEPTH == 6
    assert codes.check_path(tuple("abcdef")) == []
    with pytest.raises(InvalidRecord, match="join the deepest names into one"):
        codes.place(tuple("abcdefg"), SALT)
    with pytest.raises(InvalidRecord, match="at least 16 bytes"):
        codes.place(("a",), b"short")


@settings(derandomize=True, max_examples=15)
@given(st.lists(NAMES, min_size=6, max_size=6).map(tuple))
def test_a_child_is_its_parent_boosted_by_a_length_and_a_turn_of_the_depth(path) -> None:
    """The same hop and the same turn for every path; the boost is that of ``lorentz``."""
    for depth in range(codes.MAX_DEPTH):
        hops = []
        for names in (path, tuple("abcdef")):
            axis = codes._axes([names[:depth]], SALT)[:, 0]
            below = codes._axes([names[: depth + 1]], SALT)[:, 0]
            parent = torch.tensor(np.r_[codes._COSH[depth], codes._SINH[depth] * axis])
            child = torch.tensor(np.r_[codes._COSH[depth + 1], codes._SINH[depth + 1] * below])
            hop = lorentz.dist(parent, child, k=1.0).item()
            radial = lorentz.transp0(parent, torch.tensor(axis), k=1.0)
            turn = lorentz.inner(lorentz.logmap(parent, child, k=1.0), radial).item() / hop
            side = below - axis * (axis @ below)
            ahead = turn * axis + math.sqrt(1.0 - turn**2) * side / np.linalg.norm(side)
            boosted = lorentz.transp0(parent, torch.tensor(hop * ahead), k=1.0)
            reached = lorentz.expmap(parent, boosted, k=1.0)
            torch.testing.assert_close(reached, child, rtol=1e-7, atol=1e-7)
            hops.append((hop, turn))
        assert hops[0] == pytest.approx(hops[1], abs=1e-6)


@FIXED
@given(PATHS)
def test_places_are_points_within_the_radius(path: tuple[str, ...]) -> None:
    code = torch.from_numpy(codes.place(path, SALT))
    assert lorentz.check_point(code, k=1.0, limit=MAX_RADIUS) == []
    radius = lorentz.dist0(code.double(), k=1.0).item()
    assert radius == pytest.approx(math.log(GROWTH[len(path)]), abs=1e-6)


def truth(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    with mp.workdps(50):
        s, t = ([mpf(float(v)) for v in point[1:]] for point in (a, b))
        times = [mp.sqrt(1 + mp.fsum(v * v for v in point)) for point in (s, t)]
        product = mp.fsum(v * w for v, w in zip(s, t, strict=True))
        return float(mp.acosh(max(mpf(1), times[0] * times[1] - product)))


@FIXED
@given(PATHS, PATHS, st.integers(0, 6))
def test_distances_are_right_to_the_last_digits(a, b, shared: int) -> None:
    b = (a[:shared] + b)[: codes.MAX_DEPTH]
    x, y = codes.places([a, b], SALT)
    assert codes.place_distance(x, y[None])[0] == pytest.approx(truth(x, y), rel=1e-12, abs=1e-20)
    assert codes.place_distance(x, x[None])[0] == 0.0


def test_distances_follow_the_tree() -> None:
    here = codes.place(tuple("abcd"), SALT)
    others = [tuple("abc"), (*"abc", "x"), (*"ab", "x", "y"), (*"a", "x", "y", "z"), tuple("wxyz")]
    distances = codes.place_distance(here, codes.places([tuple("abcd"), *others], SALT))
    assert distances[0] == 0.0
    assert (np.diff(distances) > 0.3).all()


def test_a_distance_depends_on_its_row_alone() -> None:
    paths = [tuple(f"{i * j % 11}" for j in range(1, i % 7 + 1)) for i in range(997)]
    rows = codes.places(paths, SALT)
    for start in (rows[500], rows[0]):
        whole = codes.place_distance(start, rows)
        for size in (1, 2, 3, 7, 8, 9, 64):
            for first in (0, 1, 5):
                part = codes.place_distance(start, rows[first : first + size])
                assert part.tobytes() == whole[first : first + size].tobytes()
        assert codes.place_distance(start, rows[::-3]).tobytes() == whole[::-3].tobytes()
        wide = np.asfortranarray(rows)
        assert codes.place_distance(start, wide).tobytes() == whole.tobytes()


@FIXED
@given(PATHS, st.integers(0, 67), st.integers(0, 7))
def test_a_flipped_bit_of_a_code_is_caught(path, byte: int, bit: int) -> None:
    code = codes.place(path, SALT)
    assert codes.is_intact(code.tobytes(), path, SALT)
    altered = bytearray(code.tobytes())
    altered[byte] ^= 1 << bit
    assert not codes.is_intact(bytes(altered), path, SALT)
    rows = np.stack([code, np.frombuffer(bytes(altered), np.float32), code])
    assert codes.intact_mask(rows, [path] * 3, SALT).tolist() == [True, False, True]


@FIXED
@given(PATHS.filter(bool), st.data())
def test_a_flipped_character_of_a_path_is_caught(path, data) -> None:
    code = codes.place(path, SALT)
    level = data.draw(st.integers(0, len(path) - 1))
    at = data.draw(st.integers(0, len(path[level]) - 1))
    name = path[level]
    altered = name[:at] + chr(ord(name[at]) ^ (1 << data.draw(st.integers(0, 6)))) + name[at + 1 :]
    other = (*path[:level], altered, *path[level + 1 :])
    assert not codes.is_intact(code.tobytes(), other, SALT)
    assert not codes.is_intact(code.tobytes(), path[:-1], SALT)
    assert not codes.is_intact(code.tobytes(), path, SALT[:-1] + b"?")
    assert codes.intact_mask(np.stack([code] * 2), [path, other], SALT).tolist() == [True, False]


def test_every_byte_of_a_code_counts() -> None:
    raw = codes.place(("health", "allergies"), SALT).tobytes()
    for byte in range(68):
        altered = raw[:byte] + bytes([raw[byte] ^ 0xFF]) + raw[byte + 1 :]
        assert not codes.is_intact(altered, ("health", "allergies"), SALT)
    assert not codes.is_intact(raw[:-4], ("health", "allergies"), SALT)
    with pytest.raises(InvalidRecord, match="give one for each"):
        codes.intact_mask(np.zeros((2, 17), np.float32), [("a",)], SALT)
