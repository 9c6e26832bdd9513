"""a*b + c in one rounding: where it happens, and that levels of optimisation and other passes change nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import build
from adjit.compiler.llvm.target import host_target
from adjit.compiler.pipeline import llvm_of, lowered
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.types import F32, TensorType

SIZE = 100
# A function of x, y, z; what it is with every fused product exact until its sum.
CASES: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "a*b + c": (lambda x, y, z: x * y + z, lambda x, y, z: x * y + z),
    "c + a*b": (lambda x, y, z: z + x * y, lambda x, y, z: z + x * y),
    "a*b - c": (lambda x, y, z: x * y - z, lambda x, y, z: x * y - z),
    "c - a*b": (lambda x, y, z: z - x * y, lambda x, y, z: z - x * y),
    "the first of two": (lambda x, y, z: x * y + y * z, lambda x, y, z: x * y + np.float64(np.float32(y * z))),
    "times two": (lambda x, y, z: x * 2.0 + z, lambda x, y, z: x * 2 + z),
}


def program(function: Callable[..., Any]) -> Graph:
    graph = Graph("program")
    builder = Builder(graph)
    graph.outputs = (function(*(builder.expr(builder.input(TensorType(F32, (SIZE,)))) for _ in range(3))).value,)
    return graph


def operands() -> list[Any]:
    random = np.random.default_rng(0)
    return [random.standard_normal(SIZE).astype(np.float32) for _ in range(3)]


@pytest.mark.skipif(not host_target().has_fma, reason="the machine has no such instruction")
@pytest.mark.parametrize("name", CASES)
def test_a_product_and_a_sum_are_rounded_once(name: str) -> None:
    function, exact = CASES[name]
    wanted = [np.vectorize(exact)(*(x.astype(np.float64) for x in operands())).astype(np.float32)]
    for level in (0, 1, 2):
        found = build(lowered(program(function)), strict=False, level=level).run(operands())
        np.testing.assert_array_equal(found, wanted)


def test_strict_programs_round_every_product() -> None:
    function, _ = CASES["a*b + c"]
    x, y, z = operands()
    np.testing.assert_array_equal(build(lowered(program(function), strict=True)).run([x, y, z]), [x * y + z])


def test_a_product_with_two_uses_stands_for_itself() -> None:
    def function(x: Any, y: Any, z: Any) -> Any:
        product = x * y
        return (product + z) * product

    assert "llvm.fma" not in llvm_of(program(function))
