"""The Poincare ball: geoopt as oracle, and the same space as the Lorentz model."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
from geoopt.manifolds.lorentz import math as hyperboloid
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import MAX_RADIUS, lorentz, poincare

FIXED = settings(derandomize=True, max_examples=25)
SEEDS = st.integers(0, 2**32)
CURVATURES = st.sampled_from([0.25, 1.0, 3.0])


def tangents(seed: int, length: float, *shape: int) -> Tensor:
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return length * drawn / drawn.norm(dim=-1, keepdim=True)


def close(a: Tensor, b: Tensor, tol: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


@FIXED
@given(SEEDS, CURVATURES, st.floats(0.0, 1.5))
def test_geoopt_gives_the_same(seed: int, c: float, length: float) -> None:
    ball = geoopt.PoincareBall(torch.tensor(c, dtype=torch.float64))
    u, v = (tangents(seed + i, r / math.sqrt(c), 20, 8) for i, r in enumerate((length, 1.0)))
    x, y = poincare.expmap0(u, c=c), poincare.expmap0(v, c=c)
    close(x, ball.expmap0(u))
    close(poincare.logmap0(x, c=c), ball.logmap0(x))
    close(poincare.dist(x, y, c=c), ball.dist(x, y))
    close(poincare.dist0(x, c=c), ball.dist0(x))
    close(poincare.mobius_add(x, y, c=c), ball.mobius_add(x, y))
    close(poincare.lambda_x(x, c=c), ball.lambda_x(x, keepdim=True))
    close(poincare.logmap(x, y, c=c), ball.logmap(x, y))
    close(poincare.expmap(y, u / 4.0, c=c), ball.expmap(y, u / 4.0))  # farther out it clips
    close(poincare.transp0(y, u, c=c), ball.transp0(y, u))


@FIXED
@given(SEEDS, CURVATURES, st.floats(0.0, 5.0))
def test_both_models_are_one_space(seed: int, c: float, radius: float) -> None:
    k = 1.0 / c
    u, v = tangents(seed, radius, 20, 8), tangents(seed + 1, 1.0, 20, 8)
    x, y = lorentz.expmap0(u, k=k), lorentz.expmap0(v, k=k)
    p, q = poincare.lorentz_to_poincare(x, k=k), poincare.lorentz_to_poincare(y, k=k)
    close(poincare.poincare_to_lorentz(p, c=c), x, 1e-7)
    close(p, poincare.expmap0(u / 2.0, c=c))
    close(poincare.dist(p, q, c=c), lorentz.dist(x, y, k=k), 1e-7)
    close(poincare.dist0(p, c=c), lorentz.dist0(x, k=k), 1e-7)
    unit_ball = hyperboloid.lorentz_to_poincare(x, torch.tensor(k, dtype=x.dtype))
    close(p, unit_ball * math.sqrt(k))


@FIXED
@given(SEEDS, CURVATURES)
def test_walking_and_looking_back_are_inverse(seed: int, c: float) -> None:
    x, y = (poincare.expmap0(tangents(seed + i, 1.0, 20, 8), c=c) for i in (0, 1))
    close(poincare.expmap(x, poincare.logmap(x, y, c=c), c=c), y)
    close(poincare.mobius_add(-x, x, c=c), torch.zeros_like(x))
    close(poincare.mobius_add(x, torch.zeros_like(x), c=c), x)
    step = poincare.logmap(x, y, c=c)
    length = poincare.lambda_x(x, c=c)[..., 0] * step.norm(dim=-1)
    close(length, poincare.dist(x, y, c=c))


@pytest.mark.parametrize("c", [0.5, 1.0, 2.0])
def test_gradients_are_right_and_finite(c: float) -> None:
    x, y = (poincare.expmap0(tangents(i, 1.0, 5, 4), c=c).requires_grad_() for i in (0, 1))
    assert torch.autograd.gradcheck(lambda a, b: poincare.dist(a, b, c=c), (x, y))
    u = tangents(3, 1.0, 5, 4)
    u[0], u[1] = 0.0, u[1] * 1e-3
    u.requires_grad_()
    assert torch.autograd.gradcheck(lambda a: poincare.expmap0(a, c=c), (u,))
    assert torch.autograd.gradcheck(lambda a: poincare.logmap0(a / 4.0, c=c), (u,))
    for point in (torch.zeros(1, 4), x.detach().float()):
        a, b = point.clone().requires_grad_(), point.clone().requires_grad_()
        distance = poincare.dist(a, b, c=c)
        assert (distance == 0.0).all()
        distance.sum().backward()
        assert a.grad is not None and torch.isfinite(a.grad).all()
        assert b.grad is not None and torch.isfinite(b.grad).all()


@FIXED
@given(SEEDS, CURVATURES, st.floats(0.0, 1e6))
def test_points_are_kept_within_the_limit(seed: int, c: float, length: float) -> None:
    x = tangents(seed, length, 20, 8).float()
    kept = poincare.projx(x, c=c)
    assert poincare.check_point(kept, c=c) == []
    inside = kept.double() * 0.99
    assert torch.equal(poincare.projx(inside, c=c), inside)
    assert poincare.dist0(inside, c=c).max() < MAX_RADIUS / math.sqrt(c)


def test_what_is_no_point_is_refused_with_its_reasons() -> None:
    poincare.assert_point(torch.zeros(3, 2), c=1.0)
    faults = {
        "outside the ball": torch.ones(3, 2),
        "beyond radius 8.0": torch.full((3, 1), 0.9995),
        "NaN or infinite": torch.full((3, 2), math.nan),
        "not torch.int64": torch.zeros(3, 2, dtype=torch.int64),
        "not shape ()": torch.tensor(0.5),
    }
    for says, wrong in faults.items():
        with pytest.raises(InvalidRecord) as error:
            poincare.assert_point(wrong, c=1.0)
        assert says in str(error.value)
    assert poincare.check_point(torch.full((1, 1), 0.6), c=4.0)
