"""The one gate from functions over tensors to ops: run now and perhaps record, or emit into the running trace."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from adjit.autograd.record import record
from adjit.autograd.tape import Recorded, TraceNode
from adjit.errors import explained, line_of, place
from adjit.execute import number_array, run_op
from adjit.ir.builder import literal_dtype
from adjit.ir.errors import IntegerDivisionError, NumbersNeeded, OutOfMemoryError, TraceError
from adjit.ir.graph import UNKNOWN, Attribute, Region
from adjit.ir.primitive import Primitive
from adjit.ir.types import DType, TensorType
from adjit.state import STATE, is_user_frame
from adjit.tensor import Tensor

# Operations after which it pays to load the native entry: a short script never does.
_before_native = 200


def apply(
    op: Primitive,
    operands: Sequence[Any],
    attributes: Mapping[str, Attribute] | None = None,
    *,
    name: str = "",
    regions: Sequence[Region] = (),
) -> Any:
    """Apply a primitive to tensors and numbers; one tensor, or a tuple of them.

    Operands must already have the dtypes and shapes that the op takes (`adjit.promotion` sees to that).  A number takes
    the dtype of the tensors beside it.  `name` is PyTorch's name of the operation; without one the step is passed over
    when `grad_fn` is shown.
    """
    attributes = {} if attributes is None else dict(attributes)
    tracer = STATE.tracer
    if _before_native and (tracer is None or tracer.by_steps):
        approach_native()
    if tracer is not None:
        return tracer.apply(op, operands, attributes, name, regions)
    dtype = None
    if not all(isinstance(operand, Tensor) for operand in operands):
        dtype = literal_dtype(op, [o._dtype if isinstance(o, Tensor) else None for o in operands])
    arrays: list[np.ndarray] = []
    types: list[TensorType] = []
    recording = False
    for operand in operands:
        if isinstance(operand, Tensor):
            if operand._array is None:
                raise leaked(operand)
            arrays.append(operand._array)
            types.append(operand._tensor_type)
            recording = recording or operand.requires_grad
        else:
            assert dtype is not None
            arrays.append(number_array(operand, dtype))
            types.append(TensorType(dtype, ()))
    try:
        results = run_op(op, arrays, types, attributes, regions)
    except ZeroDivisionError:
        raise explained(IntegerDivisionError, "ZeroDivisionError", op.name, hint=DIVISION) from None
    except MemoryError as error:
        raise OutOfMemoryError.of(error) from None
    if STATE.checks is not None:
        from adjit.nan_checks import check_operation

        check_operation(op, arrays, types, attributes, results, regions)
    tensors = [Tensor._wrap(array, type.dtype, type=type) for array, type in results]
    if recording and STATE.recording and not op.constant_result and any(t._dtype.is_continuous for t in tensors):
        record(op, operands, attributes, tensors, name, dtype, regions)
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def approach_native() -> None:
    """Count an operation that ran; after enough of them, load the native entry when it is there."""
    global _before_native
    if not _before_native:
        return
    _before_native -= 1
    if not _before_native:
        from adjit.native.near import is_at_hand

        if is_at_hand():
            from adjit.native.install import install

            install()
        else:
            _before_native = 20


def literal(value: int | float | complex | bool, dtype: DType) -> Tensor:
    """A 0-d tensor holding a number: a constant of the program in a trace, not an input."""
    if STATE.tracer is not None:
        return STATE.tracer.constant(value, dtype)
    return Tensor._wrap(number_array(value, dtype), dtype)


def rename(tensor: Tensor, name: str) -> Tensor:
    """Give the node that computed `tensor` PyTorch's name of the operation."""
    value = tensor._value
    if value is not None and value.node is not None and isinstance(value.node.attached, (Recorded, TraceNode)):
        value.node.attached.name = name
    return tensor


def leaked(tensor: Tensor) -> TraceError:
    """The error for a traced tensor used after its trace ended."""
    node = None if tensor._value is None else tensor._value.node
    lines = [
        f"a traced tensor ({tensor._tensor_type}) was used outside the compiled function that made it",
        *line_of(place()),
        *line_of(UNKNOWN if node is None else node.location, "", "made in"),
        "  hint: return it, or keep it in a list, dict or attribute of your own: a call of the program fills it",
    ]
    return TraceError("\n".join(lines))


def numbers_needed(tensor: Tensor, what: str) -> NumbersNeeded:
    """The error for an operation that needs a traced tensor's numbers."""
    error = explained(
        NumbersNeeded,
        f"{what} needs the numbers of a traced tensor, which has none while the function is compiled",
        operands={"tensor": tensor},
        hint=next((hint for words, hint in _INSTEAD if what.startswith(words)), _OUTSIDE),
    )
    if what.startswith("a branch") and _is_asked_by_user():
        tracer = STATE.tracer
        while tracer is not None:  # the user's `except RuntimeError` may catch it
            tracer.captured.unanswered = error
            tracer = tracer.parent
    return error


def _is_asked_by_user() -> bool:
    """Whether it was a line of the user's that asked for a truth value."""
    frame, last = sys._getframe(2), ""
    while frame.f_back is not None and not is_user_frame(frame):
        frame, last = frame.f_back, frame.f_code.co_name
    return last == "truth"


DIVISION = "integers have no quotient by 0: torch.where(d == 0, 1, d) replaces it"
_OUTSIDE = "return the tensor and read it after the call, or move this line out of the compiled function"
# By what asked for numbers, what serves in a compiled function.
_INSTEAD: tuple[tuple[str | tuple[str, ...], str], ...] = (
    ("a branch", "use adjit.where({tensor}, a, b), or write the function with def: its `if` is then compiled, too; "
                 "for a default, `a if a is not None else b`"),
    (("item()", "float()"), "leave item() out, {tensor} counts as a number, and adjit.where(c, a, b) chooses; or "
                            "return it and read it after the call"),
    (("int()", "index()", "__index__"), "pass sizes and counts as Python's int; or compute outside of the function"),
    ("nonzero()", "its size depends on numbers: torch.where(mask, x, 0) keeps the shape of x; or move the line out of "
                  "the compiled function"),
)  # fmt: skip
