"""SymPy in and out: expressions compute what SymPy's own functions do, and functions come back as expressions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import sympy as sp

import adjit as torch
from adjit.compiler.entry import known as k
from adjit.native import install
from adjit.symbolic.rewriting import SymbolicError

x, y, z = sp.symbols("x y z", real=True)
EXPRESSIONS = [
    sp.sin(x) * y**2 + sp.sqrt(z) / 3, sp.gamma(x), sp.loggamma(x), sp.erf(x), sp.Abs(x - 2), sp.Heaviside(x - 1),
    sp.Max(x, y, 1), sp.Min(x, y), sp.atan2(x, y), sp.Mod(x, sp.Rational(3, 10)), sp.sec(x) + sp.cot(x),
    sp.exp(-x) * x ** sp.Rational(5, 2), x**-3, x**y, sp.log(x, 3), sp.pi * x + sp.E, sp.sinc(x),
    sp.Sum(x**z, (z, 0, 4)), sp.Piecewise((x, x < 1), (x**2, x < 2), (3, True)), sp.floor(x * 3) + sp.ceiling(y),
    sp.ITE(x > 1, x, y), sp.sign(x - 3), 2 / (x * y**2), -x * y, sp.Rational(2, 3) * x, x ** sp.Rational(-3, 2),
    sp.cosh(x) / sp.acosh(x + 1), sp.Integer(3), sp.zeta(2) * x, sp.cos(x) ** 2 + sp.tanh(y) * sp.asinh(x),
]  # fmt: skip


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=str)
def test_values_and_derivatives(expression: Any) -> None:
    function = torch.from_sympy(expression, [x, y, z])
    for point in ((0.7, 2.2, 1.3), (1.9, 0.3, 0.4)):
        at = dict(zip((x, y, z), point, strict=True))
        exact = complex(sp.sympify(expression).doit().rewrite(sp.Piecewise).subs(at).evalf(20)).real
        assert float(function(*point)) == pytest.approx(exact, rel=1e-12, abs=1e-14)
    if expression.has(sp.gamma, sp.floor, sp.Mod, sp.Heaviside, sp.sign, sp.Sum, sp.sinc, sp.Piecewise, sp.ITE):
        return
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.7, 2.2, 1.3)]
    value = function(*leaves)
    if value.requires_grad:
        found = torch.autograd.grad(value, leaves, allow_unused=True)
        at = dict(zip((x, y, z), (0.7, 2.2, 1.3), strict=True))
        for symbol, gradient in zip((x, y, z), found, strict=True):
            exact = float(sp.diff(expression, symbol).subs(at).evalf(20))
            assert (0.0 if gradient is None else gradient.item()) == pytest.approx(exact, rel=1e-10, abs=1e-12)


def test_arrays_matrices_and_trees() -> None:
    points = np.linspace(0.1, 2, 5)
    function = torch.from_sympy(sp.Matrix([[x, y], [x * y, 1]]), [x, y])
    found = function(points, 3.0)
    assert found.shape == (5, 2, 2) and found.dtype == np.float64
    np.testing.assert_allclose(found[:, 1, 0], points * 3)
    pair = torch.from_sympy([x + y, (x * y, sp.Matrix([x, y]))], (x, y))(2.0, 3.0)
    assert float(pair[0]) == 5.0 and float(pair[1][0]) == 6.0
    np.testing.assert_array_equal(pair[1][1], [[2.0], [3.0]])
    nested = torch.from_sympy(x * y + z, [x, [y, z]])
    assert float(nested(2.0, [3.0, 4.0])) == 10.0
    vector = torch.from_sympy(x * y, [sp.Matrix([x, y])])
    assert float(vector(np.array([2.0, 5.0]))) == 10.0
    same = torch.lambdify([x, y], x - y, "numpy")
    np.testing.assert_array_equal(same(points, 1.0), sp.lambdify([x, y], x - y)(points, 1.0))


def test_functions_compose() -> None:
    function = torch.from_sympy(sp.sin(x) * y, [x, y])
    point = torch.tensor(0.3, dtype=torch.float64)
    second = torch.func.grad(torch.func.grad(lambda v: function(v, v * 0 + 2.0)))(point)
    assert second.item() == pytest.approx(-2 * np.sin(0.3))
    batch = torch.linspace(0, 1, 4, dtype=torch.float64)
    mapped = torch.compile(torch.vmap(lambda v: function(v, v)))(batch)
    assert torch.allclose(mapped, batch.sin() * batch)


@pytest.mark.parametrize(
    ("expression", "text"),
    [(sp.Symbol("other") + x, "other is not among"), (sp.Function("f")(x), "f.x. is an unknown function"),
     (sp.zoo, "zoo has no numerical value"), (sp.MatrixSymbol("A", 2, 2)[0, 1] * x, "A is not among"),
     (sp.IndexedBase("b")[1], "b is not among"),
     (sp.Derivative(sp.Function("f")(x), x), "derivative of an unknown function")],
    ids=str,
)  # fmt: skip
def test_what_nothing_computes_is_refused(expression: Any, text: str) -> None:
    with pytest.raises(SymbolicError, match=text):
        torch.from_sympy(expression, [x])(1.0)


def test_functions_as_expressions() -> None:
    assert torch.to_sympy(lambda x, y: torch.sigmoid(x) * y + x**2, x, y) == x**2 + y / (1 + sp.exp(-x))
    vector = sp.Matrix([x, y, z])
    assert torch.to_sympy(lambda v: (v * v).sum(), vector) == x**2 + y**2 + z**2
    matrix = sp.Matrix([[x, y], [y, z]])
    product = torch.to_sympy(lambda a, v: a @ v, matrix, [x, y])
    assert list(product) == [x**2 + y**2, x * y + y * z]
    running = torch.to_sympy(torch.func.grad(lambda v: v.cumprod(0).sum()), [x, y, z])
    assert list(running.expand()) == [1 + y + y * z, x + x * z, x * y]
    gradient = torch.to_sympy(torch.func.grad(lambda x: torch.sin(x) * x**2), x)
    assert sp.simplify(gradient - sp.diff(sp.sin(x) * x**2, x)) == 0
    assert torch.to_sympy(lambda x: torch.where(x > 0, x, -x), x) == sp.Piecewise((x, x > 0), (-x, True))


WRITTEN_OUT = [e for e in EXPRESSIONS[:14] if not e.has(sp.gamma, sp.loggamma, sp.Mod)]


@pytest.mark.parametrize("expression", WRITTEN_OUT, ids=str)
def test_there_and_back(expression: Any) -> None:
    back = torch.to_sympy(torch.from_sympy(expression, [x, y, z]).function, x, y, z)
    at = {x: 0.7, y: 2.2, z: 1.3}
    assert float(back.subs(at)) == pytest.approx(float(expression.subs(at).evalf(20)), rel=1e-12)


def test_a_new_op_from_an_expression() -> None:
    bump = torch.symbolic.elementwise_op("test_bump", sp.exp(-(x**2)) * y, [x, y])
    values = torch.tensor([0.5, 1.0], dtype=torch.float64, requires_grad=True)
    result = bump(values, 2.0)
    assert torch.allclose(result, 2 * torch.exp(-(values**2)))
    assert result.grad_fn.name() == "Test_bumpBackward0"
    assert torch.autograd.gradcheck(lambda v: bump(v, v * 2), (values,))
    assert torch.autograd.gradgradcheck(lambda v: bump(v, v * 2), (values,))
    compiled = torch.compile(lambda v: bump(v, v))
    assert torch.allclose(compiled(values), bump(values, values))
    assert "test_bump" in str(compiled.graph(values))
    assert torch.allclose(torch.vmap(bump)(values, values), bump(values, values))
    with pytest.raises(ValueError, match="an op named 'test_bump' exists already"):
        torch.symbolic.elementwise_op("test_bump", x)


def test_equations_of_motion() -> None:
    """A pendulum's equations, from mechanics to a native Jacobian."""
    from sympy.physics.mechanics import dynamicsymbols

    angle, speed = dynamicsymbols("q u")
    length, gravity = sp.symbols("l g")
    motion = sp.Matrix([speed, -gravity / length * sp.sin(angle)])
    function = torch.from_sympy(motion, [angle, speed, length, gravity])
    state = torch.tensor([0.4, 0.1], dtype=torch.float64)
    constants = [torch.tensor(v, dtype=torch.float64) for v in (2.0, 9.8)]
    jacobian = torch.compile(torch.func.jacrev(lambda s: function(s[0], s[1], *constants)[:, 0]))(state)
    exact = np.array(motion.jacobian([angle, speed]).subs({angle: 0.4, length: 2, gravity: 9.8})).astype(float)
    np.testing.assert_allclose(jacobian.numpy(), exact)


def plain(tree: Any) -> Any:
    """Floats and nested lists; tuples stay."""
    if isinstance(tree, (list, tuple)):
        return type(tree)(map(plain, tree))
    return tree.tolist() if isinstance(tree, (np.ndarray, np.floating)) else tree


def test_numbers_give_what_arrays_give() -> None:
    """By Python at first, by the native entry then: floats, arrays for matrices, and trees of them."""
    x, y = sp.symbols("x y")
    trees: list[Any] = [
        x + y, [x + y, x * y], (x, [y, x * y]), sp.Matrix([[x, y, 1], [x * y, 2, x - y]]),
        [x, sp.Matrix([x, y]), (y, sp.Matrix([[x * y]]))], [sp.Matrix([x, y])],
    ]  # fmt: skip
    assert install.install()
    for tree in trees:
        function = torch.from_sympy(tree, [x, y])
        wanted = plain(function(np.array(2.0), np.array(3.5)))
        for point in (3 * ((2, 3.5), (np.float64(2), np.float32(3.5)), (sp.Integer(2), 3.5))):
            found = function(*point)
            assert plain(found) == wanted
            assert point[0] == sp.Integer(2) or type(found) in (float, list, tuple, np.ndarray)
        served = function._numbers.native.words[k.U_CALLS]
        assert function(2, 3.5) is not None and function(2.0, np.float64(3.5)) is not None
        assert function._numbers.native.words[k.U_CALLS] == served + 2
        assert function(True, 3.5) is not None  # a number that only Python takes
        assert function._numbers.native.words[k.U_CALLS] == served + 2
    with pytest.raises(TypeError, match="2 symbols was given 3 numbers"):
        function(1.0, 2.0, 3.0)
