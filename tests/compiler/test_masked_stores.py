"""Stores under masks keep to the lanes that are set, whatever LLVM knows of the mask and of what is stored."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from adjit.compiler.llvm.jit import compile_library
from adjit.compiler.llvm.sequences import masked_store
from adjit.compiler.llvm.target import host_target
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.compiler.pipeline import compile_graph
from adjit.ir.builder import Builder
from adjit.ir.graph import Graph
from adjit.ir.ops.reduction import reduce_max
from adjit.ir.types import BF16, BOOL, F32, I8, I16, I32, I64, U8, DType, TensorType
from tests.compiler.guarded import guarded

LANES = 8


@pytest.mark.skipif(not host_target().has_avx512, reason="the machine has no AVX-512")
@pytest.mark.parametrize("literal", [True, False])
@pytest.mark.parametrize(("wide", "narrow"), [(I32, I8), (I32, I16), (I32, BF16), (I64, I16), (I64, I32), (F32, F32)])
def test_one_lane_of_cut_integers_is_stored_alone(wide: DType, narrow: DType, literal: bool) -> None:
    of, to = LLType(wide, LANES), LLType(narrow, LANES)
    for lane in (0, 3, LANES - 1):
        module = Module(avx2=True, avx512=True)
        f = Function(module, "store", "ptr %from, ptr %to")
        value = f.let(f"load {of.llvm}, ptr %from, align 1")
        if wide is not narrow:
            value = f.let(f"trunc {of.llvm} {value} to {to.llvm}")
        mask = "<" + ", ".join(f"i1 {str(each == lane).lower()}" for each in range(LANES)) + ">"
        if not literal:
            mask = f.let(f"xor <{LANES} x i1> {mask}, zeroinitializer")
        masked_store(f, to, value, "%to", mask)
        f.line("ret void")
        f.finish()
        text = str(module).replace("define internal void @store(", "define void @store(")
        library = compile_library(text, ["store"])
        run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(library.address("store"))
        given = np.arange(1, LANES + 1).astype(wide.storage) + (0 if wide is F32 else 1 << 20)
        size = np.dtype(narrow.storage).itemsize
        with guarded([given, np.zeros((lane + 1) * size, np.uint8)], at_end=True) as (source, target):
            run(source.ctypes.data, target.ctypes.data)
            expected = np.zeros((lane + 1) * size, np.uint8)
            expected[lane * size :] = np.frombuffer(given[lane].tobytes()[:size], np.uint8)
            assert np.array_equal(target, expected)


@pytest.mark.parametrize("dtype", [U8, I8, BOOL], ids=str)
@pytest.mark.parametrize("columns", [65, 101, 127, 129, 193])
def test_masks_of_more_lanes_than_a_word_has(columns: int, dtype: DType) -> None:
    graph = Graph("program")
    builder = Builder(graph)
    x = builder.expr(builder.input(TensorType(dtype, (67, columns))))
    graph.outputs = (reduce_max(x, axes=(0,)).value,)
    given = np.random.default_rng(columns).integers(0, 2 if dtype is BOOL else 100, (67, columns)).astype(dtype.storage)
    for at_end in (True, False):
        with guarded([given], at_end=at_end) as arrays:
            (found,) = compile_graph(graph).run(arrays)
        assert np.array_equal(found, given.max(0))
