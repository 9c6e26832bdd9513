"""Linear systems without a matrix: conjugate gradients, stabilized bi-conjugate gradients, GMRES.

All take the matrix as a function or as a tensor [n, n], and vectors that are trees of tensors.  The iteration stops
when |b - A x| <= max(tol |b|, atol), or after `maxiter` steps; info is 0 in the first case, `maxiter` in the second.
Derivatives solve the (transposed) system again to the same tolerance.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from adjit import trees
from adjit.control import fori_loop, while_loop
from adjit.func.arguments import flatten
from adjit.implicit.linear import Product, linear_solve, natively, raveled, shaped
from adjit.tensor import Tensor

# method(product, b, x0, bound on |residual|^2, bound on steps, preconditioner) = x
Method = Callable[[Product, Tensor, Tensor, Tensor, Any, Product], Tensor]


def cg(
    A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0, maxiter: int | None = None, M: Any = None
) -> tuple[Any, Tensor]:
    """(x, info): x with A x = b for symmetric positive definite A, by conjugate gradients from `x0` (default: 0).

    `M` approximates the inverse of A, as a function or a tensor; `maxiter` is 10 n if not given.
    Source: Hestenes and Stiefel, 1952.

    >>> import adjit as torch
    >>> torch.implicit.cg(torch.tensor([[2.0, 1.0], [1.0, 3.0]]), torch.tensor([3.0, 5.0]))[0]
    tensor([0.8000, 1.4000])
    """
    return _solved(_cg, A, b, x0, tol, atol, maxiter, M, symmetric=True)


def bicgstab(
    A: Any, b: Any, x0: Any = None, *, tol: float = 1e-5, atol: float = 0.0, maxiter: int | None = None, M: Any = None
) -> tuple[Any, Tensor]:
    """(x, info): x with A x = b for any square A, by stabilized bi-conjugate gradients.

    The arguments are those of `cg`.  Source: van der Vorst, 1992.
    """
    return _solved(_bicgstab, A, b, x0, tol, atol, maxiter, M)


def gmres(
    A: Any,
    b: Any,
    x0: Any = None,
    *,
    tol: float = 1e-5,
    atol: float = 0.0,
    restart: int = 20,
    maxiter: int | None = None,
    M: Any = None,
) -> tuple[Any, Tensor]:
    """(x, info): x with A x = b for any square A, by the generalized minimal residual, restarted after `restart` steps.

    `maxiter` counts restarts.  The other arguments are those of `cg`.  Source: Saad and Schultz, 1986.
    """
    return _solved(partial(_gmres, restart=restart), A, b, x0, tol, atol, maxiter, M)


def _solved(
    method: Method,
    A: Any,
    b: Any,
    x0: Any,
    tol: float,
    atol: float,
    maxiter: int | None,
    M: Any,
    *,
    symmetric: bool = False,
) -> tuple[Any, Tensor]:
    leaves, structure = flatten(b, "Expected b")
    shapes = [tuple(leaf.shape) for leaf in leaves]
    start = None if x0 is None else raveled(flatten(x0, "Expected x0")[0])
    size = raveled(leaves).shape[0]
    steps = 10 * size if maxiter is None else maxiter

    def flat(function: Any) -> Callable[[Tensor], Tensor]:
        if isinstance(function, Tensor):
            return lambda x: function @ x
        return lambda x: raveled(flatten(function(trees.unflatten(structure, shaped(x, shapes))), "Expected A(x)")[0])

    def ready(x: Tensor) -> Tensor:
        return x

    def iterate(first: Tensor | None) -> Callable[[Product, Tensor], Tensor]:
        def solve(product: Product, right: Tensor) -> Tensor:
            from adjit.creation import zeros_like

            bound = _bound(right, tol, atol)
            begin = zeros_like(right) if first is None else first
            return method(product, right, begin, bound, steps, ready if M is None else flat(M))

        return solve

    def program(*given: Tensor) -> tuple[Tensor, ...]:
        right = raveled(given)
        product = flat(A)
        # A start helps the system itself; the derivatives' systems have other solutions.
        x = linear_solve(product, right, iterate(start), transpose_solve=iterate(None), symmetric=symmetric)
        rest = (right - product(x)).detach()
        missed = (rest @ rest) > _bound(right, tol, atol)
        return x, missed.long() * steps

    x, info = natively("solve", program, leaves)
    return trees.unflatten(structure, shaped(x, shapes)), info


def _bound(right: Tensor, tol: float, atol: float) -> Tensor:
    """The squared norm of the residual at which to stop."""
    found: Tensor = (right @ right * tol**2).clamp(min=atol**2).detach()
    return found


def _cg(product: Product, b: Tensor, x: Tensor, bound: Tensor, steps: Any, precondition: Product) -> Tensor:
    r = b - product(x)
    z = precondition(r)

    def going(k: Tensor, x: Tensor, r: Tensor, p: Tensor, gamma: Tensor) -> Any:
        return (r @ r > bound) & (k < steps)

    def step(k: Tensor, x: Tensor, r: Tensor, p: Tensor, gamma: Tensor) -> Any:
        image = product(p)
        alpha = gamma / (p @ image)
        r = r - alpha * image
        z = precondition(r)
        after = r @ z
        return k + 1, x + alpha * p, r, z + after / gamma * p, after

    found: Tensor = while_loop(going, step, (0, x, r, z, r @ z))[1]
    return found


def _bicgstab(product: Product, b: Tensor, x: Tensor, bound: Tensor, steps: Any, precondition: Product) -> Tensor:
    from adjit.creation import ones_like

    r = b - product(x)
    shadow = r
    one = ones_like(r @ r)

    def going(k: Tensor, x: Tensor, r: Tensor, *_: Tensor) -> Any:
        return (r @ r > bound) & (k < steps)

    def step(k: Tensor, x: Tensor, r: Tensor, p: Tensor, v: Tensor, rho: Tensor, alpha: Tensor, omega: Tensor) -> Any:
        after = shadow @ r
        p = r + _ratio(after * alpha, rho * omega) * (p - omega * v)
        near = precondition(p)
        v = product(near)
        alpha = _ratio(after, shadow @ v)
        half = r - alpha * v
        close = precondition(half)
        t = product(close)
        omega = _ratio(t @ half, t @ t)
        return k + 1, x + alpha * near + omega * close, half - omega * t, p, v, after, alpha, omega

    found: Tensor = while_loop(going, step, (0, x, r, r * 0, r * 0, one, one, one))[1]
    return found


def _gmres(
    product: Product, b: Tensor, x: Tensor, bound: Tensor, steps: Any, precondition: Product, restart: int
) -> Tensor:
    from adjit.creation import zeros
    from adjit.linalg import pinv

    count = min(restart, b.shape[0])
    rows = zeros(count + 1, b.shape[0], dtype=b.dtype)
    heights = zeros(count + 1, count, dtype=b.dtype)

    def going(k: Tensor, x: Tensor, r: Tensor) -> Any:
        return (r @ r > bound) & (k < steps)

    def cycle(k: Tensor, x: Tensor, r: Tensor) -> Any:
        length = (r @ r).sqrt()

        def extend(j: Tensor, state: Any) -> Any:
            basis, hessenberg = state
            w = product(precondition(basis[j]))
            size = (w @ w).sqrt()
            # Twice is enough for orthogonality to rounding.
            part = basis @ w
            w = w - part @ basis
            more = basis @ w
            w = w - more @ basis
            rest = (w @ w).sqrt()
            rest = rest * (rest > size * _small(b))
            place = _unit(count + 1, j + 1, b)
            column = part + more + rest * place
            return basis + place[:, None] * _ratio(w, rest), hessenberg + column[:, None] * _unit(count, j, b)

        first = _unit(count + 1, 0, b)[:, None] * _ratio(r, length)
        basis, hessenberg = fori_loop(0, count, extend, (rows + first, heights))
        weights = pinv(hessenberg)[:, 0] * length
        x = x + precondition(weights @ basis[:count])
        return k + 1, x, b - product(x)

    found: Tensor = while_loop(going, cycle, (0, x, b - product(x)))[1]
    return found


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """numerator / denominator, 0 where the denominator is 0: the method has broken down, or found the solution."""
    from adjit.elementwise import where

    zero = denominator == 0
    found: Tensor = where(zero, numerator * 0, numerator / where(zero, denominator + 1, denominator))
    return found


def _small(like: Tensor) -> float:
    from adjit.numeric_limits import finfo

    return float(finfo(like.dtype).eps)


def _unit(count: Any, place: Any, like: Tensor) -> Tensor:
    """1 at `place`, 0 elsewhere."""
    from adjit.ranges import arange

    found: Tensor = (arange(count) == place).to(like.dtype)
    return found
