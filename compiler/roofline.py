"""What this machine can do at best, measured: multiplications with additions a second, and bytes a second.

The rates are measured once, with kernels of our own, and kept in the disk cache.
"""

from __future__ import annotations

import ctypes
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import lru_cache
from threading import Thread

import numpy as np

from adjit.compiler.llvm.jit import compile_library
from adjit.compiler.llvm.target import host_target
from adjit.ir.types import F32, F64, DType
from adjit.runtime.cache import cache_key, default_cache

_CHAINS = 12  # enough to hide the latency of two fused operations a cycle
_TURNS = 2_000_000
_ARRAY = 1 << 23  # 64 MiB of doubles: past every cache


@dataclass(frozen=True, slots=True)
class Peaks:
    """The machine's rates with `threads` threads: floating-point operations a second, and bytes a second."""

    threads: int
    flops_f32: float
    flops_f64: float
    bandwidth: float

    def least_seconds(self, flops: float, bytes: float, dtype: DType = F32) -> tuple[float, str]:
        """The roofline bound max(flops / peak, bytes / bandwidth), and which of both it is: compute or memory."""
        compute = flops / (self.flops_f64 if dtype is F64 else self.flops_f32)
        memory = bytes / self.bandwidth
        return (compute, "compute") if compute > memory else (memory, "memory")


@lru_cache(maxsize=8)
def peaks(threads: int) -> Peaks:
    """The rates of this machine, from the disk cache or measured (about a third of a second)."""
    target = host_target()
    key = cache_key("peaks", target.triple, target.cpu, target.features, str(threads))
    cache = default_cache()
    known = cache.get(key) if cache else None
    if known is not None:
        return Peaks(**json.loads(known))
    found = Peaks(threads, _flop_rate(F32, threads), _flop_rate(F64, threads), _bandwidth(threads))
    if cache:
        cache.put(key, json.dumps(asdict(found)).encode())
    return found


def _flop_rate(dtype: DType, threads: int) -> float:
    """Operations a second of independent chains of fused multiplications and additions in registers."""
    element = "double" if dtype is F64 else "float"
    lanes = host_target().lanes(dtype)
    vector = f"<{lanes} x {element}>"
    suffix = f"v{lanes}f{dtype.bits}"
    ones = f"splat ({element} 1.0)"
    phis = [f"  %a{i} = phi {vector} [ {ones}, %entry ], [ %b{i}, %loop ]" for i in range(_CHAINS)]
    steps = [
        f"  %b{i} = call {vector} @llvm.fma.{suffix}({vector} %a{i}, {vector} {ones}, {vector} %v)"
        for i in range(_CHAINS)
    ]
    sums = [f"  %s{i + 1} = fadd {vector} %s{i}, %b{i + 1}" for i in range(_CHAINS - 1)]
    text = "\n".join([
        f"declare {vector} @llvm.fma.{suffix}({vector}, {vector}, {vector})",
        'define void @spin(i64 %n, ptr %out) nounwind "prefer-vector-width"="512" {',
        "entry:", f"  %v = load {vector}, ptr %out, align 8", "  br label %loop", "loop:",
        "  %i = phi i64 [ 0, %entry ], [ %j, %loop ]", *phis, *steps, "  %j = add i64 %i, 1",
        "  %more = icmp slt i64 %j, %n", "  br i1 %more, label %loop, label %done", "done:",
        f"  %s0 = fadd {vector} %b0, %v", *sums, f"  store {vector} %s{_CHAINS - 1}, ptr %out, align 8",
        "  ret void", "}",
    ])  # fmt: skip
    library = compile_library(text, ("spin",), level=1)
    spin = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p)(library.address("spin"))
    places = [np.zeros(64, np.float64) for _ in range(threads)]
    seconds = _best(lambda index: spin(_TURNS, places[index].ctypes.data), threads)
    return 2.0 * _CHAINS * lanes * _TURNS * threads / seconds


def _bandwidth(threads: int) -> float:
    """Bytes a second of a sum of arrays far larger than the caches, the array read once."""
    text = """define void @total(i64 %n, ptr %x, ptr %out) nounwind "prefer-vector-width"="512" {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %j, %loop ]
  %s = phi <32 x double> [ zeroinitializer, %entry ], [ %t, %loop ]
  %p = getelementptr double, ptr %x, i64 %i
  %v = load <32 x double>, ptr %p, align 8
  %t = fadd <32 x double> %s, %v
  %j = add i64 %i, 32
  %more = icmp slt i64 %j, %n
  br i1 %more, label %loop, label %done
done:
  store <32 x double> %t, ptr %out, align 8
  ret void
}
"""
    library = compile_library(text, ("total",), level=1)
    kind = ctypes.CFUNCTYPE(None, ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)
    total = kind(library.address("total"))
    array = np.ones(_ARRAY)
    part = _ARRAY // threads // 32 * 32
    places = [np.zeros(32) for _ in range(threads)]
    seconds = _best(lambda i: total(part, array.ctypes.data + 8 * part * i, places[i].ctypes.data), threads)
    return 8.0 * part * threads / seconds


def _best(work: Callable[[int], object], threads: int) -> float:
    """The fewest seconds of five rounds in which each thread does its part of the work."""
    best = float("inf")
    for _ in range(5):
        workers = [Thread(target=work, args=(index,)) for index in range(threads)]
        start = time.perf_counter()
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        best = min(best, time.perf_counter() - start)
    return best
