"""Einstein's notation: subscripts to permutations, products and sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.ir.primitive import PRIMITIVES
from adjit.tensor import Tensor


def contract(equation: str, tensors: Sequence[Tensor]) -> Tensor:
    """The sum of products that `equation` says, taken pair by pair from the left."""
    inputs, output = _subscripts(equation.replace(" ", ""), tensors)
    terms = [_traced(tensor, letters) for tensor, letters in zip(tensors, inputs, strict=True)]
    result, letters = terms[0]
    for position, (tensor, own) in enumerate(terms[1:], 1):
        needed = set(output).union(*(other for _, other in terms[position + 1 :]))
        result, letters = _pair(result, letters, tensor, own, needed)
    extra = [letters.index(letter) for letter in letters if letter not in output]
    if extra:
        result = apply(PRIMITIVES["reduce_sum"], (result,), {"axes": tuple(extra)}, name="SumBackward1")
        letters = "".join(letter for letter in letters if letter in output)
    order = tuple(letters.index(letter) for letter in output)
    if order != tuple(range(len(order))):
        result = apply(PRIMITIVES["permute"], (result,), {"perm": order}, name="Permute")
    return result


def _subscripts(equation: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    left, arrow, output = equation.partition("->")
    inputs = left.split(",")
    if len(inputs) != len(tensors):
        raise RuntimeError(
            "einsum(): more operands were provided than specified in the equation"
            if len(inputs) < len(tensors)
            else "einsum(): fewer operands were provided than specified in the equation"
        )
    spare = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    dots = ""
    widths = [len(shape_of(t)) - len(s.replace("...", "")) for s, t in zip(inputs, tensors, strict=True)]
    if "..." in left:
        dots = "".join(next(c for c in spare if c not in equation) for _ in range(max(widths)))
    inputs = [s.replace("...", dots[len(dots) - w :] if w else "") for s, w in zip(inputs, widths, strict=True)]
    for position, (letters, tensor) in enumerate(zip(inputs, tensors, strict=True)):
        if len(letters) != len(shape_of(tensor)):
            raise explained(
                RuntimeError,
                f"einsum(): the number of subscripts in the equation ({len(letters)}) does not match the number of "
                f"dimensions ({len(shape_of(tensor))}) for operand {position} and no ellipsis was given",
                op="einsum",
                hint="give each axis of each operand one letter, or write `...` for the rest",
            )
    if not arrow:
        joined = "".join(inputs)
        output = dots + "".join(sorted(c for c in set(joined) if joined.count(c) == 1 and c not in dots))
    else:
        output = output.replace("...", dots)
    _check(inputs, output, tensors)
    return inputs, output


def _check(inputs: Sequence[str], output: str, tensors: Sequence[Tensor]) -> None:
    """RuntimeError for a subscript with two sizes, or one of the output that no operand has."""
    sizes: dict[str, Any] = {}
    for position, (letters, tensor) in enumerate(zip(inputs, tensors, strict=True)):
        for letter, size in zip(letters, shape_of(tensor), strict=True):
            known = sizes.setdefault(letter, size)
            if known != size:
                raise explained(
                    RuntimeError,
                    f"einsum(): subscript {letter} has size {size} for operand {position} which does not broadcast "
                    f"with previously seen size {known}",
                    op="einsum",
            hint="a letter stands for one size wherever it is used: change the letters, or transpose an "
                    "operand",
                )
    for letter in output:
        if letter not in sizes:
            raise RuntimeError(
                f"einsum(): output subscript {letter} does not appear in the equation for any input operand"
            )
        if output.count(letter) > 1:
            raise RuntimeError(f"einsum(): output subscript {letter} appears more than once in the output")


def _traced(tensor: Tensor, letters: str) -> tuple[Tensor, str]:
    """Repeated subscripts of one operand reduced to their diagonal."""
    from adjit.ir.ops.indexing import gather as gather_op
    from adjit.selecting import iota_like

    while len(set(letters)) < len(letters):
        letter = next(c for c in letters if letters.count(c) > 1)
        first, second = letters.index(letter), letters.rindex(letter)
        from adjit.shaping import select

        line = tensor
        for axis in reversed([a for a in range(len(letters)) if a != first]):
            line = select(line, axis, 0)
        position = iota_like(line, 0)
        tensor = apply(gather_op, (tensor, position, position), {"axes": (first, second)}, name="Diagonal")
        letters = letter + "".join(c for a, c in enumerate(letters) if a not in (first, second))
    return tensor, letters


def _pair(a: Tensor, left: str, b: Tensor, right: str, needed: set[str]) -> tuple[Tensor, str]:
    """The product of two operands, summed over the subscripts that nothing else needs."""
    shared = [c for c in left if c in right]
    summed = [c for c in shared if c not in needed]
    batch = [c for c in shared if c in needed]
    a, left = _presummed(a, left, right, needed)
    b, right = _presummed(b, right, left, needed)
    attributes: dict[str, Any] = {
        "contract": (tuple(left.index(c) for c in summed), tuple(right.index(c) for c in summed)),
        "batch": (tuple(left.index(c) for c in batch), tuple(right.index(c) for c in batch)),
    }
    if a._dtype is not b._dtype:
        raise explained(
            RuntimeError,
            f"expected scalar type {title_of(a._dtype)} but found {title_of(b._dtype)}",
            "einsum", {"left": a, "right": b},
            hint="convert one operand, as in a.to(b.dtype)",
        )  # fmt: skip
    result = apply(PRIMITIVES["dot"], (a, b), attributes, name="View")
    rest = [c for c in left if c not in shared] + [c for c in right if c not in shared]
    return result, "".join([*batch, *rest])


def _presummed(tensor: Tensor, own: str, other: str, needed: set[str]) -> tuple[Tensor, str]:
    """The operand summed over subscripts that stand in it alone."""
    alone = tuple(axis for axis, c in enumerate(own) if c not in other and c not in needed)
    if not alone:
        return tensor, own
    summed = apply(PRIMITIVES["reduce_sum"], (tensor,), {"axes": alone}, name="SumBackward1")
    return summed, "".join(c for axis, c in enumerate(own) if axis not in alone)
