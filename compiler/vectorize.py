"""Vectorisation as a pass: a graph over one example becomes a graph over a batch of them.

Batched inputs get a leading axis; so do the outputs that vary with them.  What does not vary is computed once.  Each op
says by its batching rule what it is on operands with that axis; control flow is rewritten here: a `cond` stays a branch
where its predicate is one for all examples, and computes both branches where it is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adjit.ir.analysis import LOOPS, carries_of, invariants_of
from adjit.ir.builder import Builder, Expr
from adjit.ir.dead_code import eliminate_dead
from adjit.ir.frozen import frozen
from adjit.ir.graph import Attribute, Graph, Node, Region, Value
from adjit.ir.ops.arrays import expand, reshape
from adjit.ir.primitive import primitive_named
from adjit.ir.printer import value_names
from adjit.ir.rewrite import inline, inline_calls
from adjit.ir.shape import Size
from adjit.ir.types import TensorType


@frozen
class Vectorized:
    """`graph` takes the inputs, the batched ones with a leading axis; `batched` says which outputs have one."""

    graph: Graph
    batched: tuple[bool, ...]


def vectorize(graph: Graph, batched: Sequence[bool], extent: Size) -> Vectorized:
    """The graph for `extent` examples, which lie along a leading axis of the inputs that `batched` marks.

    Errors: NotImplementedError for an op that has no meaning for a batch.
    """
    source = inline_calls(graph, keep_rules=True)
    result = Graph(f"{graph.name}.vmap", guards=graph.guards, writes=graph.writes, approximate=graph.approximate)
    builder = Builder(result)
    names = value_names(source)
    inputs = [
        builder.input(with_batch(value.type, extent) if flag else value.type, names.get(value, value.name))
        for value, flag in zip(source.inputs, batched, strict=True)
    ]
    found = _Batch(builder, extent).region(source, inputs, batched)
    result.outputs = tuple(value for value, _ in found)
    return Vectorized(eliminate_dead(result), tuple(flag for _, flag in found))


def with_batch(type: TensorType, extent: Size) -> TensorType:
    """The type with a leading axis."""
    return type.with_dims((extent, *type.dims))


def without_batch(type: TensorType) -> TensorType:
    """The type of one example."""
    return type.with_dims(type.dims[1:])


Marked = tuple[Value, bool]


@frozen
class _Batch:
    """Rewriting into one builder, for `extent` examples."""

    builder: Builder
    extent: Size

    def region(self, region: Region, inputs: Sequence[Value], batched: Sequence[bool]) -> list[Marked]:
        """Emit a region's nodes; its outputs, and which of them have the axis."""
        builder = self.builder
        known: dict[Value, Marked] = {
            value: (given, flag) for value, given, flag in zip(region.inputs, inputs, batched, strict=True)
        }
        before = builder.location
        for node in region.nodes:
            if node.op.name == "const":
                constant = builder.constant(node.attributes["value"], node.output.dtype)  # type: ignore[arg-type]
                known[node.output] = constant, False
                continue
            builder.location = node.location
            for value, (found, flag) in zip(
                node.outputs, self.node(node, [known[v] for v in node.inputs]), strict=True
            ):
                found.name = found.name or value.name
                known[value] = found, flag
        builder.location = before
        return [known[value] for value in region.outputs]

    def node(self, node: Node, operands: Sequence[Marked]) -> list[Marked]:
        """Emit one node for the whole batch."""
        values = [value for value, _ in operands]
        flags = [flag for _, flag in operands]
        if not any(flags):
            types = [value.type for value in node.outputs]
            copy = self.builder.emit(node.op, values, node.attributes, node.regions, types)
            return [(value, False) for value in copy.outputs]
        self.builder.location = node.location.made("vectorize", f"{node.op.name} for a whole batch")
        if node.op.family == "control":
            found: list[Marked] = getattr(self, f"_{node.op.name}")(node, values, flags)
            return found
        if node.op.batch_rule is None:
            raise NotImplementedError(f"vmap: {node.op.name} has no meaning for a batch ({node.location})")
        exprs = self.builder.exprs(values)
        results = node.op.batch_rule(tuple(flags), *exprs, **node.attributes)
        results = results if isinstance(results, (tuple, list)) else (results,)
        return [(result.value, True) for result in results]

    # -- helpers ------------------------------------------------------------------------------------------------------
    def spread(self, value: Value) -> Value:
        """A value that is one for all examples, given the axis."""
        x = self.builder.expr(value)
        result = expand(reshape(x, (1, *x.shape)), (self.extent, *x.shape))
        assert isinstance(result, Expr)
        return result.value

    def filled(self, value: Value, flag: bool) -> Value:
        """The value with the axis."""
        return value if flag else self.spread(value)

    def body(self, source: Region, flags: Sequence[bool], wanted: Sequence[bool]) -> Region:
        """A region on batched inputs; the outputs wanted so have the axis."""
        region = Region()
        inner = _Batch(Builder(region, self.builder.location), self.extent)
        inputs = [
            inner.builder.input(with_batch(v.type, self.extent) if flag else v.type, v.name)
            for v, flag in zip(source.inputs, flags, strict=True)
        ]
        found = inner.region(source, inputs, flags)
        region.outputs = tuple(
            inner.filled(value, flag) if want else value for (value, flag), want in zip(found, wanted, strict=True)
        )
        return region

    def varying(self, source: Region, flags: Sequence[bool]) -> list[bool]:
        """Which outputs of a region vary over the batch."""
        varying = {value for value, flag in zip(source.inputs, flags, strict=True) if flag}
        for node in source.nodes:
            if any(value in varying for value in node.inputs):
                varying.update(node.outputs)
        return [value in varying for value in source.outputs]

    def choose(self, predicate: Value, then: Value, other: Value) -> Value:
        """Row by row: `then` where the predicate [extent] holds, else `other`; both have the axis."""
        mask = self.builder.expr(predicate)
        dims = then.type.dims
        if len(dims) > 1:
            mask = expand(reshape(mask, (self.extent, *(1 for _ in dims[1:]))), dims)
        found = primitive_named("where")(mask, self.builder.expr(then), self.builder.expr(other))
        assert isinstance(found, Expr)
        return found.value

    # -- control ------------------------------------------------------------------------------------------------------
    def _call(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Marked]:
        """A call with a derivative of its own: the callee and the rules, each for the batch."""
        callee, wrt = node.attributes["callee"], node.attributes["wrt"]
        assert isinstance(callee, Graph) and isinstance(wrt, tuple)
        moving = [flags[int(index)] for index in wrt]  # type: ignore[arg-type]
        floating = [True for value in callee.outputs if value.dtype.is_continuous]
        known = [*flags, *(True for _ in callee.outputs)]
        attributes: dict[str, Attribute] = {"wrt": wrt, "callee": self._graph(callee, flags, known[len(flags) :])}
        rule = node.attributes.get("vjp")
        if isinstance(rule, Graph):
            back = self._graph(rule, [*floating, *known], [True for _ in rule.outputs])
            builder = Builder(back)
            back.outputs = tuple(v if own else _total(builder, v) for own, v in zip(moving, back.outputs, strict=True))
            attributes["vjp"] = back
        rule = node.attributes.get("jvp")
        if isinstance(rule, Graph):
            attributes["jvp"] = self._graph(rule, [*moving, *known], floating)
        outputs = self.builder.emit(primitive_named("call"), values, attributes).outputs
        return [(value, True) for value in outputs]

    def _graph(self, graph: Graph, flags: Sequence[bool], wanted: Sequence[bool]) -> Graph:
        region = self.body(inline_calls(graph, keep_rules=True), flags, wanted)
        return Graph(f"{graph.name}.vmap", region.inputs, region.nodes, region.outputs)

    def _cond(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Marked]:
        if flags[0]:
            if any(_loops(branch) for branch in node.regions):
                return self._some(node, values, flags)
            return [(value, True) for value in self._both(node, values, flags)]
        wanted = [any(pair) for pair in zip(*(self.varying(b, flags[1:]) for b in node.regions), strict=True)]
        regions = [self.body(branch, flags[1:], wanted) for branch in node.regions]
        outputs = self.builder.emit(primitive_named("cond"), values, node.attributes, regions).outputs
        return list(zip(outputs, wanted, strict=True))

    def _both(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Value]:
        """Both branches, and for each example the results of one."""
        branches = [self.region(branch, values[1:], flags[1:]) for branch in node.regions]
        return [
            self.choose(values[0], self.filled(*then), self.filled(*other))
            for then, other in zip(*branches, strict=True)
        ]

    def _some(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Marked]:
        """The same, but for a batch of which no example takes the first branch: its loops are not run for nothing."""
        regions = []
        for place in range(2):
            region = Region()
            inner = _Batch(Builder(region, self.builder.location), self.extent)
            given = [inner.builder.input(value.type) for value in values]
            if place == 0:
                region.outputs = tuple(inner._both(node, given, flags))
            else:
                found = inner.region(node.regions[1], given[1:], flags[1:])
                region.outputs = tuple(inner.filled(*pair) for pair in found)
            regions.append(region)
        some = primitive_named("reduce_any")(self.builder.expr(values[0]), axes=(0,))
        outputs = self.builder.emit(node.op, [some.value, *values], node.attributes, regions).outputs
        return [(value, True) for value in outputs]

    def _settled(self, body: Region, flags: Sequence[bool], first: int, carries: int) -> list[bool]:
        """Which inputs of a loop's body vary over the batch: a carry does if it starts so, or if a step makes it so."""
        flags = list(flags)
        while True:
            found = self.varying(body, flags)[:carries]
            grown = [*flags[:first], *(a or b for a, b in zip(flags[first : first + carries], found, strict=True))]
            grown += flags[first + carries :]
            if grown == flags:
                return flags
            flags = grown

    def _scan(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Marked]:
        first, carries = invariants_of(node), carries_of(node)
        body = node.regions[0]
        settled = self._settled(body, flags, first, carries)
        second = first + carries
        operands = []
        for place, (value, flag, want) in enumerate(zip(values, flags, settled, strict=True)):
            if place < second:
                operands.append(self.filled(value, flag) if want else value)
            else:
                operands.append(_swapped(self.builder, value) if flag else value)
        wanted = [*settled[first:second], *self.varying(body, settled)[carries:]]
        region = self.body(body, settled, wanted)
        outputs = self.builder.emit(primitive_named("scan"), operands, node.attributes, [region]).outputs
        rows = [
            _swapped(self.builder, value) if want else value
            for value, want in zip(outputs[carries:], wanted[carries:], strict=True)
        ]
        return list(zip([*outputs[:carries], *rows], wanted, strict=True))

    def _while(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Marked]:
        """A loop as long as any example goes on; those that have ended keep their carries."""
        first = invariants_of(node)
        condition, body = node.regions
        carries = len(body.outputs)
        settled = self._settled(body, flags, first, carries)
        if not self.varying(condition, settled)[0]:
            operands = [self.filled(v, f) if want else v for v, f, want in zip(values, flags, settled, strict=True)]
            regions = [self.body(condition, settled, [False]), self.body(body, settled, settled[first:])]
            outputs = self.builder.emit(primitive_named("while"), operands, node.attributes, regions).outputs
            return list(zip(outputs, settled[first:], strict=True))
        settled = [*settled[:first], *([True] * carries)]
        operands = [self.filled(v, f) if want else v for v, f, want in zip(values, flags, settled, strict=True)]
        going = self.body(condition, settled, [True])
        test, step = Region(), Region()
        for region in (test, step):
            inner = _Batch(Builder(region, self.builder.location), self.extent)
            inputs = [inner.builder.input(value.type) for value in operands]
            (mask,) = inline(inner.builder, going, inputs)
            if region is test:
                found = primitive_named("reduce_any")(inner.builder.expr(mask), axes=(0,))
                region.outputs = (found.value,)
                continue
            results = inner.region(body, inputs, settled)
            region.outputs = tuple(
                inner.choose(mask, inner.filled(value, flag), old)
                for (value, flag), old in zip(results, inputs[first:], strict=True)
            )
        outputs = self.builder.emit(primitive_named("while"), operands, node.attributes, [test, step]).outputs
        return [(value, True) for value in outputs]

    def _linear_solve(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Marked]:
        """A system for each example, solved together."""
        first = invariants_of(node)
        operands = [*values[:first], *map(self.filled, values[first:], flags[first:])]
        wanted = [True for _ in node.outputs]
        regions = [self.body(region, [*flags[:first], *wanted], wanted) for region in node.regions]
        outputs = self.builder.emit(node.op, operands, node.attributes, regions).outputs
        return [(value, True) for value in outputs]

    def _host_call(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Marked]:
        """One call for each example: a function of the host is known for one only, but for those on matrices."""
        if str(node.attributes["function"]).startswith("linalg."):
            return self._on_matrices(node, values, flags)
        region = Region()
        inner = Builder(region, self.builder.location)
        fixed = [value for value, flag in zip(values, flags, strict=True) if not flag]
        rows = [value for value, flag in zip(values, flags, strict=True) if flag]
        shared = iter([inner.input(value.type) for value in fixed])
        sliced = iter([inner.input(without_batch(value.type)) for value in rows])
        operands = [next(sliced) if flag else next(shared) for flag in flags]
        region.outputs = inner.emit(node.op, operands, node.attributes).outputs
        attributes: dict[str, Any] = {
            "invariants": len(fixed), "carries": 0, "length": self.extent, "reverse": False
        }  # fmt: skip
        outputs = self.builder.emit(primitive_named("scan"), [*fixed, *rows], attributes, [region]).outputs
        return [(value, True) for value in outputs]

    def _on_matrices(self, node: Node, values: Sequence[Value], flags: Sequence[bool]) -> list[Marked]:
        """The batch is one more leading axis."""
        operands = [self.filled(value, flag) for value, flag in zip(values, flags, strict=True)]
        types = tuple(with_batch(value.type, self.extent) for value in node.outputs)
        outputs = self.builder.emit(node.op, operands, {**node.attributes, "types": types}).outputs
        return [(value, True) for value in outputs]


def _loops(region: Region) -> bool:
    return any(node.op.name in (*LOOPS, "linear_solve", "call") for node in region.walk())


def _total(builder: Builder, value: Value) -> Value:
    """The sum over the batch: the cotangent of what all examples share."""
    found = primitive_named("reduce_sum")(builder.expr(value), axes=(0,))
    assert isinstance(found, Expr)
    return found.value


def _swapped(builder: Builder, value: Value) -> Value:
    """The two leading axes exchanged: a scan slices the first, a batch is it."""
    perm = (1, 0, *range(2, value.type.ndim))
    found = primitive_named("permute")(builder.expr(value), perm=perm)
    assert isinstance(found, Expr)
    return found.value
