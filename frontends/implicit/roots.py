"""Roots and fixed points, with the derivatives of the implicit function theorem.

With f(x*, theta) = 0: dx* = -(df/dx)^-1 (df/dtheta) dtheta.  theta are the explicit arguments and the tensors that the
function closes over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from adjit import trees
from adjit.control import while_loop
from adjit.custom_rules import custom_jvp
from adjit.func.arguments import flatten
from adjit.implicit.krylov import gmres
from adjit.implicit.linear import Product, Solver, dense, linear_solve, natively, raveled
from adjit.inner_trace import call_inner, trace_inner
from adjit.ir.errors import TraceError
from adjit.tensor import Tensor

Function = Callable[..., Any]
# Up to this many unknowns a system is solved by its matrix; GMRES needs less memory above.
_LARGEST_MATRIX = 512


def root(
    f: Function,
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    solve: Callable[[Function, Any], Any] | None = None,
    linear_solve: Solver | None = None,
    tol: float | None = None,
    maxiter: int = 50,
) -> Any:
    """x with f(x, *args) = 0, near `x0`; derivatives by the implicit function theorem, of any order and in any mode.

    `solve(g, x0)` finds a root of g(x) = f(x, *args), by default `newton` with `tol` and `maxiter`; its steps are not
    differentiated.  `linear_solve(product, b)` solves the systems with df/dx, by default by their matrix up to 512
    unknowns and by GMRES above.  Gradients go to `args` and to what f closes over; `x0` has none.
    Shapes: f gives a tree like x0.  Errors: RuntimeError where it does not.

    >>> import adjit as torch
    >>> square_root = lambda a: torch.root(lambda x: x * x - a, torch.ones_like(a))
    >>> a = torch.tensor(2.0, dtype=torch.float64)
    >>> square_root(a), torch.func.grad(square_root)(a)
    (tensor(1.4142, dtype=torch.float64), tensor(0.3536, dtype=torch.float64))
    """
    solver = linear_solve or _direct
    find = solve or partial(newton, tol=tol, maxiter=maxiter, linear_solve=solver)
    return _implicit("root", f, x0, args, find, solver)


def fixed_point(
    f: Function,
    x0: Any,
    args: tuple[Any, ...] = (),
    *,
    solve: Callable[[Function, Any], Any] | None = None,
    linear_solve: Solver | None = None,
    tol: float | None = None,
    maxiter: int = 1000,
) -> Any:
    """x with x = f(x, *args), from `x0`; derivatives by the implicit function theorem.

    By default x = f(x, *args) is iterated until |x - f(x)| <= tol max(1, |x|); `solve(g, x0)` finds a root of
    g(x) = x - f(x, *args) in another way.  The other arguments are those of `root`.

    >>> import adjit as torch
    >>> torch.fixed_point(torch.cos, torch.tensor(1.0))
    tensor(0.7391)
    """

    def difference(x: Any, *args: Any) -> Any:
        before, structure = flatten(x, "fixed_point: Expected x")
        after = flatten(f(x, *args), "fixed_point: Expected f(x)")[0]
        return trees.unflatten(structure, [a - b for a, b in zip(before, after, strict=True)])

    find = solve or partial(_iterated, tol=tol, maxiter=maxiter)
    return _implicit("fixed_point", difference, x0, args, find, linear_solve or _direct)


def newton(
    g: Function, x0: Any, *, tol: float | None = None, maxiter: int = 50, linear_solve: Solver | None = None
) -> Any:
    """A root of `g` by Newton's method: x - (dg/dx)^-1 g(x), until |g(x)| <= tol or x stands still.

    `tol` is eps^(3/4) by default; the derivatives of the steps are those of a loop, see `root` for the implied ones.
    """
    leaves, structure = flatten(x0, "newton: Expected x0")
    solver = linear_solve or _direct
    bound = _tolerance(leaves[0], tol) ** 2
    still = _epsilon(leaves[0]) ** 2

    def program(*start: Tensor) -> tuple[Tensor, ...]:
        def going(k: Tensor, size: Tensor, moved: Tensor, *x: Tensor) -> Tensor:
            return (size > bound) & (moved > still) & (k < maxiter)

        def step(k: Tensor, size: Tensor, moved: Tensor, *x: Tensor) -> Any:
            point = trees.unflatten(structure, x)
            value, product = _linearized(g, point)
            change = flatten(solver(product, value), "newton: Expected the solver's result")[0]
            after = [a - b for a, b in zip(x, change, strict=True)]
            size = _squared(flatten(g(trees.unflatten(structure, after)), "newton: Expected g(x)")[0])
            return k + 1, size, _squared(change) / _squared(after).clamp(min=still), *after

        first = _squared(flatten(g(trees.unflatten(structure, start)), "newton: Expected g(x)")[0])
        return tuple(while_loop(going, step, (0, first, first * 0 + 1, *start))[3:])

    return trees.unflatten(structure, natively("newton", program, leaves))


def _iterated(g: Function, x0: Any, *, tol: float | None, maxiter: int) -> Any:
    """A root of g(x) = x - f(x) by x = f(x)."""
    leaves, structure = flatten(x0, "fixed_point: Expected x0")
    bound = _tolerance(leaves[0], tol) ** 2

    def change(x: Any) -> Any:
        return flatten(g(trees.unflatten(structure, x)), "fixed_point: Expected f(x)")[0]

    def program(*start: Tensor) -> tuple[Tensor, ...]:
        def going(k: Tensor, moved: Tensor, *x: Tensor) -> Tensor:
            return (moved > bound) & (k < maxiter)

        def step(k: Tensor, moved: Tensor, *x: Tensor) -> Any:
            by = change(x)
            after = [a - b for a, b in zip(x, by, strict=True)]
            return k + 1, _squared(by) / _squared(after).clamp(min=1), *after

        return tuple(while_loop(going, step, (0, _squared(start) * 0 + bound + 1, *start))[2:])

    return trees.unflatten(structure, natively("fixed_point", program, leaves))


# -- the implicit function theorem ------------------------------------------------------------------------------------
def _implicit(
    name: str, f: Function, x0: Any, args: tuple[Any, ...], find: Callable[[Function, Any], Any], solver: Solver
) -> Any:
    start, structure = flatten(x0, f"{name}: Expected x0")
    given, shape = trees.flatten(args, none_is_leaf=True)
    tensors = [leaf for leaf in given if isinstance(leaf, Tensor)]

    def program(*operands: Tensor) -> tuple[Tensor, ...]:
        first, own = operands[: len(start)], iter(operands[len(start) :])
        explicit = trees.unflatten(shape, [next(own) if isinstance(leaf, Tensor) else leaf for leaf in given])
        return tuple(_with_rule(name, f, first, structure, explicit, find, solver))

    return trees.unflatten(structure, natively(name, program, [*start, *tensors]))


def _with_rule(
    name: str,
    f: Function,
    start: tuple[Tensor, ...],
    structure: Any,
    args: tuple[Any, ...],
    find: Callable[[Function, Any], Any],
    solver: Solver,
) -> list[Tensor]:
    """The root of f as a function of all that f uses, in the running trace."""
    types = [x._tensor_type for x in start]

    def residual(*x: Tensor) -> list[Tensor]:
        return flatten(f(trees.unflatten(structure, x), *args), f"{name}: Expected f(x)")[0]

    traced = trace_inner(name, residual, types)
    if traced.written:
        raise TraceError(f"{name}: the function writes to a tensor that it did not make\n  hint: clone() it")
    if [value.type for value in traced.graph.outputs] != types:
        raise RuntimeError(
            f"{name}: the function must give tensors like x0\n"
            f"    x0   : {', '.join(map(str, types))}\n"
            f"    f(x) : {', '.join(str(value.type) for value in traced.graph.outputs)}"
        )

    def of_all(x: Any, theta: Any) -> Any:
        found = call_inner(traced.graph, [*flatten(x, f"{name}: Expected x")[0], *theta], name.title())
        return trees.unflatten(structure, found)

    @custom_jvp
    def solution(x0: Any, theta: Any) -> Any:
        return find(lambda x: of_all(x, theta), trees.unflatten(structure, [leaf.detach() for leaf in x0]))

    @solution.defjvp
    def rule(primals: Any, tangents: Any) -> Any:
        from adjit.func import jvp

        (x0, theta), (_, change) = primals, tangents
        x = solution(x0, theta)
        pushed = jvp(lambda *theta: of_all(x, theta), tuple(theta), tuple(change))[1] if theta else None
        if pushed is None:
            return x, trees.mapped(lambda leaf: leaf * 0, x)
        product = _linearized(lambda x: of_all(x, theta), x)[1]
        return x, linear_solve(product, trees.mapped(lambda leaf: -leaf, pushed), solver)

    solution.name = name
    return flatten(solution(list(start), list(traced.captured)), name)[0]


def _linearized(g: Function, x: Any) -> tuple[Any, Product]:
    """(g(x), v -> dg/dx v)."""
    from adjit.func import jvp

    return g(x), lambda v: jvp(g, (x,), (v,))[1]


def _direct(product: Product, b: Any) -> Any:
    """The system by its matrix if that is small, by GMRES otherwise."""
    leaves, _ = flatten(b, "Expected b")
    size = raveled(leaves).shape[0]
    if isinstance(size, int) and size <= _LARGEST_MATRIX:
        return dense(product, b)
    return gmres(product, b, tol=_tolerance(leaves[0], None))[0]


def _squared(leaves: Any) -> Tensor:
    vector = raveled(leaves)
    found: Tensor = vector @ vector
    return found


def _epsilon(like: Tensor) -> float:
    from adjit.numeric_limits import finfo

    return float(finfo(like.dtype).eps)


def _tolerance(like: Tensor, tol: float | None) -> float:
    return _epsilon(like) ** 0.75 if tol is None else tol
