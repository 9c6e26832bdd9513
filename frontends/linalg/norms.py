"""Norms of vectors and matrices, condition numbers, ranks."""

from __future__ import annotations

from typing import Any

from adjit.composite import composite
from adjit.dims import numpy_names, shape_of, wrap_dim
from adjit.dtypes import title_of, to_ir
from adjit.elementwise import abs as absolute
from adjit.elementwise import where
from adjit.ir.types import BF16, F16
from adjit.linalg.checks import require_continuous, require_matrices, require_square
from adjit.linalg.factors import eigvalsh, svdvals
from adjit.linalg.systems import inv_ex
from adjit.promotion import cast_to
from adjit.reductions import norm as _norm
from adjit.reductions import reduced
from adjit.shaping import movedim, unsqueeze
from adjit.tensor import Tensor


@numpy_names
def vector_norm(x: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """(sum(|x| ** ord)) ** (1 / ord) over axes, or all elements."""
    if dim is not None and not isinstance(dim, int) and len(dim) == 0:
        dim = None
    if ord is None:
        raise TypeError("linalg_vector_norm(): argument 'ord' (position 2) must be Number, not NoneType")
    if dtype is not None and to_ir(dtype).is_complex is not x._dtype.is_complex:
        kind = "complex" if x._dtype.is_complex else "real"
        raise RuntimeError(
            f"linalg.vector_norm: dtype should be {kind} for {kind} inputs, but got {title_of(to_ir(dtype))}"
        )
    return _norm(x, float(ord), dim, keepdim, dtype)


def require_elements(x: Tensor, ord: float, dim: Any) -> None:
    """RuntimeError for an extreme of nothing."""
    shape = tuple(shape_of(x))
    listed = [] if dim is None else [dim] if isinstance(dim, int) else list(dim)
    axes = [wrap_dim(axis, len(shape)) for axis in listed] if dim is not None else range(len(shape))
    empty = next((axis for axis in axes if shape and shape[axis] == 0), None)
    if empty is not None:
        place = "an empty tensor because"
        if dim is not None:
            place = f"the dimension {empty}because this dimension is empty and"
        raise RuntimeError(
            f"linalg.vector_norm cannot compute the {ord:g} norm on {place} the operation does not have an identity"
        )


@composite("LinalgMatrixNorm")
def _sums(a: Tensor, greatest: bool) -> Tensor:
    """The greatest or least sum of a column of |a|."""
    totals = reduced("reduce_sum", absolute(a), -2, False, "")
    return reduced("reduce_max" if greatest else "reduce_min", totals, -1, False, "")


def _require_norm(A: Tensor, name: str = "linalg.matrix_norm") -> None:
    require_matrices(name, A)
    if not A._dtype.is_continuous:
        raise RuntimeError(f"{name}: Expected a floating point or complex tensor as input. Got {title_of(A._dtype)}")
    if A._dtype in (F16, BF16):
        raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {title_of(A._dtype)}")


@numpy_names
def matrix_norm(
    A: Tensor, ord: Any = "fro", dim: Any = (-2, -1), keepdim: bool = False, *, dtype: Any = None
) -> Tensor:
    """The norm of matrices: "fro"; "nuc", the sum of singular values; 2 and -2, the greatest and the least; 1 and -1,
    inf and -inf, the greatest and least sum of a column, of a row."""
    rank = len(shape_of(A))
    require_matrices("linalg.matrix_norm", A)
    if not A._dtype.is_continuous:
        require_continuous("linalg.matrix_norm", A)
    if not isinstance(dim, (tuple, list)) or len(dim) != 2:
        given = list(dim) if isinstance(dim, (tuple, list)) else [dim]
        raise RuntimeError(f"linalg.matrix_norm: dim must be a 2-tuple. Got {' '.join(map(str, given))}")
    rows, columns = (wrap_dim(d, rank) for d in dim)
    if rows == columns:
        raise RuntimeError(f"linalg.matrix_norm: dims must be different. Got ({dim[0]}, {dim[1]})")
    if isinstance(ord, str):
        if ord not in ("fro", "nuc"):
            raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    elif abs(ord) not in (1, 2, float("inf")):
        raise RuntimeError(f"linalg.matrix_norm: Order {ord} not supported.")
    if ord == "fro":
        return vector_norm(A, 2, (rows, columns), keepdim, dtype=dtype)
    if dtype is not None:
        A = cast_to(A, to_ir(dtype))
    _require_norm(A)
    matrices = movedim(A, (rows, columns), (-2, -1))
    if ord == "nuc" or abs(ord) == 2:
        values = svdvals(matrices)
        found = values.sum(-1) if ord == "nuc" else values.amax(-1) if ord > 0 else values.amin(-1)
    else:
        found = _sums(matrices if abs(ord) == 1 else matrices.mT, ord > 0)
    if keepdim:
        for axis in sorted((rows, columns)):
            found = unsqueeze(found, axis)
    return found  # type: ignore[no-any-return]


@numpy_names
def norm(A: Tensor, ord: Any = None, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor:
    """A vector norm of all elements or one axis; a matrix norm over two axes when `ord` is given."""
    if ord is None:
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    rank = len(shape_of(A))
    if dim is None and rank not in (1, 2) and not isinstance(ord, str):
        raise RuntimeError(f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {rank}D.")
    if isinstance(ord, str):
        if dim is not None and (isinstance(dim, int) or len(dim) != 2):
            given = [dim] if isinstance(dim, int) else list(dim)
            raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {given}")
        if dim is None and rank != 2:
            raise RuntimeError(
                f"linalg.norm: If dim is not specified but ord is, the input must be 1D or 2D. Got {rank}D."
            )
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    if isinstance(dim, (tuple, list)) and len(dim) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got {list(dim)}")
    if (isinstance(dim, (tuple, list)) and len(dim) == 2) or (dim is None and rank == 2):
        return matrix_norm(A, ord, (-2, -1) if dim is None else dim, keepdim, dtype=dtype)
    return vector_norm(A, ord, dim, keepdim, dtype=dtype)


def cond(A: Tensor, p: Any = None) -> Tensor:
    """norm(A, p) * norm(A^-1, p); for 2 and -2, the ratio of the extreme singular values.  Infinity where singular."""
    if len(shape_of(A)) < 2:
        raise RuntimeError("linalg.cond: The input tensor must have at least 2 dimensions.")
    if p is None or (not isinstance(p, str) and abs(p) == 2):
        values = svdvals(A)
        greatest, least = values[..., 0], values[..., -1]
        return least / greatest if p == -2 else greatest / least
    if p not in ("fro", "nuc", 1, -1, float("inf"), float("-inf")):
        raise RuntimeError(f"linalg.cond got an invalid norm type: {p if isinstance(p, str) else float(p)}")
    m, n = shape_of(A)[-2:]
    if m != n:
        raise RuntimeError(
            f"linalg.cond(ord={p}): A must be batches of square matrices, but they are {m} by {n} matrices"
        )
    inverse, info = inv_ex(A)
    found = matrix_norm(A, p) * matrix_norm(inverse, p)
    return where(info == 0, found, float("inf"))  # type: ignore[no-any-return]


def matrix_rank(
    A: Tensor, tol: Any = None, hermitian: bool = False, *, atol: Any = None, rtol: Any = None
) -> Tensor:
    """How many singular values are greater than max(atol, rtol * the greatest)."""
    require_matrices("torch.linalg.matrix_rank", A, "input")
    if not A._dtype.is_continuous or A._dtype in (F16, BF16):
        raise RuntimeError("This function doesn't handle types other than float and double")
    m, n = shape_of(A)[-2:]
    if hermitian:
        require_square("linalg.eigh", A)
    if m == 0 or n == 0:
        from adjit.creation import constant
        from adjit.ir.types import I64

        return constant(tuple(shape_of(A))[:-2], 0, I64)
    sizes = absolute(eigvalsh(A)) if hermitian else svdvals(A)
    if tol is not None:
        atol, rtol = tol, 0.0
    bound = tolerance(A, sizes.amax(-1, keepdim=True), atol, rtol)
    return (sizes > bound).sum(-1)  # type: ignore[no-any-return]


def tolerance(A: Tensor, greatest: Tensor, atol: Any, rtol: Any) -> Tensor:
    """max(atol, rtol * greatest); without both, rtol is eps times the longer side."""
    from adjit.elementwise import maximum
    from adjit.numeric_limits import finfo

    m, n = shape_of(A)[-2:]
    if rtol is None:
        given = finfo(A.dtype).eps * max(m, n)
        if atol is None:
            rtol = given
        elif isinstance(atol, Tensor):
            rtol = where(unsqueeze(atol, -1) > 0, 0.0, given)
        else:
            rtol = 0.0 if atol > 0 else given
    elif isinstance(rtol, Tensor):
        rtol = unsqueeze(rtol, -1)
    relative = greatest * rtol
    if atol is None:
        return relative  # type: ignore[no-any-return]
    if isinstance(atol, Tensor):
        return maximum(relative, cast_to(unsqueeze(atol, -1), greatest._dtype))
    return relative.clamp_min(atol)  # type: ignore[no-any-return]
