"""Kernels of one emitted expression: a loop over flat arrays, at a number of lanes that the test chooses."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from adjit.compiler.llvm import scalar
from adjit.compiler.llvm.jit import compile_library
from adjit.compiler.llvm.target import host_target
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.ir.builder import Builder, Expr
from adjit.ir.graph import Region
from adjit.ir.primitive import Primitive
from adjit.ir.types import BOOL, U8, DType, TensorType

Array = np.ndarray[Any, Any]
Emit = Callable[[Function, Sequence[LLType], Sequence[str], LLType, scalar.Report], str]


class Kernel:
    """`emit` over every element of arrays of the storage of `takes`, `lanes` at a time; `status` gathers its faults."""

    def __init__(
        self, emit: Emit, takes: Sequence[DType], gives: DType, lanes: int, *, avx512: bool | None = None,
        avx2: bool | None = None, fma: bool | None = None,
    ) -> None:  # fmt: skip
        target = host_target()
        module = Module(
            avx512=target.has_avx512 if avx512 is None else avx512,
            avx2=target.has_avx2 if avx2 is None else avx2,
            fma=target.has_fma if fma is None else fma,
        )
        self.text = _loop(module, emit, takes, gives, lanes)
        self.lanes = lanes
        self.gives = gives
        self.status = 0
        self._library = compile_library(self.text, ["kernel"])
        signature = ctypes.CFUNCTYPE(ctypes.c_int64, *[ctypes.c_void_p] * (len(takes) + 1), ctypes.c_int64)
        self._entry = signature(self._library.address("kernel"))

    def __call__(self, *operands: Array) -> Array:
        size = operands[0].size
        # The last vector is filled up with ones, on which no op has a fault.
        padding = -size % self.lanes
        padded = [np.concatenate([operand, np.ones(padding, operand.dtype)]) for operand in operands]
        result = np.empty(size + padding, self.gives.storage)
        pointers = [array.ctypes.data for array in (*padded, result)]
        self.status = self._entry(*pointers, size + padding)
        return result[:size]


def primitive_kernel(op: Primitive, takes: Sequence[DType], lanes: int, **attributes: Any) -> Kernel:
    """The kernel of a scalar primitive on operands of the given dtypes; DTypeError if it takes no such."""
    builder = Builder(Region())
    operands = [builder.expr(builder.input(TensorType(dtype, ()))) for dtype in takes]
    result = builder.apply(op, operands, attributes)
    assert isinstance(result, Expr)
    node = result.value.node
    assert node is not None

    def emit(f: Function, types: Sequence[LLType], names: Sequence[str], gives: LLType, fault: scalar.Report) -> str:
        return scalar.emit(f, node, types, names, gives, fault)

    return Kernel(emit, takes, result.dtype, lanes)


def _loop(module: Module, emit: Emit, takes: Sequence[DType], gives: DType, lanes: int) -> str:
    parameters = [*(f"ptr %x{i}" for i in range(len(takes))), "ptr %out", "i64 %n"]
    f = Function(module, "kernel", ", ".join(parameters), "i64", linkage="")
    f.line("%status = alloca i64")
    f.line("store i64 0, ptr %status")
    f.line("%position = alloca i64")
    f.line("store i64 0, ptr %position")
    f.jump("test")
    f.start("test")
    i = f.let("load i64, ptr %position")
    f.branch(f.let(f"icmp ult i64 {i}, %n"), "body", "done")
    f.start("body")
    types = [LLType(dtype, lanes) for dtype in takes]
    names = [_load(f, ty, f"%x{number}", i) for number, ty in enumerate(types)]
    result = LLType(gives, lanes)

    def fault(code: int, where: str) -> None:
        mask = f"{result.with_dtype(BOOL).llvm} {where}"
        bits = f.let(f"bitcast {mask} to i{lanes}")
        some = f.let(f"icmp ne i{lanes} {bits}, 0")
        flags = f.let(f"select i1 {some}, i64 {code}, i64 0")
        known = f.let("load i64, ptr %status")
        f.line(f"store i64 {f.let(f'or i64 {flags}, {known}')}, ptr %status")

    _store(f, result, emit(f, types, names, result, fault), i)
    f.line(f"store i64 {f.let(f'add i64 {i}, {lanes}')}, ptr %position")
    f.jump("test")
    f.start("done")
    f.line(f"ret i64 {f.let('load i64, ptr %status')}")
    f.finish()
    return str(module)


def _memory(ty: LLType) -> LLType:
    return ty.with_dtype(U8) if ty.dtype is BOOL else ty


def _place(f: Function, ty: LLType, base: str, i: str) -> str:
    return f.let(f"getelementptr {_memory(ty).element}, ptr {base}, i64 {i}")


def _load(f: Function, ty: LLType, base: str, i: str) -> str:
    memory = _memory(ty)
    value = f.let(f"load {memory.llvm}, ptr {_place(f, ty, base, i)}, align 1")
    return value if memory == ty else f.let(f"icmp ne {memory.llvm} {value}, {memory.constant(0)}")


def _store(f: Function, ty: LLType, value: str, i: str) -> None:
    memory = _memory(ty)
    value = value if memory == ty else f.let(f"zext {ty.llvm} {value} to {memory.llvm}")
    f.line(f"store {memory.llvm} {value}, ptr {_place(f, ty, '%out', i)}, align 1")
