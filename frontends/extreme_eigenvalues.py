"""The greatest or least eigenvalues of large symmetric matrices: `lobpcg`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adjit.autograd.modes import no_grad
from adjit.dims import shape_of
from adjit.errors import explained
from adjit.ir.types import F32, F64
from adjit.joining import cat, stack
from adjit.products import matmul
from adjit.tensor import Tensor


def lobpcg(
    A: Tensor, k: int | None = None, B: Tensor | None = None, X: Tensor | None = None, n: int | None = None,
    iK: Tensor | None = None, niter: int | None = None, tol: float | None = None, largest: bool | None = None,
    method: str | None = None, tracker: Any = None, ortho_iparams: Any = None, ortho_fparams: Any = None,
    ortho_bparams: Any = None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The k greatest (or least) eigenvalues of A, or of A x = E B x, and their vectors, found by iteration.

    The eigenvalues have gradients; the vectors have none.  Shapes: A [*, m, m], m >= 3 n -> [*, k], [*, m, k].
    Source: Knyazev, "Toward the optimal preconditioned eigensolver", 2001.
    """
    if A._dtype not in (F32, F64):
        raise ValueError(f"expected dtype {{torch.float32, torch.float64}}, got {A.dtype}")
    *lead, m, columns = shape_of(A)
    if m != columns:
        raise RuntimeError("A must be batches of square matrices")
    given = None if X is None else shape_of(X)[-1]
    k = k or given or 1
    n = n or given or k
    if m < 3 * n:
        raise explained(
            ValueError,
            f"LPBPCG algorithm is not applicable when the number of A rows (={m}) is smaller than 3 x the number of "
            f"requested eigenpairs (={n})",
            "lobpcg", {"A": A},
            hint="torch.linalg.eigh finds all of them",
        )  # fmt: skip
    if method not in (None, "basic", "ortho"):
        raise ValueError(f"method={method!r} is not implemented")
    precision = 1.2e-07 if A._dtype is F32 else 2.23e-16
    bound = precision**0.5 if tol is None else tol
    steps = 1000 if niter is None else niter
    with no_grad():
        flat = [_flat(x, m) for x in (A, B, X, iK)]
        count = shape_of(flat[0])[0]
        found = []
        for index in range(count):
            a, b, x, inverse = (None if t is None else t[index % shape_of(t)[0]] for t in flat)
            x = _start(m, n, a) if x is None else x
            found.append(_iterated(a, b, x, inverse, steps, bound, largest is not False)[:, :k])
        vectors = stack(found).reshape(*lead, m, k)
    return _quotients(A, B, vectors), vectors


def _flat(x: Tensor | None, m: Any) -> Any:
    return None if x is None else x.detach().reshape(-1, m, shape_of(x)[-1])


def _start(m: int, n: int, a: Any) -> Tensor:
    from adjit.random import randn

    return randn(m, n, dtype=a.dtype)


def _quotients(A: Tensor, B: Tensor | None, vectors: Tensor) -> Tensor:
    """x^T A x / x^T B x: the eigenvalues, and as functions of A and B flat in x, so that x needs no gradient."""
    sizes = vectors * (vectors if B is None else matmul(B, vectors))
    return (vectors * matmul(A, vectors)).sum(-2) / sizes.sum(-2)  # type: ignore[no-any-return]


def _iterated(a: Any, b: Any, x: Tensor, inverse: Any, steps: int, bound: float, largest: bool) -> Tensor:
    """The vectors after the first step whose residuals are small, in the order of their values."""
    n = shape_of(x)[-1]
    weighed: Callable[[Tensor], Tensor] = (lambda v: v) if b is None else (lambda v: matmul(b, v))
    x, values, _ = _best(a, weighed, x, n, largest)
    size = a.norm() * x.norm()
    moved: Tensor | None = None
    for _ in range(steps):
        residual = matmul(a, x) - weighed(x) * values
        if bool((residual.norm(dim=0) <= bound * size).all()):
            break
        step = residual if inverse is None else matmul(inverse, residual)
        space = cat([x, step] if moved is None else [x, step, moved], -1)
        x, values, moved = _best(a, weighed, space, n, largest)
    return x


def _best(
    a: Any, weighed: Callable[[Tensor], Tensor], space: Tensor, n: int, largest: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The n extreme Ritz vectors in a space, their values, and what of them is not along its first n columns."""
    from adjit.linalg import eigh

    space = space / space.norm(dim=0).clamp_min(1e-300)
    squares, turn = eigh(matmul(space.mT, weighed(space)))
    kept = squares > squares[-1] * 1e-12
    basis = turn[:, kept] / squares[kept].sqrt()
    whole = matmul(space, basis)
    values, inner = eigh(matmul(whole.mT, matmul(a, whole)))
    chosen = inner.flip(-1)[:, :n] if largest else inner[:, :n]
    shares = matmul(basis, chosen)
    return matmul(space, shares), (values.flip(-1) if largest else values)[:n], matmul(space[:, n:], shares[n:])


METHODS: dict[str, Callable[..., Any]] = {}
__all__ = ["lobpcg"]
