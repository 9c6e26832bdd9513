"""Linear systems whose matrix is a function: solved by any method, differentiated by the system itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from adjit import trees
from adjit.dispatch import apply
from adjit.func.arguments import flatten
from adjit.inner_trace import Traced, call_inner, trace_inner
from adjit.ir.builder import Builder
from adjit.ir.errors import TraceError
from adjit.ir.graph import UNKNOWN, Graph, Region
from adjit.ir.primitive import primitive_named
from adjit.regions import Outside, region_of
from adjit.state import STATE
from adjit.tensor import Tensor

Product = Callable[[Any], Any]
# Solves product(x) = b: solver(product, b) = x.
Solver = Callable[[Product, Any], Any]


def dense(product: Product, b: Any) -> Any:
    """x with product(x) = b, by the matrix of `product` and its LU factorization."""
    from adjit.creation import eye
    from adjit.func.batching import vmap
    from adjit.linalg import solve

    leaves, structure = flatten(b, "dense: Expected b")
    right = raveled(leaves)
    shapes = [tuple(leaf.shape) for leaf in leaves]

    def flat(x: Tensor) -> Tensor:
        image = product(trees.unflatten(structure, shaped(x, shapes)))
        return raveled(flatten(image, "dense: Expected the product")[0])

    matrix = vmap(flat, out_dims=1)(eye(right.shape[0], dtype=right.dtype))
    return trees.unflatten(structure, shaped(solve(matrix, right), shapes))


def raveled(leaves: Sequence[Tensor]) -> Tensor:
    """All elements as one vector."""
    from adjit.joining import cat

    found: Tensor = leaves[0].reshape(-1) if len(leaves) == 1 else cat([leaf.reshape(-1) for leaf in leaves])
    return found


def shaped(vector: Tensor, shapes: Sequence[Sequence[Any]]) -> list[Tensor]:
    """The parts of a vector in these shapes, which `raveled` put together."""
    found = []
    start: Any = 0
    for shape in shapes:
        count: Any = 1
        for size in shape:
            count = count * size
        found.append(vector[start : start + count].reshape(shape))
        start = start + count
    return found


def linear_solve(
    product: Product,
    b: Any,
    solve: Solver = dense,
    *,
    transpose_solve: Solver | None = None,
    symmetric: bool = False,
) -> Any:
    """x with product(x) = b, as `solve(product, b)` finds it; its derivatives solve the system again.

    `product` is linear, from a tree of tensors to one of the same structure and types.  The cotangent of b solves the
    transposed system, by `transpose_solve(transposed product, g)`, or by `solve` where none is given; the cotangent of
    a tensor that `product` uses comes from both solutions.  A `symmetric` product is its own transpose.
    Errors: RuntimeError where the product's result is not like b.

    >>> import adjit as torch
    >>> a = torch.tensor([2.0, 4.0])
    >>> torch.implicit.linear_solve(lambda x: a * x, torch.ones(2))
    tensor([0.5000, 0.2500])
    """
    leaves, structure = flatten(b, "linear_solve: Expected b")

    def emitted(*right: Tensor) -> Any:
        return tuple(_emitted(product, right, structure, solve, transpose_solve, symmetric))

    return trees.unflatten(structure, natively("linear_solve", emitted, leaves))


def natively(name: str, function: Callable[..., tuple[Tensor, ...]], operands: Sequence[Tensor]) -> list[Tensor]:
    """The results of a function of tensors, as one program: in eager mode its loops run natively, too."""
    if STATE.tracer is not None:
        return list(function(*operands))
    traced = trace_inner(name, function, [x._tensor_type for x in operands])
    for node in traced.graph.walk():
        node.location = UNKNOWN
    return call_inner(traced.graph, [*operands, *traced.captured], name.title().replace("_", ""))


def _emitted(
    product: Product,
    right: Sequence[Tensor],
    structure: Any,
    solve: Solver,
    transpose_solve: Solver | None,
    symmetric: bool,
) -> list[Tensor]:
    """The op, in the running trace."""
    types = [x._tensor_type for x in right]

    def traced(name: str, function: Callable[[Any], Any]) -> Traced:
        found = trace_inner(
            name, lambda *x: flatten(function(trees.unflatten(structure, x)), f"{name}: Expected x")[0], types
        )
        if found.written:
            raise TraceError(f"linear_solve: the {name} writes to a tensor that it did not make\n  hint: clone() it")
        if [value.type for value in found.graph.outputs] != types:
            raise RuntimeError(
                f"linear_solve: the {name} must have the types of b\n"
                f"    b : {', '.join(map(str, types))}\n"
                f"    x : {', '.join(str(value.type) for value in found.graph.outputs)}"
            )
        return found

    multiply = traced("product", product)
    transpose = multiply if symmetric else _transposed(multiply)

    def backwards(x: Any) -> Any:
        found = call_inner(transpose.graph, [*flatten(x, "x")[0], *transpose.captured], "Product")
        return trees.unflatten(structure, found)

    reverse = transpose_solve or solve
    parts = [multiply, traced("solution", lambda b: solve(product, b))]
    parts.append(traced("solution of the transpose", lambda b: reverse(backwards, b)))
    outside = Outside.of(parts)
    given = [*outside.captured, *right]
    places = range(len(outside.captured), len(given))
    regions = [region_of(part, given, places, outside) for part in parts]
    attributes: dict[str, Any] = {"invariants": len(outside.captured)}
    found = apply(primitive_named("linear_solve"), given, attributes, regions=regions, name="LinearSolve")
    return [found] if isinstance(found, Tensor) else list(found)


def _transposed(product: Traced) -> Traced:
    """The transpose of a linear graph, with the same captured tensors."""
    from adjit.compiler.pullback_control import transposed_product

    count = product.arguments
    graph = product.graph
    inputs = (*graph.inputs[count:], *graph.inputs[:count])
    region = transposed_product(Region(inputs, graph.nodes, graph.outputs), len(inputs) - count, Builder(Region()))
    fixed, given = region.inputs[: len(inputs) - count], region.inputs[len(inputs) - count :]
    back = Graph("transposed", (*given, *fixed), region.nodes, region.outputs)
    return Traced(back, count, product.captured, [], [None] * count, product.structure, [], product.flags)
