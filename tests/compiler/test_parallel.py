"""A module's text dealt out to several: each function stands once, the objects link, and results have the same bits."""

from __future__ import annotations

import os
import re
import sys
import threading
from typing import Any

import numpy as np
import pytest

from adjit.compiler.compile import compile_graph
from adjit.compiler.llvm import jit, parallel
from adjit.compiler.pipeline import llvm_of
from adjit.ir.errors import CompileError
from adjit.ir.parser import parse
from tests.threads import meanwhile

TEXT = """
func @f(%x: f32[64, 96], %y: f32[96, 80], %z: f32[64, 80]) -> (f32[64, 80], f32[80], f32[64, 96]) {
  %0 = dot %x, %y {contract=[[1], [0]], batch=[[], []]} : f32[64, 80]
  %1 = tanh %0 : f32[64, 80]
  %2 = mul %1, %z : f32[64, 80]
  %3 = reduce_sum %2 {axes=[0]} : f32[80]
  %4 = dot %2, %y {contract=[[1], [1]], batch=[[], []]} : f32[64, 96]
  %5 = sin %4 : f32[64, 96]
  return %2, %3, %5
}
"""


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_CACHE", "0")
    monkeypatch.setenv("ADJIT_QUICK", "0")
    monkeypatch.setattr(parallel, "LEAST_LINES", 50)
    monkeypatch.setattr(parallel, "LEAST_SHARED", 10**6)


def results() -> list[bytes]:
    random = np.random.default_rng(0)
    operands = [random.standard_normal(shape).astype("float32") for shape in ((64, 96), (96, 80), (64, 80))]
    return [found.tobytes() for found in compile_graph(parse(TEXT), threads=2).run(operands)]


@pytest.mark.parametrize("count", [2, 3, 7])
def test_results_do_not_depend_on_the_number_of_modules(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "get_num_threads", lambda: 1)
    wanted = results()
    objects: list[int] = []
    pack = jit.pack
    monkeypatch.setattr(jit, "pack", lambda found: objects.append(len(found)) or pack(found))
    monkeypatch.setattr(jit, "get_num_threads", lambda: count)
    assert results() == wanted
    assert objects == [count]


def test_quick_code_is_divided_from_fewer_lines_on(monkeypatch: pytest.MonkeyPatch) -> None:
    divided = parallel.divide(llvm_of(parse(TEXT), threads=2))
    assert divided is not None
    lines = sum(divided.bodies[name].count("\n") for name in divided.names)
    monkeypatch.setattr(parallel, "LEAST_LINES", lines)
    for least, parts in ((lines, 1), (lines // 2, 2), (lines // 3, 3)):
        monkeypatch.setattr(parallel, "LEAST_QUICK", least)
        assert len(divided.deal(divided.names, 3, inlined=False)) == parts
        assert len(divided.deal(divided.names, 3)) == 1


def test_each_function_stands_in_one_module() -> None:
    text = llvm_of(parse(TEXT), threads=2)
    divided = parallel.divide(text)
    assert divided is not None
    modules = divided.deal(divided.names, 3)
    assert len(modules) == 3
    wanted = re.findall(r"^define (?!.*alwaysinline).*?@([\w.$]+)\(", text, re.MULTILINE)
    found = [name for each in modules for name in re.findall(r"^define (?!.*alwaysinline).*?@([\w.$]+)\(", each, re.M)]
    assert sorted(found) == sorted(wanted)
    assert len(divided.deal(divided.names, 1)) == 1
    assert parallel.divide(f"@state = internal global i64 0\n{text}") is None


def test_a_module_has_what_its_functions_name_in_whatever_order_it_stands() -> None:
    start = "!1 = !{i32 4}\n@table = internal constant ptr @other\n!0 = !{!1, !2}\n!2 = !{!0}\n!3 = !{!2}\n@other = x\n"
    body = "define void @f() {\n  br label %1, !llvm.loop !0\n  load i8, ptr @table\n}\n"
    divided = parallel.divide(f"{start}declare void @lost()\n{body}")
    assert divided is not None
    (module,) = divided.deal(["f"], 1)
    wanted = [line for line in start.splitlines() if not line.startswith("!3")]
    assert module.partition("\ndefine ")[0].split("\n") == [*wanted, ""]


def test_functions_that_programs_have_in_common_are_compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "LEAST_SHARED", 50)
    monkeypatch.setattr(jit, "_common", {})
    wanted = results()
    first = dict(jit._common)
    assert first
    compiled: list[str] = []
    optimised = jit._optimised

    def watched(text: str, *rest: Any, **options: Any) -> Any:
        compiled.append(text)
        return optimised(text, *rest, **options)

    monkeypatch.setattr(jit, "_optimised", watched)
    assert results() == wanted
    assert jit._common == first
    shared = re.findall(r"^define [^\n]*@((?:gemm|transpose)[\w.$]+)\(", "\n".join(compiled), re.MULTILINE)
    found = parallel.divide(llvm_of(parse(TEXT), threads=2))
    assert found is not None
    assert not set(shared) & set(found.shared())


def test_what_is_kept_in_common_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_common", {})
    monkeypatch.setattr(jit, "_MOST_COMMON", 2)
    for number in range(5):
        jit._keep_object(bytes([number]), b"code")
    assert list(jit._common) == [b"\3", b"\4"]


@pytest.mark.parametrize("objects", [[b"one"], [b"", b"\0two", b"x" * 1000]])
def test_objects_are_packed(objects: list[bytes]) -> None:
    assert jit.unpack(jit.pack(objects)) == objects


def test_a_system_without_more_threads_compiles_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    expected = results()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr(jit, "get_num_threads", lambda: 3)
    monkeypatch.delitem(sys.modules, "adjit.compiler.llvm.binding")  # as at the first compile of a process
    assert results() == expected


def test_an_error_of_any_module_is_raised() -> None:
    text = llvm_of(parse(TEXT), threads=2)
    lost = "define void @lost() {\n  ret i32 %nothing\n}\n"
    broken = text.replace("define void @adjit_main", f"{lost}define void @adjit_main")
    with pytest.raises(CompileError, match="nothing"):
        jit.compile_objects(broken, level=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_child_forked_meanwhile_can_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "get_num_threads", lambda: 2)
    text = llvm_of(parse(TEXT), threads=2)
    ends = []
    with meanwhile(lambda: jit.compile_objects(text, level=1), pause=0.01):  # a fork waits for this thread's locks
        for _ in range(2):
            child = os.fork()
            if child == 0:
                jit.compile_objects(text, level=1)
                os._exit(0)
            ends.append(os.waitpid(child, 0)[1])
    assert ends == [0] * 2
