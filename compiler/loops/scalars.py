"""`KernelScalars`: the index forms of tensor ops become loop-level scalars (`adjit.ir.index.Scalars`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from adjit.compiler.loops.affine import is_polynomial, rejoin
from adjit.compiler.loops.collapse import collapse
from adjit.compiler.loops.divide import divide
from adjit.compiler.loops.ir import (
    BLOCKS,
    FOR,
    INDEX,
    INSIDE,
    LISTED,
    LOAD,
    POSITION,
    RANDOM_WORD,
    REDUCE,
    SHORT,
    address,
)
from adjit.compiler.loops.parts import Parts, parts_of
from adjit.compiler.loops.place import PlacingBuilder
from adjit.ir.builder import Expr
from adjit.ir.errors import CompileError
from adjit.ir.graph import Attribute, Node, Value
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import Dim, Size, product, size_names
from adjit.ir.types import BOOL, I32, I64, DType, TensorType

Number = float | int | bool
ORDERLESS = frozenset({"max", "min", "any", "all", "argmax", "argmin"})


class Operand:
    """An operand of an index form: a function from an index to an element."""

    __slots__ = ("scalars", "value")

    def __init__(self, scalars: KernelScalars, value: Value) -> None:
        self.scalars = scalars
        self.value = value

    @property
    def type(self) -> TensorType:
        return self.value.type

    def __call__(self, *index: Size) -> Expr:
        return self.scalars.element(self.value, index)


class KernelScalars:
    """The scalars of one kernel.  `buffers` gives the buffer that holds a tensor value; any other value is computed.

    With `strict`, sums of products have one order whatever the layout of the operands.
    """

    __slots__ = ("_guarded", "_order", "buffers", "builder", "positions", "scratch", "strict", "written")

    def __init__(self, builder: PlacingBuilder, buffers: dict[Value, Value], strict: bool = False) -> None:
        self.builder = builder
        self.strict = strict
        self.buffers = buffers
        self.written: set[Value] = set()  # buffers whose elements change
        # Buffers of one row or block: how many indices say which, and where the axis after these starts.
        self.scratch: dict[Value, tuple[int, Size]] = {}
        self._guarded: dict[str, Size] = {}  # positions on axes that may be empty
        self._order = "sequential"
        self.positions: dict[Value, Value] = {}  # by a greatest or least element: the position of the same

    # -- elements -----------------------------------------------------------------------------------------------------
    def element(self, value: Value, index: Sequence[Size]) -> Expr:
        """The scalar `value[index]`: a load, or the computation of a producer that is not stored."""
        start = (value, tuple(self.builder.scope.bounds.simplify(i) for i in index))
        work = [start]
        while work:
            value, index = work[-1]
            if self._known(value, index) is not None:
                work.pop()
                continue
            node = value.node
            if value in self.buffers or node is None or node.op.family != "scalar":
                self._remember(value, index, self._compute(value, index))
                work.pop()
                continue
            # Chains of elementwise ops are long; the stack of Python is not.
            needs = [(operand, index if operand.type.dims else ()) for operand in node.inputs]
            missing = [need for need in needs if self._known(*need) is None]
            if missing:
                work.extend(missing)
                continue
            with self.builder.at(node.location):
                result = self.builder.apply(node.op, [self._known(*need) for need in needs], node.attributes)
            assert isinstance(result, Expr)
            self._remember(value, index, result)
            work.pop()
        found = self._known(*start)
        assert found is not None
        return found

    def give(self, value: Value, index: Sequence[Size], scalar: Value) -> None:
        """Let `scalar` be the element of `value` at `index`."""
        at = tuple(self.builder.scope.bounds.simplify(i) for i in index)
        self._remember(value, at, self.builder.expr(scalar))

    def _known(self, value: Value, index: tuple[Size, ...]) -> Expr | None:
        mask = self.builder.mask
        for scope in reversed(self.builder.scopes):
            found = scope.elements.get((value, index, mask))
            if found is None and mask:
                found = scope.elements.get((value, index, ()))
            if found is not None:
                return found
        return None

    def _remember(self, value: Value, index: tuple[Size, ...], element: Expr) -> None:
        builder = self.builder
        depths = builder.depths(index) | {builder.depth_of(condition) for condition, _ in builder.mask}
        # The element of a buffer that changes is known until the next write, see `write`.
        depth = builder.scope.depth if self.buffers.get(value) in self.written else builder.depth_of(element.value)
        builder.scopes[max(depths | {depth})].elements[value, index, builder.mask] = element

    def _compute(self, value: Value, index: tuple[Size, ...]) -> Expr:
        buffer, node = self.buffers.get(value), value.node
        if buffer is not None:
            return self.load(buffer, index)
        if node is None:
            raise CompileError(f"a kernel reads {value!r}, which is none of its operands")
        if node.op.name == "const":
            return self.constant(node.attributes["value"], value.type.dtype)  # type: ignore[arg-type]
        if node.op.index_rule is None:
            raise CompileError(f"{node.op.name} has no index form and cannot be part of this kernel")
        if (position := self.positions.get(value)) is not None and position not in self.buffers:
            found = self.element(position, index).value.node
            if found is not None and found.op is REDUCE:  # one loop finds the position and the element
                return self.builder.exprs(found.outputs)[0]
        parts = parts_of(node)
        if parts is not None and self._is_outer(index[parts.axis]) and self.buffers.keys().isdisjoint(node.inputs):
            with self.builder.at(node.location):
                return self.element(parts.source, self._place_among(parts, index))
        order, self._order = self._order, _order_of(node, self.strict)
        with self.builder.at(node.location):
            operands = [Operand(self, operand) for operand in node.inputs]
            result = node.op.index_rule(self, index, *operands, **node.attributes)
        self._order = order
        return self._element_of(result, value.type.dtype)

    def _is_outer(self, place: Size) -> bool:
        """Whether an index is the same in all of the innermost loop, of which there is one."""
        innermost = self.builder.innermost()
        return innermost is not None and innermost not in size_names(place)

    def _place_among(self, parts: Parts, index: tuple[Size, ...]) -> tuple[Size, ...]:
        """The index in the source of parts that stand in a row: along their axis, a computed place."""
        builder, axis = self.builder, parts.axis
        position, choices = index[axis], list[tuple[Expr, Expr]]()
        for part in parts.parts:
            here = self.index(part.start + position * part.step, I64)
            choices.append((self.inside([(position, part.extent)]), here))
            position = position - part.extent
        place = choices[-1][1]
        for condition, here in reversed(choices[:-1]):
            place = self.select(condition, lambda: here, lambda: place)  # noqa: B023
        variable = builder.name_position(place.value)
        for scope in builder.scopes[builder.depth_of(place.value) :]:
            scope.bounds.extents[str(variable)] = parts.source.dims[axis]
        found = [part.start + at * part.step for part, at in zip(parts.others, index, strict=True)]
        found[axis] = variable
        return tuple(found)

    def _element_of(self, result: Expr | Number, dtype: DType) -> Expr:
        return result if isinstance(result, Expr) else self.constant(result, dtype)

    # -- memory -------------------------------------------------------------------------------------------------------
    def load(self, buffer: Value, index: Sequence[Size]) -> Expr:
        """The element of `buffer` at `index`, or 0 where the present mask is false."""
        builder = self.builder
        at, operands, attributes = self._addressed(buffer, index)
        depths = builder.depths(at)
        type = buffer.type.with_dims(())
        if buffer in self.written:
            node = Node(LOAD, (buffer, *operands), attributes, (type,), builder.location)
            builder.perform(node, depths)
            return builder.expr(node.output)
        # What a loop reads need not exist where it does not run: only what the load's own variables assure is hoisted.
        known = builder.facts_of(at)
        pinned = not all(known.is_inside(i, n) for i, n in zip(at, buffer.type.dims, strict=True))
        node = builder.place(LOAD, (buffer, *operands), attributes, (type,), depths, pinned=pinned)
        return builder.expr(node.output)

    def write(self, op: Primitive, buffer: Value, index: Sequence[Size], scalar: Expr, **attributes: Attribute) -> None:
        """Append a `store` or `update` of `buffer` at `index`."""
        at, operands, where = self._addressed(buffer, index)
        node = Node(op, (buffer, scalar.value, *operands), {**where, **attributes}, (), self.builder.location)
        self.builder.perform(node, self.builder.depths(at))
        for scope in self.builder.scopes if buffer in self.written else ():
            stale = [key for key in scope.elements if self.buffers.get(key[0]) is buffer]
            for key in stale:
                del scope.elements[key]

    def _addressed(
        self, buffer: Value, index: Sequence[Size]
    ) -> tuple[tuple[Size, ...], list[Value], dict[str, Attribute]]:
        """The index, and the operands after the scalar and the attributes of an access."""
        builder = self.builder
        at = tuple(builder.scope.bounds.simplify(i) for i in self.local(buffer, index))
        masks = [builder.expr(builder.mask_value())] if builder.mask else []
        names = frozenset().union(*map(size_names, at))
        if conditions := [(Dim.named(name), extent) for name, extent in self._guarded.items() if name in names]:
            masks.append(self.inside(conditions))
        operands, flat = builder.positions(at)
        if masks:
            operands.append((masks[0] if len(masks) == 1 else masks[0] & masks[1]).value)
        if not all(map(is_polynomial, flat)):
            # Quotient and remainder of the same division may make up a plain position.
            whole = rejoin(address(buffer.type, flat))
            flat = (whole,) if is_polynomial(whole) else flat
        return at, operands, {"at": flat, "masked": bool(masks)}

    def local(self, buffer: Value, index: Sequence[Size]) -> tuple[Size, ...]:
        """The index in `buffer`, which holds perhaps one row or block only, of the element at `index` of the whole."""
        if buffer not in self.scratch:
            return tuple(index)
        dropped, start = self.scratch[buffer]
        first, *rest = index[dropped:]
        return (first - start, *rest)

    def random_word(self, seed: Expr, stream: Expr, position: Size) -> Expr:
        """A word of random bits."""
        operands = (seed.value, stream.value, self.index(position, I64).value)
        return self.builder.expr(self.builder.place(RANDOM_WORD, operands, {}, (TensorType(I32, ()),)).output)

    # -- loops --------------------------------------------------------------------------------------------------------
    @contextmanager
    def loop(
        self, extents: Sequence[Size], *, parallel: bool = True, sequential: bool = False
    ) -> Iterator[tuple[Size, ...]]:
        """A `for` over `extents`; yields the index.  Axes of extent 1 get no variable; without others, no `for`."""
        builder = self.builder
        variables, kept, index = self._domain("i", extents)
        if not kept:
            yield index
            return
        with builder.inside(variables, kept) as scope:
            yield index
        attributes: dict[str, Attribute] = {
            "var": tuple(variables), "extent": tuple(kept), "parallel": parallel, "sequential": sequential,
        }  # fmt: skip
        if not sequential:
            collapse(attributes, scope.region)
            divide(attributes, scope.region, builder.scope.bounds, lambda: builder.variable("i"))
        builder.perform(Node(FOR, (), attributes, (), builder.location, (scope.region,)), scope.reaches)

    @contextmanager
    def blocks(self, extents: Sequence[Size], independent: int) -> Iterator[tuple[Size, ...]]:
        """A `blocks` over `extents`, of which the first `independent` are; yields the index."""
        builder = self.builder
        variables, kept, index = self._domain("b", extents)
        with builder.inside(variables, kept) as scope:
            yield index
        apart = sum(extent != 1 for extent in extents[:independent])
        attributes: dict[str, Attribute] = {"var": tuple(variables), "extent": tuple(kept), "independent": apart}
        builder.perform(Node(BLOCKS, (), attributes, (), builder.location, (scope.region,)), scope.reaches)

    def _domain(self, hint: str, extents: Sequence[Size]) -> tuple[list[Dim], list[Size], tuple[Size, ...]]:
        kept = [extent for extent in extents if extent != 1]
        variables = [self.builder.variable(hint) for _ in kept]
        names = iter(variables)
        return variables, kept, tuple(0 if extent == 1 else next(names) for extent in extents)

    # -- the verbs of index forms -------------------------------------------------------------------------------------
    def constant(self, value: Number, dtype: DType) -> Expr:
        """A literal."""
        return self.builder.expr(self.builder.constant(value, dtype))

    def index(self, value: Size, dtype: DType) -> Expr:
        """The integer `value` of an index expression, as a scalar of `dtype`."""
        return self.builder.expr(self.builder.constant(self.builder.scope.bounds.simplify(value), dtype))

    def listed(self, values: Sequence[Number], dtype: DType, position: Size) -> Expr:
        """The number at `position` of a table."""
        types = (TensorType(dtype, (len(values),)),)
        table = self.builder.place(LISTED, (), {"values": tuple(values)}, types)
        return self.load(table.output, (position,))

    def inside(self, conditions: Sequence[tuple[Size, Size]]) -> Expr:
        """The bool: every `(expression, extent)` has 0 <= expression < extent."""
        builder, bounds = self.builder, self.builder.scope.bounds
        simplified = [(bounds.simplify(e), bounds.simplify(n)) for e, n in conditions]
        uncertain = [(e, n) for e, n in simplified if not bounds.is_inside(e, n)]
        if not uncertain or any(bounds.is_outside(e, n) for e, n in uncertain):
            return self.constant(not uncertain, BOOL)
        parts = tuple(part for pair in uncertain for part in pair)
        positions, flat = builder.positions(parts)
        attributes: dict[str, Attribute] = {"of": tuple(zip(flat[::2], flat[1::2], strict=True))}
        node = builder.place(INSIDE, positions, attributes, (TensorType(BOOL, ()),), builder.depths(parts))
        return builder.expr(node.output)

    def select(self, condition: Expr, then: Callable[[], Any], other: Callable[[], Any]) -> Any:
        """`then()` where the condition holds, else `other()`; reads of the other side are masked."""
        known = condition.value.constant
        if known is not None:
            return then() if known else other()
        with self.builder.chosen(condition.value, True):
            chosen = then()
        with self.builder.chosen(condition.value, False):
            default = other()
        if isinstance(chosen, Expr):
            default = self._element_of(default, chosen.dtype)
            node = chosen.value.node
            # A masked read gives 0 by itself.
            if node is not None and node.op is LOAD and node.inputs[-1] is condition.value and _is_zero(default):
                return chosen
        return primitive_named("where")(condition, chosen, default)

    def reduce(self, kind: str, extents: Sequence[Size], body: Callable[..., Any]) -> Any:
        """A `reduce` over `extents`; where all are 1, its only term."""
        builder, order = self.builder, self._order
        variables, kept, index = self._domain("r", extents)
        if not kept:
            only = body(*index)
            # A sum starts from 0: that of -0 alone is 0.
            return only + 0 if kind == "sum" and only.dtype.is_float else only
        with builder.inside(variables, kept) as scope:
            result = body(*index)
        results: tuple[Expr, ...] = result if isinstance(result, tuple) else (result,)
        scope.region.outputs = tuple(element.value for element in results)
        attributes: dict[str, Attribute] = {
            "kind": kind, "var": tuple(variables), "extent": tuple(kept),
            "order": "any" if kind in ORDERLESS or not results[0].dtype.is_float else order,
        }  # fmt: skip
        collapse(attributes, scope.region)
        divide(attributes, scope.region, builder.scope.bounds, lambda: builder.variable("r"))
        depths = scope.reaches | {builder.depth_of(value) for value in scope.region.outputs}
        node = builder.place(
            REDUCE, (), attributes, [element.type for element in results],
            {depth for depth in depths if depth < scope.depth}, regions=(scope.region,), pinned=scope.pinned,
        )  # fmt: skip
        outputs = builder.exprs(node.outputs)
        return outputs if isinstance(result, tuple) else outputs[0]

    def sum_in_lanes(self, extents: Sequence[Size], body: Callable[..., Any]) -> Any:
        """The sum over `extents` in the order `lanes`."""
        before, self._order = self._order, "lanes"
        total = self.reduce("sum", extents, body)
        self._order = before
        return total

    def position(self, element: Expr, extent: Size, *, certain: bool = False) -> Size:
        """A position, checked unless it is certain; where its axis may be empty, accesses at it are masked too."""
        builder = self.builder
        node = element.value.node
        if node is not None and node.op is INDEX and not node.inputs:  # it follows from the loop's variables
            known = node.attributes["value"]
            if isinstance(known, (int, Dim)) and builder.scope.bounds.is_inside(known, extent):
                return known
        masked = bool(builder.mask) and not certain
        operands = [element.value, *([builder.mask_value()] if masked else [])]
        attributes: dict[str, Attribute] = {"extent": extent, "masked": masked, "certain": certain}
        node = builder.place(POSITION, operands, attributes, (TensorType(I64, ()),))
        variable = builder.name_position(node.output)
        if not builder.scope.bounds.is_natural(extent - 1):
            self._guarded[str(variable)] = extent
        else:
            for scope in builder.scopes[builder.depth_of(node.output) :]:
                scope.bounds.extents[str(variable)] = extent
        return variable


def _is_zero(element: Expr) -> bool:
    """Whether an element is the literal +0."""
    value = element.value.constant
    return isinstance(value, (int, float)) and value == 0 and repr(value) != "-0.0"


def _slides(dot: Node) -> bool:
    """Whether a dot sums over windows of which a row has as many as each has elements: those stand side by side too."""
    for value in dot.inputs:
        if value.node is not None and value.node.op.name == "window":
            axes: tuple[int, ...] = value.node.attributes["axes"]  # type: ignore[assignment]
            count, taps = value.dims[axes[-1]], value.dims[-1]
            if isinstance(count, int) and isinstance(taps, int):
                return count >= taps
    return False


def _is_short(node: Node) -> bool:
    """Whether a product has few sums of few terms: a tree of them does not wait for each of its additions in turn."""
    sides: Sequence[Sequence[int]] = node.attributes["contract"]  # type: ignore[assignment]
    terms = product(node.inputs[0].dims[axis] for axis in sides[0])
    sums = node.output.type.size
    return isinstance(terms, int) and isinstance(sums, int) and 1 < terms <= SHORT >= sums


def _is_of_vectors(node: Node) -> bool:
    """Whether a product is one of two vectors, which have one layout only."""
    return all(value.type.ndim == 1 for value in node.inputs)


def _order_of(node: Node, strict: bool) -> str:
    """The order of the sums in a node's index form: by lanes where the summed terms stand side by side in memory."""
    attributes: Mapping[str, Any] = node.attributes
    if node.op.name == "dot":
        beside = []
        for value, contract, batch in zip(node.inputs, attributes["contract"], attributes["batch"], strict=True):
            long = [axis for axis, dim in enumerate(value.dims) if dim != 1 or axis in contract]
            # An operand that is all summed and batched is read as the other one is.
            if not {*long} <= {*contract, *batch}:
                beside.append(long[-1] in contract)
        if (strict and not _is_of_vectors(node)) or _slides(node):
            return "products"
        return "lanes" if all(beside) or _is_short(node) else "products"
    if node.op.name == "conv":
        return "products"
    axes = attributes.get("axes") if node.op.family == "reduction" else None
    return "lanes" if axes is not None and node.inputs[0].type.ndim - 1 in axes else "sequential"
