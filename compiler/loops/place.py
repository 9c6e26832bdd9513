"""`PlacingBuilder`: loop-level scalars, each put in the outermost loop where it can stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from adjit.compiler.loops.affine import Bounds
from adjit.compiler.loops.ir import INDEX
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Attribute, Location, Node, Region, Value
from adjit.ir.literals import literal_key
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import Dim, Size, size_names, substitute
from adjit.ir.types import DType, TensorType

# The choices that lead to an element: each a bool and the side on which it was taken.
Mask = tuple[tuple[Value, bool], ...]


class Scope:
    """One loop's body under construction: its nodes, what is known inside it, and what was computed there."""

    __slots__ = ("bounds", "depth", "elements", "memo", "pinned", "reaches", "region")

    def __init__(self, depth: int, bounds: Bounds, region: Region) -> None:
        self.depth = depth
        self.bounds = bounds
        self.region = region
        self.memo: dict[object, Node] = {}
        self.elements: dict[tuple[Value, tuple[Size, ...], Mask], Expr] = {}
        self.reaches: set[int] = set()  # the loops around this one that the body depends on
        self.pinned = False  # the body holds something that may only happen where the loop runs


class PlacingBuilder(Builder):
    """Makes equal scalars once, and hoists: a scalar stands in the outermost scope where what it depends on is known.

    Under a `mask` nothing may fault.  `taken` are names that variables may not have.
    """

    __slots__ = ("_depth", "_position_of", "_scope_of", "mask", "scopes", "taken")

    def __init__(self, region: Region, bounds: Bounds, taken: Iterable[str]) -> None:
        super().__init__(region)
        self.scopes = [Scope(0, bounds, region)]
        self.mask: Mask = ()
        self._depth: dict[Value, int] = {}
        # Of each variable and position: the scope that knows it, and a position's value.
        self._scope_of: dict[str, tuple[int, Value | None]] = {}
        self._position_of: dict[Value, Dim] = {}
        self.taken = set(taken)

    @property
    def scope(self) -> Scope:
        """The innermost scope."""
        return self.scopes[-1]

    def depth_of(self, value: Value) -> int:
        """The scope in which `value` was computed; 0, the kernel's, for buffers."""
        return self._depth.get(value, 0)

    # -- names in index expressions -----------------------------------------------------------------------------------
    def variable(self, hint: str) -> Dim:
        """A variable with a new name."""
        number = 0
        while f"{hint}{number}" in self.taken:
            number += 1
        self.taken.add(f"{hint}{number}")
        return Dim.named(f"{hint}{number}")

    def name_position(self, value: Value) -> Dim:
        """A name by which index expressions can use the computed position `value`."""
        if value not in self._position_of:
            variable = self._position_of[value] = self.variable("p")
            self._scope_of[str(variable)] = (self.depth_of(value), value)
        return self._position_of[value]

    def depths(self, expressions: Iterable[Size]) -> set[int]:
        """The scopes that index expressions depend on."""
        return {self._scope_of[name][0] for e in expressions for name in size_names(e) if name in self._scope_of}

    def facts_of(self, expressions: Iterable[Size]) -> Bounds:
        """What is known of index expressions wherever the loops over their own variables run."""
        bounds = self.scopes[0].bounds.copy()
        for name in sorted({name for e in expressions for name in size_names(e)}):
            extent = self.scope.bounds.extents.get(name)
            if extent is not None:
                bounds.declare(name, extent)
        return bounds

    def positions(self, expressions: tuple[Size, ...]) -> tuple[list[Value], tuple[Size, ...]]:
        """The computed positions in expressions, as operands, and the expressions over `_0`, `_1`, ..."""
        found: dict[str, Value] = {}
        for name in sorted(name for e in expressions for name in size_names(e)):
            value = self._scope_of.get(name, (0, None))[1]
            if value is not None:
                found[name] = value
        renamed: dict[str, Size] = {name: Dim.named(f"_{number}") for number, name in enumerate(found)}
        return list(found.values()), tuple(substitute(e, renamed) for e in expressions)

    def innermost(self) -> str | None:
        """The variable of the innermost loop, if there are loops."""
        for name in reversed(self.scope.bounds.extents):
            if self._scope_of.get(name, (0, self))[1] is None:
                return name
        return None

    # -- scopes -------------------------------------------------------------------------------------------------------
    @contextmanager
    def inside(self, variables: Sequence[Dim], extents: Sequence[Size]) -> Iterator[Scope]:
        """A scope in which `variables` run over `extents`."""
        scope = Scope(len(self.scopes), self.scope.bounds.copy(), Region())
        for variable, extent in zip(variables, extents, strict=True):
            scope.bounds.declare(str(variable), extent)
            self._scope_of[str(variable)] = (scope.depth, None)
        self.scopes.append(scope)
        try:
            yield scope
        finally:
            self.scopes.pop()

    @contextmanager
    def at(self, location: Location) -> Iterator[None]:
        """Nodes made inside stand at `location`."""
        before, self.location = self.location, location
        try:
            yield
        finally:
            self.location = before

    @contextmanager
    def chosen(self, condition: Value, side: bool) -> Iterator[None]:
        """What is made inside counts only where `condition` is `side`."""
        before = self.mask
        if (condition, side) not in before:
            self.mask = (*before, (condition, side))
        try:
            yield
        finally:
            self.mask = before

    def mask_value(self) -> Value:
        """The bool that the choices on the way here amount to."""
        total: Expr | None = None
        for condition, side in self.mask:
            one = self.expr(condition) if side else ~self.expr(condition)
            total = one if total is None else total & one
        assert total is not None
        return total.value

    # -- nodes --------------------------------------------------------------------------------------------------------
    def place(
        self,
        op: Primitive,
        inputs: Sequence[Value],
        attributes: dict[str, Attribute],
        types: Sequence[TensorType],
        depths: Iterable[int] = (),
        *,
        regions: Sequence[Region] = (),
        pinned: bool = False,
    ) -> Node:
        """The node, an equal one if there is one in reach; `depths` are scopes it needs beside those of its inputs."""
        key = (op, tuple(inputs), tuple(literal_key(a) for a in attributes.values()))
        if not regions:
            for scope in self.scopes:
                if found := scope.memo.get(key):
                    return found
        needs = {0, *depths, *map(self.depth_of, inputs)}
        scope = self.scope if pinned else self.scopes[max(needs)]
        scope.pinned |= pinned
        node = Node(op, inputs, attributes, types, self.location, regions)
        self._append(scope, node, needs)
        scope.memo[key] = node
        return node

    def perform(self, node: Node, depths: Iterable[int] = ()) -> None:
        """Put a node with an effect, or that reads what changes, at the end of the innermost scope."""
        self.scope.pinned = True
        self._append(self.scope, node, {0, *depths, *map(self.depth_of, node.inputs)})

    def _append(self, scope: Scope, node: Node, needs: set[int]) -> None:
        scope.reaches |= {depth for depth in needs if depth < scope.depth}
        scope.region.nodes.append(node)
        for value in node.outputs:
            self._depth[value] = scope.depth

    def emit(
        self,
        op: Primitive,
        inputs: Sequence[Value],
        attributes: Mapping[str, Attribute] | None = None,
        regions: Sequence[Region] = (),
        types: Sequence[TensorType] | None = None,
    ) -> Node:
        """The node for a scalar op."""
        attributes = {} if attributes is None else dict(attributes)
        if types is None:
            types = op.infer([value.type for value in inputs], attributes)
        return self.place(op, inputs, attributes, types, regions=regions, pinned=_may_fault(op, inputs))

    def constant(self, value: int | float | bool | Dim, dtype: DType) -> Value:
        """The literal `value`; a size becomes an `index`."""
        type = TensorType(dtype, ())
        if isinstance(value, Dim):
            depths = self.depths((value,))
            positions, (value,) = self.positions((value,))
            return self.place(INDEX, positions, {"value": value, "dtype": dtype}, (type,), depths).output
        value = float(value) if dtype.is_continuous else bool(value) if dtype.kind == "bool" else int(value)
        return self.place(primitive_named("const"), (), {"value": value, "dtype": dtype}, (type,)).output

    def apply(
        self, op: Primitive, operands: Sequence[object], attributes: dict[str, Attribute]
    ) -> Expr | tuple[Expr, ...]:
        """A scalar op; a division that would not happen under the present mask divides by 1."""
        values = self.values(op, operands)
        if self.mask and _may_fault(op, values):
            values[1] = primitive_named("where")(self.expr(self.mask_value()), self.expr(values[1]), 1).value
        results = self.exprs(self.emit(op, values, attributes).outputs)
        return results[0] if len(results) == 1 else results


def _may_fault(op: Primitive, inputs: Sequence[Value]) -> bool:
    return op.name in ("div", "mod") and not inputs[0].type.dtype.is_continuous and not inputs[1].constant
