"""Programs that write their inputs in place give what the pure program gives."""

from __future__ import annotations

import numpy as np
import pytest

from adjit.compiler.pipeline import compile_graph
from adjit.ir.parser import parse
from adjit.runtime import interpreter

# A count is written over its input, and other statements of the same kernel need the count too.
COUNTING = """
func @f(%s: f32[], %rate: f64[]) -> (f32[], f32[], f32[]) writes(%s <- 0) {
  %0 = add %s, 1.0         : f32[]
  %1 = cast %0 {dtype=f64} : f64[]
  %2 = pow 0.9, %1         : f64[]
  %3 = div %rate, %2       : f64[]
  %4 = cast %3 {dtype=f32} : f32[]
  %5 = mul %0, %0          : f32[]
  return %0, %4, %5
}
"""
# The same over a vector, with the old values among the results.
MOVING = """
func @f(%p: f32[5], %g: f32[5]) -> (f32[5], f32[5], f32[]) writes(%p <- 0) {
  %0 = mul %g, 0.1          : f32[5]
  %1 = sub %p, %0           : f32[5]
  %2 = mul %p, %1           : f32[5]
  %3 = reduce_sum %2 {axes=[0]} : f32[]
  return %1, %2, %3
}
"""


@pytest.mark.parametrize("text", [COUNTING, MOVING], ids=["count", "vector"])
def test_writes_in_place_do_not_reach_later_reads(text: str) -> None:
    graph = parse(text)
    rng = np.random.default_rng(0)
    inputs = [
        np.asarray(rng.standard_normal(tuple(int(d) for d in v.dims)), v.dtype.storage) for v in graph.inputs  # type: ignore[call-overload]
    ]
    expected = interpreter.run(graph, *(array.copy() for array in inputs))
    found = compile_graph(graph).run(inputs)
    for left, right in zip(found, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6)
    np.testing.assert_allclose(inputs[0], expected[0], rtol=1e-6)
