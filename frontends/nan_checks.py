"""`check_nan`: the line, the operation, the element and the operands that made the first NaN, eager and compiled.

In eager each operation's result is looked at, in a compiled program what each kernel stores, and in a backward pass
what it computes.  A compiled program is compiled once more for this; code that runs without the checks is the same as
ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ContextDecorator
from functools import partial
from typing import Any

import numpy as np

from adjit.compiler.llvm.emit_finite import Checks
from adjit.compiler.origin import Operand, Origin, is_bad, origin_in
from adjit.errors import line_of, place
from adjit.execute import execute
from adjit.ir.builder import Builder
from adjit.ir.errors import NonFiniteError
from adjit.ir.graph import Graph, Location, Region, Value
from adjit.ir.primitive import Primitive
from adjit.ir.rewrite import inline_calls, substitute_sizes
from adjit.ir.types import DType, TensorType
from adjit.runtime import interpreter
from adjit.state import STATE

__all__ = ["check_nan"]


class check_nan(ContextDecorator):
    """While this holds, a NaN is an error that names its origin; with `inf`, an infinity too.

    A context or a decorator.  What comes in as infinite, or is written as a number (the -inf of a mask), is meant: with
    `inf` only operations that make an infinity of finite operands are named.  In a compiled program a NaN that no
    kernel stores, such as one that a `where` in the same kernel leaves out, is no error.

    >>> import adjit as torch
    >>> with torch.check_nan():
    ...     torch.log(torch.tensor([1.0, -1.0]))
    Traceback (most recent call last):
    adjit.ir.errors.NonFiniteError: log made nan at [1]...

    Errors: NonFiniteError, whose `origin` has the parts; the call's inputs are unchanged then.
    """

    def __init__(self, enabled: bool = True, *, inf: bool = False) -> None:
        self.checks = Checks(inf=inf) if enabled else None
        self._before: list[Checks | None] = []

    def __enter__(self) -> check_nan:
        self._before.append(STATE.checks)
        STATE.checks = self.checks
        if self.checks is not None:
            ask_trace(self.checks)
        return self

    def __exit__(self, *exception: object) -> None:
        STATE.checks = self._before.pop()


def ask_trace(checks: Checks) -> None:
    """Let the program that is being traced look for what the checks say, as a whole."""
    tracer = STATE.tracer
    while tracer is not None:
        tracer.nan_checks = tracer.nan_checks or checks
        tracer = tracer.parent


def option(check_nan: bool | str) -> Checks | None:
    """The checks that `compile(check_nan=...)` asks for: True, or "inf" for infinities too."""
    if check_nan not in (True, False, "inf"):
        raise ValueError(f'check_nan is True, False or "inf", not {check_nan!r}')
    return Checks(inf=check_nan == "inf") if check_nan else None


def checked_executable(graph: Graph, checks: Checks, *, strict: bool, threads: int | None) -> Any:
    """The program of a graph, checked; `backward` of anomaly detection gives PyTorch's first line."""
    from adjit.compiler.checked import CheckedExecutable

    first = "Function 'CompiledBackward0' returned nan values in its 0th output." if checks.backward else ""
    return CheckedExecutable(graph, checks, partial(error_of, first=first), strict=strict, threads=threads)


# -- eager ------------------------------------------------------------------------------------------------------------
def check_operation(
    op: Primitive,
    arrays: Sequence[np.ndarray],
    types: Sequence[TensorType],
    attributes: dict[str, Any],
    results: Sequence[tuple[np.ndarray, TensorType]],
    regions: Sequence[Region] = (),
) -> None:
    """NonFiniteError if an operation that just ran gave what the checks look for."""
    if not _any_bad([(array, type.dtype) for array, type in results]):
        return
    graph = Graph(op.name)
    builder = Builder(graph)
    graph.outputs = builder.emit(op, [builder.input(type) for type in types], attributes, regions).outputs
    check_graph(graph, arrays, [array for array, _ in results])


def check_graph(graph: Graph, arrays: Sequence[np.ndarray], results: Sequence[np.ndarray]) -> None:
    """NonFiniteError if a graph that was just interpreted gave what the checks look for."""
    checks = STATE.checks
    assert checks is not None
    if not _any_bad([(array, value.dtype) for array, value in zip(results, graph.outputs, strict=False)]):
        return
    sizes = interpreter.bind_sizes(graph, [array.shape for array in arrays])
    flat = inline_calls(substitute_sizes(graph, sizes))
    every = [value for node in flat.nodes for value in node.outputs]
    found = interpreter.run(Graph(flat.name, flat.inputs, flat.nodes, every), *arrays, execute=execute)
    values = {**dict(zip(flat.inputs, arrays, strict=True)), **dict(zip(every, found, strict=True))}
    bad = [value for value in flat.outputs if value.dtype.is_continuous and value.constant is None]
    origin = origin_in(flat, values, bad, checks)
    if origin is not None:
        raise error_of(origin)


def _any_bad(results: Sequence[tuple[np.ndarray, DType]]) -> bool:
    inf = STATE.checks is not None and STATE.checks.inf
    return any(
        dtype.is_continuous and bool(is_bad(array, Value(TensorType(dtype, array.shape)), inf=inf).any())
        for array, dtype in results
    )


# -- the message ------------------------------------------------------------------------------------------------------
def error_of(origin: Origin, *, first: str = "") -> NonFiniteError:
    """The error that tells an origin."""
    location = _location(origin)
    backward = ", in the backward pass" if "∂" in location.origin else ""
    lines = [first] if first else []
    if origin.node is None:
        what = f"%{origin.name} came in with" if origin.name else "an operand has"
        lines.append(f"{what} {origin.value} at {list(origin.index)}{backward}")
    else:
        lines.append(f"{origin.node.op.name} made {origin.value} at {list(origin.index)}{backward}")
    lines += line_of(location)
    if origin.turns:
        lines.append(f"  in turn {', '.join(map(str, origin.turns))} of the loop, counted from 0")
    if origin.node is not None:
        lines.append(f"    {origin.text}" + (f"   {location.note}" if location.note else ""))
    lines += dict.fromkeys(f"    {_shown(operand)}" for operand in origin.operands)
    cause = origin.cause
    if cause is not None and cause.node is not None:
        at = _location(cause)
        lines.append(f"  {cause.value} was made by {cause.node.op.name} at {list(cause.index)}, {at.file}:{at.line}")
        lines += dict.fromkeys(f"    {_shown(operand)}" for operand in cause.operands)
    hint = _hint(origin if cause is None or cause.node is None else cause)
    if hint:
        lines.append(f"  hint: {hint}")
    error = NonFiniteError("\n".join(lines))
    error.origin = origin
    return error


def _location(origin: Origin) -> Location:
    """The line of an origin: its own in a traced program, else that which runs."""
    if origin.node is not None and origin.node.location.line:
        return origin.node.location
    return place()


def _shown(operand: Operand) -> str:
    """`%x[2] = -1.0`, or the elements that were read with their extremes."""
    name = f"%{operand.name}" if operand.name else "constant"
    if operand.value.ndim == 0:
        place = f"[{', '.join(map(str, operand.read))}]" if operand.read else ""
        return f"{name}{place} = {operand.value[()]}"
    read = ", ".join(":" if isinstance(part, slice) else str(part) for part in operand.read)
    flat = operand.value.reshape(-1)
    few = ", ".join(str(number) for number in flat[:4]) + (", ..." if flat.size > 4 else "")
    extremes = f", from {np.nanmin(flat)} to {np.nanmax(flat)}" if flat.size and not np.isnan(flat).all() else ""
    return f"{name}[{read}] = {few}{extremes}"


def _negative(origin: Origin) -> bool:
    return any(operand.value.ndim == 0 and operand.value < 0 for operand in origin.operands)


_HINTS: dict[str, Callable[[Origin], str]] = {
    "sqrt": lambda o: "take the root of x.clamp(min=0), or look why the operand is negative",
    "log": lambda o: "take the logarithm of x.clamp(min=1e-12), or look why the operand is "
    + ("negative" if _negative(o) else "0"),
    "exp": lambda o: "subtract the largest operand first, as torch.softmax and torch.logsumexp do",
    "div": lambda o: "divide by d + 1e-12, or by torch.where(d == 0, 1, d)",
    "pow": lambda o: "a negative number has no power with a fraction, and 0 none below 0: use x.clamp(min=1e-12)",
    "log1p": lambda o: "the operand of log1p must be above -1: use x.clamp(min=-1 + 1e-6)",
    "acos": lambda o: "the operand must lie between -1 and 1: use x.clamp(-1, 1)",
    "asin": lambda o: "the operand must lie between -1 and 1: use x.clamp(-1, 1)",
}

_OF_INFINITIES = {
    "sub": "inf - inf has no value: a softmax needs one element of each row that is not -inf",
    "mul": "0 * inf has no value",
}
_CAME_IN = "torch.check_nan(inf=True) names what made an infinity that came in"


def _hint(origin: Origin) -> str:
    if origin.node is None:
        return "x.isnan().any() says whether data are sound; torch.nan_to_num(x) replaces what is not"
    note = origin.node.location.note
    if note.startswith(("sqrt'", "norm'", "pow'")):
        return "the derivative is infinite at 0: add a small number under the root, sqrt(x + 1e-12)"
    make = _HINTS.get(origin.node.op.name)
    infinite = np.isnan(origin.value) and any(np.isinf(operand.value).any() for operand in origin.operands)
    if infinite and origin.cause is None:
        return "; ".join(filter(None, [_OF_INFINITIES.get(origin.node.op.name), _CAME_IN]))
    return "" if make is None else make(origin)
