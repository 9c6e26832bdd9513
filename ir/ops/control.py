"""Ops that run programs: call, cond, while, scan, linear_solve, host_call.

Their references take `regions`, functions from arrays to tuples of arrays that an interpreter makes of an op's regions
(of the callee for call, of the host's function for host_call).  Derivatives and batching of a program are made from the
program's text by the compiler's passes, and its loops by their own lowerings: no rule for either stands here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from adjit.ir.analysis import match_sizes, substitute_type
from adjit.ir.errors import ShapeError
from adjit.ir.graph import Graph, Region
from adjit.ir.ops.arrays import Array
from adjit.ir.ops.checks import require, require_extents
from adjit.ir.primitive import primitive
from adjit.ir.shape import Size
from adjit.ir.types import BOOL, TensorType

Program = Callable[..., "tuple[Array, ...]"]
PREDICATE = TensorType(BOOL, ())


def listed(types: Sequence[TensorType]) -> str:
    """The types as a message shows them."""
    return f"({', '.join(map(str, types))})"


def require_types(op: str, what: str, found: Sequence[TensorType], wanted: Sequence[TensorType]) -> None:
    """The two lists of types are equal."""
    require(tuple(found) == tuple(wanted), f"{op}: {what} are {listed(found)}, not {listed(wanted)}")


def input_types(region: Region) -> tuple[TensorType, ...]:
    """The types of a region's inputs."""
    return tuple(value.type for value in region.inputs)


def output_types(region: Region) -> tuple[TensorType, ...]:
    """The types of a region's outputs."""
    return tuple(value.type for value in region.outputs)


def require_regions(op: str, regions: Sequence[Region], count: int) -> None:
    """The op has `count` regions."""
    require(len(regions) == count, f"{op}: {len(regions)} regions, not {count}")


# -- call --------------------------------------------------------------------------------------------------------------


@primitive("control")
def call(
    *operands: Array,
    callee: Graph,
    regions: Sequence[Program],
    vjp: Graph | None = None,
    jvp: Graph | None = None,
    wrt: tuple[int, ...] = (),
) -> tuple[Array, ...]:
    """outs = callee(operands).

    With `vjp` the derivative is not the callee's own: the graph takes the cotangents of the floating results, the
    operands and the results, and returns the cotangents of the operands listed in `wrt`; the others get none.  With
    `jvp` the graph takes the tangents of the operands in `wrt`, the operands and the results, and returns the tangents
    of the floating results; it is linear in the tangents.
    Shapes: operands of the callee's input types -> its output types, its named sizes replaced by the operands' sizes.
    """
    return tuple(regions[0](*operands))


@call.infers
def _(
    *operands: TensorType,
    callee: Graph,
    vjp: Graph | None = None,
    jvp: Graph | None = None,
    wrt: tuple[int, ...] = (),
) -> tuple[TensorType, ...]:
    parameters = input_types(callee)
    message = f"call: operands of @{callee.name} are {listed(operands)}, not {listed(parameters)}"
    alike = [(type.dtype, type.ndim) for type in parameters] == [(type.dtype, type.ndim) for type in operands]
    require(alike, message)
    sizes = match_sizes([type.dims for type in parameters], [type.dims for type in operands])
    require(tuple(substitute_type(type, sizes) for type in parameters) == operands, message)
    if vjp is not None or jvp is not None:
        require(all(0 <= index < len(operands) for index in wrt), f"call: wrt={list(wrt)} of {len(operands)} operands")
        results = output_types(callee)
        moving, floating = [parameters[index] for index in wrt], [type for type in results if type.dtype.is_continuous]
        for rule, given, found in ((vjp, floating, moving), (jvp, moving, floating)):
            if rule is not None:
                require_types("call", f"inputs of @{rule.name}", input_types(rule), (*given, *parameters, *results))
                require_types("call", f"results of @{rule.name}", output_types(rule), found)
    return tuple(substitute_type(type, sizes) for type in output_types(callee))


# -- cond --------------------------------------------------------------------------------------------------------------


@primitive("control")
def cond(predicate: Array, *operands: Array, regions: Sequence[Program]) -> tuple[Array, ...]:
    """outs = true(operands) if predicate else false(operands), with regions (true, false).

    Shapes: predicate bool[]; both regions take the operands' types and give the same types.
    """
    return tuple(regions[0 if predicate else 1](*operands))


@cond.infers
def _(predicate: TensorType, *operands: TensorType, regions: Sequence[Region]) -> tuple[TensorType, ...]:
    require_regions("cond", regions, 2)
    require(predicate == PREDICATE, f"cond: the predicate is {predicate}, not bool[]")
    for name, region in zip(("true", "false"), regions, strict=True):
        require_types("cond", f"inputs of the {name} branch", input_types(region), operands)
    results = output_types(regions[0])
    require_types("cond", "results of the false branch", output_types(regions[1]), results)
    return results


# -- while -------------------------------------------------------------------------------------------------------------


@primitive("control", name="while")
def while_(
    *operands: Array, invariants: int, regions: Sequence[Program], most: int | None = None
) -> tuple[Array, ...]:
    """outs = the carries after carries = body(fixed, carries) as long as condition(fixed, carries).

    About how many steps it makes at most, where that is known, is for its pullback to plan with.

    Shapes: operands are `invariants` fixed values, then the carries, whose types never change; regions are (condition,
    body), from fixed values and carries to bool[] and to the carries.
    """
    condition, body = regions
    fixed, carries = operands[:invariants], tuple(operands[invariants:])
    while condition(*fixed, *carries)[0]:
        carries = tuple(body(*fixed, *carries))
    return carries


@while_.infers
def _(
    *operands: TensorType, invariants: int, regions: Sequence[Region], most: int | None = None
) -> tuple[TensorType, ...]:
    require_regions("while", regions, 2)
    require(0 <= invariants <= len(operands), f"while: {invariants} of {len(operands)} operands are invariant")
    condition, body = regions
    for name, region in (("condition", condition), ("body", body)):
        require_types("while", f"inputs of the {name}", input_types(region), operands)
    require_types("while", "results of the condition", output_types(condition), (PREDICATE,))
    carries = operands[invariants:]
    require_types("while", "results of the body", output_types(body), carries)
    return tuple(carries)


# -- scan --------------------------------------------------------------------------------------------------------------


@primitive("control")
def scan(
    *operands: Array,
    invariants: int,
    carries: int,
    length: int,
    reverse: bool,
    checkpoint: bool = False,
    regions: Sequence[Program],
) -> tuple[Array, ...]:
    """carry, y[i] = body(fixed, carry, x[i]) for i = 0 ... length-1, or down to 0 in reverse; outs = carry, y.

    `checkpoint`: of each step, only the carries on entry are kept for the derivative, which runs it again.
    Shapes: operands are `invariants` fixed values, `carries` first carries, and xs [length, *dims]; results are the
    last carries, whose types are those of the first, and ys [length, *dims].  Errors: ShapeError for a length of 0,
    which an interpreter answers from the types of the results.
    """
    (body,) = regions
    fixed, state = operands[:invariants], tuple(operands[invariants : invariants + carries])
    sliced = operands[invariants + carries :]
    rows: list[tuple[Array, ...]] = []
    for place in reversed(range(length)) if reverse else range(length):
        results = tuple(body(*fixed, *state, *(np.asarray(x)[place] for x in sliced)))
        state = results[:carries]
        rows.append(results[carries:])
    if not rows:
        raise ShapeError("scan: of length 0: only its types tell what the rows would have been, and arrays have none")
    if reverse:
        rows.reverse()
    return (*state, *(np.stack(column) for column in zip(*rows, strict=True)))


@scan.infers
def _(
    *operands: TensorType,
    invariants: int,
    carries: int,
    length: Size,
    reverse: bool,
    checkpoint: bool = False,
    regions: Sequence[Region],
) -> tuple[TensorType, ...]:
    require_regions("scan", regions, 1)
    require_extents("scan", "length", (length,))
    first = invariants + carries
    require(0 <= invariants <= first <= len(operands), f"scan: {first} of {len(operands)} operands are not sliced")
    for x in operands[first:]:
        require(x.ndim > 0 and x.dims[0] == length, f"scan: {x} is not sliced into {length}")
    slices = tuple(x.with_dims(x.dims[1:]) for x in operands[first:])
    require_types("scan", "inputs of the body", input_types(regions[0]), (*operands[:first], *slices))
    results = output_types(regions[0])
    require_types("scan", "carries of the body", results[:carries], operands[invariants:first])
    return (*results[:carries], *(y.with_dims((length, *y.dims)) for y in results[carries:]))


# -- linear_solve ------------------------------------------------------------------------------------------------------


@primitive("control")
def linear_solve(*operands: Array, invariants: int, regions: Sequence[Program]) -> tuple[Array, ...]:
    """outs = x with product(fixed, x) = b, where product is linear in x.

    Shapes: operands are `invariants` fixed values, then b; x has the types of b.  Regions are (product, solution,
    solution of the transpose), each from the fixed values and one vector to one vector; the second one computes.
    """
    return tuple(regions[1](*operands))


@linear_solve.infers
def _(*operands: TensorType, invariants: int, regions: Sequence[Region]) -> tuple[TensorType, ...]:
    require_regions("linear_solve", regions, 3)
    require(0 <= invariants <= len(operands), f"linear_solve: {invariants} of {len(operands)} operands are invariant")
    for name, region in zip(("product", "solution", "solution of the transpose"), regions, strict=True):
        require_types("linear_solve", f"inputs of the {name}", input_types(region), operands)
        require_types("linear_solve", f"results of the {name}", output_types(region), operands[invariants:])
    return tuple(operands[invariants:])


# -- host_call ------------------------------------------------------------------------------------------------------


@primitive("control")
def host_call(
    *operands: Array, function: str, types: tuple[TensorType, ...], regions: Sequence[Program]
) -> tuple[Array, ...]:
    """outs = the host's function called `function`, on the operands.

    Shapes: operands of any types -> `types`.
    """
    return tuple(regions[0](*operands))


@host_call.infers
def _(*operands: TensorType, function: str, types: tuple[TensorType, ...]) -> tuple[TensorType, ...]:
    return tuple(types)
