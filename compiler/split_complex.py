"""Complex numbers split into pairs of real values, so that kernels are real.

Complex inputs and results keep their memory: `as_real` and `as_complex` say where interleaved parts are read and
written.  Between them every complex value is a pair; ops that are linear act on each part, scalar functions by their
rules in `adjit.ir.ops.complex_parts`, products as four real products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from adjit.compiler.loops.ir import AS_COMPLEX, AS_REAL
from adjit.ir.builder import Builder, Expr
from adjit.ir.errors import DTypeError
from adjit.ir.frozen import frozen
from adjit.ir.graph import UNKNOWN, Attribute, Graph, Node, Region, Value
from adjit.ir.ops.arrays import cast, expand, moved, permute, reshape, window_of
from adjit.ir.ops.structure import concat
from adjit.ir.primitive import Primitive, primitive_named
from adjit.ir.shape import product
from adjit.ir.types import BOOL, DType, TensorType


@frozen
class Pair:
    """A complex value as its parts; `whole` is the value whose memory holds them interleaved, where there is one.

    `parts` are the parts interleaved, re and im along a last axis, where they are known so.
    """

    re: Expr
    im: Expr
    whole: Value | None = None
    parts: Expr | None = None


Split: TypeAlias = "Expr | Pair"

# Ops that move or add elements: the same on each part.
ON_PARTS = frozenset(
    ("as_strided", "concat", "cumulate_sum", "detach", "expand", "fold", "gather", "interleave", "pad", "permute",
     "reduce_sum", "reshape", "scatter_add", "scatter_set", "slice", "window")
)  # fmt: skip


def split_complex(graph: Graph) -> Graph:
    """`graph` (without calls) with complex values nowhere but in inputs, results, and what the host's functions see."""
    result = Graph(graph.name, graph.inputs, guards=graph.guards, writes=graph.writes, approximate=graph.approximate)
    splitter = _Splitter(result)
    first = next((node.location for node in graph.nodes if node.location.line), UNKNOWN)
    splitter.builder.location = first.made("legalize", "complex inputs as real parts")
    known = {value: splitter.entering(value) for value in graph.inputs}
    splitter.nodes(graph.nodes, known)
    result.outputs = tuple(splitter.leaving(known[value]) for value in graph.outputs)
    return result


class _Splitter:
    """Writes the nodes of one region with every complex value a pair."""

    def __init__(self, region: Region) -> None:
        self.builder = Builder(region)

    # -- borders ------------------------------------------------------------------------------------------------------
    def entering(self, value: Value) -> Split:
        """A value in memory as what this region computes with."""
        if not value.dtype.is_complex:
            return self.builder.expr(value)
        parts = self.builder.emit(AS_REAL, (value,)).output
        return self.halves(self.builder.expr(parts), value)

    def halves(self, parts: Expr, whole: Value | None) -> Pair:
        """The pair that lies along the last axis of `parts`."""
        dims = parts.shape[:-1]
        start = (0,) * len(dims)
        re, im = (reshape(window_of(parts, (*start, side), (*dims, 1)), dims) for side in (0, 1))
        return Pair(re, im, whole, parts)

    def interleaved(self, pair: Pair) -> Expr:
        """out[..., 0] = re, out[..., 1] = im."""
        if pair.parts is not None:
            return pair.parts
        dims = pair.re.shape
        sides = [reshape(part, (*dims, 1)) for part in (pair.re, pair.im)]
        return concat(*sides, axis=len(dims))  # type: ignore[no-any-return]

    def leaving(self, found: Split) -> Value:
        """A value in memory."""
        if isinstance(found, Expr):
            return found.value
        if found.whole is not None:
            return found.whole
        return self.builder.emit(AS_COMPLEX, (self.interleaved(found).value,)).output

    # -- nodes --------------------------------------------------------------------------------------------------------
    def nodes(self, nodes: Sequence[Node], known: dict[Value, Split]) -> None:
        """Append what `nodes` become; `known` gets their results."""
        for node in nodes:
            self.builder.location = node.location
            before = len(self.builder.region.nodes)
            found = self.node(node, [known[value] for value in node.inputs])
            fresh = set(self.builder.region.nodes[before:])
            for value, split in zip(node.outputs, found, strict=True):
                known[value] = split
                for name, part in _named(value.name, split):
                    if part.value.node in fresh and part.value.name is None:
                        part.value.name = name

    def node(self, node: Node, operands: Sequence[Split]) -> Sequence[Split]:
        """The results of one node."""
        complex_values = [v for v in (*node.inputs, *node.outputs) if v.dtype.is_complex]
        if node.regions:
            return self.control(node, operands)
        if not complex_values:
            return self.kept(node, [x.value for x in operands])  # type: ignore[union-attr]
        if node.op.name in ("rfft", "irfft") and node.attributes["axis"] != node.inputs[0].type.ndim - 1:
            return [self.along_last(node, operands[0])]
        if node.op.name in ("host_call",) or node.op.family in ("linalg", "fourier"):
            return [self.entering(v) for v in self.emitted(node, [self.leaving(x) for x in operands])]
        found = self.rule(node, operands)
        return found if isinstance(found, list) else [found]

    def along_last(self, node: Node, x: Split) -> Split:
        """The transform of real numbers, or to such, with its axis moved to the end."""
        axis, last = node.attributes["axis"], node.inputs[0].type.ndim - 1
        assert isinstance(axis, int)
        x = moved(x, axis, last) if isinstance(x, Expr) else Pair(moved(x.re, axis, last), moved(x.im, axis, last))
        attributes = {**node.attributes, "axis": last}
        found = self.entering(self.builder.emit(node.op, (self.leaving(x),), attributes).output)
        if isinstance(found, Expr):
            back: Expr = moved(found, last, axis)
            return back
        return Pair(moved(found.re, last, axis), moved(found.im, last, axis))

    def kept(self, node: Node, inputs: Sequence[Value]) -> Sequence[Expr]:
        if node.op.name == "const":
            return [self.builder.expr(self.builder.constant(node.attributes["value"], node.output.dtype))]  # type: ignore[arg-type]
        if tuple(inputs) == node.inputs:
            self.builder.append(node)
            return self.builder.exprs(node.outputs)
        return self.builder.exprs(self.emitted(node, inputs))

    def emitted(self, node: Node, inputs: Sequence[Value]) -> Sequence[Value]:
        types = [value.type for value in node.outputs]
        return self.builder.emit(node.op, inputs, node.attributes, (), types).outputs

    def rule(self, node: Node, operands: Sequence[Split]) -> Any:
        """What the node's op is on pairs."""
        name, attributes = node.op.name, node.attributes
        if name in _RULES:
            return _RULES[name](self, node, *operands)
        if name in ON_PARTS:
            second = {**attributes, "value": 0} if name == "pad" else attributes
            re = node.op(*(x.re if isinstance(x, Pair) else x for x in operands), **attributes)
            im = node.op(*(x.im if isinstance(x, Pair) else x for x in operands), **second)
            return Pair(re, im)
        if node.op.family == "scalar":
            return self.scalar(node.op.name, operands, dict(attributes), node)
        raise DTypeError(f"{name}: an operand is {node.inputs[0].type}; it takes real numbers")

    def scalar(self, name: str, operands: Sequence[Split], attributes: dict[str, Attribute], node: Node) -> Split:
        """A scalar op by its rule on parts, or by its definition in others that have one."""
        from adjit.ir.ops.complex_parts import PARTS

        rule = PARTS.get(name)
        if rule is not None:
            found: Any = rule(*((x.re, x.im) if isinstance(x, Pair) else x for x in operands), **attributes)
            dims = node.output.dims
            # A part may come from operands of rank 0 alone.
            return Pair(*(expand(part, dims) for part in found)) if isinstance(found, tuple) else expand(found, dims)
        assert node.op.body is not None, f"{name} has neither parts nor a definition"
        definition = Region()
        inner = Builder(definition, node.location)
        values = [Value(value.type) for value in node.inputs]
        result = node.op.body(*inner.exprs(values), **attributes)
        known: dict[Value, Split] = dict(zip(values, operands, strict=True))
        self.nodes(definition.nodes, known)
        return known[result.value]

    # -- control ------------------------------------------------------------------------------------------------------
    def control(self, node: Node, operands: Sequence[Split]) -> Sequence[Split]:
        """A node with regions: a pair is two operands, two inputs and two results of its regions."""
        regions = [_split_region(region) for region in node.regions]
        attributes = dict(node.attributes)
        start = 0
        for name in ("invariants", "carries"):
            if name in attributes:
                count = int(attributes[name])  # type: ignore[arg-type]
                attributes[name] = len(flattened(operands[start : start + count]))
                start += count
        inputs = [x.value for x in flattened(operands)]
        types = [type for value in node.outputs for type in _types(value.type)]
        outputs = iter(self.builder.exprs(self.builder.emit(node.op, inputs, attributes, regions, types).outputs))
        return [Pair(next(outputs), next(outputs)) if v.dtype.is_complex else next(outputs) for v in node.outputs]


def _named(name: str | None, split: Split) -> Sequence[tuple[str | None, Expr]]:
    """The parts of a value with the names they get: `x` has `x.re` and `x.im`."""
    if isinstance(split, Expr):
        return [(name, split)]
    return [(name and f"{name}.re", split.re), (name and f"{name}.im", split.im)]


def flattened(splits: Sequence[Split]) -> list[Expr]:
    """The parts of pairs, and what is no pair, in a row."""
    return [part for x in splits for part in ((x.re, x.im) if isinstance(x, Pair) else (x,))]


def _types(type: TensorType) -> tuple[TensorType, ...]:
    return (type.with_dtype(type.dtype.part),) * 2 if type.dtype.is_complex else (type,)


def _split_region(region: Region) -> Region:
    result = Region()
    splitter = _Splitter(result)
    known: dict[Value, Split] = {}
    inputs: list[Value] = []
    for value in region.inputs:
        parts = [Value(type, value.name) for type in _types(value.type)]
        inputs += parts
        exprs = splitter.builder.exprs(parts)
        known[value] = Pair(exprs[0], exprs[1]) if value.dtype.is_complex else exprs[0]
    result.inputs = tuple(inputs)
    splitter.nodes(region.nodes, known)
    result.outputs = tuple(x.value for x in flattened([known[value] for value in region.outputs]))
    return result


# -- rules -------------------------------------------------------------------------------------------------------------
def _const(splitter: _Splitter, node: Node) -> Pair:
    part = node.output.dtype.part
    value = node.attributes["value"]
    re, im = (splitter.builder.constant(number, part) for number in (value, 0))  # type: ignore[arg-type]
    return Pair(splitter.builder.expr(re), splitter.builder.expr(im))


def _cast(splitter: _Splitter, node: Node, x: Split) -> Split:
    """A real number has no imaginary part, and a complex one loses it; it is true where either part is not 0."""
    target: DType = node.attributes["dtype"]  # type: ignore[assignment]
    if isinstance(x, Pair):
        re, im = (cast(part, target.part) for part in (x.re, x.im))
        if target is BOOL:
            return primitive_named("or")(re, im)  # type: ignore[no-any-return]
        return Pair(re, im) if target.is_complex else re
    re = cast(x, target.part)
    zero = splitter.builder.expr(splitter.builder.constant(0, target.part))
    return Pair(re, expand(zero, x.shape))


def _product(splitter: _Splitter, node: Node, x: Pair, y: Pair) -> Pair:
    """A sum of products, by four real ones."""

    def of(a: Expr, b: Expr) -> Expr:
        return node.op(a, b, **node.attributes)  # type: ignore[no-any-return]

    return Pair(of(x.re, y.re) - of(x.im, y.im), of(x.re, y.im) + of(x.im, y.re))


def _dot(splitter: _Splitter, node: Node, x: Pair, y: Pair) -> Pair:
    """A sum of products, by one real one.

    The operand with fewer axes, which is the smaller one for the most part, is the one that is copied.
    """
    contract: Any = node.attributes["contract"]
    batch: Any = node.attributes["batch"]
    sides = [(operand, tuple(contract[side]), tuple(batch[side])) for side, operand in enumerate((x, y))]
    counts = [operand.re.ndim - len(summed) - len(batches) for operand, summed, batches in sides]
    if counts[0] >= counts[1]:
        return _by_one_product(splitter, node.op, *sides)
    found, batches = _by_one_product(splitter, node.op, *sides[::-1]), len(sides[0][2])
    last = batches + counts[1]
    order = (*range(batches), *range(last, last + counts[0]), *range(batches, last))
    return Pair(permute(found.re, order), permute(found.im, order))


_Side: TypeAlias = "tuple[Pair, tuple[int, ...], tuple[int, ...]]"  # an operand, its axes that are summed and batched


def _by_one_product(splitter: _Splitter, op: Primitive, left: _Side, right: _Side) -> Pair:
    """[re im] of the left operand by [[re im] [-im re]] of the right one is [re im] of their product.

    So the left one is read, and the result written, as memory has them.
    """
    (x, terms, batch), (y, summed, batches) = left, right
    free = [axis for axis in range(y.re.ndim) if axis not in (*summed, *batches)]
    # The new axes stand beside those of their kind, so that rows and columns of y are each in one piece.
    column = free[-1] + 1 if free else min(summed, default=y.re.ndim)
    row = max(summed, default=-1) + 1
    row, column = row + (column < row), column + (row <= column)
    within = column - (row < column)
    both = _stacked([_stacked([y.re, y.im], within), _stacked([-y.im, y.re], within)], row)
    kept = [axis for axis in range(both.ndim) if axis not in (row, column)]
    summed, batches = (tuple(kept[axis] for axis in axes) for axes in (summed, batches))
    parts, last = splitter.interleaved(x), x.re.ndim - 1
    if terms != (last,):
        attributes = {"contract": ((*terms, last + 1), (*summed, row)), "batch": (batch, batches)}
        return splitter.halves(op(parts, both, **attributes), None)
    # Terms and their parts are one axis of both.
    parts, at = reshape(parts, (*x.re.shape[:-1], 2 * x.re.shape[-1])), row - 1
    both = reshape(both, (*both.shape[:at], 2 * both.shape[at], *both.shape[row + 1 :]))
    batches = tuple(axis - (axis > row) for axis in batches)
    return splitter.halves(op(parts, both, contract=(terms, (at,)), batch=(batch, batches)), None)


def _stacked(parts: Sequence[Expr], axis: int) -> Expr:
    """Parts beside each other along a new axis."""
    dims = parts[0].shape
    return concat(*(reshape(part, (*dims[:axis], 1, *dims[axis:])) for part in parts), axis=axis)  # type: ignore[no-any-return]


def _view_as_real(splitter: _Splitter, node: Node, x: Pair) -> Expr:
    return splitter.interleaved(x)


def _view_as_complex(splitter: _Splitter, node: Node, x: Expr) -> Pair:
    return splitter.halves(x, None)


def _recurred(
    splitter: _Splitter, terms: Pair | None, factors: Pair, *, reverse: bool
) -> tuple[Pair, Pair]:
    """The last of c = term + factor*c over the entries of the first axis, and all of them: steps of a loop.

    Without terms, which are 0, c begins at 1, else at 0.
    """
    builder = splitter.builder
    length, *rest = factors.re.shape
    dtype = factors.re.dtype
    body = Region()
    inner = Builder(body, builder.location)
    rows = [x.value for pair in (factors, terms) if pair is not None for x in (pair.re, pair.im)]
    a, b, c, d, *term = (inner.expr(inner.input(TensorType(dtype, tuple(rest)))) for _ in range(2 + len(rows)))
    result = (a * c - b * d, a * d + b * c)
    if term:
        result = (term[0] + result[0], term[1] + result[1])
    body.outputs = tuple(x.value for x in (*result, *result))
    start = (1, 0) if terms is None else (0, 0)
    first = [expand(builder.expr(builder.constant(n, dtype)), tuple(rest)).value for n in start]
    attributes: dict[str, Attribute] = {"invariants": 0, "carries": 2, "length": length, "reverse": reverse}
    found = builder.exprs(builder.emit(primitive_named("scan"), [*first, *rows], attributes, [body]).outputs)
    return Pair(found[0], found[1]), Pair(found[2], found[3])


def _reduce_prod(splitter: _Splitter, node: Node, x: Pair) -> Pair:
    axes: tuple[int, ...] = node.attributes["axes"]  # type: ignore[assignment]
    dims = x.re.shape
    kept = tuple(axis for axis in range(len(dims)) if axis not in axes)
    shape = (product(dims[axis] for axis in axes), *(dims[axis] for axis in kept))
    re, im = (reshape(permute(part, (*axes, *kept)), shape) for part in (x.re, x.im))
    return _recurred(splitter, None, Pair(re, im), reverse=False)[0]


def _cumulate_prod(splitter: _Splitter, node: Node, x: Pair) -> Pair:
    return _recur(splitter, node, None, x)


def _recur(splitter: _Splitter, node: Node, terms: Pair | None, factors: Pair) -> Pair:
    axis: int = node.attributes["axis"]  # type: ignore[assignment]
    order = (axis, *(a for a in range(factors.re.ndim) if a != axis))

    def rows(pair: Pair) -> Pair:
        return Pair(permute(pair.re, order), permute(pair.im, order))

    reverse = bool(node.attributes["reverse"])
    found = _recurred(splitter, None if terms is None else rows(terms), rows(factors), reverse=reverse)[1]
    back = tuple(order.index(a) for a in range(len(order)))
    return Pair(permute(found.re, back), permute(found.im, back))


_RULES: dict[str, Callable[..., Split]] = {
    "cast": _cast,
    "const": _const,
    "conv": _product,
    "cumulate_prod": _cumulate_prod,
    "dot": _dot,
    "recur": _recur,
    "reduce_prod": _reduce_prod,
    "view_as_complex": _view_as_complex,
    "view_as_real": _view_as_real,
}
