"""Sizes that a trace keeps open: they behave like the integers they are in the example, and note what was asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import gcd
from typing import TYPE_CHECKING, Any, TypeAlias

from adjit.capture.prints import is_users_text
from adjit.ir.graph import Guard, Node
from adjit.ir.shape import Dim, Size, evaluate, never_negative, size_names
from adjit.state import user_location

if TYPE_CHECKING:
    from adjit.trace import Tracer

Integer: TypeAlias = "int | SymbolicSize"


class Respecialize(Exception):
    """The trace needs these named sizes as plain numbers: it starts again with them fixed."""

    def __init__(self, names: frozenset[str]) -> None:
        super().__init__(", ".join(sorted(names)))
        self.names = names
        self.location = user_location()


class Divide(Respecialize):
    """The trace needs a named size to be a multiple of `divisor`, as it is: it starts again with that known."""

    def __init__(self, name: str, divisor: int) -> None:
        super().__init__(frozenset({name}))
        self.divisor = divisor


def divided(sizes: Iterable[Any], operator: str, hints: Mapping[str, int]) -> Divide | None:
    """The request that a size be a multiple of what one of `sizes` divides it by ("//" or "%"); None if none does, or
    it is not."""
    for size in sizes:
        for atom in size.atoms if isinstance(size, Dim) else ():
            if isinstance(atom, str) or atom[0] != operator or size_names(atom[2]) or len(atom[1].names) != 1:
                continue
            (name,) = atom[1].names
            by, factor = evaluate(atom[2], {}), atom[1].coefficient(name)
            rest = atom[1] - factor * Dim.named(name) if isinstance(factor, int) else None
            if isinstance(factor, int) and isinstance(rest, int) and rest % by == 0:
                divisor = by // gcd(by, factor)
                if divisor > 1 and hints[name] % divisor == 0:
                    return Divide(name, divisor)
    return None


def unequal(attributes: Mapping[str, Any], hints: Mapping[str, int]) -> Respecialize:
    """The request where sizes of an operation are equal in the example, but not by name."""
    sizes = [size for content in attributes.values() for size in flat_sizes(content)]
    return divided(sizes, "//", hints) or Respecialize(frozenset(hints))


def guard_bounds(tracer: Tracer, node: Node) -> None:
    """Note that the node's new sizes are not negative, and that a slice lies within its operand.

    Errors: Respecialize where the example does not meet this: the trace for its sizes says what is wrong.
    """
    known = {size for value in node.inputs for size in value.type.dims}
    doubtful = [size for value in node.outputs for size in value.type.dims if size not in known]
    if node.op.name == "slice":
        parts = zip(*(node.attributes[key] for key in ("start", "size", "step")), strict=True)
        for extent, (start, size, step) in zip(node.inputs[0].type.dims, parts, strict=True):
            if (start, size, step) != (0, extent, 1):
                ends = (start, start + (size - 1) * step)
                first, last = ends if step > 0 else ends[::-1]
                doubtful += [first, extent - 1 - last]
    for size in doubtful:
        if isinstance(size, Dim) and not never_negative(size):
            guard = Guard(size, ">=", 0)
            if not guard.holds(tracer.hints):
                raise Respecialize(size.names)
            tracer.add_guard(guard)


def as_dim(value: Any) -> Any:
    """The IR's form of sizes, through nested tuples and lists; other values unchanged."""
    if isinstance(value, SymbolicSize):
        return value.dim
    if isinstance(value, (tuple, list)):
        return tuple(as_dim(item) for item in value)
    return value


def flat_sizes(value: Any) -> Iterator[Size]:
    """The sizes in an attribute."""
    if isinstance(value, (int, Dim)):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from flat_sizes(item)


def as_size(dim: Size, tracer: Tracer | None) -> Integer:
    """A size as the user sees it."""
    if isinstance(dim, int):
        return dim
    if tracer is None:
        raise ValueError(f"the open size {dim} belongs to no trace")
    return SymbolicSize(dim, tracer)


class SymbolicSize:
    """An open size.  Comparing it is noted as a guard; using it as a plain number fixes it."""

    __slots__ = ("dim", "tracer")

    def __init__(self, dim: Dim, tracer: Tracer) -> None:
        self.dim = dim
        self.tracer = tracer

    @property
    def hint(self) -> int:
        """Its value in the example."""
        return evaluate(self.dim, self.tracer.hints)

    def _arithmetic(self, result: Size) -> Integer:
        return as_size(result, self.tracer)

    def __add__(self, other: Any) -> Any:
        return self._arithmetic(self.dim + as_dim(other)) if _is_size(other) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: Any) -> Any:
        return self._arithmetic(self.dim - as_dim(other)) if _is_size(other) else NotImplemented

    def __rsub__(self, other: Any) -> Any:
        return self._arithmetic(as_dim(other) - self.dim) if _is_size(other) else NotImplemented

    def __mul__(self, other: Any) -> Any:
        return self._arithmetic(self.dim * as_dim(other)) if _is_size(other) else NotImplemented

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> Any:
        return self._arithmetic(self.dim // as_dim(other)) if _is_size(other) else NotImplemented

    def __rfloordiv__(self, other: Any) -> Any:
        return self._arithmetic(as_dim(other) // self.dim) if _is_size(other) else NotImplemented

    def __mod__(self, other: Any) -> Any:
        return self._arithmetic(self.dim % as_dim(other)) if _is_size(other) else NotImplemented

    def __rmod__(self, other: Any) -> Any:
        return self._arithmetic(as_dim(other) % self.dim) if _is_size(other) else NotImplemented

    def __neg__(self) -> Any:
        return self._arithmetic(-self.dim)

    def __abs__(self) -> Any:
        return self if self >= 0 else -self

    def __truediv__(self, other: Any) -> Any:
        return float(self) / float(other)

    def __rtruediv__(self, other: Any) -> Any:
        return float(other) / float(self)

    def __pow__(self, other: Any) -> Any:
        if isinstance(other, int) and 0 <= other <= 4:
            result: Any = 1
            for _ in range(other):
                result = self * result
            return result
        return int(self) ** other

    def __eq__(self, other: object) -> bool:
        if not _is_size(other):
            return NotImplemented
        right = as_dim(other)
        if right == self.dim:
            return True
        if evaluate(right, self.tracer.hints) == self.hint:
            request = divided([self.dim], "%", self.tracer.hints) if right == 0 else None
            request = request or divided([self.dim, right], "//", self.tracer.hints)
            raise request or Respecialize(size_names(self.dim) | size_names(right))
        self.tracer.add_guard(Guard(self.dim, "!=", right))
        return False

    def __hash__(self) -> int:
        return hash(self.dim)

    def _compare(self, left: Size, relation: str, right: Size) -> bool:
        guard = Guard(left, relation, right)
        holds = guard.holds(self.tracer.hints)
        if not holds:
            guard = Guard(right, ">" if relation == ">=" else ">=", left)
        self.tracer.add_guard(guard)
        return holds

    def __ge__(self, other: Any) -> bool:
        return self._compare(self.dim, ">=", as_dim(other)) if _is_size(other) else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return self._compare(self.dim, ">", as_dim(other)) if _is_size(other) else NotImplemented

    def __le__(self, other: Any) -> bool:
        return self._compare(as_dim(other), ">=", self.dim) if _is_size(other) else NotImplemented

    def __lt__(self, other: Any) -> bool:
        return self._compare(as_dim(other), ">", self.dim) if _is_size(other) else NotImplemented

    def __bool__(self) -> bool:
        return self != 0

    def __index__(self) -> int:
        raise Respecialize(self.dim.names)

    __int__ = __index__

    def __float__(self) -> float:
        raise Respecialize(self.dim.names)

    def __repr__(self) -> str:
        return str(self.dim)

    def __str__(self) -> str:
        return str(int(self) if is_users_text() else self.dim)

    def __format__(self, spec: str) -> str:
        return format(int(self) if is_users_text() else str(self.dim), spec)


def _is_size(value: object) -> bool:
    return isinstance(value, SymbolicSize) or (isinstance(value, int) and not isinstance(value, bool))
