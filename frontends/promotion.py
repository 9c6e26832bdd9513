"""Dtype promotion and broadcasting by PyTorch's rules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.dims import shape_of
from adjit.dispatch import apply, literal
from adjit.dtypes import default_complex, default_float, dtype, public, title_of
from adjit.errors import explained
from adjit.heard_numbers import Heard
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.types import (
    BF16,
    BOOL,
    C64,
    C128,
    F16,
    F32,
    F64,
    HALVES,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
    DType,
    complex_of,
)  # fmt: skip
from adjit.tensor import Tensor

_ORDER = [BOOL, U8, I8, U16, I16, U32, I32, U64, I64, F16, BF16, F32, F64, C64, C128]
_SIGNED_BY_BITS = {8: I8, 16: I16, 32: I32, 64: I64}


def promote_types_ir(a: DType, b: DType) -> DType:
    """The dtype that holds both.  RuntimeError for uint64 beside a signed integer: no integer holds both."""
    if a is b:
        return a
    if {a.kind, b.kind} == {"int", "uint"}:
        signed, unsigned = (a, b) if a.kind == "int" else (b, a)
        if unsigned is U64:
            raise RuntimeError(
                "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote "
                f"{title_of(a)} and {title_of(b)}"
            )
        return signed if signed.bits > unsigned.bits else _SIGNED_BY_BITS[2 * unsigned.bits]
    if {a, b} == {F16, BF16}:
        return F32
    if {a, b} == {C64, F64}:
        return C128
    return max(a, b, key=_ORDER.index)


def category_of(dtype: DType) -> int:
    """0 for bool, 1 integers, 2 floats, 3 complex: a result is stored in its category or a higher one."""
    return 3 if dtype.is_complex else 2 if dtype.is_float else 0 if dtype is BOOL else 1


def _number_dtype(value: Any) -> DType:
    if isinstance(value, Tensor):  # a number that is not known yet
        return default_float() if value._dtype.is_float else value._dtype
    if isinstance(value, complex):
        return default_complex()
    return BOOL if isinstance(value, bool) else default_float() if isinstance(value, float) else I64


def result_dtype(operands: Sequence[Any]) -> DType:
    """The dtype of an operation on tensors and numbers: 0-d tensors and numbers are weaker in their category."""
    best: list[DType | None] = [None, None, None]
    for operand in operands:
        if isinstance(operand, Tensor) and not operand._is_number:
            level, dtype = (0 if shape_of(operand) else 1), operand._dtype
        else:
            level, dtype = 2, _number_dtype(operand)
        present = best[level]
        best[level] = dtype if present is None else promote_types_ir(present, dtype)
    found: DType | None = None
    for candidate in best:
        if candidate is not None and (found is None or category_of(candidate) > category_of(found)):
            # A weaker complex operand makes a float complex, and keeps its precision.
            found = complex_of(found) if candidate.is_complex and found is not None and found.is_float else candidate
    assert found is not None
    return found


def is_one(factor: Any) -> bool:
    """Whether a factor can be left out.

    One that may be another at the next call is not asked: a product with 1 is as good.
    """
    return not isinstance(factor, (Heard, Tensor)) and bool(factor == 1)


def cast_to(tensor: Tensor, dtype: DType) -> Tensor:
    """The tensor in another dtype."""
    if tensor._dtype is dtype:
        return tensor
    result = apply(primitive_named("cast"), (tensor,), {"dtype": dtype})
    assert isinstance(result, Tensor)
    return result


def check_alpha(operands: Sequence[Any], alpha: Any) -> None:
    """RuntimeError for a factor that a sum of the operands does not take."""
    if isinstance(alpha, complex) and not result_dtype(operands).is_complex:
        raise RuntimeError("For non-complex input tensors, argument alpha must not be a complex number.")
    if alpha is True or alpha is False:
        if result_dtype(operands) is not BOOL:
            raise RuntimeError("Boolean alpha only supported for Boolean results.")
    elif type(alpha) is not int and result_dtype((alpha,)).is_float and not result_dtype(operands).is_continuous:
        raise RuntimeError("For integral input tensors, argument alpha must not be a floating point number.")


def refuse_bool(operands: Sequence[Any]) -> None:
    """RuntimeError for the subtraction of truth values."""
    count = sum(result_dtype((operand,)) is BOOL for operand in operands)
    if count == 2:
        raise RuntimeError(
            "Subtraction, the `-` operator, with two bool tensors is not supported. Use the `^` or `logical_xor()` "
            "operator instead."
        )
    if count:
        raise RuntimeError(
            "Subtraction, the `-` operator, with a bool tensor is not supported. If you are trying to invert a mask, "
            "use the `~` or `logical_not()` operator instead."
        )


def broadcast_shapes(*shapes: Sequence[Any]) -> tuple[Any, ...]:
    """The common shape.  RuntimeError where sizes differ and none is 1."""
    ndim = max((len(shape) for shape in shapes), default=0)
    found: list[Any] = [1] * ndim
    for shape in shapes:
        lead = ndim - len(shape)
        for axis in reversed(range(len(shape))):
            size, present = shape[axis], found[lead + axis]
            if size == 1:
                continue
            if present == 1:
                found[lead + axis] = size
            elif present != size:
                raise explained(
                    RuntimeError,
                    f"The size of tensor a ({present}) must match the size of tensor b ({size}) at non-singleton "
                    f"dimension {lead + axis}",
                    hint=_broadcast_hint(shapes),
                )
    return tuple(found)


def _broadcast_hint(shapes: Sequence[Sequence[Any]]) -> str:
    """Where a size stands on the wrong axis, how to move it; else the rule."""
    rule = "sizes are compared from the last axis on: they must be equal, or one of them 1"
    if len(shapes) != 2:
        return rule
    longer, shorter = (shapes[0], shapes[1]) if len(shapes[0]) > len(shapes[1]) else (shapes[1], shapes[0])
    if len(shorter) == 1 and len(longer) == 2 and shorter[0] == longer[0]:
        return f"{rule}; a vector as a column has one more axis: v.unsqueeze(1) or v[:, None]"
    return rule


def spread(tensor: Tensor, shape: Sequence[Any]) -> Tensor:
    """The tensor expanded to `shape`; rank 0 stays as it is."""
    own = shape_of(tensor)
    if not own or (len(own) == len(shape) and tuple(own) == tuple(shape)):  # axis by axis: open sizes note it
        return tensor
    result = apply(primitive_named("expand"), (tensor,), {"shape": tuple(shape)})
    assert isinstance(result, Tensor)
    return result


def promote(
    *operands: Any, target: DType | None = None, op: str = "", primitive: Primitive | None = None
) -> list[Any]:
    """Operands of one dtype and shape; numbers stay numbers, but complex ones become tensors.

    Beside 16 bits, a number that is not known yet has the dtype that `primitive` takes numbers in, and so has a tensor
    of rank 0 as the second operand.
    """
    target = result_dtype(operands) if target is None else target
    operands = tuple(literal(operand, target) if isinstance(operand, complex) else operand for operand in operands)
    tensors = [operand for operand in operands if isinstance(operand, Tensor)]
    try:
        shape = broadcast_shapes(*(shape_of(tensor) for tensor in tensors))
    except RuntimeError as error:
        first, *_ = str(error).splitlines()
        names = dict(zip("abcdef", tensors, strict=False))
        raise explained(RuntimeError, first, op, names, _broadcast_hint([shape_of(t) for t in tensors])) from None
    wide = target in HALVES and primitive is not None and primitive.wide_numbers
    dtypes = [F32 if wide and counts_as_number(operands, place) else target for place in range(len(operands))]
    pairs = zip(operands, dtypes, strict=True)
    return [spread(cast_to(o, dtype), shape) if isinstance(o, Tensor) else o for o, dtype in pairs]


def counts_as_number(operands: Sequence[Any], place: int) -> bool:
    """Whether an operand is a number, known or not yet, or of two the second one and of rank 0."""
    operand = operands[place]
    if not isinstance(operand, Tensor) or operand._is_number:
        return True
    return place == 1 and len(operands) == 2 and not shape_of(operand)


def promote_types(type1: dtype, type2: dtype) -> dtype:
    """The smallest dtype that holds both."""
    return public(promote_types_ir(type1.ir, type2.ir))


def result_type(tensor1: Any, tensor2: Any) -> dtype:
    """The dtype of an operation on two operands."""
    return public(result_dtype((tensor1, tensor2)))


def can_cast(from_: dtype, to: dtype) -> bool:
    """Whether a result of one dtype may be stored in the other: the category must not be lost."""
    return category_of(from_.ir) <= category_of(to.ir)


def promote_dtypes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Tensors in their common dtype, whatever their shapes."""
    target = result_dtype(tensors)
    return [cast_to(tensor, target) for tensor in tensors]


def single(*tensors: Tensor) -> list[Tensor]:
    """Halves as float32, for what is rounded once at the end."""
    return [cast_to(tensor, F32) if tensor._dtype in (F16, BF16) else tensor for tensor in tensors]


METHODS: dict[str, Any] = {}
__all__ = ["can_cast", "promote_types", "result_type"]
