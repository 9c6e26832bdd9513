"""SymPy's functions that no op computes: the host does, in a `host_call` that has SymPy's derivative.

SciPy computes them where it is installed and knows them, else mpmath, one number after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from adjit.complex_parts import conj, real
from adjit.creation import empty
from adjit.custom_rules import custom_vjp
from adjit.dims import shape_of
from adjit.dtypes import complex128, float64
from adjit.foreign import host_call
from adjit.promotion import broadcast_shapes
from adjit.reductions import sum_to_size
from adjit.tensor import Tensor

if TYPE_CHECKING:
    from adjit.symbolic.translate import Translator

# A function's derivative has derivatives of its own: traced this deep, so of this order at most.
_ORDERS = 3
# SciPy's functions of the same arguments, besides those that SymPy's printer knows.
_SCIPY = {"elliptic_k": "ellipk", "elliptic_e": "ellipe", "expint": "expn"}


def applied(
    expression: Any, translate: Translator, given: Callable[..., Any] | None = None, orders: tuple[int, ...] = ()
) -> Any:
    """A function of SymPy's on tensors and numbers, or of arrays, `given` by the user.

    Its derivatives are SymPy's; where SymPy has none they are mpmath's, of these `orders` in the operands.
    """
    import sympy

    operands = [translate(operand) for operand in _operands(expression)]
    moving = [place for place, x in enumerate(operands) if isinstance(x, Tensor)]
    if not moving:
        return given(*operands) if given is not None else complex(expression.evalf(20))
    # A number is part of the function: a Bessel function of order 2 has a derivative of its own.
    names = [sympy.Dummy(f"x{place}") for place in moving]
    generic = _rebuilt(expression, dict(zip(moving, names, strict=True)))
    orders = orders or (0,) * len(names)
    tensors = [operands[place] for place in moving]
    complex_ = any(x.is_complex() for x in tensors)
    like = empty(broadcast_shapes(*(shape_of(x) for x in tensors)), dtype=complex128 if complex_ else float64)
    compute = _evaluator(generic, tuple(names), given, orders)

    def value(*xs: Tensor) -> Any:
        return host_call(compute, like, *xs)

    if translate.order == _ORDERS:
        return value(*tensors)

    def slope(place: int, xs: tuple[Tensor, ...]) -> Any:
        deeper = translate.derivative(dict(zip(names, xs, strict=True)))
        derivative = sympy.diff(generic, names[place]) if not any(orders) else None
        if derivative is not None and not derivative.has(sympy.Derivative, sympy.Subs):
            return deeper(derivative)
        return applied(generic, deeper, given, tuple(n + (i == place) for i, n in enumerate(orders)))

    def backward(xs: tuple[Tensor, ...], g: Tensor) -> tuple[Tensor, ...]:
        found = []
        for place, x in enumerate(xs):
            partial = slope(place, xs)
            product = g * (conj(partial) if isinstance(partial, Tensor) else np.conj(partial))
            product = real(product) if product.is_complex() and not x.is_complex() else product
            found.append(sum_to_size(product, x.shape).to(x.dtype))
        return tuple(found)

    function = custom_vjp(value)
    function.defvjp(lambda *xs: (value(*xs), xs), backward)
    return function(*tensors)


def _operands(expression: Any) -> list[Any]:
    """The arguments of a function, the parameters in the tuples of a hypergeometric one among them."""
    return [x for part in expression.args for x in (_operands(part) if _is_tuple(part) else [part])]


def _rebuilt(expression: Any, changed: dict[int, Any]) -> Any:
    """The function with some of its operands replaced."""
    operands = iter([changed.get(place, x) for place, x in enumerate(_operands(expression))])

    def rebuilt(part: Any) -> Any:
        return [rebuilt(x) for x in part.args] if _is_tuple(part) else next(operands)

    return expression.func(*map(rebuilt, expression.args))


def _is_tuple(expression: Any) -> bool:
    import sympy

    return isinstance(expression, sympy.Tuple)


@cache
def _evaluator(
    function: Any, names: tuple[Any, ...], given: Callable[..., Any] | None, orders: tuple[int, ...]
) -> Callable[..., np.ndarray]:
    """A function of arrays, or a derivative of it: real ones give real numbers, NaN where the result is complex."""
    if given is not None and not any(orders):
        run = _of_user(function, names, given)
    else:
        run = (None if any(orders) else _of_scipy(function, names)) or _of_mpmath(function, names, orders)

    def compute(*arrays: np.ndarray) -> np.ndarray:
        numbers = [np.asarray(x, np.complex128 if np.iscomplexobj(x) else np.float64) for x in arrays]
        with np.errstate(all="ignore"):
            found = np.asarray(run(*numbers))
        if any(map(np.iscomplexobj, numbers)) or not np.iscomplexobj(found):
            return found
        return np.where(found.imag == 0, found.real, np.nan)

    if given is None and not any(orders):
        compute.symbolic = (function, names)  # type: ignore[attr-defined]  # read by to_sympy
    return compute


def _of_user(function: Any, names: tuple[Any, ...], given: Callable[..., Any]) -> Callable[..., Any]:
    """The user's function, with the numbers that the expression has as arguments."""
    fixed = [None if argument in names else float(argument) for argument in function.args]

    def run(*arrays: np.ndarray) -> Any:
        moving = iter(arrays)
        return given(*(next(moving) if number is None else number for number in fixed))

    return run


def _of_scipy(function: Any, names: tuple[Any, ...]) -> Callable[..., Any] | None:
    """SciPy's function, or None where SciPy is not installed or has none."""
    import sympy

    try:
        from scipy import special  # type: ignore[import-untyped, unused-ignore]
    except ImportError:
        return None
    own = {name: getattr(special, known) for name, known in _SCIPY.items()}
    try:
        found = sympy.lambdify(names, function, [own, "scipy", "numpy"])
        found(*(np.array([0.5]) for _ in names))
    except (NameError, NotImplementedError, TypeError, ValueError):
        return None
    return found  # type: ignore[no-any-return]


def _of_mpmath(function: Any, names: tuple[Any, ...], orders: tuple[int, ...]) -> Callable[..., Any]:
    """The function or a derivative of it by mpmath, number by number, in enough digits for float64."""
    import mpmath  # type: ignore[import-untyped, unused-ignore]
    import sympy

    # SymPy prints these by names that mpmath has not.
    primes = {f"airy{kind}prime": partial(getattr(mpmath, f"airy{kind}"), derivative=1) for kind in ("ai", "bi")}
    one = sympy.lambdify(names, function, [primes, "mpmath"])

    def of_numbers(*numbers: Any) -> complex:
        try:
            with mpmath.workdps(20):
                point = tuple(map(mpmath.mpmathify, numbers))
                return complex(mpmath.diff(one, point, orders) if any(orders) else one(*point))
        except (ValueError, ZeroDivisionError, mpmath.libmp.ComplexResult):
            return complex("nan")

    return np.vectorize(of_numbers, otypes=[np.complex128])
