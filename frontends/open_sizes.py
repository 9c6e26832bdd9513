"""Which sizes a trace keeps open: those that have changed between calls, and those that the user named.

`compile(f, shapes={"x": ("n", 3)})` names sizes.  A name stands for one number in a call; a dim may be an expression of
names, as "2*n + 1".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from adjit.call import Call
from adjit.ir.analysis import match_sizes
from adjit.ir.errors import ParseError, ShapeError
from adjit.ir.shape import Dim, Size, evaluate, substitute
from adjit.symbolic_size import Divide, Respecialize
from adjit.tensor import Tensor

_NAMES = ("n", "m", "p", "q", "r", "s")
# Sizes that no program compares with: a trace with them as examples holds for all but special numbers.
_UNLIKELY = (1009, 1013, 1019, 1021, 1031, 1033, 1039, 1049, 1051, 1061)

Shapes: TypeAlias = "tuple[tuple[int, ...], ...]"
Place: TypeAlias = "tuple[int, int]"  # a tensor argument, and its axis
Shape: TypeAlias = "tuple[Size | None, ...]"  # None: as it comes


def parsed(shapes: Mapping[str, Sequence[Any]]) -> dict[str, Shape]:
    """What the user said of the arguments' shapes.  Errors: ValueError for a dim that is no size."""
    return {name: tuple(_size(name, item) for item in dims) for name, dims in shapes.items()}


def _size(name: str, item: Any) -> Size | None:
    if item is None or (isinstance(item, int) and not isinstance(item, bool)):
        return item
    from adjit.ir.lexer import Lexer
    from adjit.ir.literal_parser import Literals

    try:
        lexer = Lexer(item)
        size = Literals(lexer, {}).size()
        if lexer.kind == "end":
            return size
    except (ParseError, TypeError):
        pass
    raise ValueError(f"shapes: a dim of {name} is {item!r}; it is a number, a name, an expression of names, or None")


class OpenSizes:
    """The open sizes of one compiled function."""

    def __init__(self, dynamic: bool | None, shapes: Mapping[str, Sequence[Any]] | None) -> None:
        self.dynamic = dynamic
        self.shapes = None if shapes is None else parsed(shapes)
        self.seen: dict[Any, list[Shapes]] = {}
        self.fixed: dict[Any, set[Place]] = {}
        self.divided: dict[Any, dict[Place, int]] = {}

    def attempt(self, call: Call, names: Sequence[str]) -> Attempt:
        """How to trace for a call; `names` are those of its tensors.

        Errors: ShapeError where the call does not fit what the user said; ValueError where that names no argument.
        """
        said = self._said(call, names)
        return Attempt(self, call, names, said)

    def _said(self, call: Call, names: Sequence[str]) -> list[Shape]:
        """For each tensor what the user said of its dims, which the call fits."""
        said: list[Shape] = [(None,) * len(shape) for shape in call.shapes]
        for name, dims in (self.shapes or {}).items():
            if name not in names:
                raise ValueError(f"shapes: {name} is no tensor argument; those are {', '.join(names)}")
            index = names.index(name)
            shape = call.shapes[index]
            if len(dims) != len(shape):
                raise ShapeError(f"{name} has {len(shape)} axes, {_text(shape)}, and shapes says {_text(dims)}")
            said[index] = dims
        _check(said, call.shapes, names)
        return said


def _text(dims: Sequence[Any]) -> str:
    return f"({', '.join('any' if dim is None else str(dim) for dim in dims)})"


def _check(said: Sequence[Shape], shapes: Shapes, names: Sequence[str]) -> None:
    """ShapeError in the user's names where a call's sizes are not what was said."""
    sizes = _values(said, shapes)
    source: dict[str, str] = {}
    for name, dims in zip(names, said, strict=True):
        for axis, dim in enumerate(dims):
            if isinstance(dim, Dim) and str(dim).isidentifier():
                source.setdefault(str(dim), f"axis {axis} of {name}")
    for name, dims, shape in zip(names, said, shapes, strict=True):
        for axis, (dim, extent) in enumerate(zip(dims, shape, strict=True)):
            here = f"axis {axis} of {name}"
            if dim is None or dim == extent:
                continue
            if isinstance(dim, int):
                raise ShapeError(f"{here} is {extent}, and shapes says {dim}")
            if not dim.names <= sizes.keys():
                raise ShapeError(f"{here} is {extent}, and shapes says {dim}: no number makes it that")
            wanted = evaluate(dim, sizes)
            if wanted == extent:
                continue
            if str(dim) in source:
                raise ShapeError(f"{dim} is {wanted} by {source[str(dim)]} and {extent} by {here}")
            known = [f"{n} is {sizes[n]}" + (f" by {source[n]}" if n in source else "") for n in sorted(dim.names)]
            raise ShapeError(f"{here} is {extent}, and shapes says {dim} = {wanted}: {', '.join(known)}")


def _values(said: Sequence[Shape], shapes: Shapes) -> dict[str, int]:
    """The numbers that the names stand for."""
    # What was not said is a number of its own, which tells nothing.
    patterns = [[0 if dim is None else dim for dim in dims] for dims in said]
    return {name: size for name, size in match_sizes(patterns, shapes).items() if isinstance(size, int)}


class Attempt:
    """The dims to trace a call with, and the numbers of the open sizes in the example."""

    def __init__(self, sizes: OpenSizes, call: Call, names: Sequence[str], said: Sequence[Shape]) -> None:
        self.sizes = sizes
        self.call = call
        self.names = names
        self.said = said
        self.values = _values(said, call.shapes)
        self.fixed = sizes.fixed.setdefault(call.key, set())
        self.divided = sizes.divided.setdefault(call.key, {})
        self.general = False  # whether the example's sizes are others than the call's
        self.dims: list[tuple[Size, ...]] = []
        self.hints: dict[str, int] = {}
        self._choose()

    def done(self) -> None:
        """Remember the call's sizes."""
        self.sizes.seen.setdefault(self.call.key, []).append(self.call.shapes)

    def narrow(self, request: Respecialize) -> None:
        """Do as a trace asked: know a size to be a multiple, or fix sizes.

        Errors: ShapeError where it needs the number of a size that the user named, or fixing leads nowhere.
        """
        if not self.hints:
            raise ShapeError(f"sizes {request} could not be fixed") from request
        named = {name for name in self.values if self.values[name] > 1} & _stems(request.names)
        if isinstance(request, Divide):
            for place in self._places(request.names):
                self.divided[place] = self.divided.get(place, 1) * request.divisor
        elif named and not self.general:
            self.general = True
        elif named:
            name, where = min(named), request.location
            raise ShapeError(
                f"shapes says that {name} is open, and the function needs its number\n"
                f"  in {where.file}:{where.line}    {where.expression}\n"
                f"  hint: give {name} as a number in shapes, or loop with adjit.fori_loop or adjit.scan"
            ) from request
        else:
            self.fixed.update(self._places(request.names))
        self._choose()

    def specialize(self) -> None:
        """Fix the named sizes for this call: its numbers are special ones, for which the program differs."""
        self.general = False
        self.fixed = {*self.fixed, *self._places(frozenset(self.hints))}
        self._choose()

    def _places(self, names: frozenset[str]) -> list[Place]:
        return [
            (index, axis)
            for index, own in enumerate(self.dims)
            for axis, dim in enumerate(own)
            if isinstance(dim, Dim) and dim.names & names
        ]

    def _choose(self) -> None:
        """Open dims: those said to be, but for sizes 0 and 1, which broadcast; and those whose size has changed between
        calls, of which equal histories share a name."""
        seen = self.sizes.seen.get(self.call.key, [])
        named: dict[tuple[int, ...], str] = {}
        self.hints, self.dims = {}, []
        for index, shape in enumerate(self.call.shapes):
            own: list[Size] = []
            for axis, extent in enumerate(shape):
                own.append(self._dim((index, axis), extent, [earlier[index][axis] for earlier in seen], named))
            self.dims.append(tuple(own))
        if self.general:
            unlikely = iter(_UNLIKELY)
            for name in sorted(self.hints.keys() & self.values.keys()):
                self.hints[name] = next(unlikely)
        self._divide()

    def _dim(self, place: Place, extent: int, before: Sequence[int], named: dict[tuple[int, ...], str]) -> Size:
        index, axis = place
        dim = self.said[index][axis]
        if place in self.fixed:
            return extent
        if isinstance(dim, Dim):
            if any(self.values[name] < 2 for name in dim.names):
                return extent
            self.hints.update((name, self.values[name]) for name in dim.names)
            return dim
        history = (*before, extent)
        dynamic = self.sizes.dynamic
        changed = dynamic is True or (dynamic is None and len(set(history)) > 1)
        if isinstance(dim, int) or not changed or extent < 2:
            return extent
        if history not in named:
            free = (name for name in (*_NAMES, *(f"n{i}" for i in range(len(self.hints) + 1))))
            named[history] = next(name for name in free if name not in self.hints and name not in self.values)
            self.hints[named[history]] = extent
        return Dim.named(named[history])

    def _divide(self) -> None:
        """Write sizes that are known to be multiples as such: n becomes 2*n_by_2."""
        factors: dict[str, int] = {}
        for (index, axis), factor in self.divided.items():
            dim = self.dims[index][axis]
            if isinstance(dim, Dim) and len(dim.names) == 1:
                (name,) = dim.names
                factors[name] = max(factors.get(name, 1), factor)
        parts: dict[str, Size] = {}
        for name, factor in factors.items():
            value = self.values.get(name, self.hints[name])
            if value % factor == 0:
                part = f"{name}_by_{factor}"
                parts[name] = factor * Dim.named(part)
                self.hints[part] = self.hints.pop(name) if self.general else value // factor
                self.hints.pop(name, None)
        self.dims = [tuple(substitute(dim, parts) for dim in own) for own in self.dims]


def _stems(names: frozenset[str]) -> set[str]:
    """Names of sizes as the user gave them."""
    return {name.split("_by_")[0] for name in names}


def tensor_names(names: Sequence[str], leaves: Sequence[Any]) -> list[str]:
    """The names of the arguments that are tensors."""
    return [name for name, leaf in zip(names, leaves, strict=True) if isinstance(leaf, Tensor)]
