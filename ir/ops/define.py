"""Defining scalar ops: what all of them share, a primitive from NumPy code, a named op from its formula.

@scalar
def silu(x):
    return x * sigmoid(x)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, overload

import numpy as np

from adjit.ir.errors import DTypeError, ShapeError
from adjit.ir.halfs import half_of, round_bf16, widened
from adjit.ir.index import Element, ElementFunction, Scalars
from adjit.ir.ops.arrays import expand, reshape
from adjit.ir.ops.chain import partial_factors
from adjit.ir.primitive import Primitive, primitive_named, register
from adjit.ir.shape import Size
from adjit.ir.term import Term, evaluate, functions_in, record
from adjit.ir.types import BF16, BOOL, C64, C128, F32, HALVES, TensorType

KINDS = {
    "any": ("bool", "uint", "int", "float"),
    "number": ("uint", "int", "float"),
    "integer": ("uint", "int"),
    "logical": ("bool", "uint", "int"),
    "float": ("float",),
    "bool": ("bool",),
}
COMPLEX = (C64.storage, C128.storage)


# -- what all scalar ops share --------------------------------------------------------------------------------------
def define_scalar(
    reference: Callable[..., Any],
    takes: str,
    *,
    name: str | None = None,
    term: Term | None = None,
    gives_bool: bool = False,
    constant: bool = False,
    exact: bool = True,
    singular: bool = False,
    symbolic: Callable[..., Any] | None = None,
    pinned: dict[str, str] | None = None,
    wide_numbers: bool = False,
) -> Primitive:
    """Register an elementwise op on operands of one dtype, of a kind in KINDS, with its rules.

    `reference` is NumPy code, or, with `term`, the definition of a named op.  A derivative comes from `symbolic`, from
    `pinned`, or from the term; an op with none of these attaches a transpose rule.
    """
    op = register(Primitive(name or reference.__name__.rstrip("_"), "scalar", reference, exact=exact))
    op.body = None if term is None else partial(_expanded, op, term)
    op.reference = partial(_on_storage, op, op.body or reference)
    op.infer_rule = partial(_infer, op, takes, gives_bool)
    op.batch_rule = partial(_batch, op)
    op.index_rule = partial(_element, op)
    op.singular = singular
    op.wide_numbers = wide_numbers
    op.symbolic = symbolic
    op.pinned = pinned or {}
    if constant or gives_bool or takes in ("integer", "logical"):
        op.constant()
    elif symbolic or pinned or term is not None:
        op.partials_rule = partial(partial_factors, op)
    return op


def _complex_references() -> Mapping[str, Callable[..., Any]]:
    from adjit.ir.ops.complex_parts import REFERENCES

    return REFERENCES


def takes_complex(op: Primitive) -> bool:
    """Whether a scalar op is defined on complex numbers."""
    from adjit.ir.ops import complex_parts

    return complex_parts.takes_complex(op)


def _expanded(op: Primitive, term: Term, *operands: Any, **attributes: Any) -> Any:
    """A named op's definition on arrays, IR expressions or terms."""
    return evaluate(term, dict(zip(op.operands, operands, strict=True)) | attributes)


def _on_storage(op: Primitive, reference: Callable[..., Any], *operands: Any, **attributes: Any) -> Any:
    """A reference without warnings, halves computed in float32 and rounded once."""
    arrays = [x for x in operands if isinstance(x, (np.ndarray, np.generic))]
    half = next((found for x in arrays if (found := half_of(x.dtype)) is not None), None)
    if any(x.dtype in COMPLEX for x in arrays):
        reference = _complex_references().get(op.name, reference)
    with np.errstate(all="ignore"):
        result = np.asarray(reference(*map(widened, operands), **attributes))
        if half is None or result.dtype != np.float32:
            return result
        return round_bf16(result) if half is BF16 else result.astype(np.float16)


def scalar_op(takes: str, **facts: Any) -> Callable[[Callable[..., Any]], Primitive]:
    """`define_scalar` as a decorator."""
    return lambda reference: define_scalar(reference, takes, **facts)


def common_dims(name: str, types: Sequence[TensorType]) -> tuple[Size, ...]:
    """The dims of an elementwise result: those of the operands that are not of rank 0, which must agree."""
    ranked = [type for type in types if type.dims]
    for type in ranked[1:]:
        if type.dims == ranked[0].dims:
            continue
        message = f"{name}: operands {', '.join(map(str, types))} have neither equal shapes nor rank 0"
        if type.ndim == ranked[0].ndim:
            axis = next(i for i, (a, b) in enumerate(zip(ranked[0].dims, type.dims, strict=True)) if a != b)
            a, b = ranked[0].dims[axis], type.dims[axis]
            first = f"The size of tensor a ({a}) must match the size of tensor b ({b})"
            message = f"{first} at non-singleton dimension {axis}\n  in {message}"
        raise ShapeError(message)
    return ranked[0].dims if ranked else ()


def _infer(op: Primitive, takes: str, gives_bool: bool, *types: TensorType, **attributes: object) -> TensorType:
    if len(types) != len(op.operands) or set(attributes) != set(op.attributes):
        wanted = ", ".join((*op.operands, *(f"{name}=" for name in op.attributes)))
        raise TypeError(f"{op.name} takes ({wanted}), and got {len(types)} operands and {sorted(attributes)}")
    # Numbers beside halves may be float32, in which they are computed.
    dtype = next((type.dtype for type in types if type.dtype in HALVES), types[0].dtype)
    if dtype.kind not in KINDS[takes] and not (dtype.is_complex and takes_complex(op)):
        raise DTypeError(f"{op.name}: an operand is {types[0]}; it takes {', '.join(KINDS[takes])}")
    for type in types:
        if type.dtype is not dtype and not (dtype in HALVES and type.dtype is F32 and not type.dims):
            raise DTypeError(f"{op.name}: operands of {dtype} and {type.dtype}; they must have one dtype")
    return TensorType(BOOL if gives_bool else dtype, common_dims(op.name, types))


def _batch(op: Primitive, batched: Sequence[bool], *operands: Any, **attributes: Any) -> Any:
    """Rank 0 stays where it is not batched; all else gets the batch, and the dims of the widest operand."""
    shapes = [tuple(x.shape)[int(flag) :] for x, flag in zip(operands, batched, strict=True)]
    dims = max(shapes, key=len)
    extent = next(x.shape[0] for x, flag in zip(operands, batched, strict=True) if flag)
    fitting = []
    for x, flag, shape in zip(operands, batched, shapes, strict=True):
        if flag and not shape and dims and x.dtype is F32 and any(each.dtype in HALVES for each in operands):
            x = primitive_named("cast")(x, dtype=next(each.dtype for each in operands if each.dtype in HALVES))
        if flag and len(shape) < len(dims):
            x = expand(reshape(x, (extent, *(1 for _ in dims))), (extent, *dims))
        elif not flag and shape:
            x = expand(x, (extent, *dims))
        fitting.append(x)
    return op(*fitting, **attributes)


def _element(
    op: Primitive, k: Scalars, index: Sequence[Size], *operands: ElementFunction, **attributes: Any
) -> Element:
    return op(*(operand(*index) if operand.type.dims else operand() for operand in operands), **attributes)


# -- named ops ------------------------------------------------------------------------------------------------------
_BOOLEAN = frozenset({"lt", "le", "eq", "and", "or", "xor", "not"})


@overload
def scalar(body: Callable[..., Any], /) -> Primitive: ...


@overload
def scalar(
    *,
    name: str | None = None,
    takes: str = "float",
    constant: bool = False,
    singular: bool = False,
    wide_numbers: bool = False,
    **pinned: str,
) -> Callable[[Callable[..., Any]], Primitive]: ...


def scalar(
    body: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    takes: str = "float",
    constant: bool = False,
    singular: bool = False,
    wide_numbers: bool = False,
    **pinned: str,
) -> Primitive | Callable[[Callable[..., Any]], Primitive]:
    """Define a scalar op by its body; the derivative is found from it.

    `takes` is one of KINDS.  `constant` says that the derivative is 0 wherever there is one,
    `singular` that a partial, or a branch of one, can be infinite or NaN at finite operands, `wide_numbers` that
    literals beside float16 and bfloat16 are float32.  A further keyword states the partial with respect to the operand
    of that name: at kinks, and where the derived form would lose digits.
    """
    define = partial(
        _named, name=name, takes=takes, constant=constant, singular=singular, wide_numbers=wide_numbers, pinned=pinned
    )
    return define if body is None else define(body)


def _named(
    body: Callable[..., Any],
    *,
    name: str | None,
    takes: str,
    constant: bool,
    singular: bool,
    wide_numbers: bool,
    pinned: dict[str, str],
) -> Primitive:
    code = body.__code__
    operands = code.co_varnames[: code.co_argcount]
    attributes = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
    unknown = set(pinned) - set(operands)
    if unknown:
        raise TypeError(f"{body.__name__} has no operand {', '.join(sorted(unknown))}")
    term = record(body, operands, attributes)
    return define_scalar(
        body,
        takes,
        name=name,
        term=term,
        gives_bool=getattr(term, "name", "") in _BOOLEAN,
        constant=constant,
        exact=all(primitive_named(used).exact for used in functions_in(term)),
        singular=singular,
        pinned=pinned,
        wide_numbers=wide_numbers,
    )
