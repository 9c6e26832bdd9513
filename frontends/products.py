"""Products of matrices and vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.composite import composite
from adjit.dims import numel_of, numpy_names, shape_of, wrap_dim
from adjit.dispatch import apply, rename
from adjit.dtypes import c_name, title_of
from adjit.elementwise import add, mul, sub
from adjit.errors import explained
from adjit.former import numbers_first
from adjit.ir.errors import DTypeError
from adjit.ir.primitive import PRIMITIVES
from adjit.ir.types import BOOL
from adjit.promotion import broadcast_shapes, cast_to, is_one, promote, result_dtype
from adjit.python_data import check_wide_numbers
from adjit.tensor import Tensor

# Points of so many coordinates are read a coordinate of several points at a time; in rows, if they have more.
_NARROW = 32
# What PyTorch says of two dtypes, by function: their names, also as C++ has them.
_UNLIKE = {
    "matmul": "expected m1 and m2 to have the same dtype, but got: {2} != {3}",
    "bmm": "expected scalar type {0} but found {1}",
    "mv": "addmv input tensors must have the same dtype, but got {1}, {0}, and {1}",
    "addmm": "mat1 and mat2 must have the same dtype, but got {0} and {1}",
    "linear": "self and mat2 must have the same dtype, but got {0} and {1}",
    "tensordot": "both inputs should have same dtype",
}


def _same_dtype(a: Tensor, b: Tensor, op: str = "matmul") -> None:
    if a._dtype is not b._dtype:
        names = (name(x._dtype) for name in (title_of, c_name) for x in (a, b))
        raise explained(
            RuntimeError,
            _UNLIKE[op].format(*names),
            op,
            {"mat1": a, "mat2": b},
            "convert one of them: " + ("{mat2}.to({mat1}.dtype)" if a._dtype.is_float else "{mat1}.float()"),
        )


def _dot(a: Tensor, b: Tensor, contract: tuple[Sequence[int], Sequence[int]], batch: int, name: str) -> Tensor:
    leading = tuple(range(batch))
    attributes: dict[str, Any] = {
        "contract": (tuple(contract[0]), tuple(contract[1])),
        "batch": (leading, leading),
    }
    try:
        result = apply(PRIMITIVES["dot"], (a, b), attributes, name=name)
    except DTypeError:
        kernel = {"Mm": "addmm_impl_cpu_", "Mv": "addmv_impl_cpu", "Dot": "dot", "Bmm": "bmm"}.get(name, "matmul")
        raise NotImplementedError(f"\"{kernel}\" not implemented for '{title_of(a._dtype)}'") from None
    assert isinstance(result, Tensor)
    return result


def _unfit(a: Tensor, b: Tensor, m: Any, k: Any, rows: Any, n: Any, op: str) -> RuntimeError:
    hint = f"the last size of {{mat1}} ({k}) must equal the first of {{mat2}} ({rows})"
    if k == n:
        hint = "transpose one of them: {mat1} @ {mat2}.T"
    elif m == rows:
        hint = "transpose one of them: {mat1}.T @ {mat2}"
    elif op == "addmm":
        hint += f"; a layer for such inputs is nn.Linear({k}, {n})"
    first = f"mat1 and mat2 shapes cannot be multiplied ({m}x{k} and {rows}x{n})"
    return explained(RuntimeError, first, op, {"mat1": a, "mat2": b}, hint)


def mm(input: Tensor, mat2: Tensor) -> Tensor:
    """The product of two matrices.

    Shapes: [m, k], [k, n] -> [m, n].
    """
    a, b = shape_of(input), shape_of(mat2)
    if len(a) != 2:
        raise explained(RuntimeError, "self must be a matrix", "mm", {"self": input, "mat2": mat2})
    if len(b) != 2:
        raise explained(RuntimeError, "mat2 must be a matrix", "mm", {"self": input, "mat2": mat2})
    _same_dtype(input, mat2)
    if a[1] != b[0]:
        raise _unfit(input, mat2, *a, *b, "mm")
    return _dot(input, mat2, ((1,), (0,)), 0, "Mm")


def bmm(input: Tensor, mat2: Tensor) -> Tensor:
    """The products of pairs of matrices.

    Shapes: [b, m, k], [b, k, n] -> [b, m, n].
    """
    a, b = shape_of(input), shape_of(mat2)
    if len(a) != 3:
        raise explained(RuntimeError, "batch1 must be a 3D tensor", "bmm", {"batch1": input, "batch2": mat2})
    if len(b) != 3:
        raise explained(RuntimeError, "batch2 must be a 3D tensor", "bmm", {"batch1": input, "batch2": mat2})
    _same_dtype(input, mat2, "bmm")
    if a[0] != b[0] or a[2] != b[1]:
        raise explained(
            RuntimeError,
            f"Expected size for first two dimensions of batch2 tensor to be: [{a[0]}, {a[2]}] but got: "
            f"[{b[0]}, {b[1]}].",
            "bmm",
            {"batch1": input, "batch2": mat2},
        )
    return _dot(input, mat2, ((2,), (1,)), 1, "Bmm")


def mv(input: Tensor, vec: Tensor) -> Tensor:
    """The product of a matrix and a vector."""
    a, b = shape_of(input), shape_of(vec)
    if len(a) != 2 or len(b) != 1:
        raise RuntimeError(f"vector + matrix @ vector expected, got 1, {len(a)}, {len(b)}")
    _same_dtype(input, vec, "mv")
    if a[1] != b[0]:
        raise explained(
            RuntimeError,
            f"size mismatch, got input ({a[0]}), mat ({a[0]}x{a[1]}), vec ({b[0]})",
            "mv",
            {"input": input, "vec": vec},
        )
    return _dot(input, vec, ((1,), (0,)), 0, "Mv")


def dot(input: Tensor, tensor: Tensor) -> Tensor:
    """The sum of products of two vectors."""
    a, b = shape_of(input), shape_of(tensor)
    if len(a) != 1 or len(b) != 1:
        raise explained(
            RuntimeError,
            f"1D tensors expected, but got {len(a)}D and {len(b)}D tensors",
            "dot",
            {"self": input, "tensor": tensor},
            "use mm or matmul for matrices",
        )
    if input._dtype is not tensor._dtype:
        raise RuntimeError(
            f"dot : expected both vectors to have same dtype, but found {title_of(input._dtype)} and "
            f"{title_of(tensor._dtype)}"
        )
    if a[0] != b[0]:
        raise explained(
            RuntimeError,
            f"inconsistent tensor size, expected tensor [{a[0]}] and src [{b[0]}] to have the same number of elements, "
            f"but got {a[0]} and {b[0]} elements respectively",
            "dot",
            {"self": input, "tensor": tensor},
        )
    return _dot(input, tensor, ((0,), (0,)), 0, "Dot")


def outer(input: Tensor, vec2: Tensor) -> Tensor:
    """out[i, j] = input[i] * vec2[j]."""
    from adjit.shaping import unsqueeze

    if len(shape_of(input)) != 1 or len(shape_of(vec2)) != 1:
        raise RuntimeError(f"outer: Expected 1-D argument self, but got {len(shape_of(input))}-D")
    return mul(unsqueeze(input, 1), unsqueeze(vec2, 0))


def matmul(input: Tensor, other: Tensor) -> Tensor:
    """The matrix product, with vectors as rows and columns, and leading axes broadcast."""
    a, b = shape_of(input), shape_of(other)
    if not a or not b:
        raise explained(
            RuntimeError,
            f"both arguments to matmul need to be at least 1D, but they are {len(a)}D and {len(b)}D",
            "matmul",
            {"input": input, "other": other},
        )
    if len(a) == 1 and len(b) == 1:
        return dot(input, other)
    if len(a) == 2 and len(b) == 1:
        return mv(input, other)
    if len(a) == 2 and len(b) == 2:
        return mm(input, other)
    _same_dtype(input, other, "bmm" if max(len(a), len(b)) > 2 else "matmul")
    _check_inner(input, other)
    if len(b) <= 2:  # one matrix or vector on the right: the left one's rows in a row
        return _dot(input, other, ((len(a) - 1,), (0,)), 0, "UnsafeView")
    if len(a) == 1:
        from adjit.shaping import unsqueeze

        return rename(_batched(unsqueeze(input, 0), other).squeeze(-2), "Squeeze")
    return _batched(input, other)


def _check_inner(input: Tensor, other: Tensor) -> None:
    """RuntimeError where the axes that are summed differ."""
    a, b = shape_of(input), shape_of(other)
    if a[-1] == b[-2 if len(b) > 1 else 0]:
        return
    if len(b) == 1:
        count = numel_of(a[:-1])
        first = f"size mismatch, got input ({count}), mat ({count}x{a[-1]}), vec ({b[0]})"
        raise explained(RuntimeError, first, "matmul", {"input": input, "other": other})
    if len(a) > 2 and len(b) > 2:
        count = numel_of(broadcast_shapes(a[:-2], b[:-2]))
        raise explained(
            RuntimeError,
            f"Expected size for first two dimensions of batch2 tensor to be: [{count}, {a[-1]}] but got: "
            f"[{count}, {b[-2]}].",
            "matmul",
            {"input": input, "other": other},
        )
    raise _unfit(input, other, numel_of(a[:-1]), a[-1], b[-2], b[-1], "matmul")


def _batched(input: Tensor, other: Tensor) -> Tensor:
    a, b = tuple(shape_of(input)), tuple(shape_of(other))
    lead = broadcast_shapes(a[:-2], b[:-2])
    left = _led(input, (*lead, *a[-2:]))
    right = _led(other, (*lead, *b[-2:]))
    count = len(lead)
    return _dot(left, right, ((count + 1,), (count,)), count, "UnsafeView")


def _led(tensor: Tensor, shape: Sequence[Any]) -> Tensor:
    if tuple(shape_of(tensor)) == tuple(shape):
        return tensor
    result = apply(PRIMITIVES["expand"], (tensor,), {"shape": tuple(shape)})
    assert isinstance(result, Tensor)
    return result


@composite("Addmm")
def _addmm(input: Tensor, mat1: Tensor, mat2: Tensor, beta: Any, alpha: Any) -> Tensor:
    return _scaled_sum(input, mm(mat1, mat2), beta, alpha)


def _scaled_sum(input: Tensor, product: Tensor, beta: Any, alpha: Any) -> Tensor:
    if not product._dtype.is_continuous:
        kind = bool if product._dtype is BOOL else int
        beta, alpha = kind(beta), kind(alpha)
    product = product if is_one(alpha) else mul(product, alpha)
    if beta == 0:
        return product
    return add(input if is_one(beta) else mul(input, beta), product)


def _fits(input: Tensor, shape: tuple[Any, ...]) -> Tensor:
    """The tensor, if it expands to `shape`; else the error that `expand` has."""
    from adjit.shaping import expand

    expand(input.detach(), *shape)
    return input


@numbers_first
def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat1 @ mat2."""
    a, b = shape_of(mat1), shape_of(mat2)
    if len(a) != 2 or len(b) != 2:
        which, rank = ("mat1", len(a)) if len(a) != 2 else ("mat2", len(b))
        raise RuntimeError(f"{which} must be a matrix, got {rank}-D tensor")
    _same_dtype(mat1, mat2, "addmm")
    _same_dtype(input, mat2, "linear")
    if a[1] != b[0]:
        raise _unfit(mat1, mat2, *a, *b, "addmm")
    check_wide_numbers(input._dtype, beta, alpha)
    return _addmm(_fits(input, (a[0], b[1])), mat1, mat2, beta, alpha)  # type: ignore[no-any-return]


@composite("Addmv")
def _addmv(input: Tensor, mat: Tensor, vec: Tensor, beta: Any, alpha: Any) -> Tensor:
    return _scaled_sum(input, mv(mat, vec), beta, alpha)


@numbers_first
def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat @ vec."""
    check_wide_numbers(input._dtype, beta, alpha)
    return _addmv(input, mat, vec, beta, alpha)  # type: ignore[no-any-return]


@composite("Baddbmm")
def _baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, beta: Any, alpha: Any) -> Tensor:
    return _scaled_sum(input, bmm(batch1, batch2), beta, alpha)


@numbers_first
def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * batch1 @ batch2, pair by pair."""
    check_wide_numbers(input._dtype, beta, alpha)
    return _baddbmm(input, batch1, batch2, beta, alpha)  # type: ignore[no-any-return]


def einsum(equation: Any, *operands: Any) -> Tensor:
    """Sums of products in Einstein's notation, as in einsum("bij,bjk->bik", a, b).

    Or by numbers from 0 to 51 for the axes, as in einsum(a, [0, 1, 2], b, [0, 2, 3], [0, 1, 3]).
    """
    from adjit.contraction_notation import contract, equation_of_lists

    if not isinstance(equation, str):
        equation, operands = equation_of_lists((equation, *operands))
    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    return contract(equation, list(tensors))


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over the last `dims` axes of `a` and the first of `b`, or over listed axes."""
    ranks = len(shape_of(a)), len(shape_of(b))
    if isinstance(dims, Tensor):
        if numel_of(shape_of(dims)) > 1 and shape_of(dims)[0] != 2:
            raise AssertionError(f"dims tensor must have size 2 in first dimension, got {shape_of(dims)[0]}")
        dims = dims.tolist() if numel_of(shape_of(dims)) > 1 else int(dims.item())
    if isinstance(dims, int):
        if dims < 0:
            raise RuntimeError(f"tensordot expects dims >= 0, but got dims={dims}")
        if dims > min(ranks):
            raise RuntimeError(f"tensordot expects dims < ndim_a or ndim_b, but got dims={dims}")
        left, right = tuple(range(-dims, 0)), tuple(range(dims))
    else:
        for name, place, listed in (("dims_self", 3, dims[0]), ("dims_other", 4, dims[1])):
            if isinstance(listed, int):
                raise TypeError(f"tensordot(): argument '{name}' (position {place}) must be tuple of ints, not int")
        left, right = tuple(dims[0]), tuple(dims[1])
    if len(left) != len(right):
        raise RuntimeError("both dimension lists should have same length")
    _same_dtype(a, b, "tensordot")
    pairs = tuple(wrap_dim(d, ranks[0]) for d in left), tuple(wrap_dim(d, ranks[1]) for d in right)
    sizes = [(shape_of(a)[i], shape_of(b)[j]) for i, j in zip(*pairs, strict=True)]
    for (m, n), i, j in zip(sizes, left, right, strict=True):
        if m != n and 1 not in (m, n):
            raise RuntimeError(
                f"contracted dimensions need to match, but first has size {m} in dim {i} and second has size {n} in "
                f"dim {j}"
            )
    # An axis of size 1 meets one of any size: it is summed first, or its partner is.
    single = [place for place, (m, n) in enumerate(sizes) if m != n and 1 in (m, n)]
    for place in single:
        other, axis = (b, pairs[1][place]) if sizes[place][0] == 1 else (a, pairs[0][place])
        total = other.sum(axis, keepdim=True)
        a, b = (a, total) if other is b else (total, b)
    return _dot(a, b, pairs, 0, "View")


# -- built from the above -------------------------------------------------------------------------------------------
@composite("Addbmm")
def _addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, beta: Any, alpha: Any) -> Tensor:
    return _scaled_sum(input, _dot(batch1, batch2, ((0, 2), (0, 1)), 0, ""), beta, alpha)


@numbers_first
def addbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * the sum of batch1 @ batch2 over pairs."""
    check_wide_numbers(input._dtype, beta, alpha)
    return _addbmm(input, batch1, batch2, beta, alpha)  # type: ignore[no-any-return]


@composite("Addr")
def _addr(input: Tensor, vec1: Tensor, vec2: Tensor, beta: Any, alpha: Any) -> Tensor:
    return _scaled_sum(input, outer(vec1, vec2), beta, alpha)


@numbers_first
def addr(input: Tensor, vec1: Tensor, vec2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * outer(vec1, vec2)."""
    kind = result_dtype((input, vec1, vec2))
    for name, factor in (("beta", beta), ("alpha", alpha)):
        if isinstance(factor, bool) and kind is not BOOL:
            raise RuntimeError(f"Boolean {name} only supported for Boolean results.")
        if isinstance(factor, (float, complex)) and not kind.is_continuous:
            raise RuntimeError(f"For integral input tensors, argument {name} must not be a floating point number.")
    check_wide_numbers(kind, beta, alpha)
    found: Tensor = _addr(cast_to(input, kind), cast_to(vec1, kind), cast_to(vec2, kind), beta, alpha)
    return found


def inner(input: Tensor, other: Tensor) -> Tensor:
    """Sums of products over the last axes."""
    a, b = shape_of(input), shape_of(other)
    if not a or not b:
        return mul(input, other)
    if a[-1] != b[-1]:
        raise explained(
            RuntimeError,
            f"inner() the last dimension must match on both input tensors but got shapes {list(a)} and {list(b)}",
            "inner",
            {"input": input, "other": other},
        )
    return _dot(input, other, ((len(a) - 1,), (len(b) - 1,)), 0, "View")


def kron(input: Tensor, other: Tensor) -> Tensor:
    """Every element of `input` times all of `other`, as blocks."""
    from adjit.shaping import reshape

    rank = max(len(shape_of(input)), len(shape_of(other)))
    a = (1,) * (rank - len(shape_of(input))) + tuple(shape_of(input))
    b = (1,) * (rank - len(shape_of(other))) + tuple(shape_of(other))
    left = reshape(input, *[part for size in a for part in (size, 1)])
    right = reshape(other, *[part for size in b for part in (1, size)])
    return reshape(mul(left, right), *[m * n for m, n in zip(a, b, strict=True)])


def chain_matmul(*matrices: Tensor) -> Tensor:
    """The product of matrices, in the order of the least work."""
    from adjit.linalg.functions import multi_dot

    if not matrices:
        raise RuntimeError("chain_matmul(): Expected one or more matrices")
    for matrix in matrices:
        if len(shape_of(matrix)) != 2:
            raise RuntimeError(f"Tensor dimension is {len(shape_of(matrix))}, expected 2 instead.")
    return multi_dot(matrices) if len(matrices) > 1 else matrices[0]


@composite("LinalgCross")
def _cross(input: Tensor, other: Tensor, dim: int) -> Tensor:
    from adjit.joining import cat
    from adjit.shaping import narrow

    a, b = ([narrow(x, dim, place, 1) for place in range(3)] for x in (input, other))
    turns = ((1, 2), (2, 0), (0, 1))
    return cat([sub(mul(a[i], b[j]), mul(a[j], b[i])) for i, j in turns], dim)


@numpy_names
def cross(input: Tensor, other: Tensor, dim: int | None = None) -> Tensor:
    """The vector product along an axis of size 3 (the first such, or `dim`)."""
    a, b = tuple(shape_of(input)), tuple(shape_of(other))
    if dim is None:
        dim = next((i for i, n in enumerate(a) if n == 3), None)
        if dim is None:
            raise RuntimeError("no dimension of size 3 in input")
    if len(a) != len(b):
        raise RuntimeError("linalg.cross: inputs must have the same number of dimensions.")
    axis = wrap_dim(dim, len(a))
    if a[axis] != 3 or b[axis] != 3:
        raise RuntimeError(f"linalg.cross: inputs dimension {dim} must have length 3. Got {a[axis]} and {b[axis]}")
    left, right = promote(input, other, op="cross")
    return _cross(left, right, axis)  # type: ignore[no-any-return]


def cdist(
    x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str = "use_mm_for_euclid_dist_if_necessary"
) -> Tensor:
    """The p-norms of the differences between all rows of x1 and x2, by differences in every mode.

    Shapes: [*, m, k], [*, n, k] -> [*, m, n].
    """
    from adjit.reductions import norm
    from adjit.shaping import transpose, unsqueeze

    for tensor, name in ((x1, "X1"), (x2, "X2")):
        if not tensor._dtype.is_float:
            raise RuntimeError(f"cdist only supports floating-point dtypes, {name} got: {title_of(tensor._dtype)}")
    _same_dtype(x1, x2, "bmm")
    a, b = shape_of(x1), shape_of(x2)
    for shape, name in ((a, "X1"), (b, "X2")):
        if len(shape) < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, {name} got: {len(shape)}D")
    if a[-1] != b[-1]:
        raise RuntimeError(f"X1 and X2 must have the same number of columns. X1: {a[-1]} X2: {b[-1]}")
    if p < 0:
        raise RuntimeError("cdist only supports non-negative p values")
    if compute_mode not in (
        "use_mm_for_euclid_dist_if_necessary", "use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist"
    ):  # fmt: skip
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode")
    width = a[-1]
    if isinstance(width, int) and width <= _NARROW:
        return rename(norm(sub(unsqueeze(x1, -1), unsqueeze(transpose(x2, -2, -1), -3)), p, -2), "Cdist")
    return rename(norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), p, -1), "Cdist")


def vdot(input: Tensor, other: Tensor) -> Tensor:
    """The sum of conj(input) * other, of two vectors."""
    return dot(input.conj() if input._dtype.is_complex else input, other)


ger, spmm = outer, mm
_METHODS = (
    "addbmm", "addmm", "addmv", "addr", "baddbmm", "bmm", "cross", "dot", "ger", "inner", "kron", "matmul",
    "mm", "mv", "outer", "vdot",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {name: globals()[name] for name in _METHODS}
__all__ = [*_METHODS, "cdist", "chain_matmul", "einsum", "spmm", "tensordot"]
