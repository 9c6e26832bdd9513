"""Objects linked without LLVM run as those that LLVM links, and what is beyond the linker is left to LLVM."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from adjit.compiler.llvm import jit, objects
from adjit.compiler.llvm.link import link
from adjit.compiler.llvm.relocations import ARCHITECTURES, Unlinkable
from adjit.ir.errors import CompileError

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ARCHITECTURES, reason="LLVM links the objects"
)
COUNTER = """
@count = internal global i64 40
@step = constant [3 x i64] [i64 1, i64 2, i64 3]
@far = external global i64
declare i64 @labs(i64)
declare i64 @outside(i64)
declare double @fmod(double, double)

define i64 @add(i64 %place) {
  %slot = getelementptr [3 x i64], ptr @step, i64 0, i64 %place
  %more = load i64, ptr %slot
  %old = load i64, ptr @count
  %new = add i64 %old, %more
  store i64 %new, ptr @count
  %positive = call i64 @labs(i64 %new)
  %found = call i64 @outside(i64 %positive)
  %seen = load i64, ptr @far
  %sum = add i64 %found, %seen
  ret i64 %sum
}

define i64 @pick(i64 %x) {
  switch i64 %x, label %other [ i64 0, label %a  i64 1, label %b  i64 2, label %c  i64 3, label %d  i64 4, label %e ]
a:
  ret i64 11
b:
  ret i64 7
c:
  %c1 = call i64 @add(i64 0)
  ret i64 %c1
d:
  ret i64 5
e:
  ret i64 29
other:
  %w = sitofp i64 %x to double
  %m = call double @fmod(double %w, double 7.0)
  %r = fptosi double %m to i64
  ret i64 %r
}
"""


def called(address: int, number: int) -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(address)(number))


def test_calls_variables_constants_and_tables() -> None:
    tripled = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda x: 3 * x)
    own = ctypes.c_int64(1000)
    address = ctypes.cast(tripled, ctypes.c_void_p).value
    assert address is not None
    imports = {"outside": address, "far": ctypes.addressof(own)}
    code = jit.compile_object(COUNTER)
    found = link([code], ("add", "pick"), imports)
    assert found is not None
    add, pick = found[1]["add"], found[1]["pick"]
    assert [called(add, number) for _ in range(2) for number in range(3)] == [1123, 1129, 1138, 1141, 1147, 1156]
    assert [called(pick, x) for x in range(9)] == [11, 7, 1159, 5, 29, 5, 6, 0, 1]
    own.value = 0
    assert called(add, 0) == 162
    pid = os.fork()
    if not pid:
        called(add, 2)  # the child's own variable
        os._exit(0)
    os.waitpid(pid, 0)
    assert called(add, 0) == 165


def test_objects_that_call_each_other() -> None:
    first = "declare i64 @g(i64)\ndefine i64 @f(i64 %x) {\n  %y = call i64 @g(i64 %x)\n  ret i64 %y\n}\n"
    second = "define i64 @g(i64 %x) {\n  %y = mul i64 %x, 5\n  ret i64 %y\n}\n"
    found = link([jit.compile_object(first), jit.compile_object(second)], ("f",), {})
    assert found is not None and called(found[1]["f"], 9) == 45


def test_what_llvm_must_link() -> None:
    lost = "declare i64 @nowhere_at_all()\ndefine i64 @f() {\n  %y = call i64 @nowhere_at_all()\n  ret i64 %y\n}\n"
    code = jit.compile_object(lost)
    assert link([code], ("f",), {}) is None
    with pytest.raises(CompileError, match="cannot be linked"):
        objects.load(code, ("f",), {})
    whole = jit.compile_object(COUNTER)
    assert link([whole], ("no_such_name",), {}) is None
    for size in (0, 3, 64, 200, len(whole) - 9):
        assert link([whole[:size]], ("add",), {"outside": 1, "far": 1}) is None
    assert link([b"\0" * 500], ("add",), {}) is None


def test_a_warm_process_does_without_llvm(tmp_path: object) -> None:
    program = (
        "import sys, adjit; f = adjit.compile(lambda x: (x @ x).sum()); print(f(adjit.ones(8, 8)).item()); "
        "print('llvmlite' in sys.modules)"
    )
    environment = {**os.environ, "ADJIT_CACHE_DIR": str(tmp_path)}
    for _ in range(2):
        found = subprocess.run(
            [sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True
        ).stdout.split()
    assert found == ["512.0", "False"]


def aarch64(word: int, kind: int, symbol: int, here: int = 0x7000_0000_1000) -> int:
    """An AArch64 instruction at `here` after a relocation; the table stands at 0x7000_0000_0000."""
    pages = memoryview(bytearray(word.to_bytes(4, "little")))
    ARCHITECTURES["aarch64"].relocate(pages, 0, here, kind, symbol, 0, lambda address: 0x7000_0000_0000)
    return int.from_bytes(pages, "little")


def test_relocations_of_aarch64() -> None:
    # What GNU's assembler writes: adrp x0, . + 0x3000 and - 0x1000; add, ldrb, ldrh, ldr w, ldr x, ldr q at 0x450.
    assert aarch64(0x90000000, 275, 0x7000_0000_4450) == 0xF0000000
    assert aarch64(0x90000000, 275, 0x7000_0000_0FFF) == 0xF0FFFFE0
    words = {277: 0x91000000, 278: 0x39400000, 284: 0x79400000, 285: 0xB9400000, 286: 0xF9400000, 299: 0x3DC00000}
    found = [aarch64(word, kind, 0x7000_0000_4450) for kind, word in words.items()]
    assert found == [0x91114000, 0x39514000, 0x7948A000, 0xB9445000, 0xF9422800, 0x3DC11400]
    # A call 8 bytes back, and one that is too far, of which the table has a jump; the address after that jump.
    assert aarch64(0x94000000, 283, 0x7000_0000_0FF8) == 0x97FFFFFE
    assert aarch64(0x94000000, 283, 0x1000) == 0x97FFFC00
    assert aarch64(0x90000000, 311, 0x1000) == 0xF0FFFFE0
    assert aarch64(0xF9400000, 312, 0x1000) == 0xF9400400
    for kind, symbol in ((275, 0x1000), (999, 0x7000_0000_1000)):
        with pytest.raises(Unlinkable):
            aarch64(0x90000000, kind, symbol)
