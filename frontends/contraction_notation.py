"""Einstein's notation: subscripts to permutations, products and sums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from string import ascii_letters, ascii_lowercase, ascii_uppercase
from typing import Any

from adjit.dims import shape_of
from adjit.dispatch import apply
from adjit.dtypes import title_of
from adjit.errors import explained
from adjit.ir.primitive import PRIMITIVES
from adjit.tensor import Tensor

# Of more operands, not all orders are tried: there are 18 of four, 180 of five.
_MOST_ORDERS = 5
# Bytes of an element whose products would be rounded before they are added.
_HALF = 2


def equation_of_lists(args: Sequence[Any]) -> tuple[str, tuple[Any, ...]]:
    """The equation that operands, each with its list of axes after it, and the result's list say; and the operands.

    Errors: ValueError for an operand without a list and for axes that are not in [0, 52).
    """
    if len(args) < 2:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its "
            "subscripts list"
        )
    lists = ["".join(map(_letter, own)) for own in (*args[1::2], *([args[-1]] if len(args) % 2 else []))]
    count = len(args) // 2
    return "->".join([",".join(lists[:count]), *lists[count:]]), tuple(args[: 2 * count : 2])


def _letter(axis: Any) -> str:
    if axis is Ellipsis:
        return "..."
    if not 0 <= axis < len(ascii_letters):
        raise ValueError("einsum(): subscript in subscript list is not within the valid range [0, 52)")
    return (ascii_uppercase + ascii_lowercase)[axis]


def contract(equation: str, tensors: Sequence[Tensor]) -> Tensor:
    """The sum of products that `equation` says, pair by pair in the order of the least work."""
    inputs, output = _subscripts(equation.replace(" ", ""), tensors)
    terms = [_traced(tensor, letters) for tensor, letters in zip(tensors, inputs, strict=True)]
    sizes: dict[str, Any] = {}
    for tensor, own in terms:
        sizes.update((c, size) for c, size in zip(own, shape_of(tensor), strict=True) if sizes.get(c, 1) == 1)
    terms = [_without_spread(tensor, own, sizes) for tensor, own in terms]
    for left, right in pairs_in_order([own for _, own in terms], output, sizes):
        (a, own), (b, other) = terms[left], terms.pop(right)
        needed = set(output).union(*(rest for place, (_, rest) in enumerate(terms) if place != left))
        terms[left] = _pair(a, own, b, other, needed)
    ((result, letters),) = terms
    extra = [letters.index(letter) for letter in letters if letter not in output]
    if extra:
        result = apply(PRIMITIVES["reduce_sum"], (result,), {"axes": tuple(extra)}, name="SumBackward1")
        letters = "".join(letter for letter in letters if letter in output)
    order = tuple(letters.index(letter) for letter in output)
    if order != tuple(range(len(order))):
        result = apply(PRIMITIVES["permute"], (result,), {"perm": order}, name="Permute")
    return result


def pairs_in_order(inputs: Sequence[str], output: str, sizes: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Which two operands, i < j, are multiplied next: the result takes the place of i, and j leaves the list.

    The fewest multiply-adds of all orders; of many operands, the cheapest pair each time.  From the left where that is
    no worse, or where a size is not known.
    """
    terms = [frozenset(own) for own in inputs]
    if len(terms) < 3 or not all(isinstance(size, int) for size in sizes.values()):
        return [(0, 1)] * (len(terms) - 1)

    def after(left: int, right: int, terms: list[frozenset[str]]) -> tuple[int, list[frozenset[str]]]:
        """The multiply-adds of a pair, and the operands after it."""
        both = terms[left] | terms[right]
        others = [own for place, own in enumerate(terms) if place not in (left, right)]
        kept = both & frozenset(output).union(*others)
        rest = [kept if place == left else own for place, own in enumerate(terms) if place != right]
        return prod(sizes[c] for c in both), rest

    def best(terms: list[frozenset[str]]) -> tuple[int, list[tuple[int, int]]]:
        """The multiply-adds of the best order, and its pairs."""
        if len(terms) == 1:
            return 0, []
        pairs = [(i, j) for i in range(len(terms)) for j in range(i + 1, len(terms))]
        if len(terms) > _MOST_ORDERS:
            pairs = [min(pairs, key=lambda pair: after(pair[0], pair[1], terms)[0])]
        found = []
        for left, right in pairs:
            cost, rest = after(left, right, terms)
            further, following = best(rest)
            found.append((cost + further, [(left, right), *following]))
        return min(found, key=lambda order: order[0])

    return best(terms)[1]


def _subscripts(equation: str, tensors: Sequence[Tensor]) -> tuple[list[str], str]:
    left, arrow, output = equation.partition("->")
    if not tensors:
        raise ValueError(
            "einsum(): must specify the equation string and at least one operand, or at least one operand and its "
            "subscripts list"
        )
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
        own: dict[str, Any] = {}
        for letter, size in zip(letters, shape_of(tensor), strict=True):
            if own.setdefault(letter, size) != size:
                raise RuntimeError(
                    f"einsum(): subscript {letter} is repeated for operand {position} but the sizes don't match, "
                    f"{size} != {own[letter]}"
                )
            known = sizes.setdefault(letter, size)
            if known == 1:  # it is spread along the other
                sizes[letter] = size
            elif size not in (1, known):
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


def _without_spread(tensor: Tensor, letters: str, sizes: Mapping[str, Any]) -> tuple[Tensor, str]:
    """An operand without its axes of size 1 that are spread along others' of the same subscripts."""
    from adjit.shaping import select

    for axis in reversed(range(len(letters))):
        size = tensor.shape[axis]
        if isinstance(size, int) and size == 1 and sizes[letters[axis]] != 1:
            tensor, letters = select(tensor, axis, 0), letters[:axis] + letters[axis + 1 :]
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
    if len(summed) == len(left) == len(right) > 1 and a._dtype.itemsize > _HALF:
        result = _sum_of_products(a, left, b, right)
    else:
        result = apply(PRIMITIVES["dot"], (a, b), attributes, name="View")
    rest = [c for c in left if c not in shared] + [c for c in right if c not in shared]
    return result, "".join([*batch, *rest])


def _sum_of_products(a: Tensor, left: str, b: Tensor, right: str) -> Tensor:
    """The sum of a * b over all subscripts, of which both have all.

    Where they stand in another order, first over all but the last one of b: memory is read as it lies.
    """
    if left == right:
        product = apply(PRIMITIVES["mul"], (a, b), {}, name="Mul")
    else:
        rest, last = right[:-1], right[-1]
        contract, batch = ([tuple(own.index(c) for c in kept) for own in (left, right)] for kept in (rest, last))
        product = apply(PRIMITIVES["dot"], (a, b), {"contract": tuple(contract), "batch": tuple(batch)}, name="View")
    axes = tuple(range(len(shape_of(product))))
    total: Tensor = apply(PRIMITIVES["reduce_sum"], (product,), {"axes": axes}, name="View")
    return total


def _presummed(tensor: Tensor, own: str, other: str, needed: set[str]) -> tuple[Tensor, str]:
    """The operand summed over subscripts that stand in it alone."""
    alone = tuple(axis for axis, c in enumerate(own) if c not in other and c not in needed)
    if not alone:
        return tensor, own
    summed = apply(PRIMITIVES["reduce_sum"], (tensor,), {"axes": alone}, name="SumBackward1")
    return summed, "".join(c for axis, c in enumerate(own) if axis not in alone)
