"""Division of loop variables: where a loop over 900 looks at `i % 300`, two loops over 3 and 300 have plain indices.

The elements of a vector are then neighbours, where remainders would let them be anywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from adjit.compiler.loops.affine import Bounds
from adjit.compiler.loops.collapse import accesses
from adjit.ir.graph import Attribute, Node, Region
from adjit.ir.shape import Dim, Size, map_sizes, size_names, substitute

# Shorter rows are no better than elements anywhere.
_SHORTEST = 16


def divide(attributes: dict[str, Attribute], region: Region, bounds: Bounds, variable: Callable[[], Dim]) -> None:
    """Make two variables of the last one of a `for` as long as that leaves fewer quotients and remainders of it."""
    variables: list[Dim] = list(attributes["var"])  # type: ignore[arg-type]
    extents: list[Size] = list(attributes["extent"])  # type: ignore[arg-type]
    known = bounds.copy()
    for name, extent in zip(variables, extents, strict=True):
        known.declare(str(name), extent)
    while (found := _division(region, str(variables[-1]), extents[-1], known)) is not None:
        last, extent = variables[-1], extents[-1]
        assert isinstance(extent, int)
        quotient = variable()
        known.declare(str(quotient), extent // found)
        known.declare(str(last), found)
        replace: dict[str, Size] = {str(last): quotient * found + last}
        for node, _ in list(accesses(region)):
            _rewrite(node, lambda size: known.simplify(substitute(size, replace)))  # noqa: B023
        variables[-1:], extents[-1:] = [quotient, last], [extent // found, found]
    attributes["var"], attributes["extent"] = tuple(variables), tuple(extents)


def _rewrite(node: Node, function: Callable[[Size], Size]) -> None:
    for name in ("at", "value", "of"):
        if name in node.attributes:
            node.attributes[name] = map_sizes(node.attributes[name], function)  # type: ignore[assignment]


def _division(region: Region, name: str, extent: Size, known: Bounds) -> int | None:
    """The length of rows that leaves fewest quotients and remainders of a variable, if fewer than there are."""
    if not isinstance(extent, int):
        return None
    used = [size for _, sizes in accesses(region) for size in sizes]
    divisors = {divisor for size in used for _, divisor in _divisions(size, name)}
    best, fewest = None, sum(len(list(_divisions(size, name))) for size in used)
    for divisor in sorted(divisors):
        if divisor < _SHORTEST or divisor >= extent or extent % divisor:
            continue
        trial = known.copy()
        trial.declare("@quotient", extent // divisor)
        trial.declare(name, divisor)
        whole = Dim.named("@quotient") * divisor + Dim.named(name)
        left = sum(len(list(_divisions(trial.simplify(substitute(size, {name: whole})), name))) for size in used)
        if left < fewest:
            best, fewest = divisor, left
    return best


def _divisions(size: Size, name: str) -> Iterator[tuple[Dim, int]]:
    """The quotients and remainders that depend on a variable: what is divided, and the divisor where it is a number."""
    if isinstance(size, int):
        return
    for monomial, _ in size.terms:
        for atom in monomial:
            if isinstance(atom, str) or name not in size_names(atom[1]) | size_names(atom[2]):
                continue
            divisor = atom[2] + 0
            yield atom[1], divisor if isinstance(divisor, int) else 0
            yield from _divisions(atom[1], name)
