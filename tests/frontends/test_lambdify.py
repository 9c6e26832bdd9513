"""`from_sympy` as a drop-in for `sympy.lambdify`: values, shapes and dtypes, and functions that it lacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sympy as sp
from sympy.physics.mechanics import dynamicsymbols
from sympy.utilities.lambdify import implemented_function

import adjit as torch

x, y, z, t = sp.symbols("x y z t")
q, speed = dynamicsymbols("q"), dynamicsymbols("q", 1)
n = sp.Symbol("n", integer=True)
A, B, v = sp.MatrixSymbol("A", 2, 2), sp.MatrixSymbol("B", 2, 2), sp.MatrixSymbol("v", 2, 1)
b, i, j = sp.IndexedBase("b"), sp.Idx("i", 3), sp.symbols("j", integer=True)
odd = sp.symbols("lambda a\\ b x_{1} for")
ROW, INTS, COMPLEX = np.linspace(0.2, 1.4, 4), np.arange(1, 5), np.array([1 + 2j, -0.5j, 2.0])
MATRIX = np.array([[1.0, 2.0], [3.0, 5.0]])


def polynomial(degree: int) -> Any:
    return sum(k * x**k for k in range(degree))


# (arguments, expression, values): what NumPy's printer of SymPy makes of them is the oracle.
CASES: dict[str, tuple[Any, Any, tuple[Any, ...]]] = {
    "numbers": ([x, y], sp.sin(x) * y + 1, (0.5, 2.0)),
    "arrays": ([x, y], sp.sin(x) * y + 1, (ROW, 2.0)),
    "broadcast": ([x, y], x * y + sp.exp(x), (ROW, ROW[:, None])),
    "a symbol": (x, x**2 + 1, (ROW,)),
    "no arguments": ([], sp.sqrt(2) * sp.pi, ()),
    "constant": ([x], sp.Rational(1, 3), (2.0,)),
    "integers": ([x], x**2 + 3 * x - 1, (INTS,)),
    "quotient of integers": ([x], x / 4, (INTS,)),
    "negative power": ([x], x**-2, (INTS.astype(float),)),
    "float32": ([x], sp.cos(x) * 2, (ROW.astype(np.float32),)),
    "root of integers": ([x], sp.sqrt(x), (INTS,)),
    "integers beside floats": ([x, y], x * y, (INTS, ROW)),
    "remainder": ([x], sp.Mod(x, 3), (INTS,)),
    "complex": ([x], x**2 + 1, (COMPLEX,)),
    "number i": ([x], sp.I * x, (ROW,)),
    "a complex number": ([x], sp.exp(x) + 1, (1 + 2j,)),
    "phase": ([x], sp.exp(sp.I * x), (ROW,)),
    "parts": ([x], sp.re(x) + 2 * sp.im(x), (COMPLEX,)),
    "conjugate": ([x], sp.conjugate(x) * x, (COMPLEX,)),
    "modulus": ([x], sp.Abs(x) + sp.arg(x), (COMPLEX,)),
    "parts of reals": ([x], sp.re(x) + sp.im(x), (ROW,)),
    "complex root": ([x], sp.sqrt(x) + sp.log(x), (COMPLEX,)),
    "complex power": ([x], x**x, (COMPLEX,)),
    "complex tan": ([x], sp.tan(x) + sp.tanh(x), (COMPLEX,)),
    "complex constant": ([x], (1 + 2 * sp.I) * x, (2.0,)),
    "matrix": ([x, y], sp.Matrix([[x, y], [x * y, 2]]), (1.0, 2.0)),
    "immutable": ([x], sp.ImmutableMatrix([[x, 1]]), (1.0,)),
    "list": ([x, y], [x, y * 2, x * y], (1.5, 2.0)),
    "tuple": ([x, y], (x, [y, (x * y,)]), (1.5, 2.0)),
    "list of arrays": ([x], [x, x**2], (ROW,)),
    "Tuple": ([x], sp.Tuple(x, x + 1), (2.0,)),
    "array": ([x], sp.Array([[[x, 1], [2, x]]]), (2.0,)),
    "piecewise": ([x], sp.Piecewise((x, x < 1), (x**2, x < 2), (0, True)), (ROW * 2,)),
    "no default": ([x], sp.Piecewise((x, x > 1)), (ROW,)),
    "guarded": ([x], sp.Piecewise((sp.log(x), x > 0), (0, True)), (ROW - 0.5,)),
    "relation": ([x], x > 1, (ROW,)),
    "and": ([x, y], sp.And(x > 0, y < 1), (ROW, ROW + 0.1)),
    "not": ([x], sp.Not(x > 1), (ROW,)),
    "or": ([x], sp.Or(x < 0.5, x > 1), (ROW,)),
    "equal": ([x], sp.Eq(x, 2), (INTS,)),
    "truth": ([x, y], x & y, (True, False)),
    "xor": ([x], sp.Xor(x < 0.5, x > 1), (ROW,)),
    "implies": ([x], sp.Implies(x > 0.5, x > 1), (ROW,)),
    "extremes": ([x, y], sp.Max(x, y, 1) - sp.Min(x, y), (ROW, 0.7)),
    "steps": ([x], sp.floor(x) + sp.ceiling(x) + sp.sign(x - 1) + sp.frac(x), (ROW * 3,)),
    "heaviside": ([x], sp.Heaviside(x - 1), (ROW,)),
    "heaviside at 0": ([x], sp.Heaviside(x, 1), (0.0,)),
    "modulo": ([x, y], sp.Mod(x, y), (-ROW, 0.3)),
    "atan2": ([x, y], sp.atan2(y, x), (ROW, -1.0)),
    "sinc": ([x], sp.sinc(x), (ROW,)),
    "secant": ([x], sp.sec(x) + sp.cot(x) + sp.acoth(x + 2) + sp.asech(x / 2), (ROW,)),
    "log base": ([x], sp.log(x, 3), (ROW,)),
    "sum": ([x], sp.Sum(x**n / sp.factorial(n), (n, 0, 5)), (1.5,)),
    "sum to y": ([x, y], sp.Sum(x**n, (n, 0, y)), (1.5, 4)),
    "odd names": (list(odd), sum(odd), (1.0, 2.0, 3.0, 4.0)),
    "strings": (["x", "y"], "x**2 + y", (2.0, 3.0)),
    "functions of time": ([q, speed], q**2 + speed * sp.cos(q), (0.5, 2.0)),
    "nested": ([x, (y, z)], x + y * z, (1.0, (2.0, 3.0))),
    "nested lists": ([[x, [y, z]]], x + y * z, ([1.0, [2.0, 3.0]],)),
    "elements": ([b], b[0] + 2 * b[2], (ROW,)),
    "sum of elements": ([b], sp.Sum(b[i] ** 2, (i, 0, 2)), (ROW,)),
    "matrices": ([A, v], A * v, (MATRIX, np.ones((2, 1)))),
    "sum of matrices": ([A], A + sp.Matrix([[1, 2], [3, 4]]), (MATRIX,)),
    "transposed": ([A, B], (A * B).T * 2, (MATRIX, MATRIX)),
    "inverse": ([A], A.I, (MATRIX,)),
    "square": ([A], A**2, (MATRIX,)),
    "element": ([A], A[0, 1] * 2, (MATRIX,)),
    "dummy": ([d := sp.Dummy("x"), x], d * 2 + x, (1.0, 2.0)),
    "polynomial": ([x], polynomial(12), (ROW,)),
    "lambda": ([x], sp.Lambda(y, y**2)(x), (ROW,)),
    "definite": ([x], sp.Integral(x * y**2, (y, 0, 3)), (2.0,)),
}


def same(found: Any, wanted: Any) -> None:
    """Equal structures, shapes, dtypes and values; a NumPy scalar stands for Python's number."""
    if isinstance(wanted, (list, tuple)):
        assert type(found) is type(wanted) and len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
        return
    wanted = np.asarray(wanted)
    assert np.shape(found) == wanted.shape
    if wanted.ndim:
        assert found.dtype == wanted.dtype
    assert np.iscomplexobj(found) == np.iscomplexobj(wanted)
    np.testing.assert_allclose(found, wanted, rtol=1e-6 if wanted.dtype == np.float32 else 1e-12, atol=1e-14)


@pytest.mark.parametrize("name", CASES)
def test_results_are_those_of_lambdify(name: str) -> None:
    args, expression, values = CASES[name]
    try:
        oracle = sp.lambdify(args, expression, "numpy")
        with np.errstate(all="ignore"):
            wanted = oracle(*values)
    except (NameError, NotImplementedError):  # NumPy's printer knows no integrals
        wanted = sp.lambdify(args, sp.sympify(expression).doit(), "numpy")(*values)
    same(torch.from_sympy(expression, args)(*values), wanted)


# Functions that few or no ops compute, at a point of each argument.
SPECIAL: dict[str, tuple[Any, tuple[float, ...]]] = {
    "bessel functions": (sp.besselj(0, x) + sp.bessely(1, x) + sp.besseli(1, x) + sp.besselk(0, x), (1.7,)),
    "higher orders": (sp.besselj(5, x) + sp.bessely(2, x) * sp.besselk(3, x), (1.7,)),
    "an order that is no integer": (sp.besselj(x, y), (0.3, 1.7)),
    "spherical": (sp.jn(2, x), (1.7,)),
    "airy": (sp.airyai(x) + sp.airybi(x) + sp.airyaiprime(x), (0.7,)),
    "gamma": (sp.gamma(x), (-1.3,)),
    "factorial": (sp.factorial(x), (2.5,)),
    "binomial": (sp.binomial(x, 3) + sp.binomial(5.5, x), (2.5,)),
    "beta": (sp.beta(x, y), (2.5, 1.5)),
    "rising": (sp.rf(x, y), (2.5, 1.5)),
    "polygamma": (sp.polygamma(3, x), (1.5,)),
    "zeta": (sp.zeta(x), (2.5,)),
    "Hurwitz": (sp.zeta(3, x), (2.5,)),
    "error": (sp.erfi(x) + sp.erf2(x, 1) + sp.erfc(x), (0.4,)),
    "quantiles": (sp.erfinv(x) + sp.erfcinv(x), (0.4,)),
    "integrals": (sp.Ei(x) + sp.Si(x) * sp.Ci(x), (0.7,)),
    "exponential integral": (sp.expint(2, x), (0.7,)),
    "Lambert": (sp.LambertW(x), (0.7,)),
    "Lambert below": (sp.LambertW(x, -1), (-0.2,)),
    "elliptic": (sp.elliptic_k(x) + sp.elliptic_e(x), (0.4,)),
    "Fresnel": (sp.fresnels(x) + sp.fresnelc(x), (0.4,)),
    "incomplete": (sp.lowergamma(2, x) + sp.uppergamma(sp.Rational(3, 2), x), (1.3,)),
    "polylogarithm": (sp.polylog(2, x), (0.4,)),
    "hypergeometric": (sp.hyper([1, x], [sp.Rational(3, 2)], y), (0.3, 0.4)),
    "harmonic": (sp.harmonic(x), (2.5,)),
    "Legendre": (sp.legendre(4, x) + sp.assoc_legendre(3, 1, x), (0.4,)),
    "integral": (sp.Integral(sp.exp(-x * t**2) / (1 + t**4), (t, 0, 1)), (1.3,)),
    "to infinity": (sp.Integral(sp.exp(-x * t) * sp.cos(t), (t, 0, sp.oo)), (1.3,)),
    "product": (sp.Product(x + n, (n, 1, 5)), (0.4,)),
    "derivative": (sp.Derivative(sp.sin(x) * x**2, x), (0.4,)),
    "delta": (sp.KroneckerDelta(x, 2) + x**2, (2.0,)),
}


@pytest.mark.parametrize("name", SPECIAL)
def test_special_functions(name: str) -> None:
    """Values, and gradients: SymPy's derivative, or differences where it has none."""
    expression, point = SPECIAL[name]
    symbols = [x, y][: len(point)]
    at = dict(zip(symbols, map(sp.Float, point, [25] * len(point)), strict=True))
    function = torch.from_sympy(expression, symbols)
    exact = expression.rewrite(sp.erf).rewrite(sp.erfinv).subs(at).evalf(17)
    assert float(function(*point)) == pytest.approx(float(exact), rel=1e-12)
    np.testing.assert_allclose(function(*(np.full(3, p) for p in point)), [function(*point)] * 3, rtol=1e-14)
    leaves = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in point]
    for symbol, leaf, gradient in zip(symbols, leaves, torch.autograd.grad(function(*leaves), leaves), strict=True):
        moved = [
            function(*(p + h * (leaf is other) for p, other in zip(point, leaves, strict=True))) for h in (1e-5, -1e-5)
        ]
        assert float(gradient) == pytest.approx((moved[0] - moved[1]) / 2e-5, rel=1e-7), symbol


def test_second_derivatives_of_host_functions() -> None:
    function = torch.from_sympy(sp.besselj(2, x) * sp.LambertW(x), [x])
    second = torch.func.grad(torch.func.grad(function))(torch.tensor(0.7, dtype=torch.float64))
    exact = sp.diff(sp.besselj(2, x) * sp.LambertW(x), x, 2).subs(x, sp.Float("0.7", 20)).evalf(17)
    assert float(second) == pytest.approx(float(exact), rel=1e-12)
    points = torch.linspace(0.2, 3, 4, dtype=torch.float64)
    assert torch.allclose(torch.compile(torch.vmap(function))(points), function(points))


def test_complex_gradients() -> None:
    """PyTorch's convention: the conjugate of the derivative times the cotangent."""
    function = torch.from_sympy(sp.exp(sp.I * x) * sp.besselj(2, x) + sp.conjugate(x), [x])
    point = torch.tensor([0.4 + 0.3j], dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(function, (point,))


def test_dicts_keywords_and_functions_of_the_user() -> None:
    found = torch.from_sympy({"a": x, "b": [x * y]}, [x, y])(y=2.0, x=3.0)
    assert found == {"a": 3.0, "b": [6.0]}
    with pytest.raises(TypeError, match="unexpected keyword argument 'w'"):
        torch.from_sympy(x, [x])(w=1.0)
    with pytest.raises(TypeError, match="was given 2"):
        torch.from_sympy(x, [x])(np.ones(2), 1.0)
    own = sp.Function("own")
    hat: Callable[..., Any] = np.hypot
    f = torch.lambdify([x, y], own(x, y) + own(x, 4), modules=[{"own": hat}, "numpy"])
    np.testing.assert_allclose(f(np.array([3.0]), 4.0), [10.0])
    implemented = implemented_function("impl", lambda v: v + 1)
    np.testing.assert_allclose(torch.lambdify(x, implemented(x) * 2)(ROW), 2 * (ROW + 1))


def test_sums_of_elements_by_two_indices() -> None:
    total = sp.Sum(sp.Sum(A[i, j] * (i + 2 * j), (i, 0, 1)), (j, 0, 1))
    exact = sum(MATRIX[r, c] * (r + 2 * c) for r in range(2) for c in range(2))
    assert float(torch.from_sympy(total, [A])(MATRIX)) == pytest.approx(exact)
    batch = np.stack([MATRIX, 2 * MATRIX])
    assert torch.from_sympy(sp.Trace(A * A) + sp.Determinant(A), [A])(batch) == pytest.approx(
        [np.trace(m @ m) + np.linalg.det(m) for m in batch]
    )
