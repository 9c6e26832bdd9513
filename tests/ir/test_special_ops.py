"""Special functions: their native values and derivatives against mpmath, and their values at the edges."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from mpmath import mp

from adjit.compiler.single import run_single
from adjit.ir.ops.chain import partial_factors
from adjit.ir.partials import partial_terms
from adjit.ir.primitive import Primitive, primitive_named
from tests.ir.test_partials import blows_up
from tests.special import CASES, SPECIAL

INF, NAN = float("inf"), float("nan")
OPS = [primitive_named(name) for name in sorted(SPECIAL)]


def native(name: str, *points: Any, **attributes: Any) -> np.ndarray:
    """The op as a compiled program computes it."""
    return run_single(primitive_named(name), [np.atleast_1d(np.asarray(p)) for p in points], attributes)[0]


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("name", CASES)
def test_native_values_are_those_of_mpmath(name: str, dtype: type) -> None:
    oracle, points, allowed, scale = CASES[name]
    least, most = (1e-300, 1e300) if dtype is np.float64 else (1e-36, 1e37)
    with np.errstate(over="ignore"):
        x = points.astype(dtype)
    compared = 0
    for at, found in zip(x.tolist(), native(name, x).tolist(), strict=True):
        with mp.workdps(40):
            exact = oracle(mp.mpf(at))
        if not mp.isfinite(exact):
            continue
        size = scale(at, float(exact)) if scale else abs(float(exact))
        if least < size < most:
            error = float(abs(mp.mpf(found) - exact)) / float(np.spacing(dtype(size)))
            assert error <= allowed, (at, found, float(exact))
            compared += 1
    assert compared > 10


# s is what zeta and polygamma take as their first argument.
SERIES = [(s, q) for s in (1.5, 2.0, 3.0, 4.5, 11.0) for q in (0.01, 0.5, 1.0, 2.25, 8.75, 30.0, 1e4)]


def test_zeta() -> None:
    for s, q in SERIES:
        expected = float(mp.zeta(s, q))
        assert native("zeta", s, q)[0] == pytest.approx(expected, rel=1e-14), (s, q)
    for n in (2, 3, 5):
        for q in (-0.5, -1.25, -7.75):  # below 0 the sum over all k is what mpmath's polygamma continues to
            expected = float(mp.polygamma(n - 1, q) * (-1) ** n / mp.factorial(n - 1))
            assert native("zeta", float(n), q)[0] == pytest.approx(expected, rel=1e-12), (n, q)
    edges = [(1.0, 2.0, INF), (0.5, 2.0, NAN), (2.0, 0.0, INF), (2.0, -3.0, INF), (2.5, -0.5, NAN), (2.0, INF, 0.0)]
    for s, q, value in edges:
        np.testing.assert_equal(native("zeta", s, q)[0], value)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_polygamma(n: int) -> None:
    points = np.array([-3.25, -0.5, 0.125, 1.0, 2.5, 9.0, 40.0])
    expected = [float(mp.polygamma(n, x)) for x in points]
    np.testing.assert_allclose(native("polygamma", points, n=n), expected, rtol=1e-11)


BINARY = {
    "xlog1py": lambda x, y: x * mp.log1p(y),
    "logaddexp2": lambda x, y: mp.log(mp.mpf(2) ** x + mp.mpf(2) ** y, 2),
}


@pytest.mark.parametrize("name", BINARY)
def test_functions_of_two_operands(name: str) -> None:
    x = np.random.default_rng(2).uniform(0.1, 9, (2, 50))
    expected = [float(BINARY[name](mp.mpf(a), mp.mpf(b))) for a, b in x.T.tolist()]
    np.testing.assert_allclose(native(name, *x), expected, rtol=2e-15)


def incomplete_points() -> list[tuple[float, float]]:
    """Pairs in all ranges: both small, a large with x near it, and x far from a on either side."""
    random = np.random.default_rng(6)
    a = np.concatenate([10.0 ** random.uniform(-3, 3, 40), random.uniform(0.1, 30, 40), 20 + random.uniform(0, 3, 20)])
    x = a * np.exp(random.normal(size=100) * np.where(a > 50, 0.2, 1.0))
    return list(zip(a.tolist(), x.tolist(), strict=True))


def test_incomplete_gamma_functions() -> None:
    points = incomplete_points()
    a, x = (np.array(column) for column in zip(*points, strict=True))
    lower, upper = native("igamma", a, x), native("igammac", a, x)
    with mp.workdps(30):
        exact = [(mp.gammainc(s, 0, z, regularized=True), mp.gammainc(s, z, regularized=True)) for s, z in points]
    np.testing.assert_allclose(lower, [float(p) for p, _ in exact], rtol=1e-13, atol=1e-300)
    np.testing.assert_allclose(upper, [float(q) for _, q in exact], rtol=1e-13, atol=1e-14)
    _, slope = partial_factors(primitive_named("igamma"), None, a, x)
    with mp.workdps(30):
        expected = [float(mp.mpf(z) ** (s - 1) * mp.exp(-z) / mp.gamma(s)) for s, z in points]
    np.testing.assert_allclose(slope, expected, rtol=1e-11, atol=1e-300)
    narrow = native("igamma", a.astype(np.float32), x.astype(np.float32))
    np.testing.assert_allclose(narrow, lower, rtol=3e-3, atol=2e-5)


@pytest.mark.parametrize(
    ("a", "x", "lower"),
    [(0.0, 1.0, 1.0), (0.0, 0.0, NAN), (1.0, 0.0, 0.0), (2.0, INF, 1.0), (INF, 2.0, 0.0), (INF, INF, NAN),
     (-1.0, 1.0, NAN), (1.0, -1.0, NAN), (NAN, 1.0, NAN), (1.0, NAN, NAN), (1e10, 1e10, 0.50000132980762)],
)  # fmt: skip
def test_incomplete_gamma_functions_at_the_edges(a: float, x: float, lower: float) -> None:
    np.testing.assert_allclose(native("igamma", a, x)[0], lower, rtol=1e-9)
    np.testing.assert_allclose(native("igammac", a, x)[0], 1 - lower, rtol=1e-9)


EDGES = [
    ("erfc", -INF, 2.0), ("erfc", INF, 0.0), ("erfc", 0.0, 1.0), ("erfcx", INF, 0.0), ("erfcx", -30.0, INF),
    ("erfinv", 1.0, INF), ("erfinv", -1.0, -INF), ("erfinv", 1.5, NAN), ("erfinv", 0.0, 0.0), ("ndtr", -INF, 0.0),
    ("ndtr", INF, 1.0), ("ndtri", 0.0, -INF), ("ndtri", 1.0, INF), ("ndtri", 0.5, 0.0), ("ndtri", -0.5, NAN),
    ("log_ndtr", INF, 0.0), ("log_ndtr", -1e200, -INF), ("entr", 0.0, 0.0), ("entr", -1.0, -INF), ("entr", 1.0, 0.0),
    ("lgamma", 0.0, INF), ("lgamma", -1.0, INF), ("lgamma", 1.0, 0.0), ("lgamma", 2.0, 0.0), ("lgamma", INF, INF),
    ("lgamma", -INF, INF), ("digamma", 0.0, -INF), ("digamma", -0.0, INF), ("digamma", -2.0, NAN),
    ("digamma", INF, INF), ("trigamma", 0.0, INF), ("trigamma", INF, 0.0), ("i0", 0.0, 1.0), ("i0", -INF, INF),
    ("i1", -INF, -INF), ("i0e", INF, 0.0), ("i1e", -INF, 0.0), ("k0", 0.0, INF), ("k1", 0.0, INF), ("k0", -1.0, NAN),
    ("k0", INF, 0.0), ("k1e", INF, 0.0), ("bessel_j0", 0.0, 1.0), ("bessel_j0", INF, 0.0), ("bessel_j1", 0.0, 0.0),
    ("bessel_j1", -INF, 0.0), ("bessel_y0", 0.0, -INF), ("bessel_y0", -1.0, NAN), ("bessel_y1", 0.0, -INF),
    ("bessel_y1", INF, 0.0), ("spherical_bessel_j0", 0.0, 1.0), ("spherical_bessel_j0", INF, 0.0),
    ("airy_ai", INF, 0.0), ("airy_ai", -INF, 0.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "point", "expected"), EDGES)
def test_edges(name: str, point: float, expected: float) -> None:
    np.testing.assert_allclose(native(name, point)[0], expected, rtol=3e-16)


@pytest.mark.parametrize("name", sorted(CASES))
def test_nan_stays(name: str) -> None:
    assert np.isnan(native(name, NAN)[0])


def test_partials_of_several_operands() -> None:
    x, y = np.random.default_rng(4).uniform(0.5, 4, (2, 8))
    for name in BINARY:
        op = primitive_named(name)
        found = partial_factors(op, op(x, y), x, y)
        for index, factor in enumerate(found):
            order = (1, 0) if index == 0 else (0, 1)
            expected = [float(mp.diff(BINARY[name], (a, b), order)) for a, b in zip(x, y, strict=True)]
            np.testing.assert_allclose(factor, expected, rtol=1e-12)
    for n in (1, 2):
        (factor,) = partial_factors(primitive_named("polygamma"), None, x, n=n)
        np.testing.assert_allclose(factor, [float(mp.polygamma(n + 1, a)) for a in x], rtol=1e-12)
    _, slope = partial_factors(primitive_named("zeta"), None, x + 1, y)
    np.testing.assert_allclose(slope, [-s * float(mp.zeta(s + 1, q)) for s, q in zip(x + 1, y, strict=True)], 1e-12)


PLAIN = [op for op in OPS if not op.constant_result and not op.attributes]


@pytest.mark.parametrize("op", PLAIN, ids=lambda op: op.name)
def test_singular_ops_are_those_with_partials_that_blow_up(op: Primitive) -> None:
    with np.errstate(all="ignore"):
        assert op.singular == blows_up(op)


def test_every_special_op_is_documented_and_has_an_oracle() -> None:
    assert [op.name for op in OPS if not op.summary] == []
    parts = {"gamma_weight", "gamma_series", "gamma_fraction", "gamma_correction"}  # of igamma
    assert set(CASES) | set(BINARY) | {"zeta", "hurwitz", "polygamma", "igamma", "igammac"} | parts == SPECIAL
    assert all(str(term) for op in OPS if not op.constant_result for term in partial_terms(op))
    assert len(list(itertools.chain(OPS))) == len(SPECIAL)
