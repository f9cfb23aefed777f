"""Colours can be told apart by the colour-blind, on light paper and on dark."""

from __future__ import annotations

import numpy as np
import pytest

from forgetnet.atlas.chart import COLOURS
from forgetnet.atlas.ink import INK, SUBJECTS, sheet, styled

SIGHT = {  # Machado, Oliveira and Fernandes 2009, severity 1.0; on linear RGB
    "usual": np.eye(3),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "tritanopia": np.array(
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ]
    ),
}
XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = np.array([0.95047, 1.0, 1.08883])


def linear(colour: str) -> np.ndarray:
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    t = np.clip(rgb, 0, 1) @ XYZ.T / WHITE
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("sight", SIGHT)
def test_any_two_colours_lie_apart_for_everybody(sight: str, dark: bool):
    names = [*(f"s{i}" for i in range(COLOURS)), "paper", "plane", "gone", "grey"]
    seen = {name: lab(linear(INK[name][dark]) @ SIGHT[sight].T) for name in names}
    near = [
        (a, b, round(float(np.linalg.norm(seen[a] - seen[b])), 1))
        for a in names[:COLOURS]
        for b in names
        if a != b and np.linalg.norm(seen[a] - seen[b]) < 18.0  # 2.3 is just noticeable
    ]
    assert not near


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_words_stand_out_from_the_paper(dark: bool):
    def bright(name: str) -> float:
        return float(XYZ[1] @ linear(INK[name][dark]))

    for paper in ("paper", "plane"):
        for ink, least in (("ink", 7.0), ("soft", 4.5), ("gone", 3.0)):
            ends = sorted([bright(ink), bright(paper)])
            assert (ends[1] + 0.05) / (ends[0] + 0.05) >= least, (ink, paper)


def test_every_style_has_its_colours_in_both_sheets():
    assert len(SUBJECTS) == COLOURS
    light, _, dark = sheet().partition("@media (prefers-color-scheme: dark)")
    for name in ("paper", "label", "s0", "s8", "region"):
        assert f".{name}{{" in light and f".{name}{{" in dark
    assert styled("bar s3") == {**styled("bar"), **styled("s3"), "stroke-width": "2"}
