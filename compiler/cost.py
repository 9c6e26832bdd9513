"""What kernels do, counted from their loops: floating-point operations, bytes, and how both spread over user lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from adjit.compiler.llvm.emit_choice import HEAVY, extents_of
from adjit.compiler.loops.ir import BLOCKS, CONTRACT, FOR, INDEX, INSIDE, KERNEL, MATRICES, REDUCE, SORT_ROWS, TRANSFORM
from adjit.ir.frozen import frozen
from adjit.ir.graph import Location, Node, Region
from adjit.ir.shape import Size, evaluate, product

# Instructions of a function of mathematics, about: polynomials of some 20 terms.
_FUNCTION = 20


@frozen
class Cost:
    """A kernel's work: `flops` counts additions and multiplications of floats, functions as one each; `bytes` is each
    operand and result once."""

    flops: int
    bytes: int


def runs_of(region: Region, sizes: Mapping[str, int], times: int = 1) -> dict[Node, int]:
    """How often each kernel of a lowered program runs: once, or for each turn of the `scan`s around it.

    The turns of a `while` are not known, and count as one; both sides of a `cond` do.
    """
    found: dict[Node, int] = {}
    for node in region.nodes:
        if node.op is KERNEL:
            found[node] = times
            continue
        turns = _evaluated(node.attributes["length"], sizes) if node.op.name == "scan" else 1  # type: ignore[arg-type]
        for inner in node.regions:
            found |= runs_of(inner, sizes, times * turns)
    return found


def cost_of(kernel: Node, sizes: Mapping[str, int]) -> Cost:
    """The cost of a `kernel` for these values of the named sizes."""
    flops = sum(times * _flops(node) for node, times in _repeated(kernel.regions[0], 1, sizes))
    moved = {value: value.type for node in kernel.regions[0].walk() for value in node.inputs if value.dims}
    buffers = [value for value in kernel.regions[0].inputs if value in moved]
    return Cost(flops, sum(evaluate(value.type.size, dict(sizes)) * value.dtype.itemsize for value in buffers))


def line_weights(kernel: Node, sizes: Mapping[str, int]) -> dict[Location, float]:
    """About how many instructions each place of the user's program causes in a kernel."""
    found: dict[Location, float] = {}
    for node, times in _repeated(kernel.regions[0], 1, sizes):
        if node.op in (INDEX, INSIDE) or node.op.name == "const" or not node.location.line:
            continue
        one = _FUNCTION if node.op.name in HEAVY else max(1, _flops(node))
        found[node.location] = found.get(node.location, 0.0) + float(times) * one
    return found


def _flops(node: Node) -> int:
    """Operations of one evaluation of a node, those of its regions left out."""
    if node.op is CONTRACT:
        return 2 if node.regions[0].outputs[0].dtype.is_float else 0
    if node.op is REDUCE:
        return sum(1 for value in node.outputs if value.dtype.is_float)
    if node.op.family != "scalar" or not node.outputs or node.op.name in ("where", "cast", "bitcast"):
        return 0
    return int(any(value.dtype.is_float for value in (*node.outputs, *node.inputs)))


def _repeated(region: Region, times: int, sizes: Mapping[str, int]) -> Iterator[tuple[Node, int]]:
    """Each node with the number of its evaluations; reductions and contractions count their terms."""
    for node in region.nodes:
        if node.op is CONTRACT:
            batch, m, n, k = (_count(node, kind, sizes) for kind in ("batch", "m", "n", "k"))
            yield node, times * batch * m * n * k
            for inner, count in zip(node.regions, (m * k, n * k, m * n), strict=False):
                yield from _repeated(inner, times * batch * count, sizes)
        elif node.op is BLOCKS:
            yield from _blocks(node, times, sizes)
        elif node.op in (FOR, REDUCE):
            inside = times * _evaluated(product(extents_of(node)), sizes)
            if node.op is REDUCE:
                yield node, inside
            yield from _repeated(node.regions[0], inside, sizes)
        elif node.op is MATRICES:
            batch, rows, columns = (_evaluated(node.attributes[n], sizes) for n in ("batch", "rows", "columns"))  # type: ignore[arg-type]
            yield node, times * batch * rows * rows * columns
        elif node.op is TRANSFORM:
            rows, length, beside = (_evaluated(node.attributes[n], sizes) for n in ("rows", "points", "inner"))  # type: ignore[arg-type]
            yield node, times * rows * beside * length * max(1, length.bit_length())
        elif node.op is SORT_ROWS:
            rows, length = (_evaluated(node.attributes[name], sizes) for name in ("rows", "length"))  # type: ignore[arg-type]
            yield node, times * rows * length * max(1, length.bit_length())
        else:
            yield node, times


def _blocks(node: Node, times: int, sizes: Mapping[str, int]) -> Iterator[tuple[Node, int]]:
    """Those of the statements of `blocks`, whose extents may depend on its last variable: counted for each value."""
    *outer, last = zip(node.attributes["var"], extents_of(node), strict=True) or [("", 1)]  # type: ignore[arg-type]
    times *= _evaluated(product(extent for _, extent in outer), sizes)
    known = {**sizes, **{str(name): 0 for name, _ in outer}}
    for value in range(_evaluated(last[1], sizes)):
        yield from _repeated(node.regions[0], times, {**known, str(last[0]): value})


def pairs_of(contract: Node, kind: str) -> tuple[tuple[Size, Size], ...]:
    """The variables and extents of one kind of axes (batch, m, n, k) of a `contract`."""
    return contract.attributes[kind]  # type: ignore[return-value]


def _count(node: Node, kind: str, sizes: Mapping[str, int]) -> int:
    return _evaluated(product(extent for _, extent in pairs_of(node, kind)), sizes)


def _evaluated(size: Size, sizes: Mapping[str, int]) -> int:
    return size if isinstance(size, int) else evaluate(size, dict(sizes))
