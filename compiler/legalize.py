"""Legalization: every op that has no kernel of its own is written in ops that have.

Calls are inlined, complex numbers split into their parts, named scalar ops without native code expanded, half precision
is computed in f32 and rounded once an op, a convolution becomes a contraction with windows of the image, a sort moves
to the last axis, a boundary disappears; Fourier transforms of lengths with large prime factors become convolutions, or
where they are long are the host's, which factorizes large matrices, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import chain

from adjit.compiler.loops.ir import used_values
from adjit.compiler.loops.kinds import ON_MATRICES
from adjit.ir.analysis import callees
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Attribute, Graph, Node, Value
from adjit.ir.ops.arrays import cast, moved
from adjit.ir.ops.factorization import MANY_MATRICES
from adjit.ir.ops.structure import concat
from adjit.ir.primitive import Primitive
from adjit.ir.rewrite import inline_calls, rewrite
from adjit.ir.shape import product
from adjit.ir.types import F32, HALVES, DType, TensorType

# Ops that only move elements do so in any dtype.
MOVES = frozenset({"where", "cast", "bitcast", "scatter_set", "gather", "detach"})
# Named scalar ops that have native code of their own.
NATIVE = frozenset({"acos", "asin", "atan", "cosh", "exp2", "sinh", "tan"})
# A kernel has a loop for each operand of a concat.
WIDEST_CONCAT = 32
# Bytes of the longest rows, for some algorithms more, and the longest rows of complex numbers, of matrices that have
# kernels: for larger ones LAPACK's blocks are worth the call of the host.
LONGEST_ROW, LONGEST_COMPLEX = 1024, 32
_LONGEST_OF = {"cholesky": 4096, "triangular_solve": 2048}


def legalize(graph: Graph, *, strict: bool = False) -> Graph:
    """The same program in ops that lowering knows; with `strict`, what eager mode leaves to the host is left there."""
    graph = inline_calls(graph)
    values = (*graph.inputs, *(value for node in graph.walk() for value in node.outputs))
    if any(value.dtype.is_complex for value in values):
        # What few programs need is imported where one does.
        from adjit.compiler.split_complex import split_complex

        if any(node.op.family == "fourier" for node in graph.walk()):
            from adjit.compiler.chirp import with_chirps

            graph = with_chirps(graph)
        graph = split_complex(graph)
    return rewrite(graph, partial(_legalized, strict=strict, read=cache(partial(_read_values, graph))))


def _read_values(graph: Graph) -> frozenset[Value]:
    """The values that the program, or one that it calls, uses."""
    graphs = (graph, *callees(graph))
    results = (value for each in graphs for value in each.outputs)
    return frozenset(chain(results, *(used_values(node) for each in graphs for node in each.nodes)))


class _Expanding(Builder):
    """Writes a named scalar op as its definition, also where it occurs in one."""

    __slots__ = ()

    def apply(
        self, op: Primitive, operands: Sequence[object], attributes: dict[str, Attribute]
    ) -> Expr | tuple[Expr, ...]:
        if op.body is None or op.name in NATIVE:
            return super().apply(op, operands, attributes)
        results = op.body(*self.exprs(self.values(op, operands)), **attributes)
        assert isinstance(results, Expr)
        return results


def _legalized(
    builder: Builder, node: Node, operands: tuple[Value, ...], strict: bool, read: Callable[[], frozenset[Value]]
) -> Sequence[Value] | None:
    if node.op.family == "linalg":
        from adjit.compiler.on_host import on_matrices

        is_native = has_kernel(node.op, [v.type for v in operands], MANY_MATRICES if strict else 1)
        return None if is_native else on_matrices(builder, node, operands, read)
    if node.op.family == "fourier":
        return _transformed(builder, node, operands[0])
    is_half = any(value.dtype in HALVES for value in operands) and node.op.name not in MOVES
    known = node.op.body is None or node.op.name in NATIVE
    if not is_half and known and node.op.name not in _RULES:
        return None
    if node.op.family == "control" or (is_half and node.op.family == "structure" and node.op.name != "fold"):
        return None
    expanding = _Expanding(builder.region, builder.location.made("legalize", _why(node, is_half)))
    inputs = expanding.exprs(operands)
    if is_half:
        inputs = tuple(cast(x, F32) if x.dtype in HALVES else x for x in inputs)
    rule = _RULES.get(node.op.name)
    found = rule(strict, node, *inputs) if rule else node.op(*inputs, **node.attributes)
    results = found if isinstance(found, tuple) else (found,)
    return [_rounded(x, value.dtype).value for x, value in zip(results, node.outputs, strict=True)]


def _why(node: Node, is_half: bool) -> str:
    """The reason of the ops that stand for `node`."""
    if is_half:
        return f"{node.op.name} of {node.inputs[0].dtype} is computed in f32 and rounded once"
    return f"{node.op.name} written in ops that have kernels"


def _rounded(x: Expr, dtype: DType) -> Expr:
    return x if x.dtype is dtype else cast(x, dtype)


# -- matrices and transforms ------------------------------------------------------------------------------------------
def has_kernel(op: Primitive, types: Sequence[TensorType], least: int = 1) -> bool:
    """Whether an op on matrices has a kernel: the algorithm is known, the matrices are small, and at least so many."""
    *batch, rows, columns = types[0].dims
    count = product(batch)
    if least > 1 and not (isinstance(count, int) and count >= least):
        return False
    dtype = types[0].dtype
    longest = LONGEST_COMPLEX if dtype.is_complex else _LONGEST_OF.get(op.name, LONGEST_ROW) // dtype.itemsize
    return op.name in ON_MATRICES and all(isinstance(side, int) and side <= longest for side in (rows, columns))


def _transformed(builder: Builder, node: Node, operand: Value) -> Sequence[Value] | None:
    """A Fourier transform as transforms along one axis after another.

    The host makes those of which the number of points has a large prime factor, or is not known.
    """
    from adjit.compiler.llvm.fourier_plan import factors_of
    from adjit.compiler.on_host import transformed_by_host

    attributes, name = node.attributes, node.op.name
    points = node.output if name == "irfft" else operand
    axes: tuple[int, ...] = attributes["axes"] if name == "fft" else (attributes["axis"],)  # type: ignore[assignment]
    native = {axis: isinstance(size := points.dims[axis], int) and bool(factors_of(size)) for axis in axes}
    if len(axes) == 1 and native[axes[0]]:
        return None
    if not any(native.values()):
        return [transformed_by_host(builder, node, operand, attributes)]
    for axis in reversed(axes):
        own: dict[str, Attribute] = {**attributes, "axes": (axis,)}
        if native[axis]:
            operand = builder.emit(node.op, (operand,), own).output
        else:
            operand = transformed_by_host(builder, node, operand, own)
    return [operand]


# -- others ------------------------------------------------------------------------------------------------------------
def _sort(strict: bool, node: Node, x: Expr) -> tuple[Expr, ...]:
    axis: int = node.attributes["axis"]  # type: ignore[assignment]
    last = x.ndim - 1
    results = node.op(moved(x, axis, last), **{**node.attributes, "axis": last})
    return tuple(moved(result, last, axis) for result in results)


def in_a_row(operands: Sequence[Expr], axis: int) -> Expr:
    """The concat of any number of operands: of concats, where they are more than a kernel takes."""
    while len(operands) > WIDEST_CONCAT:
        parts = [operands[start : start + WIDEST_CONCAT] for start in range(0, len(operands), WIDEST_CONCAT)]
        operands = [concat(*part, axis=axis) for part in parts]
    return concat(*operands, axis=axis)  # type: ignore[no-any-return]


def _convolve(strict: bool, node: Node, x: Expr, w: Expr) -> Expr:
    from adjit.compiler.convolution import convolve

    return convolve(x, w, **node.attributes, strict=strict)  # type: ignore[arg-type]


def _fold(strict: bool, node: Node, x: Expr) -> Expr:
    from adjit.compiler.convolution import fold_by_phases

    return fold_by_phases(x, **node.attributes)  # type: ignore[arg-type]


_RULES: dict[str, Callable[..., Expr | tuple[Expr, ...]]] = {
    "concat": lambda strict, node, *operands: in_a_row(operands, node.attributes["axis"]),
    "conv": _convolve,
    "fold": _fold,
    "detach": lambda strict, node, x: x,
    "sort": _sort,
}
