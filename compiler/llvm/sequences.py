"""Groups of instructions that all emitters share: loops, branches, addresses, masked loads and stores."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from adjit.compiler.llvm.text import Function, LLType
from adjit.compiler.llvm.vecmath_lanes import Lanes
from adjit.compiler.llvm.vecmath_registers import joined, resized
from adjit.compiler.memory import LINE
from adjit.ir.types import BOOL, I32, I64

# A metadata number that no other emitter uses: `counted` loops end in blocks that carry it.
NO_UNROLL = ("!770 = distinct !{!770, !771}", '!771 = !{!"llvm.loop.unroll.disable"}')
# The metadata of stores past the caches, `!nontemporal !772`.
STREAMED = "!772 = !{i32 1}"

# Of the functions of kernels: their tasks begin..end-1.
PARAMETERS = "ptr %buffers, ptr %sizes, i64 %begin, i64 %end"
# A register of AVX2.
_AVX2_BYTES = 32
# Lanes whose mask a register of numbers holds.
_WORD = 64
# Integers of so many bytes may be cut from wider ones.
_CUT_BYTES = 4


@contextmanager
def counted(function: Function, start: str, stop: str, step: str | int) -> Iterator[str]:
    """A loop over `index` from start while below stop (signed); yields the index's name."""
    head, body, latch, after = (function.label(hint) for hint in ("head", "body", "latch", "after"))
    before, index, following = function.block, function.reserve(), function.reserve()
    function.jump(head)
    function.start(head)
    function.set(index, f"phi i64 [ {start}, %{before} ], [ {following}, %{latch} ]")
    function.branch(function.let(f"icmp slt i64 {index}, {stop}"), body, after)
    function.start(body)
    yield index
    function.jump(latch)
    function.start(latch)
    function.set(following, f"add nsw i64 {index}, {step}")
    # Left to itself LLVM unrolls these loops, which doubles the time to compile and gains nothing.
    for line in NO_UNROLL:
        function.module.declare(line)
    function.line(f"br label %{head}, !llvm.loop !770")
    function.start(after)


@contextmanager
def when(function: Function, condition: str) -> Iterator[None]:
    """The code inside runs if the i1 `condition` holds; it may not define names used after it."""
    then, after = function.label("then"), function.label("after")
    function.branch(condition, then, after)
    function.start(then)
    yield
    function.jump(after)
    function.start(after)


@contextmanager
def unless(function: Function, condition: str) -> Iterator[None]:
    """The code inside, which leaves the function, runs if the i1 `condition` does not hold."""
    otherwise, after = function.label("otherwise"), function.label("after")
    function.branch(condition, after, otherwise)
    function.start(otherwise)
    yield
    function.start(after)


def offset(function: Function, element: str, pointer: str, index: str | int) -> str:
    """The address of `pointer[index]` for elements of the LLVM type `element`."""
    return function.let(f"getelementptr {element}, ptr {pointer}, i64 {index}")


def prefetch(function: Function, pointer: str, *, write: bool = False, cache: int = 1) -> None:
    """Ask for the line at `pointer`, which need not be memory that exists, to come to the first or second cache."""
    function.module.declare("declare void @llvm.prefetch.p0(ptr, i32, i32, i32)")
    function.line(f"call void @llvm.prefetch.p0(ptr {pointer}, i32 {int(write)}, i32 {4 - cache}, i32 1)")


def minimum(function: Function, left: str | int, right: str | int) -> str:
    """The smaller of two i64."""
    return _of_two(function, "@llvm.smin.i64", left, right)


def maximum(function: Function, left: str | int, right: str | int) -> str:
    """The larger of two i64."""
    return _of_two(function, "@llvm.smax.i64", left, right)


def _of_two(function: Function, name: str, left: str | int, right: str | int) -> str:
    """What a function of LLVM's gives for two i64."""
    function.module.declare(f"declare i64 {name}(i64, i64)")
    return function.let(f"call i64 {name}(i64 {left}, i64 {right})")


def splat(function: Function, type: LLType, scalar: str) -> str:
    """`scalar` in every lane of `type`."""
    if type.lanes == 1:
        return scalar
    single = function.let(f"insertelement {type.llvm} poison, {type.element} {scalar}, i32 0")
    return function.let(f"shufflevector {type.llvm} {single}, {type.llvm} poison, <{type.lanes} x i32> zeroinitializer")


def below(function: Function, lanes: int, count: str) -> str:
    """The mask of the lanes (two or more) whose number is below the i64 `count`, which fits an i32."""
    type = LLType(I32, lanes)
    limit = splat(function, type, function.let(f"trunc i64 {count} to i32"))
    return function.let(f"icmp slt {type.llvm} {type.numbers()}, {limit}")


def masked_load(function: Function, type: LLType, pointer: str, mask: str, other: str) -> str:
    """The elements at `pointer` in the lanes of `mask`, `other` elsewhere; `type` has two lanes or more."""
    found = []
    for start, part, wanted in _parts(function, type, pointer, mask):
        name, place = f"@llvm.masked.load.{part.suffix}.p0", _moved(function, type, pointer, start)
        masks = f"<{part.lanes} x i1>"
        function.module.declare(f"declare {part.llvm} {name}(ptr, i32, {masks}, {part.llvm})")
        rest = resized(Lanes(function, type, other), start, part.lanes).text
        operands = f"ptr {place}, i32 {type.dtype.itemsize}, {masks} {wanted}, {part.llvm} {rest}"
        found.append(Lanes(function, part, function.let(f"call {part.llvm} {name}({operands})")))
    return joined(found).text


def masked_store(function: Function, type: LLType, value: str, pointer: str, mask: str) -> None:
    """Store the lanes of `mask`; `type` has two lanes or more.

    Of small integers LLVM 22 may not know that the mask is one lane: with AVX-512 it would store the whole of a wider
    integer that was cut to them, beyond the lane.
    """
    if function.module.avx512 and type.dtype.itemsize <= _CUT_BYTES and type.element.startswith("i"):
        if mask.count("true") == 1:
            lane = mask[: mask.index("true")].count("i1") - 1
            single = function.let(f"extractelement {type.llvm} {value}, i32 {lane}")
            at = offset(function, type.element, pointer, lane)
            function.line(f"store {type.element} {single}, ptr {at}, align {type.dtype.itemsize}")
            return
        if not mask.startswith("<"):
            mask = _unknown(function, type.lanes, mask)
    for start, part, wanted in _parts(function, type, pointer, mask):
        name, place = f"@llvm.masked.store.{part.suffix}.p0", _moved(function, type, pointer, start)
        masks = f"<{part.lanes} x i1>"
        function.module.declare(f"declare void {name}({part.llvm}, ptr, i32, {masks})")
        given = resized(Lanes(function, type, value), start, part.lanes).text
        operands = f"{part.llvm} {given}, ptr {place}, i32 {type.dtype.itemsize}, {masks} {wanted}"
        function.line(f"call void {name}({operands})")


def _unknown(function: Function, lanes: int, mask: str) -> str:
    """A mask of which LLVM knows nothing."""
    whole = Lanes(function, LLType(BOOL, lanes), mask)
    words = [resized(whole, start, min(_WORD, lanes - start)) for start in range(0, lanes, _WORD)]
    return joined([_unknown_word(function, word) for word in words]).text


def _unknown_word(function: Function, mask: Lanes) -> Lanes:
    """The same of a mask whose lanes are bits of one register."""
    lanes = mask.type.lanes
    bits = function.let(f"bitcast {mask.type.llvm} {mask.text} to i{lanes}")
    wide = bits if lanes == _WORD else function.let(f"zext i{lanes} {bits} to i64")
    hidden = function.let(f'call i64 asm "", "=r,0"(i64 {wide})')
    narrow = hidden if lanes == _WORD else function.let(f"trunc i64 {hidden} to i{lanes}")
    return Lanes(function, mask.type, function.let(f"bitcast i{lanes} {narrow} to {mask.type.llvm}"))


def _moved(function: Function, type: LLType, pointer: str, start: int) -> str:
    return offset(function, type.element, pointer, start) if start else pointer


def _parts(function: Function, type: LLType, pointer: str, mask: str) -> Iterator[tuple[int, LLType, str]]:
    """What single accesses under masks read or write: where each starts, how many lanes it has, and its mask.

    With AVX2 alone each is of one register, and no lane of a mask is known: where a part of a wider mask holds
    nowhere, LLVM 22 reads all of that part, or ends the process.
    """
    module, size = function.module, type.dtype.itemsize
    if module.avx512 or not module.avx2 or size < 4 or type.lanes * size <= _AVX2_BYTES:
        yield 0, type, mask
        return
    word = LLType(I32 if size == 4 else I64, type.lanes)
    zero = function.let(f"ashr i64 {function.let(f'ptrtoint ptr {pointer} to i64')}, 63")  # as addresses are positive
    zeros = splat(function, word, zero if size > 4 else function.let(f"trunc i64 {zero} to i32"))
    signs = function.let(f"sext <{type.lanes} x i1> {mask} to {word.llvm}")
    unknown = Lanes(function, word, function.let(f"or {word.llvm} {signs}, {zeros}")) < 0
    for start in range(0, type.lanes, _AVX2_BYTES // size):
        part = LLType(type.dtype, min(_AVX2_BYTES // size, type.lanes - start))
        yield start, part, resized(unknown, start, part.lanes).text


def workspace_of(f: Function, slot: int) -> str:
    """The first cache line of the workspace."""
    workspace = f.let(f"load ptr, ptr {f.let(f'getelementptr ptr, ptr %buffers, i64 {slot}')}, align 8")
    address = f.let(f"ptrtoint ptr {workspace} to i64")
    aligned = f.let(f"and i64 {f.let(f'add i64 {address}, {LINE - 1}')}, {-LINE}")
    return offset(f, "i8", workspace, f.let(f"sub i64 {aligned}, {address}"))


def streaming_fence(f: Function) -> None:
    """Let other threads see what went past the caches before what is written after."""
    f.module.declare("declare void @llvm.x86.sse.sfence()")
    f.line("call void @llvm.x86.sse.sfence()")
