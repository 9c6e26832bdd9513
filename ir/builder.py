"""Building regions: `Builder` appends nodes, `Expr` lets rules be written as ordinary arithmetic."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

from adjit.ir.errors import DTypeError
from adjit.ir.graph import UNKNOWN, Attribute, Location, Node, Region, Value
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import Dim, Size
from adjit.ir.types import F32, HALVES, DType, TensorType

Scalar: TypeAlias = "int | float | bool | Dim"
Operand: TypeAlias = "Expr | int | float | bool | Dim"


class Expr:
    """A value together with the builder that makes nodes from it; arithmetic on it emits nodes."""

    __slots__ = ("emitter", "value")

    def __init__(self, emitter: Builder, value: Value) -> None:
        self.emitter = emitter
        self.value = value

    @property
    def type(self) -> TensorType:
        return self.value.type

    @property
    def dtype(self) -> DType:
        return self.value.type.dtype

    @property
    def shape(self) -> tuple[Size, ...]:
        return self.value.type.dims

    @property
    def ndim(self) -> int:
        return len(self.value.type.dims)

    def __repr__(self) -> str:
        return f"Expr({self.value!r})"

    def _apply(self, name: str, *operands: Operand) -> Expr:
        result = self.emitter.apply(primitive_named(name), operands, {})
        assert isinstance(result, Expr)
        return result

    def __add__(self, other: Operand) -> Expr:
        return self._apply("add", self, other)

    def __radd__(self, other: Operand) -> Expr:
        return self._apply("add", other, self)

    def __sub__(self, other: Operand) -> Expr:
        return self._apply("sub", self, other)

    def __rsub__(self, other: Operand) -> Expr:
        return self._apply("sub", other, self)

    def __mul__(self, other: Operand) -> Expr:
        return self._apply("mul", self, other)

    def __rmul__(self, other: Operand) -> Expr:
        return self._apply("mul", other, self)

    def __truediv__(self, other: Operand) -> Expr:
        return self._apply("div", self, other)

    def __rtruediv__(self, other: Operand) -> Expr:
        return self._apply("div", other, self)

    def __neg__(self) -> Expr:
        return self._apply("neg", self)

    def __pow__(self, other: Operand) -> Expr:
        return self._apply("pow", self, other)

    def __lt__(self, other: Operand) -> Expr:
        return self._apply("lt", self, other)

    def __le__(self, other: Operand) -> Expr:
        return self._apply("le", self, other)

    def __gt__(self, other: Operand) -> Expr:
        return self._apply("lt", other, self)

    def __ge__(self, other: Operand) -> Expr:
        return self._apply("le", other, self)

    def __and__(self, other: Operand) -> Expr:
        return self._apply("and", self, other)

    def __or__(self, other: Operand) -> Expr:
        return self._apply("or", self, other)

    def __invert__(self) -> Expr:
        return self._apply("not", self)


class Builder:
    """Appends nodes to a region, inferring their types; every node gets the current `location`."""

    __slots__ = ("_constants", "location", "region")

    def __init__(self, region: Region, location: Location = UNKNOWN) -> None:
        self.region = region
        self.location = location
        self._constants: dict[tuple[object, ...], Value] = {}

    def expr(self, value: Value) -> Expr:
        """`value` as an operand of rules."""
        return Expr(self, value)

    def exprs(self, values: Iterable[Value]) -> tuple[Expr, ...]:
        return tuple(Expr(self, value) for value in values)

    def input(self, type: TensorType, name: str | None = None) -> Value:
        """Add an input to the region; a name that another input has gets a number."""
        taken = {value.name for value in self.region.inputs}
        given, count = name, 2
        while name is not None and name in taken:
            name, count = f"{given}_{count}", count + 1
        value = Value(type, name)
        self.region.inputs = (*self.region.inputs, value)
        return value

    def emit(
        self,
        op: Primitive,
        inputs: Sequence[Value],
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Region] = (),
        types: Sequence[TensorType] | None = None,
    ) -> Node:
        """Append a node; its types are inferred unless given."""
        attributes = {} if attributes is None else dict(attributes)
        if types is None:
            extra = {"regions": tuple(regions)} if regions else {}
            types = op.infer([value.type for value in inputs], {**attributes, **extra})  # type: ignore[dict-item]
        node = Node(op, inputs, attributes, types, self.location, regions)
        self.region.nodes.append(node)
        return node

    def append(self, node: Node) -> None:
        """Append a node that exists already; a constant among them is found again by `constant`."""
        self.region.nodes.append(node)
        if node.op.name == "const":
            value, dtype = node.attributes["value"], node.output.type.dtype
            self._constants.setdefault(_constant_key(value, dtype), node.output)  # type: ignore[arg-type]

    def constant(self, value: Scalar, dtype: DType) -> Value:
        """The 0-d literal `value` of `dtype`, integers modulo their range; one node for each in a region."""
        if dtype.is_integer and not isinstance(value, Dim):
            value = dtype.wrapped(int(value))
        elif not isinstance(value, Dim):
            value = float(value) if dtype.is_continuous else bool(value)
        key = _constant_key(value, dtype)
        found = self._constants.get(key)
        if found is None:
            node = self.emit(primitive_named("const"), (), {"value": value, "dtype": dtype})
            found = self._constants[key] = node.output
        return found

    def number(self, value: Scalar | complex, dtype: DType) -> Value:
        """The 0-d number `value` of `dtype`: a literal, or put together from two, since literals are real."""
        if not isinstance(value, complex):
            return self.constant(value, dtype)
        parts = [self.constant(part, dtype.part) for part in (value.real, value.imag)]
        return self.emit(primitive_named("complex"), parts).output

    def apply(
        self, op: Primitive, operands: Sequence[object], attributes: dict[str, Attribute]
    ) -> Expr | tuple[Expr, ...]:
        """Emit `op`; numbers among the operands become constants of the dtype of the operands beside them."""
        node = self.emit(op, self.values(op, operands), attributes)
        results = tuple(Expr(self, value) for value in node.outputs)
        return results[0] if len(results) == 1 else results

    def values(self, op: Primitive, operands: Sequence[object]) -> list[Value]:
        """The operands as values."""
        dtype = literal_dtype(op, [operand.dtype if isinstance(operand, Expr) else None for operand in operands])
        found: list[Value] = []
        for operand in operands:
            if isinstance(operand, Expr):
                found.append(operand.value)
            elif isinstance(operand, (bool, int, float, complex, Dim)):
                if dtype is None:
                    raise DTypeError(f"{op.name}: no operand gives the number {operand} a dtype")
                found.append(self.number(operand, dtype))
            else:
                raise TypeError(f"{op.name}: an operand is a {type(operand).__name__}, not an IR expression")
        return found


def _constant_key(value: Scalar, dtype: DType) -> tuple[object, ...]:
    """What tells constants apart: -0.0 equals 0.0 and nan does not equal itself, so floats go by their text."""
    if dtype.is_continuous and not isinstance(value, Dim):
        return float, repr(float(value)), dtype
    return type(value), value, dtype


def literal_dtype(op: Primitive, dtypes: Sequence[DType | None]) -> DType | None:
    """The dtype that a literal operand of `op` has when nothing else is said: that of the first other operand.

    The condition of `where` does not count.  Beside 16 bits, PyTorch computes with some numbers in 32.
    """
    considered = dtypes[1:] if op.name == "where" else dtypes
    found = next((dtype for dtype in considered if dtype is not None), None)
    return F32 if op.wide_numbers and found is not None and found in HALVES else found
