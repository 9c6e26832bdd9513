"""The pool's text for other systems and architectures; that of macOS runs here, on functions of Linux."""

from __future__ import annotations

import ctypes
import time

import pytest

from adjit.compiler.llvm import jit, pool, pool_waiting
from adjit.compiler.llvm.target import host_target, make_target
from tests.compiler.test_pool import check_pieces, load_kernels, needs_threads

# Threads wait in this code until the process ends.
KEPT: list[jit.Library] = []


def test_serial_pool_has_the_same_symbols() -> None:
    text = pool.pool_text(host_target().architecture, "plan9")
    library = jit.compile_library(text, [pool.PARALLEL_FOR, pool.SET_THREADS, pool.FORGET_WORKERS])
    serial = load_kernels(library.address(pool.PARALLEL_FOR))
    for extent in (-1, 0, 1, 1000):
        check_pieces(serial.count(extent, 1), extent, 1, 1)


@pytest.mark.parametrize("architecture", ["x86_64", "aarch64"])
def test_pool_compiles_for_both_architectures(architecture: str) -> None:
    text = pool.pool_text(architecture, "linux")
    assembly = jit.assembly(text, make_target(f"{architecture}-unknown-linux-gnu"))
    assert {"x86_64": "pause", "aarch64": "isb"}[architecture] in assembly
    assert {"x86_64": "$202", "aarch64": "#98"}[architecture] in assembly


@pytest.mark.parametrize("architecture", ["x86_64", "arm64"])
def test_pool_compiles_for_macos(architecture: str) -> None:
    text = pool.pool_text(architecture, "darwin23.4.0")
    assembly = jit.assembly(text, make_target(f"{architecture}-apple-darwin23.4.0"))
    assert "___ulock_wait" in assembly and "___ulock_wake" in assembly and "_syscall" not in assembly


@needs_threads
def test_the_pool_of_macos_waits_and_wakes() -> None:
    """Its text with macOS's two functions made of a futex; its clock and signal numbers mean nothing here."""
    number, *_ = pool_waiting.CALLS[host_target().architecture]
    ulock = f"""
declare i64 @syscall(i64, ...)
define i32 @__ulock_wait(i32 %kind, ptr %word, i64 %value, i32 %time) {{
  %narrow = trunc i64 %value to i32
  %ended = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i32 128, i32 %narrow, ptr null)
  ret i32 0
}}
define i32 @__ulock_wake(i32 %kind, ptr %word, i64 %value) {{
  %woken = call i64 (i64, ...) @syscall(i64 {number}, ptr %word, i32 129, i32 1000)
  ret i32 0
}}
"""
    declared = [f"declare i32 @__ulock_{name}" for name in ("wait", "wake")]
    lines = pool.pool_text(host_target().architecture, "darwin").splitlines()
    text = "\n".join(line for line in lines if not line.startswith(tuple(declared))) + ulock
    library = jit.compile_library(text, [pool.PARALLEL_FOR, pool.SET_THREADS])
    set_threads = ctypes.CFUNCTYPE(None, ctypes.c_int32)(library.address(pool.SET_THREADS))
    waiting = load_kernels(library.address(pool.PARALLEL_FOR))
    for extent in (1, 100, 1000):
        set_threads(3)
        check_pieces(waiting.count(extent, 1), extent, 1, 3)
    for _ in range(3):
        set_threads(3)
        time.sleep(0.002)  # longer than threads spin
        assert waiting.meet(3) == 3
    KEPT.append(library)
