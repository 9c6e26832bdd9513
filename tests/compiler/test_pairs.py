"""Products of bfloat16 by pairs: two products a lane and instruction where the target has it, with sums in f32."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from adjit.compiler.build import llvm_text
from adjit.compiler.llvm.target import host_target, make_target
from adjit.compiler.loops.lower import lower
from adjit.compiler.pipeline import compile_graph
from adjit.compiler.prepare import prepare
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.halfs import round_bf16, widen_bf16
from adjit.ir.ops.arrays import permute
from adjit.ir.ops.contraction import dot
from adjit.ir.types import BF16, TensorType

INSTRUCTION = "avx512bf16.dpbf16ps"


def product(m: int, n: int, k: int, turned: tuple[bool, bool], batch: int = 2) -> Graph:
    """x @ y of each of a batch, whose last axes are exchanged where `turned`."""
    graph = Graph("product")
    builder = Builder(graph)
    operands: list[Any] = []
    for shape, turn in zip(((batch, m, k), (batch, k, n)), turned, strict=True):
        dims = (shape[0], shape[2], shape[1]) if turn else shape
        x = builder.expr(builder.input(TensorType(BF16, dims)))
        operands.append(permute(x, (0, 2, 1)) if turn else x)
    graph.outputs = (dot(*operands, contract=((2,), (1,)), batch=((0,), (0,))).value,)
    return graph


def text(graph: Graph, target: Any = None) -> str:
    return llvm_text(lower(prepare(graph)), target=target)


@pytest.mark.parametrize("turned", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize(("m", "n", "k"), [(16, 16, 32), (33, 100, 130), (130, 17, 2050), (3, 70, 64), (40, 30, 17)])
def test_products_by_pairs_are_exact_to_one_rounding(m: int, n: int, k: int, turned: tuple[bool, bool]) -> None:
    random = np.random.default_rng(m)
    graph = product(m, n, k, turned)
    arrays = [round_bf16(random.standard_normal(x.dims).astype(np.float32)) for x in graph.inputs]
    wide = [widen_bf16(x).astype(np.float64) for x in arrays]
    left, right = (x.swapaxes(1, 2) if turn else x for x, turn in zip(wide, turned, strict=True))
    exact = left @ right
    found = [compile_graph(graph, threads=threads).run(arrays)[0] for threads in (1, 3)]
    np.testing.assert_array_equal(*found)
    bound = 2.0**-8 * np.abs(exact) + 2.0**-20 * (np.abs(left) @ np.abs(right))
    assert (np.abs(widen_bf16(found[0]) - exact) <= bound).all()


@pytest.mark.skipif(not host_target().multiplies_pairs, reason="the machine has no such instruction")
def test_pairs_need_the_instruction_and_an_even_number_of_terms() -> None:
    plain = make_target(host_target().triple, "x86-64-v4")
    assert INSTRUCTION in text(product(32, 32, 64, (False, True)))
    assert INSTRUCTION not in text(product(32, 32, 65, (False, True)))
    assert INSTRUCTION not in text(product(32, 32, 64, (False, True)), plain)
