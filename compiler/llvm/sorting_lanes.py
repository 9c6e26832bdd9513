"""What sorts do with the lanes of a vector register, by the instructions of AVX-512 or those of AVX2.

AVX2 moves words of 32 bits alone, so that a lane of 64 is two of them; it packs no lanes, whose places stand in a table
by masks; and it compares words of 64 bits with a sign, to which keys are turned before they are compared often.
"""

from __future__ import annotations

from collections.abc import Sequence

from adjit.compiler.llvm.sequences import offset
from adjit.compiler.llvm.text import Function, LLType, Module
from adjit.ir.types import I32


def vector_bits(module: Module) -> int:
    """The bits of the vectors that keys are sorted in, 0 where no instruction moves lanes to places in a register."""
    return 512 if module.avx512 else 256 if module.avx2 else 0


def counted_lanes(f: Function, lanes: int, mask: str) -> str:
    """How many lanes are set, as i64."""
    bits = f"i{lanes}"
    f.module.declare(f"declare {bits} @llvm.ctpop.{bits}({bits})")
    number = f.let(f"bitcast <{lanes} x i1> {mask} to {bits}")
    return f.let(f"zext {bits} {f.let(f'call {bits} @llvm.ctpop.{bits}({bits} {number})')} to i64")


# -- permutations -----------------------------------------------------------------------------------------------------
def compressed(f: Function, type: LLType, row: str, mask: str) -> str:
    """The lanes of `mask`, moved together at the front; the others hold anything."""
    flags = f"<{type.lanes} x i1>"
    if f.module.avx512:
        name = f"@llvm.experimental.vector.compress.{type.suffix}"
        f.module.declare(f"declare {type.llvm} {name}({type.llvm}, {flags}, {type.llvm})")
        return f.let(f"call {type.llvm} {name}({type.llvm} {row}, {flags} {mask}, {type.llvm} poison)")
    name, moved = f"@adjit.sort.compressed.{type.suffix}", _moved(f, type)
    fronts = ([lane for lane in range(type.lanes) if bits >> lane & 1] for bits in range(1 << type.lanes))
    rows = (_words(type, [*front, *[0] * (type.lanes - len(front))]) for front in fronts)
    text = "".join(f"\\{word:02}" for row in rows for word in row)
    f.module.declare(f'{name} = private constant [{8 << type.lanes} x i8] c"{text}", align 64')
    number = f.let(f"zext i{type.lanes} {f.let(f'bitcast {flags} {mask} to i{type.lanes}')} to i64")
    places = f.let(f"load <8 x i8>, ptr {offset(f, '<8 x i8>', name, number)}, align 8")
    return permuted(f, type, row, f.let(f"zext <8 x i8> {places} to {moved.llvm}"))


def permutations(f: Function, type: LLType, name: str, rows: Sequence[Sequence[int]]) -> tuple[str, LLType]:
    """A table of the permutations that `permuted` takes, lanes' numbers each, and their type."""
    moved = _moved(f, type)
    numbers = rows if moved == type else [_words(type, row) for row in rows]
    texts = (", ".join(f"{moved.element} {number}" for number in row) for row in numbers)
    f.module.declare(
        f"{name} = private constant [{len(rows)} x {moved.llvm}] "
        f"[{', '.join(f'{moved.llvm} <{text}>' for text in texts)}], align 64"
    )
    return name, moved


def permuted(f: Function, type: LLType, row: str, places: str) -> str:
    """The lanes of `row` that a permutation names."""
    moved = _moved(f, type)
    if f.module.avx512:
        name = f"@llvm.x86.avx512.permvar.{'si' if type.dtype.bits == 32 else 'di'}.512"
    else:
        name = "@llvm.x86.avx2.permd"
    f.module.declare(f"declare {moved.llvm} {name}({moved.llvm}, {moved.llvm})")
    words = row if moved == type else f.let(f"bitcast {type.llvm} {row} to {moved.llvm}")
    words = f.let(f"call {moved.llvm} {name}({moved.llvm} {words}, {moved.llvm} {places})")
    return words if moved == type else f.let(f"bitcast {moved.llvm} {words} to {type.llvm}")


def _moved(f: Function, type: LLType) -> LLType:
    """The vector of what is moved in one of `type`."""
    return type if f.module.avx512 else LLType(I32, 8)


def _words(type: LLType, lanes: Sequence[int]) -> list[int]:
    """The numbers of the words of 32 bits in lanes."""
    each = type.dtype.bits // 32
    return [each * lane + part for lane in lanes for part in range(each)]


# -- comparisons ------------------------------------------------------------------------------------------------------
def turned(f: Function, type: LLType, rows: Sequence[str]) -> list[str]:
    """Keys as `compared` takes them, or such ones as keys again."""
    if not _is_turned(f, type):
        return list(rows)
    sign = type.constant(-(1 << type.dtype.bits - 1))
    return [f.let(f"xor {type.llvm} {row}, {sign}") for row in rows]


def compared(f: Function, type: LLType, left: str, right: str) -> tuple[str, str]:
    """The lesser and the greater of `turned` keys in each lane."""
    sign = "s" if _is_turned(f, type) else "u"
    return f.intrinsic(f"{sign}min", type, left, right), f.intrinsic(f"{sign}max", type, left, right)


def _is_turned(f: Function, type: LLType) -> bool:
    return type.dtype.bits == 64 and not f.module.avx512


def choices(f: Function, type: LLType, name: str, rows: Sequence[Sequence[bool]]) -> str:
    """A table of masks that `choice` reads, as bits, or as lanes all of whose bits are set or none."""
    if f.module.avx512:
        kind = f"i{type.lanes}"
        texts = [str(sum(flag << lane for lane, flag in enumerate(row))) for row in rows]
    else:
        kind = type.llvm
        texts = [f"<{', '.join(f'{type.element} {-int(flag)}' for flag in row)}>" for row in rows]
    f.module.declare(
        f"{name} = private constant [{len(rows)} x {kind}] [{', '.join(f'{kind} {text}' for text in texts)}], align 64"
    )
    return name


def choice(f: Function, type: LLType, table: str, number: str) -> str:
    """The mask at a place of a table of `choices`."""
    if f.module.avx512:
        kind = f"i{type.lanes}"
        bits = f.let(f"load {kind}, ptr {offset(f, kind, table, number)}, align 1")
        return f.let(f"bitcast {kind} {bits} to <{type.lanes} x i1>")
    lanes = f.let(f"load {type.llvm}, ptr {offset(f, type.llvm, table, number)}, align 32")
    return f.let(f"icmp slt {type.llvm} {lanes}, zeroinitializer")
