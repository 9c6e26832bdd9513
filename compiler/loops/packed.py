"""Which products are computed by packed panels, and which by plain sums since packing would cost more than it saves."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence

from adjit.ir.graph import Node, Region, Value
from adjit.ir.ops.contraction import free_axes
from adjit.ir.shape import Size, product

# So many multiply-adds (16 x 16 x 16) are done sooner than the panels are packed.
SMALL = 4096
# The same for each of many matrices (10 x 10 x 10): more are better packed, for attention's blocks above all.
SMALL_EACH = 1000
# Sums that are under way together for one row of an operand that is read once; how many terms repay it, and how many
# rows where sums go in order; and the most elements of the other operand, which all rows read.
_FEW_SUMS, _MANY, _MOST_SHARED = 4, 64, 24 << 10
# The same for many rows or columns, if the other operand has so few elements (4 x 4).
_FEW = 16


def behind_layout(value: Value) -> Node | None:
    """The node whose elements `value` holds, in the order of a `permute` at most and in another shape."""
    node = value.node
    while node is not None and node.op.name == "reshape":
        node = node.inputs[0].node
    if node is not None and node.op.name == "permute":
        node = node.inputs[0].node
    return node


def packed_dot(group: Region) -> Node | None:
    """The `dot` that the kernel of a group computes by packed panels, if it does."""
    return next((node for node in group.nodes if node.op.name == "dot" and is_packed(node)), None)


def ordered_dot(group: Region) -> Node | None:
    """The product of few rows that packed panels compute where its sums go in order: vectors then go across the sums.

    The kernel of the group stores nothing but the product and what is made of each of its elements.
    """
    dots = [node for node in group.nodes if node.op.family == "contraction"]
    if len(dots) != 1 or few_axis(dots[0]) is None:
        return None
    if any(not isinstance(size, int) or size >= _MANY for size in dots[0].output.dims):
        return None
    plain = all(node.op.family in ("scalar", "structure", "source") for node in group.nodes if node is not dots[0])
    return dots[0] if plain and all(value.dims == dots[0].output.dims for value in group.outputs) else None


def contraction_chain(
    dot: Node, users: Mapping[Value, Sequence[Node]], outputs: Container[Value]
) -> list[Node]:
    """A `dot` and what its kernel does while storing: a `permute`, `reshape`s, an `interleave`."""
    chain = [dot]
    wanted = {"permute", "reshape", "interleave"}
    while chain[-1].output not in outputs and len(users.get(chain[-1].output, ())) == 1:
        (user,) = users[chain[-1].output]
        if user.op.name not in wanted:
            break
        # After a reshape only the order in memory is known.
        wanted = {"reshape", "interleave"}
        chain.append(user)
    return chain


def is_packed(dot: Node) -> bool:
    """Whether packing pays: not for products with a vector, nor for small ones.  An unknown size counts as large."""
    contract, batch = dot.attributes["contract"], dot.attributes["batch"]
    sizes: list[Size] = []
    for side, operand in enumerate(dot.inputs):
        axes = free_axes(operand.type.ndim, contract[side], batch[side])  # type: ignore[index, arg-type]
        sizes.append(product(operand.dims[axis] for axis in axes))
    x = dot.inputs[0].dims
    sizes.append(product(x[axis] for axis in contract[0]))  # type: ignore[index, union-attr]
    if any(isinstance(size, int) and size <= 1 for size in sizes):
        return False
    each = product(sizes)
    total = product((each, *(x[axis] for axis in batch[0])))  # type: ignore[index, union-attr]
    if few_axis(dot) is not None:
        return False
    limits = (total, SMALL), (each, SMALL_EACH), (product(sizes[1:]), _FEW), (product(sizes[::2]), _FEW)
    return not any(isinstance(size, int) and size <= most for size, most in limits)


def few_axis(dot: Node) -> int | None:
    """The axis of a matrix product of few rows or columns, if it is done row by row of the other, which is read once.

    For each of these there is a sum for each of the few, along what both operands have contiguous.
    """
    dims, sides = dot.output.dims, zip(dot.inputs, dot.attributes["contract"], strict=True)  # type: ignore[arg-type]
    beside = all(x.type.ndim == 2 and list(axes) == [1] for x, axes in sides)  # type: ignore[arg-type]
    if not beside or dot.attributes["batch"][0]:  # type: ignore[index]
        return None
    left, right, terms = *dims, dot.inputs[0].dims[1]
    if not (isinstance(left, int) and isinstance(right, int) and isinstance(terms, int)):
        return None
    sums, rows = sorted((left, right))
    fits = 2 <= sums <= _FEW_SUMS and sums * terms <= _MOST_SHARED
    return int(left > right) if fits and rows > 1 and terms >= _MANY else None
