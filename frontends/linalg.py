"""Products of matrices and vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit.composite import composite
from adjit.dims import shape_of
from adjit.dispatch import apply, rename
from adjit.elementwise import add, mul
from adjit.errors import explained
from adjit.ir.primitive import PRIMITIVES
from adjit.promotion import broadcast_shapes
from adjit.tensor import Tensor

_C = {"bool": "bool", "u8": "unsigned char", "i8": "signed char", "i16": "short", "i32": "int", "i64": "long",
      "f16": "c10::Half", "bf16": "c10::BFloat16", "f32": "float", "f64": "double"}  # fmt: skip


def _same_dtype(a: Tensor, b: Tensor) -> None:
    if a._dtype is not b._dtype:
        raise explained(
            RuntimeError,
            f"expected m1 and m2 to have the same dtype, but got: {_C[a._dtype.name]} != {_C[b._dtype.name]}",
            "matmul",
            {"mat1": a, "mat2": b},
            "convert one of them, as in mat2.to(mat1.dtype)",
        )


def _dot(a: Tensor, b: Tensor, contract: tuple[Sequence[int], Sequence[int]], batch: int, name: str) -> Tensor:
    leading = tuple(range(batch))
    attributes: dict[str, Any] = {
        "contract": (tuple(contract[0]), tuple(contract[1])),
        "batch": (leading, leading),
    }
    result = apply(PRIMITIVES["dot"], (a, b), attributes, name=name)
    assert isinstance(result, Tensor)
    return result


def _unfit(a: Tensor, b: Tensor, m: Any, k: Any, inner: Any, n: Any, op: str) -> RuntimeError:
    return explained(
        RuntimeError,
        f"mat1 and mat2 shapes cannot be multiplied ({m}x{k} and {inner}x{n})",
        op,
        {"mat1": a, "mat2": b},
        "transpose one of them, as in mat2.t()" if k == n else "",
    )


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
    _same_dtype(input, mat2)
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
    _same_dtype(input, vec)
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
            f"dot : expected both vectors to have same dtype, but found {_title(input)} and {_title(tensor)}"
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


def _title(tensor: Tensor) -> str:
    return {"f32": "Float", "f64": "Double", "i64": "Long", "i32": "Int"}.get(
        tensor._dtype.name, tensor._dtype.long_name
    )


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
    _same_dtype(input, other)
    inner = b[-2] if len(b) > 1 else b[0]
    if a[-1] != inner:
        rows = a[-2] if len(a) > 1 else 1
        raise _unfit(input, other, rows, a[-1], inner, b[-1] if len(b) > 1 else 1, "matmul")
    if len(b) <= 2:  # one matrix or vector on the right: the left one's rows in a row
        return _dot(input, other, ((len(a) - 1,), (0,)), 0, "UnsafeView")
    if len(a) == 1:
        from adjit.shaping import unsqueeze

        return rename(_batched(unsqueeze(input, 0), other).squeeze(-2), "Squeeze")
    return _batched(input, other)


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
    product = product if alpha == 1 else mul(product, alpha)
    if beta == 0:
        return product
    return add(input if beta == 1 else mul(input, beta), product)


def addmm(input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat1 @ mat2."""
    a, b = shape_of(mat1), shape_of(mat2)
    if len(a) != 2 or len(b) != 2:
        which, rank = ("mat1", len(a)) if len(a) != 2 else ("mat2", len(b))
        raise RuntimeError(f"{which} must be a matrix, got {rank}-D tensor")
    _same_dtype(mat1, mat2)
    if a[1] != b[0]:
        raise _unfit(mat1, mat2, *a, *b, "addmm")
    return _addmm(input, mat1, mat2, beta, alpha)  # type: ignore[no-any-return]


@composite("Addmv")
def _addmv(input: Tensor, mat: Tensor, vec: Tensor, beta: Any, alpha: Any) -> Tensor:
    return _scaled_sum(input, mv(mat, vec), beta, alpha)


def addmv(input: Tensor, mat: Tensor, vec: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * mat @ vec."""
    return _addmv(input, mat, vec, beta, alpha)  # type: ignore[no-any-return]


@composite("Baddbmm")
def _baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, beta: Any, alpha: Any) -> Tensor:
    return _scaled_sum(input, bmm(batch1, batch2), beta, alpha)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, *, beta: Any = 1, alpha: Any = 1) -> Tensor:
    """beta * input + alpha * batch1 @ batch2, pair by pair."""
    return _baddbmm(input, batch1, batch2, beta, alpha)  # type: ignore[no-any-return]


def triangle(input: Tensor, diagonal: int, lower: bool) -> Tensor:
    """`input` on one side of a diagonal, 0 on the other."""
    from adjit.ir.types import I64

    shape = tuple(shape_of(input))
    if len(shape) < 2:
        raise RuntimeError(f"{'tril' if lower else 'triu'}: input tensor must have at least 2 dimensions")
    iota, le, where = PRIMITIVES["iota"], PRIMITIVES["le"], PRIMITIVES["where"]
    row = apply(iota, (), {"shape": shape, "axis": len(shape) - 2, "dtype": I64})
    column = apply(iota, (), {"shape": shape, "axis": len(shape) - 1, "dtype": I64})
    edge = apply(PRIMITIVES["add"], (row, diagonal))
    kept = apply(le, (column, edge)) if lower else apply(le, (edge, column))
    zero = False if input._dtype.kind == "bool" else 0
    return apply(where, (kept, input, zero), name="Tril" if lower else "Triu")  # type: ignore[no-any-return]


def tril(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and below a diagonal, 0 above."""
    return triangle(input, diagonal, True)


def triu(input: Tensor, diagonal: int = 0) -> Tensor:
    """The elements on and above a diagonal, 0 below."""
    return triangle(input, diagonal, False)


def einsum(equation: str, *operands: Any) -> Tensor:
    """Sums of products in Einstein's notation, as in einsum("bij,bjk->bik", a, b)."""
    from adjit.contraction_notation import contract

    tensors = operands[0] if len(operands) == 1 and isinstance(operands[0], (list, tuple)) else operands
    return contract(equation, list(tensors))


def tensordot(a: Tensor, b: Tensor, dims: Any = 2) -> Tensor:
    """Sums of products over the last `dims` axes of `a` and the first of `b`, or over listed axes."""
    if isinstance(dims, int):
        rank = len(shape_of(a))
        left, right = tuple(range(rank - dims, rank)), tuple(range(dims))
    else:
        left, right = tuple(dims[0]), tuple(dims[1])
    ranks = len(shape_of(a)), len(shape_of(b))
    pairs = tuple(d % ranks[0] for d in left), tuple(d % ranks[1] for d in right)
    return _dot(a, b, pairs, 0, "View")


ger = outer
_PUBLIC = (
    "addmm", "addmv", "baddbmm", "bmm", "dot", "einsum", "ger", "matmul", "mm", "mv", "outer", "tensordot", "tril",
    "triu",
)  # fmt: skip
METHODS: dict[str, Callable[..., Any]] = {
    name: globals()[name] for name in _PUBLIC if name not in ("einsum", "tensordot")
}
__all__ = list(_PUBLIC)
