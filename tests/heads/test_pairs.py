"""Distances and angles of every pair, and Busemann functions, against other forms of them."""

from __future__ import annotations

import math

import geoopt
import mpmath
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from forgetnet.geometry import lorentz, poincare
from forgetnet.heads import exterior_angles
from forgetnet.heads.pairs import pair_angle, pair_distance

RADII = [0.0, 1e-6, 0.3, 1.0, 3.0, 5.9]


def tangents(seed: int, n: int = 6, dim: int = 5) -> torch.Tensor:
    drawn = torch.randn(n, dim, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    radii = torch.tensor(RADII[:n], dtype=torch.float64)
    return torch.nn.functional.normalize(drawn, dim=1) * radii[:, None]


@pytest.mark.parametrize("seed", range(5))
def test_distances_of_all_pairs_are_geoopts(seed: int) -> None:
    a, b = tangents(seed), tangents(seed + 100)
    sphere = geoopt.Lorentz(torch.tensor(1.0, dtype=torch.float64))
    x, y = lorentz.expmap0(a, k=1.0), lorentz.expmap0(b, k=1.0)
    right = sphere.dist(x[:, None], y[None])
    torch.testing.assert_close(pair_distance(a, b), right, atol=2e-6, rtol=1e-9)
    one_by_one = lorentz.polar_dist(a[:, None], b[None], k=1.0)
    torch.testing.assert_close(pair_distance(a, b), one_by_one, atol=2e-6, rtol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_angles_of_all_pairs_are_those_of_one_pair_and_of_numpy(seed: int) -> None:
    apex, x = tangents(seed)[1:], tangents(seed + 100)[1:]
    right = lorentz.exterior_angle(apex[:, None], x[None], k=1.0)
    torch.testing.assert_close(pair_angle(apex, x), right, atol=2e-6, rtol=1e-9)
    for row, one in zip(right.numpy(), apex.numpy(), strict=True):
        assert exterior_angles(one, x.numpy()) == pytest.approx(row, abs=1e-12)


@given(st.floats(0.05, 6.0), st.floats(0.05, 6.0), st.floats(0.01, math.pi - 0.01))
def test_the_exterior_angle_is_that_of_sixty_digits(a: float, r: float, t: float) -> None:
    with mpmath.workdps(60):
        a60, r60, t60 = (mpmath.mpf(value) for value in (a, r, t))
        cosh = mpmath.cosh(a60) * mpmath.cosh(r60)
        cosh -= mpmath.sinh(a60) * mpmath.sinh(r60) * mpmath.cos(t60)
        away = mpmath.acosh(cosh)  # the side between the two; then the law of cosines at the apex
        inner = (mpmath.cosh(a60) * cosh - mpmath.cosh(r60)) / (
            mpmath.sinh(a60) * mpmath.sinh(away)
        )
        right = float(mpmath.pi - mpmath.acos(inner))
    x = [r * math.cos(t), r * math.sin(t)]
    assert exterior_angles([a, 0.0], x)[0] == pytest.approx(right, abs=1e-9)


def test_an_apex_at_the_origin_and_a_point_at_itself_have_a_finite_angle() -> None:
    some = np.array([[0.0, 0.0], [0.5, 0.1], [3.0, -2.0]])
    assert np.isfinite(exterior_angles([0.0, 0.0], some)).all()
    assert np.isfinite(exterior_angles(some, some)).all()


@given(st.floats(0.0, 6.0), st.floats(0.0, math.pi))
def test_a_busemann_function_is_that_of_the_ball(r: float, t: float) -> None:
    x = torch.tensor([r * math.cos(t), r * math.sin(t)], dtype=torch.float64)
    ideal = torch.tensor([3.0, 0.0], dtype=torch.float64)  # only its direction counts
    z = poincare.expmap0(x / 2.0, c=1.0)
    p = ideal / 3.0
    rim = (1.0 - float(z.square().sum())) or 1e-300
    right = math.log(float((p - z).square().sum()) / rim)
    assert float(lorentz.busemann(ideal, x, k=1.0)) == pytest.approx(right, abs=1e-6)


def test_a_busemann_function_is_minus_the_radius_on_the_ray_and_plus_opposite() -> None:
    ray = torch.tensor([[0.0, 5.5], [0.0, -5.5], [0.0, 0.0]], dtype=torch.float64)
    found = lorentz.busemann(torch.tensor([0.0, 1.0], dtype=torch.float64), ray, k=1.0)
    assert found.tolist() == pytest.approx([-5.5, 5.5, 0.0])
    wide = lorentz.busemann(torch.tensor([0.0, 1.0], dtype=torch.float64), 2.0 * ray, k=4.0)
    assert wide.tolist() == pytest.approx([-11.0, 11.0, 0.0])


def test_gradients_are_finite_where_points_coincide() -> None:
    a = tangents(3)[1:].requires_grad_()
    total = pair_distance(a, a).sum() + pair_angle(a, a).sum()
    total = total + lorentz.busemann(a.detach(), a, k=1.0).sum()
    total.backward()
    assert a.grad is not None and bool(torch.isfinite(a.grad).all())
