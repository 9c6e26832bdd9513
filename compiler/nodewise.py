"""The pullback of one node as a graph of its own: what eager mode runs, node by node.

It is the same differentiation pass as for whole graphs, on a graph of one node, kept per signature: a training loop
differentiates each distinct operation once.  Where no size stands in an operation's attributes, that is done once for
all sizes; and where the number beside a tensor is another one time and again, once for all numbers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from adjit.compiler.differentiate import backward_of
from adjit.compiler.particular import particular
from adjit.compiler.single import open_product
from adjit.ir.builder import Builder
from adjit.ir.frozen import frozen
from adjit.ir.graph import Attribute, Graph, Region, Value
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.rewrite import inline
from adjit.ir.shape import Dim, Size
from adjit.ir.types import TensorType

# A literal operand with what tells it from its equals, since 1 == 1.0 == True and 0.0 == -0.0; or any number; None for
# a tensor.
Literal: TypeAlias = "tuple[type, int | float | bool, str] | str | None"
ANY_NUMBER = "any number"
# Operations whose pullbacks for any number have the bits of those for one; so many numbers have pullbacks of their own.
_FOR_ANY = (
    "add", "celu", "clamp", "clamp_max", "clamp_min", "div", "elu", "fmod", "hardshrink", "hardtanh", "leaky_relu",
    "lerp", "maximum", "minimum", "mod", "mul", "nan_to_num", "softshrink", "sub", "threshold", "where", "xlogy",
)  # fmt: skip
_FEW = 8
# What Python makes of numbers, and a program of those that it does not know.
_ARITHMETIC = frozenset(("add", "cast", "div", "mul", "neg", "sub"))
# Operations whose results PyTorch does not save, which a program may overwrite therefore before backward: these are
# computed again.
_NOT_SAVED = frozenset(("div", "erfinv", "fmod", "mod", "silu", "sinc"))
# One whose operand PyTorch does not save: its result says as much of the derivative, where(x <= 0, 0, 1).
_BY_RESULT = "relu"
_numbers: dict[Any, set[Literal]] = {}


@frozen
class NodePullback:
    """`graph` takes the cotangents of the results in `seeded`, then the saved values; it returns the cotangents of the
    operands in `reached`.  `saved` says what each saved value is: ("in", operand) or ("out", result); an operand may be
    a number."""

    graph: Graph
    saved: tuple[tuple[str, int], ...]
    seeded: tuple[int, ...]
    reached: tuple[int, ...]


class _Call(NamedTuple):
    """An operation at its types, and the operands whose cotangents are wanted."""

    op: Primitive
    types: tuple[TensorType, ...]
    attributes: tuple[tuple[str, Any], ...]
    literals: tuple[Literal, ...]
    needs: tuple[bool, ...]
    results: tuple[TensorType, ...]
    regions: tuple[Region, ...]


def pullback_of(
    op: Primitive,
    types: Sequence[TensorType],
    attributes: dict[str, Attribute],
    literals: Sequence[Literal],
    needs: Sequence[bool],
    results: Sequence[TensorType],
    regions: Sequence[Region] = (),
) -> NodePullback:
    """The pullback of `op` at these types, for the operands that `needs` marks."""
    call = _Call(
        op, tuple(types), tuple(attributes.items()), tuple(literals), tuple(needs), tuple(results), tuple(regions)
    )
    return _pullback(call)


def literal_of(number: int | float | bool | None) -> Literal:
    """What tells the literal that a number is; None for None, where a tensor is."""
    return None if number is None else (type(number), number, "" if number else repr(number))


def with_any_number(
    op: Primitive, types: Sequence[TensorType], literals: Sequence[Literal]
) -> Sequence[Literal]:
    """The literals of a recorded operation: ANY_NUMBER each, where it came with many others before."""
    if op.name not in _FOR_ANY or not any(literals):
        return literals
    kind = op.name, *((t.dtype, len(t.dims), x is None) for t, x in zip(types, literals, strict=True))
    seen = _numbers.setdefault(kind, set())
    if len(seen) < _FEW:
        seen.update(filter(None, literals))
    return literals if len(seen) < _FEW else [None if x is None else ANY_NUMBER for x in literals]


@lru_cache(maxsize=4096)
def _pullback(call: _Call) -> NodePullback:
    opened = None if call.regions else _opened(call)
    if opened is None:
        return _derived(call)
    types, sizes = opened
    results = tuple(call.op.infer(types, dict(call.attributes)))
    common = _derived(call._replace(types=types, results=results))
    return NodePullback(particular(common.graph, sizes), common.saved, common.seeded, common.reached)


def _opened(call: _Call) -> tuple[tuple[TensorType, ...], dict[str, Size]] | None:
    """The operands' types with names for sizes, and what these are; None where sizes may stand elsewhere, too.

    The cotangents and saved values of such an operation tell all its sizes.
    """
    op, types, literals = call.op, call.types, call.literals
    tensors = [type.dims for type, literal in zip(types, literals, strict=True) if literal is None]
    if not tensors or any(isinstance(size, Dim) for dims in tensors for size in dims):
        return None
    if op.family == "scalar" and len({*tensors}) == 1:
        names: list[Size] = [Dim.named(f"n{axis}") for axis in range(len(tensors[0]))]
        opened = [list(names) if literal is None else [] for literal in literals]
    elif op.name == "dot":
        opened = open_product([list(dims) for dims in tensors], dict(call.attributes))
    else:
        return None
    sizes = {str(name): size for type, own in zip(types, opened, strict=True)
             for name, size in zip(own, type.dims, strict=True)}  # fmt: skip
    return tuple(type.with_dims(tuple(own)) for type, own in zip(types, opened, strict=True)), sizes


@lru_cache(maxsize=4096)
def _derived(call: _Call) -> NodePullback:
    graph = Graph(call.op.name)
    builder = Builder(graph)
    operands = [
        builder.constant(literal[1], type.dtype) if isinstance(literal, tuple) else builder.input(type)
        for type, literal in zip(call.types, call.literals, strict=True)
    ]
    node = builder.emit(call.op, operands, dict(call.attributes), call.regions, call.results)
    graph.outputs = node.outputs
    positions = {value: index for index, value in enumerate(graph.inputs)}
    wrt = [positions[value] for value, need in zip(operands, call.needs, strict=True) if need and value in positions]
    seeded = tuple(index for index, type in enumerate(call.results) if type.dtype.is_continuous)
    backward, residuals, reached = backward_of(graph, wrt, seeded)
    if call.op.name in _NOT_SAVED and node.outputs[0] in residuals:
        backward, residuals = _with_result_again(call, operands, node.outputs[0], backward, residuals)
    if call.op.name == _BY_RESULT:
        residuals = tuple(node.outputs[0] if value is operands[0] else value for value in residuals)
    numbers = {operand for operand, literal in zip(operands, call.literals, strict=True) if literal == ANY_NUMBER}
    taken = {own for own, value in zip(backward.inputs[len(seeded) :], residuals, strict=True) if value in numbers}
    multiply_plainly(backward, taken)
    place = {value: ("in", index) for index, value in enumerate(operands)}
    place.update({value: ("out", index) for index, value in enumerate(node.outputs)})
    back = {positions[value]: index for index, value in enumerate(operands) if value in positions}
    return NodePullback(
        backward, tuple(place[value] for value in residuals), seeded, tuple(back[index] for index in reached)
    )


def _with_result_again(
    call: _Call, operands: Sequence[Value], result: Value, backward: Graph, residuals: Sequence[Value]
) -> tuple[Graph, tuple[Value, ...]]:
    """A pullback that computes an operation's result anew from its operands, and what it takes instead."""
    given = dict.fromkeys((*residuals, *operands))
    taken = tuple(value for value in given if value.node is None and value is not result)
    graph = Graph(backward.name)
    builder = Builder(graph)
    seeds = [builder.input(value.type) for value in backward.inputs[: len(backward.inputs) - len(residuals)]]
    own = {value: builder.input(value.type) for value in taken}
    for operand, literal in zip(operands, call.literals, strict=True):
        if isinstance(literal, tuple):
            own[operand] = builder.constant(literal[1], operand.dtype)
    again = builder.emit(call.op, [own[value] for value in operands], dict(call.attributes), (), call.results)
    own[result] = again.outputs[0]
    graph.outputs = inline(builder, backward, [*seeds, *(own[value] for value in residuals)])
    return graph, taken


def multiply_plainly(backward: Graph, numbers: Collection[Value]) -> None:
    """Let products and quotients by numbers that differ from call to call, and by what is made of these alone, be those
    by literals, which no zero protects."""
    known = {*numbers}
    for node in backward.nodes:
        if node.op.name in ("safe_div", "safe_mul") and node.inputs[1] in known:
            node.op = primitive_named(node.op.name.removeprefix("safe_"))
        if node.op.name in _ARITHMETIC and known.issuperset(node.inputs):
            known.update(node.outputs)
