"""Control flow over tensors: `cond`, `while_loop`, `scan`, `fori_loop`, `map`.

In eager mode they are what they say, in Python, a step at a time.  In a trace each becomes one op with the traced
functions as its regions: a loop's program does not grow with its length, and derivatives, `vmap` and compilation go
through it.  The functions may use tensors from outside; those become operands of the op.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import isqrt
from typing import Any

from adjit import trees
from adjit.dispatch import apply
from adjit.errors import explained
from adjit.inner_trace import Traced, trace_inner
from adjit.ir.builder import Builder
from adjit.ir.graph import Region, Value
from adjit.ir.primitive import primitive_named
from adjit.ir.types import BOOL, I64, TensorType
from adjit.one_memory import tied_among, wholes
from adjit.regions import Outside, carried_flags, region_of, without_history
from adjit.state import STATE
from adjit.tensor import Tensor
from adjit.trace_parts import Cell

METHODS: dict[str, Any] = {}
__all__ = ["cond", "fori_loop", "map", "scan", "while_loop"]


def cond(pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()) -> Any:
    """true_fn(*operands) if pred else false_fn(*operands).

    `pred` is a truth value, or a tensor of one.  In a trace both functions are traced, only one runs, and both must
    give tensors of the same types.
    Errors: RuntimeError for a predicate of several elements, or branches that do not match.

    >>> import adjit as torch
    >>> torch.cond(torch.tensor(True), torch.sin, torch.cos, (torch.zeros(2),))
    tensor([0., 0.])
    """
    operands = tuple(operands) if isinstance(operands, (tuple, list)) else (operands,)
    if not isinstance(pred, Tensor):
        return (true_fn if pred else false_fn)(*operands)
    if pred.numel() != 1:
        raise RuntimeError(f"Expected pred to be bool or single-element tensor, but got {pred}.")
    if STATE.tracer is None:
        return (true_fn if bool(pred) else false_fn)(*operands)
    leaves, structure = _as_tensors(operands)
    branches = _traced((true_fn, false_fn), leaves, structure)
    _require_alike(*branches)
    outside = Outside.of(branches)
    given = [*leaves, *outside.captured]
    regions = [region_of(branch, given, range(len(leaves)), outside) for branch in branches]
    found = _applied("cond", [pred.reshape(()).bool(), *given], {}, regions, outside)
    flags = [any(pair) for pair in zip(*(x.flags for x in branches), strict=True)]
    ends = [[branch.end_of(target) for branch in branches] for target in outside.written]
    without_history(found, [*flags, *(any(end.requires_grad for end in pair) for pair in ends)])
    result = outside.finish(branches[0], found)
    for target, pair in zip(outside.written, ends, strict=True):
        _count_writes(pred, target, [end.times - 1 for end in pair])  # one was counted
        if not all(end.is_sure for end in pair):
            _may_be_unwritten(target)
    return result


def _count_writes(pred: Tensor, target: Tensor, more: Sequence[int]) -> None:
    """Say how much more often than was counted each branch writes to a tensor."""
    from adjit.elementwise import where

    if any(more):
        then, other = (_number(number) for number in more)
        _cell(target).add_writes(where(pred.detach().reshape(()).bool(), then, other))


def _may_be_unwritten(target: Tensor) -> None:
    """Say that the last write to a tensor is not made in every call."""
    cell = _cell(target)
    cell.unsure.add(cell.version - 1)


def _cell(target: Tensor) -> Cell:
    from adjit.links import here

    assert STATE.tracer is not None
    return STATE.tracer.cell_of(here(STATE.tracer, target))


def while_loop(cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any) -> Any:
    """carried = body_fn(*carried) as long as cond_fn(*carried); the last carried values.

    The types of what is carried do not change from step to step.
    Errors: RuntimeError where they do.

    >>> import adjit as torch
    >>> torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (torch.tensor(0), torch.tensor(1.0)))
    (tensor(3), tensor(8.))
    """
    carried = _tuple(carried_inputs)
    if STATE.tracer is None:
        while bool(cond_fn(*carried)):
            carried = _tuple(body_fn(*carried))
        return carried
    leaves, structure = _as_tensors(carried)
    test, step = _traced((cond_fn, lambda *values: _tuple(body_fn(*values))), leaves, structure)
    if test.count != 1 or len(test.leaves) != 1 or test.graph.outputs[0].type.size != 1:
        raise RuntimeError("while_loop: cond_fn must return one truth value")
    if test.written:
        raise RuntimeError("while_loop: cond_fn must not write to tensors")
    _require_carried("while_loop", "body_fn", leaves, step.graph.outputs[: step.count])
    outside = Outside.of([test, step])
    state = [*outside.written, *leaves]
    given = [*outside.fixed, *state]
    arguments = range(len(given) - len(leaves), len(given))
    condition = region_of(test, given, arguments, outside)
    builder = Builder(condition)
    truth = builder.expr(condition.outputs[0])
    if truth.ndim:
        truth = primitive_named("reshape")(truth, shape=())
    if truth.dtype is not BOOL:
        truth = primitive_named("cast")(truth, dtype=BOOL)
    condition.outputs = (truth.value,)
    body = region_of(step, given, arguments, outside)
    count = step.count
    body.outputs = (*body.outputs[count:], *body.outputs[:count])
    found = _applied("while", given, {"invariants": len(outside.fixed)}, [condition, body], outside)
    written = len(outside.written)
    flags, left = carried_flags(step, [x.requires_grad for x in leaves])
    without_history(found, [*left, *flags])
    result = outside.finish(step, [*found[written:], *found[:written]])
    for target in outside.written:
        _may_be_unwritten(target)
    return result


def scan(
    f: Callable[[Any, Any], Any],
    init: Any,
    xs: Any = None,
    length: Any = None,
    reverse: bool = False,
    *,
    dim: int = 0,
    checkpoint: bool | str = False,
) -> tuple[Any, Any]:
    """carry, y[i] = f(carry, x[i]) for each slice of `xs` along `dim`, first to last or in reverse: (carry, ys).

    `length` gives the number of steps where there are no slices.  The types of the carry do not change.
    For gradients, what they read of every step is kept; with `checkpoint`, only the carries, and steps run again; with
    "sqrt", only the carries of about sqrt(length) steps: two forward passes more in memory for 2 sqrt(length) steps.
    Shapes: ys have the steps along axis 0, as `dim` was moved there.
    Errors: RuntimeError where a carry changes its type, or slices differ in number.

    >>> import adjit as torch
    >>> torch.scan(lambda total, x: (total + x, total * x), torch.tensor(0.0), torch.tensor([1.0, 2.0, 3.0]))
    (tensor(6.), tensor([0., 2., 9.]))
    """
    rows, shape = trees.flatten(xs)
    rows = [row.movedim(dim, 0) if dim else row for row in rows]
    sizes = [row.shape[0] for row in rows]
    steps = length if length is not None else sizes[0] if sizes else 0
    if any(size != steps for size in sizes):
        raise RuntimeError(f"scan: slices along dimension {dim} number {sizes}, length is {steps}")
    if checkpoint == "sqrt":
        return _in_blocks(f, init, rows, shape, int(steps), reverse)
    carries, structure = _as_tensors((init,))
    if STATE.tracer is None:
        if checkpoint:
            from adjit.utils.checkpoint import checkpoint as run_again

            f = partial(run_again, f, use_reentrant=False)
        return _stepped(f, trees.unflatten(structure, carries)[0], rows, shape, int(steps), reverse)
    types = [
        *(x._tensor_type for x in carries),
        *(row._tensor_type.with_dims(row._tensor_type.dims[1:]) for row in rows),
    ]
    first = len(carries)

    def one(*values: Tensor) -> Any:
        carry = trees.unflatten(structure, values[:first])[0]
        return _pair(f(carry, trees.unflatten(shape, values[first:]) if rows else None))

    flags = [STATE.recording and x.requires_grad for x in (*carries, *rows)]
    step = trace_inner("step", one, types, flags)
    kept = _carry_count(step)
    _require_carried("scan", "f", carries, step.graph.outputs[:kept])
    outside = Outside.of([step])
    state = [*outside.written, *carries]
    given = [*outside.fixed, *state, *rows]
    arguments = range(len(given) - len(carries) - len(rows), len(given))
    body = region_of(step, given, arguments, outside, slices=True)
    count = step.count
    body.outputs = (*body.outputs[count:], *body.outputs[:count])
    attributes = {
        "invariants": len(outside.fixed), "carries": len(state), "length": steps, "reverse": reverse
    }  # fmt: skip
    if checkpoint:
        attributes["checkpoint"] = True
    found = _applied("scan", given, attributes, [body], outside)
    written = len(outside.written)
    result: tuple[Any, Any] = outside.finish(step, [*found[written:], *found[:written]])
    return result


def fori_loop(lower: Any, upper: Any, body_fun: Callable[[Any, Any], Any], init_val: Any) -> Any:
    """value = body_fun(i, value) for i = lower ... upper - 1; the last value.

    >>> import adjit as torch
    >>> torch.fori_loop(0, 4, lambda i, x: x * (i + 1), torch.tensor(1.0))
    tensor(24.)
    """
    if STATE.tracer is None:
        for index in range(int(lower), int(upper)):
            init_val = body_fun(index, init_val)
        return init_val
    if isinstance(lower, Tensor) or isinstance(upper, Tensor):
        first = _number(lower)
        _, result = while_loop(
            lambda i, value: i < upper, lambda i, value: (i + 1, body_fun(i, value)), (first, init_val)
        )
        return result
    from adjit.ranges import arange

    result, _ = scan(lambda value, i: (body_fun(i, value), None), init_val, arange(lower, max(lower, upper)))
    return result


def map(f: Callable[..., Any], xs: Any, *args: Any) -> Any:  # the name is PyTorch's and JAX's
    """f(x[i], *args) for each slice along the first axis of `xs`, stacked; one after the other, unlike `vmap`."""
    return scan(lambda _, x: ((), f(x, *args)), (), xs)[1]


def _in_blocks(
    f: Callable[[Any, Any], Any], carry: Any, rows: Sequence[Tensor], shape: Any, steps: int, reverse: bool
) -> tuple[Any, Any]:
    """A scan over blocks of about sqrt(steps) steps, each a checkpointed scan, and over the steps that remain."""
    from adjit.joining import cat

    size = max(isqrt(steps), 1)
    count = steps // size
    whole = count * size
    blocks = [row[:whole].reshape(count, size, *row.shape[1:]) for row in rows]

    def part(carry: Any, some: Sequence[Tensor], length: int) -> tuple[Any, Any]:
        return scan(f, carry, trees.unflatten(shape, some) if rows else None, length, reverse, checkpoint=True)

    def one(carry: Any, block: Any) -> tuple[Any, Any]:
        return part(carry, trees.leaves_of(block), size)

    def main(carry: Any) -> tuple[Any, Any]:
        given = trees.unflatten(shape, blocks) if rows else None
        carry, ys = scan(one, carry, given, count, reverse, checkpoint=True)
        return carry, trees.mapped(lambda y: y.reshape(whole, *y.shape[2:]), ys)

    def rest(carry: Any) -> tuple[Any, Any]:
        return part(carry, [row[whole:] for row in rows], steps - whole)

    if whole == steps:
        return main(carry)
    carry, first = (rest if reverse else main)(carry)
    carry, second = (main if reverse else rest)(carry)
    parts = [trees.flatten(ys) for ys in ((second, first) if reverse else (first, second))]
    joined = [cat(pair) for pair in zip(*(leaves for leaves, _ in parts), strict=True)]
    return carry, trees.unflatten(parts[0][1], joined)


# -- eager ------------------------------------------------------------------------------------------------------------
def _stepped(
    f: Callable[[Any, Any], Any], carry: Any, rows: Sequence[Tensor], shape: Any, steps: int, reverse: bool
) -> tuple[Any, Any]:
    """A scan in Python."""
    from adjit.joining import stack

    if not steps:
        return _no_steps(f, carry, rows, shape)
    found = []
    structure: Any = None
    for place in reversed(range(steps)) if reverse else range(steps):
        carry, y = _pair(f(carry, trees.unflatten(shape, [row[place] for row in rows]) if rows else None))
        leaves, structure = _as_tensors(y)
        found.append(leaves)
    if reverse:
        found.reverse()
    return carry, trees.unflatten(structure, [stack(column) for column in zip(*found, strict=True)])


def _no_steps(f: Callable[[Any, Any], Any], carry: Any, rows: Sequence[Tensor], shape: Any) -> tuple[Any, Any]:
    """A scan of length 0: only a trace of the step tells what the rows would have been."""
    from adjit.creation import zeros
    from adjit.dtypes import public

    carries, structure = _as_tensors((carry,))
    types = [
        *(x._tensor_type for x in carries),
        *(row._tensor_type.with_dims(row._tensor_type.dims[1:]) for row in rows),
    ]

    def one(*values: Tensor) -> Any:
        given = trees.unflatten(structure, values[: len(carries)])[0]
        return f(given, trees.unflatten(shape, values[len(carries) :]) if rows else None)[1]

    step = trace_inner("step", one, types)
    outputs = step.graph.outputs[: step.count]
    return carry, step.restore([zeros(0, *value.dims, dtype=public(value.dtype)) for value in outputs])


# -- tracing ----------------------------------------------------------------------------------------------------------
def _traced(functions: Sequence[Callable[..., Any]], leaves: Sequence[Tensor], structure: Any) -> list[Traced]:
    """The graphs of the functions of one op; memory that one of them writes is one operand for all of them."""

    def one(function: Callable[..., Any], *values: Tensor) -> Any:
        return trees.mapped(_number, function(*trees.unflatten(structure, values)))

    flags = [STATE.recording and x.requires_grad for x in leaves]
    types = [x._tensor_type for x in leaves]
    known: dict[int, Tensor] = {}
    taken: list[Tensor] = []
    while True:
        found = [
            trace_inner("branch", partial(one, function), types, flags, together=known, taken=taken)
            for function in functions
        ]
        written = [x for traced in found for x in traced.written]
        more = wholes([x for traced in found for x in traced.captured], written)
        linked = tied_among(written)
        if more.keys() <= known.keys() and len(linked) <= len(taken):
            return found
        known.update(more)
        taken = linked


def _applied(
    op: str, operands: Sequence[Tensor], attributes: dict[str, Any], regions: Sequence[Region], outside: Outside
) -> list[Tensor]:
    """The op's results.  What it writes enters as a copy: the memory will hold something else when gradients ask."""
    written = {id(x) for x in outside.written}
    given = [
        apply(primitive_named("reshape"), (x,), {"shape": tuple(x.shape)}) if id(x) in written else x for x in operands
    ]
    found = apply(primitive_named(op), given, attributes, regions=regions, name=op.capitalize())
    return [found] if isinstance(found, Tensor) else list(found)


# -- values -----------------------------------------------------------------------------------------------------------
def _tuple(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _slice_type(row: Tensor) -> TensorType:
    type = row._tensor_type
    return type.with_dims(type.dims[1:])


def _number(value: Any) -> Any:
    """A Python number as a tensor of rank 0, anything else as it is."""
    from adjit.dispatch import literal
    from adjit.dtypes import default_float

    if isinstance(value, bool):
        return literal(value, BOOL)
    if isinstance(value, int):
        return literal(value, I64)
    return literal(value, default_float()) if isinstance(value, float) else value


def _as_tensors(tree: Any) -> tuple[list[Tensor], Any]:
    """The leaves as tensors, each an object of its own, and the structure."""
    leaves, structure = trees.flatten(tree)
    found: list[Tensor] = []
    for leaf in leaves:
        tensor = _number(leaf)
        if not isinstance(tensor, Tensor):
            raise RuntimeError(f"control flow takes tensors and numbers, not {type(leaf).__name__}")
        found.append(tensor)
    return found, structure


def _carry_count(step: Traced) -> int:
    """How many of a step's results belong to its carry."""
    result = step.restore([None] * step.count)
    return len(trees.leaves_of(trees.mapped(lambda _: 0, result[0], none_is_leaf=True)))


def _pair(result: Any) -> tuple[Any, Any]:
    """A step's result with its numbers as tensors."""
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(f"scan: f must return (carry, y), not {type(result).__name__}")
    carry, y = result
    return trees.mapped(_number, carry), trees.mapped(_number, y)


def _require_alike(then: Traced, other: Traced) -> None:
    types = [[v.type for v in traced.graph.outputs[: traced.count]] for traced in (then, other)]
    if then.structure != other.structure or types[0] != types[1]:
        raise explained(
            RuntimeError,
            "cond: true_fn and false_fn must give results of the same structure and types",
            "cond",
            {"true_fn": ", ".join(map_text(types[0])), "false_fn": ", ".join(map_text(types[1]))},
            "convert one with .to(dtype) or expand it to the other's shape",
        )


def map_text(types: Sequence[TensorType]) -> list[str]:
    """The types as a message shows them."""
    return [str(type) for type in types]


def _require_carried(api: str, function: str, before: Sequence[Tensor], after: Sequence[Value]) -> None:
    types = [x._tensor_type for x in before], [v.type for v in after]
    if types[0] != types[1]:
        raise explained(
            RuntimeError,
            f"{api}: what {function} carries must keep its types",
            api,
            {"before": ", ".join(map_text(types[0])), "after": ", ".join(map_text(types[1]))},
            "start from a value of the final dtype and shape",
        )
