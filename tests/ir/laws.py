"""What the laws over primitives share: running an op's sample, comparing results, writing a rule's program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from adjit.compiler.pullback import ADJOINTS
from adjit.ir import ops
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Graph
from adjit.ir.ops import complex as complex_ops
from adjit.ir.ops import eigen, fourier, special_bessel, special_incomplete
from adjit.ir.ops.chain import conjugated
from adjit.ir.primitive import PRIMITIVES, Primitive
from adjit.ir.types import TensorType
from adjit.ir.verify import verify
from adjit.runtime.host import register_host_function
from adjit.runtime.interpreter import run
from tests.sampling import Array, Sample

# Importing them fills the registry.
assert ops.structure and special_bessel and special_incomplete and fourier and complex_ops and eigen
FAMILIES = (
    "scalar", "structure", "contraction", "reduction", "indexing", "source", "linalg", "fourier", "control", "boundary"
)  # fmt: skip
OPS = [op for op in PRIMITIVES.values() if op.family in FAMILIES]
# A partial that no formula gives is NaN.
UNGIVEN = {
    "airy_ai", "gamma_correction", "gamma_fraction", "gamma_series", "gamma_weight", "hurwitz", "igamma",
    "igammac", "zeta",
}  # fmt: skip
TENSOR_OPS = [op for op in OPS if op.family != "scalar"]
TOLERANCE = {"f16": 2e-2, "bf16": 2e-2, "f32": 2e-5, "f64": 1e-9}

register_host_function("tests.cumulative_sum", lambda x: (np.cumsum(x),))


def named(op: Primitive) -> str:
    return op.name


def listed(results: Any) -> tuple[Any, ...]:
    return tuple(results) if isinstance(results, tuple | list) else (results,)


def compute(op: Primitive, sample: Sample, operands: Sequence[Array] | None = None) -> tuple[Array, ...]:
    """The op's results by its reference."""
    with np.errstate(all="ignore"):
        given = sample.operands if operands is None else operands
        return tuple(map(np.asarray, listed(op.reference(*given, **sample.attributes))))


def assert_same(found: Any, wanted: Any, exact: bool, where: str) -> None:
    """Equal dtypes and shapes, and bits or values within the dtype's tolerance; NaN equals NaN."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), where
    if exact or wanted.dtype.kind not in "fc":
        np.testing.assert_array_equal(found, wanted, err_msg=where)
    else:
        bound = TOLERANCE[f"f{8 * wanted.real.dtype.itemsize}"]
        np.testing.assert_allclose(found, wanted, rtol=bound, atol=bound, err_msg=where)


def graph_of(op: Primitive, sample: Sample) -> Graph:
    """The op alone as a program."""
    graph = Graph("f")
    builder = Builder(graph)
    inputs = [builder.input(type) for type in sample.types]
    graph.outputs = builder.emit(op, inputs, sample.attributes, sample.regions).outputs
    return graph


def emitted(rule: Callable[..., Any], types: Sequence[TensorType]) -> tuple[Graph, list[bool]]:
    """The program that a rule writes on operands of `types`, and which of its results there are."""
    graph = Graph("rule")
    builder = Builder(graph)
    results = listed(rule(*builder.exprs([builder.input(type) for type in types])))
    for result in results:
        assert result is None or isinstance(result, Expr)
    graph.outputs = tuple(result.value for result in results if result is not None)
    verify(graph)
    return graph, [result is not None for result in results]


def both_ways(rule: Callable[..., Any], operands: Sequence[Array], where: str) -> list[Any]:
    """What `rule` computes on arrays, having checked that the program it writes computes the same."""
    with np.errstate(all="ignore"):
        direct = listed(rule(*operands))
    graph, present = emitted(rule, Sample("", tuple(operands)).types)
    assert [result is not None for result in direct] == present, where
    results = iter(run(graph, *operands))
    for result in direct:
        if result is not None:
            assert_same(next(results), result, False, f"{where}: written and computed differ")
    return list(direct)


def cotangent_rule(op: Primitive, attributes: dict[str, Any], count: int) -> Callable[..., Any]:
    """The op's vjp as a function of the cotangents of its `count` floating results, then its operands."""

    def rule(*arguments: Any) -> Any:
        g, operands = arguments[:count], arguments[count:]
        if op.transpose_rule is not None:
            transpose = partial(op.transpose_rule, **attributes)
            return conjugated(transpose, g[0], *operands) if op.multilinear else transpose(g[0], *operands)
        out = op(*operands, **attributes)
        assert op.vjp_rule is not None
        given = (*g, *(None for _ in out[count:])) if isinstance(out, tuple) else g[0]
        vjp = partial(op.vjp_rule, **attributes)
        return vjp(given, out, *operands) if op.family in ADJOINTS else conjugated(vjp, given, out, *operands)

    return rule
