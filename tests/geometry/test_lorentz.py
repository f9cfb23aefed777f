"""The Lorentz model: identities, geoopt as oracle, gradients, and error by radius."""

from __future__ import annotations

import math

import geoopt
import pytest
import torch
from geoopt.manifolds.lorentz import math as oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp, mpf
from torch import Tensor

from forgetnet.errors import InvalidRecord
from forgetnet.geometry import MAX_RADIUS, lorentz

FIXED = settings(derandomize=True, max_examples=25)
SEEDS = st.integers(0, 2**32)
CURVATURES = st.sampled_from([0.25, 1.0, 3.0])
RADII = st.floats(0.0, 3.0)


def tangents(seed: int, radius: float, *shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """Draw directions, and make them ``radius`` long."""
    drawn = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (radius * drawn / drawn.norm(dim=-1, keepdim=True)).to(dtype)


def close(a: Tensor, b: Tensor, tol: float = 1e-9) -> None:
    torch.testing.assert_close(a, b, rtol=tol, atol=tol)


@FIXED
@given(SEEDS, CURVATURES, RADII)
def test_walking_and_looking_back_are_inverse(seed: int, k: float, radius: float) -> None:
    u = tangents(seed, radius * math.sqrt(k), 20, 8)
    x = lorentz.expmap0(u, k=k)
    close(lorentz.inner(x, x), torch.full((20,), -k, dtype=x.dtype), 1e-6)
    close(lorentz.logmap0(x, k=k), u)
    close(lorentz.dist0(x, k=k), u.norm(dim=-1))
    y = lorentz.expmap0(tangents(seed + 1, 1.0, 20, 8), k=k)
    step = lorentz.logmap(x, y, k=k)
    close(lorentz.inner(x, step), torch.zeros(20, dtype=x.dtype), 1e-5)
    close(lorentz.norm(step), lorentz.dist(x, y, k=k), 1e-6)
    close(lorentz.expmap(x, step, k=k), y, 1e-6)
    close(lorentz.expmap(x, torch.zeros_like(x), k=k), x)


@FIXED
@given(SEEDS, CURVATURES, RADII, RADII)
def test_distance_is_a_metric(seed: int, k: float, near: float, far: float) -> None:
    a, b = tangents(seed, near, 20, 8), tangents(seed + 1, far, 20, 8)
    c = tangents(seed + 2, 2.0, 20, 8)
    ab = lorentz.polar_dist(a, b, k=k)
    assert torch.equal(ab, lorentz.polar_dist(b, a, k=k))
    assert (lorentz.polar_dist(a, a, k=k) == 0.0).all()
    assert (ab <= lorentz.polar_dist(a, c, k=k) + lorentz.polar_dist(c, b, k=k) + 1e-12).all()
    assert (ab >= abs(near - far) - 1e-12).all() and (ab <= near + far + 1e-12).all()
    x, y = lorentz.expmap0(a, k=k), lorentz.expmap0(b, k=k)
    close(lorentz.dist(x, y, k=k), ab)


@FIXED
@given(SEEDS, CURVATURES)
def test_carrying_keeps_lengths_and_tangency(seed: int, k: float) -> None:
    x, y = (lorentz.expmap0(tangents(seed + i, 1.5 + i, 20, 8), k=k) for i in (0, 1))
    v, w = (tangents(seed + i, 1.0, 20, 8) for i in (2, 3))
    at_x = lorentz.transp0(x, v, k=k)
    close(lorentz.inner(x, at_x), torch.zeros(20, dtype=v.dtype))
    close(lorentz.inner(at_x, lorentz.transp0(x, w, k=k)), (v * w).sum(-1))
    at_y = lorentz.transp(x, y, at_x, k=k)
    close(lorentz.inner(y, at_y), torch.zeros(20, dtype=v.dtype))
    close(lorentz.norm(at_y), torch.ones(20, dtype=v.dtype))
    close(lorentz.transp(y, x, at_y, k=k), at_x)
    origin = lorentz.projx(torch.zeros_like(x), k=k)
    close(lorentz.transp(origin, x, torch.cat([torch.zeros(20, 1), v], -1), k=k), at_x)
    ambient = tangents(seed + 4, 3.0, 20, 9)
    close(lorentz.proju(x, at_x, k=k), at_x)
    close(lorentz.inner(x, lorentz.proju(x, ambient, k=k)), torch.zeros(20, dtype=v.dtype))


@FIXED
@given(SEEDS, CURVATURES, st.floats(0.1, 3.0))
def test_geoopt_gives_the_same(seed: int, k: float, radius: float) -> None:
    u, w = tangents(seed, radius * math.sqrt(k), 20, 8), tangents(seed + 1, 0.5, 20, 8)
    curvature = torch.tensor(k, dtype=torch.float64)
    ambient = torch.cat([torch.zeros(20, 1, dtype=u.dtype), u], -1)
    x, y = lorentz.expmap0(u, k=k), lorentz.expmap0(w, k=k)
    close(x, oracle.expmap0(ambient, k=curvature))
    close(lorentz.logmap0(x, k=k), oracle.logmap0(x, k=curvature)[..., 1:], 1e-7)
    close(lorentz.dist(x, y, k=k), oracle.dist(x, y, k=curvature), 1e-7)
    close(lorentz.dist0(x, k=k), oracle.dist0(x, k=curvature), 1e-7)
    close(lorentz.inner(x, y), oracle.inner(x, y))
    close(lorentz.projx(ambient, k=k), oracle.project(ambient, k=curvature))
    step = lorentz.logmap(x, y, k=k)
    close(step, oracle.logmap(x, y, k=curvature), 1e-7)
    close(lorentz.norm(step), oracle.norm(step), 1e-7)
    close(lorentz.expmap(x, step, k=k), oracle.expmap(x, step, k=curvature), 1e-7)
    close(lorentz.proju(x, y, k=k), oracle.project_u(x, y, k=curvature))
    carried = lorentz.transp(x, y, step, k=k)
    close(carried, oracle.parallel_transport(x, y, step, k=curvature), 1e-7)
    close(lorentz.transp0(y, u, k=k), oracle.parallel_transport0(y, ambient, k=curvature), 1e-7)


@FIXED
@given(SEEDS, CURVATURES)
def test_riemannian_gradients_are_those_of_geoopt(seed: int, k: float) -> None:
    manifold = geoopt.Lorentz(torch.tensor(k, dtype=torch.float64))
    x, y = (lorentz.expmap0(tangents(seed + i, 1.0 + i, 20, 8), k=k) for i in (0, 1))
    found = []
    for dist in (lambda a, b: lorentz.dist(a, b, k=k), manifold.dist):
        leaf = x.clone().requires_grad_()
        dist(leaf, y).sum().backward()
        assert leaf.grad is not None
        found.append(manifold.egrad2rgrad(x, leaf.grad).detach())
    close(found[0], found[1], 1e-7)
    unit = torch.full((20,), -1.0, dtype=x.dtype)
    close(lorentz.inner(found[0], lorentz.logmap(x, y, k=k)), unit * lorentz.dist(x, y, k=k), 1e-6)


def test_geoopts_optimiser_moves_points_by_our_distance() -> None:
    manifold = geoopt.Lorentz(torch.tensor(1.0, dtype=torch.float64))
    goal = lorentz.expmap0(tangents(0, 3.0, 1, 8), k=1.0)
    start = lorentz.expmap0(tangents(1, 1.0, 1, 8), k=1.0)
    x = geoopt.ManifoldParameter(start, manifold=manifold)
    optimiser = geoopt.optim.RiemannianSGD([x], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        lorentz.dist(x, goal, k=1.0).square().sum().backward()
        optimiser.step()
    assert lorentz.dist(x, goal, k=1.0).item() < 1e-6
    assert lorentz.check_point(x.detach(), k=1.0) == []


@pytest.mark.parametrize("k", [0.5, 1.0, 2.0])
def test_gradients_are_right_everywhere_the_origin_too(k: float) -> None:
    for a_radius, b_radius in [(1.0, 2.0), (3e-3, 2.0), (2e-3, 1e-3), (0.0, 2.0), (8.0, 7.9)]:
        a, b = tangents(0, a_radius, 5, 4), tangents(1, b_radius, 5, 4)
        a.requires_grad_()
        b.requires_grad_()
        assert torch.autograd.gradcheck(
            lambda u, v: lorentz.polar_dist(u, v, k=k), (a, b), eps=1e-7, atol=1e-5
        )
    zero = torch.zeros(1, 4, dtype=torch.float32, requires_grad=True)
    goal = tangents(2, 3.0, 1, 4, dtype=torch.float32)
    lorentz.polar_dist(zero, goal, k=k).sum().backward()
    torch.testing.assert_close(zero.grad, -goal / 3.0)
    for ask in (lorentz.expmap0, lorentz.clip_radius, lorentz.logmap0):
        u = tangents(3, 1.0, 5, 5)
        u[0], u[1] = 0.0, u[1] * 1e-3
        u.requires_grad_()
        assert torch.autograd.gradcheck(lambda v, ask=ask: ask(v, k=k), (u,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("radius", [0.0, 1e-6, 1.0, 8.0])
def test_coincident_points_have_a_finite_gradient(dtype: torch.dtype, radius: float) -> None:
    u = tangents(0, radius, 5, 8, dtype=dtype)
    for ask in (
        lambda a, b: lorentz.polar_dist(a, b, k=1.0),
        lambda a, b: lorentz.dist(lorentz.expmap0(a, k=1.0), lorentz.expmap0(b, k=1.0), k=1.0),
        lambda a, b: lorentz.norm(
            lorentz.logmap(*(lorentz.expmap0(v, k=1.0) for v in (a, b)), k=1.0)
        ),
    ):
        a, b = u.clone().requires_grad_(), u.clone().requires_grad_()
        distance = ask(a, b)
        assert (distance == 0.0).all()
        distance.sum().backward()
        for leaf in (a, b):
            assert leaf.grad is not None and torch.isfinite(leaf.grad).all()


def truth(a: Tensor, b: Tensor) -> float:
    """Distance of two float tangents in 60 digits."""
    with mp.workdps(60):
        s, t = ([mpf(float(v)) for v in u] for u in (a, b))
        r, q = (mp.sqrt(mp.fsum(v * v for v in u)) for u in (s, t))
        cosine = mp.fsum(v * w for v, w in zip(s, t, strict=True)) / (r * q)
        return float(mp.acosh(mp.cosh(r) * mp.cosh(q) - mp.sinh(r) * mp.sinh(q) * cosine))


@pytest.mark.parametrize("radius", [0.005, 0.1, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_error_by_radius(dtype: torch.dtype, radius: float) -> None:
    """Far pairs to a few units of rounding; near ones to what storing the tangents leaves."""
    unit = torch.finfo(dtype).eps
    a = tangents(0, radius, 40, 32, dtype=dtype)
    b = tangents(1, radius * 0.9, 40, 32, dtype=dtype)
    close_by = a + tangents(2, 0.1 * radius / math.sinh(radius), 40, 32, dtype=dtype)
    for other, bound in ((b, 8 * radius), (close_by, 4 * radius + 1 + math.sinh(radius))):
        exact = torch.tensor(list(map(truth, a, other)), dtype=torch.float64)
        x, y = (lorentz.expmap0(u, k=1.0) for u in (a, other))
        polar = lorentz.polar_dist(a, other, k=1.0).double()
        assert (polar - exact).abs().max() <= bound * unit
        if radius <= MAX_RADIUS:
            points = lorentz.dist(x, y, k=1.0).double()
            assert (points - exact).abs().max() <= 4 * bound * unit


@FIXED
@given(SEEDS, CURVATURES)
def test_curvature_is_a_change_of_scale(seed: int, k: float) -> None:
    a, b = tangents(seed, 2.0, 20, 8), tangents(seed + 1, 1.0, 20, 8)
    root = math.sqrt(k)
    close(lorentz.polar_dist(root * a, root * b, k=k), root * lorentz.polar_dist(a, b, k=1.0))
    close(lorentz.expmap0(root * a, k=k), root * lorentz.expmap0(a, k=1.0))


def test_lifting_unit_vectors_ranks_as_the_cosine() -> None:
    a, b = tangents(0, 1.0, 1, 32), tangents(1, 1.0, 500, 32)
    ranked = lorentz.dist(lorentz.expmap0(a, k=1.0), lorentz.expmap0(b, k=1.0), k=1.0).argsort()
    assert torch.equal(ranked, (a * b).sum(-1).argsort(descending=True))


@FIXED
@given(SEEDS, CURVATURES)
def test_centroid_is_a_sum_that_can_be_taken_apart(seed: int, k: float) -> None:
    x = lorentz.expmap0(tangents(seed, 2.0, 5, 7, 8), k=k)
    weights = torch.rand(5, 7, generator=torch.Generator().manual_seed(seed), dtype=x.dtype)
    middle = lorentz.centroid(x, weights, k=k)
    assert lorentz.check_point(middle, k=k) == []
    klein = x[..., 1:] / x[..., :1]  # the Einstein midpoint is the same point, in Klein's model
    gamma = weights * x[..., 0]
    midpoint = (gamma[..., None] * klein).sum(-2) / gamma.sum(-1, keepdim=True)
    close(middle[..., 1:] / middle[..., :1], midpoint)
    without = (weights[..., None] * x).sum(-2) - weights[:, 3:4] * x[:, 3]
    rest = torch.cat([weights[:, :3], torch.zeros(5, 1), weights[:, 4:]], -1)
    close(
        lorentz.centroid(x, rest, k=k)[..., 1:] / without[..., 1:],
        (lorentz.centroid(x, rest, k=k)[..., :1] / without[..., :1]).expand(5, 8),
        1e-6,
    )
    same = x[:, :1].expand(5, 4, 9)
    close(lorentz.centroid(same, k=k), x[:, 0])


@FIXED
@given(SEEDS, CURVATURES, st.floats(0.0, 1000.0))
def test_radii_are_kept_within_the_limit(seed: int, k: float, radius: float) -> None:
    u = tangents(seed, radius, 20, 8, dtype=torch.float32)
    clipped = lorentz.clip_radius(u, k=k)
    assert lorentz.check_point(lorentz.expmap0(clipped, k=k), k=k) == []
    r = radius / (MAX_RADIUS * math.sqrt(k))
    expected = MAX_RADIUS * math.sqrt(k) * math.tanh(r)
    assert clipped.norm(dim=-1).tolist() == pytest.approx([expected] * 20, rel=1e-5, abs=1e-30)


def test_what_is_no_point_is_refused_with_its_reasons() -> None:
    x = lorentz.expmap0(tangents(0, 3.0, 4, 8, dtype=torch.float32), k=1.0)
    lorentz.assert_point(x, k=1.0)
    faults = {
        "off the hyperboloid": x * 1.001,
        "beyond radius 8.0": lorentz.expmap0(tangents(0, 8.1, 4, 8), k=1.0),
        "NaN or infinite": torch.where(x == x[0, 0], math.nan, x),
        "not torch.int64": torch.ones(3, 9, dtype=torch.int64),
        "not shape (1,)": torch.ones(1),
    }
    for says, wrong in faults.items():
        with pytest.raises(InvalidRecord) as error:
            lorentz.assert_point(wrong, k=1.0)
        assert says in str(error.value)
    assert lorentz.check_point(x, k=2.0) and lorentz.check_point(-x, k=1.0)
    both = lorentz.expmap0(tangents(0, 9.0, 4, 8), k=1.0) * 1.01
    assert len(lorentz.check_point(both, k=1.0)) == 2
