"""Text becomes code that computes what it says, lives as long as its library, and is compiled once."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import re
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adjit.compiler.llvm import binding, jit
from adjit.compiler.llvm.target import Target, host_target, make_target
from adjit.ir.errors import CompileError
from adjit.ir.types import BOOL, F32, F64
from tests.threads import in_child, in_threads, meanwhile

SQUARES = """
define void @squares(ptr %x, i64 %n) {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %next, %loop ]
  %at = getelementptr float, ptr %x, i64 %i
  %v = load float, ptr %at
  %w = fmul float %v, %v
  store float %w, ptr %at
  %next = add i64 %i, 1
  %more = icmp ult i64 %next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""
ON_LINUX = sys.platform.startswith("linux")
NARROWER = ["x86-64-v3", "x86-64-v2"] if host_target().architecture == "x86_64" else []

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "cache"
    monkeypatch.setenv("ADJIT_CACHE_DIR", str(directory))
    monkeypatch.delenv("ADJIT_CACHE", raising=False)
    return directory


@pytest.fixture
def compiles(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The texts compiled during the test."""
    texts: list[str] = []
    real = jit.compile_object

    def counted(text: str, target: Target | None = None, level: int = 2, *, vectorize: bool = False) -> bytes:
        texts.append(text)
        return real(text, target, level, vectorize=vectorize)

    monkeypatch.setattr(jit, "compile_object", counted)
    yield texts


def check_squares(library: jit.Library) -> None:
    run = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(library.address("squares"))
    data = (ctypes.c_float * 37)(*range(37))
    run(ctypes.addressof(data), 37)
    assert list(data) == [float(i * i) for i in range(37)]


def constant(number: int) -> str:
    return f"define i64 @f() {{\n  ret i64 {number}\n}}\n"


def call(library: jit.Library, name: str = "f") -> int:
    return int(ctypes.CFUNCTYPE(ctypes.c_int64)(library.address(name))())


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def is_mapped(address: int) -> bool:
    spans = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return any(int(first, 16) <= address < int(last, 16) for first, last in spans)


@pytest.mark.parametrize("vectorize", [False, True])
@pytest.mark.parametrize("level", range(4))
def test_levels_agree(level: int, vectorize: bool) -> None:
    check_squares(jit.compile_library(SQUARES, ["squares"], level=level, vectorize=vectorize))


@pytest.mark.parametrize("cpu", NARROWER)
def test_narrower_targets_run_here(cpu: str) -> None:
    target = make_target(host_target().triple, cpu)
    check_squares(jit.compile_library(SQUARES, ["squares"], target=target))
    assert "zmm" not in jit.assembly(SQUARES, target, 3, vectorize=True)


def test_vectorisers_are_off_unless_asked_for() -> None:
    assert " x float>" not in jit.optimized(SQUARES, level=3)
    assert " x float>" in jit.optimized(SQUARES, level=3, vectorize=True)


def test_imports_and_process_symbols() -> None:
    tripled = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda x: 3 * x)
    address = ctypes.cast(tripled, ctypes.c_void_p).value
    assert address is not None
    text = """
        declare i64 @tripled(i64)
        declare i64 @labs(i64)
        define i64 @f() {
          %a = call i64 @tripled(i64 -5)
          %b = call i64 @labs(i64 %a)
          ret i64 %b
        }
    """
    assert call(jit.compile_library(text, ["f"], imports={"tripled": address})) == 15


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("define void @f() {\n  %x = add i32 1, %y\n  ret void\n}", ["undefined value '%y'", "line 2:   %x = add"]),
        ("define void @f() {\n  %x = fadd i32 1, 2\n  ret void\n}", ["invalid operand type", "line 2:   %x = fadd"]),
        ("one two", ["expected top-level entity", "line 1: one two"]),
        ("define void @f() {\n", ["line"]),
        ("define void @f() {\n  ret void\n}\0", ["NUL"]),
        (
            "define i32 @f(i1 %c) {\n  br i1 %c, label %a, label %b\na:\n  %p = add i32 1, 2\n  br label %b\nb:\n"
            "  ret i32 %p\n}",
            ["breaks a rule", "does not dominate", "line 4:   %p = add i32 1, 2"],
        ),
        ("declare void @nowhere()\ndefine void @f() {\n  call void @nowhere()\n  ret void\n}", ["address: nowhere"]),
        ("define void @g() {\n  ret void\n}", ["f"]),
    ],
)
def test_refused_text_names_its_line(text: str, expected: list[str]) -> None:
    with pytest.raises(CompileError) as refused:
        jit.compile_library(text, ["f"])
    for part in expected:
        assert part in str(refused.value)


def test_mark_stands_under_the_column() -> None:
    with pytest.raises(CompileError) as refused:
        jit.compile_object("define i32 @f() {\n  ret i32 %lost\n}")
    _, line, mark = str(refused.value).splitlines()
    assert line[mark.index("^") :].startswith("%lost")


@pytest.mark.parametrize("junk", [b"", b"not an object", bytes(1000)])
def test_junk_does_not_load(junk: bytes) -> None:
    with pytest.raises(CompileError, match="cannot be linked"):
        jit.load(junk, ["f"], {})


def test_second_compile_comes_from_the_disk(compiles: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        assert call(jit.compile_library(constant(41), ["f"])) == 41
    assert len(compiles) == 1
    assert call(jit.compile_library(constant(42), ["f"])) == 42
    assert call(jit.compile_library(constant(41), ["f"], level=1)) == 41
    assert len(compiles) == 3
    monkeypatch.setenv("ADJIT_CACHE", "0")
    assert call(jit.compile_library(constant(41), ["f"])) == 41
    assert len(compiles) == 4


def test_key_has_all_that_code_depends_on() -> None:
    base = make_target("x86_64-unknown-linux-gnu", "x86-64-v3", "+avx2", "")
    targets = [
        base,
        make_target("x86_64-unknown-linux-musl", "x86-64-v3", "+avx2", ""),
        make_target("x86_64-unknown-linux-gnu", "x86-64-v2", "+avx2", ""),
        make_target("x86_64-unknown-linux-gnu", "x86-64-v3", "+avx2,+avx512f", ""),
        make_target("x86_64-unknown-linux-gnu", "x86-64-v3", "+avx2", "sysv"),
    ]
    keys = [jit.object_key(SQUARES, target, 2, False) for target in targets]
    keys += [jit.object_key(SQUARES, base, 3, False), jit.object_key(SQUARES, base, 2, True)]
    keys += [jit.object_key(SQUARES + " ", base, 2, False)]
    assert len(set(keys)) == len(keys)
    assert jit.object_key(SQUARES, base, 2, False) == keys[0]


def test_damaged_entry_is_compiled_again(own_cache: Path, compiles: list[str]) -> None:
    jit.compile_library(constant(7), ["f"])
    (entry,) = own_cache.glob("*.entry")
    good = entry.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        for position in range(0, len(good), 31):
            entry.write_bytes(good[:position] + bytes([good[position] ^ 16]) + good[position + 1 :])
            assert call(jit.compile_library(constant(7), ["f"])) == 7
    assert len(compiles) == 1 + len(range(0, len(good), 31))


def test_unusable_cache_folder_still_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADJIT_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with pytest.warns(RuntimeWarning, match="without its disk cache"):
        assert call(jit.compile_library(constant(8), ["f"])) == 8
    assert call(jit.compile_library(constant(8), ["f"])) == 8


@pytest.mark.skipif(not ON_LINUX, reason="reads /proc")
def test_code_lives_as_long_as_its_library() -> None:
    library = jit.compile_library(constant(1), ["f"])
    address = library.address("f")
    gc.collect()
    assert is_mapped(address)
    del library
    gc.collect()
    assert not is_mapped(address)


@pytest.mark.skipif(not ON_LINUX, reason="reads /proc")
def test_compiling_keeps_no_memory() -> None:
    def compile_and_drop(count: int) -> None:
        for _ in range(count):
            jit.load(jit.compile_object(SQUARES), ["squares"], {})

    compile_and_drop(30)
    before = resident()
    compile_and_drop(250)
    grown = (resident() - before) / 250
    assert grown < 12_000, f"{grown:.0f} bytes kept per compile"  # 76 kB where the pass manager leaks


@pytest.mark.skipif(not ON_LINUX, reason="reads /proc")
def test_no_page_is_writable_and_executable() -> None:
    def open_pages() -> int:
        return sum("rwx" in line.split()[1] for line in Path("/proc/self/maps").read_text().splitlines())

    before = open_pages()
    libraries = [jit.compile_library(constant(i), ["f"]) for i in range(3)]
    assert open_pages() == before
    assert [call(library) for library in libraries] == [0, 1, 2]


def test_threads_compile_a_text_once(compiles: list[str]) -> None:
    ask = threading.Barrier(6)

    def answer(number: int) -> int:
        ask.wait()
        return call(jit.compile_library(constant(number % 2), ["f"]))

    assert in_threads(answer, 6) == [0, 1] * 3
    assert sorted(compiles) == [constant(0), constant(1)]


def test_a_machine_serves_module_after_module_in_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made, original = [], jit.target_machine

    def counted(target: Target, level: int = 2) -> binding.Machine:
        made.append((target, level))
        return original(target, level)

    monkeypatch.setattr(jit, "_spare", {})
    monkeypatch.setattr(jit, "target_machine", counted)
    first = jit.compile_object(SQUARES, level=1)
    for text in (constant(1), "no text of LLVM's", SQUARES):
        with contextlib.suppress(CompileError):
            jit.compile_object(text, level=1)
    assert made == [(host_target(), 1)] * 2  # the machine of a module that failed is not used again
    assert jit.compile_object(SQUARES, level=1) == first
    assert in_threads(lambda _: jit.compile_object(SQUARES, level=1), 6) == [first] * 6
    assert len(made) <= 7
    other = make_target(host_target().triple, "generic")
    assert jit.compile_object(constant(2), other, 1) == jit.compile_object(constant(2), other, 1)
    assert list(jit._spare) == [(host_target(), 1)]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_fork_while_another_thread_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADJIT_CACHE", "0")
    with meanwhile(lambda: jit.compile_library(SQUARES, ["squares"])):
        ends = [in_child(lambda: check_squares(jit.compile_library(SQUARES, ["squares"]))) for _ in range(20)]
    assert ends == [0] * 20


def test_linked_objects_are_freed_where_no_thread_forks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fork waits for what is at work; to wait for it here might be for ever."""
    code, original, freed = jit.compile_object(SQUARES), binding._call, []

    def call_and_note(name: str, *given: Any) -> Any:
        if name == "LLJITDispose":
            freed.append(binding.in_use.depth > 0)
        return original(name, *given)

    monkeypatch.setattr(binding, "_call", call_and_note)
    library: Any = jit.load_by_llvm(code, ["squares"], {}, b"")
    closing = threading.Thread(target=binding.in_use._close)
    closing.start()
    closing.join()
    del library
    gc.collect()
    assert freed == []
    binding.in_use._open()
    library = jit.load_by_llvm(code, ["squares"], {}, b"")
    check_squares(library)
    assert freed == [True]
    del library
    gc.collect()
    assert freed == [True, True]


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "abi", "start"),
    [
        ("aarch64-unknown-linux-gnu", "neoverse-v2", "", "", b"\x7fELF"),
        ("riscv64-unknown-linux-gnu", "generic-rv64", "+v,+d,+m", "lp64d", b"\x7fELF"),
        ("aarch64-apple-darwin", "apple-m1", "", "", b"\xcf\xfa\xed\xfe"),
        ("wasm32-unknown-unknown", "generic", "+simd128", "", b"\0asm"),
    ],
)
def test_objects_for_other_machines(triple: str, cpu: str, features: str, abi: str, start: bytes) -> None:
    assert jit.compile_object(SQUARES, make_target(triple, cpu, features, abi)).startswith(start)


def test_unknown_machine() -> None:
    with pytest.raises(CompileError, match="no back end for 'abacus"):
        jit.compile_object(SQUARES, make_target("abacus-unknown-none"))


@pytest.mark.parametrize(
    ("triple", "cpu", "features", "facts"),
    [
        ("x86_64-unknown-linux-gnu", "x86-64", "", (16, 16, False)),
        ("x86_64-unknown-linux-gnu", "x86-64-v3", "", (32, 16, True)),
        ("x86_64-unknown-linux-gnu", "x86-64-v3", "-fma", (32, 16, False)),
        ("x86_64-unknown-linux-gnu", "x86-64-v4", "", (64, 32, True)),
        ("x86_64-unknown-linux-gnu", "", "+avx2,+fma,+avx512f", (32, 16, True)),
        ("aarch64-unknown-linux-gnu", "neoverse-v2", "", (16, 32, True)),
        ("wasm32-unknown-unknown", "generic", "+simd128", (16, 16, False)),
    ],
)
def test_vector_facts(triple: str, cpu: str, features: str, facts: tuple[int, int, bool]) -> None:
    target = make_target(triple, cpu, features)
    assert (target.vector_bytes, target.vector_registers, target.has_fma) == facts
    assert [target.lanes(dtype) for dtype in (F64, F32, BOOL)] == [facts[0] // 8, facts[0] // 4, facts[0]]


def test_host_target_is_one_object_that_llvm_accepts() -> None:
    assert host_target() is host_target()
    assert jit.target_machine(host_target()).data_layout.startswith("e-")
    assert host_target().vector_bytes in (16, 32, 64)


def test_llvmlite_has_one_door() -> None:
    files = Path(jit.__file__).resolve().parent.glob("*.py")
    importers = {
        file.name for file in files if re.search(r"^\s*(import|from) llvmlite", file.read_text(), re.MULTILINE)
    }
    assert importers == {"binding.py"}


def test_describing_a_target_does_not_load_llvm() -> None:
    program = (
        "import sys, adjit.compiler.llvm.target, adjit.runtime.cache, adjit.runtime.threads\n"
        "sys.exit('llvmlite' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_another_release_of_llvmlite_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binding, "LLVMLITE_VERSION", "0.51.0")
    binding._library.cache_clear()
    try:
        with pytest.raises(CompileError, match=r"0\.50\.\* of llvmlite, and finds 0\.51\.0"):
            binding._library()
    finally:
        monkeypatch.undo()
        assert binding._library()


def test_a_package_that_is_no_folder_tells_its_library(monkeypatch: pytest.MonkeyPatch) -> None:
    found = binding._library()._name
    monkeypatch.setattr(binding, "libraries", list)
    binding._library.cache_clear()
    assert os.path.samefile(binding._library()._name, found)


def test_every_function_of_the_library_is_there() -> None:
    for name in binding._FUNCTIONS:
        assert binding._function(name).restype is binding._FUNCTIONS[name][0]


def test_a_triple_without_back_end() -> None:
    with pytest.raises(CompileError, match="no back end for 'z80x-none-none'"):
        jit.compile_object(constant(1), make_target("z80x-none-none"))


def test_a_common_object_that_another_thread_throws_out_at_once_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = jit._keep_object

    def thrown_out(key: bytes, code: bytes) -> None:
        keep(key, code)
        jit._common.clear()

    monkeypatch.setattr(jit, "_common", {})
    monkeypatch.setattr(jit, "_keep_object", thrown_out)
    monkeypatch.setattr(jit, "default_cache", lambda: {b"key": b"code"})
    assert jit._known_object(b"key") == b"code"


def test_the_oldest_common_objects_are_thrown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "_common", {bytes([number]): b"" for number in range(5)})
    monkeypatch.setattr(jit, "_MOST_COMMON", 3)
    jit._keep_object(b"new", b"code")
    assert list(jit._common) == [b"\3", b"\4", b"new"]
